"""Prove the one I/O thread: calls, timers and sockets are served in time, none is lost, and it
ends when unused.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ipyreconnect.network import loop as loops
from ipyreconnect.network.loop import EVENT_READ, EVENT_WRITE, Loop, acquire_loop, release_loop, serves

PATIENCE = 10.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of the test's own."""
    loop = Loop()
    yield loop
    loop.end()
    loop.thread.join(PATIENCE)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets joined to each other."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def on(loop: Loop, call: Callable[[], object]) -> object:
    """Have `call` run on the I/O thread; return what it returns."""
    results: queue.Queue[object] = queue.Queue()
    loop.call_soon(lambda: results.put(call()))
    return results.get(timeout=PATIENCE)


# -- calls


def test_calls_run_on_the_io_thread_in_order(loop: Loop) -> None:
    """Calls from any thread run on the I/O thread, those of one thread in order."""
    seen: queue.Queue[tuple[int, bool]] = queue.Queue()
    for number in range(100):
        loop.call_soon(lambda number=number: seen.put((number, loop.is_io_thread())))  # type: ignore[misc]
    assert [seen.get(timeout=PATIENCE) for _ in range(100)] == [(number, True) for number in range(100)]
    assert not loop.is_io_thread()


def test_no_wake_up_is_lost(loop: Loop) -> None:
    """However calls from several threads meet, each is run without waiting for another event."""

    def rounds() -> None:
        for _ in range(2000):
            done = threading.Lock()
            done.acquire()
            loop.call_soon(done.release)
            assert done.acquire(timeout=PATIENCE)

    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            rounds()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_call_that_posts_itself_starves_nobody(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A call that posts itself again and again leaves the timers and the sockets their turn."""
    ours, theirs = pair
    over = threading.Event()
    seen: queue.Queue[str] = queue.Queue()

    def again() -> None:
        if not over.is_set():
            loop.call_soon(again)

    def read(mask: int) -> None:
        ours.recv(10)
        seen.put("socket")

    on(loop, lambda: loop.register(ours, EVENT_READ, read))
    loop.call_soon(again)
    loop.call_at(time.monotonic() + 0.01, lambda: seen.put("timer"))
    theirs.send(b"x")
    assert {seen.get(timeout=PATIENCE) for _ in range(2)} == {"timer", "socket"}
    over.set()
    on(loop, lambda: loop.unregister(ours))


def test_a_call_that_fails_is_logged_and_the_others_go_on(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in one call, timer or socket's callback ends nothing but itself."""

    def fail() -> None:
        raise ZeroDivisionError

    loop.call_soon(fail)
    loop.call_at(0.0, fail)
    assert on(loop, lambda: "on") == "on"
    loop.call_soon(sys.exit)
    assert on(loop, lambda: "on") == "on"
    assert len([record for record in caplog.records if "I/O thread" in record.message]) == 3


# -- timers


def test_timers_fire_in_order_and_not_early(loop: Loop) -> None:
    """Timers fire in the order of their times, none before its time, from whatever thread they were set."""
    start = time.monotonic()
    seen: queue.Queue[tuple[float, float]] = queue.Queue()

    def set_timer(after: float) -> None:
        loop.call_at(start + after, lambda: seen.put((after, time.monotonic() - start)))

    for after in (0.06, 0.02, 0.04):
        set_timer(after)
    on(loop, lambda: set_timer(0.03))
    set_timer(-1.0)
    fired = [seen.get(timeout=PATIENCE) for _ in range(5)]
    assert [after for after, _ in fired] == [-1.0, 0.02, 0.03, 0.04, 0.06]
    assert all(when >= after for after, when in fired)


def test_a_cancelled_timer_does_not_fire(loop: Loop) -> None:
    """A timer that was cancelled in time is not called, and cancelling it twice is harmless."""
    seen: queue.Queue[str] = queue.Queue()
    now = time.monotonic()
    cancelled = loop.call_at(now + 0.02, lambda: seen.put("cancelled"))
    loop.call_at(now + 0.03, lambda: seen.put("other"))
    cancelled.cancel()
    cancelled.cancel()
    assert seen.get(timeout=PATIENCE) == "other"
    assert seen.empty()


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    """Timers that are set for a distant time and cancelled, again and again, take no memory."""

    def set_and_cancel() -> int:
        for _ in range(10_000):
            loop.call_at(time.monotonic() + 86400, lambda: None).cancel()
            timer = loop.call_at(time.monotonic() + 86400, lambda: None)
            timer.cancel()
        return len(loop._timers)

    remaining = on(loop, set_and_cancel)
    assert isinstance(remaining, int)
    assert remaining <= 2000


def test_live_timers_survive_the_cancelled_ones(loop: Loop) -> None:
    """However many others are cancelled, a timer that is not fires."""
    seen: queue.Queue[int] = queue.Queue()
    when = time.monotonic() + 0.2
    for number in range(3000):
        timer = loop.call_at(when, lambda number=number: seen.put(number))  # type: ignore[misc]
        if number % 100:
            timer.cancel()
    assert [seen.get(timeout=PATIENCE) for _ in range(30)] == list(range(0, 3000, 100))


# -- sockets


def test_only_what_is_waited_for_is_told(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket can be attended to, left alone, and attended to again, for reading, writing or both."""
    ours, theirs = pair
    seen: queue.Queue[int] = queue.Queue()

    def told(mask: int) -> None:
        seen.put(mask)
        loop.attend(ours, 0, told)

    theirs.send(b"x")
    on(loop, lambda: loop.attend(ours, 0, told))
    assert on(loop, seen.empty)
    on(loop, lambda: loop.attend(ours, EVENT_READ, told))
    assert seen.get(timeout=PATIENCE) & EVENT_READ
    assert on(loop, seen.empty)
    theirs.send(b"x")
    on(loop, lambda: loop.attend(ours, EVENT_READ | EVENT_WRITE, told))
    assert seen.get(timeout=PATIENCE) & EVENT_READ
    on(loop, lambda: loop.unregister(ours))
    on(loop, lambda: loop.unregister(ours))


def test_reading_is_told_though_writing_was_waited_for_first(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A socket that was first attended to for writing alone is told when it can be read."""
    ours, theirs = pair
    seen: queue.Queue[int] = queue.Queue()

    def told(mask: int) -> None:
        seen.put(mask)
        loop.attend(ours, 0, told)

    on(loop, lambda: loop.attend(ours, EVENT_WRITE, told))
    seen.get(timeout=PATIENCE)
    theirs.send(b"x")
    on(loop, lambda: loop.attend(ours, EVENT_READ, told))
    assert seen.get(timeout=PATIENCE) & EVENT_READ
    on(loop, lambda: loop.unregister(ours))


def test_an_end_is_told_even_to_who_waits_for_nothing(loop: Loop) -> None:
    """A connection that was reset is told though nothing was waited for: nobody can be deaf to that."""
    seen: queue.Queue[int] = queue.Queue()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        theirs, _ = listener.accept()

        def told(mask: int) -> None:
            seen.put(mask)
            loop.unregister(ours)

        on(loop, lambda: loop.attend(ours, EVENT_READ, told))
        on(loop, lambda: loop.attend(ours, 0, told))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert seen.get(timeout=PATIENCE) & EVENT_READ


def test_another_thread_may_change_what_is_waited_for(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Where the loop is shared, any thread may attend to a socket while the loop waits."""
    assert loop.shared
    ours, theirs = pair
    seen: queue.Queue[int] = queue.Queue()

    def told(mask: int) -> None:
        loop.attend(ours, 0, told)
        seen.put(mask)

    theirs.send(b"x")
    for _ in range(100):
        loop.attend(ours, EVENT_READ, told)
        assert seen.get(timeout=PATIENCE) & EVENT_READ
    loop.unregister(ours)


# -- its life


class User:
    """Somebody for whom the loop runs."""

    def at_exit(self) -> None:
        """Nothing."""

    def after_fork(self) -> None:
        """Nothing."""


def test_one_thread_serves_all_and_ends_with_the_last() -> None:
    """The loop is one for all who use it, ends with the last of them, and begins anew when needed."""
    one, two = User(), User()
    first = acquire_loop(one)
    assert acquire_loop(two) is first
    assert serves(first.thread)
    release_loop(one)
    release_loop(one)
    assert serves(first.thread)
    release_loop(two)
    first.thread.join(PATIENCE)
    assert not serves(first.thread)
    second = acquire_loop(one)
    assert second is not first
    release_loop(one)
    second.thread.join(PATIENCE)
    assert not second.thread.is_alive()


def test_it_ends_after_the_calls_that_are_queued(loop: Loop) -> None:
    """What was asked for before the end is still done."""
    done: list[int] = []
    for number in range(100):
        loop.call_soon(lambda number=number: done.append(number))  # type: ignore[misc]
    loop.end()
    loop.thread.join(PATIENCE)
    assert done == list(range(100))
    loop.call_soon(lambda: done.append(-1))
    assert not loop.thread.is_alive()


def test_many_come_and_go_at_once() -> None:
    """Threads that acquire and release the loop all the time leave one that works, or none."""

    def come_and_go() -> None:
        user = User()
        for _ in range(30):
            assert on(acquire_loop(user), lambda: 1) == 1
            release_loop(user)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(serves(thread) for thread in threading.enumerate())


def test_the_thread_sleeps_while_nothing_happens(loop: Loop) -> None:
    """Without anything to do the thread does not wake up."""
    task = on(loop, threading.get_native_id)

    def switches() -> int:
        with open(f"/proc/self/task/{task}/status") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

    on(loop, lambda: None)
    before = switches()
    threading.Event().wait(0.3)
    assert switches() - before <= 2


def test_a_full_process_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, making a loop fails without leaving its sockets open."""

    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    files = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            Loop()
    assert len(os.listdir("/proc/self/fd")) == files


def test_the_exit_closes_all_though_one_fails(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the interpreter's exit every user is told, also when another one fails."""
    told: list[str] = []

    class Bad(User):
        def at_exit(self) -> None:
            raise ValueError("no")

    class Good(User):
        def at_exit(self) -> None:
            told.append("good")
            release_loop(self)

    users: list[User] = [Bad(), Good(), Bad(), Good()]
    thread, *_ = [acquire_loop(user).thread for user in users]
    monkeypatch.setattr(loops, "EXIT_PATIENCE", 0.01)
    with caplog.at_level(logging.ERROR):
        loops._at_exit()
    assert told == ["good", "good"]
    assert caplog.text.count("a connection could not be closed") == 2
    for user in users:
        release_loop(user)
    thread.join(PATIENCE)
