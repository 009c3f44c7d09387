"""One fault in one network, and every kind of connection that lives through it, measured; judges nothing.

For each fault there are 15 clients: {plain, TLS 1.2, TLS 1.3} × what the user was doing when it struck.
Beside them are bare sockets that have only keepalive. They all exchange a line just before, so that the
silence begins with the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ipyreconnect import TLS, Client, Delivery, Heartbeat, KeepAlive, NotConnected
from tests.namespaces import NamespacePair, deafen, hear
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, LineServerProcess, Peer, echo
from tests.watching import until
from tests.weather import WirelessPair

__all__ = [
    "BEAT_EVERY",
    "DOING",
    "FAULTS",
    "KEEPALIVE",
    "SECURITY",
    "WATCHED",
    "Case",
    "Fault",
    "Outcome",
    "play",
]

KEEPALIVE: Final = KeepAlive(idle=5, interval=3, count=3)
"""The weblog's, and the default: dead after 14 s."""

BEAT_EVERY: Final = 5.0
"""Seconds between two heartbeats, where there are any."""

SECURITY: Final = ("plain", "TLS 1.2", "TLS 1.3")

DOING: Final[dict[str, float | None]] = {
    "idle": None,
    "in flight": 0.0,
    "written 3 s after": 3.0,
    "written 9 s after": 9.0,
    "written 13 s after": 13.0,
}
"""What the user was doing when the fault struck: when a line was written, in seconds after it."""

WATCHED: Final = 65.0
"""Seconds after the fault for which everything is watched: what is not noticed by then counts as never."""

PATIENCE: Final = 30.0
"""Seconds that connecting, answering and coming back may take; whoever waits for so long has failed."""

OUTAGE: Final = KEEPALIVE.bound - 2.5
"""Seconds that are to be sat out: half a second less than promised, for a cut and its end take their time."""

FLAP: Final = 0.5
"""Seconds without a link, as when a switch is plugged about."""

STALLED_FOR: Final = 10.0
"""Seconds that a window is closed before the fault: long enough for the kernel to ask seldom."""

BULK: Final = 128
"""Lines that close a window, with the small buffers of `_narrow`: they fill the peer's and our kernel's."""
BULK_LINE: Final = 8192

RECEIVE_BUFFERS: Final = "4096 32768 65536"
SEND_BUFFERS: Final = "4096 16384 131072"


class Server(Protocol):
    """What the line server in a thread and the one in a process have in common."""

    @property
    def address(self) -> str: ...


class Stalling:
    """A behaviour that echoes, reads no more after the line ``stall``, and goes on when it is told to."""

    def __init__(self) -> None:
        self._standing: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, peer: Peer) -> None:
        while line := await peer.readline():
            if line == b"stall\r\n":
                go_on = asyncio.Event()
                self._standing.append((asyncio.get_running_loop(), go_on))
                transport = peer._writer.transport
                assert isinstance(transport, asyncio.Transport)
                transport.pause_reading()
                await go_on.wait()
                transport.resume_reading()
            elif len(line) < BULK_LINE:
                peer.send(line)

    def read_on(self) -> None:
        for loop, go_on in self._standing:
            loop.call_soon_threadsafe(go_on.set)


@dataclass
class Case:
    """One client, what it does, and what became of it."""

    security: str
    doing: str
    client: Client
    lost: list[tuple[float, str]] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    refused: bool = False

    @property
    def name(self) -> str:
        return f"{self.doing}, {self.security}"

    def watch(self) -> None:
        """Note when users are told that the connection is lost, and that it is back."""

        def told(change: Any) -> None:
            if change.old == "connected":
                self.lost.append((time.monotonic(), self.client.reason))
            elif change.new == "connected":
                self.back.append(time.monotonic())

        self.client.observe(told, "state")

    def write(self, line: str) -> None:
        try:
            self.deliveries.append(self.client.send(line))
        except NotConnected:
            self.refused = True


@dataclass
class Bare:
    """One socket with keepalive alone, as nearly everybody writes it."""

    doing: str
    sock: socket.socket
    lost: float | None = None

    @classmethod
    def connect(cls, doing: str, address: str) -> Bare:
        host, port = address.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE.idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE.interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE.count)
        sock.settimeout(None)  # with one, Python would wait for as long in spite of MSG_DONTWAIT
        return cls(doing, sock)

    def exchange(self) -> None:
        self.sock.sendall(b"hello\r\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self.sock.recv(100)

    def stall(self) -> None:
        self.sock.sendall(b"stall\r\n")
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.send(bytes(BULK_LINE))

    def write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # full, or lost already
            self.sock.send(line.encode() + b"\r\n", socket.MSG_DONTWAIT)

    def ended(self) -> bool:
        """Read what is there, and say whether the system has told of an end."""
        try:
            while data := self.sock.recv(65536, socket.MSG_DONTWAIT):
                del data
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class World:
    """A pair of namespaces, the servers in the right one, the clients and bare sockets in the left one."""

    def __init__(
        self, pair: NamespacePair, fault: Fault, folder: Path, cleanup: contextlib.ExitStack
    ) -> None:
        self.pair = pair
        self.fault = fault
        self.stalling = Stalling()
        self.servers: dict[str, LineServer] = {}
        self.processes: dict[str, LineServerProcess] = {}
        certificates = Certificates(folder)
        good = certificates.good()
        for security in SECURITY:
            secure, old = security != "plain", security == "TLS 1.2"
            with pair.right.entered():
                if fault.in_process:
                    process = LineServerProcess(
                        "echo",
                        host=pair.right.ipv4,
                        cert=good.pem if secure else None,
                        key=good.key if secure else None,
                        tls12=old,
                    )
                    self.processes[security] = cleanup.enter_context(process)
                else:
                    server = LineServer(
                        self.stalling if fault.stalls else echo,
                        host=pair.right.ipv4,
                        tls=good.server_context(tls12=old) if secure else None,
                    )
                    self.servers[security] = cleanup.enter_context(server)
        tls = TLS(cafile=certificates.cafile, server_name="localhost")
        self.cases = [
            Case(
                security,
                doing,
                Client(
                    self.address(security),
                    tls=False if security == "plain" else tls,
                    keepalive=KEEPALIVE,
                    heartbeat=Heartbeat("beat", BEAT_EVERY) if fault.heartbeat else None,
                ),
            )
            for security in SECURITY
            for doing in DOING
        ]
        for case in self.cases:
            case.client.connect(wait=None)
            cleanup.callback(case.client.stop)
        self.bare = [Bare.connect(doing, self.address("plain")) for doing in DOING]
        for bare in self.bare:
            cleanup.callback(bare.sock.close)

    def address(self, security: str) -> str:
        return (self.processes or self.servers)[security].address

    @property
    def peers(self) -> Iterator[Peer]:
        for server in self.servers.values():
            yield from server.peers

    @property
    def sockets(self) -> Iterator[socket.socket]:
        """Our ends, which nobody but a test touches."""
        for case in self.cases:
            sock = case.client._driver.transport.sock
            if sock is not None:
                yield sock
        for bare in self.bare:
            yield bare.sock

    def exchange(self) -> None:
        """Have everybody send a line and wait for its answer."""
        for case in self.cases:
            case.client.connect(wait=PATIENCE)
            if case.client.state != "connected":
                raise RuntimeError(f"{case.name}: {case.client.state}, {case.client.reason}")
            case.client.send(f"hello {case.name}", expect="^hello ", timeout=PATIENCE)
        for bare in self.bare:
            bare.exchange()

    def hear_heartbeats(self) -> None:
        """Wait until everybody's heartbeat was answered: before that, nobody is judged by one."""
        for case in self.cases:
            until(case.client, lambda case=case: case.client.heartbeat_answered, PATIENCE)  # type: ignore[misc]

    def stall(self) -> None:
        """Close everybody's window, and keep it closed for a while."""
        for case in self.cases:
            case.client.send("stall").wait(timeout=PATIENCE)
        for bare in self.bare:
            bare.stall()
        for case in self.cases:
            filler = f" {case.name} ".ljust(BULK_LINE - 6, "x")
            for number in range(BULK):
                case.write(f"{number:04}{filler}")
        time.sleep(STALLED_FOR)
        for case in self.cases:
            health = case.client.health
            if health.verdict != "stalled":
                raise RuntimeError(f"{case.name}: not stalled, but {health}")


@dataclass(frozen=True)
class Fault:
    """What breaks, and how it is mended.

    lasts: seconds until it mends by itself. stalls: the windows are closed before. in_process: the servers
    are processes of their own. wireless: between them is no cable, but weather. heartbeat: the clients have
    one. kept: it is no fault, or a passing one, and nobody may be cut.
    """

    strike: Callable[[World], object]
    mend: Callable[[World], object]
    lasts: float | None = None
    stalls: bool = False
    in_process: bool = False
    wireless: bool = False
    heartbeat: bool = False
    kept: bool = False


def _deafen(world: World) -> None:
    for server in world.servers.values():
        server.pull_cable()
    for sock in world.sockets:
        deafen(sock)


def _hear(world: World) -> None:
    for server in world.servers.values():
        server.plug_cable()
    for sock in world.sockets:
        with contextlib.suppress(OSError):
            hear(sock)


def _end_all(end: Callable[[Peer], None]) -> Callable[[World], None]:
    """End each connection, and have nobody listen, so that nobody comes back yet."""

    def strike(world: World) -> None:
        for server in world.servers.values():
            server.refuse()
        for peer in world.peers:
            end(peer)

    return strike


def _listen(world: World) -> None:
    for server in world.servers.values():
        server.listen()


def _suspend(world: World) -> None:
    for process in world.processes.values():
        process.suspend()
        os.waitpid(process.pid, os.WUNTRACED)  # it may have a moment left


def _resume(world: World) -> None:
    for process in world.processes.values():
        process.resume()


def _weather(**changes: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        assert isinstance(world.pair, WirelessPair)
        for name, value in changes.items():
            setattr(world.pair.weather, name, value)

    return change


def _read_on_after(mend: Callable[[World], object]) -> Callable[[World], None]:
    def mend_all(world: World) -> None:
        mend(world)
        world.stalling.read_on()

    return mend_all


def _nothing(world: World) -> None:
    pass


FAULTS: Final[dict[str, Fault]] = {
    "packets dropped": Fault(lambda world: world.pair.drop(), lambda world: world.pair.restore()),
    "socket deaf": Fault(_deafen, _hear),
    "only our packets lost": Fault(_weather(left_lost=True), _weather(left_lost=False), wireless=True),
    "only the peer's packets lost": Fault(
        _weather(right_lost=True), _weather(right_lost=False), wireless=True
    ),
    "peer's address removed": Fault(
        lambda world: world.pair.right.remove_address(), lambda world: world.pair.right.add_address()
    ),
    "window closed, then packets dropped": Fault(
        lambda world: world.pair.drop(), _read_on_after(lambda world: world.pair.restore()), stalls=True
    ),
    "peer's link down": Fault(
        lambda world: world.pair.right.link_down(), lambda world: world.pair.right.link_up()
    ),
    "own link down": Fault(
        lambda world: world.pair.left.link_down(), lambda world: world.pair.left.link_up()
    ),
    "own address removed": Fault(
        lambda world: world.pair.left.remove_address(), lambda world: world.pair.left.add_address()
    ),
    "peer resets (RST)": Fault(_end_all(Peer.reset), _listen),
    "peer closes (FIN)": Fault(_end_all(Peer.close), _listen),
    "program hangs, with heartbeats": Fault(_suspend, _resume, in_process=True, heartbeat=True),
    "packets dropped for 11.5 s": Fault(
        lambda world: world.pair.drop(), lambda world: world.pair.restore(), lasts=OUTAGE, kept=True
    ),
    "own link down for 0.5 s": Fault(
        lambda world: world.pair.left.link_down(),
        lambda world: world.pair.left.link_up(),
        lasts=FLAP,
        kept=True,
    ),
    "peer's link down for 0.5 s": Fault(
        lambda world: world.pair.right.link_down(),
        lambda world: world.pair.right.link_up(),
        lasts=FLAP,
        kept=True,
    ),
    "a slow link, each third packet lost": Fault(
        _weather(delay=0.4, jitter=0.2, lost=3),
        _weather(delay=0.0, jitter=0.0, lost=0),
        wireless=True,
        kept=True,
    ),
    "window closed, and all is well": Fault(_nothing, _read_on_after(_nothing), stalls=True, kept=True),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one client: all times in seconds.

    noticed: after the fault, when its user was told; None: never. bare: the same for a socket with keepalive
    alone that did the same. refused: the line could not be written any more, for the loss was known. back:
    after the end of the fault; None: before it already. statuses: how often each fate befell the lines that
    were sent after the last exchange. missing: lines that count as acknowledged and that the server has not
    got. ghosts: lines that count as unconfirmed and that the server got after all. twice: lines that it got
    more than once.
    """

    fault: str
    security: str
    doing: str
    noticed: float | None
    reason: str
    bare: float | None
    refused: bool
    back: float | None
    connections: int
    statuses: dict[str, int]
    missing: int
    ghosts: int
    twice: int


def play(name: str, ready: Callable[[], None]) -> list[Outcome]:
    """Play the fault of that name; `ready` is called when all is set up, and returns when it may strike."""
    fault = FAULTS[name]
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        pair = cleanup.enter_context(WirelessPair() if fault.wireless else NamespacePair())
        pair.left.enter()
        if fault.stalls:
            _narrow(pair)
        world = World(pair, fault, folder, cleanup)
        world.exchange()
        if fault.heartbeat:
            world.hear_heartbeats()
        if fault.stalls:
            world.stall()
        ready()
        if not fault.stalls:
            world.exchange()
        for case in world.cases:
            case.watch()
        struck = time.monotonic()
        fault.strike(world)
        _live_through(world, struck)
        mended = time.monotonic()
        if fault.lasts is None:
            fault.mend(world)
        _come_back(world)
        return [_outcome(name, case, world, struck, mended) for case in world.cases]


def _narrow(pair: NamespacePair) -> None:
    """Make all buffers of both kernels small, so that little data closes a window."""
    for end, which, sizes in ((pair.right, "rmem", RECEIVE_BUFFERS), (pair.left, "wmem", SEND_BUFFERS)):
        with end.entered():
            Path(f"/proc/sys/net/ipv4/tcp_{which}").write_text(sizes)


def _live_through(world: World, struck: float) -> None:
    """Write what is to be written at its time, and watch until everybody has noticed, or for long enough."""
    poller = select.poll()
    bare_by_fd = {bare.sock.fileno(): bare for bare in world.bare}
    for fd in bare_by_fd:
        poller.register(fd, select.POLLIN)
    everybody: list[Case | Bare] = [*world.cases, *world.bare]
    writers = [(struck + after, each) for each in everybody if (after := DOING[each.doing]) is not None]
    writers.sort(key=lambda pair: -pair[0])
    ends = struck + WATCHED
    mends = ends + 1 if world.fault.lasts is None else struck + world.fault.lasts
    while True:
        now = time.monotonic()
        if now >= mends:
            mends = ends + 1
            world.fault.mend(world)
        while writers and writers[-1][0] <= now:
            writer = writers.pop()[1]
            writer.write(f"written {writer.doing}" + (f" {writer.name}" if isinstance(writer, Case) else ""))
        all_noticed = all(case.lost for case in world.cases) and all(bare.lost for bare in world.bare)
        if now >= ends or (all_noticed and not writers):
            return
        until = min(ends, mends, writers[-1][0] if writers else ends, now + 0.5)
        for fd, _ in poller.poll((until - now) * 1000 + 1):
            if bare_by_fd[fd].ended():
                bare_by_fd[fd].lost = time.monotonic()
                poller.unregister(fd)


def _come_back(world: World) -> None:
    """Wait until everybody is connected and has had an answer: what was sent before has arrived by then."""
    ends = time.monotonic() + PATIENCE
    for case in world.cases:
        back = threading.Event()
        poke = _pusher(case.client, back)
        case.client.add_watcher(poke)
        poke()
        if not back.wait(max(0.0, ends - time.monotonic())):
            raise RuntimeError(f"{case.name}: not back, {case.client.state}: {case.client.reason}")
        case.client.remove_watcher(poke)
        case.client.send(f"back {case.name}", expect="^back ", timeout=PATIENCE)
        for delivery in case.deliveries:
            delivery.wait(timeout=PATIENCE)


def _pusher(client: Client, back: threading.Event) -> Callable[[], None]:
    def poke() -> None:
        if client.status.state.value == "connected":
            back.set()

    return poke


def _outcome(name: str, case: Case, world: World, struck: float, mended: float) -> Outcome:
    received = [line for peer in world.peers for line in peer.lines]
    statuses: dict[str, int] = {}
    missing = ghosts = twice = 0
    for delivery in case.deliveries:
        statuses[delivery.status] = statuses.get(delivery.status, 0) + 1
        if world.processes:
            continue
        times = received.count(delivery.data)
        missing += delivery.status == "acknowledged" and not times
        ghosts += delivery.status == "unconfirmed" and bool(times)
        twice += times > 1
    bare = next(bare.lost for bare in world.bare if bare.doing == case.doing)
    noticed, reason = case.lost[0] if case.lost else (None, "")
    return Outcome(
        fault=name,
        security=case.security,
        doing=case.doing,
        noticed=noticed - struck if noticed is not None else None,
        reason=reason,
        bare=bare - struck if bare is not None else None,
        refused=case.refused,
        back=next((when - mended for when in case.back if when >= mended), None),
        connections=case.client.status.connection,
        statuses=statuses,
        missing=missing,
        ghosts=ghosts,
        twice=twice,
    )
