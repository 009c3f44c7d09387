"""Ours: floods into the transcript and through `follow`, round trips, idling, memory, reconnects."""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ipyreconnect import TLS, Client, Transcript
from tests.bench.measure import TRIP_LINE, Contender, Sample, Stopwatch, Task, rss, serve
from tests.bench.peers import floor_trips
from tests.bench.server import flood_line

WARM_UP = 200
"""Reconnections before memory is looked at: caches and the heap have their size then."""

CONNECT_WAIT = 20.0
"""Seconds for one connection to come up; a thousand of them at once are a crowd."""

QUIET = 0.5
"""Seconds without a wake-up after which the connections count as idle."""

POLL = 0.001
"""Seconds between two looks at the transcript's end while a flood comes in: nobody reads, one waits."""

LOOKED_UP = 1000
"""Lines that are looked up at random in a transcript, and compared with what was sent."""


@contextlib.contextmanager
def connected(task: Task, **options: Any) -> Iterator[Client]:
    """Connect with the default options, both ends tied to the task's cores."""
    task.settle()
    tls = TLS(cafile=task.cafile) if task.tls else False
    with Client(f"127.0.0.1:{task.port}", tls=tls, **options) as client:
        if client.state != "connected":
            raise RuntimeError(f"not connected: {client.reason}")
        client.send(task.pin.decode(), expect="^pinned$")
        yield client


def transcript(tasks: list[Task]) -> list[Sample]:
    """Flood into the transcript: all lines counted, those that it keeps readable at random afterwards."""
    return [_transcript(task) for task in tasks]


def _transcript(task: Task) -> Sample:
    with connected(task) as client:
        watch = Stopwatch()
        _flood(client, task)
        sample = watch.flood(task.count)
        _look_up(client, task)
        return sample


def _flood(client: Client, task: Task) -> None:
    """Have the task's lines sent, wait until they are counted."""
    end = client.transcript.end + 1 + task.count  # what was sent has a number, too
    client.send(task.command.decode())
    while client.transcript.end < end:
        time.sleep(POLL)
        if client.state != "connected":
            raise RuntimeError(f"lost: {client.reason}")


def _look_up(client: Client, task: Task) -> float:
    """Look up lines of the last flood at random; return the seconds for one. RuntimeError: a wrong line."""
    record = client.transcript
    first = record.end - task.count
    numbers = random.choices(range(max(first, record.first), record.end), k=LOOKED_UP)
    start = time.perf_counter()
    lines = [record[number] for number in numbers]
    seconds = (time.perf_counter() - start) / LOOKED_UP
    for number, line in zip(numbers, lines, strict=True):
        if line.data != flood_line(number - first, task.size) or line.number != number:
            raise RuntimeError(f"line {number} is {line!r}")
    return seconds


def follow(tasks: list[Task]) -> list[Sample]:
    """Flood through ``for line in client.follow(as_bytes=True)``."""
    return [_follow(task) for task in tasks]


def _follow(task: Task) -> Sample:
    with connected(task) as client:
        lines = iter(client.follow(as_bytes=True))
        watch = Stopwatch()
        client.send(task.command.decode())
        last = b""
        for line in islice(lines, task.count):
            last = line
        sample = watch.flood(task.count)
        if last != flood_line(task.count - 1, task.size):
            raise RuntimeError(f"the last line read was {last!r}")
        return sample


def trips(tasks: list[Task]) -> list[Sample]:
    """Round trips through ``client.send(line, expect=regex)``."""
    return [_trips(task) for task in tasks]


def _trips(task: Task) -> Sample:
    line, answer = TRIP_LINE.decode().rstrip(), "^0123456789 "
    with connected(task) as client, floor_trips(task) as trips:
        return trips.of(lambda: client.send(line, expect=answer))


CONTENDERS: dict[str, Contender] = {"transcript": transcript, "follow": follow, "trips": trips}


@contextlib.contextmanager
def reconnecting(client: Client) -> Iterator[Callable[[], None]]:
    """Give a function that has the server close, and returns when the client is back.

    A `Retry` waits 10 ms at least, so that it is never a busy loop; `reconnect_now` cuts that short here.
    """
    changed = threading.Event()
    client.add_watcher(changed.set)

    def wait(state: str) -> None:
        while client.state != state:
            if not changed.wait(CONNECT_WAIT):
                raise RuntimeError(f"not {state}: {client.status}")
            changed.clear()

    def reconnect() -> None:
        client.send("!bye")
        wait("waiting")
        client.reconnect_now()
        wait("connected")

    yield reconnect
    client.remove_watcher(changed.set)


def reconnects(task: Task) -> float:
    """Reconnect `task.count` times; return the median seconds from asking to being back."""
    times = []
    with connected(task) as client, reconnecting(client) as reconnect:
        for _ in range(task.count):
            start = time.perf_counter()
            reconnect()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def growth(task: Task) -> float:
    """Reconnect `task.count` times; return the bytes of RSS that each of them left behind.

    The transcript is small, and full of them before, so that it keeps no more than it did.
    """
    with connected(task, transcript=Transcript(100, 64 * 1024)) as client, reconnecting(client) as reconnect:
        for _ in range(WARM_UP):
            reconnect()
        before = _settled()
        for _ in range(task.count):
            reconnect()
        return (_settled() - before) / task.count


def memory(task: Task) -> dict[str, float]:
    """Receive `task.count` lines, fewer than the transcript keeps; return bytes a line, seconds a look."""
    with connected(task) as client:
        before = _settled()
        _flood(client, task)
        stored = _settled()
        seconds = _look_up(client, task)
        if client.transcript.forgotten:
            raise RuntimeError("the transcript forgot: its memory says nothing about a line")
        return {
            "stored": (stored - before) / task.count,
            "looked up": (_settled() - before) / task.count,
            "seconds": seconds,
        }


def idle(task: Task, seconds: float) -> dict[str, float]:
    """Hold `task.count` connections for `seconds`; return RSS of each, and context switches a second."""
    soft_limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2
    resource.setrlimit(resource.RLIMIT_NOFILE, soft_limit)
    with contextlib.ExitStack() as stack:
        stack.enter_context(connected(task))  # what one connection needs only once
        before = _settled()
        tls = TLS(cafile=task.cafile) if task.tls else False
        clients = [Client(f"127.0.0.1:{task.port}", tls=tls) for _ in range(task.count)]
        for client in clients:
            stack.callback(client.stop)
            client.connect(wait=0)
        end = time.monotonic() + CONNECT_WAIT
        while not all(client.state == "connected" for client in clients):
            time.sleep(0.1)
            if time.monotonic() > end:
                raise RuntimeError(
                    f"{sum(client.state != 'connected' for client in clients)} did not connect"
                )
        before_quiet = -1
        while _switches() - before_quiet > 2:  # a server of so many sends its session tickets late
            before_quiet = _switches()
            time.sleep(QUIET)
        used = _settled() - before
        switches = _switches()
        time.sleep(seconds)
        switches = _switches() - switches
        still = sum(client.state == "connected" for client in clients)
        if still < task.count:
            raise RuntimeError(f"only {still} stayed connected")
        return {"bytes": used / task.count, "switches": switches / seconds}


def _settled() -> int:
    gc.collect()
    return rss()


def _switches() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw + usage.ru_nivcsw


FIGURES: dict[str, Callable[..., Any]] = {
    "reconnects": reconnects,
    "growth": growth,
    "memory": memory,
    "idle": idle,
}


if __name__ == "__main__":
    serve(CONTENDERS, FIGURES)
