"""What a saved notebook shows in the places where a panel was shown; brought up to date, but seldom."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from ...lines.transcript import Transcript
from ...protocol.state import State

__all__ = ["SavedCopies"]

STORE_STATE = 5.0
"""Least seconds between two updates where the state has changed …"""
STORE_LINES = (2.0, 60.0)
"""… and where only lines have come, at first and, doubled each time, at last: each update gives the notebook
unsaved changes."""
STORED_AT_MOST = 8
"""Places that are kept up to date: each run of a cell makes another one, and which are gone is unknown."""

_PASSING = (State.CONNECTING.value, State.STOPPING.value)
"""States that are not stored: what comes of them is stored soon."""


class Copy(Protocol):
    """What is needed of a display handle."""

    def update(self, obj: Any, **kwargs: Any) -> object:
        """Replace what is shown."""


class SavedCopies:
    """The places where a saved notebook shows a panel's last lines. Any thread, one at a time.

    Args:
        transcript: the log.
        bundle: makes what is shown.

    """

    def __init__(self, transcript: Transcript, bundle: Callable[[], dict[str, str]]) -> None:
        self._transcript = transcript
        self._bundle = bundle
        self._copies: deque[Copy] = deque(maxlen=STORED_AT_MOST)
        self._stored_at = float("-inf")
        self._pause = STORE_LINES[0]
        self._seen = ("", 0)

    def add(self, copy: Copy, state: str) -> None:
        """Keep one more place up to date, which shows the present state."""
        self._copies.append(copy)
        self._seen = (state, self._transcript.end)
        self._pause = STORE_LINES[0]

    def poll(self, state: str, now: float) -> None:
        """Update the places if there is something new and the last update is long ago.

        Args:
            state: the client's.
            now: monotonic seconds.

        """
        if not self._copies or state in _PASSING:
            return
        seen = (state, self._transcript.end)
        changed = state != self._seen[0]
        if seen == self._seen or now - self._stored_at < (STORE_STATE if changed else self._pause):
            return
        if not changed:
            self._pause = min(2 * self._pause, STORE_LINES[1])
        self._stored_at, self._seen = now, seen
        self.update()

    def update(self) -> None:
        """Update the places now."""
        if self._copies:
            bundle = self._bundle()
            for copy in tuple(self._copies):
                copy.update(bundle, raw=True)

    def clear(self) -> None:
        """Leave them as they are from now on."""
        self._copies.clear()
