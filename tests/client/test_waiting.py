"""Prove that an answer is awaited in threads and in event loops, and what a time-out or a loss says."""

from __future__ import annotations

import asyncio
import queue
import time
from typing import Any

import pytest

from ipyreconnect import (
    Client,
    ConnectionLost,
    ExpectTimeout,
    Match,
    Retry,
    Secret,
    SettingsError,
)
from tests.client.helping import QUICK, Thread, received
from tests.servers.line_server import (
    LineServer,
    Peer,
    free_port,
    mute,
    never_read,
    say,
)
from tests.watching import PATIENCE, until

# -- sending


def test_a_delivery_can_be_awaited(server: LineServer, client: Client) -> None:
    """A delivery is sent at once, and acknowledged soon; its line is in the transcript."""
    delivery = client.send("hello")
    assert delivery.wait("sent", timeout=PATIENCE)
    assert delivery.wait(timeout=PATIENCE)
    assert delivery.status == "acknowledged"
    assert delivery.number is not None
    line = client.transcript[delivery.number]
    assert (line.direction, line.text, line.delivery) == (">", "hello", delivery)
    with pytest.raises(ValueError, match="a delivery is one of"):
        delivery.wait("arrived")


def test_a_delivery_that_is_not_acknowledged_times_out() -> None:
    """Waiting for an acknowledgement that does not come gives False after the time-out, and at
    once after a loss.
    """
    with LineServer(never_read) as server, Client(server.address, retry=60) as client:
        while (delivery := client.send(b"x" * 65536)).status == "sent":
            pass
        start = time.monotonic()
        assert not delivery.wait("acknowledged", timeout=0.1)
        assert 0.1 <= time.monotonic() - start < 1
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert not delivery.wait("sent", timeout=PATIENCE)
        assert delivery.status == "unconfirmed"


# -- expecting


def test_send_and_expect_are_one(client: Client) -> None:
    """With expect, send returns the match: its line, its groups, and the lines since."""
    match = client.send("a b", expect=r"(\w) (\w)")
    assert (match.line.text, match[1], match.groups()) == ("a b", "a", ("a", "b"))
    assert [line.text for line in match.lines] == ["a b"]


def test_an_answer_that_came_before_is_found(server: LineServer, client: Client) -> None:
    """An answer that came before the call to expect is found at once."""
    client.send("quick")
    until(client, lambda: received(client) == ["quick"])
    assert client.expect("^quick$", timeout=0).text == "quick"


def test_a_timeout_names_what_was_awaited_and_shows_the_last_lines() -> None:
    """A time-out says what was awaited, for how long, and what came instead."""
    with LineServer(say(b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n")) as server, Client(server.address) as client:
        until(client, lambda: len(received(client)) == 6)
        with pytest.raises(ExpectTimeout) as raised:
            client.expect("never", timeout=0.05)
        assert str(raised.value) == (
            f"no line from {server.address} matched 'never' within 0.05 s; the last lines:\n"
            "  < '2'\n  < '3'\n  < '4'\n  < '5'\n  < '6'"
        )
        assert isinstance(raised.value, TimeoutError)
        client.send("x")
        with pytest.raises(ExpectTimeout, match=r"nothing was received since the last send$"):
            client.expect("never", timeout=0.05)


def test_a_time_out_says_that_the_line_has_not_left_yet() -> None:
    """There can be no answer to a line that waits for a connection; it is sent all the same."""
    with (
        Client(f"127.0.0.1:{free_port()}", retry=Retry(60)) as client,
        pytest.raises(
            ExpectTimeout, match=r"within 0\.01 s; the line is still queued, and sent once connected$"
        ),
    ):
        client.send("x", expect="x", queue=True, timeout=0.01)


@pytest.mark.parametrize(
    ("secrets", "quoted"), [((), ": 'login: '"), ((Secret("hunter2"),), "")], ids=["open", "secret"]
)
def test_a_timeout_tells_of_a_prompt(secrets: tuple[Secret, ...], quoted: str) -> None:
    """Where a server waits behind a line that it does not end, nobody is told that nothing came."""
    with (
        LineServer(say(b"login: ")) as server,
        Client(server.address, framing="lines", secrets=secrets) as client,
    ):
        until(client, lambda: client.transcript.unfinished != b"")
        with pytest.raises(ExpectTimeout) as raised:
            client.expect("^login", timeout=0.05)
    assert str(raised.value).endswith(
        f"; no whole line was received since the last send\n  and an unfinished one of 7 bytes{quoted}"
    )


def test_a_timeout_leaves_the_answer_for_later(server: LineServer) -> None:
    """What comes after a time-out is found by the next call."""
    with LineServer(mute) as server, Client(server.address) as client:
        with pytest.raises(ExpectTimeout):
            client.send("x", expect="late", timeout=0.05)
        server.peer(0).send(b"late\r\n")
        assert client.expect("late").text == "late"


@pytest.mark.parametrize("timeout", [-1, "soon", None, float("nan"), float("inf"), True])
def test_a_timeout_is_a_number_of_seconds(client: Client, timeout: Any) -> None:
    """What is no number of seconds is refused before anything is sent."""
    with pytest.raises(SettingsError, match="a timeout is a number of seconds from 0 up"):
        client.send("x", expect="x", timeout=timeout)
    assert client.transcript[-1].direction == "*"


@pytest.mark.parametrize("wait", [-1, "soon", float("nan"), True])
def test_a_wait_is_a_number_of_seconds(wait: Any) -> None:
    """What is no number of seconds to wait for a connection is refused before it is begun."""
    client = Client("127.0.0.1:1")
    with pytest.raises(SettingsError, match="a timeout is a number of seconds from 0 up"):
        client.connect(wait=wait)
    assert client.state == "stopped"


def test_a_timeout_may_be_longer_than_a_life(client: Client) -> None:
    """A very long time-out is no error."""
    client.send("x", expect="x", timeout=9e9)


def test_a_loss_ends_expecting_at_once(server: LineServer) -> None:
    """At the moment of the loss expect raises ConnectionLost, with the reason."""
    with LineServer(mute) as server, Client(server.address, retry=QUICK) as client:
        waiting = Thread(lambda: client.expect("never"))
        until(client, lambda: bool(client._connection.expectations.pending))
        start = time.monotonic()
        server.peer(0).reset()
        with pytest.raises(ConnectionLost, match=f"^reset by {server.address}$"):
            waiting.result()
        assert time.monotonic() - start < 1


def test_an_unanswered_send_is_told_of_its_loss_even_later(server: LineServer) -> None:
    """A line whose connection was lost without an answer: the next expect says so, once, also
    when it is back.
    """
    with LineServer(mute) as server, Client(server.address, retry=QUICK) as client:
        client.send("ask").wait()
        server.peer(0).reset()
        until(client, lambda: client.status.connection == 2)
        with pytest.raises(ConnectionLost, match="reset by"):
            client.expect("answer")
        with pytest.raises(ExpectTimeout):
            client.expect("answer", timeout=0.05)


def test_asking_from_the_observers_thread(client: Client) -> None:
    """An observer may send and expect: its thread is neither the I/O thread nor the main one."""
    answers: queue.Queue[str] = queue.Queue()
    client.on_line(
        lambda line: answers.put(client.send("2", expect="^2$").text) if line.text == "1" else None
    )
    client.send("1")
    assert answers.get(timeout=PATIENCE) == "2"


# -- from event loops


def test_sending_and_expecting_from_a_coroutine(client: Client) -> None:
    """The twins to await do what send and expect do, from any event loop."""

    async def ask() -> None:
        match = await client.asend("one", expect="^one$")
        assert match.text == "one"  # type: ignore[union-attr]
        delivery = await client.asend("two")
        assert delivery.data == b"two"  # type: ignore[union-attr]
        assert (await client.aexpect("^two$")).text == "two"
        with pytest.raises(ExpectTimeout):
            await client.aexpect("never", timeout=0.05)

    asyncio.run(ask())


def test_many_coroutines_may_wait_at_once(client: Client) -> None:
    """The event loop goes on while a coroutine waits; each gets its answer."""

    async def ask() -> list[str]:
        matches = await asyncio.gather(*(client.asend(f"q{n}.", expect=rf"^q{n}\.$") for n in range(20)))
        return [match.text for match in matches]  # type: ignore[union-attr]

    assert asyncio.run(ask()) == [f"q{n}." for n in range(20)]


def test_a_bad_timeout_is_refused_before_anything_is_done(server: LineServer, client: Client) -> None:
    """A coroutine with a time-out that is none sends nothing, and nothing of it waits for a line."""
    with pytest.raises(ValueError, match="timeout"):
        asyncio.run(client.asend("DELETE 1", expect="x", timeout=-1))
    with pytest.raises(ValueError, match="timeout"):
        asyncio.run(client.aexpect("x", timeout=-1))
    assert client._connection.expectations.pending == []
    client.send("x", expect="x")
    assert server.peer(0).lines == [b"x"]


@pytest.mark.parametrize("awaits", [False, True])
def test_an_expectation_looks_through_very_many_lines(awaits: bool) -> None:
    """What came before the call is found also where very much did, with all that was received since the
    send; what is not there is missed within its time.
    """
    numbers = b"".join(b"line %d\r\n" % number for number in range(100_000))

    async def count(peer: Peer) -> None:
        await peer.readline()
        peer.send(numbers)
        await peer.until_closed()

    with LineServer(count) as server, Client(server.address) as client:

        def expect(pattern: str, timeout: float) -> Match:
            return (
                asyncio.run(client.aexpect(pattern, timeout)) if awaits else client.expect(pattern, timeout)
            )

        client.send("go")
        until(client, lambda: client.transcript[-1].text == "line 99999")
        with pytest.raises(ExpectTimeout, match=r"within 0 s; the last lines:\n.*99995'\n"):
            expect("no such line", 0)
        match = expect("^line 5.{4}$", 10)
        assert (match.text, len(match.lines), match.lines[0].text) == ("line 50000", 50_001, "line 0")
        assert expect("^line 5.{4}$", 10).text == "line 50001"
        with pytest.raises(ExpectTimeout):
            expect("^line 4", 1)


def test_a_dropped_coroutine_leaves_no_trace(client: Client) -> None:
    """A coroutine that the garbage collector closes in the middle of one of the connection's steps waits no
    more.
    """

    async def drop() -> None:
        coroutine = client.aexpect("never")
        coroutine.send(None)
        coroutines = [coroutine]
        del coroutine
        client._driver.call(coroutines.clear)

    asyncio.run(drop())
    assert (client._driver.waiters.waiting, client._connection.expectations.pending) == ([], [])


def test_a_cancelled_coroutine_leaves_no_trace() -> None:
    """A cancelled expect takes no line away from the next one, and nothing of it is left."""
    with LineServer(mute) as server, Client(server.address) as client:

        async def cancel() -> None:
            task = asyncio.create_task(client.aexpect("late"))
            while not client._driver.waiters.waiting:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert (client._driver.waiters.waiting, client._connection.expectations.pending) == ([], [])
        server.peer(0).send(b"late\r\n")
        assert client.expect("late").text == "late"


def test_a_loss_ends_a_coroutine_s_wait() -> None:
    """An awaited expect raises ConnectionLost at the moment of the loss."""
    with LineServer(mute) as server, Client(server.address, retry=QUICK) as client:

        async def wait() -> None:
            task = asyncio.create_task(client.aexpect("never"))
            while not client._driver.waiters.waiting:
                await asyncio.sleep(0)
            server.peer(0).reset()
            with pytest.raises(ConnectionLost):
                await task

        asyncio.run(wait())
