"""Act upon a change of network at once, whatever the client is doing, and fall for no harmless one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from socket import AF_INET6

import pytest

from ipyreconnect import Retry
from tests.faults.watching import PATIENCE, client_on, received, server_on, wait_until
from tests.namespaces import NamespacePair
from tests.servers.line_server import LineServer, echo, mute

pytestmark = pytest.mark.faults

LONG = Retry(delay=60.0)
"""A wait that no test sits out."""

VERDICT = 3.3
"""Seconds after a change of network by which the verdict over a peer has come: the promise is 3."""


def test_an_address_that_is_gone_ends_the_connection_at_once(pair: NamespacePair) -> None:
    """Linux takes the IPv6 addresses of a link that goes down: nothing can come back to them any more."""
    server = LineServer(echo, host=pair.right.ipv6)
    with pair.right.entered():
        server.start()
    try:
        with client_on(pair, server.address, retry=LONG) as client:
            assert client.send("hello", expect="^hello").line.text == "hello"
            pair.left.link_down()
            assert wait_until(client, lambda: client.state == "waiting") < 1.0
            assert re.fullmatch(r"our address \[fd77::1\]:\d+ is gone", client.reason)
            assert pair.left.address(AF_INET6) == "fd77::1"
    finally:
        server.stop()


def test_a_change_while_waiting_makes_the_next_try_now(pair: NamespacePair) -> None:
    """A network that comes back cuts the wait short."""
    with server_on(pair) as server:
        server.refuse()
        with client_on(pair, server.address, retry=LONG) as client:
            assert (client.state, client.status.attempt) == ("waiting", 1)
            server.listen()
            pair.left.ip("addr add 10.99.0.1/24 dev cable")
            assert wait_until(client, lambda: client.state == "connected") < 1.5
            assert client.status.attempt == 2


def test_the_last_change_of_a_burst_counts(pair: NamespacePair) -> None:
    """A network comes back in steps, the link, the address, the route: what matters is not overlooked."""
    with server_on(pair) as server:
        server.refuse()
        with client_on(pair, server.address, retry=LONG) as client:
            pair.left.ip("addr add 10.99.0.1/24 dev cable")
            wait_until(client, lambda: client.state == "waiting" and client.status.attempt == 2)
            server.listen()
            pair.left.ip("addr add 10.99.0.2/24 dev cable")
            assert wait_until(client, lambda: client.state == "connected") < 2.5
            assert client.status.attempt == 3


def test_a_storm_of_changes_makes_two_tries_a_second(pair: NamespacePair) -> None:
    """Where containers come and go all the time, a server that refuses is not stormed."""
    with server_on(pair) as server:
        server.refuse()
        with client_on(pair, server.address, retry=LONG) as client:
            began, number = time.monotonic(), 0
            while (elapsed := time.monotonic() - began) < 3.0:
                number += 1
                pair.left.ip(f"addr add 10.99.{number // 250}.{number % 250 + 1}/32 dev cable")
            wait_until(client, lambda: client.state == "waiting")
            assert number > 20
            assert 2 <= client.status.attempt <= 2 + elapsed / 0.5


def test_a_call_over_the_old_network_is_not_waited_for(pair: NamespacePair) -> None:
    """Who leaves a dead WLAN for a cable is connected as it is plugged in, not when the old call ends."""
    pair.right.ip("addr add 192.0.2.2/32 dev lo")
    pair.left.ip(
        "link add wlan type veth peer name void",
        "link set void up",
        "link set wlan arp off up",
        "addr add 10.99.0.1/24 dev wlan",
        "route add default dev wlan",
    )
    server = LineServer(echo, host="192.0.2.2")
    with pair.right.entered():
        server.start()
    try:
        with client_on(pair, server.address, wait=0, retry=LONG) as client:
            wait_until(client, lambda: client.phase == "dialing")
            pair.left.ip("route add 192.0.2.2/32 via 10.77.0.2")
            assert wait_until(client, lambda: client.state == "connected") < 1.5
            assert client.status.local.startswith("10.77.0.1:")
            assert client.status.attempt == 1
    finally:
        server.stop()


def test_a_login_is_not_waited_for_when_its_link_has_gone(pair: NamespacePair) -> None:
    """A peer is doubted while a script still talks to it, too; the next attempt follows at once."""
    with (
        server_on(pair, mute) as server,
        client_on(pair, server.address, wait=0, retry=LONG, on_connect="login\n< never") as client,
    ):
        server.peer(0).wait_line(b"login")
        pair.left.link_down()
        assert wait_until(client, lambda: client.state == "waiting") < VERDICT
        assert "has not answered for 2.5 s since the network changed" in client.reason
        assert wait_until(client, lambda: client.status.attempt == 2) < 1.5


# -- what harms nobody --


def renew(pair: NamespacePair) -> None:
    """The address goes and comes back, as when a lease is renewed clumsily."""
    pair.left.ip("addr del 10.77.0.1/24 dev cable", "addr add 10.77.0.1/24 dev cable")


def reroute(pair: NamespacePair) -> None:
    """A second, better way to the peer appears, as when a laptop with WLAN is put into its dock."""
    right = f"/proc/{os.getpid()}/fd/{pair.right.fd}"
    pair.left.ip(f"link add dock index 79 type veth peer name dock index 80 netns {right}")
    pair.right.ip("addr add 10.78.0.2/24 dev dock", "link set dock up")
    pair.left.ip("addr add 10.78.0.1/24 dev dock", "link set dock up")
    pair.left.ip("route add 10.77.0.2/32 via 10.78.0.2")


HARMLESS: dict[str, Callable[[NamespacePair], None]] = {
    "address renewed": renew,
    "better route": reroute,
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_cuts_nothing(pair: NamespacePair, change: str) -> None:
    """A renewed address or a better route costs no connection and no line; a flap is in the matrix."""
    with server_on(pair) as server, ExitStack() as clients:
        idle, busy = (clients.enter_context(client_on(pair, server.address, retry=LONG)) for _ in range(2))
        for client in (idle, busy):
            client.send("hello", expect="^hello")
        HARMLESS[change](pair)
        delivery = busy.send("meanwhile")
        time.sleep(VERDICT)  # for a false verdict, if there is to be one
        assert delivery.wait(timeout=PATIENCE)
        for client in (idle, busy):
            client.send("still there", expect="^still there", timeout=PATIENCE)
            assert (client.status.connection, client.reason) == (1, "")
            assert client.health.verdict == "alive"
        assert received(server).count(b"meanwhile") == 1
