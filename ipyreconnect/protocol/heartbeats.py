"""The application's heartbeat on one client's connections: when a line is due, and whether it is answered.
Sends nothing itself.

A peer is judged by the silence after a heartbeat only once it has answered one like it at this address:
there are servers that answer none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..lines.text import decode
from ..logical import beginning
from ..profile.base import Profile
from ..settings import Heartbeat
from .configuration import Settings
from .judging import Later, search_now
from .state import NEVER
from .traffic import Traffic

__all__ = ["Heartbeats"]


class Heartbeats:
    """The state of the heartbeat; see the module's first lines. Times are monotonic (s).

    Attributes:
        heartbeat: the user's; None: none is sent
        due_at: when the next line is due; infinite: none is
        awaited: finds the answer that is waited for in a received line; None: none is looked for

    """

    __slots__ = (
        "_answer",
        "_is_answered",
        "_mark",
        "_settings",
        "_traffic",
        "awaited",
        "due_at",
        "heartbeat",
    )

    def __init__(self, settings: Settings, traffic: Traffic) -> None:
        self._settings = settings
        self._traffic = traffic
        self.heartbeat: Heartbeat | None = None
        self.due_at = NEVER
        self.awaited: re.Pattern[Any] | None = None
        self._is_answered = False  # whether one like this was ever answered at this address
        self._answer: re.Pattern[Any] | None = None  # finds what answers it; None: whatever is received
        self._mark: int | None = None  # bytes received when the first that is unanswered had left

    @property
    def judges_by(self) -> float | None:
        """Seconds within which an answer is to come; None: nobody is judged by that."""
        return self.heartbeat.every if self.heartbeat is not None and self._is_answered else None

    @property
    def listens_every(self) -> float | None:
        """Seconds within which an answer may come, be the peer judged by it or not; None: none is awaited."""
        return self.heartbeat.every if self.heartbeat is not None and self._mark is not None else None

    @property
    def waits(self) -> bool:
        """Whether one was sent that has not been answered."""
        return self._mark is not None

    @property
    def is_answered(self) -> bool:
        """Whether one like this was ever answered at this address."""
        return self._is_answered

    def change(self, heartbeat: Heartbeat | None) -> None:
        """Send another one, or none, from now on. Another line than before has to be answered once before
        its silence says anything.
        """
        before, self.heartbeat = self.heartbeat, heartbeat
        if heartbeat is not None and before is not None and _ask_alike(heartbeat, before):
            return
        self._is_answered = False
        self._answer = _answer_to(heartbeat, self._settings.profile) if heartbeat is not None else None

    def begin(self, now: float) -> None:
        """Send it on the connection that there is now, the first one a period from now."""
        self.due_at = NEVER if self.heartbeat is None else now + self.heartbeat.every
        self.awaited = self._mark = None

    def end(self) -> None:
        """Send it no more on this connection."""
        self.due_at = NEVER
        self.awaited = self._mark = None

    def next_line(self, now: float, *, may_beat: bool) -> bytes | None:
        """Return the line that is due, for the wire; None: another line has left meanwhile, so it is not."""
        beat = self.heartbeat
        assert beat is not None
        if isinstance(beat.line, bytes):
            self.due_at = now + beat.every
            return beat.line
        sent_at = self._traffic.sent_at
        if sent_at is not None and now < (at := sent_at + beat.every):
            self.due_at = at
            return None
        self.due_at = now + beat.every
        if not may_beat:
            return None
        return beat.line.encode(self._settings.encoding or "utf-8") + self._settings.eol

    def sent(self) -> bool:
        """Note that it has left; return whether an answer is still awaited to the one before."""
        if self._mark is not None:
            return True
        if not self._is_answered:
            self._mark = self._traffic.received
            self.awaited = self._answer
        return False

    def hear(self, lines: Iterable[bytes]) -> bool:
        """Return whether one of the received lines is the awaited answer, which then counts."""
        pattern = self.awaited
        if pattern is None:
            return False
        in_bytes = isinstance(pattern.pattern, bytes)
        for line in lines:
            compared = beginning(line)
            if compared is None:
                continue
            text = compared if in_bytes else decode(compared, self._settings.encoding)
            try:
                found = search_now(pattern, text)
            except Later:  # nobody is judged for a line that could not be looked at
                continue
            if found:
                self._was_answered()
                return True
        return False

    def note_answer(self) -> bool:
        """Return whether something has come that is an answer whatever it is, which then counts: nobody has
        looked at it when it came.
        """
        if self._mark is None or self._answer is not None or self._traffic.received <= self._mark:
            return False
        self._was_answered()
        return True

    def _was_answered(self) -> None:
        self._is_answered = True
        self.awaited = self._mark = None


def _ask_alike(one: Heartbeat, other: Heartbeat) -> bool:
    return (one.line, one.answered) == (other.line, other.answered)


def _answer_to(beat: Heartbeat, profile: Profile) -> re.Pattern[Any] | None:
    """Return what finds the answer to a heartbeat; None: whatever is received next is one."""
    if isinstance(beat.answered, bool):
        return profile.heartbeat_answer if beat.line == profile.heartbeat else None
    return re.compile(beat.answered)
