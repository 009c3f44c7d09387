"""Prove that one thread at a time works on a connection, and that whoever brings work waits for nobody."""

from __future__ import annotations

import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ipyreconnect import CallerError, Client, ConnectionLost
from ipyreconnect.network.driver import Driver
from ipyreconnect.network.lock import Strand
from tests.watching import PATIENCE, holding_the_lock, until


class Steps(Strand):
    """A strand that writes down what its steps consist of."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[object] = []

    @property
    def _where(self) -> str:
        return "nobody"

    def _begin_step(self) -> None:
        self.done.append("begin")

    def _settle(self) -> None:
        self.done.append("settle")

    def _settle_piece(self) -> None:
        self.done.append("settle piece")

    def _went_wrong(self, error: Exception) -> None:
        self.done.append(str(error))


def test_a_step_begins_and_is_settled_around_its_work() -> None:
    """Also where the work fails."""
    strand = Steps()
    assert strand.call(lambda: strand.done.append("work")) is None

    def fail() -> None:
        raise ValueError("oops")

    with pytest.raises(ValueError, match="oops"):
        strand.call(fail)
    assert strand.done == ["begin", "work", "settle", "begin", "settle"]
    assert not strand.holds_lock


def test_posted_pieces_share_a_step_and_each_is_settled() -> None:
    """What one of them raises is dealt with, and the next is done."""
    strand = Steps()

    def fail() -> None:
        raise ValueError("oops")

    def work() -> None:
        for piece in (fail, lambda: strand.done.append("piece")):
            strand.post(piece)
        assert strand.queued == 2

    strand.call(work)
    assert strand.done[:2] == ["begin", "settle"]
    assert strand.done[2:] == ["begin", "oops", "settle piece", "piece", "settle piece", "settle"]
    assert strand.queued == 0


def test_what_waits_in_vain_for_the_lock_is_dropped() -> None:
    """As the I/O thread does with a socket that is ready: it comes back to it."""
    strand = Steps()

    def try_and_post() -> None:
        strand._try(lambda: strand.done.append("tried"), 0.01)
        strand.post(lambda: strand.done.append("posted"))

    holding_the_lock(strand, try_and_post)
    assert "posted" in strand.done
    assert "tried" not in strand.done
    strand._try(lambda: strand.done.append("tried"), 0.01)
    assert strand.done[-3:] == ["begin", "tried", "settle"]


def test_work_is_done_one_piece_at_a_time(driver: Driver) -> None:
    """Whatever the threads, no two pieces of work run at the same time, and each caller gets its
    own result.
    """
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        inside.append(number)
        most.append(len(inside))
        time.sleep(0)  # lets others in, if they could
        inside.remove(number)
        return number

    def many(first: int) -> None:
        for number in range(first, first + 200):
            assert driver.call(partial(work, number)) == number

    threads = [threading.Thread(target=many, args=(1000 * index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(most) == 1200
    assert max(most) == 1


def test_what_a_piece_of_work_raises_reaches_its_caller(driver: Driver) -> None:
    """An error of the work is raised where it was asked for, also when another thread did it."""

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        driver.call(fail)
    errors: queue.Queue[BaseException] = queue.Queue()

    def ask() -> None:
        try:
            driver.call(fail)
        except KeyError as error:
            errors.put(error)

    thread = threading.Thread(target=ask)
    holding_the_lock(driver, thread.start)
    thread.join(PATIENCE)
    assert isinstance(errors.get(timeout=PATIENCE), KeyError)


def interrupted(driver: Driver, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another thread do what `call` asks for, and interrupt the caller just when it sees the end."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait(PATIENCE)

    def see_and_be_interrupted(lock: Any, ends: float | None, shield: object) -> None:
        over.set()  # only now, so that the work waits in the inbox before
        lock.acquire()
        raise KeyboardInterrupt

    ended = threading.Event()

    def ask() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            call()
            raise AssertionError("it was not interrupted")
        ended.set()

    holder = threading.Thread(target=lambda: driver.call(hold))
    holder.start()
    assert begun.wait(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr("ipyreconnect.network.interrupts.acquire", see_and_be_interrupted)
        threading.Thread(target=ask, daemon=True).start()
        assert ended.wait(PATIENCE)
    holder.join(PATIENCE)


def test_an_interrupt_at_the_end_of_what_another_thread_did_comes_through(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the very moment in which the end of one's work is seen hangs nobody."""
    done: list[int] = []
    interrupted(driver, lambda: driver.call(lambda: done.append(1)), monkeypatch)
    assert done == [1]


def test_an_interrupt_with_the_wait_just_begun_leaves_no_waiter(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is interrupted when another thread has begun to watch for it is forgotten."""
    interrupted(driver, lambda: driver.wait(lambda: False, PATIENCE), monkeypatch)
    assert driver.call(lambda: driver.waiters.waiting) == []


def test_posted_work_waits_for_nobody_and_is_done(driver: Driver) -> None:
    """Work that is posted while another thread has the turn is done by that one, and the poster goes on."""
    done = threading.Event()

    def post() -> None:
        driver.post(done.set)
        assert not done.is_set()

    holding_the_lock(driver, post)
    assert done.wait(PATIENCE)


def test_calling_from_within_a_step_is_refused(driver: Driver) -> None:
    """Who has the turn cannot wait for it: a call is refused, a post is done afterwards."""
    done: list[str] = []

    def within() -> None:
        assert driver.holds_lock
        with pytest.raises(CallerError, match="in the middle of something"):
            driver.call(lambda: None)
        driver.post(lambda: done.append("later"))
        done.append("now")

    driver.call(within)
    assert not driver.holds_lock
    assert done == ["now", "later"]


def test_a_finalizer_in_the_middle_of_a_step_may_forget_a_follower(client: Client, driver: Driver) -> None:
    """The collector may come at any time, and end a forgotten iterator in the middle of the same
    connection's step.
    """
    client.send("x", expect="x")
    forgotten = client.follow(start=0)
    next(forgotten)
    cycle = [forgotten]
    cycle.append(cycle)  # type: ignore[arg-type]
    del forgotten

    def collect() -> None:
        cycle.clear()
        gc.collect()

    driver.call(collect)
    assert driver.flow.readers == []
    client.send("y", expect="y")


def test_each_piece_is_settled_before_the_next(client: Client, driver: Driver) -> None:
    """A stop and a start that wait for the same turn are done one after the other, each with all
    that follows.
    """
    connection = driver.connection
    ended = driver.ended

    def post() -> None:
        driver.post(lambda: connection.fail(ConnectionLost("test"), time.monotonic()))
        driver.post(lambda: connection.stop(time.monotonic()))
        driver.post(lambda: connection.start(time.monotonic()))

    holding_the_lock(driver, post)
    until(client, lambda: client.state == "connected")
    assert driver.ended == ended + 1
    assert client.status.connection == 2
    client.send("x", expect="x")


def test_an_error_of_our_own_drops_the_connection_and_says_so(
    client: Client, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the engine neither hangs nor hides: the connection is lost for that reason,
    and comes back.
    """

    def fail(connection: object, size: int, now: float) -> None:
        raise AssertionError("oops")

    with monkeypatch.context() as patched:
        patched.setattr(type(driver.connection), "committed", fail)
        client.send("x")
        until(client, lambda: "internal error" in client.reason)
    assert client.reason == "internal error, please report it: AssertionError: oops"
    until(client, lambda: client.status.connection == 2)
    client.send("x", expect="x")
