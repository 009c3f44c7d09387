"""Calls a client's `on_line` listeners for each received line; nothing waits for them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from ..errors import Overrun
from ..lines.line import Line
from ..lines.transcript import Transcript
from ..network.driver import Driver
from ..network.flow_control import ReaderPosition
from ..protocol.state import State
from .notifier import Notifier
from .origin import Origin

__all__ = ["Listeners"]

LISTENER_STEP = 1000
"""Lines passed to the listeners before the client's observers run."""
LISTENER_PATIENCE = 0.1
"""Seconds after a stop for which listeners are still called with lines received before it."""
COMPLAIN_EVERY = 1.0
"""Seconds between two log messages about a failing listener: one a line would flood a notebook."""

log = logging.getLogger("ipyreconnect")


class Listeners:
    """The `on_line` listeners of one client, called in the order of their registration.

    Args:
        driver: Wakes the listeners when lines have come.
        transcript: Where the lines are read from.
        notifier: Runs the listeners.
        name: How messages name the client.
    """

    def __init__(self, driver: Driver, transcript: Transcript, notifier: Notifier, name: str) -> None:
        self._driver = driver
        self._transcript = transcript
        self._notifier = notifier
        self._name = name
        self._position = ReaderPosition(transcript.end)
        self._received = 0  # how many of the lines before that position came from the peer
        self._listeners: dict[object, Listener] = {}
        self._posted = False
        self._ends: float | None = None

    def add(self, key: object, listener: Callable[[Line], object], origin: Origin) -> None:
        """Register a listener for the lines from now on. Call with the connection's lock held.

        Args:
            key: Identifies the listener; one that is registered already is not registered twice.
            listener: Called with each line.
            origin: The context in which it is called.
        """
        if key in self._listeners:
            return
        transcript = self._transcript
        if not self._listeners:
            self._position.next = transcript.end
            self._received = transcript.received_before(transcript.end) or 0
            self._driver.register_listener(self._position)
        # Replaced as a whole, never mutated: another thread may be iterating over it.
        self._listeners = {**self._listeners, key: Listener(listener, origin, transcript.end)}

    def remove(self, key: object) -> None:
        """Unregister a listener; does nothing if it is unknown. Call with the connection's lock held."""
        if key in self._listeners:
            self._listeners[key].gone = True
            self._listeners = {each: made for each, made in self._listeners.items() if each != key}
            if not self._listeners:
                self._driver.unregister_listener(self._position)

    def wake(self) -> None:
        """Have the notifier pass on new lines. Call with the connection's lock held, on any thread."""
        # In the child of a fork, `_posted` may be set though the notifier has dropped what was posted.
        if (
            self._transcript.end > self._position.next
            and self._listeners
            and not (self._posted and self._notifier.is_busy)
        ):
            self._posted = True
            self._notifier.post(self._run)

    def _run(self) -> None:
        """Pass on a number of lines, then let the client's other callbacks run."""
        transcript, position = self._transcript, self._position
        if transcript.oldest > position.next:
            self._skip_forgotten()
        position.next = self._notify_some()
        if self._ends is not None and self._is_over():
            self._abandon_the_rest()
        if transcript.end > position.next and self._listeners:
            self._notifier.post(self._run)
        else:
            self._posted = False
            self._driver.advanced(position, position.next)
            self.wake()

    def _notify_some(self) -> int:
        """Pass on LISTENER_STEP lines at most; return the number of the line to go on with."""
        transcript, position = self._transcript, self._position
        stop = min(transcript.end, position.next + LISTENER_STEP)
        try:
            for line in transcript.lines(position.next, stop, strict=True, for_readers=True):
                if not self._listeners or self._is_over():
                    return position.next
                position.next = line.number + 1
                self._received += 1
                for listener in self._listeners.values():
                    listener.notify(line)
        except Overrun:
            return position.next  # the next run reports what was missed
        return stop

    def _abandon_the_rest(self) -> None:
        """Skip what was received before the stop, and log how many lines that is."""
        self._position.next = end = self._transcript.end
        left = (self._transcript.received_before(end) or 0) - self._received
        self._received += left
        if left > 0 and self._listeners:
            log.warning("%s not told of the last %d lines: %s was stopped", self._subject, left, self._name)

    def _skip_forgotten(self) -> None:
        """Go on with the oldest line that is kept, and note in the transcript how many were missed."""
        before = self._received
        self._position.next, self._received = self._transcript.oldest_kept
        if missed := self._received - before:
            slow = "it is" if len(self._listeners) == 1 else "one of them is"
            text = f"{missed} lines were forgotten before {self._subject} told of them: {slow} too slow"
            driver = self._driver
            driver.post(lambda: driver.connection.note(text, time.monotonic()))

    @property
    def _subject(self) -> str:
        """How messages begin: the listeners' names and the verb."""
        names = [listener.name for listener in self._listeners.values()]
        return f"{', '.join(names)} {'was' if len(names) == 1 else 'were'}"

    def _is_over(self) -> bool:
        """Return whether the client was stopped more than LISTENER_PATIENCE seconds ago."""
        if self._driver.connection.state is not State.STOPPED:
            self._ends = None
            return False
        if self._ends is None:
            self._ends = time.monotonic() + LISTENER_PATIENCE
        return time.monotonic() > self._ends


class Listener:
    """One listener: called for lines from number `start` on, until it is `gone`."""

    def __init__(self, call: Callable[[Line], object], origin: Origin, start: int) -> None:
        self._call = call
        self._origin = origin
        self._start = start
        self._failures = 0
        self._next_complaint_at = -math.inf
        self.gone = False

    def notify(self, line: Line) -> None:
        """Call it, unless the line came before its registration."""
        if not self.gone and line.number >= self._start:
            self._origin.call(self._run, line)

    def _run(self, line: Line) -> None:
        """Call it in the context of its registration, where what it prints and its errors belong."""
        try:
            self._call(line)
        except BaseException:  # a SystemExit of one must not stop the others
            self._failures += 1
            now = time.monotonic()
            if now < self._next_complaint_at:
                return
            self._next_complaint_at = now + COMPLAIN_EVERY
            log.exception(
                "%s failed at line %d (failure %d); it is told the next ones",
                self.name,
                line.number,
                self._failures,
            )

    @property
    def name(self) -> str:
        """How messages name it."""
        return getattr(self._call, "__qualname__", None) or repr(self._call)
