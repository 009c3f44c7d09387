"""Find a dead peer wherever it could hide: behind a full buffer, a slow reader, a script that waits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from ipyreconnect import (
    Client,
    ConnectionLost,
    ExpectTimeout,
    KeepAlive,
    NotConnected,
    OutboxFull,
    Retry,
)
from ipyreconnect.client.session import Session
from tests.faults.watching import PATIENCE, deafen_client, wait_until
from tests.servers.line_server import LineServer, Peer, flood, mute

pytestmark = pytest.mark.faults

KEEPALIVE = KeepAlive(idle=1, interval=1, count=2)
LONG = Retry(delay=60.0)


async def swallow(peer: Peer) -> None:
    """Read everything, however long the lines are."""
    while await peer.read():
        pass


def cut_and_wait(server: LineServer, client: Client) -> float:
    """Pull the cable at both ends; return how many seconds it took to notice."""
    before = client.state
    server.pull_cable()
    deafen_client(client)
    return wait_until(client, lambda: client.state != before)


def test_behind_a_full_send_buffer() -> None:
    """Megabytes that wait to be sent do not hide that nobody takes them."""
    with (
        LineServer(swallow) as server,
        Client(server.address, keepalive=KEEPALIVE, retry=LONG) as client,
    ):
        stopping = threading.Event()

        def send_without_end() -> None:
            while not stopping.wait(0.001):
                try:
                    client.send("x" * (1 << 20))
                except OutboxFull:
                    pass
                except NotConnected:
                    return

        thread = threading.Thread(target=send_without_end)
        thread.start()
        try:
            wait_until(client, lambda: client.transcript.end > 8)  # a transfer is under way
            assert cut_and_wait(server, client) < KEEPALIVE.bound + 1
        finally:
            stopping.set()
            thread.join()
        assert client.reason.startswith(f"{server.address} has not answered for 3.")
        assert client.unconfirmed


def test_behind_a_thread_that_waits_for_an_answer() -> None:
    """Who asked and waits, and so reads the socket itself, is told as soon as anybody else."""
    with (
        LineServer(mute) as server,
        Client(server.address, keepalive=KEEPALIVE, retry=LONG) as client,
    ):
        server.peer(0)
        server.pull_cable()
        deafen_client(client)
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="has not answered for 3"):
            client.send("anybody there?", expect="yes", timeout=PATIENCE)
        assert time.monotonic() - began < KEEPALIVE.bound + 1
        assert client.state == "waiting"


def test_behind_a_reader_that_lags() -> None:
    """While nothing is read, since a follower is far behind, the kernel tells nothing by itself."""
    with (
        LineServer(flood()) as server,
        Client(server.address, keepalive=KEEPALIVE, retry=LONG, transcript=40_000) as client,
    ):
        stopping = threading.Event()

        def read_slowly() -> None:
            lines = client.follow()
            while not stopping.wait(0.04):  # else nobody would wait for it
                next(lines)
            lines.close()

        thread = threading.Thread(target=read_slowly)
        thread.start()
        try:
            wait_until(client, lambda: not client._connection.watch.is_reading)
            assert cut_and_wait(server, client) < KEEPALIVE.bound + 1
        finally:
            stopping.set()
            thread.join()
        assert client.reason.startswith(f"{server.address} has not answered for 3.")


def test_behind_a_script_and_a_function_that_wait() -> None:
    """A peer that dies while it is logged in to is noticed as soon, and the attempt has failed; also where
    the login goes on to write.
    """

    def login(session: Session) -> None:
        session.expect("never", timeout=PATIENCE)

    def login_late(session: Session) -> None:
        cut.wait()
        with contextlib.suppress(ExpectTimeout):
            session.expect("never", timeout=2.0)
        session.send("hello?")
        session.expect("never", timeout=PATIENCE)

    cut = threading.Event()
    with LineServer(mute) as server, ExitStack() as stack:
        stack.callback(cut.set)
        clients = [
            Client(server.address, keepalive=KEEPALIVE, retry=LONG, on_connect=on_connect)
            for on_connect in ("< never", "login\n< never", login, login_late)
        ]
        for client in clients:
            client.connect(wait=None)
            stack.callback(client.stop)
            wait_until(client, lambda client=client: client.phase == "script")  # type: ignore[misc]
        server.pull_cable()
        for client in clients:
            deafen_client(client)
        cut.set()
        began = time.monotonic()
        for client in clients:
            wait_until(client, lambda client=client: client.state == "waiting")  # type: ignore[misc]
            assert time.monotonic() - began < KEEPALIVE.bound + 1
            assert f"{server.address} has not answered for 3." in client.reason


# -- who lives, and is not to be cut

SLOWLY = ((2000, 8192), (4096, 16384), (8192, 32768))
"""Bytes that a peer reads at a time, and of its receive buffer."""


def test_a_peer_that_reads_slowly_after_a_long_pause_is_kept() -> None:
    """Who has not read for longer than T, and then reads little by little, is alive all the time; the
    kernel's own time-out would cut it when its window opens by less than the next segment.
    """
    slow = KeepAlive(idle=1, interval=1, count=1)
    over = threading.Event()

    def serve(listening: socket.socket, size: int) -> None:
        peer, _ = listening.accept()
        with peer:
            over.wait(2 * slow.bound)
            ends = time.monotonic() + 4 * slow.bound
            while time.monotonic() < ends and peer.recv(size):
                over.wait(0.05)
            over.wait(PATIENCE)

    with ExitStack() as stack:
        stack.callback(over.set)
        clients = []
        for size, buffer in SLOWLY:
            listening = stack.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            thread = threading.Thread(target=serve, args=(listening, size))
            thread.start()
            stack.callback(thread.join)
            stack.callback(over.set)
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            clients.append(stack.enter_context(Client(address, keepalive=slow, retry=LONG)))
        lost = threading.Event()
        for client in clients:
            client.observe(lambda change: lost.set(), "state")
            for _ in range(32):
                client.send(b"x" * 65_535 + b"\n")
        lost.wait(7 * slow.bound)
        assert [(client.state, client.reason) for client in clients] == [("connected", "")] * len(SLOWLY)
