"""Two computers and a cable between them in one test process: network namespaces and a veth pair; no tests.

A thread enters a namespace with setns(2), and a socket made there stays there whichever thread uses it, so
client and server can live in one process. It needs root, or what a normal user can have of it:
`unshare -rn sh -c "ip link set lo up; python -m pytest"`. Without either, `deafen` pulls the cable of one
socket.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from types import TracebackType
from typing import Final, Self

__all__ = ["Namespace", "NamespacePair", "deafen", "hear", "unavailable"]

CLONE_NEWNET: Final = 0x40000000
"""linux/sched.h; the kind of namespace that unshare(2) and setns(2) are asked for."""

IP_MINTTL: Final = 21
"""linux/in.h: drop what arrives with a smaller time to live; Python has no name for it."""

IPV6_MINHOPCOUNT: Final = 73
"""linux/in6.h: the same for IPv6."""

LARGEST_TTL: Final = 255
"""More than any packet of a normal system has: it sends with 64 or 128."""

CABLE: Final = "cable"
"""What both ends call their network interface."""

PASS_PATIENCE: Final = 10.0
"""Seconds to wait for a ping through a new or repaired cable; a veth may drop packets for up to 1 s."""

PING_EVERY: Final = 0.01
"""Seconds between two pings while waiting."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _here() -> int:
    """Return a file descriptor of the namespace that the calling thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _setns(fd: int) -> None:
    _checked(_libc.setns(fd, CLONE_NEWNET))


@contextmanager
def _returning() -> Iterator[None]:
    """Bring the calling thread back to its namespace at the end."""
    home = _here()
    try:
        yield
    finally:
        try:
            _setns(home)
        finally:
            os.close(home)


Socket = socket.socket
"""By another name, for a namespace has a method `socket`."""


class Namespace:
    """A computer with a network of its own: a loopback interface, and one end of the cable."""

    def __init__(self, ipv4: str, ipv6: str) -> None:
        """Make the namespace, without any interface yet.

        :param ipv4: its address on the cable, of the network /24
        :param ipv6: its address on the cable, of the network /64
        """
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self._sockets: list[Socket] = []
        with _returning():
            _checked(_libc.unshare(CLONE_NEWNET))
            self.fd = _here()

    def enter(self) -> None:
        """Move the calling thread into this namespace for good, such as an I/O thread of a test's own."""
        _setns(self.fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run the body with the calling thread in here; programs that it starts are in here too."""
        with _returning():
            self.enter()
            yield

    def socket(self, family: int = AF_INET, kind: int = SOCK_STREAM) -> Socket:
        """Make a socket here; it is closed at the end of the pair at the latest."""
        with self.entered():
            sock = Socket(family, kind)
        self._sockets.append(sock)
        return sock

    def listen(self, family: int = AF_INET, port: int = 0) -> Socket:
        """Make a listening socket on this end of the cable."""
        sock = self.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.address(family), port))
        sock.listen()
        return sock

    def address(self, family: int = AF_INET) -> str:
        """Return this end's address of that family."""
        return self.ipv6 if family == AF_INET6 else self.ipv4

    def ip(self, *lines: str) -> None:
        """Run lines for ``ip -batch`` here, such as ``link set cable down``."""
        self._run(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def link_down(self) -> None:
        """Switch this end's interface off; the other end loses its carrier."""
        self.ip(f"link set {CABLE} down")

    def link_up(self) -> None:
        """Switch this end's interface on, with the IPv6 address that Linux takes away when it goes down."""
        self.ip(f"link set {CABLE} up", f"addr replace {self.ipv6}/64 dev {CABLE} nodad")

    def remove_address(self, family: int = AF_INET) -> None:
        """Take this end's address away."""
        self.ip(f"addr del {self._network(family)} dev {CABLE}")

    def add_address(self, family: int = AF_INET) -> None:
        """Give this end its address back."""
        nodad = " nodad" if family == AF_INET6 else ""  # usable at once, without asking for duplicates
        self.ip(f"addr add {self._network(family)} dev {CABLE}{nodad}")

    def drop(self) -> None:
        """Throw away each packet that arrives through the cable; nobody is told.

        Arriving ones, because Linux tells a sender whose own packets are thrown away on the way out.
        """
        self._run(
            ["nft", "-f", "-"],
            f"""table inet cut {{
                chain arriving {{
                    type filter hook prerouting priority -300; policy accept;
                    iifname "{CABLE}" drop;
                }}
            }}
            """,
        )

    def restore(self) -> None:
        """Let packets arrive again after `drop`."""
        self._run(["nft", "delete", "table", "inet", "cut"])

    def close(self) -> None:
        """Close the sockets that were made here and give the namespace up; harmless when that is done."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _network(self, family: int) -> str:
        return f"{self.ipv6}/64" if family == AF_INET6 else f"{self.ipv4}/24"

    def _run(self, command: list[str], script: str | None = None) -> None:
        with self.entered():
            done = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(command)} failed: {done.stderr.strip()}\n{script or ''}")


class NamespacePair:
    """Two namespaces joined by a cable, ready for use inside ``with``, and gone without a trace after it.

    ``left`` has the addresses 10.77.0.1 and fd77::1, ``right`` 10.77.0.2 and fd77::2; each pair is a world of
    its own, so many of them can stand side by side.
    """

    left: Namespace
    right: Namespace

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.left = Namespace("10.77.0.1", "fd77::1")
            undo.callback(self.left.close)
            self.right = Namespace("10.77.0.2", "fd77::2")
            undo.callback(self.right.close)
            self._join(undo)
            for end in (self.left, self.right):
                end.ip(
                    "link set lo up",
                    f"addr add {end.ipv4}/24 dev {CABLE}",
                    f"addr add {end.ipv6}/64 dev {CABLE} nodad",
                    # No link-local address: looking for its duplicates ends in a change 1.5 s later.
                    f"link set {CABLE} addrgenmode none",
                    f"link set {CABLE} up",
                )
            self.wait_until_passing()
            self._undo = undo.pop_all()
        return self

    def _join(self, undo: ExitStack) -> None:
        """Give both ends an interface, and join these."""
        # Two different numbers: Linux is quick with a link whose other end has another number than it has
        # itself; any other may drop packets for 1 s (net/core/link_watch.c, linkwatch_urgent_event).
        self.left.ip(
            f"link add {CABLE} index 77 type veth "
            f"peer name {CABLE} index 78 netns /proc/{os.getpid()}/fd/{self.right.fd}"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The cable goes at once; a namespace goes with its last socket, which a test may have forgotten.
        with self._undo:
            try:
                self.left.ip(f"link del {CABLE}")
            except OSError:  # the test has done so itself
                pass

    def drop(self) -> None:
        """Throw away every packet, in both directions."""
        self.left.drop()
        self.right.drop()

    def restore(self) -> None:
        """Let packets pass again after `drop`."""
        self.left.restore()
        self.right.restore()

    def wait_until_passing(self, patience: float = PASS_PATIENCE) -> None:
        """Return as soon as a UDP packet has passed each way, over IPv4 and IPv6.

        :param patience: seconds
        :raises TimeoutError: none came through in time
        """
        deadline = time.monotonic() + patience
        for sender, receiver in ((self.left, self.right), (self.right, self.left)):
            for family in (AF_INET, AF_INET6):
                _ping(sender, receiver, family, deadline)


def _ping(sender: Namespace, receiver: Namespace, family: int, deadline: float) -> None:
    with (
        sender.socket(family, SOCK_DGRAM) as source,
        receiver.socket(family, SOCK_DGRAM) as target,
    ):
        target.bind((receiver.address(family), 0))
        while True:
            try:
                source.sendto(b"ping", target.getsockname())
            except OSError:  # no route yet
                pass
            if select.select([target], [], [], PING_EVERY)[0]:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"no packet from {sender.address(family)} to {receiver.address(family)}")


def deafen(sock: Socket) -> None:
    """Pull one TCP socket's cable: it hears nothing any more, acknowledges nothing, and nobody is told.

    A listener's future connections inherit it. For a cut in both directions deafen both ends. Needs no
    privilege. Source: ip(7), IP_MINTTL.
    """
    _listen_from(sock, LARGEST_TTL)


def hear(sock: Socket) -> None:
    """Plug the cable of a deafened socket in again."""
    _listen_from(sock, 0)


def _listen_from(sock: Socket, ttl: int) -> None:
    # An IPv6 socket may carry IPv4 as well.
    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, ttl)
    if sock.family == AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, ttl)


def unavailable() -> str | None:
    """Say why network namespaces cannot be made here; None: they can."""
    try:
        with NamespacePair():
            return None
    except (OSError, AttributeError) as error:
        return f"no network namespaces: {error}"
