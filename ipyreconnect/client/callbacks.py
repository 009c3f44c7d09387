"""Receives what a connection's driver reports, and dispatches it to observers, watchers and the worker."""

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
"""The status of a client that has not connected yet; shared, as each takes 144 bytes."""

log = logging.getLogger("ipyreconnect")


class Callbacks:
    """Implements the `Sink` of one client's driver; every method is called with the connection's lock held.

    Args:
        notify: Notifies the observers of the client's traits, without waiting for them.

    Attributes:
        worker: Runs the client's slow code; to be set before the client first connects.
    """

    __slots__ = ("_notified", "_notify", "_watchers", "worker")

    worker: Worker

    def __init__(self, notify: Callable[[list[Change]], None]) -> None:
        self._notify = notify
        self._notified = _AT_FIRST
        self._watchers: tuple[
            Callable[[], None], ...
        ] = ()  # replaced as a whole, never mutated: it may be iterated over meanwhile

    def add_watcher(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` after each change; it may only set a flag or wake a thread."""
        self._watchers = (*self._watchers, watcher)

    def remove_watcher(self, watcher: Callable[[], None]) -> None:
        """Stop calling `watcher`; does nothing if it is unknown."""
        self._watchers = tuple(each for each in self._watchers if each != watcher)

    def poke(self) -> None:
        """Call the watchers: something may have changed."""
        for watcher in self._watchers:
            try:
                watcher()
            except Exception:
                log.exception("a watcher failed; the connection goes on")

    def changed(self, statuses: list[Status]) -> None:
        """Notify the observers of these statuses, in order."""
        changes: list[Change] = []
        for status, following in zip_longest(statuses, statuses[1:]):
            if following is not None and (status.state, status.phase) == (following.state, following.phase):
                continue  # an intermediate step of the same state
            before, self._notified = self._notified, status
            changes += _changes(before, status)
        self._notify(changes)

    def run_function(self, session: int) -> None:
        """Run the on-connect function, as the session of that number."""
        self.worker.run_function(session)

    def search(self, expectation: Expectation) -> None:
        """Search for it in a process of its own, as its regular expression may take long."""
        self.worker.search(expectation)

    def work(self, job: Callable[[], None]) -> None:
        """Run a job of the user's framing, after those posted before."""
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
        # Last, so that an observer of the state finds the other traits up to date.
        ("state", before.state.value, after.state.value),
    )
    for name, old, new in pairs:
        if old != new:
            yield name, old, new
