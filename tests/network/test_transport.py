"""Prove what the socket is told, and that what waits for it is sent."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import Any

import pytest

from ipyreconnect import (
    CallerError,
    Client,
    KeepAlive,
)
from ipyreconnect.network import sockets
from tests.servers.line_server import LineServer, Peer, never_read
from tests.watching import PATIENCE


def test_a_refused_keepalive_changes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel refuses a keepalive, the one before stays in force and the error names it."""
    real = sockets.apply_keepalive

    def refuse(sock: socket.socket, keepalive: KeepAlive, *rest: Any, **more: Any) -> None:
        if str(keepalive) == "7/7/7":
            raise OSError(errno.EINVAL, "Invalid argument")
        real(sock, keepalive, *rest, **more)

    monkeypatch.setattr(sockets, "apply_keepalive", refuse)
    with pytest.raises(CallerError, match="the system refuses the keepalive 7/7/7: Invalid argument"):
        client.set_keepalive("7/7/7")
    assert str(client.keepalive) == str(client.keepalive_in_force) == "5/3/3"


def test_an_outbox_leaves_when_the_peer_reads_again() -> None:
    """What waits for a slow peer leaves as soon as it reads, without anybody's doing."""
    go = threading.Event()

    async def read_late(peer: Peer) -> None:
        # Meanwhile the event loop stands still, and with it all reading.
        go.wait(PATIENCE)
        await peer.until_closed()

    with LineServer(read_late) as server, Client(server.address) as client:
        deliveries = []
        while client._connection.outbox.backlog[1] < 2_000_000:  # beyond all that the kernels take
            deliveries.append(client.send("x" * 100_000))
        assert deliveries[-1].status == "queued"
        go.set()
        assert deliveries[-1].wait("acknowledged", timeout=PATIENCE)
        assert {delivery.status for delivery in deliveries} == {"acknowledged"}


def test_no_thread_waits_for_a_peer_that_does_not_read() -> None:
    """Sending to a peer that does not read takes no time, from many threads, while stop waits for nobody."""
    with LineServer(never_read) as server:
        client = Client(server.address).connect()

        def send() -> None:
            for _ in range(50):
                try:
                    client.send(b"x" * 10_000)
                except CallerError:
                    return

        start = time.monotonic()
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        client.stop()
        assert time.monotonic() - start < 2
