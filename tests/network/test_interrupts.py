"""Prove what becomes of Ctrl-C, and of a user's own handler for it, while a client works or waits."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from ipyreconnect import Client, ExpectTimeout
from tests.servers.line_server import LineServer, mute
from tests.watching import PATIENCE, until


def test_a_handler_that_only_counts_does_not_end_a_wait(server: LineServer) -> None:
    """A user's own handler of SIGINT is called at once while something is waited for, and again and again."""
    counted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: counted.append(number))
    try:
        with LineServer(mute) as quiet, Client(quiet.address) as client:

            def interrupt() -> None:
                for number in range(3):
                    os.kill(os.getpid(), signal.SIGINT)
                    while len(counted) <= number:
                        time.sleep(0)
                quiet.peer(0).send(b"answer\r\n")

            thread = threading.Thread(target=interrupt)
            until(client, lambda: client.state == "connected")
            thread.start()
            client.expect("answer")
            thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert counted == [signal.SIGINT] * 3


def test_a_handler_that_replaces_itself_stays_replaced(server: LineServer, client: Client) -> None:
    """A handler that puts in another one, as for a second Ctrl-C that ends all, is not put back by us."""
    called: list[str] = []

    def second(number: int, frame: object) -> None:
        called.append("second")

    def first(number: int, frame: object) -> None:
        called.append("first")
        signal.signal(signal.SIGINT, second)

    before = signal.signal(signal.SIGINT, first)
    try:
        with LineServer(mute) as quiet, Client(quiet.address) as other:

            def interrupt() -> None:
                while not other._driver.leader.thread:
                    time.sleep(0)
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(ExpectTimeout):
                other.expect("never", timeout=0.2)
            thread.join(PATIENCE)
        assert signal.getsignal(signal.SIGINT) is second
        assert called == ["first"]
    finally:
        signal.signal(signal.SIGINT, before)
