"""Put a client on the left and a server on the right of a cable, and wait for what happens; no tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ipyreconnect import Client
from tests.namespaces import NamespacePair, deafen
from tests.servers.line_server import Behaviour, LineServer, echo

__all__ = ["PATIENCE", "client_on", "deafen_client", "received", "server_on", "wait_until"]

PATIENCE: Final = 20.0
"""Seconds after which a test gives up waiting for what should come much sooner."""


@contextmanager
def server_on(pair: NamespacePair, behaviour: Behaviour = echo, **options: Any) -> Iterator[LineServer]:
    """Serve on the right end of the cable."""
    server = LineServer(behaviour, host=pair.right.ipv4, **options)
    with pair.right.entered():  # its thread is born there, and stays
        server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def client_on(pair: NamespacePair, address: str, wait: float = PATIENCE, **options: Any) -> Iterator[Client]:
    """Connect from the left end of the cable: the I/O thread is born there, with its watch over the network.

    For a test without any other client at that moment, or with all of them on the same end.
    """
    client = Client(address, **options)
    try:
        with pair.left.entered():
            client.connect(wait=wait)
        yield client
    finally:
        client.stop()


def wait_until(client: Client, true: Callable[[], bool], timeout: float = PATIENCE) -> float:
    """Wait until `true()`, which is looked at whenever anything of the client changes; return the seconds."""
    began = time.monotonic()
    came = threading.Event()

    def poke() -> None:
        if true():
            came.set()

    client.add_watcher(poke)
    try:
        poke()
        if not came.wait(timeout):
            raise AssertionError(f"not within {timeout} s; {client.state}: {client.reason}")
    finally:
        client.remove_watcher(poke)
    return time.monotonic() - began


def deafen_client(client: Client) -> None:
    """Pull the cable at the client's end: its socket belongs to nobody but a test that breaks it."""
    sock = client._driver.transport.sock
    assert sock is not None
    deafen(sock)


def received(server: LineServer) -> list[bytes]:
    """Return all lines that the server's program has read, on whichever connection."""
    return [line for peer in server.peers for line in peer.lines]
