"""One daemon thread sends all widget messages and writes all widget traits; each `Channel` says when.

ipywidgets is not thread-safe, so every panel of the process posts its jobs here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from IPython.core.getipython import get_ipython

from .channel import HEARTBEAT, Channel

__all__ = ["Publisher", "get_publisher"]

PATIENCE = 2.0
"""Seconds that closing waits for the thread; it is there at once unless a cell holds the interpreter lock."""
GOODBYE = 0.3
"""Seconds that closing waits for the views' bye, which takes some milliseconds; a view may be gone, and a
kernel without subshells receives nothing before the cell's end."""

logger = logging.getLogger(__name__)


class Publisher:
    """The thread. `wake`, `post`, `add` and `remove` may be called on any thread."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._channels: list[Channel] = []
        self._event = threading.Event()
        self._lock = threading.Lock()  # guards _thread and _channels: starting and ending is rare
        self._thread: threading.Thread | None = None
        self._cells = _Cells()

    def wake(self) -> None:
        """Have the thread step its channels at once. Any thread."""
        self._event.set()

    def post(self, job: Callable[[], None]) -> None:
        """Run a job on the publisher's thread, soon and in order. Any thread.

        Args:
            job: it must not block. What it raises is logged. With no channel left it is dropped, as there is
                no view either.

        """
        if self._thread is not None:
            self._jobs.append(job)
            self._event.set()

    def add(self, channel: Channel) -> None:
        """Serve a channel; the first one starts the thread. Any thread."""
        with self._lock:
            self._channels = [*self._channels, channel]
            if self._thread is None or not self._thread.is_alive():
                self._cells.watch()
                self._thread = threading.Thread(target=self._run, name="ipyreconnect-publisher", daemon=True)
                self._thread.start()

    def remove(self, channels: Sequence[Channel]) -> None:
        """Serve these channels no more; the last channel ends the thread. Any thread.

        Returns when nothing is sent on them any longer, and their views have sent their bye, as far as these
        do.
        """
        channels = [channel for channel in channels if channel in self._channels]
        if not channels:
            return
        elsewhere = self._thread is not None and self._thread is not threading.current_thread()
        if elsewhere:
            self._part(channels)
        with self._lock:
            self._channels = [channel for channel in self._channels if channel not in channels]
            thread, last = self._thread, not self._channels
        if last and elsewhere and thread is not None:
            self.wake()
            self._cells.forget()
            thread.join(PATIENCE)

    def _part(self, channels: Sequence[Channel]) -> None:
        """End these channels, and wait for the bye of each view."""
        passed, alone = threading.Event(), threading.Event()

        def look() -> None:
            if not any(channel.views for channel in channels):
                alone.set()

        def end() -> None:
            for channel in channels:
                channel.end(look)
            passed.set()

        self.post(end)
        if passed.wait(PATIENCE):
            alone.wait(GOODBYE)

    def _run(self) -> None:
        while True:
            self._event.clear()
            while self._jobs:
                self._guarded(self._jobs.popleft())
            with self._lock:
                channels = self._channels
                if not channels and not self._jobs:
                    self._thread = None
                    return
            dues = [self._step(channel) for channel in channels]
            pending = [due for due in dues if due is not None]
            self._event.wait(max(0.0, min(pending) - time.monotonic()) if pending else None)

    @staticmethod
    def _guarded(job: Callable[[], None]) -> None:
        """Run one job; an error in one panel must not silence the others."""
        try:
            job()
        except Exception:
            logger.exception("the panel could not be updated")

    def _step(self, channel: Channel) -> float | None:
        now, began = time.monotonic(), time.thread_time()
        try:
            due = channel.step(now, self._cells.running)
        except Exception:
            logger.exception("the panel could not be updated")
            due = now + HEARTBEAT
        rested = channel.rest(time.monotonic(), time.thread_time() - began)
        return due and max(due, rested)


class _Cells:
    """Whether IPython is running a cell, from its events."""

    def __init__(self) -> None:
        self.running = False
        self._events: Any = None

    def watch(self) -> None:
        shell = get_ipython()
        if shell is None or self._events is not None:
            return
        self._events = shell.events
        self._events.register("pre_run_cell", self._begin)
        self._events.register("post_run_cell", self._end)
        # The first panel is made by a cell, as a rule, and we shall hear of its end. Otherwise, some leases
        # last longer.
        self.running = threading.current_thread() is threading.main_thread()

    def forget(self) -> None:
        if self._events is not None:
            self._events.unregister("pre_run_cell", self._begin)
            self._events.unregister("post_run_cell", self._end)
            self._events = None
        self.running = False

    def _begin(self, info: object) -> None:
        self.running = True

    def _end(self, result: object) -> None:
        self.running = False


_publisher = Publisher()


def get_publisher() -> Publisher:
    """Return the publisher of the process."""
    return _publisher
