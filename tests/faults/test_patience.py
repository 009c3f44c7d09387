"""Keep what can be kept: an outage shorter than T − 2 s is sat out, and what was written in it arrives."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipyreconnect import TLS, KeepAlive
from tests.faults.watching import PATIENCE, client_on, received, server_on
from tests.namespaces import NamespacePair
from tests.servers.certificates import Certificates

pytestmark = pytest.mark.faults

KEEPALIVE = KeepAlive(5, 3, 3)

OUTAGE = KEEPALIVE.bound - 2.5
"""Seconds: half a second below the promise, for the commands that begin and end it take their time."""


def test_an_outage_shorter_than_t_is_sat_out(pair: NamespacePair, tmp_path: Path) -> None:
    """A connection outlives an outage of up to T − 2 s, and a line that was written in it arrives once."""
    certificates = Certificates(tmp_path)
    good = certificates.good()
    tls = TLS(cafile=certificates.cafile, server_name="localhost")
    with ExitStack() as stack:
        plain = stack.enter_context(server_on(pair))
        old = stack.enter_context(server_on(pair, tls=good.server_context(tls12=True)))
        new = stack.enter_context(server_on(pair, tls=good.server_context()))
        clients = [
            stack.enter_context(
                client_on(pair, server.address, tls=False if server is plain else tls, keepalive=KEEPALIVE)
            )
            for server in (plain, plain, old, new)
        ]
        writer = clients[1]
        for client in clients:
            client.send("hello", expect="^hello")
        began = time.monotonic()
        pair.drop()
        time.sleep(OUTAGE / 2)
        delivery = writer.send("in the dark")
        time.sleep(began + OUTAGE - time.monotonic())
        assert [client.health.verdict for client in clients] == ["dying"] * 4
        pair.restore()
        assert delivery.wait(timeout=PATIENCE)
        for client in clients:
            client.send("back", expect="^back", timeout=PATIENCE)
            assert (client.status.connection, client.reason) == (1, "")
            assert client.health.verdict == "alive"
        assert received(plain).count(b"in the dark") == 1
