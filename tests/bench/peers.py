"""The others: the bare blocking loop (the floor), asyncio streams, Twisted, pwntools, as users write them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from tests.bench.measure import TRIP_LINE, WARM_UP_TRIPS, Contender, Sample, Stopwatch, Task, Trips, serve


def _context(task: Task) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=task.cafile) if task.tls else None


def dial(task: Task) -> socket.socket:
    """Connect as a bare script does."""
    task.settle()
    sock = socket.create_connection(("127.0.0.1", task.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = _context(task)
    return sock if context is None else context.wrap_socket(sock, server_hostname="127.0.0.1")


@contextlib.contextmanager
def _floor_line(task: Task) -> Iterator[Callable[[], object]]:
    """Give what makes one round trip of the floor, on a connection of its own."""
    with dial(task) as sock, sock.makefile("rb") as file:

        def trip() -> None:
            sock.sendall(TRIP_LINE)
            file.readline()

        sock.sendall(task.pin + b"\r\n")
        file.readline()
        yield trip


@contextlib.contextmanager
def floor_trips(task: Task) -> Iterator[Trips]:
    """Give the round trips of a task, with those of the floor in between."""
    with _floor_line(task) as trip:
        yield Trips(task.count, trip)


def floor(tasks: list[Task]) -> list[Sample]:
    """``for line in sock.makefile("rb")``; ``sendall`` and ``readline``: keeps nothing, never reconnects."""
    return [_floor(task) for task in tasks]


def _floor(task: Task) -> Sample:
    if task.figure == "trip":
        with _floor_line(task) as trip, floor_trips(task) as trips:
            return trips.of(trip)
    with dial(task) as sock, sock.makefile("rb") as file:
        sock.sendall(task.pin + b"\r\n")
        file.readline()
        watch = Stopwatch()
        sock.sendall(task.command + b"\r\n")
        for _line in islice(file, task.count):
            pass
        return watch.flood(task.count)


def floor_reconnects(task: Task) -> float:
    """Have the server close `task.count` times and connect again; return the median seconds for both."""
    times = []
    sock = dial(task)
    for _ in range(task.count):
        start = time.perf_counter()
        sock.sendall(b"!bye\r\n")
        while sock.recv(1 << 16):
            pass
        sock.close()
        sock = dial(task)
        times.append(time.perf_counter() - start)
    sock.close()
    return statistics.median(times)


def asyncio_streams(tasks: list[Task]) -> list[Sample]:
    """``await reader.readline()``."""
    return [asyncio.run(_asyncio_streams(task)) for task in tasks]


async def _asyncio_streams(task: Task) -> Sample:
    task.settle()
    reader, writer = await asyncio.open_connection("127.0.0.1", task.port, ssl=_context(task))
    try:
        writer.write(task.pin + b"\r\n")
        await reader.readline()
        if task.figure != "trip":
            watch = Stopwatch()
            writer.write(task.command + b"\r\n")
            for _ in range(task.count):
                await reader.readline()
            return watch.flood(task.count)
        for _ in range(WARM_UP_TRIPS):
            writer.write(TRIP_LINE)
            await reader.readline()
        with floor_trips(task) as trips:
            for row in trips.rows():
                for _ in row:
                    start = time.perf_counter()
                    writer.write(TRIP_LINE)
                    await reader.readline()
                    trips.times.append(time.perf_counter() - start)
            return trips.sample()
    finally:
        writer.transport.abort()


def twisted(tasks: list[Task]) -> list[Sample]:
    """``LineReceiver.lineReceived``; all in one thread, the reactor's."""
    loop: Any = import_module("twisted.internet.reactor")
    if any(task.tls for task in tasks):
        import_module("twisted.internet.ssl")  # without pyOpenSSL it fails here, and not within the reactor
    samples: list[Sample] = []
    left = iter(tasks)

    def go_on() -> None:
        task = next(left, None)
        if task is None:
            loop.stop()
        else:
            _twisted_connect(loop, task, samples.append, go_on)

    loop.callWhenRunning(go_on)
    loop.run()
    if len(samples) != len(tasks):
        raise RuntimeError("Twisted did not finish")
    return samples


def _twisted_connect(
    loop: Any, task: Task, done: Callable[[Sample], None], go_on: Callable[[], None]
) -> None:
    # Imported as Any: whether Twisted is there, and typed, must not matter to whoever checks these files.
    endpoints: Any = import_module("twisted.internet.endpoints")
    protocol: Any = import_module("twisted.internet.protocol")
    basic: Any = import_module("twisted.protocols.basic")

    class Client(basic.LineReceiver):
        def connectionMade(self) -> None:  # noqa: N802  # Twisted's name
            self.transport.setTcpNoDelay(True)
            self.lineReceived = self.pinned
            self.sendLine(task.pin)

        def connectionLost(self, reason: object = None) -> None:  # noqa: N802  # Twisted's name
            go_on()

        def pinned(self, line: bytes) -> None:
            if task.figure != "trip":
                self.watch = Stopwatch()
                self.left = task.count
                self.lineReceived = self.counted
                self.sendLine(task.command)
            else:
                self.between = contextlib.ExitStack()
                self.trips = self.between.enter_context(floor_trips(task))
                self.steps = self.each_trip()
                self.lineReceived = self.answered
                self.ask()

        def counted(self, line: bytes) -> None:
            self.left -= 1
            if not self.left:
                done(self.watch.flood(task.count))
                self.transport.abortConnection()

        def answered(self, line: bytes) -> None:
            self.trips.times.append(time.perf_counter() - self.start)
            self.ask()

        def ask(self) -> None:
            if next(self.steps, False):
                self.start = time.perf_counter()
                self.transport.write(TRIP_LINE)
            else:
                done(self.trips.sample())
                self.between.close()
                self.transport.abortConnection()

        def each_trip(self) -> Iterator[bool]:
            for _ in range(WARM_UP_TRIPS):
                yield True
            self.trips.times.clear()
            for row in self.trips.rows():
                for _ in row:
                    yield True

    task.settle()
    endpoint: Any = endpoints.TCP4ClientEndpoint(loop, "127.0.0.1", task.port)
    if task.tls:
        twisted_ssl: Any = import_module("twisted.internet.ssl")
        authority = twisted_ssl.Certificate.loadPEM(Path(task.cafile).read_text())
        trust = twisted_ssl.trustRootFromCertificates([authority])
        endpoint = endpoints.wrapClientTLS(twisted_ssl.optionsForClientTLS("localhost", trust), endpoint)
    factory = protocol.Factory.forProtocol(Client)
    endpoint.connect(factory).addErrback(lambda failure: (failure.printTraceback(), loop.stop()))


def pwntools(tasks: list[Task]) -> list[Sample]:
    """``recvline`` of a ``remote``."""
    from pwn import context

    context.log_level = "error"
    return [_pwntools(task) for task in tasks]


def _pwntools(task: Task) -> Sample:
    from pwn import remote

    task.settle()
    # Its ssl=True alone verifies nothing: it is given the context that the others use.
    tube = remote("127.0.0.1", task.port, ssl=task.tls, ssl_context=_context(task))
    tube.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        tube.send(task.pin + b"\r\n")
        tube.recvline()
        if task.figure != "trip":
            watch = Stopwatch()
            tube.send(task.command + b"\r\n")
            for _ in range(task.count):
                tube.recvline()
            return watch.flood(task.count)

        def trip() -> None:
            tube.send(TRIP_LINE)
            tube.recvline()

        with floor_trips(task) as trips:
            return trips.of(trip)
    finally:
        tube.close()


CONTENDERS: dict[str, Contender] = {
    "floor": floor,
    "asyncio": asyncio_streams,
    "twisted": twisted,
    "pwntools": pwntools,
}

if __name__ == "__main__":
    serve(CONTENDERS, {"reconnects": floor_reconnects})
