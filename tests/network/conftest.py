"""What the tests of attempts at connections share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ipyreconnect.network.loop import Loop
from tests.dialing import (
    PATIENCE,
    Mute,
    ipv4,
    join_lookups,
    waited_for,
)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
        assert waited_for(loop) == 0, "a socket is still registered"
    finally:
        loop.end()
        loop.thread.join(PATIENCE)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def mute() -> Iterator[Mute]:
    mute = Mute(ipv4(1))
    yield mute
    mute.released.set()
    join_lookups()
