"""Hold every test to its end: nothing it started survives it, and CI skips none; starts no servers."""

from __future__ import annotations

import asyncio
import asyncio.base_events
import gc
import os
import re
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from ipyreconnect import Client, Retry
from ipyreconnect.network.driver import Driver
from tests.namespaces import NamespacePair, unavailable
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, echo

GRACE: Final = 2.0
"""Seconds that what is already ending may take; a test that leaves nothing behind waits for none."""

IN_CI: Final = os.environ.get("CI") == "true"

KINDS: Final = ("servers", "faults", "browser", "terminal", "kernel", "notebook", "docs", "bench")
"""The marks of tests that need more than Python and loopback; a test without one is `quick`."""

ELSEWHERE: Final = ("browser", "kernel", "notebook", "docs")
"""Here ipyreconnect runs in another process; playwright and jupyter_client keep things in this one."""

KEPT_THREADS: Final = re.compile(r"pydevd\.|IPythonHistorySavingThread$")
"""Threads that live as long as the process, whichever test starts them: debugger, IPython's history."""

FDS: Final = Path("/proc/self/fd")

# A machine that is slow for a moment fails no test; and what fails in CI must fail again.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "here")

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def _remember_loops() -> None:
    """Keep track of event loops: asyncio tells the tasks of a loop, but not which loops there are."""
    make = asyncio.base_events.BaseEventLoop.__init__

    def init(self: asyncio.base_events.BaseEventLoop, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        _loops.add(self)

    asyncio.base_events.BaseEventLoop.__init__ = init  # type: ignore[assignment,method-assign]


_remember_loops()


@dataclass(frozen=True)
class Inventory:
    """What the process holds at one moment."""

    threads: frozenset[threading.Thread]
    loops: frozenset[asyncio.AbstractEventLoop]
    sockets: frozenset[str]
    pollers: int

    @classmethod
    def take(cls) -> Inventory:
        """Look around; on a system without /proc, sockets are not seen."""
        links = _links().values()
        return cls(
            frozenset(threading.enumerate()),
            frozenset(_loops),
            frozenset(link for link in links if link.startswith("socket:")),
            sum(link == "anon_inode:[eventpoll]" for link in links),
        )

    def survivors(self) -> list[str]:
        """Say, one a line, what is there now and was not there then."""
        found = [f"thread {thread.name}" for thread in self._new_threads()]
        for loop in frozenset(_loops) - self.loops:
            if not loop.is_closed():
                found += [f"asyncio task {task}" for task in asyncio.all_tasks(loop)]
        links = _links()
        for fd, link in links.items():
            if link.startswith("socket:") and link not in self.sockets:
                found.append(_describe(fd))
        pollers = sum(link == "anon_inode:[eventpoll]" for link in links.values()) - self.pollers
        if pollers > 0:
            found.append(f"{pollers} epoll selector(s)")
        return found

    def wait(self) -> list[str]:
        """Give what is ending the time to end, and say what did not."""
        deadline = time.monotonic() + GRACE
        for thread in self._new_threads():
            thread.join(max(0.0, deadline - time.monotonic()))
        if not self.survivors():
            return []
        gc.collect()  # a traceback may hold a socket in a cycle: that it is closed late is no leak
        # No one can wait for another thread's close(): poll() does not report it. So look again, for a while.
        nothing = select.poll()
        while (found := self.survivors()) and time.monotonic() < deadline:
            nothing.poll(10)
        return found

    def _new_threads(self) -> list[threading.Thread]:
        """A `threading.Timer` is such a thread; the engine's own timers end with the engine's thread."""
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self.threads and thread.is_alive() and not KEPT_THREADS.search(thread.name)
        ]


def _links() -> dict[int, str]:
    links: dict[int, str] = {}
    try:
        names = os.listdir(FDS)
    except OSError:
        return links
    for name in names:
        try:
            links[int(name)] = os.readlink(FDS / name)
        except OSError:  # closed meanwhile, such as the one that listed the folder
            pass
    return links


def _describe(fd: int) -> str:
    """Tell a socket's two ends, so that a failure says whose it is."""
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            try:
                peer = sock.getpeername()
            except OSError:
                peer = "nobody"
            return f"socket fd {fd}, {sock.family.name} {sock.type.name}, {sock.getsockname()!r} to {peer!r}"
    except OSError:
        return f"socket fd {fd}"


@pytest.fixture(autouse=True)
def nothing_survives(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a task, a socket, a selector or a timer behind."""
    if any(request.node.get_closest_marker(kind) for kind in ELSEWHERE):
        yield
        return
    before = Inventory.take()
    yield
    left = before.wait()
    if left:
        pytest.fail("the test has left behind:\n  " + "\n  ".join(left), pytrace=False)


def pytest_configure() -> None:
    """Let Ctrl-C come through: what a shell starts in the background is born with it ignored, and hands that
    down to all the programs that the tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the notebooks as such, and as `quick` whatever needs nothing but Python and loopback."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("notebook")
        if not any(item.get_closest_marker(kind) for kind in KINDS):
            item.add_marker("quick")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what lives as long as the tests: half a million objects, at every
    look for what a test has left behind.
    """
    gc.collect()
    gc.freeze()


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"nothing is skipped in CI, but this was: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where CI=true: there, what a test needs is installed, or should be."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that is skipped as a whole."""
    report = yield
    _fail_if_skipped(report)
    return report


# -- what many tests stand on


@pytest.fixture
def server() -> Iterator[LineServer]:
    """A server that echoes."""
    with LineServer(echo) as server:
        yield server


@pytest.fixture
def client(server: LineServer) -> Iterator[Client]:
    """A client of it, which comes back quickly."""
    with Client(server.address, retry=Retry(delay=0.02, jitter=0)) as client:
        yield client


@pytest.fixture
def driver(client: Client) -> Driver:
    """What drives it."""
    return client._driver


@pytest.fixture
def pair() -> Iterator[NamespacePair]:
    """Two computers and a cable."""
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    with NamespacePair() as pair:
        yield pair


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give an authority of a module's own, and what it signs."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
