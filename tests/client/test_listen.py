"""Prove that listeners are told of each line, in order, and hold nobody up."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from logging.handlers import QueueHandler
from typing import Any

import pytest

from ipyreconnect import (
    Client,
    Line,
    Retry,
    SettingsError,
)
from ipyreconnect.client import listen
from tests.client.helping import count_on, number_of
from tests.servers.line_server import (
    LineServer,
    mute,
)
from tests.watching import PATIENCE, until

# -- observing


def test_each_line_is_told_to_a_listener(client: Client) -> None:
    """A listener gets each received line once, in order, until it is taken away."""
    seen: queue.Queue[str] = queue.Queue()

    @client.on_line
    def listen(line: Line) -> None:
        seen.put(line.text)

    for number in range(2000):
        client.send(f"{number}")
    assert [seen.get(timeout=PATIENCE) for _ in range(2000)] == [str(number) for number in range(2000)]
    client.off_line(listen)
    client.off_line(listen)
    client.send("x", expect="x")
    assert seen.empty()


def test_a_listener_need_not_be_hashable(client: Client) -> None:
    """Whatever can be called will do, as an object that counts, and it is taken away like any other."""

    @dataclass
    class Counter:
        seen: queue.Queue[str] = field(default_factory=queue.Queue, compare=False)

        def __call__(self, line: Line) -> None:
            self.seen.put(line.text)

    one, other = Counter(), Counter()
    for counter in (one, other, one):
        assert client.on_line(counter) is counter
    client.send("x")
    assert [counter.seen.get(timeout=PATIENCE) for counter in (one, other)] == ["x", "x"]
    client.off_line(one)
    client.send("y")
    assert other.seen.get(timeout=PATIENCE) == "y"
    assert one.seen.empty()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_listener_that_fails_is_told_the_next_lines(
    client: Client, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """A listener that raises, whatever it is, misses no line."""
    seen: queue.Queue[str] = queue.Queue()

    def listen(line: Line) -> None:
        seen.put(line.text)
        raise error(line.text)

    client.on_line(listen)
    with caplog.at_level(logging.CRITICAL + 1):
        for number in range(20):
            client.send(f"{number}")
        assert [seen.get(timeout=PATIENCE) for _ in range(20)] == [str(number) for number in range(20)]
    client.off_line(listen)


def test_a_listener_that_always_fails_fills_no_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A listener's mistake is told at most once a second, with how often it was made."""
    failed = threading.Semaphore(0)

    def listen(line: Line) -> None:
        failed.release()
        raise ValueError(line.text)

    began = time.monotonic()
    client.on_line(listen)
    for number in range(200):
        client.send(f"{number}")
    for _ in range(200):
        assert failed.acquire(timeout=PATIENCE)
    client.off_line(listen)
    assert 1 <= len(caplog.records) <= 1 + (time.monotonic() - began)
    assert "(failure 1); it is told the next ones" in caplog.text


async def listen_asynchronously(line: Line) -> None:
    """Never run."""


@pytest.mark.parametrize(
    ("listener", "says"),
    [
        (3, "a listener must be a function that takes the line, not int"),
        (listen_asynchronously, "a listener must be a plain function, neither async nor a generator"),
        (lambda: None, "a listener is called with one argument, the line, but: too many positional"),
    ],
)
def test_what_cannot_be_told_of_lines_is_refused(client: Client, listener: Any, says: str) -> None:
    """A listener that would fail at every line is refused at once."""
    with pytest.raises(SettingsError, match=says):
        client.on_line(listener)


# -- listeners


@pytest.fixture
def other(server: LineServer) -> Iterator[Client]:
    """A second client of the same server."""
    with Client(server.address, retry=Retry(delay=0.02, jitter=0)) as client:
        yield client


def test_one_clients_slow_listener_holds_up_no_other_client(client: Client, other: Client) -> None:
    """Another client's listeners and observers are told at once, and its stop waits for nobody."""
    stuck, over = threading.Event(), threading.Event()
    told: queue.Queue[str] = queue.Queue()

    def dawdle(line: Line) -> None:
        stuck.set()
        over.wait(PATIENCE)

    client.on_line(dawdle)
    other.on_line(lambda line: told.put(line.text))
    other.observe(lambda change: told.put(change.new), "state")
    try:
        client.send("x", expect="x")
        assert stuck.wait(PATIENCE)
        other.send("y", expect="y")
        assert told.get(timeout=PATIENCE) == "y"
        other.stop()
        assert [told.get(timeout=PATIENCE) for _ in range(2)] == ["stopping", "stopped"]
        assert not over.is_set()
    finally:
        over.set()


def test_one_clients_slow_observer_holds_up_no_other_client(client: Client, other: Client) -> None:
    """What is true of listeners is true of observers."""
    stuck, over = threading.Event(), threading.Event()
    told: queue.Queue[str] = queue.Queue()

    def dawdle(change: Any) -> None:
        stuck.set()
        over.wait(PATIENCE)

    client.observe(dawdle, "state")
    other.on_line(lambda line: told.put(line.text))
    try:
        client.reconnect_now()
        assert stuck.wait(PATIENCE)
        other.send("y", expect="y")
        assert told.get(timeout=PATIENCE) == "y"
    finally:
        over.set()


def test_listeners_are_told_in_the_order_of_their_registration(client: Client) -> None:
    """Each line is told to the first, then to the second; who comes later is told of later lines only."""
    told: queue.Queue[tuple[str, str]] = queue.Queue()

    def first(line: Line) -> None:
        told.put(("first", line.text))
        if line.text == "0":
            client.on_line(late)

    def second(line: Line) -> None:
        told.put(("second", line.text))

    def late(line: Line) -> None:
        told.put(("late", line.text))
        client.off_line(second)

    client.on_line(first)
    client.on_line(second)
    client.send("0", expect="^0$")
    assert [told.get(timeout=PATIENCE) for _ in range(2)] == [("first", "0"), ("second", "0")]
    for number in range(1, 300):
        client.send(f"{number}")
    expected = [("first", "1"), ("second", "1"), ("late", "1")]
    for number in range(2, 300):
        expected += [("first", f"{number}"), ("late", f"{number}")]
    assert [told.get(timeout=PATIENCE) for _ in expected] == expected


def test_a_listener_that_missed_lines_has_that_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of the peer's lines were forgotten before it was told, and that it is too slow."""
    over = threading.Event()
    told: queue.Queue[int] = queue.Queue()

    def dawdle(line: Line) -> None:
        told.put(number_of(line))
        over.wait(PATIENCE)

    with LineServer(count_on) as server, Client(server.address, transcript=20) as client:
        client.on_line(dawdle)
        client.send("1")
        assert told.get(timeout=PATIENCE) == 0
        for _ in range(5):
            client.send("0")
        client.send("5000", expect="^5000$")
        over.set()
        missed = told.get(timeout=PATIENCE) - 1
        said = f"{missed} lines were forgotten before {dawdle.__qualname__} was told of them: it is too slow"
        until(client, lambda: any(line.text == said for line in client.transcript))


def test_a_stop_says_how_many_lines_a_listener_was_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the peer's lines, all of them: also those that were about to be told."""
    monkeypatch.setattr(listen, "LISTENER_PATIENCE", 0.0)
    over = threading.Event()
    told: queue.Queue[int] = queue.Queue()
    warned: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = QueueHandler(warned)
    logging.getLogger("ipyreconnect").addHandler(handler)

    def dawdle(line: Line) -> None:
        told.put(number_of(line))
        over.wait(PATIENCE)

    try:
        with LineServer(count_on) as server, Client(server.address) as client:
            client.on_line(dawdle)
            client.send("1")
            assert told.get(timeout=PATIENCE) == 0
            client.send("49", expect="^49$")
            client.stop()
            over.set()
            said = f"{dawdle.__qualname__} was not told of the last 49 lines: {client.name} was stopped"
            assert warned.get(timeout=PATIENCE).getMessage() == said
            assert told.empty()
    finally:
        over.set()
        logging.getLogger("ipyreconnect").removeHandler(handler)


def test_clients_that_tell_nothing_have_no_thread_for_it() -> None:
    """A listener costs a thread only while it is being told."""
    with LineServer(mute) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(20)]
        before = threading.active_count()
        for client in clients:
            client.on_line(lambda line: None)
        assert threading.active_count() == before


def test_who_listens_goes_on_to_be_told_after_a_loss(server: LineServer, client: Client) -> None:
    """A listener is the client's, not the connection's."""
    told: queue.Queue[str] = queue.Queue()
    client.on_line(lambda line: told.put(line.text))
    for word in ("one", "two"):
        client.send(word, expect=word)
        assert told.get(timeout=PATIENCE) == word
        connections = client.status.connection
        client.reconnect_now()
        until(client, partial(is_past, client, connections))


def is_past(client: Client, connections: int) -> bool:
    return client.status.connection > connections
