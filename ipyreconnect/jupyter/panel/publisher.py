"""One daemon thread that alone sends widget messages and writes widget traits; it decides when something is
said, never what.

ipywidgets is not thread-safe, and a kernel that says too much is silently cut off (JupyterLab drops what is
beyond 1000 messages a second). So every panel of the process posts here, and this thread speaks: at most `1 /
TICK` times a second for each `Channel`, with absolute state and never a difference, so that a tick that was
skipped is never missed.

Flow control. Each view in a browser says hello once, and acknowledges a tick that asks for it after it has
painted it (each such word makes the kernel's indicator busy for a moment, so few ticks ask). How many ticks
may be under way unacknowledged is the view's window: one at first, more with each acknowledgement that comes
in time, one again after one that does not. A tick asks when half the window is used. None leaves when all of
it is, or when an acknowledgement is overdue: a slow browser, or one that is gone, slows or stops the stream,
and no more than `WINDOW_BYTES` and a tick pile up.

- Nobody looks: nothing is sent. A view that is not heard for `LEASE` seconds is forgotten; it says hello
  again when it wakes.
- All views are out of sight (another browser tab, scrolled away): one tick a second.
- One of several views lags: it slows the stream to one tick in `LAG` seconds, and cannot stop it.
- The widget is to be closed: its views are asked to say goodbye, and say nothing afterwards. JupyterLab sends
  their words to a subshell, which it ends with the last widget: a word under way then would make the kernel
  complain, in red in the cell that closes.
- A cell is running: each tick asks, and one is under way.
- The kernel itself is busy and cannot hear (kernels without subshells run widget messages after the cell):
  ticks go on, ever slower, and say that they are late, so that the browser can say that the controls wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

__all__ = ["Channel", "Publisher", "Tick", "View", "get_publisher"]

TICK = 1 / 15
"""Least seconds between two ticks of a channel: the eye does not see more, and 20 channels stay far below the
rate limit."""
HEARTBEAT = 2.0
"""Seconds after which a channel with a view speaks even though nothing has changed: by its age the browser
sees that the kernel lives."""
LEASE = 30.0
"""Seconds without a word after which a view is forgotten; several signs of life long."""
SIGN_OF_LIFE = 12.0
"""Seconds within which a view that has nothing to acknowledge is heard (it says a word every 8 s)."""
UNSEEN = 1.0
"""Seconds between ticks while every view is out of sight."""
WINDOWS = (1, 1, 16, 256)
"""Ticks that may be under way to a view that has acknowledged so many in time, one after the other: the first
tick finds everything ready, the second one has to be drawn. The largest window lasts 17 s or more, and a view
says a word every 8 s anyway."""
WINDOW_BYTES = 1024 * 1024
"""Bytes that may be under way to a view before the next tick: what it takes in a second at the most (see
`TAIL_BYTES` in log_view.py)."""
SMALL_TICK = 1024
"""Bytes of a tick without its buffers, roughly."""
OVERDUE = 1.0
"""Seconds within which an acknowledgement that was asked for is in time."""
LAG = 1.0
"""Seconds between ticks while one of several views does not acknowledge."""
REST = 9
"""A step is followed by a rest of so many times the CPU time that it took, which is much where lines of
megabytes are in sight: no panel takes more than a tenth of a core from the user's cells."""
LATE = 0.25
"""Seconds between ticks while a running cell keeps the kernel from hearing any acknowledgement; doubled each
minute …"""
LATE_AT_MOST = 8.0
"""… up to this: a notebook that was closed during an endless cell must not fill the server's buffers."""

EXPECTED = ""
"""The name of a view that was shown and has not said hello yet."""
EXPECTED_ROWS = 40
PATIENCE = 2.0
"""Seconds that closing waits for the thread; it is there at once unless a cell holds the interpreter lock."""
GOODBYE = 0.3
"""Seconds that closing waits for the views' goodbyes, which take some milliseconds; a view may be gone, and a
kernel without subshells hears nothing before the cell's end."""

logger = logging.getLogger(__name__)


class Sender(Protocol):
    """What a channel needs of its widget."""

    def send(self, content: Any, buffers: Sequence[bytes] | None = None) -> None:
        """Send one custom message to every view."""


@dataclass(frozen=True)
class Tick:
    """One bounded message with the whole present state: JSON content and binary buffers.

    key: what the state is, where the content also has moments counted from now; a tick with the same key as
    the last one is not sent. None: always send.
    """

    content: Mapping[str, Any]
    buffers: Sequence[bytes] = ()
    key: Hashable = None


@dataclass
class View:
    """One view in one browser: when it was last heard (monotonic seconds), which tick it has painted, and
    what it said it wants.

    size: the bytes of all ticks up to that one. prompt: how many acknowledgements came in time, one after the
    other. asked: the numbers and times of the ticks that asked for one and have none yet.
    """

    heard: float
    acknowledged: int
    wants: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    prompt: int = 0
    asked: deque[tuple[int, float]] = field(default_factory=partial(deque, maxlen=max(WINDOWS)))

    @property
    def window(self) -> int:
        """How many ticks may be under way to it."""
        return WINDOWS[min(self.prompt, len(WINDOWS) - 1)]

    def acknowledge(self, number: int, size: int, now: float) -> None:
        """Note that it has painted the tick of that number, and whether it did so in time."""
        if number > self.acknowledged:
            self.acknowledged, self.size = number, size
        while self.asked and self.asked[0][0] <= number:
            in_time = now - self.asked.popleft()[1] <= OVERDUE
            self.prompt = self.prompt + 1 if in_time else 0


class Channel:
    """The ticks of one widget. Only the publisher's thread calls it, except for `poke`.

    `compose(views)` makes the next tick from the present state. `beat()` is what a heartbeat says besides: a
    few numbers, as nobody acknowledges it. `left(view)` hears of each view that said goodbye or was
    forgotten. It has no clock of its own: `now` is monotonic seconds.
    """

    def __init__(
        self,
        widget: Sender,
        compose: Callable[[Mapping[str, View]], Tick],
        wake: Callable[[], None],
        beat: Callable[[], Mapping[str, Any]] = dict,
        left: Callable[[str], object] = str,
    ) -> None:
        self._widget = widget
        self._compose = compose
        self._wake = wake
        self._beat = beat
        self._left = left
        self.views: dict[str, View] = {}
        self.number = 0
        self._size = 0  # bytes of all ticks that were sent
        self._sizes: deque[tuple[int, int]] = deque(maxlen=2 * max(WINDOWS))  # and as it was after each
        self._asked_number = self._asked_size = 0  # the last tick that asked, and its value after that
        self._sent_at = float("-inf")
        self._looked_at = float("-inf")  # when the state was last found unchanged
        self._last_key: Hashable = None
        self._acknowledged_at = float("-inf")
        self._rests_until = float("-inf")
        self._changed = True
        self._greeted = False
        self._ended: Callable[[], object] | None = None

    def poke(self) -> None:
        """Say that something may have changed. Any thread; free while an earlier poke is unanswered."""
        if not self._changed:
            self._changed = True
            if self.views:
                self._wake()

    def hear(
        self,
        view: str,
        now: float,
        *,
        acknowledged: int | None = None,
        wants: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a word from a view: its hello (`acknowledged` is None) or its acknowledgement of a tick."""
        known = self.views.get(view)
        if known is None or acknowledged is None:
            self.views.pop(EXPECTED, None)
            # A fresh view has nothing to acknowledge yet and gets the present state at once.
            known = self.views[view] = View(now, self.number, size=self._size)
            self._greeted = True
            if self._ended is not None:  # it was only being made when the others were asked
                self._widget.send({"m": "end"})
        known.heard = self._acknowledged_at = now
        if acknowledged is not None:
            known.acknowledge(acknowledged, self._size_after(acknowledged), now)
        if wants is not None and dict(wants) != known.wants:
            known.wants = dict(wants)
            self._changed = True

    def expect(self, now: float) -> None:
        """Reckon with a view that is being made now, until it says hello.

        On a kernel that runs widget messages after its cells, a hello may wait for long; ticks need not.
        """
        self._acknowledged_at = now
        self.views.setdefault(
            EXPECTED, View(now, self.number, {"follow": True, "rows": EXPECTED_ROWS}, self._size)
        )
        self._changed = True

    def leave(self, view: str) -> None:
        """Forget a view that says goodbye, or is not heard any more."""
        if self.views.pop(view, None) is not None:
            self._left(view)
            if self._ended is not None and not self.views:
                self._ended()

    def end(self, ended: Callable[[], object]) -> None:
        """Ask the views to say goodbye, and send nothing more; `ended` is called when no view is left."""
        self._ended = ended
        if self.views:
            self._widget.send({"m": "end"})
        else:
            ended()

    def step(self, now: float, busy: bool) -> float | None:
        """Send a tick if one is due; return when to look again (monotonic seconds), or None when there is
        nothing to wait for.

        busy: a cell is running, so that missing acknowledgements prove nothing.
        """
        if self._ended is not None:
            return None
        if not busy:
            for name in [name for name, view in self.views.items() if view.heard + LEASE <= now]:
                self.leave(name)
        if not self.views:
            return None
        earliest, late = self._earliest(now, busy)
        earliest = max(earliest, self._rests_until)
        if self._greeted:
            due = earliest
        elif self._changed:
            due = max(earliest, self._looked_at + TICK)
        else:
            due = max(earliest, self._sent_at + HEARTBEAT)
        if now < due:
            expiry = min(view.heard for view in self.views.values()) + LEASE
            return min(due, expiry if expiry > now else now + LEASE)
        # A view that was shown may have been made after the last tick: it gets all of it at each heartbeat.
        greeted = self._greeted or EXPECTED in self.views
        changed = self._changed or greeted
        # Cleared before reading: what changes while the tick is composed is poked again.
        self._changed = self._greeted = False
        tick = self._compose(self.views) if changed else None
        if tick is not None and not greeted and tick.key is not None and tick.key == self._last_key:
            self._looked_at = now
            tick = None
            if now < self._sent_at + HEARTBEAT:
                return self._sent_at + HEARTBEAT
        self._sent_at = now
        if tick is not None:
            self.number += 1
            self._last_key = tick.key
            self._size += SMALL_TICK + sum(map(len, tick.buffers))
            self._sizes.append((self.number, self._size))
            asks = self._asks(now, busy)
            self._widget.send(
                {"m": "tick", "seq": self.number, "asks": asks, "late": late, **tick.content},
                list(tick.buffers),
            )
        else:
            self._widget.send({"m": "beat", "late": late, **self._beat()})
        return now + HEARTBEAT

    def rest(self, now: float, took: float) -> float:
        """Rest from now on, after a step that took so many seconds of CPU time; return until when."""
        self._rests_until = now + REST * took
        return self._rests_until

    def _earliest(self, now: float, busy: bool) -> tuple[float, bool]:
        """Return when flow control lets the next tick leave, and whether acknowledgements are missing because
        of a busy kernel.
        """
        behind = sum(self._is_behind(view, now, busy) for view in self.views.values())
        if not behind or self._greeted:
            unseen = not self._greeted and all(view.wants.get("unseen") for view in self.views.values())
            late = busy and now - self._acknowledged_at > SIGN_OF_LIFE
            return self._sent_at + (UNSEEN if unseen else TICK), late
        if behind < len(self.views):
            return self._sent_at + LAG, False
        if busy:
            unheard = now - min(self._unanswered(view, now) for view in self.views.values())
            pace = LATE * 2.0 ** min(10, max(0.0, unheard) // 60)
            return self._sent_at + min(LATE_AT_MOST, pace), unheard > LAG
        return float("inf"), False

    def _is_behind(self, view: View, now: float, busy: bool) -> bool:
        """Say whether nothing more may be sent to a view before it has acknowledged something."""
        under_way = self.number - view.acknowledged
        if busy or not under_way:
            return under_way > 0
        overdue = view.asked and now - view.asked[0][1] > OVERDUE
        return bool(overdue) or under_way >= view.window or self._size - view.size >= WINDOW_BYTES

    def _asks(self, now: float, busy: bool) -> bool:
        """Say whether the tick that is being sent asks for an acknowledgement, and remember it if it does."""
        if not any(self._has_half_used(view, busy) for view in self.views.values()):
            return False
        self._asked_number, self._asked_size = self.number, self._size
        for view in self.views.values():
            view.asked.append((self.number, now))
        return True

    def _has_half_used(self, view: View, busy: bool) -> bool:
        """Say whether half of a view's window was used since it last acknowledged something, or was asked."""
        ticks = self.number - max(view.acknowledged, self._asked_number)
        size = self._size - max(view.size, self._asked_size)
        return ticks >= (1 if busy else view.window) / 2 or size >= WINDOW_BYTES / 2

    @staticmethod
    def _unanswered(view: View, now: float) -> float:
        """Return since when an acknowledgement of a view is awaited."""
        return view.asked[0][1] if view.asked else now

    def _size_after(self, number: int) -> int:
        """Return the bytes of all ticks up to the one of that number."""
        return next((size for sent, size in self._sizes if sent == number), 0)


class Publisher:
    """The thread. `post`, `add` and `remove` may be called from any thread; the rest happens on the thread
    itself.
    """

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._channels: list[Channel] = []
        self._event = threading.Event()
        self._lock = threading.Lock()  # guards _thread and _channels: starting and ending is rare
        self._thread: threading.Thread | None = None
        self._cells = _Cells()

    def wake(self) -> None:
        """Have the thread look at once. Any thread."""
        self._event.set()

    def post(self, job: Callable[[], None]) -> None:
        """Run `job` on the publisher's thread, soon and in order. It must not block; what it raises is
        logged. With no channel left there is nobody to tell anything, and it is dropped.
        """
        if self._thread is not None:
            self._jobs.append(job)
            self._event.set()

    def add(self, channel: Channel) -> None:
        """Serve a channel; the first one starts the thread."""
        with self._lock:
            self._channels = [*self._channels, channel]
            if self._thread is None or not self._thread.is_alive():
                self._cells.watch()
                self._thread = threading.Thread(target=self._run, name="ipyreconnect-publisher", daemon=True)
                self._thread.start()

    def remove(self, channels: Sequence[Channel]) -> None:
        """Serve these channels no more. Returns when nothing is sent on them any longer, nor comes from their
        views, as far as these say goodbye; the last channel ends the thread.
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
        """End these channels, and wait for the goodbyes of their views."""
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
        """Run one job: nothing that goes wrong in one panel may silence the others."""
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
    """Knows whether IPython is running a cell."""

    def __init__(self) -> None:
        self.running = False
        self._events: Any = None

    def watch(self) -> None:
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        if shell is None or self._events is not None:
            return
        self._events = shell.events
        self._events.register("pre_run_cell", self._begin)
        self._events.register("post_run_cell", self._end)
        # The panel that brings us to life is made by a cell, as a rule, and its end will be told. Where it is
        # not, some leases last longer.
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
