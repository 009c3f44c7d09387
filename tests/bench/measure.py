"""How the benchmarks measure: tasks, samples, a stopwatch, and a contender's turn in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Figure = Literal["flood", "long", "trip"]

LINE_BYTES: dict[Figure, int] = {"flood": 80, "long": 400}
"""How long the lines of either flood are, line end included."""


@dataclass(frozen=True)
class Task:
    """One thing to measure: a flood of `count` lines, which may be long, or `count` round trips, in the clear
    or in TLS.

    `cores` are those that client and server may use.
    """

    figure: Figure
    tls: bool
    count: int
    port: int
    cores: list[int]
    cafile: str

    @property
    def pin(self) -> bytes:
        """The command that ties the server's end to the cores, without its line end."""
        return b"!pin " + b" ".join(b"%d" % core for core in self.cores)

    def settle(self) -> None:
        """Tie this thread, and those that it starts from now on, to the cores. First thing in a task."""
        os.sched_setaffinity(0, self.cores)

    @property
    def size(self) -> int:
        """How long the lines of the flood are, line end included."""
        return LINE_BYTES[self.figure]

    @property
    def command(self) -> bytes:
        """The command that starts the flood, without its line end."""
        return b"!flood %d %d" % (self.count, self.size)


TRIP_LINE = b"0123456789 " * 3 + b"a round trip's line\r\n"
"""What a round trip sends and gets back: 54 bytes."""

TURN_TIMEOUT = 120.0
"""Seconds after which a turn that hangs is given up."""

WARM_UP_TRIPS = 200
"""Round trips that are made before the ones that count."""

TRIPS_IN_A_ROW = 150
"""Round trips before it is the other's turn, some 10 ms."""


@dataclass(frozen=True)
class Sample:
    """Seconds and client CPU seconds per line of a flood, or of a round trip (median, and mean CPU).

    floor_seconds, floor_cpu: the same of the floor's round trips in between; by this many seconds the ratio
    is the median of each row's own.
    """

    seconds: float
    cpu: float
    floor_seconds: float = 0.0
    floor_cpu: float = 0.0


class Stopwatch:
    """Wall and CPU time since it was made, with the garbage settled first."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        self._cpu = cpu_seconds()
        self._start = time.perf_counter()

    def flood(self, lines: int) -> Sample:
        """Return the sample of a flood that just ended."""
        seconds = time.perf_counter() - self._start
        return Sample(seconds / lines, (cpu_seconds() - self._cpu) / lines)


class Trips:
    """Round trips of a contender and, in between and in the same process, of the floor: a machine's pace may
    change from one second to the next, so that only what is done by turns can be compared.

    A contender whose round trip is one call has them made by `of`. Any other makes as many as each of `rows`
    is long, and notes in `times` how long each took (s). `floor` makes one trip of the floor.
    """

    def __init__(self, count: int, floor: Callable[[], object]) -> None:
        self.times: list[float] = []
        self._rows = count // TRIPS_IN_A_ROW
        self._floor = floor
        self._floor_times: list[float] = []
        self._cpu = self._floor_cpu = 0.0

    def of(self, trip: Callable[[], object]) -> Sample:
        """Make them all by `trip`, with those before the ones that count; return what was found."""
        for _ in range(WARM_UP_TRIPS):
            trip()
        for row in self.rows():
            _time(trip, row, self.times)
        return self.sample()

    def rows(self) -> Iterator[range]:
        """Yield each row of the contender, with one of the floor before it."""
        row = range(TRIPS_IN_A_ROW)
        for _ in range(WARM_UP_TRIPS):
            self._floor()
        gc.collect()
        gc.freeze()
        for _ in range(self._rows):
            before = cpu_seconds()
            _time(self._floor, row, self._floor_times)
            between = cpu_seconds()
            yield row
            self._floor_cpu += between - before
            self._cpu += cpu_seconds() - between

    def sample(self) -> Sample:
        """Return what was found, once all rows are done."""
        count = len(self.times)
        own, floors = _by_row(self.times), _by_row(self._floor_times)
        seconds = statistics.median(own)
        ratio = statistics.median(row / floor for row, floor in zip(own, floors, strict=True))
        return Sample(seconds, self._cpu / count, seconds / ratio, self._floor_cpu / count)


def _time(trip: Callable[[], object], row: range, times: list[float]) -> None:
    """Make a row of trips, and note in `times` how long each took (s)."""
    for _ in row:
        start = time.perf_counter()
        trip()
        times.append(time.perf_counter() - start)


def _by_row(times: list[float]) -> list[float]:
    """Return the median of each row."""
    return [statistics.median(times[at : at + TRIPS_IN_A_ROW]) for at in range(0, len(times), TRIPS_IN_A_ROW)]


def cpu_seconds() -> float:
    """Return this process's user and system time so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


Contender: TypeAlias = Callable[[list[Task]], list[Sample]]
"""Does tasks one after the other, each on a connection of its own."""


def run_contender(module: str, name: str, tasks: list[Task]) -> list[Sample]:
    """Have `name`, one of `module`'s contenders, do `tasks` in a fresh process."""
    found = _run(module, name, [asdict(task) for task in tasks])
    return [Sample(**sample) for sample in found]


def run_figure(module: str, name: str, task: Task, *more: float | str) -> Any:
    """Have `name`, one of `module`'s other figures, made in a fresh process."""
    return _run(module, name, [asdict(task), *more])


def serve(contenders: Mapping[str, Contender], figures: Mapping[str, Callable[..., Any]]) -> None:
    """Be that process: the name is its argument, the task its input, the result its last line of output."""
    name, given = sys.argv[1], json.load(sys.stdin)
    if name in contenders:
        result: Any = [asdict(sample) for sample in contenders[name]([Task(**task) for task in given])]
    else:
        result = figures[name](Task(**given[0]), *given[1:])
    print(json.dumps(result))


def _run(module: str, name: str, given: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, name],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        # pwntools would take the terminal over
        env=os.environ | {"PWNLIB_NOTERM": "1"},
        timeout=TURN_TIMEOUT,
    )
    return json.loads(done.stdout.splitlines()[-1])
