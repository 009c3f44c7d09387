"""Prove that a reader of the lines is slow at its own expense only: what it loses is counted, who else reads
is told in words, and an event loop's other tasks go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from logging.handlers import QueueHandler
from typing import Any

import pytest

from ipyreconnect import CallerError, Client, Line, Overrun, Retry, Transcript
from ipyreconnect.client import listen
from ipyreconnect.network import driver as driver_module
from tests.servers.line_server import LineServer, Peer, flood, mute
from tests.watching import PATIENCE, until, waiting

BEING_READ = (
    r"^this follow\(\) of 127\.0\.0\.1:\d+ is being read by the (thread|task) {name}, and has one reader "
    r"at a time: give each its own, by another call of follow\(\)$"
)


async def count_on(peer: Peer) -> None:
    """Send as many numbered lines as each line that comes asks for."""
    number = 0
    while asked := await peer.readline():
        more = int(asked)
        peer.send(b"".join(b"%d\r\n" % each for each in range(number, number + more)))
        number += more


@contextlib.contextmanager
def on_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)


# -- what is lost


def number_of(line: Line | bytes) -> int:
    return int(line if isinstance(line, bytes) else line.data)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("kept", [1, 30, 1000])
def test_each_overrun_tells_exactly_how_many_lines_are_lost(
    as_bytes: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of the peer, that is: what was sent in between counts for nothing. Then the same follow() goes on
    with the oldest line that is kept.
    """
    monkeypatch.setattr(driver_module, "RECORD_PATIENCE", 0.0)  # nothing is kept for it: it is too slow
    with LineServer(count_on) as server, Client(server.address, transcript=kept) as client:
        lines: Iterator[Any] = client.follow(as_bytes=as_bytes, start=0)
        total = got = overruns = 0
        for more in (5, 3000, 700, 20_000, 1, 5000, 3):
            for _ in range(10):  # notes and sent lines
                client.send("0")
            total += more
            client.send(str(more))
            until(client, partial(counted, client, total))
            for _ in range(min(4, total - got)):
                lost, number = take(lines)
                assert number == got + lost
                got = number + 1
                overruns += lost > 0
                if got == total:
                    break
        assert overruns >= 2


def take(lines: Iterator[Any]) -> tuple[int, int]:
    """Return how many lines are lost before the next one, and its number."""
    try:
        return 0, number_of(next(lines))
    except Overrun as error:
        lost = error.lost
    assert lost > 0
    return lost, number_of(next(lines))


def counted(client: Client, total: int) -> bool:
    return client.transcript.received_before(client.transcript.end) == total


@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_was_only_sent_is_no_loss(as_bytes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all that was forgotten was sent by the client itself, nobody is told of an overrun."""
    monkeypatch.setattr(driver_module, "RECORD_PATIENCE", 0.0)
    with LineServer(count_on) as server, Client(server.address, transcript=10) as client:
        lines: Iterator[Any] = client.follow(as_bytes=as_bytes)
        client.send("1")
        assert number_of(next(lines)) == 0
        start = client.transcript.end
        while client.transcript.oldest <= start:
            client.send("0")
        client.send("2")
        assert [number_of(line) for line in islice(lines, 2)] == [1, 2]


def test_what_was_forgotten_before_is_lost_too() -> None:
    """Who wants to begin where nothing is kept any more is told how many of the peer's lines there were."""
    with LineServer(count_on) as server, Client(server.address, transcript=10) as client:
        client.send("5000", expect="^4999$")
        lines = client.follow(start=0)
        with pytest.raises(Overrun, match="it goes on with line") as told:
            next(lines)
        assert number_of(next(lines)) == told.value.lost


def test_an_async_for_is_told_as_well_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next loop over the same object begins with the oldest line that is kept."""
    monkeypatch.setattr(driver_module, "RECORD_PATIENCE", 0.0)

    async def read(lines: Any) -> tuple[int, int]:
        lost = 0
        while True:
            try:
                async for line in lines:
                    return lost, number_of(line)
            except Overrun as error:
                lost += error.lost

    with LineServer(count_on) as server, Client(server.address, transcript=30) as client:
        lines = client.follow(start=0)
        client.send("5", expect="^4$")
        assert asyncio.run(read(lines)) == (0, 0)
        client.send("5000", expect="^5004$")
        while client.transcript.oldest_kept[1] < 10:
            client.send("3000")
        lost, number = asyncio.run(read(lines))
        assert number == 1 + lost > 10


def test_a_reader_that_keeps_up_loses_nothing_beside_one_that_does_not() -> None:
    """However slow one is: the other gets every line, and a question its answer."""
    count = 100_000

    async def number_them(peer: Peer) -> None:
        await peer.readline()
        for at in range(0, count, 1000):
            peer.send(b"".join(b"%d\r\n" % number for number in range(at, at + 1000)))
            await peer.drain()
        while asked := await peer.readline():
            peer.send(asked)

    over = threading.Event()
    with LineServer(number_them) as server, Client(server.address, transcript=Transcript(1 << 20)) as client:
        slow, quick = client.follow(), client.follow()

        def crawl() -> None:
            while not over.is_set():
                with contextlib.suppress(Overrun, StopIteration):
                    next(slow)
                    over.wait(0.05)

        with on_thread(crawl):
            client.send("go")
            assert [number_of(line) for line in islice(quick, count)] == [*range(count)]
            assert client.send("done?", expect="^done").text == "done?"
            over.set()


# -- whose it is


def test_a_second_thread_is_refused_in_words(client: Client, server: LineServer) -> None:
    """While one thread waits in a loop, whatever another one tries; the first goes on as if nothing was."""
    lines = client.follow()
    got: list[str] = []
    with on_thread(lambda: got.extend(line.text for line in lines)) as thread:
        until(client, lambda: waiting(client) == 1)
        attempts: list[Callable[[], object]] = [
            lambda: next(lines),
            lambda: list(lines),
            lambda: asyncio.run(anext(lines)),
            lambda: asyncio.run(collect(lines)),
        ]
        for attempt in attempts:
            with pytest.raises(CallerError, match=BEING_READ.format(name=r"Thread-\d+.*")):
                attempt()
        client.send("one", expect="one")
        client.stop()
        thread.join(PATIENCE)
    assert got == ["one"]


async def collect(lines: Any) -> list[str]:
    return [line.text async for line in lines]


def test_a_second_thread_is_refused_also_where_they_share_an_iterator(client: Client) -> None:
    """As two workers do that read from one `map(parse, client.follow())`: the first one's loop goes on, where
    Python's own chain would end it in silence, or crash.
    """
    lines = iter(client.follow())
    got: list[str] = []
    with on_thread(lambda: got.extend(line.text for line in lines)) as thread:
        until(client, lambda: waiting(client) == 1)
        for _ in range(3):
            with pytest.raises(CallerError, match=BEING_READ.format(name=r"Thread-\d+.*")):
                next(lines)
        for word in ("one", "two"):
            client.send(word, expect=word)
        client.stop()
        thread.join(PATIENCE)
    assert got == ["one", "two"]


def test_a_second_task_is_refused_also_where_they_share_an_iterator(client: Client) -> None:
    """The first one's loop goes on."""

    async def read() -> None:
        lines = aiter(client.follow())
        first = asyncio.create_task(collect(lines), name="reader")
        while not client._driver._waiters:
            await asyncio.sleep(0)
        with pytest.raises(CallerError, match=BEING_READ.format(name="reader")):
            await anext(lines)
        await client.asend("one", expect="one")
        client.stop()
        assert await first == ["one"]

    asyncio.run(read())


def test_a_loop_has_its_lines_until_it_is_left(client: Client) -> None:
    """Also between two lines a second thread gets none; when the loop is left, it may go on."""
    for word in ("one", "two", "three"):
        client.send(word, expect=word)
    lines = client.follow(start=0)
    refused: queue.Queue[object] = queue.Queue()

    def attempt() -> None:
        try:
            refused.put(next(lines).text)
        except CallerError as error:
            refused.put(error)

    for line in lines:
        assert line.text == "one"
        with on_thread(attempt):
            assert isinstance(refused.get(timeout=PATIENCE), CallerError)
        assert next(lines).text == "two"  # the same thread may
        break
    with on_thread(attempt):
        assert refused.get(timeout=PATIENCE) == "three"


def test_loops_of_one_thread_may_be_nested(client: Client) -> None:
    """Each takes the next line, whichever asks."""
    for number in range(20):
        client.send(f"{number}")
    client.expect("^19$")
    lines = client.follow(start=0)
    got = []
    for line in lines:
        got.append(line.text)
        got += [line.text for line in islice(lines, 2)]
        if len(got) == 15:
            break
    got += [line.text for line in islice(lines, 5)]
    assert got == [str(number) for number in range(20)]


def test_a_second_task_is_refused_in_words(client: Client) -> None:
    """Tasks of one event loop are different readers, though they share a thread."""

    async def read() -> None:
        lines = client.follow()
        first = asyncio.create_task(collect(lines), name="reader")
        while not client._driver._waiters:
            await asyncio.sleep(0)
        with pytest.raises(CallerError, match=BEING_READ.format(name="reader")):
            await anext(lines)
        with pytest.raises(CallerError, match=BEING_READ.format(name="reader")):
            next(lines)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await client.asend("one", expect="one")
        async for line in lines:
            assert line.text == "one"
            break

    asyncio.run(read())


def test_a_thread_that_has_ended_reads_no_more(client: Client) -> None:
    """A loop that nobody can go on with, but that something still refers to, keeps nobody out."""
    client.send("one", expect="one")
    client.send("two", expect="two")
    lines = client.follow(start=0)
    kept = []

    def begin() -> None:
        kept.append(iter(lines))
        assert next(kept[0]).text == "one"

    with on_thread(begin):
        pass
    assert next(lines).text == "two"


# -- event loops


def test_other_tasks_go_on_while_lines_are_there() -> None:
    """However many lines there are at once: an `async for` leaves the loop to others all the while."""
    count = 200_000
    with LineServer(flood(count)) as server, Client(server.address) as client:
        until(client, lambda: client.transcript.end > count)
        turns: list[int] = []
        read = 0

        async def turn() -> None:
            while True:
                turns.append(read)
                await asyncio.sleep(0)

        async def main() -> None:
            nonlocal read
            task = asyncio.create_task(turn())
            async for _ in client.follow(start=0):
                read += 1
                if read == count:
                    break
            task.cancel()

        asyncio.run(main())
        assert max(after - before for before, after in pairwise(turns)) < count / 2
        assert len(turns) > 5


def test_a_task_that_reads_a_flood_can_be_cancelled() -> None:
    """A notebook's interrupt is nothing else."""

    async def main() -> None:
        async def read() -> None:
            async for _ in client.follow():
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        while not client._driver._followers:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with LineServer(flood(500_000)) as server, Client(server.address) as client:
        asyncio.run(main())
        until(client, lambda: not client._driver._followers)


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
