"""Prove that one thread or task at a time reads a `follow()`, and that who else reads is told in words."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from ipyreconnect import (
    CallerError,
    Client,
)
from tests.client.helping import on_thread
from tests.servers.line_server import (
    LineServer,
)
from tests.watching import PATIENCE, until, waiting

BEING_READ = (
    r"^this follow\(\) of 127\.0\.0\.1:\d+ is being read by the (thread|task) {name}, and has one reader "
    r"at a time: give each its own, by another call of follow\(\)$"
)


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
        while not client._driver.waiters.waiting:
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
        while not client._driver.waiters.waiting:
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
