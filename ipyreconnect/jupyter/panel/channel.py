"""Flow control between one widget and its views: when the next message may be sent. No thread, no clock.

A kernel that sends too much is silently cut off (JupyterLab drops what is beyond 1000 messages a second), and
a browser that falls behind piles up what it has not drawn. So a channel sends *ticks*: each is one bounded
message with the whole present state and never a difference, so that a skipped tick is never missed.

Each view in a browser sends a hello once, and acknowledges a tick that asks for it after it has painted it
(each message to the kernel makes its indicator busy for a moment, so few ticks ask). How many ticks may be
unacknowledged is the view's window: one at first, more with each acknowledgement that comes in time, one
again after one that does not. A tick asks when half the window is used. None is sent when all of it is used,
or when an acknowledgement is overdue: a slow browser, or one that is gone, slows or stops the stream, and no
more than `WINDOW_BYTES` and a tick pile up.

- No view: nothing is sent. A view that is not heard for `LEASE` seconds is forgotten; it sends another hello
  when it wakes.
- All views are out of sight (another browser tab, scrolled away): one tick a second.
- One of several views lags: it slows the stream to one tick in `LAG` seconds, and cannot stop it.
- The widget is to be closed: its views are asked to send a bye, and nothing after it. JupyterLab sends their
  messages to a subshell, which it ends with the last widget: a message in flight then would make the kernel
  complain, in red in the cell that closes.
- A cell is running: each tick asks, and one may be unacknowledged.
- The kernel itself is busy and cannot receive (kernels without subshells run widget messages after the cell):
  ticks go on, ever slower, and say that they are late, so that the browser can say that the controls wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

__all__ = ["Channel", "Tick", "View"]

TICK = 1 / 15
"""Least seconds between two ticks of a channel: the eye does not see more, and 20 channels stay far below the
rate limit."""
HEARTBEAT = 2.0
"""Seconds after which a channel with a view sends something even though nothing has changed: by its age the
browser sees that the kernel lives."""
LEASE = 30.0
"""Seconds without a message after which a view is forgotten; several signs of life long."""
SIGN_OF_LIFE = 12.0
"""Seconds within which a view that has nothing to acknowledge is heard (it sends something every 8 s)."""
UNSEEN = 1.0
"""Seconds between ticks while every view is out of sight."""
WINDOWS = (1, 1, 16, 256)
"""Ticks that a view may leave unacknowledged, by how many it has acknowledged in time, one after the other:
the first tick finds everything ready, the second one has to be drawn. The largest window lasts 17 s or more,
and a view sends something every 8 s anyway."""
WINDOW_BYTES = 1024 * 1024
"""Bytes that may be unacknowledged before the next tick: what a view takes in a second at the most (see
`TAIL_BYTES` in log_view.py)."""
SMALL_TICK = 1024
"""Bytes of a tick without its buffers, roughly."""
OVERDUE = 1.0
"""Seconds within which an acknowledgement that was asked for is in time."""
LAG = 1.0
"""Seconds between ticks while one of several views does not acknowledge."""
REST = 9
"""A step is followed by a rest of this many times the CPU time that it took, which is much where lines of
megabytes are in sight: no panel takes more than a tenth of a core from the user's cells."""
LATE = 0.25
"""Seconds between ticks while a running cell keeps the kernel from receiving any acknowledgement; doubled
each minute …"""
LATE_AT_MOST = 8.0
"""… up to this: a notebook that was closed during an endless cell must not fill the server's buffers."""

EXPECTED = ""
"""The name of a view that was shown and has not sent its hello yet."""
EXPECTED_ROWS = 40
"""Rows that such a view gets: what a panel of the usual height has room for, and some."""


class Sender(Protocol):
    """What a channel needs of its widget."""

    def send(self, content: Any, buffers: Sequence[bytes] | None = None) -> None:
        """Send one custom message to every view."""


@dataclass(frozen=True)
class Tick:
    """One bounded message with the whole present state: JSON content and binary buffers.

    Attributes:
        content: the JSON part.
        buffers: the binary part.
        key: identifies the state, where the content also has moments counted from now; a tick with the same
            key as the last one is not sent. None: always send.

    """

    content: Mapping[str, Any]
    buffers: Sequence[bytes] = ()
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream of ticks: how many there were, and their bytes."""

    ticks: int = 0
    size: int = 0


@dataclass
class View:
    """One view in one browser.

    Attributes:
        heard: when its last message came (monotonic seconds).
        painted: up to where it has painted what was sent.
        wants: what it said that it needs, such as the number of rows.
        prompt: how many acknowledgements came in time, one after the other.
        asked: number and time of each tick that asked for an acknowledgement and has none yet.

    """

    heard: float
    painted: Position
    wants: dict[str, Any] = field(default_factory=dict)
    prompt: int = 0
    asked: deque[tuple[int, float]] = field(default_factory=partial(deque, maxlen=max(WINDOWS)))

    @property
    def window(self) -> int:
        """How many ticks may be unacknowledged."""
        return WINDOWS[min(self.prompt, len(WINDOWS) - 1)]

    def acknowledge(self, painted: Position, now: float) -> None:
        """Note up to where it has painted, and whether it did so in time."""
        if painted.ticks > self.painted.ticks:
            self.painted = painted
        while self.asked and self.asked[0][0] <= painted.ticks:
            in_time = now - self.asked.popleft()[1] <= OVERDUE
            self.prompt = self.prompt + 1 if in_time else 0

    def is_behind(self, sent: Position, now: float, busy: bool) -> bool:
        """Return whether it must acknowledge something before more is sent."""
        unacknowledged = sent.ticks - self.painted.ticks
        if busy or not unacknowledged:
            return unacknowledged > 0
        overdue = bool(self.asked) and now - self.asked[0][1] > OVERDUE
        return overdue or unacknowledged >= self.window or sent.size - self.painted.size >= WINDOW_BYTES

    def has_used_half(self, sent: Position, asked: Position, busy: bool) -> bool:
        """Return whether half the window was used since it last acknowledged something, or was asked."""
        ticks = sent.ticks - max(self.painted.ticks, asked.ticks)
        size = sent.size - max(self.painted.size, asked.size)
        return ticks >= (1 if busy else self.window) / 2 or size >= WINDOW_BYTES / 2

    def unanswered_since(self, now: float) -> float:
        """Return since when an acknowledgement has been missing; `now` where none is."""
        return self.asked[0][1] if self.asked else now


class Channel:
    """The ticks of one widget. Called on the publisher's thread, except for `poke`.

    It has no clock of its own: every `now` is monotonic seconds.

    Args:
        widget: what sends the messages.
        compose: makes the next tick from the present state.
        wake: wakes the publisher's thread; called on any thread.
        beat: gives what a heartbeat has besides: a few numbers, as no view acknowledges it.
        left: hears of each view that sent its bye or was forgotten.

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
        self._sent = Position()
        self._recent: deque[Position] = deque(maxlen=2 * max(WINDOWS))  # after each of the last ticks
        self._asked = Position()  # after the last tick that asked for an acknowledgement
        self._sent_at = float("-inf")
        self._looked_at = float("-inf")  # when the state was last found unchanged
        self._last_key: Hashable = None
        self._acknowledged_at = float("-inf")
        self._rests_until = float("-inf")
        self._changed = True
        self._greeted = False
        self._ended: Callable[[], object] | None = None

    @property
    def number(self) -> int:
        """How many ticks were sent."""
        return self._sent.ticks

    # -- what happens --------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Note that something may have changed. Any thread; free while an earlier poke is unanswered."""
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
        """Take a message from a view: its hello, or its acknowledgement of a tick.

        Args:
            view: the view's name.
            now: monotonic seconds.
            acknowledged: the number of the tick; None for a hello.
            wants: what it needs from now on; None: what it needed before.

        """
        known = self.views.get(view)
        if known is None or acknowledged is None:
            self.views.pop(EXPECTED, None)
            # A fresh view has nothing to acknowledge yet and gets the present state at once.
            known = self.views[view] = View(now, self._sent)
            self._greeted = True
            if self._ended is not None:  # it was only being made when the others were asked
                self._widget.send({"m": "end"})
        known.heard = self._acknowledged_at = now
        if acknowledged is not None:
            known.acknowledge(self._position_after(acknowledged), now)
        if wants is not None and dict(wants) != known.wants:
            known.wants = dict(wants)
            self._changed = True

    def expect(self, now: float) -> None:
        """Treat a view that is being made now as there, until its hello comes.

        On a kernel that runs widget messages after its cells, a hello may wait for long; ticks need not.
        """
        self._acknowledged_at = now
        self.views.setdefault(EXPECTED, View(now, self._sent, {"follow": True, "rows": EXPECTED_ROWS}))
        self._changed = True

    def leave(self, view: str) -> None:
        """Forget a view that sent its bye, or is not heard any more."""
        if self.views.pop(view, None) is not None:
            self._left(view)
            if self._ended is not None and not self.views:
                self._ended()

    def end(self, ended: Callable[[], object]) -> None:
        """Ask the views for their bye, and send nothing more; call `ended` when no view is left."""
        self._ended = ended
        if self.views:
            self._widget.send({"m": "end"})
        else:
            ended()

    # -- what is sent --------------------------------------------------------------------------------------

    def step(self, now: float, busy: bool) -> float | None:
        """Send a tick or a heartbeat if one is due.

        Args:
            now: monotonic seconds.
            busy: whether a cell is running, so that missing acknowledgements prove nothing.

        Returns:
            When to call again (monotonic seconds), or None when there is nothing to wait for.

        """
        if self._ended is not None:
            return None
        if not busy:
            self._forget_silent_views(now)
        if not self.views:
            return None
        earliest, late = self._earliest(now, busy)
        due = self._due(max(earliest, self._rests_until))
        if now < due:
            return min(due, self._lease_ends(now))
        tick = self._next_tick(now)
        if tick is None and now < self._sent_at + HEARTBEAT:
            return self._sent_at + HEARTBEAT
        self._sent_at = now
        if tick is None:
            self._widget.send({"m": "beat", "late": late, **self._beat()})
        else:
            self._send(tick, now, busy, late)
        return now + HEARTBEAT

    def rest(self, now: float, took: float) -> float:
        """Rest from now on, after a step that took so many seconds of CPU time; return until when."""
        self._rests_until = now + REST * took
        return self._rests_until

    def _forget_silent_views(self, now: float) -> None:
        for name in [name for name, view in self.views.items() if view.heard + LEASE <= now]:
            self.leave(name)

    def _lease_ends(self, now: float) -> float:
        """Return when the first view is to be forgotten if it is not heard. While a cell runs, none is."""
        expiry = min(view.heard for view in self.views.values()) + LEASE
        return expiry if expiry > now else now + LEASE

    def _due(self, earliest: float) -> float:
        """Return when there is something to send, at the earliest when flow control permits it."""
        if self._greeted:
            return earliest
        if self._changed:
            return max(earliest, self._looked_at + TICK)
        return max(earliest, self._sent_at + HEARTBEAT)

    def _next_tick(self, now: float) -> Tick | None:
        """Compose the next tick; None where every view knows the present state already."""
        # A view that was shown may have been made after the last tick: it gets all of it at each heartbeat.
        greeted = self._greeted or EXPECTED in self.views
        changed = self._changed or greeted
        # Cleared before reading: what changes while the tick is composed pokes again.
        self._changed = self._greeted = False
        if not changed:
            return None
        tick = self._compose(self.views)
        if greeted or tick.key is None or tick.key != self._last_key:
            return tick
        self._looked_at = now
        return None

    def _send(self, tick: Tick, now: float, busy: bool, late: bool) -> None:
        self._sent = Position(
            self._sent.ticks + 1, self._sent.size + SMALL_TICK + sum(map(len, tick.buffers))
        )
        self._recent.append(self._sent)
        self._last_key = tick.key
        asks = self._asks(now, busy)
        self._widget.send(
            {"m": "tick", "seq": self.number, "asks": asks, "late": late, **tick.content}, list(tick.buffers)
        )

    def _earliest(self, now: float, busy: bool) -> tuple[float, bool]:
        """Return when flow control lets the next tick leave, and whether acknowledgements are missing because
        of a busy kernel.
        """
        views = self.views.values()
        behind = sum(view.is_behind(self._sent, now, busy) for view in views)
        if not behind or self._greeted:
            unseen = not self._greeted and all(view.wants.get("unseen") for view in views)
            late = busy and now - self._acknowledged_at > SIGN_OF_LIFE
            return self._sent_at + (UNSEEN if unseen else TICK), late
        if behind < len(views):
            return self._sent_at + LAG, False
        if busy:
            missing = now - min(view.unanswered_since(now) for view in views)
            pace = LATE * 2.0 ** min(10, max(0.0, missing) // 60)
            return self._sent_at + min(LATE_AT_MOST, pace), missing > LAG
        return float("inf"), False

    def _asks(self, now: float, busy: bool) -> bool:
        """Return whether the tick that is being sent asks for an acknowledgement; note it if it does."""
        if not any(view.has_used_half(self._sent, self._asked, busy) for view in self.views.values()):
            return False
        self._asked = self._sent
        for view in self.views.values():
            view.asked.append((self.number, now))
        return True

    def _position_after(self, number: int) -> Position:
        """Return the position after the tick of that number; its size is 0 where that is long ago."""
        return next((sent for sent in self._recent if sent.ticks == number), Position(number))
