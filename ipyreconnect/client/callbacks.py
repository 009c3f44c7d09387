"""What the driver of a client calls, with the turn: hands each thing on to who deals with it, and does none
of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import zip_longest

from ..protocol.expect import Expectation
from ..protocol.health import UNKNOWN
from ..protocol.status import Status
from .traits import Change
from .worker import Worker

__all__ = ["Callbacks"]

_AT_FIRST = Status()
"""What a client is before it has begun; of them all, as each takes 144 bytes."""

log = logging.getLogger("ipyreconnect")


class Callbacks:
    """The `Sink` of one client's driver.

    notify: has the client's observers told of changes. worker:
    runs the client's slow code; it is given before the client first connects.
    """

    __slots__ = ("_notify", "_told", "_watchers", "worker")

    worker: Worker

    def __init__(self, notify: Callable[[list[Change]], None]) -> None:
        self._notify = notify
        self._told = _AT_FIRST
        self._watchers: tuple[Callable[[], None], ...] = ()  # replaced, never changed

    def add_watcher(self, poke: Callable[[], None]) -> None:
        """Call `poke()` after anything changed. With the turn."""
        self._watchers = (*self._watchers, poke)

    def remove_watcher(self, poke: Callable[[], None]) -> None:
        """Call `poke` no more; harmless when it is unknown. With the turn."""
        self._watchers = tuple(each for each in self._watchers if each != poke)

    def poke(self) -> None:
        """Tell the watchers."""
        for poke in self._watchers:
            try:
                poke()
            except Exception:
                log.exception("a watcher failed; the connection goes on")

    def changed(self, statuses: list[Status]) -> None:
        """Have the observers told, in order."""
        changes: list[Change] = []
        for status, following in zip_longest(statuses, statuses[1:]):
            if following is not None and (status.state, status.phase) == (following.state, following.phase):
                continue  # the rest of what belongs to this state is still to come
            before, self._told = self._told, status
            changes += _changes(before, status)
        self._notify(changes)

    def run_function(self, session: int) -> None:
        """Have the on-connect function run, as the session of that number."""
        self.worker.run_function(session)

    def search(self, expectation: Expectation) -> None:
        """Have it looked for elsewhere, as its expression may take long."""
        self.worker.search(expectation)

    def work(self, job: Callable[[], None]) -> None:
        """Have code of the user's run, after what was given before."""
        self.worker.work(job)


def _changes(before: Status, after: Status) -> Iterator[Change]:
    phases = [status.phase.value if status.phase else None for status in (before, after)]
    pairs = (
        ("reason", before.reason, after.reason),
        ("attempt", before.attempt, after.attempt),
        ("retry_at", before.retry_at, after.retry_at),
        ("connected_since", before.connected_since, after.connected_since),
        ("phase", phases[0], phases[1]),
        ("health", before.health or UNKNOWN, after.health or UNKNOWN),
        # Last: who observes the state finds the rest as it belongs to it.
        ("state", before.state.value, after.state.value),
    )
    for name, old, new in pairs:
        if old != new:
            yield name, old, new
