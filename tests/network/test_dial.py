"""A server is reached whatever its names, families and faults, and the I/O thread never waits for it."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipyreconnect.address import parse_address
from ipyreconnect.network import dial as dial_module
from ipyreconnect.network import lookups as lookups_module
from ipyreconnect.network.dial import Dial
from ipyreconnect.network.lookups import Candidate, outdate_lookups
from ipyreconnect.network.loop import Loop, acquire_loop, release_loop
from tests.dialing import (
    PATIENCE,
    Attempt,
    Mute,
    Result,
    answering,
    assert_silent,
    eventually_connecting,
    ipv4,
    ipv6,
    join_lookups,
    listener,
    on_io,
    port_of,
    refused_port,
    waited_for,
)
from tests.namespaces import Namespace, deafen, hear, unavailable
from tests.scarcity import no_files_left

# -- reaching a server -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_a_numeric_address_is_connected_without_a_look_up(loop: Loop, stack: ExitStack, family: int) -> None:
    """An address that is written in numbers needs no name service, so none can keep it waiting."""
    server = listener(stack, family)
    host = "[::1]" if family == socket.AF_INET6 else "127.0.0.1"
    attempt = Attempt(loop, f"{host}:{port_of(server)}")
    with attempt.socket() as sock, server.accept()[0] as peer:
        assert attempt.phases == ["dialing"]
        assert sock.getpeername()[1] == port_of(server)
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        peer.sendall(b"hello")
    assert attempt.threads == {loop.thread}


def test_a_name_is_looked_up_on_a_thread_that_ends(loop: Loop, stack: ExitStack) -> None:
    """A name resolves beside the I/O thread, and nothing stays behind."""
    server = listener(stack)
    attempt = Attempt(loop, f"localhost:{port_of(server)}")
    with attempt.socket():
        assert attempt.phases == ["resolving", "dialing"]
    join_lookups()


def test_a_unix_socket_is_reached_by_its_path(loop: Loop, stack: ExitStack, tmp_path: Path) -> None:
    """A local service needs neither host nor port."""
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(tmp_path / "service"))
    server.listen()
    attempt = Attempt(loop, f"unix://{tmp_path}/service")
    with attempt.socket() as sock, server.accept()[0]:
        assert sock.getpeername() == str(tmp_path / "service")
        assert not sock.getblocking()


# -- happy eyeballs ----------------------------------------------------------------------------------------


def test_a_mute_first_address_costs_a_quarter_of_a_second(loop: Loop, stack: ExitStack) -> None:
    """Broken IPv6 does not keep anybody waiting: IPv4 is tried beside it."""
    mute, good = listener(stack, socket.AF_INET6), listener(stack)
    deafen(mute)
    began = time.monotonic()
    attempt = Attempt(loop, "name:1", resolver=answering(ipv6(port_of(mute)), ipv4(port_of(good))))
    with attempt.socket() as sock:
        assert sock.family == socket.AF_INET
        assert dial_module.STAGGER <= time.monotonic() - began < PATIENCE


def test_the_first_address_wins_where_it_answers(loop: Loop, stack: ExitStack) -> None:
    """The system's preference among the families is kept, and the second server is not even called."""
    first, second = listener(stack, socket.AF_INET6), listener(stack)
    attempt = Attempt(loop, "name:1", resolver=answering(ipv6(port_of(first)), ipv4(port_of(second))))
    with attempt.socket() as sock:
        assert sock.family == socket.AF_INET6
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.accept()


def test_a_refused_address_hands_over_at_once(
    loop: Loop, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that listens on one family only is reached without any wait."""
    monkeypatch.setattr(dial_module, "STAGGER", 1000.0)  # waiting for it would fail the test
    server = listener(stack)
    refused = refused_port(stack)
    attempt = Attempt(loop, "name:1", resolver=answering(ipv6(refused), ipv4(port_of(server))))
    with attempt.socket() as sock:
        assert sock.family == socket.AF_INET


def test_the_losers_of_the_race_are_closed(loop: Loop, stack: ExitStack) -> None:
    """Once connected, one socket is open: the winner."""
    servers = [listener(stack) for _ in range(3)]
    for server in servers[:2]:
        deafen(server)
    attempt = Attempt(loop, "name:1", resolver=answering(*(ipv4(port_of(server)) for server in servers)))
    with attempt.socket() as sock:
        assert sock.getpeername() == servers[2].getsockname()
        assert waited_for(loop) == 0
        assert not attempt.dial._connecting


# -- a change of network -----------------------------------------------------------------------------------


def test_a_change_of_network_calls_once_more(loop: Loop, stack: ExitStack) -> None:
    """A call that went into the dead network is made anew at once, not when TCP would repeat it."""
    server = listener(stack)
    deafen(server)
    attempt = Attempt(loop, f"127.0.0.1:{port_of(server)}")
    assert waited_for(loop) == 1
    hear(server)
    began = time.monotonic()
    on_io(loop, attempt.dial.again)
    with attempt.socket():
        assert time.monotonic() - began < 0.8


def test_a_storm_of_changes_calls_once_more(loop: Loop, stack: ExitStack) -> None:
    """However often the network changes, there is one more call a second, and one line tells of them all."""
    server = listener(stack)
    deafen(server)
    attempt = Attempt(loop, f"127.0.0.1:{port_of(server)}", timeout=0.3)
    for _ in range(100):
        on_io(loop, attempt.dial.again)
    assert waited_for(loop) == 2
    failure = attempt.failure()
    assert failure.reason == f"timed out connecting to 127.0.0.1:{port_of(server)}"
    on_io(loop, attempt.dial.again)
    assert waited_for(loop) == 0


def test_a_change_of_network_asks_for_the_name_once_more(loop: Loop, stack: ExitStack) -> None:
    """A look-up that hangs at the name server before holds up neither this try nor the next."""
    hangs = threading.Event()
    server = listener(stack)
    asked = queue.SimpleQueue[int]()

    def resolver(host: str, port: int) -> Sequence[Candidate]:
        asked.put(1)
        if not hangs.is_set():
            hangs.set()
            over.wait(PATIENCE)
            raise OSError("the name server of the network before")
        return [ipv4(port_of(server))]

    over = threading.Event()
    attempts = [Attempt(loop, "name:1", resolver=resolver) for _ in range(2)]
    assert hangs.wait(PATIENCE)
    on_io(loop, outdate_lookups)
    for attempt in attempts:
        on_io(loop, attempt.dial.again)
        attempt.socket().close()
    Attempt(loop, "name:1", resolver=resolver).socket().close()
    over.set()
    join_lookups()
    assert asked.qsize() <= 4, "the two may have shared one"


def test_the_families_take_turns_each_address_once() -> None:
    """Eight IPv6 addresses before the first IPv4 one do not cost two seconds."""
    given = [ipv6(1), ipv6(2), ipv6(1), ipv6(3), ipv4(1), ipv4(2), ipv4(1)]
    assert dial_module._in_turn(given) == [ipv6(1), ipv4(1), ipv6(2), ipv4(2), ipv6(3)]


# -- failing -----------------------------------------------------------------------------------------------


def test_a_refused_port_is_named(loop: Loop, stack: ExitStack) -> None:
    """Nobody listens: who said so, and another try may help."""
    port = refused_port(stack)
    failure = Attempt(loop, f"127.0.0.1:{port}").failure()
    assert (failure.reason, failure.final) == (f"refused by 127.0.0.1:{port}", False)


def test_when_all_addresses_fail_alike_one_phrase_names_them(loop: Loop, stack: ExitStack) -> None:
    """One line, however many addresses."""
    port = refused_port(stack)
    failure = Attempt(loop, "name:1", resolver=answering(ipv4(port), ipv6(port))).failure()
    assert failure.reason == f"refused by 127.0.0.1:{port} and [::1]:{port}"


def test_each_address_of_a_name_is_tried(loop: Loop, stack: ExitStack) -> None:
    """A big round robin is reached at the last of its addresses; one that is all gone says so."""
    server = listener(stack)
    refused = [ipv4(port_of(server), f"127.0.1.{number}") for number in range(1, 100)]
    with Attempt(loop, "name:1", resolver=answering(*refused, ipv4(port_of(server)))).socket() as sock:
        assert sock.getpeername() == server.getsockname()
    port = refused_port(stack)
    many = answering(*(ipv4(port, f"127.0.0.{number}") for number in range(1, 100)))
    failure = Attempt(loop, "name:1", resolver=many).failure()
    assert failure.reason == (f"refused by 127.0.0.1:{port}, 127.0.0.2:{port}, 127.0.0.3:{port} and 96 more")


def test_each_of_many_mute_addresses_has_its_turn(loop: Loop, stack: ExitStack) -> None:
    """Addresses that drop everything do not use up the time of those behind them, nor a socket each."""
    dead, alive = listener(stack), listener(stack)
    deafen(dead)
    most = 0

    def phase_of(attempt: Attempt) -> int:
        return len(attempt.dial._connecting)

    mute = [Candidate(socket.AF_INET, ("127.0.0.1", port_of(dead)))]
    mute += [ipv4(port_of(dead), f"127.0.2.{number}") for number in range(1, 100)]
    for number in range(1, 100):
        deaf = stack.enter_context(socket.create_server((f"127.0.2.{number}", port_of(dead))))
        deafen(deaf)
    attempt = Attempt(loop, "name:1", timeout=2.0, resolver=answering(*mute, ipv4(port_of(alive))))
    while attempt.results.empty():
        most = max(most, on_io(loop, lambda: phase_of(attempt)))
    with attempt.socket() as sock:
        assert sock.getpeername() == alive.getsockname()
    assert most <= dial_module.MAX_CONNECTING + 1


def test_turns_that_were_late_are_caught_up_with(loop: Loop, stack: ExitStack) -> None:
    """On a busy computer each turn may be late; that does not add up until the last has none."""
    alive = listener(stack)
    deaf = [listener(stack) for _ in range(40)]
    for server in deaf:
        deafen(server)

    over = threading.Event()

    def be_busy() -> None:
        time.sleep(0.02)
        if not over.is_set():
            loop.call_soon(be_busy)

    resolver = answering(*(ipv4(port_of(server)) for server in deaf), ipv4(port_of(alive)))
    attempt = Attempt(loop, "name:1", timeout=1.2, resolver=resolver)
    loop.call_soon(be_busy)
    try:
        with attempt.socket() as sock:
            assert sock.getpeername() == alive.getsockname()
    finally:
        over.set()


def test_a_mute_server_times_out(loop: Loop, stack: ExitStack) -> None:
    """A server behind a firewall that drops everything does not hold the attempt for two minutes."""
    server = listener(stack)
    deafen(server)
    failure = Attempt(loop, f"127.0.0.1:{port_of(server)}", timeout=0.05).failure()
    assert (failure.reason, failure.final) == (f"timed out connecting to 127.0.0.1:{port_of(server)}", False)


def test_a_time_out_tells_what_else_failed(loop: Loop, stack: ExitStack) -> None:
    """One address mute and one refused: the line says which is which."""
    server = listener(stack)
    deafen(server)
    refused = refused_port(stack)
    resolver = answering(ipv6(refused), ipv4(port_of(server)))
    failure = Attempt(loop, "name:1", timeout=0.2, resolver=resolver).failure()
    assert failure.reason == (
        f"timed out connecting to 127.0.0.1:{port_of(server)}; refused by [::1]:{refused}"
    )


def test_a_time_out_before_anything_began_names_the_address(loop: Loop) -> None:
    """Even a time-out of nothing has a subject."""
    # Made on the I/O thread, so that the timer is there before the beginning.
    failure = on_io(loop, lambda: Attempt(loop, "127.0.0.1:1", timeout=-1)).failure()
    assert failure.reason == "timed out connecting to 127.0.0.1:1"


def test_unix_sockets_say_what_is_wrong(loop: Loop, stack: ExitStack, tmp_path: Path) -> None:
    """A wrong path, what is no socket, a stale one, a wrong kind and a busy server are told apart."""
    nobody, stale, datagram, busy = (str(tmp_path / name) for name in ("nobody", "stale", "datagram", "busy"))
    folder, file = str(tmp_path), str(tmp_path / "file")
    Path(file).write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(stale)
    stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(datagram)
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(busy)
    server.listen(0)
    stack.enter_context(socket.socket(socket.AF_UNIX)).connect(busy)
    for path, reason in {
        nobody: f"no socket at {nobody}: it does not exist",
        folder: f"{folder} is a directory, not a socket",
        file: f"{file} is not a socket",
        stale: f"refused by {stale}",
        datagram: f"{datagram} is not a stream socket",
        busy: f"{busy} is busy: too many wait to be accepted",
    }.items():
        assert Attempt(loop, f"unix://{path}").failure().reason == reason


@pytest.fixture
def lonely(loop: Loop) -> Iterator[Namespace]:
    """A computer without any network but its loopback; the I/O thread is on it."""
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    namespace = Namespace("10.77.0.1", "fd77::1")
    try:
        namespace.ip("link set lo up")
        on_io(loop, namespace.enter)
        yield namespace
    finally:
        namespace.close()


@pytest.mark.faults
def test_a_computer_without_a_network_says_so(loop: Loop, lonely: Namespace) -> None:
    """Offline is told from a server that is down."""
    failure = Attempt(loop, "192.0.2.1:993").failure()
    assert (failure.reason, failure.final) == ("no route to 192.0.2.1:993 (network unreachable)", False)


@pytest.mark.faults
def test_a_connection_to_itself_is_no_connection(loop: Loop, lonely: Namespace) -> None:
    """A stopped server on a high port is not mistaken for one that echoes, and can take its port again."""
    with lonely.entered():  # one port is left for the calling end: the one that is called
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
    assert Attempt(loop, "127.0.0.1:40000").failure().reason == "refused by 127.0.0.1:40000"
    with lonely.socket() as server:
        server.bind(("127.0.0.1", 40000))


@pytest.mark.faults
def test_that_all_ports_are_taken_is_said(loop: Loop, lonely: Namespace) -> None:
    """A computer that has an address and no free port for it has no other network to look for."""
    with lonely.entered():
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40001 40001")
    with lonely.socket() as server, lonely.socket() as first:
        server.bind(("127.0.0.1", 40000))
        server.listen()
        first.connect(("127.0.0.1", 40000))
        assert Attempt(loop, "127.0.0.1:40000").failure().reason == (
            "this computer has no free port from which to reach 127.0.0.1:40000"
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_a_file_descriptor_an_attempt_says_so(loop: Loop, stack: ExitStack, host: str) -> None:
    """It fails, and not for good: neither is there no such name, nor no such server."""
    port = port_of(listener(stack))
    with no_files_left():
        failure = Attempt(loop, f"{host}:{port}").failure()
    assert not failure.final
    assert "this process has too many open files" in failure.reason
    Attempt(loop, f"127.0.0.1:{port}").socket().close()


def test_a_look_up_that_hides_the_shortage_is_not_believed(loop: Loop) -> None:
    """Some name services say that there is no such name where they could open no file."""

    def no_such_name(host: str, port: int) -> Sequence[Candidate]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with no_files_left():
        reason = Attempt(loop, "name:1", resolver=no_such_name).failure().reason
    assert reason == "cannot connect to name: this process has too many open files"
    reason = Attempt(loop, "name:1", resolver=no_such_name).failure().reason
    assert reason == "no address found for 'name'"


# -- giving up ---------------------------------------------------------------------------------------------


def test_cancelling_before_anything_began(loop: Loop) -> None:
    """%stop right behind %connect: nothing is ever called back."""
    release = threading.Event()
    loop.call_soon(lambda: assert_true(release.wait(PATIENCE)))
    attempt = Attempt(loop, "127.0.0.1:1")
    loop.call_soon(attempt.dial.cancel)  # behind the dial's own beginning
    release.set()
    assert_silent(attempt)


def test_cancelling_while_the_name_is_looked_up(loop: Loop, mute: Mute) -> None:
    """A look-up that is given up calls nobody, not even when it ends."""
    attempt = Attempt(loop, "name:1", resolver=mute)
    assert mute.entered.acquire(timeout=PATIENCE)
    attempt.cancel()
    mute.released.set()
    join_lookups()
    assert_silent(attempt)


def test_cancelling_while_dialing_closes_every_socket(loop: Loop, stack: ExitStack) -> None:
    """Two connections under way, and %stop leaves neither."""
    servers = [listener(stack) for _ in range(2)]
    for server in servers:
        deafen(server)
    attempt = Attempt(loop, "name:1", resolver=answering(*(ipv4(port_of(server)) for server in servers)))
    eventually_connecting(attempt, 2)
    attempt.cancel()
    assert waited_for(loop) == 0
    assert_silent(attempt)


@pytest.mark.parametrize("stop_at", ["resolving", "dialing"])
def test_cancelling_from_within_a_phase(loop: Loop, stop_at: str) -> None:
    """A stop that comes while a phase is announced is obeyed."""
    phases: list[str] = []
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    reached = threading.Event()

    def announced(phase: str) -> None:
        phases.append(phase)
        if phase == stop_at:
            dials[0].cancel()
            reached.set()

    def begin() -> None:
        dials.append(Dial(loop, parse_address("name:1"), results.put, announced, resolver=answering(ipv4(1))))

    dials: list[Dial] = []
    on_io(loop, begin)
    assert reached.wait(PATIENCE)
    on_io(loop, lambda: None)
    assert phases[-1] == stop_at
    assert results.empty()
    join_lookups()


def test_cancelling_what_is_over_does_no_harm(loop: Loop, stack: ExitStack) -> None:
    """A connection that was handed over stays open whatever is done to the dial."""
    server = listener(stack)
    attempt = Attempt(loop, f"127.0.0.1:{port_of(server)}")
    with attempt.socket() as sock, server.accept()[0] as peer:
        attempt.cancel()
        attempt.cancel()
        peer.sendall(b"x")
        sock.setblocking(True)
        assert sock.recv(1) == b"x"


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # of Python 3.12, about forking with threads
def test_a_forked_child_gives_up_its_parents_attempts_and_makes_its_own(stack: ExitStack, mute: Mute) -> None:
    """A look-up that hangs in the parent hangs no child."""
    server = listener(stack)

    class User:
        def at_exit(self) -> None: ...

        def after_fork(self) -> None:
            for attempt in attempts:
                attempt.dial.cancel()

    parent = User()
    loop = acquire_loop(parent)
    deaf = listener(stack)
    deafen(deaf)
    attempts = [
        Attempt(loop, "name:1", resolver=mute),
        Attempt(loop, f"127.0.0.1:{port_of(deaf)}"),
    ]
    try:
        assert mute.entered.acquire(timeout=PATIENCE)
        eventually_connecting(attempts[1], 1)
        with lookups_module._lookups._lock:  # the worst moment
            child = os.fork()
        if child == 0:
            connected = Attempt(acquire_loop(User()), f"localhost:{port_of(server)}").results.get(timeout=5)
            os._exit(0 if isinstance(connected, socket.socket) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert waited_for(loop) == 1, "the parent's attempt goes on"
    finally:
        for attempt in attempts:
            attempt.cancel()
        release_loop(parent)
        loop.thread.join(PATIENCE)


def assert_true(value: bool) -> None:
    assert value
