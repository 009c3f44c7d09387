"""Which state one client is in, why, and what comes next: the waits between attempts and their number.
Decides nothing about bytes; the table of all transitions is in state.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ..settings import Retry
from .events import ApplyOptions, Event, RunFunction, StatusChanged
from .state import NEVER, Effect, Input, Phase, State, transition
from .status import Status

__all__ = ["Cause", "Lifecycle", "Reason"]

CHANGES_APART = 0.5
"""Seconds between tries that a change of network sets off: where containers come and go there are many. The
next one after a change is no later than that."""
# Named once: an enum looks for its member each time, which takes 0.1 µs in Python 3.11.
_CONNECTED, _CONNECTING, _STOPPED, _STOPPING, _WAITING = (
    State.CONNECTED,
    State.CONNECTING,
    State.STOPPED,
    State.STOPPING,
    State.WAITING,
)


class Cause(Enum):
    """Why a connection ended, or an attempt, for those who decide by it: no message is ever compared."""

    USER = "the user stopped it"
    RECONNECT = "the user wants a new connection"
    FAILURE = "it failed, or was lost"
    NONE = "nothing has ended yet"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a connection ended: the text is for the user."""

    text: str
    cause: Cause


NO_REASON = Reason("", Cause.NONE)
STOPPED_BY_USER = Reason("stopped", Cause.USER)


class Lifecycle:
    """The state of one client; see the module's first lines. `now` is monotonic (s), `wall` the same as Unix
    time.

    Attributes:
        state: where the client is in the table of states
        status: what users see of it
        retry: the user's rule for the waits between attempts
        reason: why the last connection, or attempt, ended
        retry_at: when the next attempt begins (monotonic, s); infinite: none is planned

    """

    __slots__ = (
        "_chance",
        "_changed_at",
        "_changed_meanwhile",
        "_events",
        "_failures",
        "_longest_wait",
        "_up_at",
        "_where",
        "reason",
        "retry",
        "retry_at",
        "state",
        "status",
    )

    def __init__(self, where: str, retry: Retry, chance: Callable[[], float], events: list[Event]) -> None:
        self._events = events
        self._where = where
        self._chance = chance
        self.retry = retry
        self.state = _STOPPED
        self.status = Status()
        self.reason = NO_REASON
        self.retry_at = NEVER
        self._failures = 0  # in a row
        self._up_at = 0.0
        self._changed_at = -math.inf  # when a change of network last set off a try
        self._changed_meanwhile = False  # the network, since the attempt began
        self._longest_wait = NEVER  # seconds that the next wait has at most

    @property
    def is_live(self) -> bool:
        """Whether there is a connection, or an attempt at one."""
        return self.state is _CONNECTED or self.state is _CONNECTING

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, an attempt at one, or its orderly end."""
        return self.state is not _STOPPED and self.state is not _WAITING

    @property
    def is_stopped(self) -> bool:
        """Whether the client is stopped, or about to be."""
        return self.state is _STOPPED or self.state is _STOPPING

    # -- changes of the state --------------------------------------------------------------------------------

    def enter(self, happened: Input, now: float, wall: float) -> None:
        """Go where `happened` leads."""
        before = self.state
        self.state, effects = transition(before, happened)
        if not effects and self.state is before:
            return
        # What was to be done with a socket that is given up is void.
        void = (RunFunction, ApplyOptions)
        self._events[:] = [event for event in self._events if not isinstance(event, void)]
        self._events += effects
        self.retry_at = NEVER
        if Effect.DIAL in effects:
            self._changed_meanwhile = False
            self._longest_wait = NEVER
            attempt = self.status.attempt + 1
            self.show(
                state=_CONNECTING, phase=Phase.RESOLVING, attempt=attempt, retry_at=None, stopped_at=None
            )
        elif Effect.WAIT in effects:
            wait = self.retry.wait(max(1, self._failures), self._chance())
            if self._changed_meanwhile and before is _CONNECTING:
                # Its failure belongs to the network as it was.
                wait = min(wait, CHANGES_APART)
            wait = min(wait, self._longest_wait)
            self._longest_wait = NEVER
            self.retry_at = now + wait
            self.show(state=_WAITING, phase=None, retry_at=self.retry_at + (wall - now))
        else:
            self.show(state=self.state, phase=None, retry_at=None)

    def set_retry(self, retry: Retry) -> None:
        """Wait by `retry` from the next failure on."""
        self.retry = retry

    def begin(self) -> None:
        """Begin a row of attempts: the user connects."""
        self._failures = 0
        self.status = replace(self.status, reason="", loss="", attempt=0)

    def is_up(self, now: float, wall: float) -> bool:
        """Note that the connection is made; return whether that had a meaning."""
        if self.state is not _CONNECTING:
            return False
        self.state, _ = transition(self.state, Input.UP)
        self._up_at = now
        number = self.status.connection + 1
        self.show(state=self.state, phase=None, connected_since=wall, connection=number)
        return True

    def dropped_to_reconnect(self) -> None:
        """Note that the user has the live connection dropped for a new one."""
        self.reason = Reason(f"connection to {self._where} dropped to reconnect", Cause.RECONNECT)
        self._failures = 0
        text = self.reason.text
        self.status = replace(self.status, reason=text, loss=text, attempt=0)

    def stopped_by_user(self, wall: float) -> None:
        """Note that the user stops the client."""
        if not self.is_stopped:
            self.reason = STOPPED_BY_USER
            self.status = replace(self.status, stopped_at=wall)

    def lasted(self, now: float) -> bool:
        """Return whether a connection has lasted for long enough to count as no failure. One that has not
        counts as one more in the row: a server that accepts and closes must not be called for ever, or
        without growing waits.
        """
        return self.state is _CONNECTED and now - self._up_at >= self.retry.stable

    def failed(self, text: str, *, is_final: bool, was_stable: bool) -> Input:
        """Count an attempt that failed, or a connection that is lost; return what follows.

        Args:
            text: the reason
            is_final: whether no other attempt can mend it
            was_stable: whether the connection counts as no failure

        """
        if was_stable:
            self._failures = 0
            self.status = replace(self.status, attempt=0)
        self._failures += 1
        tries = self.retry.attempts
        if not is_final and tries is not None and self.status.attempt >= tries:
            is_final = True
            text = f"{text}; gave up after {tries} {'try' if tries == 1 else 'tries'}"
        self.explain(text)
        if self.state is _CONNECTED:
            self.status = replace(self.status, loss=text)
        return Input.GIVE_UP if is_final else Input.FAIL

    def explain(self, text: str) -> None:
        """Note why the connection, or the attempt, fails."""
        self.reason = Reason(text, Cause.FAILURE)
        self.status = replace(self.status, reason=text)

    def network_changed(self, now: float, wall: float, spread: float) -> None:
        """Try again without waiting, at some moment within `spread` seconds."""
        if self.state is _CONNECTING:
            self._changed_meanwhile = True
        elif self.state is _WAITING and self.retry_at < NEVER:
            at = max(now, self._changed_at + CHANGES_APART)
            if spread:
                at += spread * self._chance()
            if at < self.retry_at:
                # It may be the last one, the one that matters: postponed, never ignored.
                self._changed_at = self.retry_at = at
                self.show(retry_at=at + (wall - now))

    def hurry(self, spread: float) -> None:
        """Have the next wait be short, as the address is gone: another may be there already. But try not at
        once, as most likely it is still to come; within `spread` seconds where many do.
        """
        soonest = CHANGES_APART / 2
        self._longest_wait = soonest + max(CHANGES_APART - soonest, spread) * self._chance()

    def forked(self, reason: str) -> None:
        """Let go in a child process: the connection is its parent's."""
        self.state = _STOPPED
        self.retry_at = NEVER
        self.status = Status(reason=reason, connection=self.status.connection)

    # -- what users are told ---------------------------------------------------------------------------------

    def note(self, **changes: Any) -> None:
        """Have the status show something from the next change on."""
        self.status = replace(self.status, **changes)

    def show(self, **changes: Any) -> None:
        """Have the status show something from now on."""
        self.status = replace(self.status, **changes)
        self._events.append(StatusChanged(self.status))

    def comes_next(self, now: float) -> str:
        """Say what follows a loss, behind its reason."""
        if self.state is _WAITING and self.retry_at < NEVER:
            return f"; try {self.status.attempt + 1} in {self.retry_at - now:.1f} s"
        return "; stopped" if self.state is _STOPPED and self.reason.cause is not Cause.USER else ""

    def not_connected(self, now: float) -> str:
        """Say that there is no connection, and what comes next."""
        text = f"not connected to {self._where}"
        status = self.status
        if self.state is _WAITING and self.retry_at < NEVER:
            wait = max(0.0, self.retry_at - now)
            return f"{text}: {status.reason}; waiting for try {status.attempt + 1} in {wait:.1f} s"
        if self.state is _CONNECTING:
            phase = status.phase.value if status.phase else "dialing"
            yet = "" if status.connection else " yet"
            return f"{text}{yet}: connecting ({phase}), try {status.attempt}"
        return f"{text}: {'stopping' if self.state is _STOPPING else 'stopped; connect first'}"
