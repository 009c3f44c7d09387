"""What is asked of the kernel is what it then has, on every system, and its errors read like sentences."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect.errors import Ending
from ipyreconnect.network import sockets
from ipyreconnect.network.sockets import System, system_for
from ipyreconnect.protocol.kernel_rules import user_timeout
from ipyreconnect.settings import KeepAlive
from tests.namespaces import deafen, hear
from tests.scarcity import no_files_left

TCP = socket.IPPROTO_TCP
SOL = socket.SOL_SOCKET
WEBLOG = KeepAlive(5, 3, 3)
PATIENCE = 10.0

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two ends of a real connection over loopback."""
    host = "::1" if request.param == socket.AF_INET6 else "127.0.0.1"
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server((host, 0), family=request.param)))
        here = stack.enter_context(closing(socket.create_connection(listener.getsockname()[:2])))
        there = stack.enter_context(closing(listener.accept()[0]))
        there.settimeout(PATIENCE)
        here.settimeout(PATIENCE)
        yield here, there


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        yield here


def eventually(true: Callable[[], bool]) -> None:
    """Look again and again until `true()`; the kernel has no event for what is looked at."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "did not come true"
        select.select([], [], [], 0.005)


class FakeKernel(socket.socket):
    """A socket whose kernel has just the options of another system, and remembers their order."""

    def __init__(self, options: dict[tuple[int, int], int]) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.options = {(SOL, socket.SO_KEEPALIVE): 0} | options
        self.order: list[tuple[int, int]] = []
        self.account = bytes(280)

    def setsockopt(self, level: int, option: int, value: object, size: object = None) -> None:
        assert isinstance(value, int)
        self._known(level, option)
        self.options[level, option] = value
        self.order.append((level, option))

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        self._known(level, option)
        return self.account if size else self.options[level, option]

    def _known(self, level: int, option: int) -> None:
        if (level, option) not in self.options:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))


LINUX_IDLE, LINUX_INTERVAL, LINUX_COUNT, LINUX_TIMEOUT = 4, 5, 6, 18
MAC_IDLE, MAC_INTERVAL, MAC_COUNT, MAC_TIMEOUT, MAC_NWRITE = 0x10, 0x101, 0x102, 0x80, 0x1024
WINDOWS_IDLE, WINDOWS_INTERVAL, WINDOWS_COUNT, WINDOWS_TIMEOUT = 3, 17, 16, 14

KERNELS: dict[str, dict[tuple[int, int], int]] = {
    "linux": {(TCP, option): 0 for option in (LINUX_IDLE, LINUX_INTERVAL, LINUX_COUNT, LINUX_TIMEOUT, 11)},
    "darwin": {(TCP, option): 0 for option in (MAC_IDLE, MAC_INTERVAL, MAC_COUNT, MAC_TIMEOUT)}
    | {(SOL, MAC_NWRITE): 77},
    "win32": {
        (TCP, option): 0 for option in (WINDOWS_IDLE, WINDOWS_INTERVAL, WINDOWS_COUNT, WINDOWS_TIMEOUT)
    },
}


# -- keepalive ------------------------------------------------------------


@pytest.mark.parametrize(
    "keepalive", [WEBLOG, KeepAlive(1, 1, 1), KeepAlive(32767, 32767, 127), KeepAlive.off()], ids=str
)
def test_a_keepalive_reads_back_from_the_kernel_as_it_was_set(pair: Pair, keepalive: KeepAlive) -> None:
    """%keepalive shows what is in force: what was asked for."""
    sockets.apply_keepalive(pair[0], keepalive, user_timeout(keepalive))
    assert sockets.read_keepalive(pair[0]) == keepalive


def test_keepalive_can_be_switched_off_and_on_again(pair: Pair) -> None:
    """A change of mind acts on the live connection, in both directions."""
    here, _ = pair
    for keepalive in (WEBLOG, KeepAlive.off(), KeepAlive(7, 2, 4)):
        sockets.apply_keepalive(here, keepalive)
        assert sockets.read_keepalive(here) == keepalive


@pytest.mark.parametrize("platform", KERNELS)
def test_the_idle_time_is_set_last(platform: str) -> None:
    """A changed keepalive acts at once and as a whole: setting the idle time is what restarts the timer."""
    system = system_for(platform)
    with FakeKernel(KERNELS[platform]) as kernel:
        sockets.apply_keepalive(kernel, WEBLOG, 13900, system=system)
        last = kernel.order[-4:]
        assert last == [
            (TCP, system.interval),
            (TCP, system.count),
            (SOL, socket.SO_KEEPALIVE),
            (TCP, system.idle),
        ]
        assert sockets.read_keepalive(kernel, system=system) == WEBLOG


@pytest.mark.parametrize(
    ("probes", "silence", "user_timeout", "waits"),
    [(1, 14.0, 13900, True), (0, 14.0, 13900, False), (1, 13.0, 13900, False), (3, 60.0, 0, True)],
)
def test_asking_again_does_not_make_the_kernel_give_up(
    probes: int, silence: float, user_timeout: int, waits: bool
) -> None:
    """Setting the idle time makes the timer expire at once; where that is the end, the timer starts anew."""
    system = system_for("linux")
    with FakeKernel(KERNELS["linux"]) as kernel:
        kernel.account = struct.pack("=3xB48x2I", probes, int(silence * 1000), 10**6).ljust(280, b"\0")
        sockets.apply_keepalive(kernel, WEBLOG, user_timeout, system=system)
        on, idle = (SOL, socket.SO_KEEPALIVE), (TCP, system.idle)
        assert kernel.order[0] == on
        assert kernel.order[-2:] == ([idle, on] if waits else [on, idle])
        assert sockets.read_keepalive(kernel, system=system) == WEBLOG


@pytest.mark.parametrize(
    ("platform", "option", "value"),
    [("linux", LINUX_TIMEOUT, 13900), ("darwin", MAC_TIMEOUT, 13), ("win32", WINDOWS_TIMEOUT, 13900)],
)
def test_each_system_gets_the_user_timeout_in_its_own_unit(platform: str, option: int, value: int) -> None:
    """A line in flight cannot hide a dead peer on macOS, which counts seconds, nor on Windows."""
    system = system_for(platform)
    with FakeKernel(KERNELS[platform]) as kernel:
        sockets.apply_keepalive(kernel, WEBLOG, 13900, system=system)
        assert kernel.options[TCP, option] == value
        assert sockets.read_user_timeout(kernel, system=system) == value * system.user_timeout_unit


def test_a_user_timeout_below_the_unit_of_a_system_is_not_switched_off() -> None:
    """On macOS half a second becomes one second, not for ever."""
    with FakeKernel(KERNELS["darwin"]) as kernel:
        sockets.set_user_timeout(kernel, 500, system=system_for("darwin"))
        assert kernel.options[TCP, MAC_TIMEOUT] == 1


def test_the_user_timeout_can_be_raised_and_cleared_on_its_own(pair: Pair) -> None:
    """A live peer that does not read is spared: its user time-out may go beyond the keepalive, or away."""
    here, _ = pair
    sockets.apply_keepalive(here, WEBLOG, 13900)
    for milliseconds in (600_000, 0):
        sockets.set_user_timeout(here, milliseconds)
        assert sockets.read_user_timeout(here) == milliseconds
    assert sockets.read_keepalive(here) == WEBLOG


def test_a_refused_value_is_reported() -> None:
    """What the kernel has but refuses is an error, never taken for an option that is missing."""
    with FakeKernel(KERNELS["linux"]) as kernel:
        sockets.apply_keepalive(kernel, WEBLOG)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sockets.apply_keepalive(socket.socket(fileno=_closed_fd()), WEBLOG)


def _closed_fd() -> int:
    sock = socket.socket()
    fd = sock.fileno()
    sock.close()
    return fd


def test_a_unix_socket_is_left_as_it_is(unix: socket.socket) -> None:
    """A local connection cannot die silently, so nothing is set on it and nothing fails."""
    sockets.prepare(unix)
    sockets.apply_keepalive(unix, WEBLOG, 13900)
    sockets.set_user_timeout(unix, 1000)
    assert sockets.read_keepalive(unix) == KeepAlive.off()
    assert sockets.read_user_timeout(unix) == 0
    assert sockets.tcp_info(unix) is None
    assert unix.getblocking() is False


# -- the pauses between retransmissions ------------------------------------------------------------


def test_the_kernels_pauses_can_be_shortened_and_given_back(pair: Pair) -> None:
    """A peer that is not read from is asked often enough, and with keepalive off as the system likes it."""
    here, _ = pair
    option = system_for("linux").longest_retransmission
    assert option is not None
    if not sockets.set_longest_retransmission(here, 3000):  # older than 6.15, which it says
        assert any(text.startswith("TCP_RTO_MAX_MS") for text in sockets.missing_options())
        return
    assert here.getsockopt(TCP, option) == 3000
    assert sockets.set_longest_retransmission(here, 0)
    with socket.socket() as fresh:
        assert here.getsockopt(TCP, option) == fresh.getsockopt(TCP, option)
    with pytest.raises(OSError, match="Invalid argument"):
        sockets.set_longest_retransmission(here, 999)


@pytest.mark.parametrize("platform", KERNELS)
def test_a_system_that_knows_no_limit_for_the_pauses_goes_on(platform: str) -> None:
    """An older Linux, macOS and Windows keep their own pauses."""
    with FakeKernel(KERNELS[platform]) as kernel:
        assert not sockets.set_longest_retransmission(kernel, 3000, system=system_for(platform))
        assert kernel.order == []


# -- what is missing ------------------------------------------------------------


def test_linux_misses_nothing() -> None:
    """On Linux %keepalive has nothing to apologise for, but for one thing before Linux 6.15."""
    missing = sockets.missing_options(system=system_for("linux"))
    assert [text for text in missing if not text.startswith("TCP_RTO_MAX_MS")] == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_what_another_system_lacks_is_named(platform: str) -> None:
    """Nothing is silently ignored: the user reads which options are not there and what that means."""
    with FakeKernel(KERNELS[platform]) as kernel:
        missing = sockets.missing_options(system=system_for(platform), sock=kernel)
    named = [text.partition(" ")[0] for text in missing]
    assert named == (["TCP_INFO"] if platform == "darwin" else ["TCP_INFO", "SIOCOUTQ"])


def test_an_option_that_the_running_kernel_refuses_counts_as_missing_and_stops_nothing() -> None:
    """An old Windows knows no TCP_KEEPCNT: the connection goes on, with what it has, and says so."""
    system = system_for("win32")
    old = {key: value for key, value in KERNELS["win32"].items() if key != (TCP, WINDOWS_COUNT)}
    with FakeKernel(old) as kernel:
        sockets.apply_keepalive(kernel, WEBLOG, 13900, system=system)
        assert sockets.read_keepalive(kernel, system=system) == KeepAlive(5, 3, 10)
        missing = sockets.missing_options(system=system, sock=kernel)
    assert missing[0] == "keepalive count (stays 10)"


def test_a_system_without_any_option_still_connects() -> None:
    """On an unknown system keepalive is on, with that system's own times, and what is missing is named."""
    system = System("Plan 9", None, None, None)
    with FakeKernel({}) as kernel:
        sockets.apply_keepalive(kernel, WEBLOG, 13900, system=system)
        assert sockets.read_keepalive(kernel, system=system) == KeepAlive(7200, 75, 9)
        assert sockets.read_user_timeout(kernel, system=system) == 0
        assert sockets.tcp_info(kernel, system=system) is None
        assert sockets.outq(kernel, system=system) is None
        assert len(sockets.missing_options(system=system, sock=kernel)) == 6


def test_an_unknown_system_has_what_python_knows_of_it() -> None:
    """A BSD gets its keepalive by Python's constants."""
    system = system_for("freebsd14")
    assert (system.name, system.idle) == ("freebsd14", socket.TCP_KEEPIDLE)


# -- the kernel's account ------------------------------------------------------------


def test_the_kernels_account_counts_what_the_peer_acknowledged(pair: Pair) -> None:
    """TCP_INFO tells how many bytes the peer has, after a reset too, until the close."""
    here, there = pair

    def acknowledged() -> int:
        info = sockets.tcp_info(here)
        assert info is not None
        count: int = struct.unpack_from("=Q", info, 120)[0]
        return count

    before = acknowledged()
    here.sendall(b"x" * 1000)
    eventually(lambda: acknowledged() == before + 1000)
    sockets.abort(there)
    assert select.select([here], [], [], PATIENCE)[0]
    assert acknowledged() == before + 1000
    here.close()
    assert sockets.tcp_info(here) is None


def test_unacknowledged_bytes_are_counted_and_go_when_the_cable_is_back(pair: Pair) -> None:
    """The panel's count of bytes in flight is the kernel's."""
    here, there = pair
    assert sockets.outq(here) == 0
    deafen(there)
    here.sendall(b"x" * 100)
    assert sockets.outq(here) == 100
    hear(there)
    eventually(lambda: sockets.outq(here) == 0)
    here.close()
    assert sockets.outq(here) is None


def test_macos_counts_unacknowledged_bytes_by_its_own_option() -> None:
    """What Linux has an ioctl for is an option on macOS."""
    with FakeKernel(KERNELS["darwin"]) as kernel:
        assert sockets.outq(kernel, system=system_for("darwin")) == 77


# -- opening and closing ------------------------------------------------------------


def test_a_prepared_socket_does_not_block_and_does_not_wait_to_send(pair: Pair) -> None:
    """A line leaves at once, as in the weblog, and the I/O thread never waits."""
    sockets.prepare(pair[0])
    assert pair[0].getsockopt(TCP, socket.TCP_NODELAY)
    with pytest.raises(BlockingIOError):
        pair[0].recv(1)


def test_of_a_socket_that_may_wait_each_call_says_whether_it_does(pair: Pair) -> None:
    """Without the flag, receiving waits, yet not for ever; with it, neither receiving nor sending does."""
    sockets.prepare(pair[0])
    no_wait = sockets.let_wait(pair[0], 1)
    assert no_wait
    with pytest.raises(BlockingIOError):
        pair[0].recv(1, no_wait)
    with pytest.raises(BlockingIOError):
        for _ in iter(lambda: pair[0].send(bytes(65536), no_wait), 0):
            pass
    begun = time.monotonic()
    with pytest.raises(BlockingIOError):
        pair[0].recv(1)
    assert time.monotonic() - begun >= 0.001


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_a_system_that_cannot_say_it_with_each_call_never_waits(pair: Pair, platform: str) -> None:
    """There, the socket stays as it was."""
    sockets.prepare(pair[0])
    assert sockets.let_wait(pair[0], 1, system=system_for(platform)) == 0
    with pytest.raises(BlockingIOError):
        pair[0].recv(1)


def test_no_urgent_byte_is_lost(pair: Pair) -> None:
    """Every byte of the server is in the transcript, one sent as urgent as well."""
    here, there = pair
    sockets.prepare(here)
    there.send(b"ab")
    there.send(b"!", socket.MSG_OOB)
    there.send(b"c")
    received = b""
    while len(received) < 4:
        assert select.select([here], [], [], PATIENCE)[0]
        received += here.recv(10)
    assert received == b"ab!c"


def test_an_aborted_connection_is_reset(pair: Pair) -> None:
    """The peer learns that the connection was given up."""
    sockets.abort(pair[0])
    with pytest.raises(ConnectionResetError):
        pair[1].recv(1)


def test_an_aborted_connection_delivers_no_ghost(pair: Pair) -> None:
    """A line reported as never acknowledged does not arrive when the cable is back."""
    here, there = pair
    deafen(there)
    here.sendall(b"delete everything\r\n")
    sockets.abort(here)
    hear(there)
    there.sendall(b"are you there?")  # answered by a reset, for nobody is: so whatever was to come has come
    with pytest.raises(ConnectionResetError):
        there.recv(100)


def test_a_shut_connection_delivers_everything_and_then_the_end(pair: Pair) -> None:
    """A last `quit` before %stop reaches the server, whose goodbye can still be read."""
    here, there = pair
    here.sendall(b"quit\r\n")
    sockets.shut(here)
    assert there.recv(100) == b"quit\r\n"
    assert there.recv(100) == b""
    there.sendall(b"bye\r\n")
    assert here.recv(100) == b"bye\r\n"


def test_after_the_end_was_said_the_kernel_tells_when_it_arrived(pair: Pair) -> None:
    """A stop can wait a moment for the last line's acknowledgement."""
    here, there = pair
    deafen(there)
    here.sendall(b"quit\r\n")
    sockets.shut(here)
    assert sockets.outq(here)
    hear(there)
    eventually(lambda: sockets.outq(here) == 0)


def test_a_shut_connection_ends_even_while_a_copy_is_held(pair: Pair) -> None:
    """The server sees the end although a forked child still holds the socket."""
    with pair[0].dup():
        sockets.shut(pair[0])
        assert pair[1].recv(100) == b""


def test_dropping_a_copy_says_nothing_to_the_peer(pair: Pair) -> None:
    """A forked child lets go of its parent's connection without a word on the wire."""
    sockets.drop(pair[0].dup())
    pair[0].sendall(b"still here")
    assert pair[1].recv(100) == b"still here"


@pytest.mark.parametrize("close", [sockets.abort, sockets.drop])
def test_closing_twice_does_no_harm(pair: Pair, close: Callable[[socket.socket], None]) -> None:
    """However many ways lead to the end, closing never fails, nor does saying goodbye too late."""
    close(pair[0])
    close(pair[0])
    sockets.shut(pair[0])
    assert pair[0].fileno() == -1


def test_windows_packs_its_linger_in_shorts() -> None:
    """An abort is a reset on Windows too, whose struct linger is half as long."""
    assert struct.calcsize(system_for("win32").linger) == 4
    assert struct.calcsize(system_for("linux").linger) == 8


# -- words ------------------------------------------------------------


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("127.0.0.1", 993), "127.0.0.1:993"),
        (("::1", 993, 0, 0), "[::1]:993"),
        (("fe80::1", 993, 0, 1), "[fe80::1%lo]:993"),
        (("fe80::1%lo", 993, 0, 1), "[fe80::1%lo]:993"),
        (("fe80::1", 993, 0, 4_000_000), "[fe80::1%4000000]:993"),
        ("/run/server", "/run/server"),
        ("", "an unnamed socket"),
        (b"\0name", "@name"),
    ],
)
def test_an_address_reads_as_users_write_it(sockaddr: object, text: str) -> None:
    """What a message calls the peer can be pasted into %connect."""
    assert sockets.describe(sockaddr) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b, c and 1 more"),
        (list("abcdefgh"), "a, b, c and 5 more"),
    ],
)
def test_many_names_make_a_short_sentence(names: list[str], text: str) -> None:
    """A name with sixteen addresses still fails in one readable line."""
    assert sockets.join_names(names) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ECONNREFUSED, "refused by 127.0.0.1:993"),
        (errno.ECONNRESET, "reset by 127.0.0.1:993"),
        (errno.EPIPE, "closed by 127.0.0.1:993"),
        (errno.ETIMEDOUT, "timed out: no answer from 127.0.0.1:993"),
        (errno.EHOSTUNREACH, "no route to 127.0.0.1:993 (host unreachable)"),
        (errno.ENETUNREACH, "no route to 127.0.0.1:993 (network unreachable)"),
        (errno.ENETDOWN, "the network is down: cannot reach 127.0.0.1:993"),
        (errno.EMFILE, "cannot connect to 127.0.0.1:993: this process has too many open files"),
        (errno.EXDEV, "127.0.0.1:993: Invalid cross-device link"),
    ],
)
def test_each_error_says_what_happened_and_to_whom(number: int, text: str) -> None:
    """No user reads an errno."""
    assert sockets.reason_for(OSError(number, os.strerror(number)), "127.0.0.1:993") == text


def test_a_silence_is_told_with_its_length() -> None:
    """A dead network says how long nothing was heard."""
    timeout = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    unreachable = OSError(errno.EHOSTUNREACH, "No route to host")
    reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    silence = "has not answered for 14.0 s (3 probes)"
    assert sockets.reason_for(timeout, "h:1", silence=silence) == f"h:1 {silence}"
    assert (
        sockets.reason_for(unreachable, "h:1", silence=silence)
        == f"no route to h:1 (host unreachable), which {silence}"
    )
    assert sockets.reason_for(reset, "h:1", silence=silence) == "reset by h:1"


def test_errors_without_a_number_still_say_something() -> None:
    """Python raises some of its own: a time-out and a path that is too long."""
    assert sockets.reason_for(TimeoutError("timed out"), "h:1") == "timed out: no answer from h:1"
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError) as raised:  # noqa: PT011 - no errno
        sock.connect("/" + "x" * 200)
    assert sockets.reason_for(raised.value, "/xxx") == "/xxx: AF_UNIX path too long"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (socket.EAI_NONAME, "no address found for 'imap.example.invalid'"),
        (
            socket.EAI_AGAIN,
            "cannot look up 'imap.example.invalid' now: the name service does not answer",
        ),
        (socket.EAI_FAIL, "cannot look up 'imap.example.invalid': the name service failed"),
        (socket.EAI_MEMORY, "cannot look up 'imap.example.invalid': out"),
    ],
)
def test_a_name_that_has_no_address_says_so(number: int, text: str) -> None:
    """A slip in the name and a mute name service are told apart."""
    assert sockets.reason_for(socket.gaierror(number, "out"), "imap.example.invalid") == text


def test_a_link_local_address_asks_for_its_interface() -> None:
    """The one address that needs more than itself says how to write it."""
    error = OSError(errno.EINVAL, "Invalid argument")
    assert sockets.reason_for(error, "[fe80::1]:993") == (
        "[fe80::1]:993 needs its interface: write it as in [fe80::1%eth0]:993"
    )


def test_a_missing_unix_socket_names_its_path(tmp_path: Path) -> None:
    """The kernel's ENOENT does not say which file."""
    path = str(tmp_path / "nobody")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError) as raised:
        sock.connect(path)
    assert sockets.reason_for(raised.value, path) == f"no socket at {path}: it does not exist"


@pytest.mark.parametrize(
    ("number", "ending"),
    [
        (errno.ECONNRESET, Ending.RESET),
        (errno.EPIPE, Ending.CLOSED),
        (errno.ENOTCONN, Ending.CLOSED),
        (errno.ETIMEDOUT, Ending.OTHER),
        (errno.EHOSTUNREACH, Ending.OTHER),
        (None, Ending.OTHER),
    ],
)
def test_how_a_connection_ended_is_a_value(number: int | None, ending: Ending) -> None:
    """Whether the peer ended it, or the network did, is decided by the system's number."""
    error = TimeoutError() if number is None else OSError(number, os.strerror(number))
    assert sockets.ending_of(error) is ending


def test_what_is_no_unix_socket_is_told_apart(tmp_path: Path) -> None:
    """A directory and a file are "refused" by the kernel, as a socket without a server is; the link counts as
    what it leads to.
    """
    file, link, stale = (str(tmp_path / name) for name in ("file", "link", "stale"))
    Path(file).write_bytes(b"")
    Path(link).symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(stale)
    refused = OSError(errno.ECONNREFUSED, "")
    for path, number in {
        str(tmp_path): errno.EISDIR,
        link: errno.EISDIR,
        file: errno.ENOTSOCK,
        "/dev/null": errno.ENOTSOCK,
        stale: errno.ECONNREFUSED,
        str(tmp_path / "nobody"): errno.ECONNREFUSED,
        "\0abstract": errno.ECONNREFUSED,
    }.items():
        assert sockets.more_exact(refused, socket.AF_UNIX, path).errno == number
    tcp = sockets.more_exact(refused, socket.AF_INET, ("127.0.0.1", 1))
    assert tcp is refused


def test_without_an_address_no_port_is_missing() -> None:
    """EADDRNOTAVAIL means that all ports are taken only where there is an address to call from."""
    error = OSError(errno.EADDRNOTAVAIL, "")
    assert sockets.more_exact(error, socket.AF_INET, ("127.0.0.1", 1)).errno == errno.EADDRINUSE
    assert sockets.more_exact(error, socket.AF_INET6, ("::1%nowhere", 1, 0, 0)) is error


def test_a_live_socket_needs_no_other_one(pair: Pair) -> None:
    """Where no file descriptor is left, a connection is set up, and set anew, all the same."""
    before = sockets.tcp_info(pair[0])
    sockets.set_longest_retransmission(pair[0], 1000)
    with no_files_left():
        assert sockets.shortage() is not None
        sockets.apply_keepalive(pair[0], KeepAlive.off())
        sockets.set_longest_retransmission(pair[0], 0)
        sockets.set_longest_retransmission(pair[0], 2000)
    assert sockets.shortage() is None
    assert before is not None
