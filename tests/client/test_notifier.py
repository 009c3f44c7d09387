"""Prove that callbacks are called in order, one client's independently of another's, whatever the system has
left in threads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ipyreconnect import Client
from ipyreconnect.client import notifier as notifier_module
from ipyreconnect.client.notifier import THREAD_NAME, Notifier
from tests.servers.line_server import LineServer, echo
from tests.watching import PATIENCE


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


class Stuck:
    """A callback that does not return before it is let go."""

    def __init__(self) -> None:
        self.begun, self._over = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self._over.wait(PATIENCE)

    def let_go(self) -> None:
        self._over.set()


@contextlib.contextmanager
def stuck(notifier: Notifier) -> Iterator[Stuck]:
    call = Stuck()
    notifier.post(call)
    assert call.begun.wait(PATIENCE)
    try:
        yield call
    finally:
        call.let_go()


def test_each_notifier_calls_in_order_and_waits_for_no_other() -> None:
    """What is posted to one is called in that order; one that is stuck holds up only itself."""
    called: queue.Queue[object] = queue.Queue()
    one, other = Notifier(), Notifier()
    with stuck(one):
        one.post(lambda: called.put("late"))
        for number in range(1000):
            other.post(partial(called.put, number))
        assert [called.get(timeout=PATIENCE) for _ in range(1000)] == [*range(1000)]
        assert called.empty()
    assert called.get(timeout=PATIENCE) == "late"


def test_a_call_that_fails_robs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """What one raises is logged, be it the end of the thread; the next are called all the same."""
    called: queue.Queue[str] = queue.Queue()
    notifier = Notifier()

    def leave() -> None:
        raise SystemExit("no")

    notifier.post(leave)
    notifier.post(lambda: called.put("next"))
    assert called.get(timeout=PATIENCE) == "next"
    assert "a callback failed" in caplog.text


def test_threads_are_used_again_and_end() -> None:
    """A row of notifiers that are quick need few threads; with nothing to call there is none."""
    called: queue.Queue[str] = queue.Queue()
    names = set()
    for number in range(200):
        Notifier().post(lambda: called.put(threading.current_thread().name + str(threading.get_ident())))
        names.add(called.get(timeout=PATIENCE))
        assert len(threads()) <= 3, number
    for thread in threads():
        thread.join(PATIENCE)
    assert threads() == []


def test_so_many_may_be_stuck_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are bounded: whoever comes when all of them are stuck is served when one of them is free."""
    monkeypatch.setattr(notifier_module, "MOST_THREADS", 2)
    called: queue.Queue[str] = queue.Queue()
    with stuck(Notifier()), stuck(Notifier()) as second:
        Notifier().post(lambda: called.put("third"))
        assert len(threads()) == 2
        assert called.empty()
        second.let_go()
        assert called.get(timeout=PATIENCE) == "third"


class NoThreads:
    """Have no thread of ours be started, as where the system has none left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
        self._over = threading.Event()
        self.asked: queue.Queue[None] = queue.Queue()
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if thread.name.startswith("ipyreconnect") and not self._over.is_set():
                self.asked.put(None)
                raise error("can't start new thread")
            real(thread)

        monkeypatch.setattr(threading.Thread, "start", start)

    def end(self) -> None:
        self._over.set()


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_without_a_thread_the_next_post_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """Also where there is not even an I/O thread; nothing is left out, and it is said once."""
    called: queue.Queue[int] = queue.Queue()
    notifier, other = Notifier(), Notifier()
    none = NoThreads(monkeypatch, error)
    notifier.post(lambda: called.put(0))
    notifier.post(lambda: called.put(1))
    assert caplog.text.count("cannot start a thread") == 1
    none.end()
    other.post(lambda: None)
    assert [called.get(timeout=PATIENCE) for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_without_a_thread_it_is_tried_again_though_nobody_posts(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A moment later, and again, until there is one; then the listener has missed nothing."""
    heard: queue.Queue[str] = queue.Queue()
    client.on_line(lambda line: heard.put(line.text))
    none = NoThreads(monkeypatch, error)
    client.send("one", expect="one")
    for _ in range(3):
        none.asked.get(timeout=PATIENCE)
    assert heard.empty()
    none.end()
    assert heard.get(timeout=PATIENCE) == "one"


def test_a_stop_that_nobody_could_be_told_of_is_told_later(
    server: LineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The I/O thread stays until it is: with the last client gone, nobody else would try again."""
    seen: queue.Queue[str] = queue.Queue()
    client = Client(server.address)
    client.connect()
    client.on_line(lambda line: seen.put(line.text))
    none = NoThreads(monkeypatch, RuntimeError)
    client.send("one", expect="one")
    none.asked.get(timeout=PATIENCE)
    client.stop()
    none.end()
    assert seen.get(timeout=PATIENCE) == "one"


def in_child(check: Callable[[], object]) -> str:
    """Run `check` in a forked child; return what it gives there, as text."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, str(check()).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


def test_a_listener_that_was_busy_at_a_fork_is_told_in_the_child() -> None:
    """What was to be told in the parent is the parent's; what the child receives itself is told there."""
    told: queue.Queue[str] = queue.Queue()
    begun, over = threading.Event(), threading.Event()

    def listen(line: object) -> None:
        told.put(str(getattr(line, "text", "")))
        begun.set()
        over.wait(PATIENCE)

    with LineServer(echo) as server, Client(server.address) as client:
        client.on_line(listen)
        client.send("parent", expect="parent")
        assert begun.wait(PATIENCE)
        assert told.get(timeout=PATIENCE) == "parent"

        def child() -> str:
            over.set()
            client.connect()
            client.send("child", expect="child")
            text = told.get(timeout=PATIENCE)
            while text != "child":
                text = told.get(timeout=PATIENCE)
            client.stop()
            return text

        assert in_child(child) == "child"
        over.set()
