"""What the tests of several rooms of clients need: behaviours of servers, threads, and how lines are read;
has no tests.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ipyreconnect import (
    TLS,
    Client,
    Line,
    Retry,
    Transcript,
)
from tests.servers.certificates import Certificates
from tests.servers.line_server import (
    Behaviour,
    Peer,
)
from tests.watching import PATIENCE

__all__ = [
    "QUICK",
    "Thread",
    "Transport",
    "burst",
    "count_on",
    "notes",
    "number_of",
    "on_thread",
    "received",
    "secure",
    "small",
]


QUICK = Retry(delay=0.02, jitter=0)


def received(client: Client) -> list[str]:
    return [line.text for line in client.transcript if line.direction == "<"]


def notes(client: Client) -> list[str]:
    return [line.text for line in client.transcript if line.direction == "*"]


def burst(data: bytes, *, closes: bool = False) -> Behaviour:
    """Make a behaviour that sends `data` once it has read a line, and then closes or waits for the end."""

    async def behave(peer: Peer) -> None:
        await peer.readline()
        peer.send(data)
        if not closes:
            await peer.until_closed()

    return behave


class Transport(NamedTuple):
    """How both ends of a connection speak: in the clear or in TLS."""

    context: ssl.SSLContext | None
    tls: TLS | bool


class Thread(threading.Thread):
    """Run a function on a thread; `result` waits for what it returns, or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._results: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self.start()

    def run(self) -> None:
        try:
            self._results.put((self._function(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._results.put((None, error))

    def result(self, timeout: float = PATIENCE) -> Any:
        result, error = self._results.get(timeout=timeout)
        self.join(timeout)
        if error is not None:
            raise error
        return result


async def count_on(peer: Peer) -> None:
    """Send as many numbered lines as each line that comes asks for."""
    number = 0
    while asked := await peer.readline():
        more = int(asked)
        peer.send(b"".join(b"%d\r\n" % each for each in range(number, number + more)))
        number += more


@contextlib.contextmanager
def on_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)


def small(lines: int) -> Transcript:
    """Return a transcript that a flood soon fills."""
    return Transcript(lines, 1 << 20)


def secure(certificates: Certificates, **options: Any) -> TLS:
    return TLS(cafile=certificates.cafile, **options)


def number_of(line: Line | bytes) -> int:
    return int(line if isinstance(line, bytes) else line.data)
