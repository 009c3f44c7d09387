"""Prove that loops over the received lines read each of them, in threads and in event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest

from ipyreconnect import (
    Client,
    Line,
    Secret,
    SettingsError,
)
from tests.client.helping import Thread, received
from tests.servers.line_server import (
    LineServer,
    Peer,
    flood,
)
from tests.watching import PATIENCE, until, waiting

# -- following


def test_for_reads_every_line_until_the_stop(server: LineServer, client: Client) -> None:
    """A for loop over follow gets every line, and ends when the client is stopped."""
    reading = Thread(lambda: [line.text for line in client.follow()])
    for number in range(100):
        client.send(f"{number}")
    client.expect("^99$")
    client.stop()
    assert reading.result() == [str(number) for number in range(100)]


def test_a_stop_ends_a_loop_though_the_client_is_connected_anew(client: Client) -> None:
    """Whoever follows learns of each stop, also of one that he had no time to see."""
    loop, coroutine = client.follow(), client.follow()

    async def read() -> list[str]:
        return [line.text async for line in coroutine]

    async def read_one() -> str:
        return (await anext(coroutine)).text

    client.send("one", expect="one")
    client.send("two")
    client.expect("two")
    assert next(loop).text == asyncio.run(read_one()) == "one"
    client.stop()
    client.connect()
    assert Thread(lambda: [line.text for line in loop]).result() == ["two"]
    assert Thread(lambda: asyncio.run(read())).result() == ["two"]


def test_following_goes_on_over_a_reconnection(server: LineServer, client: Client) -> None:
    """A follower gets the lines of the next connection too, without gap or repetition."""
    lines = client.follow()
    client.send("one")
    assert next(lines).text == "one"
    server.peer(0).reset()
    until(client, lambda: client.status.connection == 2)
    client.send("two")
    assert next(lines).text == "two"


def test_a_loop_that_was_left_goes_on_where_it_was(client: Client) -> None:
    """Leaving a loop and beginning another on the same follower, or calling next, loses no line."""
    for number in range(50):
        client.send(f"{number}")
    client.expect("^49$")
    lines = client.follow(start=0)
    got = []
    for line in lines:
        got.append(line.text)
        if len(got) == 3:
            break
    got.append(next(lines).text)
    got += [line.text for line in islice(lines, 46)]
    assert got == [str(number) for number in range(50)]


def test_an_unfinished_loop_leaves_nothing_behind(client: Client) -> None:
    """A loop that is left without care is forgotten at once, without the collector."""
    client.send("x", expect="x")
    gc.disable()
    try:
        for _ in client.follow(start=0):
            break
        for _ in client.follow(start=0, as_bytes=True):
            break
        lines = client.follow(start=0)
        next(lines)
        assert len(client._driver.flow.readers) == 1
        del lines
        until(client, lambda: not client._driver.flow.readers)
    finally:
        gc.enable()


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_loop_that_was_interrupted_can_be_gone_on_with(client: Client, as_bytes: bool) -> None:
    """Ctrl-C is the usual way out of a loop in a notebook: the next one goes on where it was."""

    def interrupt() -> None:
        until(client, lambda: waiting(client) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    lines: Iterator[Any] = client.follow(as_bytes=as_bytes)
    for number in range(2):
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            list(lines)
        thread.join(PATIENCE)
        client.send(f"{number}")
        line = next(lines)
        assert (line.decode() if as_bytes else line.text) == str(number)


def test_closing_ends_a_loop_that_waits(client: Client) -> None:
    """Close ends the iteration, also for a thread that waits for the next line."""
    lines = client.follow()
    reading = Thread(lambda: list(lines))
    until(client, lambda: waiting(client) == 1)
    lines.close()
    assert reading.result() == []
    assert list(lines) == []


def test_several_followers_each_get_everything(client: Client) -> None:
    """Each follower has its own place."""
    threads = [Thread(lambda: [line.text for line in islice(client.follow(), 100)]) for _ in range(3)]
    until(client, lambda: waiting(client) == 3)
    for number in range(100):
        client.send(f"{number}")
    assert [thread.result() for thread in threads] == [[str(number) for number in range(100)]] * 3


def test_following_as_bytes(client: Client) -> None:
    """As bytes a follower gets the lines without their ends; it has no sent lines and no notes."""
    lines = client.follow(as_bytes=True)
    client.send("one")
    client.send("two")
    assert list(islice(lines, 2)) == [b"one", b"two"]


@pytest.mark.parametrize("hidden", [False, True])
def test_following_as_bytes_gives_what_the_transcript_keeps(hidden: bool) -> None:
    """The lines that a follower reads from the socket itself are those that the transcript has: lone CRs,
    over-long lines and what was sent between them change nothing, and what is hidden is hidden.
    """
    count = 200

    async def talk(peer: Peer) -> None:
        for _ in range(count):
            asked = await peer.readline()
            size = int(asked)
            peer.send(b"%d secret\r\nlone\rCR\n" % size + b"x" * size + b"\r\n" * 2 + b"end\r\n")
        await peer.until_closed()

    with LineServer(talk) as server, Client(server.address) as client:
        if hidden:
            client.hide(Secret("secret"))
        lines = client.follow(as_bytes=True)
        got: list[bytes] = []
        for number in range(count):
            client.send(f"{number * 997}")  # up to three times the longest line
            got += takewhile(b"end".__ne__, lines)
        kept = [line.data for line in client.transcript if line.direction == "<" and line.data != b"end"]
        assert got == kept
        assert (b"0 secret" in got) != hidden


def test_following_begins_like_expect(client: Client) -> None:
    """By default a follower begins at the last send or match, so an answer that was quicker is not missed."""
    client.send("old", expect="old")
    client.send("new")
    until(client, lambda: received(client) == ["old", "new"])
    assert next(client.follow()).text == "new"


def test_following_with_async_for(client: Client) -> None:
    """Async for reads the lines in a coroutine, and ends with the client."""

    async def read() -> list[str]:
        return [line.text async for line in client.follow()]

    reading = Thread(lambda: asyncio.run(read()))
    until(client, lambda: waiting(client) == 1)
    for number in range(50):
        client.send(f"{number}")
    client.expect("^49$")
    client.stop()
    assert reading.result() == [str(number) for number in range(50)]


def test_an_async_for_that_is_left_is_closed_by_its_block(client: Client) -> None:
    """In an aclosing block, a loop that is left leaves nothing behind, and gives no more lines."""

    async def leave() -> list[str]:
        read = []
        async with contextlib.aclosing(client.follow(start=0)) as lines:
            async for line in lines:
                read.append(line.text)
                assert client._driver.flow.readers
                break
        return read + [line.text async for line in lines]

    client.send("one", expect="^one$")
    client.send("two", expect="^two$")
    assert asyncio.run(leave()) == ["one"]
    until(client, lambda: not client._driver.flow.readers)


def test_a_cancelled_async_for_leaves_no_trace(client: Client) -> None:
    """A task that is cancelled while it waits for a line leaves nothing behind."""

    async def read() -> None:
        lines: AsyncIterator[Line] = client.follow()
        task = asyncio.ensure_future(anext(lines))
        while not client._driver.waiters.waiting:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(read())
    until(client, lambda: not client._driver.waiters.waiting and not client._driver.flow.readers)


# -- observing


@pytest.mark.parametrize("start", [-1, 1.5, "0"])
def test_a_follower_begins_at_a_line_s_number(client: Client, start: Any) -> None:
    """Lines are counted from 0 up; what is no such number is refused at once."""
    with pytest.raises(SettingsError, match=f"start must be the number of a line, from 0 up, not {start!r}"):
        client.follow(start=start)


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
        while not client._driver.flow.readers:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with LineServer(flood(500_000)) as server, Client(server.address) as client:
        asyncio.run(main())
        until(client, lambda: not client._driver.flow.readers)
