"""Tell everybody of a change of network, and spread the dials that it sets off."""

from __future__ import annotations

import pytest

from ipyreconnect.network.changes import _Watch
from ipyreconnect.network.loop import Loop


class Waiting:
    """A subscriber that dials for a change, or does not; it keeps what it was told."""

    def __init__(self, *, dials: bool) -> None:
        self.dials = dials
        self.spreads: list[float] = []

    def is_to_dial(self) -> bool:
        return self.dials

    def network_changed(self, spread: float) -> None:
        self.spreads.append(spread)


class NoLoop(Loop):
    """A loop on which nothing runs: only `tell` is looked at."""

    def __init__(self) -> None:
        pass

    def call_soon(self, callback: object) -> None:
        pass


@pytest.mark.parametrize(
    ("waiting", "connected", "spread"),
    [
        (1, 0, 0.0),
        (20, 0, 0.0),
        (20, 500, 0.0),
        (21, 0, 0.0105),
        (200, 7, 0.1),
        (1000, 0, 0.5),
        (4000, 0, 2.0),
    ],
)
def test_only_many_that_dial_are_spread(waiting: int, connected: int, spread: float) -> None:
    """Few are back at once; many call a server that serves them all at two thousand a second."""
    watch = _Watch(NoLoop())
    everybody = [Waiting(dials=True) for _ in range(waiting)]
    everybody += [Waiting(dials=False) for _ in range(connected)]
    watch.subscribers.update(everybody)
    watch.notify()
    assert all(one.spreads == [pytest.approx(spread)] for one in everybody)
