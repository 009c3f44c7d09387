"""Prove that a reader of the lines is slow at its own expense only: what it loses is counted, and who is
quick loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import (
    Client,
    Overrun,
    Retry,
    Secret,
    Transcript,
)
from ipyreconnect.client.session import Session
from ipyreconnect.network import flow_control
from ipyreconnect.network.leader import LEASE
from tests.client.helping import Thread, Transport, burst, count_on, number_of, on_thread, secure, small
from tests.servers.certificates import Certificates
from tests.servers.line_server import (
    LineServer,
    Peer,
    answering,
    echo,
    flood,
    say,
)
from tests.watching import PATIENCE, until, waiting

# -- following


def begin(client: Client, follower: Iterator[bytes]) -> None:
    """Have the server begin only when the follower has."""
    client.send("hello")
    assert next(follower) == b"begin"
    client.send("go")


def test_a_slow_follower_holds_up_the_receiving_and_loses_nothing() -> None:
    """A reader that is behind, and reads, is waited for by TCP's own flow control: it gets every line."""
    count = 60_000
    lines = b"".join(b"%08d\r\n" % number for number in range(count))

    async def talk(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"begin\r\n")
        await peer.readline()
        for at in range(0, len(lines), 100_000):
            peer.send(lines[at : at + 100_000])
            await peer.drain()
        await peer.until_closed()

    with LineServer(talk) as server, Client(server.address, transcript=small(5_000)) as client:
        got = []
        pauses = 0
        follower = client.follow(as_bytes=True)
        begin(client, follower)
        for line in islice(follower, count):
            got.append(line)
            if len(got) % 2000 == 0:
                # So slow that the I/O thread reads meanwhile.
                threading.Event().wait(1.5 * LEASE)
                pauses += client._driver.flow.paused
        assert got == [b"%08d" % number for number in range(count)]
        assert pauses


@pytest.mark.parametrize("kept", [10, 100, 400])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("framing", ["lines", "announced"])
def test_who_reads_along_misses_nothing_of_a_burst_however_little_is_kept(
    kept: int, as_bytes: bool, framing: str, transport: Transport, tmp_path: Path
) -> None:
    """One read may bring more lines than the transcript keeps: a follower and a record get all of them."""
    count = 5000

    numbers = b"".join(b"%d\n" % number for number in range(count))
    record = tmp_path / "record.jsonl"
    with (
        LineServer(burst(numbers), tls=transport.context) as server,
        Client(server.address, tls=transport.tls, framing=framing, transcript=kept, record=record) as client,
    ):
        lines: Iterator[Any] = client.follow(as_bytes=as_bytes)
        reading = Thread(lambda: list(islice(lines, count)))
        until(client, lambda: waiting(client) == 1 + 1)  # and the record
        client.send("go")
        got = reading.result()
        assert len(client.transcript) <= kept
    assert [line if as_bytes else line.data for line in got] == [b"%d" % number for number in range(count)]
    written = [line.text for line in Transcript.load(record) if line.direction == "<"]
    assert written == [str(number) for number in range(count)]


def test_a_quick_follower_may_leave_and_return_anywhere() -> None:
    """Between two lines of one read as well; a hidden word that comes in the middle of it is hidden."""
    count = 60_000

    words = b"".join(b"%d word\n" % number for number in range(count))
    with LineServer(burst(words)) as server, Client(server.address) as client:
        lines = client.follow(as_bytes=True)
        client.send("go")
        got: list[bytes] = []
        while len(got) < count // 2:
            got += islice(lines, min(7919, count // 2 - len(got)))
        client.hide(Secret("word"))
        got += islice(lines, count - len(got))
        assert [line.split()[0] for line in got] == [b"%d" % number for number in range(count)]
        assert got[0] == b"0 word"
        assert got[-1] == f"{count - 1} ••••".encode()


def test_replies_to_a_burst_push_nothing_out_that_is_to_be_recorded(tmp_path: Path) -> None:
    """Each reply takes more room than the line that it answers: those are kept until they are written."""
    count = 3000
    record = tmp_path / "record.jsonl"
    pings = b"".join(b"PING %d\n" % number for number in range(count))
    with (
        LineServer(say(pings)) as server,
        Client(
            server.address, replies={"^PING (.*)": r"PONG \1"}, transcript=small(100), record=record
        ) as client,
    ):
        until(client, lambda: client.transcript.end > 2 * count)
    texts = [line.text for line in Transcript.load(record)]
    for word in "PING", "PONG":
        assert [text for text in texts if text.startswith(word)] == [f"{word} {n}" for n in range(count)]


def test_an_on_connect_function_reads_an_answer_longer_than_what_is_kept(transport: Transport) -> None:
    """It reads along while the answer comes, however much of it comes at once."""
    rows = b"".join(b"* %d of a long answer\r\n" % number for number in range(3000))

    def ask(session: Session) -> None:
        session.send("1 list")
        session.expect("^1 OK", timeout=PATIENCE)

    with (
        LineServer(answering({b"1 list": rows + b"1 OK"}), tls=transport.context) as server,
        Client(server.address, tls=transport.tls, on_connect=ask, transcript=small(1000)) as client,
    ):
        assert client.state == "connected", client.reason


def test_how_much_is_kept_does_not_cut_a_raw_read(transport: Transport) -> None:
    """A line is what a read brought, also where the transcript keeps little."""
    with (
        LineServer(echo, tls=transport.context) as server,
        Client(server.address, tls=transport.tls, framing="raw", transcript=100) as client,
    ):
        client.send(b"x" * 4000 + b"\n", expect=rb"\Ax{4000}\n\Z")


def test_a_reset_takes_nothing_from_a_follower_that_reads() -> None:
    """What is left of a connection that has ended comes at once, and is kept for who reads along."""
    count = 3000

    numbers = b"".join(b"%d\n" % number for number in range(count))
    with (
        LineServer(burst(numbers)) as server,
        Client(server.address, transcript=100, retry=Retry(60)) as client,
    ):
        lines = client.follow(as_bytes=True)
        client.send("go")
        assert next(lines) == b"0"
        until(client, lambda: client._driver.flow.paused)
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert list(islice(lines, count - 1)) == [b"%d" % number for number in range(1, count)]


@pytest.mark.parametrize("closes", [False, True], ids=["stays", "closes"])
def test_what_a_follower_leaves_of_a_read_is_received_all_the_same(
    closes: bool, certificates: Certificates
) -> None:
    """Of what one read has brought in TLS, a follower takes a line and goes: the rest comes, and the loss
    after it.
    """
    count = 100

    numbers = b"".join(b"%077d\n" % number for number in range(count))
    with (
        LineServer(burst(numbers, closes=closes), tls=certificates.good().server_context()) as server,
        Client(server.address, tls=secure(certificates), retry=Retry(60), transcript=10 * count) as client,
    ):
        lines = client.follow(as_bytes=True)
        reading = Thread(lambda: next(lines))
        until(client, lambda: waiting(client) == 1)
        client.send("go")
        assert reading.result() == b"%077d" % 0
        until(
            client,
            lambda: client.transcript[-1].text.startswith("closed by" if closes else f"{count - 1:077}"),
        )
        assert list(islice(lines, count - 1)) == [b"%077d" % number for number in range(1, count)]


def test_a_forgotten_follower_holds_nothing_up() -> None:
    """Nobody waits for a follower that does not read: lines are forgotten at once, and it is told so."""

    async def talk(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"begin\r\n")
        await peer.readline()
        await flood()(peer)

    with LineServer(talk) as server, Client(server.address, transcript=small(5_000)) as client:
        lines = client.follow(as_bytes=True)
        begin(client, lines)
        until(client, lambda: client._driver.flow.paused)
        start = time.monotonic()
        until(client, lambda: client.transcript.oldest > 20_000)
        assert time.monotonic() - start < 1.5
        with pytest.raises(
            Overrun, match=r"^lines \d+ to \d+ were forgotten before they were read: read faster"
        ) as told:
            list(lines)
        assert told.value.lost > 10_000
        assert re.fullmatch(rb"\w+", next(lines))  # from the oldest that is kept
        # For that it was waited again: nothing more is missed.
        assert len(list(islice(lines, 20_000))) == 20_000


def test_a_follower_that_missed_lines_and_is_gone_holds_nothing_up() -> None:
    """After an Overrun it is waited for only as long as there is something to go on with."""
    with LineServer(flood(count=50_000)) as server, Client(server.address, transcript=small(1_000)) as client:
        until(client, lambda: client.transcript.end > 50_000)
        lines = client.follow(start=0)
        with pytest.raises(Overrun):
            next(lines)
        assert len(client._driver.flow.readers) == 1
        del lines
        until(client, lambda: not client._driver.flow.readers)


def test_following_a_flood_begins_with_what_is_kept() -> None:
    """A new follower of a connection that has forgotten its first lines begins with the oldest
    that is kept.
    """
    with LineServer(flood(count=50_000)) as server, Client(server.address, transcript=small(1_000)) as client:
        until(client, lambda: client.transcript.end > 50_000)
        assert client.transcript.forgotten > 40_000
        assert next(client.follow()).number == client.transcript.first
        with pytest.raises(Overrun):
            next(client.follow(start=0))


# -- what is lost


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("kept", [1, 30, 1000])
def test_each_overrun_tells_exactly_how_many_lines_are_lost(
    as_bytes: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of the peer, that is: what was sent in between counts for nothing. Then the same follow() goes on
    with the oldest line that is kept.
    """
    monkeypatch.setattr(flow_control, "RECORD_PATIENCE", 0.0)  # nothing is kept for it: it is too slow
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
    monkeypatch.setattr(flow_control, "RECORD_PATIENCE", 0.0)
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
    monkeypatch.setattr(flow_control, "RECORD_PATIENCE", 0.0)

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
