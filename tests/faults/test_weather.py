"""Keep a live peer that is slow to answer, and say what is wrong with one that hears nothing large."""

from __future__ import annotations

import asyncio
import re
import select
import time
from collections.abc import Callable

import pytest

from ipyreconnect import KeepAlive, Retry
from tests.faults.watching import PATIENCE, client_on, received, server_on, wait_until
from tests.servers.line_server import Peer
from tests.weather import WirelessPair

pytestmark = pytest.mark.faults

LONG = Retry(delay=60.0)


def eventually(true: Callable[[], bool]) -> None:
    """Look again and again until `true()`; the kernel has no event for what is looked at."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "did not come true"
        select.select([], [], [], 0.01)


@pytest.mark.parametrize("before", ["60/10/3", "off"])
def test_a_changed_keepalive_cuts_no_peer_that_was_just_not_asked(
    wireless: WirelessPair, before: str
) -> None:
    """Who turns the keepalive down after a long silence, even again and again, asks a live peer and waits for
    its answer; the silence before is not held against it.
    """
    with server_on(wireless) as server, client_on(wireless, server.address, keepalive=before) as client:
        client.send("hello", expect="^hello")
        wireless.weather.delay = 0.15
        eventually(lambda: (client.health.last_ack or 0) > 2.5)  # longer than the T of all that follow
        for keepalive in (KeepAlive(1, 1, 1), KeepAlive(1, 1, 1), KeepAlive(2, 1, 1), KeepAlive(1, 1, 1)):
            client.set_keepalive(keepalive)
            eventually(lambda: client.health.probes > 0)  # the answer is under way
        eventually(lambda: client.health.probes == 0)
        assert client.health.last_ack is not None
        assert client.health.last_ack < 1
        assert (client.state, client.status.connection) == ("connected", 1), client.reason
        assert client.keepalive_in_force == KeepAlive(1, 1, 1)


async def tick(peer: Peer) -> None:
    """Say something all the time, and listen."""

    async def talk() -> None:
        while True:
            peer.send(b"tick\r\n")
            await asyncio.sleep(0.2)

    talking = asyncio.ensure_future(talk())
    try:
        await peer.until_closed()
    finally:
        talking.cancel()


def test_a_way_that_swallows_large_packets_is_told_as_such(wireless: WirelessPair) -> None:
    """A peer that is heard and never acknowledges is given up after T, as no line reaches it any more, and
    the reason is the true one; whoever sends short lines to it notices nothing.
    """
    keepalive = KeepAlive(1, 1, 2)
    with (
        server_on(wireless, tick) as server,
        client_on(wireless, server.address, keepalive=keepalive, retry=LONG) as client,
        client_on(wireless, server.address, keepalive=keepalive, retry=LONG) as other,
    ):
        wireless.weather.largest = 600
        delivery = client.send("x" * 1000)
        took = wait_until(client, lambda: client.state == "waiting")
        assert keepalive.bound <= took < keepalive.bound + 2
        assert re.fullmatch(
            rf"{server.address} has acknowledged nothing for 3\.\d s \(\d retransmissions\), "
            "though it sends: large packets seem to get lost",
            client.reason,
        )
        assert delivery.status == "unconfirmed"
        assert other.send("short").wait(timeout=PATIENCE)
        assert (other.state, other.status.connection) == ("connected", 1)
        wireless.weather.largest = 65536
        client.reconnect_now()
        wait_until(client, lambda: client.state == "connected")
        server.peer(1).wait_line(b"^short$")  # acknowledged is what its kernel has, and not yet its program
        assert received(server) == [b"short"]
