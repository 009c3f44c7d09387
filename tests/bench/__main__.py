"""Run the benchmarks and print a table: ``python -m tests.bench [--quick] [--rounds N]``; asserts nothing."""

from __future__ import annotations

import argparse
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.measure import LINE_BYTES, Figure, Sample, Task, run_contender, run_figure
from tests.bench.neighbours import BURDENS
from tests.bench.server import Server, running
from tests.browser import bench as panel

PEERS, OURS, NEIGHBOURS = "tests.bench.peers", "tests.bench.ours", "tests.bench.neighbours"


@dataclass(frozen=True)
class Contender:
    """Who takes part in what: `share` is its flood's length as a part of the floor's, None for no flood."""

    module: str
    name: str
    title: str
    share: float | None
    trips: bool
    flood_goals: tuple[float | None, float | None] = (None, None)
    trip_goal: float | None = None


CONTENDERS = (
    Contender(PEERS, "floor", "bare loop over makefile('rb')", 1.0, True),
    Contender(OURS, "transcript", "ours: into the transcript", 2.0, False, (2.0, 1.2)),
    Contender(OURS, "follow", "ours: each line by follow()", 1.0, False, (1.0, 1.0)),
    Contender(OURS, "trips", "ours: send(line, expect=…)", None, True, trip_goal=1.7),
    Contender(PEERS, "asyncio", "asyncio streams", 0.15, True),
    Contender(PEERS, "twisted", "Twisted LineReceiver", 0.1, True),
    Contender(PEERS, "pwntools", "pwntools recvline", 0.004, True),
)
"""In the order of a round; the shares make each flood last about as long."""

FLOODS: tuple[Figure, ...] = ("flood", "long")
FIGURES: tuple[Figure, ...] = (*FLOODS, "trip")

Key = tuple[str, Figure, bool]


def compare(server: Server, rounds: int, lines: int, trips: int) -> dict[Key, list[Sample]]:
    """Let the contenders take turns, each turn in a fresh process.

    A flood may use two cores, as it would in life; round trips share one, so that the wake-up of another core
    does not drown the figure.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[Key, list[Sample]] = {}
    absent: list[str] = []
    for turn in range(rounds):
        for contender in CONTENDERS:
            if contender.title in absent:
                continue
            progress(f"round {turn + 1} of {rounds}: {contender.title}")
            tasks: list[Task] = []
            for tls, port in ((False, server.port), (True, server.tls_port)):
                base = Task("flood", tls, 0, port, cores, str(server.cafile))
                if contender.share is not None:
                    for flood in FLOODS:
                        length = lines * LINE_BYTES["flood"] / LINE_BYTES[flood] * contender.share
                        tasks.append(replace(base, figure=flood, count=int(length)))
                if contender.trips:
                    tasks.append(replace(base, figure="trip", count=trips, cores=cores[:1]))
            try:
                samples = run_contender(contender.module, contender.name, tasks)
            except subprocess.SubprocessError:
                if contender.module == OURS or contender.name == "floor":
                    raise
                absent.append(contender.title)  # the others are worth their figures all the same
                continue
            for task, sample in zip(tasks, samples, strict=True):
                found.setdefault((contender.name, task.figure, task.tls), []).append(sample)
    progress("")
    for title in absent:
        print(f"left out, for the reason above: {title}")
    return found


def progress(what: str) -> None:
    """Say on a terminal what goes on, in one line that is overwritten by the next."""
    if sys.stderr.isatty():
        print(f"\r{what:60}\r", end="", file=sys.stderr, flush=True)


def show_comparison(found: dict[Key, list[Sample]], figure: Figure, tls: bool) -> None:
    """Print one block of the table: medians, ratios to the floor of the same round, their spread, goals."""
    trip = figure == "trip"
    what = (
        "one line out, its answer awaited; one core" if trip else f"flood of {LINE_BYTES[figure]}-byte lines"
    )
    unit = "µs (p50)" if trip else "M lines/s"
    print(f"\n{what}, {'TLS 1.3' if tls else 'plain TCP'}")
    print(f"  {'':32}{unit:>10}{'÷ floor':>10}{'(spread)':>15}{'CPU ÷ floor':>13}   goal")
    floors = found["floor", figure, tls]
    for contender in CONTENDERS:
        samples = found.get((contender.name, figure, tls))
        if samples is None:
            continue
        # Round trips have the floor's own in between; of floods, one that failed midway has fewer.
        paired = (
            [(sample, Sample(sample.floor_seconds, sample.floor_cpu)) for sample in samples]
            if trip
            else list(zip(samples, floors, strict=False))
        )
        cpu = statistics.median(sample.cpu / floor.cpu for sample, floor in paired)
        if not trip:
            median = 1e-6 / statistics.median(sample.seconds for sample in samples)
            ratios = [floor.seconds / sample.seconds for sample, floor in paired]
            goal = contender.flood_goals[tls] if figure == "flood" else None
            met = statistics.median(ratios).__ge__
        else:
            median = 1e6 * statistics.median(sample.seconds for sample in samples)
            ratios = [sample.seconds / floor.seconds for sample, floor in paired]
            goal, met = contender.trip_goal, statistics.median(ratios).__le__
        spread = f"({short(min(ratios))}–{short(max(ratios))})"
        sign = "≤" if trip else "≥"
        wish = "" if goal is None else f"{sign} {goal}  {'met' if met(goal) else 'MISSED'}"
        ratio = short(statistics.median(ratios))
        print(f"  {contender.title:32}{short(median):>10}{ratio:>10}{spread:>15}{short(cpu):>13}   {wish}")


def show_own(server: Server, quick: bool) -> None:
    """Print what has no floor: memory, idle connections, reconnects."""
    cores = sorted(os.sched_getaffinity(0))[:1]
    plain = Task("flood", False, 0, server.port, cores, str(server.cafile))
    tls = replace(plain, tls=True, port=server.tls_port)

    print("\nours, by itself")

    memory = own("memory", replace(plain, count=500_000))
    show("transcript, per line of 80 bytes", f"{memory['stored']:.1f} B", 90, memory["stored"])
    show("  and after 1000 lines were looked up", f"{memory['looked up']:.1f} B", 90, memory["looked up"])
    show("  looking up one line at random", f"{memory['seconds'] * 1e6:.1f} µs")

    connections, seconds = (200, 3.0) if quick else (1000, 20.0)
    for task, kind, goal in ((plain, "plain", 12), (tls, "TLS", 48)):
        idle = own("idle", replace(task, count=connections), seconds)
        used = idle["bytes"] / 1024
        show(f"one of {connections} idle connections, {kind}", f"{used:.1f} KiB", goal, used)
        each = idle["switches"] / connections
        show("  its wake-ups", f"{each:.4f}/s", 0.3, each)
        show("  wake-ups of the process", f"{idle['switches']:.2f}/s")

    for task, kind in ((plain, "plain"), (tls, "TLS")):
        times = replace(task, count=50 if quick else 300)
        ours = own("reconnects", times)
        bare = run_figure(PEERS, "reconnects", times)
        show(
            f"reconnect without delay, {kind} (p50)",
            f"{ours * 1e3:.2f} ms  = {ours / bare:.2f} × a bare loop's",
        )
    left = own("growth", replace(tls, count=200 if quick else 1000))
    show("memory left by each of 1000 reconnects, TLS", f"{left:.0f} B", 500, left)


def show_neighbours(server: Server, quick: bool) -> None:
    """Print what one client's slow code costs the others."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    task = Task("trip", False, 0, server.port, cores, str(server.cafile))
    print("\nours, beside another client of the same process whose code is slow")
    for names in [" ".join(BURDENS)] if quick else [*BURDENS, " ".join(BURDENS)]:
        print(f"  {' and '.join(names.split())}")
        for figure, (seconds, ratio) in run_figure(NEIGHBOURS, "neighbours", task, names).items():
            show(f"  {figure} (p50)", f"{seconds * 1e6:.0f} µs × {short(ratio)}", 2, ratio)


def own(name: str, task: Task, *more: float) -> Any:
    """Run one of our figures in a fresh process."""
    return run_figure(OURS, name, task, *more)


def show(title: str, value: str, goal: float | None = None, number: float = 0.0) -> None:
    """Print one line of the last block."""
    wish = "" if goal is None else f"≤ {goal:g}  {'met' if number <= goal else 'MISSED'}"
    print(f"  {title:42}{value:>15}   {wish}".rstrip())


def short(number: float) -> str:
    """Return a figure with three digits that say something."""
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.{2 if number >= 0.1 else 4}f}"


def main() -> None:
    """Measure and print; the whole takes some six minutes, with --quick three (and says less)."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, smaller floods, fewer connections"
    )
    parser.add_argument(
        "--rounds", type=int, help="how often each contender has its turn (default 5, quick 2)"
    )
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    lines, trips = (1_000_000, 1500) if options.quick else (3_000_000, 9000)

    start = time.monotonic()
    cores = len(os.sched_getaffinity(0))
    print(
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.system()} {platform.release()}"
    )
    print(f"{cores} cores, of which two are used; {rounds} rounds; the server in another process")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        found = compare(server, rounds, lines, trips)
        for figure in FIGURES:
            for tls in (False, True):
                show_comparison(found, figure, tls)
        show_own(server, options.quick)
        show_neighbours(server, options.quick)
    panel.print_figures(quick=options.quick)
    print(f"\n{time.monotonic() - start:.0f} s. A ratio is the median of each round's own ratio.")


if __name__ == "__main__":
    main()
