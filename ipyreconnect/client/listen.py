"""Tells a client's `on_line` listeners of each received line; nobody waits for them. Sends nothing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from ..errors import Overrun
from ..lines.line import Line
from ..lines.transcript import Transcript
from ..network.driver import Driver, Follower
from ..protocol.state import State
from .notifier import Notifier
from .origin import Origin

__all__ = ["Listeners"]

LISTENER_STEP = 1000
"""Lines that listeners are told before the client's observers have their turn."""
LISTENER_PATIENCE = 0.1
"""Seconds that listeners are still told, after a stop, of what had been received before."""
COMPLAIN_EVERY = 1.0
"""Seconds between two complaints about a listener that fails: one about each line would flood a notebook."""

log = logging.getLogger("ipyreconnect")


class Listeners:
    """The on_line listeners of one client, told of each line in the order in which they were registered; and
    how far they have been told.

    notifier: on whose thread. name: what messages call the client.
    """

    def __init__(self, driver: Driver, transcript: Transcript, notifier: Notifier, name: str) -> None:
        self._driver = driver
        self._transcript = transcript
        self._notifier = notifier
        self._name = name
        self._place = Follower(transcript.end)
        self._received = 0  # how many lines before that came from the peer
        self._listeners: dict[object, Listener] = {}
        self._posted = False
        self._ends: float | None = None

    def add(self, key: object, listener: Callable[[Line], object], origin: Origin) -> None:
        """Have `listener` told of each line from now on, once, however often that is asked for; `key` stands
        for it, and `origin` for where it was registered. With the turn.
        """
        if key in self._listeners:
            return
        transcript = self._transcript
        if not self._listeners:
            self._place.next = transcript.end
            self._received = transcript.received_before(transcript.end) or 0
            self._driver.begin_hearing(self._place)
        # Replaced, never changed: they may be being told.
        self._listeners = {**self._listeners, key: Listener(listener, origin, transcript.end)}

    def remove(self, key: object) -> None:
        """Have it told no more; harmless when it is unknown. With the turn."""
        if key in self._listeners:
            self._listeners[key].gone = True
            self._listeners = {each: made for each, made in self._listeners.items() if each != key}
            if not self._listeners:
                self._driver.end_hearing(self._place)

    def poke(self) -> None:
        """Have them told what is new. With the turn, on whatever thread."""
        # In the child of a fork, nothing is called that was posted.
        if (
            self._transcript.end > self._place.next
            and self._listeners
            and not (self._posted and self._notifier.is_busy)
        ):
            self._posted = True
            self._notifier.post(self._run)

    def _run(self) -> None:
        """Tell a number of lines, then let the client's other callbacks have their turn."""
        transcript, place = self._transcript, self._place
        if transcript.oldest > place.next:
            self._pass_over()
        place.next = self._tell_some()
        if self._ends is not None and self._is_over():
            self._leave_the_rest()
        if transcript.end > place.next and self._listeners:
            self._notifier.post(self._run)
        else:
            self._posted = False
            self._driver.followed(place, place.next)
            self.poke()

    def _tell_some(self) -> int:
        """Tell LISTENER_STEP lines at most; return the number of the line with which the next run begins."""
        transcript, place = self._transcript, self._place
        stop = min(transcript.end, place.next + LISTENER_STEP)
        try:
            for line in transcript.lines(place.next, stop, strict=True, for_readers=True):
                if not self._listeners or self._is_over():
                    return place.next
                place.next = line.number + 1
                self._received += 1
                for listener in self._listeners.values():
                    listener.tell(line)
        except Overrun:
            return place.next  # the next run says what was missed
        return stop

    def _leave_the_rest(self) -> None:
        """Tell no more of what had come before the stop, and say how much that is."""
        self._place.next = end = self._transcript.end
        left = (self._transcript.received_before(end) or 0) - self._received
        self._received += left
        if left > 0 and self._listeners:
            log.warning("%s not told of the last %d lines: %s was stopped", self._were, left, self._name)

    def _pass_over(self) -> None:
        """Go on with the oldest line that is kept, and say in the log how many were missed."""
        before = self._received
        self._place.next, self._received = self._transcript.oldest_kept
        if missed := self._received - before:
            slow = "it is" if len(self._listeners) == 1 else "one of them is"
            text = f"{missed} lines were forgotten before {self._were} told of them: {slow} too slow"
            driver = self._driver
            driver.post(lambda: driver.connection.note(text, time.monotonic()))

    @property
    def _were(self) -> str:
        names = [listener.name for listener in self._listeners.values()]
        return f"{', '.join(names)} {'was' if len(names) == 1 else 'were'}"

    def _is_over(self) -> bool:
        """Say whether the client was stopped, and what it had received was told for long enough."""
        if self._driver.connection.state is not State.STOPPED:
            self._ends = None
            return False
        if self._ends is None:
            self._ends = time.monotonic() + LISTENER_PATIENCE
        return time.monotonic() > self._ends


class Listener:
    """One of them: what is called, from line `start` on, until it is `gone`."""

    def __init__(self, call: Callable[[Line], object], origin: Origin, start: int) -> None:
        self._call = call
        self._origin = origin
        self._start = start
        self._failures = 0
        self._complains_at = -math.inf
        self.gone = False

    def tell(self, line: Line) -> None:
        """Call it, if the line is for it."""
        if not self.gone and line.number >= self._start:
            self._origin.call(self._tell, line)

    def _tell(self, line: Line) -> None:
        """Call it where it was registered: what it prints, and its failures, go there."""
        try:
            self._call(line)
        except BaseException:  # a SystemExit of one must not end the others
            self._failures += 1
            now = time.monotonic()
            if now < self._complains_at:
                return
            self._complains_at = now + COMPLAIN_EVERY
            log.exception(
                "%s failed at line %d (failure %d); it is told the next ones",
                self.name,
                line.number,
                self._failures,
            )

    @property
    def name(self) -> str:
        """What messages call it."""
        return getattr(self._call, "__qualname__", None) or repr(self._call)
