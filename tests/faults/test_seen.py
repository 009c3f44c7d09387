"""Show the user what is going on: a line in doubt, a peer that is dying, what was lost, and the way back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from ipyreconnect import Client, Heartbeat, KeepAlive, Retry
from ipyreconnect.jupyter.magics.connections import state
from ipyreconnect.protocol.health import Health
from tests.faults.watching import PATIENCE, deafen_client, received, wait_until
from tests.servers.line_server import LineServer, echo

pytestmark = pytest.mark.faults

KEEPALIVE = KeepAlive(idle=2, interval=1, count=3)
"""Dead after 5 s: a user's patience is the same with any, and a test's is short."""

LOOK_EVERY = 0.1
"""Seconds between two looks at the health, as of somebody who watches the panel."""


@contextmanager
def connected(server: LineServer, **options: Any) -> Iterator[Client]:
    with Client(server.address, keepalive=KEEPALIVE, retry=Retry(0.2), **options) as client:
        client.send("hello", expect="^hello")
        yield client


def cut(server: LineServer, *clients: Client) -> None:
    server.pull_cable()
    for client in clients:
        deafen_client(client)


def watch_it_die(client: Client, listed: list[str] | None = None) -> list[Health]:
    """Look at the health, as the panel does, until the connection is given up; and at what %connect lists."""
    seen = []
    while client.state == "connected":
        seen.append(client.health)
        if listed is not None:
            listed.append(state(client, time.time()))
        time.sleep(LOOK_EVERY)
    return seen[:-1] if seen[-1].verdict == "dead" else seen


def test_a_line_into_a_dead_network_is_sent_then_unconfirmed_and_never_twice() -> None:
    """The line shows as sent and not acknowledged; the log then says what was lost; nobody sends it again."""
    with LineServer(echo) as server, connected(server) as client:
        cut(server, client)
        told: list[Health] = []
        client.observe(lambda change: told.append(change.new), "health")
        deliveries = [client.send("into the dark"), client.send("and one more")]
        assert all(delivery.wait("sent", PATIENCE) for delivery in deliveries)
        assert [delivery.status for delivery in deliveries] == ["sent", "sent"]
        assert client.health.unacknowledged == len("into the dark\r\nand one more\r\n")
        wait_until(client, lambda: client.state != "connected")
        assert [delivery.status for delivery in deliveries] == ["unconfirmed", "unconfirmed"]
        assert not deliveries[0].wait(timeout=0)
        assert [line.text for line in client.unconfirmed] == ["into the dark", "and one more"]
        assert [line.delivery for line in client.unconfirmed] == deliveries
        [note] = [line.text for line in client.transcript if "never acknowledged" in line.text]
        assert re.fullmatch(
            rf"{server.address} has not answered for 5\.\d s \(\d+ retransmissions\); "
            r"2 lines \(25 bytes\) never acknowledged; try \d in 0\.2 s",
            note,
        )
        assert [health.verdict for health in told[-2:]] == ["dying", "dead"]
        assert told[-2].dead_in is not None

        server.plug_cable()
        wait_until(client, lambda: client.state == "connected")
        client.send("back", expect="^back")
        assert received(server) == [b"hello", b"back"]
        assert [delivery.status for delivery in deliveries] == ["unconfirmed", "unconfirmed"]


def test_a_stop_in_a_dead_network_is_at_once_and_leaves_no_ghost() -> None:
    """Who stops is told what was never acknowledged, and that is not delivered when the cable is back."""
    with LineServer(echo) as server, connected(server) as client:
        cut(server, client)
        delivery = client.send("into the dark")
        began = time.monotonic()
        client.stop()
        assert time.monotonic() - began < 1
        assert delivery.status == "unconfirmed"
        assert client.transcript[-1].text == "stopped; 1 line (13 bytes) never acknowledged"
        server.plug_cable()
        with connected(server):
            pass  # by now whatever was to come has come
        assert received(server) == [b"hello", b"hello"]


def test_the_user_sees_a_peer_dying() -> None:
    """Alive, then dying with the probes that went unanswered and the seconds left, counting down."""
    with LineServer(echo) as server, connected(server) as client:
        cut(server, client)
        listed: list[str] = []
        seen = watch_it_die(client, listed)
        assert listed[0] == "connected"
        assert any(re.fullmatch(r"connected, dead in [1-3] s", text) for text in listed)
        verdicts = list(dict.fromkeys(health.verdict.value for health in seen))
        assert verdicts[0] == "alive"
        assert verdicts[-1] == "dying"
        dying = [health for health in seen if health.verdict == "dying"]
        left = [health.dead_in for health in dying if health.dead_in is not None]
        assert len(left) == len(dying)
        assert left == sorted(left, reverse=True)
        assert left[0] > 1.5
        assert left[-1] < 0.6
        assert {health.probes_of for health in dying} == {3}
        probes = [health.probes for health in dying]
        assert probes == sorted(probes)
        assert {1, 2, 3} >= set(probes) >= {2, 3}
        assert all(health.last_ack is not None for health in seen)
        assert client.reason.startswith(f"{server.address} has not answered for 5.")
        assert "probes)" in client.reason


def test_a_line_in_flight_is_no_hiding_place() -> None:
    """With a line in flight the countdown shows retransmissions instead of probes, and is no longer; in IPv6
    neither.
    """
    with LineServer(echo) as server, LineServer(echo, host="::1") as server6, ExitStack() as stack:
        idle, busy, busy6 = (stack.enter_context(connected(each)) for each in (server, server, server6))
        cut(server, idle, busy)
        cut(server6, busy6)
        began = time.monotonic()
        busy.send("into the dark")
        busy6.send("into the dark")
        seen = watch_it_die(busy)
        for client in (idle, busy6):
            wait_until(client, lambda client=client: client.state != "connected")  # type: ignore[misc]
        assert time.monotonic() - began < KEEPALIVE.bound + 1
        assert seen[-1].verdict == "dying"
        assert seen[-1].retransmits >= 2
        assert seen[-1].unacknowledged == len("into the dark\r\n")


def test_a_program_that_hangs_is_found_by_its_silence() -> None:
    """A peer whose kernel answers and whose program says nothing is given up after two heartbeats."""

    async def fall_asleep(peer: Any) -> None:
        for _ in range(4):
            peer.send(await peer.readline())
        await peer.until_closed()

    with LineServer(fall_asleep) as server, connected(server, heartbeat=Heartbeat("beat", 0.5)) as client:
        server.peer(0).wait_line(b"beat")
        assert wait_until(client, lambda: client.state != "connected") < 0.5 * (4 + 2) + 1
        assert "in spite of heartbeats: its program hangs" in client.reason
        # Its kernel has acknowledged all, but for a heartbeat that went out in that very moment.
        assert {line.text for line in client.unconfirmed} <= {"beat"}
