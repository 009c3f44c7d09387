"""Prove how threads wait for something that happens to a connection."""

from __future__ import annotations

import queue
import threading

from ipyreconnect import (
    Client,
)
from ipyreconnect.network.driver import Driver
from tests.watching import PATIENCE, holding_the_lock, until


def test_conditions_are_asked_with_the_turn(client: Client, driver: Driver) -> None:
    """What is waited for is asked with the turn only, so that it may look at what changes."""
    with_turn: list[bool] = []

    def done() -> bool:
        with_turn.append(driver.holds_lock)
        return len(with_turn) > 4

    client_sends = threading.Thread(target=lambda: [client.send("x", expect="x") for _ in range(5)])
    client_sends.start()
    assert driver.wait(done, PATIENCE)
    client_sends.join(PATIENCE)
    assert all(with_turn)
    assert not driver.wait(lambda: False, 0.01)
    assert driver.waiters.waiting == []


def test_what_was_true_when_it_was_woken_counts(client: Client, driver: Driver) -> None:
    """A condition that held for a moment has been met, though it holds no more when the waiter wakes up."""
    flag: list[bool] = []
    results: queue.Queue[bool] = queue.Queue()
    thread = threading.Thread(target=lambda: results.put(driver.wait(lambda: bool(flag), PATIENCE)))
    thread.start()
    until(client, lambda: bool(driver.waiters.waiting))

    def a_moment() -> None:
        driver.post(lambda: flag.append(True))

    holding_the_lock(driver, a_moment)
    driver.call(flag.clear)
    assert results.get(timeout=PATIENCE)
    thread.join(PATIENCE)
