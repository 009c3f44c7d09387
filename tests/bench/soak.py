"""A soak: many clients of every kind live through cuts and restarts, and the process must end as it began.

It measures no speed. It runs outside CI, as `make soak`; all of its traffic stays on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from ipyreconnect import (
    TLS,
    Client,
    ConnectionLost,
    Heartbeat,
    Line,
    NotConnected,
    Overrun,
    Retry,
    Transcript,
)
from ipyreconnect.client.session import Session
from ipyreconnect.network.loop import Timer
from tests.bench.measure import rss

CLIENTS = 200
SECONDS = 600.0
WARM_UP_SHARE = 0.3
"""Of the time: caches, heaps and transcripts have their size then."""
ALLOWED = 0.10
"""The share by which a figure may have grown at the end."""
SLACK = {"threads": 2, "descriptors": 4, "timers": 4, "processes": 1}
"""What may come on top, of figures so small that a tenth of them is none."""
REPORT_EVERY = 10.0
CUTS_EVERY = 1.0
CUTS = 4
RESTART_EVERY = 20.0
"""Seconds between two restarts of the server, on average."""
LONGEST_DOWN = 1.5
"""Seconds that the server is away at most."""
CHURN_EVERY = 0.5
"""Seconds between two ends of a client, which another one replaces."""
ASKERS = 4
"""Threads that ask, and as many tasks."""
PAUSE = 0.02
"""Seconds between two questions of one of them, on average."""
QUESTION_PATIENCE = 20.0
LARGEST_MAIL = 20_000
SLOW_SHARE = 0.003
"""Of the questions: their expression may take for ever over some line, and is looked for elsewhere."""
FEED = "feed 200"
SETTLING = 60.0
"""Seconds that all clients may take to be connected once nobody harms them any more."""
QUIET = 3.0
"""Seconds without cuts, restarts and questions before a figure counts, longer than any retry waits."""
KEPT_LINES, KEPT_BYTES = 100, 64 * 1024
"""Of each transcript: full before the warm-up ends, so that what grows later is a leak."""
RETRY = Retry(delay=0.3, factor=1.5, max=2.0)


@dataclass(frozen=True)
class Figures:
    """What the process holds at one moment."""

    memory: int
    threads: int
    descriptors: int
    timers: int
    processes: int

    @classmethod
    def take(cls) -> Figures:
        """Count, after the garbage was collected."""
        gc.collect()
        return cls(
            memory=rss(),
            threads=threading.active_count(),
            descriptors=len(os.listdir("/proc/self/fd")),
            # Cancelled ones lie in the loop's heap until their time comes, or a thousand have gathered.
            timers=sum(type(each) is Timer and each.callback is not None for each in gc.get_objects()),
            processes=_processes(),
        )

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**20:.1f} MiB, {self.threads} threads, {self.descriptors} descriptors, "
            f"{self.timers} timers, {self.processes} processes"
        )

    def grown_beyond(self, start: Figures) -> list[str]:
        """Say of each figure that is too large for this `start` what it was and is."""
        found = []
        for name in ("memory", "threads", "descriptors", "timers", "processes"):
            before, now = getattr(start, name), getattr(self, name)
            if now > before * (1 + ALLOWED) + SLACK.get(name, 0):
                found.append(f"{name} grew from {before} to {now}")
        return found


def _processes() -> int:
    """Count this process's children, which the kernel lists by the thread that started them."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # that thread has ended meanwhile
            found += len((task / "children").read_text().split())
    return found


class Tally(logging.Handler):
    """What happened, counted; and what must not happen, in words. Any thread."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._mutex = threading.Lock()

    def count(self, what: str, number: int = 1) -> None:
        with self._mutex:
            self.counts[what] += number

    def emit(self, record: logging.LogRecord) -> None:
        """Take what the package logs as an error: nothing here is any."""
        self.complain(self.format(record))

    def complain(self, what: str) -> None:
        """Note what must not happen, and show the first of them at once."""
        with self._mutex:
            self.wrong.append(what)
        if len(self.wrong) <= 10:
            print(f"WRONG: {what}", flush=True)

    def told(self) -> str:
        """Say all counts."""
        return ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))


class Server:
    """The server's process, which comes back on the same ports."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.cafile = folder / "ca.pem"
        self._pem = folder / "server.pem"
        authority.cert_pem.write_to_path(str(self.cafile))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self._pem))
        self.ports = (0, 0)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.shaky", str(self._pem), *map(str, self.ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # asyncio's complaints about those that it has cut
        )
        assert self._process.stdout is not None
        plain, tls = map(int, self._process.stdout.readline().split())
        self.ports = (plain, tls)

    def tell(self, command: str) -> None:
        """Have it obey."""
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def end(self, *, kill: bool) -> None:
        """End it at once, or let it end by itself."""
        if kill:
            self._process.kill()
        else:
            self.tell("quit")
        self._process.communicate()


Worker = Callable[[Client, Tally], None]


def _greeted(session: Session) -> None:
    """Log in, look into a mail without being taken in, and ask for the feed."""
    session.expect(r"^\* OK")
    match = session.send("mail login 400", expect=r"^ok (\w+)$")
    if match[1] != "login":
        raise RuntimeError(f"a mail's text was taken for the answer: {match.line!r}")
    session.send(FEED, expect="^fed$")


class OwnFraming:
    """A user's framing: lines, by code that runs on a thread of its client's."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole."""
        *lines, self._begun = (self._begun + data).split(b"\r\n")
        return lines


def _follow(client: Client, tally: Tally) -> None:
    lines = client.follow()
    while client.state != "stopped":
        try:
            for line in lines:
                if line.data.startswith(b"feed"):
                    tally.count("lines followed")
        except Overrun as error:
            tally.count("overruns")
            tally.count("lines lost in them", error.lost or 0)


def _listen(client: Client, tally: Tally) -> None:
    def heard(line: Line) -> None:
        if line.data.startswith(b"feed"):
            tally.count("lines heard")

    client.on_line(heard)


def _observe(client: Client, tally: Tally) -> None:
    client.observe(lambda change: tally.count("changes observed"), "state")


SCRIPT = rf"""
< ^\* OK
mail script 300
< ^ok script$
{FEED}
< ^fed$
"""


def kinds(folder: Path) -> list[tuple[str, Callable[[int], dict[str, Any]], Worker | None]]:
    """Return every kind of client: its name, its options, and what goes on with it."""
    return [
        ("plain", lambda number: {}, None),
        ("script", lambda number: {"on_connect": SCRIPT}, None),
        ("function", lambda number: {"on_connect": _greeted}, None),
        ("follower", lambda number: {"on_connect": _greeted}, _follow),
        ("awaiting follower", lambda number: {"on_connect": SCRIPT}, None),
        ("listener", lambda number: {"on_connect": SCRIPT}, _listen),
        ("record", lambda number: {"on_connect": SCRIPT, "record": folder / f"{number}.jsonl"}, None),
        ("heartbeat", lambda number: {"heartbeat": Heartbeat("beat", every=1.0, answered="^beaten$")}, None),
        (
            "replies",
            lambda number: {"on_connect": "ping me", "replies": {r"^PING (\d+)": r"pong \1"}, "silence": 10},
            None,
        ),
        ("observer", lambda number: {"framing": "lines"}, _observe),
        ("framing", lambda number: {"framing": OwnFraming}, None),
    ]


class Soak:
    """All clients, and whoever asks, cuts and restarts."""

    def __init__(self, folder: Path, count: int, tally: Tally) -> None:
        self._kinds = kinds(folder)
        self._folder = folder
        self._tally = tally
        self._numbers = itertools.count()
        self._threads: dict[int, threading.Thread] = {}
        self._over = threading.Event()
        self._asking = threading.Event()
        self._under_way = 0
        self._mutex = threading.Lock()
        self.server = Server(folder)
        self._loop = asyncio.new_event_loop()
        self._helpers = [threading.Thread(target=self._loop.run_forever, name="soak-loop")]
        self._helpers += [threading.Thread(target=self._ask, name=f"soak-ask-{n}") for n in range(ASKERS)]
        self.clients = [self._make(number) for number in range(count)]
        for thread in self._helpers:
            thread.start()
        for _ in range(ASKERS):
            asyncio.run_coroutine_threadsafe(self._ask_by_task(), self._loop)

    def _make(self, place: int) -> Client:
        """Make and start the client of this place; every second round of the kinds speaks TLS."""
        name, options, work = self._kinds[place % len(self._kinds)]
        tls = place // len(self._kinds) % 2 == 1
        number = next(self._numbers)
        given: dict[str, Any] = {"framing": "announced", "retry": RETRY, **options(place)}
        client = Client(
            f"127.0.0.1:{self.server.ports[tls]}",
            name=f"{name} {number}",
            tls=TLS(cafile=self.server.cafile) if tls else False,
            transcript=Transcript(KEPT_LINES, KEPT_BYTES),
            **given,
        )
        client.connect(wait=0)
        if name == "awaiting follower":
            asyncio.run_coroutine_threadsafe(self._follow_by_task(client), self._loop)
        elif work is _follow:
            thread = threading.Thread(target=self._guarded, args=(work, client), name=f"soak-{number}")
            self._threads[place] = thread
            thread.start()
        elif work is not None:
            work(client, self._tally)
        return client

    def _guarded(self, work: Worker, client: Client) -> None:
        try:
            work(client, self._tally)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self._tally.complain(f"{client.name}: {error!r}")

    async def _follow_by_task(self, client: Client) -> None:
        try:
            lines = client.follow()
            while client.state != "stopped":
                try:
                    async for _ in lines:
                        self._tally.count("lines awaited")
                except Overrun:
                    self._tally.count("overruns")
        except Exception as error:  # noqa: BLE001
            self._tally.complain(f"{client.name}: {error!r}")

    def replace(self, place: int) -> None:
        """Stop a client, and put another one of its kind in its place."""
        self.clients[place].stop()
        if (thread := self._threads.pop(place, None)) is not None:
            thread.join(SETTLING)
            if thread.is_alive():
                self._tally.complain(f"the follower of {self.clients[place].name} outlives it")
        self.clients[place] = self._make(place)
        self._tally.count("clients replaced")

    # -- asking

    def _question(self) -> tuple[Client, str, str]:
        token = f"t{next(self._numbers)}"
        client = random.choice(self.clients)
        # One without a framing that knows literals would look into them, and rightly so.
        if random.random() < 0.2 and not client.name.startswith(("observer", "framing")):
            return client, f"mail {token} {random.randrange(LARGEST_MAIL)}", f"^ok ({token}|forged)$"
        if random.random() < SLOW_SHARE:
            filler = "x" * 40  # a short line is no matter for another process
            return client, f"ask {token}{filler}", rf"^ok ({token}(?:x+)+)$"
        return client, f"ask {token}", f"^ok ({token})$"

    @contextlib.contextmanager
    def _judged(self, client: Client, text: str) -> Iterator[Callable[[str], None]]:
        """Count what comes of a question; complain of what must not come of one."""

        def judge(found: str) -> None:
            self._tally.count("questions answered")
            if found != text.split()[1]:
                self._tally.complain(f"{client.name}: {text!r} was answered by {found!r}")

        with self._mutex:
            self._under_way += 1
        try:
            yield judge
        except NotConnected:
            self._tally.count("questions without a connection")
        except ConnectionLost:
            self._tally.count("questions lost")
        except Exception as error:  # noqa: BLE001
            self._tally.complain(f"{client.name} ({client!r}): {text!r}: {error!r}")
        finally:
            with self._mutex:
                self._under_way -= 1

    def _ask(self) -> None:
        while not self._over.is_set():
            self._asking.wait(1.0)
            if not self._asking.is_set():
                continue
            client, text, expected = self._question()
            with self._judged(client, text) as judge:
                judge(client.send(text, expect=expected, timeout=QUESTION_PATIENCE)[1])
            self._over.wait(random.random() * 2 * PAUSE)

    async def _ask_by_task(self) -> None:
        while not self._over.is_set():
            if self._asking.is_set():
                client, text, expected = self._question()
                with self._judged(client, text) as judge:
                    match = await client.asend(text, expect=expected, timeout=QUESTION_PATIENCE)
                    judge(match[1])  # type: ignore[index]  # with `expect` it is a Match
            await asyncio.sleep(random.random() * 2 * PAUSE)

    # -- the course of it

    def harm(self, until: float, report: Callable[[], None]) -> None:
        """Cut, restart, replace and ask, until that time (s of time.monotonic)."""
        self._asking.set()
        due = {action: time.monotonic() for action in (self._cut, self._restart, self._churn)}
        due[self._restart] += RESTART_EVERY / 2
        every = {self._cut: CUTS_EVERY, self._restart: RESTART_EVERY, self._churn: CHURN_EVERY}
        told = time.monotonic()
        while (now := time.monotonic()) < until:
            for action, when in due.items():
                if when <= now:
                    action()
                    due[action] = now + random.random() * 2 * every[action]
            if now >= told:
                report()
                told += REPORT_EVERY
            self._over.wait(max(0.0, min(*due.values(), told, until) - time.monotonic()))

    def _cut(self) -> None:
        self.server.tell(f"cut {CUTS}")
        self._tally.count("cuts", CUTS)
        random.choice(self.clients).reconnect_now()
        with contextlib.suppress(NotConnected):
            random.choice(self.clients).send("bye")

    def _churn(self) -> None:
        self.replace(random.randrange(len(self.clients)))

    def _restart(self) -> None:
        self.server.end(kill=random.random() < 0.5)
        self._over.wait(random.random() * LONGEST_DOWN)
        self.server.start()
        self._tally.count("restarts")

    def rest(self) -> Figures:
        """Harm nobody until all are connected and quiet; return what the process holds then."""
        self._asking.clear()
        end = time.monotonic() + SETTLING
        while missing := [each for each in self.clients if each.state != "connected"]:
            if time.monotonic() > end:
                self._tally.complain(f"{len(missing)} did not come back, such as {missing[0]!r}")
                break
            self._over.wait(0.1)
        while self._under_way:
            self._over.wait(0.1)
        self._over.wait(QUIET)
        return Figures.take()

    def end(self) -> None:
        """Stop everything."""
        self._over.set()
        for client in self.clients:
            client.stop()
        for thread in self._threads.values():
            thread.join(SETTLING)

        async def drained() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if tasks:
                await asyncio.wait(tasks, timeout=SETTLING)

        asyncio.run_coroutine_threadsafe(drained(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._helpers:
            thread.join(SETTLING)
        self._loop.close()
        self.server.end(kill=False)


def soak(seconds: float, count: int, tally: Tally) -> list[str]:
    """Do all of it, print a line each ten seconds; return what is wrong."""
    began = time.monotonic()
    empty = Figures.take()

    def report(figures: Figures | None = None, title: str = "") -> None:
        up = sum(client.state == "connected" for client in course.clients)
        at = time.monotonic() - began
        print(f"{at:5.0f} s  {title}{figures or Figures.take()}; {up} of {count} up", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        course = Soak(Path(folder), count, tally)
        try:
            course.harm(began + seconds * WARM_UP_SHARE, report)
            start = course.rest()
            report(start, "warm: ")
            course.harm(began + seconds, report)
            end = course.rest()
            report(end, "end: ")
        finally:
            course.end()
        del course.clients[:]
    over = Figures.take()
    print(f"stopped: {over}\n{tally.told()}")
    wrong = end.grown_beyond(start)
    left = [
        f"{name} left by stopped clients: {getattr(over, name) - getattr(empty, name)}"
        for name in ("threads", "descriptors", "timers", "processes")
        if getattr(over, name) > getattr(empty, name)
    ]
    return wrong + left + tally.wrong


def main() -> None:
    """Let clients of every kind live through cuts and restarts; exit with 1 unless all ends as it began."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long (default %(default)g)")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many (default %(default)d)")
    parser.add_argument("--seed", type=int, help="of what happens when, as far as threads can be steered")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    random.seed(seed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print(f"{options.clients} clients, {options.seconds:g} s, seed {seed}", flush=True)
    tally = Tally()
    logging.getLogger("ipyreconnect").addHandler(tally)
    wrong = soak(options.seconds, options.clients, tally)
    for each in wrong:
        print(f"WRONG: {each}")
    print("it ended as it began" if not wrong else f"NOT as it began: {len(wrong)} things are wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
