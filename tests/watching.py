"""Wait for what a client does, woken by the client itself, or keep it waiting; never sleeps, has no tests."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from ipyreconnect import Client
from ipyreconnect.network.lock import Strand

__all__ = ["PATIENCE", "States", "holding_the_lock", "leading", "until", "waiting"]

PATIENCE: Final = 10.0
"""Seconds that a test waits for anything; one that meets this limit has failed."""


def until(client: Client, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Return as soon as `condition()` holds; it is asked after everything that happens to the client."""
    changed = threading.Event()
    ends = time.monotonic() + timeout
    client.add_watcher(changed.set)
    try:
        while not condition():
            if not changed.wait(max(0.0, ends - time.monotonic())):
                raise AssertionError(f"not within {timeout} s: {client.status}\n{client.transcript.text()}")
            changed.clear()
    finally:
        client.remove_watcher(changed.set)


def holding_the_lock(strand: Strand, meanwhile: Callable[[], None]) -> None:
    """Have another thread hold the turn while `meanwhile` runs here."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait(PATIENCE)

    thread = threading.Thread(target=lambda: strand.call(hold))
    thread.start()
    assert begun.wait(PATIENCE)
    try:
        meanwhile()
    finally:
        over.set()
        thread.join(PATIENCE)


def waiting(client: Client) -> int:
    """Return how many threads and coroutines wait for something that happens to the client."""
    driver = client._driver
    return len(driver.waiters.waiting) + bool(driver.leader.thread)


def leading(client: Client) -> bool:
    """Return whether a thread that waits reads the socket meanwhile."""
    return bool(client._driver.leader.thread)


class States:
    """Every state that a client goes through from now on, with the moment at which an observer was told."""

    def __init__(self, client: Client) -> None:
        self._seen: queue.Queue[tuple[str, float]] = queue.Queue()
        client.observe(lambda change: self._seen.put((change.new, time.monotonic())), "state")

    def wait(self, wanted: str, timeout: float = PATIENCE) -> float:
        """Wait for the next time that the state becomes `wanted`; return when that was."""
        ends = time.monotonic() + timeout
        while True:
            try:
                state, when = self._seen.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not {wanted} within {timeout} s") from None
            if state == wanted:
                return when
