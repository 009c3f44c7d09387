"""What one client's slow code costs the other clients of its process: their round trips, automatic replies,
listeners and stops, by turns with and without it.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from ipyreconnect import Client, ExpectTimeout, Line, Overrun
from tests.bench.measure import Task, serve

FEED = "!feed 100 500 20"
"""What each burdened client receives: 100 lines of 500 bytes each 20 ms, 2.5 MB/s."""
KEPT = 2000
"""Lines that its transcript keeps: less than a second of that."""
SLOW = 0.3
"""Seconds that its code takes for a line."""
ROWS = 10
"""How often the turns change."""
SETTLE = 0.3
"""Seconds between two turns: what has been left lying is gone through quickly."""
TRIPS = 100
STOPS = 10
"""Of each, in a row."""

Burden = Callable[[Task, threading.Event], AbstractContextManager[None]]
"""A client that is fed, and whose code is slow while the event is set."""


@contextlib.contextmanager
def _fed(task: Task, **options: Any) -> Iterator[Client]:
    with Client(f"127.0.0.1:{task.port}", transcript=KEPT, **options) as client:
        client.send(FEED)
        yield client


def _dawdle(slow: threading.Event) -> None:
    if slow.is_set():
        time.sleep(SLOW)


@contextlib.contextmanager
def slow_listener(task: Task, slow: threading.Event) -> Iterator[None]:
    """Listen with a function that takes its time."""
    with _fed(task) as client:
        client.on_line(lambda line: _dawdle(slow))
        yield


@contextlib.contextmanager
def slow_observer(task: Task, slow: threading.Event) -> Iterator[None]:
    """Observe, with a function that takes its time, the state of a client that connects again and again."""
    over = threading.Event()
    with _fed(task) as client:
        client.observe(lambda change: _dawdle(slow), "state")

        def reconnect() -> None:
            while not over.wait(SLOW):
                client.reconnect_now()

        thread = threading.Thread(target=reconnect)
        thread.start()
        yield
        over.set()
        thread.join()


@contextlib.contextmanager
def slow_follower(task: Task, slow: threading.Event) -> Iterator[None]:
    """Follow with a loop that takes its time."""
    with _fed(task) as client:
        lines = client.follow()

        def read() -> None:
            while client.state != "stopped":
                with contextlib.suppress(Overrun):
                    for _ in lines:
                        _dawdle(slow)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            client.stop()
            thread.join()


@contextlib.contextmanager
def slow_framing(task: Task, slow: threading.Event) -> Iterator[None]:
    """Cut the lines with an object that takes its time for what it is fed."""

    class Framing:
        def __init__(self) -> None:
            self.held = b""

        def feed(self, data: bytes) -> list[bytes]:
            _dawdle(slow)
            *lines, self.held = (self.held + data).split(b"\n")
            return lines

    with _fed(task, framing=Framing):
        yield


@contextlib.contextmanager
def slow_expression(task: Task, slow: threading.Event) -> Iterator[None]:
    """Expect, again and again, what takes for ever over each line of the feed."""
    over = threading.Event()
    with _fed(task) as client:

        def expect() -> None:
            while not over.is_set():
                if slow.wait(SETTLE / 10):
                    with contextlib.suppress(ExpectTimeout):
                        client.expect(r"^(\w+\s?)+!$|^(.+)+\Z!", timeout=SLOW)

        thread = threading.Thread(target=expect)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


BURDENS: dict[str, Burden] = {
    "listener": slow_listener,
    "observer": slow_observer,
    "follower": slow_follower,
    "framing": slow_framing,
    "expression": slow_expression,
}
"""One more is one entry more: it is measured together with the others, and by itself."""


def neighbours(task: Task, names: str) -> dict[str, list[float]]:
    """Measure beside the burdens of these names (with blanks between them); return of each figure the seconds
    without (p50), and the ratio (the median of the rows').
    """
    task.settle()
    slow = threading.Event()
    found: dict[str, tuple[list[float], list[float]]] = {}
    with contextlib.ExitStack() as stack:
        for name in names.split():
            stack.enter_context(BURDENS[name](task, slow))
        replies = {r"^PING (\S+)": r"PONG \1"}
        client = stack.enter_context(Client(f"127.0.0.1:{task.port}", replies=replies))
        _measure(client, task)
        for _ in range(ROWS):
            for with_it in (False, True):
                (slow.set if with_it else slow.clear)()
                time.sleep(SETTLE)
                for figure, seconds in _measure(client, task).items():
                    found.setdefault(figure, ([], []))[with_it].append(seconds)
        slow.clear()
    return {
        figure: [
            statistics.median(without),
            statistics.median(b / a for a, b in zip(without, beside, strict=True)),
        ]
        for figure, (without, beside) in found.items()
    }


def _measure(client: Client, task: Task) -> dict[str, float]:
    numbers = iter(range(TRIPS))
    told = threading.Semaphore(0)

    def listen(_: Line) -> None:
        told.release()

    def be_told() -> None:
        client.send("hello there")
        told.acquire()

    client.on_line(listen)
    try:
        told_in = _median(TRIPS, be_told)
    finally:
        client.off_line(listen)
    return {
        "told by a listener": told_in,
        "round trip": _median(TRIPS, lambda: client.send("hello there", expect="^hello")),
        "automatic reply": _median(
            TRIPS, lambda: client.send(f"PING {(number := next(numbers))}", expect=f"^PONG {number}$")
        ),
        "stop": _median(STOPS, Client.stop, lambda: Client(f"127.0.0.1:{task.port}").connect()),
    }


def _median(count: int, work: Callable[..., object], prepare: Callable[[], Any] | None = None) -> float:
    """Return the median of the seconds that `work` takes with what `prepare` makes for it."""
    times = []
    for _ in range(count):
        given = () if prepare is None else (prepare(),)
        start = time.perf_counter()
        work(*given)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    serve({}, {"neighbours": neighbours})
