"""Prove for whom the receiving waits, how long, and whom that holds up."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
from collections.abc import Callable

import pytest

from ipyreconnect import (
    Client,
    ConnectionLost,
    ExpectTimeout,
    Heartbeat,
)
from ipyreconnect.network.flow_control import READER_PATIENCE, RECORD_PATIENCE, ReaderPosition
from tests.servers.line_server import LineServer, echo, flood
from tests.watching import PATIENCE, until


def test_a_pause_ends_with_its_connection() -> None:
    """A connection that was held up by a slow follower does not leave the next one deaf."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver = client._driver
        place = ReaderPosition(0)
        driver.register_reader(place)
        until(client, lambda: driver.flow.paused)
        server.behaviour = echo
        client.reconnect_now()
        until(client, lambda: client.status.connection == 2)
        driver.unregister_reader(place)
        driver.unregister_reader(place)
        client.send("x", expect="x", timeout=1)


def test_a_slow_follower_takes_one_timer_however_often_it_is_waited_for() -> None:
    """Who is slower than a flood for hours, and waited for again and again, leaves no heap of timers."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, ReaderPosition(0)
        driver.register_reader(place)
        until(client, lambda: driver.flow.paused)

        def read(number: int) -> bool:
            place.next, place.read_at = number, time.monotonic()
            driver.flow.reconsider()
            return driver.flow.paused

        for _ in range(100):
            assert not driver.call(lambda: read(client.transcript.end))
            assert driver.call(lambda: read(0))
        loop = driver._loop
        assert loop is not None
        pushed = threading.Event()
        loop.call_soon(pushed.set)
        assert pushed.wait(PATIENCE)
        assert len(loop._timers) < 20
        driver.unregister_reader(place)


def test_what_was_ready_before_a_pause_is_not_read_in_it() -> None:
    """The I/O thread may be told that there is something to read, and have its turn only in the pause."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, ReaderPosition(0)
        driver.register_reader(place)
        until(client, lambda: driver.flow.paused)

        def ready() -> int:
            end = client.transcript.end
            driver.flow.receive_ready(selectors.EVENT_READ)
            return client.transcript.end - end

        assert driver.call(ready) == 0
        driver.unregister_reader(place)


def test_a_follower_that_has_waited_for_long_is_waited_for() -> None:
    """Its patience begins when there is something to read, not when it last read."""
    with LineServer(echo) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, ReaderPosition(0)
        driver.register_reader(place)
        driver.advanced(place, client.transcript.end)
        place.read_at -= 3600
        server.peer(0).send(b"line\n" * 10_000)
        until(client, lambda: driver.flow.paused)
        driver.unregister_reader(place)


def test_a_paused_connection_notices_its_end() -> None:
    """A connection that is held up by a follower is still told of a reset at once."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000, retry=60) as client:
        place = ReaderPosition(0)
        client._driver.register_reader(place)
        until(client, lambda: client._driver.flow.paused)
        start = time.monotonic()
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert time.monotonic() - start < 1
        assert client.reason == f"reset by {server.address}"
        client._driver.unregister_reader(place)


def test_a_follower_is_waited_for_while_it_keeps_reading() -> None:
    """That is: something at least every tenth of a second, also within the lines that it has in hand."""
    lines = iter(range(100))
    place = ReaderPosition(0, yields=True)
    place.begin(10.0)
    place.took(100, 5000, 10.05, lines)
    next(lines)
    assert place.is_waited_for_until == 10.05 + READER_PATIENCE
    for number in range(1, 11):
        next(lines)
        place.poll(5000, now := 10.05 + 0.09 * number)
        assert place.is_waited_for_until == now + READER_PATIENCE
    place.poll(5000, 11.2)
    assert place.is_waited_for_until == now + READER_PATIENCE < 11.2
    for number in range(1, 4):  # now and then is not enough
        next(lines)
        place.poll(5000, 11.2 + 0.3 * number)
        assert place.is_waited_for_until < 0
        assert (place.is_kept_for_until < 0) == (number >= 2)
    next(lines)
    place.poll(5000, 12.15)
    assert place.is_waited_for_until == 12.15 + READER_PATIENCE


def test_the_time_that_a_follower_waits_is_not_its_slowness() -> None:
    """Who has all there is, and waits for an hour, is waited for when something comes."""
    place = ReaderPosition(0, yields=True)
    place.begin(10.0)
    place.took(100, 100, 10.0)
    assert place.needs_more(100)
    place.poll(100, 3600.0)
    place.poll(101, 3610.0)
    assert place.is_waited_for_until == 3610.0 + READER_PATIENCE
    assert not place.needs_more(101)
    place.took(101, 101, 3610.05, iter([100]))
    assert not place.needs_more(101)  # it has one in hand
    assert place.is_waited_for_until == 3610.05 + READER_PATIENCE


def test_a_record_is_waited_for_longer() -> None:
    """A disk may be slow for a moment: a record loses nothing for that, however often it happens."""
    place = ReaderPosition(0)
    place.begin(10.0)
    for now in (11.9, 13.8, 15.7):
        place.took(10, 5000, now)
        assert place.is_waited_for_until == place.is_kept_for_until == now + RECORD_PATIENCE


def expect_in_vain(client: Client) -> Callable[[], None]:
    def ask() -> None:
        with contextlib.suppress(ExpectTimeout, ConnectionLost):
            client.expect("never", timeout=PATIENCE)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread.join


def await_in_vain(client: Client) -> Callable[[], None]:
    def ask() -> None:
        with contextlib.suppress(ExpectTimeout, ConnectionLost):
            asyncio.run(client.aexpect("never", timeout=PATIENCE))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread.join


def reply(client: Client) -> Callable[[], None]:
    client.add_reply("^PING", "PONG")
    return lambda: None


def listen(client: Client) -> Callable[[], None]:
    client.on_line(lambda line: None)
    return lambda: None


def read(client: Client) -> Callable[[], None]:
    def read_all() -> None:
        for _ in client.follow(as_bytes=True):
            pass

    thread = threading.Thread(target=read_all)
    thread.start()
    return thread.join


@pytest.mark.parametrize("need", [expect_in_vain, await_in_vain, reply, listen, read])
def test_a_slow_follower_holds_nobody_up(need: Callable[[Client], Callable[[], None]]) -> None:
    """Who reads, but slowly, holds up the receiving as long as nobody else needs it: then that goes on."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, ReaderPosition(0, yields=True)
        place.begin(time.monotonic() + 3600)  # so long does it keep reading
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: driver.flow.paused)
        end = client.transcript.end
        join = need(client)
        until(client, lambda: client.transcript.end > end + 20_000)
        driver.unregister_reader(place)
        client.stop()
        join()


def test_with_a_heartbeat_nobody_holds_up_the_receiving() -> None:
    """What answers it must not wait behind what a slow reader has not read."""
    with (
        LineServer(flood()) as server,
        Client(server.address, transcript=5000, heartbeat=Heartbeat("noop", every=60)) as client,
    ):
        driver, place = client._driver, ReaderPosition(0, yields=True)
        place.begin(time.monotonic() + 3600)
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: client.transcript.end > 20_000)
        assert not driver.flow.paused
        driver.unregister_reader(place)


def test_a_pause_begins_again_when_nobody_needs_the_socket_any_more() -> None:
    """A question lets the receiving go on only until it is answered."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, ReaderPosition(0, yields=True)
        place.begin(time.monotonic() + 3600)
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: driver.flow.paused)
        with pytest.raises(ExpectTimeout):
            client.send("x", expect="never", timeout=0.05)
        until(client, lambda: driver.flow.paused)
        driver.unregister_reader(place)
