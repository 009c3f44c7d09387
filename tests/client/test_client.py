"""Prove what users rely on in `Client`, on real sockets: sending, expecting, following,
observing, encryption.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import functools
import gc
import logging
import os
import pickle
import queue
import re
import signal
import socket
import ssl
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import traitlets
from traitlets import TraitError

from ipyreconnect import (
    TLS,
    CallerError,
    Client,
    ConnectionLost,
    ExpectTimeout,
    Heartbeat,
    KeepAlive,
    Line,
    Match,
    NotConnected,
    OutboxFull,
    Overrun,
    Retry,
    Secret,
    SettingsError,
    Transcript,
)
from ipyreconnect.client.session import Session
from ipyreconnect.network.driver import LEASE
from ipyreconnect.protocol.health import UNKNOWN, Health
from ipyreconnect.protocol.resumption import RESUMES
from tests.namespaces import deafen, hear
from tests.servers.certificates import Certificates
from tests.servers.line_server import (
    LINE_80,
    Behaviour,
    LineServer,
    Peer,
    answering,
    echo,
    flood,
    free_port,
    greet,
    mute,
    never_read,
    say,
)
from tests.watching import PATIENCE, States, until, waiting

QUICK = Retry(delay=0.02, jitter=0)


def received(client: Client) -> list[str]:
    return [line.text for line in client.transcript if line.direction == "<"]


def notes(client: Client) -> list[str]:
    return [line.text for line in client.transcript if line.direction == "*"]


def burst(data: bytes, *, closes: bool = False) -> Behaviour:
    """Make a behaviour that sends `data` once it has read a line, and then closes or waits for the end."""

    async def behave(peer: Peer) -> None:
        await peer.readline()
        peer.send(data)
        if not closes:
            await peer.until_closed()

    return behave


class Transport(NamedTuple):
    """How both ends of a connection speak: in the clear or in TLS."""

    context: ssl.SSLContext | None
    tls: TLS | bool


@pytest.fixture(params=["plain", "TLS"])
def transport(request: pytest.FixtureRequest, certificates: Certificates) -> Transport:
    if request.param == "plain":
        return Transport(None, False)
    return Transport(certificates.good().server_context(), secure(certificates))


class Thread(threading.Thread):
    """Run a function on a thread; `result` waits for what it returns, or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._results: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self.start()

    def run(self) -> None:
        try:
            self._results.put((self._function(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._results.put((None, error))

    def result(self, timeout: float = PATIENCE) -> Any:
        result, error = self._results.get(timeout=timeout)
        self.join(timeout)
        if error is not None:
            raise error
        return result


# -- connecting


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("close", "client.stop()"),
        ("disconnect", "client.stop()"),
        ("recv", "client.expect(REGEX)"),
        ("read", "client.expect(REGEX)"),
        ("readline", "client.follow()"),
        ("write", "client.send(TEXT)"),
        ("sendline", "client.send(TEXT)"),
        ("sendall", "client.send(BYTES)"),
        ("settimeout", "timeout=SECONDS"),
        ("is_connected", "client.state"),
        ("reconnect", "client.reconnect_now()"),
        ("open", "client.connect()"),
    ],
)
def test_what_other_libraries_call_otherwise_names_the_right_call(name: str, call: str) -> None:
    """Somebody who knows sockets, files or pexpect is told how it is done here."""
    client = Client("127.0.0.1:4000")
    with pytest.raises(AttributeError) as caught:
        getattr(client, name)()
    assert f"no attribute '{name}': " in str(caught.value)
    assert call in str(caught.value)
    method = re.match(r"client\.(\w+)", call)
    assert method is None or hasattr(client, method[1])
    assert not hasattr(client, name)
    assert name not in dir(client)


def test_any_other_name_is_missing_as_ever() -> None:
    """A slip is told as for any object, with Python's own hint."""
    with pytest.raises(AttributeError) as caught:
        Client("127.0.0.1:4000").sennd()  # type: ignore[attr-defined]
    assert str(caught.value) == "'Client' object has no attribute 'sennd'"
    assert caught.value.name == "sennd"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("host", 4000), "write Client('host:4000', …)"),
        (("host", "4000"), "write Client('host:4000', …)"),
        (("host", "hunter2"), "write Client('host:port', …)"),
        (("host", 4000, 10), "write Client('host:port', …)"),
        ((("host", 4000),), "an address is text, not tuple: write 'host:4000'"),
        ((4000,), "an address is text, not int"),
    ],
)
def test_a_host_and_a_port_are_one_address(given: tuple[Any, ...], wanted: str) -> None:
    """`Client("host", 4000)`, as a socket would have it, is told how it is written."""
    with pytest.raises(SettingsError) as caught:
        Client(*given)
    assert wanted in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_connect_waits_for_the_first_outcome(server: LineServer) -> None:
    """Connect returns when it is connected, or when the first attempt has failed, whichever comes first."""
    with Client(server.address) as client:
        assert (client.state, client.phase, client.reason) == ("connected", None, "")
        assert client.attempt == 1
        assert abs((client.connected_since or 0) - time.time()) < 5
    with Client(f"127.0.0.1:{free_port()}", retry=60) as client:
        assert client.state == "waiting"
        assert client.reason == f"refused by {client.address.display}"
        assert client.retry_at == pytest.approx(time.time() + 60, abs=8)
        assert client.transcript[-1].time == pytest.approx(time.time(), abs=5)


def test_connect_need_not_wait(server: LineServer) -> None:
    """With wait=0 connect returns at once, whatever comes."""
    server.pull_cable()
    start = time.monotonic()
    client = Client(server.address).connect(wait=0)
    assert time.monotonic() - start < 1
    assert client.state == "connecting"
    client.stop()


def test_a_connection_comes_back_by_itself(server: LineServer, client: Client) -> None:
    """A lost connection is told with its reason, and is back without anybody's doing."""
    states = States(client)
    server.peer(0).reset()
    states.wait("waiting")
    states.wait("connected")
    assert client.reason == f"reset by {server.address}"
    assert client.send("x", expect="^x$").text == "x"
    assert client.status.connection == 2


def test_a_name_without_address_is_told_and_retried() -> None:
    """A name that does not resolve says so and is tried again."""
    with Client("name.invalid:1", retry=60) as client:
        assert client.state == "waiting"
        assert re.search(r"'name\.invalid'", client.reason)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_ipv4_ipv6_and_names(host: str) -> None:
    """A server is reached by an IPv4 or IPv6 address, or by a name."""
    with LineServer(echo, host=host) as server, Client(server.address) as client:
        client.send("x", expect="^x$")
        assert client.status.peer.endswith(f":{server.port}")


def test_unix_sockets(tmp_path: Path) -> None:
    """A Unix socket is a connection like any other: lines, acknowledgements and stop; it has no keepalive."""
    with LineServer(echo, host=str(tmp_path / "socket")) as server, Client(server.address) as client:
        delivery = client.send("x", expect=None)
        client.expect("^x$")
        assert delivery.wait("acknowledged")
        assert client.keepalive_in_force is None
        client.stop()
        assert client.unconfirmed == []


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    """A path without a socket is told as such and tried again."""
    with Client(f"unix://{tmp_path}/nobody", retry=60) as client:
        assert client.reason == f"no socket at {tmp_path}/nobody: it does not exist"


# -- sending


def test_text_gets_the_line_end_and_bytes_none(server: LineServer, client: Client) -> None:
    """Text is one line and gets the line end; bytes go as they are."""
    client.send("text")
    client.send(b"by")
    client.send(b"tes\n")
    assert server.peer(0).wait_line(b"bytes") == b"bytes"
    assert server.peer(0).lines == [b"text", b"bytes"]


@pytest.mark.parametrize(
    ("eol", "sent"), [("crlf", b"x\r\n"), ("lf", b"x\n"), ("cr", b"x\r"), ("none", b"x"), (b"\0", b"x\0")]
)
def test_line_ends(eol: str | bytes, sent: bytes) -> None:
    """The line end can be chosen, also as bytes."""
    got: queue.Queue[bytes] = queue.Queue()

    async def read(peer: Peer) -> None:
        data = b""
        while len(data) < len(sent):
            data += await peer.read()
        got.put(data)

    with LineServer(read) as server, Client(server.address, eol=eol) as client:
        client.send("x")
        assert got.get(timeout=PATIENCE) == sent


def test_an_encoding_is_used_both_ways() -> None:
    """With an encoding, text is sent and read by it."""
    with LineServer(echo) as server, Client(server.address, encoding="iso-8859-1") as client:
        match = client.send("gr\xfc\xdfe", expect="gr\xfc")
        assert (match.line.data, match.text) == (b"gr\xfc\xdfe", "gr\xfc\xdfe")
        assert server.peer(0).lines == [b"gr\xfc\xdfe"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("a\nb", "a line break in a line would send more than one command"),
        ("a\rb", "a line break in a line would send more than one command"),
        ("\ud800", r"'\\ud800' cannot be sent as utf-8"),
        (42, "send takes text .* or bytes .*, not int"),
        (None, "send takes text .* or bytes .*, not NoneType"),
        (b"", "there is not one byte to send"),
    ],
)
def test_what_cannot_be_sent_is_refused(server: LineServer, client: Client, data: Any, says: str) -> None:
    """A line break, another type and what cannot be encoded is one clear ValueError, and nothing is sent."""
    with pytest.raises(ValueError, match=says):
        client.send(data)
    with pytest.raises(SettingsError, match=says):
        client.send(data, expect="x")
    client.send("end", expect="end")
    assert server.peer(0).lines == [b"end"]


def test_sending_while_not_connected_is_refused() -> None:
    """Not connected, the message says what is going on and when the next try is."""
    client = Client(f"127.0.0.1:{free_port()}", retry=60)
    where = client.address.display
    with pytest.raises(NotConnected, match=f"^not connected to {where}: stopped; connect first$"):
        client.send("x")
    with client:
        says = rf"^not connected to {where}: refused by {where}; waiting for try 2 in \d\d\.\d s$"
        with pytest.raises(NotConnected, match=says):
            client.send("x")


def test_a_line_may_wait_for_the_connection(server: LineServer, client: Client) -> None:
    """A queued line leaves when the connection is back, after the on-connect script, and can be awaited."""
    server.refuse()
    server.peer(0).reset()
    until(client, lambda: client.state == "waiting")
    waiting = Thread(lambda: client.send("queued", queue=True, expect="^queued$"))
    delivery = client.send("later", queue=True)
    assert (delivery.status, delivery.number) == ("queued", None)
    server.listen()
    assert waiting.result().text == "queued"
    assert delivery.wait("acknowledged")
    server.peer(1).wait_line(b"later")
    server.peer(1).wait_line(b"queued")


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


def test_sending_to_a_peer_that_does_not_read_ends_in_a_full_outbox() -> None:
    """Send never blocks: towards a peer that does not read it says at 4 MiB that the outbox is full."""
    with LineServer(never_read) as server, Client(server.address) as client:
        start = time.monotonic()
        full = ""
        while not full:
            try:
                client.send(b"x" * 65536)
            except OutboxFull as error:
                full = str(error)
        assert time.monotonic() - start < 5
        assert re.match(rf"^64 lines \(4194304 bytes\) wait to be sent to {server.address}; the peer", full)
        assert client.state == "connected"


def test_queue_limit_is_the_user_s() -> None:
    """The outbox can be made smaller."""
    with LineServer(never_read) as server, Client(server.address, queue_limit=20_000_000) as client:
        client.send(b"x" * 20_000_000)
        with pytest.raises(OutboxFull, match="reads nothing, or too slowly"):
            client.send(b"x" * 20_000_000)
        with pytest.raises(OutboxFull, match=r"in pieces, or give the client a greater queue_limit$"):
            client.send(b"x" * 20_000_001)


def test_lines_of_many_threads_are_whole_and_in_order(server: LineServer, client: Client) -> None:
    """Many threads that send at once: each line arrives whole, and each thread's in its order."""

    def send(name: int) -> None:
        for number in range(300):
            client.send(f"{name} {number} {'x' * number}")

    threads = [Thread(lambda name=name: send(name)) for name in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.result()
    client.send("end", expect="^end$")
    lines = server.peer(0).lines[:-1]
    assert len(lines) == 2400
    for name in range(8):
        mine = [line.split(b" ") for line in lines if line.startswith(b"%d " % name)]
        assert [(int(number), len(rest)) for _, number, rest in mine] == [(n, n) for n in range(300)]


def test_many_threads_may_ask_at_once(client: Client) -> None:
    """Many threads that send and expect at once get each their own answer."""

    def ask(name: int) -> None:
        for number in range(50):
            line = f"{name}-{number}"
            assert client.send(line, expect=f"^{line}$").text == line

    threads = [Thread(lambda name=name: ask(name)) for name in range(6)]  # type: ignore[misc]
    for thread in threads:
        thread.result()


def test_a_transcript_has_one_writer(server: LineServer) -> None:
    """Two clients that run at a time cannot write the same transcript; one after the other can."""
    transcript = Transcript()
    one, other = (Client(server.address, transcript=transcript) for _ in range(2))
    with one:
        with pytest.raises(SettingsError, match="written by another client: stop that first"):
            other.connect()
        assert other.state == "stopped"
        one.send("one", expect="one")
    with other:
        other.send("other", expect="other")
    assert [line.text for line in transcript if line.direction == "<"] == ["one", "other"]


# -- unconfirmed


@contextlib.contextmanager
def one_to_one(**options: Any) -> Iterator[tuple[Client, socket.socket]]:
    """Give a connected client, and the other end of its connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Client(f"127.0.0.1:{listener.getsockname()[1]}", **options) as client,
        listener.accept()[0] as peer,
    ):
        yield client, peer


def test_what_the_peer_never_acknowledged_is_known_after_a_loss() -> None:
    """After a loss `unconfirmed` has the lines that the peer's kernel never had, and none of the others."""
    with one_to_one(retry=60) as (client, peer):
        assert client.send("heard").wait("acknowledged")
        deafen(peer)
        for line in ("into", "the void"):
            client.send(line)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()  # its reset reaches us all the same
        until(client, lambda: client.state == "waiting")
        assert [line.text for line in client.unconfirmed] == ["into", "the void"]
        assert {line.delivery.status for line in client.unconfirmed if line.delivery} == {"unconfirmed"}
        assert "; 2 lines (12 bytes) never acknowledged; try 2 in " in notes(client)[-1]


def test_what_was_reported_lost_never_arrives_later() -> None:
    """A line that a stop has reported as unconfirmed is not delivered when the cable is back: no ghosts."""
    with one_to_one() as (client, peer):
        client.send("heard").wait("acknowledged")
        deafen(peer)
        client.send("ghost")
        client.stop()
        assert [line.text for line in client.unconfirmed] == ["ghost"]
        hear(peer)
        peer.settimeout(0.5)  # longer than a retransmission takes
        data = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := peer.recv(100):
                data += piece
        assert data == b"heard\r\n"


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


def test_a_bad_pattern_is_refused(client: Client) -> None:
    """What is no regular expression is one clear line, and nothing is sent."""
    with pytest.raises(SettingsError, match=r"^not a regular expression: '\('"):
        client.expect("(")
    with pytest.raises(SettingsError, match=r"^not a regular expression: '\('"):
        client.send("x", expect="(")
    with pytest.raises(
        SettingsError, match="a pattern is str, bytes or a compiled regular expression, not int"
    ):
        client.expect(42)  # type: ignore[arg-type]


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
    assert (client._driver._waiters, client._connection.expectations.pending) == ([], [])


def test_a_cancelled_coroutine_leaves_no_trace() -> None:
    """A cancelled expect takes no line away from the next one, and nothing of it is left."""
    with LineServer(mute) as server, Client(server.address) as client:

        async def cancel() -> None:
            task = asyncio.create_task(client.aexpect("late"))
            while not client._driver._waiters:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert (client._driver._waiters, client._connection.expectations.pending) == ([], [])
        server.peer(0).send(b"late\r\n")
        assert client.expect("late").text == "late"


def test_a_loss_ends_a_coroutine_s_wait() -> None:
    """An awaited expect raises ConnectionLost at the moment of the loss."""
    with LineServer(mute) as server, Client(server.address, retry=QUICK) as client:

        async def wait() -> None:
            task = asyncio.create_task(client.aexpect("never"))
            while not client._driver._waiters:
                await asyncio.sleep(0)
            server.peer(0).reset()
            with pytest.raises(ConnectionLost):
                await task

        asyncio.run(wait())


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
        assert len(client._driver._followers) == 1
        del lines
        until(client, lambda: not client._driver._followers)
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
                assert client._driver._followers
                break
        return read + [line.text async for line in lines]

    client.send("one", expect="^one$")
    client.send("two", expect="^two$")
    assert asyncio.run(leave()) == ["one"]
    until(client, lambda: not client._driver._followers)


def test_a_cancelled_async_for_leaves_no_trace(client: Client) -> None:
    """A task that is cancelled while it waits for a line leaves nothing behind."""

    async def read() -> None:
        lines: AsyncIterator[Line] = client.follow()
        task = asyncio.ensure_future(anext(lines))
        while not client._driver._waiters:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(read())
    until(client, lambda: not client._driver._waiters and not client._driver._followers)


def small(lines: int) -> Transcript:
    """Return a transcript that a flood soon fills."""
    return Transcript(lines, 1 << 20)


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
                pauses += client._driver._paused
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
        until(client, lambda: client._driver._paused)
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
        until(client, lambda: client._driver._paused)
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
        assert len(client._driver._followers) == 1
        del lines
        until(client, lambda: not client._driver._followers)


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


# -- observing


def test_observers_are_told_in_order(server: LineServer, client: Client) -> None:
    """Observers of the state see each change once, in order, with old and new."""
    seen: queue.Queue[tuple[str, str]] = queue.Queue()
    client.observe(lambda change: seen.put((change.old, change.new)), "state")
    server.peer(0).reset()
    until(client, lambda: client.status.connection == 2)
    client.stop()
    changes = [seen.get(timeout=PATIENCE) for _ in range(5)]
    states = ["connected", "waiting", "connecting", "connected", "stopping", "stopped"]
    assert changes == list(pairwise(states))


@pytest.mark.parametrize("end", [Client.reconnect_now, Client.stop, None])
def test_the_state_is_told_last(server: LineServer, end: Callable[[Client], None] | None) -> None:
    """Who observes the state has been told before what else belongs to it."""
    seen: queue.Queue[tuple[str, Any]] = queue.Queue()
    with Client(server.address, retry=60) as client:
        until(client, lambda: client.status.verdict is not None)
        client.observe(lambda change: seen.put((change.name, change.new)))
        if end is not None:
            end(client)
        else:
            server.peer(0).close()
        told: list[tuple[str, Any]] = []
        while ("state", client.state) not in told:
            told.append(seen.get(timeout=PATIENCE))
    first = next(at for at, (name, new) in enumerate(told) if name == "state" and new != "stopping")
    before = told[:first]
    assert {("connected_since", None), ("health", UNKNOWN)} <= set(before)


def test_who_observes_the_health_is_given_it(server: LineServer) -> None:
    """Observers of the health are given what the attribute gives, of the moment that its verdict changed."""
    seen: queue.Queue[Health] = queue.Queue()
    client = Client(server.address)
    client.observe(lambda change: seen.put(change.new), "health")
    with client:
        alive = seen.get(timeout=PATIENCE)
        assert (alive.verdict, alive.probes_of, alive.unacknowledged) == ("alive", 3, 0)
    assert seen.get(timeout=PATIENCE) == client.health == UNKNOWN


def test_observers_run_on_a_thread_of_their_own(server: LineServer) -> None:
    """No observer runs on the I/O thread, nor on the one that caused the change."""
    names: queue.Queue[str] = queue.Queue()
    client = Client(server.address)
    client.observe(lambda change: names.put(threading.current_thread().name))
    client.on_line(lambda line: names.put(threading.current_thread().name))
    with client:
        client.send("x", expect="x")
    assert {names.get(timeout=PATIENCE) for _ in range(6)} == {"ipyreconnect-observers"}


def test_callbacks_run_where_they_were_given(server: LineServer) -> None:
    """A context variable, by which a notebook knows whose output it is, has the value of that place."""
    cell: contextvars.ContextVar[str] = contextvars.ContextVar("cell", default="none")
    seen: queue.Queue[tuple[str, str]] = queue.Queue()

    def login(session: Any) -> None:
        seen.put(("function", cell.get()))

    def note(name: str) -> Callable[[Any], object]:
        return lambda _: seen.put((name, cell.get()))

    cell.set("made")
    with Client(server.address, on_connect=login) as client:
        cell.set("observed")
        client.observe(state := note("observer"), "state")
        cell.set("listened")
        client.on_line(note("listener"))
        cell.set("later")
        server.peer(0).send(b"a line\r\n")
        client.expect("a line")
        client.reconnect_now()
        found: set[tuple[str, str]] = set()
        while len({name for name, _ in found}) < 3:
            found.add(seen.get(timeout=PATIENCE))
        client.unobserve(state, "state")
    assert found == {("function", "made"), ("observer", "observed"), ("listener", "listened")}
    cell.set("none")


def test_a_slow_observer_slows_nothing(client: Client) -> None:
    """While an observer takes its time, lines come and go, and the client can be stopped."""
    begun, over = threading.Event(), threading.Event()

    def dawdle(change: Any) -> None:
        begun.set()
        over.wait(PATIENCE)

    client.observe(dawdle, "state")
    client.reconnect_now()
    assert begun.wait(PATIENCE)
    until(client, lambda: client.state == "connected")
    client.send("x", expect="x")
    client.stop()
    assert client.state == "stopped"
    over.set()


def test_an_observer_that_fails_robs_nobody(
    server: LineServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What one observer raises is logged; the others, and its own next calls, are made all the same."""
    seen: queue.Queue[str] = queue.Queue()

    def fail(change: Any) -> None:
        raise SystemExit("no")

    for name in ("reason", "state", "phase"):
        client.observe(fail, name)
    client.observe(lambda change: 1 / 0)
    client.observe(lambda change: seen.put(change.new), "state")
    server.peer(0).reset()
    assert [seen.get(timeout=PATIENCE) for _ in range(3)] == ["waiting", "connecting", "connected"]
    assert "an observer of" in caplog.text
    assert client.state == "connected"


def test_a_subclass_may_declare_its_observers(server: LineServer) -> None:
    """What traitlets' decorator marks is told like what is registered later."""
    seen: queue.Queue[str] = queue.Queue()

    class Watched(Client):
        @traitlets.observe("state")
        def _note(self, change: Any) -> None:
            seen.put(change.new)

    with Watched(server.address):
        assert [seen.get(timeout=PATIENCE) for _ in range(2)] == ["connecting", "connected"]
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == ["stopping", "stopped"]


def test_all_observers_can_be_taken_away(client: Client) -> None:
    """After unobserve_all nobody is called, and nothing of them is kept."""
    seen: list[str] = []
    handler = functools.partial(lambda change: seen.append(change.new))
    client.observe(handler, "state")
    gone = weakref.ref(handler)
    del handler
    client.unobserve_all()
    gc.collect()
    assert gone() is None
    client.stop()
    assert seen == []


def test_an_observer_can_be_taken_away(client: Client) -> None:
    """After unobserve nobody is called."""
    seen: list[str] = []
    client.observe(handler := lambda change: seen.append(change.new), "state")
    client.unobserve(handler, "state")
    client.reconnect_now()
    states = States(client)
    client.stop()
    states.wait("stopped")
    assert seen == []


def test_an_observer_finds_the_rest_as_it_belongs(client: Client, server: LineServer) -> None:
    """When the state is told, reason and time of the next try are already there."""
    seen: queue.Queue[tuple[str, float | None]] = queue.Queue()
    client.observe(lambda change: seen.put((client.reason, client.retry_at)), "state")
    server.refuse()
    client.retry = Retry(delay=60)
    server.peer(0).reset()
    reason, retry_at = seen.get(timeout=PATIENCE)
    assert reason == f"reset by {server.address}"
    assert retry_at is not None


def test_state_can_be_observed_and_not_set(client: Client) -> None:
    """What follows the connection cannot be set."""
    with pytest.raises(TraitError, match=r"\"state\" trait is read-only"):
        client.state = "connected"


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


def test_numbers_of_an_array_are_numbers() -> None:
    """What numpy calls 3 is as good as a 3 of Python's, and does not overflow where that does not."""
    three, seconds = np.array([3], np.uint8)[0], np.array([3], np.float32)[0]
    got: queue.Queue[bytes] = queue.Queue()

    def read(session: Session) -> None:
        for _ in range(100):
            got.put(session.readexactly(three, timeout=three))

    options: dict[str, Any] = {"transcript": np.int64(100), "queue_limit": three, "on_connect": read}
    with LineServer(say(b"abc" * 100)) as server, Client(server.address, **options) as client:
        assert b"".join(got.get(timeout=PATIENCE) for _ in range(100)) == b"abc" * 100
        client.send(b"\r\n")
        client.follow(start=three)
    with LineServer(echo) as server, Client(server.address) as client:
        client.connect(wait=three)
        assert client.send("x", expect="x", timeout=seconds).text == "x"


@pytest.mark.parametrize("start", [-1, 1.5, "0"])
def test_a_follower_begins_at_a_line_s_number(client: Client, start: Any) -> None:
    """Lines are counted from 0 up; what is no such number is refused at once."""
    with pytest.raises(SettingsError, match=f"start must be the number of a line, from 0 up, not {start!r}"):
        client.follow(start=start)


# -- settings


def test_keepalive_can_be_changed_on_the_live_connection(client: Client) -> None:
    """A new keepalive is in force at once, as the kernel gives it back, and observers are told."""
    seen: queue.Queue[KeepAlive] = queue.Queue()
    client.observe(lambda change: seen.put(change.new), "keepalive")
    assert client.keepalive_in_force == KeepAlive(5, 3, 3)
    assert client.set_keepalive("30/5/2") == KeepAlive(30, 5, 2)
    client.keepalive = KeepAlive(7, 2, 2)
    assert client.keepalive_in_force == KeepAlive(7, 2, 2)
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [KeepAlive(30, 5, 2), KeepAlive(7, 2, 2)]
    with pytest.raises(SettingsError):
        client.set_keepalive("0/0/0")
    assert client.keepalive == KeepAlive(7, 2, 2)
    client.reconnect_now()
    until(client, lambda: client.status.connection == 2)
    assert client.keepalive_in_force == KeepAlive(7, 2, 2)


def test_retry_can_be_changed(client: Client) -> None:
    """A new retry counts from the next failure on, and observers are told."""
    seen: queue.Queue[Retry] = queue.Queue()
    client.observe(lambda change: seen.put(change.new), "retry")
    client.retry = 7
    assert seen.get(timeout=PATIENCE) == client.retry == Retry(delay=7.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ({"encoding": "rot13"}, "'rot13' is no encoding of text"),
        ({"encoding": "ascii", "heartbeat": "ping é"}, "'é' cannot be sent as ascii"),
        ({"eol": "none", "heartbeat": ""}, "a heartbeat of no bytes sends nothing: give a line, or an eol"),
        ({"heartbeat": 5}, "a heartbeat's line must be text or bytes, not 5"),
        ({"silence": 0}, "silence must be a number of seconds from 0.01 to 86400, not 0"),
        ({"silence": "10"}, "silence must be a number of seconds from 0.01 to 86400, not '10'"),
        ({"eol": "crcrlf"}, "unknown line end 'crcrlf'"),
        ({"framing": "blocks"}, "unknown framing 'blocks'"),
        ({"framing": 42}, "a framing needs a method feed"),
        ({"tls": "yes"}, "tls must be True, False or a TLS"),
        ({"tls": TLS(cafile="/nowhere.pem")}, "CA file /nowhere.pem does not exist"),
        ({"keepalive": "5/3"}, "keepalive '5/3' is not of the form"),
        ({"retry": -1}, "retry delay must be a number of seconds"),
        ({"replies": {"(": "x"}}, "a reply is a regular expression"),
        ({"replies": {"x": "a\nb"}}, "a reply is one line, without a line break"),
        ({"replies": {"(x)": r"a\r\nQUIT \1"}}, "a reply is one line, without a line break"),
        ({"replies": {"(?P<x>x)": r"a\012QUIT \g<x>"}}, "a reply is one line, without a line break"),
        ({"replies": {"x": r"\1"}}, "does not fit"),
        ({"replies": {"(?x)x # y": r"\1"}}, "does not fit"),
        (
            {"replies": {5: "x"}},
            "a reply is a regular expression and the line that answers it, not 5 and 'x'",
        ),
        (
            {"replies": {"x": 5}},
            "a reply is a regular expression and the line that answers it, not 'x' and 5",
        ),
        ({"replies": {"a{99999999999}": "x"}}, "a reply is a regular expression"),
        ({"replies": {"(" * 600 + ")" * 600: "x"}}, "a reply is a regular expression"),
        ({"replies": "x=y"}, "replies are a mapping of regular expression to line"),
        ({"name": "two\nlines"}, "a name is text of one line"),
        ({"name": ""}, "a name is text of one line"),
        ({"name": 3}, "a name is text of one line"),
        ({"on_connect": 42}, "on_connect must be a script .* or a function"),
        ({"on_connect": "< ("}, "on-connect script, line 1"),
        ({"transcript": "big"}, "transcript must be a Transcript or how many lines to keep"),
        ({"transcript": 0}, "a transcript's lines must be a whole number from 1 up"),
        ({"record": 5}, "record must be the path of a file, not 5"),
        ({"record": ""}, "record must be the path of a file, not ''"),
        ({"record": "a\0b"}, "record must be the path of a file, not 'a"),
        ({"secrets": 5}, r"secrets are several, such as \[Secret\(…\)\], not int"),
        ({"secrets": Secret("x")}, r"secrets are several, such as \[Secret\(…\)\], not Secret"),
        ({"secrets": ["x"]}, r"secrets are made with Secret\(…\), not str"),
        ({"encoding": "undefined", "secrets": [Secret("x")]}, "'undefined' is no encoding of text"),
        ({"encoding": "a\0b"}, "unknown encoding 'a"),
        ({"queue_limit": 0}, "queue_limit must be a whole number of bytes"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(options: dict[str, Any], says: str) -> None:
    """What another try could not mend is refused by the constructor, in one clear line."""
    with pytest.raises(SettingsError, match=says) as raised:
        Client("127.0.0.1:1", **options)
    assert "\n" not in str(raised.value)


def test_a_client_that_never_starts_changes_nothing(server: LineServer) -> None:
    """The transcript that it shares with one that runs stays in the encoding of that."""
    with Client(server.address, encoding="shift_jis") as client:
        client.send("テスト", expect="テスト")
        Client(server.address, transcript=client.transcript)
        assert client.transcript[-1].text == "テスト"


@pytest.mark.parametrize("secrets", [5, Secret("x")])
def test_secrets_that_are_none_send_nothing(client: Client, secrets: Any) -> None:
    """Where it cannot be told what to hide, nothing leaves."""
    with pytest.raises(SettingsError, match="secrets are several"):
        client.send("x", secrets=secrets)
    assert client.transcript[-1].direction == "*"


@pytest.mark.parametrize(
    "options",
    [
        {"keepalive": "5/3"},
        {"replies": {"(hunter2": "x"}},
        {"replies": {"x": r"hunter2 \1"}},
        {"heartbeat": "hunter2\ud800"},
        {"on_connect": "< (hunter2"},
        {"record": "/nowhere/record.jsonl"},
        {"secrets": [Secret("hunter2"), "hunter3"]},
    ],
)
def test_a_client_that_is_refused_changes_nothing(options: dict[str, Any]) -> None:
    """The transcript that was given along stays as it was, and the refusal shows no secret all the same."""
    transcript = Transcript()
    wanted: dict[str, Any] = {"secrets": [Secret("hunter2")], "encoding": "shift_jis", **options}
    with pytest.raises(SettingsError) as raised:
        Client("127.0.0.1:1", transcript=transcript, **wanted)
    assert "hunter" not in str(raised.value)
    assert (transcript.encoding, transcript.hides) == (None, False)


def test_lines_can_be_pickled(client: Client) -> None:
    """What was received and sent can be given to another process, as it is at that moment."""
    client.send("x", expect="x")
    lines = list(client.transcript)
    again = pickle.loads(pickle.dumps(lines))
    assert again == lines
    sent = [line.delivery for line in again if line.direction == ">"]
    assert [(one.data, one.number, one.status in ("sent", "acknowledged")) for one in sent] == [
        (b"x", 1, True)
    ]
    assert not sent[0].wait("unconfirmed", 0)


@pytest.mark.parametrize("encoding", [None, "iso-8859-1", "cp1251", "shift_jis", "utf-16-le"])
def test_a_delivery_shows_its_line_as_it_was_written(server: LineServer, encoding: str | None) -> None:
    """In whatever encoding it was sent."""
    text = "表" if encoding == "shift_jis" else "я" if encoding == "cp1251" else "é"
    with Client(server.address, encoding=encoding) as client:
        assert re.fullmatch(rf"<Delivery '{text}' \w+>", repr(client.send(text)))


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_not_copied(client: Client, copying: Callable[[object], object]) -> None:
    """Two that share a connection would end each other's; what to do instead is said."""
    with pytest.raises(TypeError, match=r"a Client is a live connection, .*make another one"):
        copying(client)


def test_a_repr_is_one_line(client: Client, server: LineServer) -> None:
    """The repr tells name, address, state and since when, or why not."""
    where = re.escape(server.address)
    assert re.fullmatch(rf"<Client 127\.0\.0\.1 tcp://{where}: connected since \d\d:\d\d:\d\d>", repr(client))
    server.refuse()
    server.peer(0).reset()
    until(client, lambda: client.state == "waiting" and "refused" in client.reason)
    assert repr(client).endswith(f"(refused by {server.address})>")
    client.stop()
    assert re.search(r": stopped since \d\d:\d\d:\d\d>$", repr(client))


# -- replies, heartbeat, framing


def test_a_protocol_s_ping_is_answered() -> None:
    """IRC's PING is answered with what it carried; the user's own rules come first, and an empty
    mapping ends all.
    """
    for replies, answer in ((None, b"PONG :42"), ({"^PING :(.*)": r"MINE \1"}, b"MINE 42")):
        with LineServer(mute) as server, Client(f"irc://{server.address}", replies=replies) as client:
            server.peer(0).send(b"PING :42\r\n")
            server.peer(0).wait_line(answer)
            assert f"> {answer.decode()}\n" in client.transcript.text()
    with LineServer(mute) as server, Client(f"irc://{server.address}", replies={}) as client:
        server.peer(0).send(b"PING :42\r\n")
        client.expect("PING")
        client.send("end")
        server.peer(0).wait_line(b"end")
        assert server.peer(0).lines == [b"end"]


def test_a_reply_can_be_added(server: LineServer) -> None:
    """A reply that is added later works from then on."""
    with LineServer(mute) as server, Client(server.address) as client:
        client.add_reply("^are you (.*)?", r"yes, \1")
        server.peer(0).send(b"are you there\r\n")
        server.peer(0).wait_line(b"yes, there")


@pytest.mark.parametrize(
    "pattern",
    [
        re.compile("^gr(ü)n (.*)", re.IGNORECASE),
        re.compile("^gr (ü) n\\ (.*)  # spaced out", re.IGNORECASE | re.VERBOSE),
        re.compile(rb"^gr(\xfc)n (.*)", re.IGNORECASE),
    ],
)
def test_a_reply_s_expression_may_be_compiled(pattern: re.Pattern[Any]) -> None:
    """It is applied with the flags that it was compiled with, in the connection's encoding."""
    options: dict[str, Any] = {"encoding": "iso-8859-1", "replies": {pattern: r"sch\1n \2"}}
    with LineServer(mute) as server, Client(server.address, **options):
        server.peer(0).send(b"GR\xfcN ist es\r\n")
        server.peer(0).wait_line(b"sch\xfcn ist es")


def test_a_heartbeat_is_sent() -> None:
    """The heartbeat's line goes out again and again."""
    with LineServer(echo) as server, Client(server.address, heartbeat=Heartbeat("NOOP", 0.02)) as client:
        until(client, lambda: received(client).count("NOOP") >= 3)


def beats(peer: Peer, line: bytes) -> int:
    return peer.lines.count(line)


def test_a_heartbeat_can_be_changed_while_connected(client: Client, server: LineServer) -> None:
    """A line, a Heartbeat and None are taken at once on the live connection, and observers are told."""
    seen: queue.Queue[Any] = queue.Queue()
    client.observe(lambda change: seen.put((change.old, change.new)), "heartbeat")
    peer = server.peer(0)
    assert client.heartbeat is None
    client.heartbeat = Heartbeat("one", every=0.02)
    until(client, lambda: received(client).count("one") >= 2)
    client.heartbeat = None
    client.send("behind", expect="^behind")
    ones = beats(peer, b"one")
    client.heartbeat = Heartbeat(b"two\r\n", every=0.02)
    until(client, lambda: received(client).count("two") >= 5)
    assert beats(peer, b"one") == ones
    client.heartbeat = "three"
    assert client.heartbeat == Heartbeat("three")
    assert [seen.get(timeout=PATIENCE) for _ in range(4)] == [
        (None, Heartbeat("one", every=0.02)),
        (Heartbeat("one", every=0.02), None),
        (None, Heartbeat(b"two\r\n", every=0.02)),
        (Heartbeat(b"two\r\n", every=0.02), Heartbeat("three")),
    ]
    assert (client.state, client.status.connection) == ("connected", 1)


def test_a_heartbeat_that_is_refused_changes_nothing(client: Client) -> None:
    """What could not be given when it was made cannot be set later."""
    client.heartbeat = Heartbeat("NOOP", every=50)
    for bad in (5, "", "two\r\nlines"):
        with pytest.raises(SettingsError):
            Client(client.address, eol="none").heartbeat = bad
        if bad:
            with pytest.raises(SettingsError):
                client.heartbeat = bad
    assert client.heartbeat == Heartbeat("NOOP", every=50)


def test_it_is_known_whether_a_heartbeat_was_answered(client: Client) -> None:
    """So a user can see whether a program that hangs would be found."""
    assert not client.heartbeat_answered
    client.heartbeat = Heartbeat("NOOP", every=0.02)
    until(client, lambda: received(client).count("NOOP") >= 1)
    assert client.heartbeat_answered
    client.heartbeat = "other"
    assert not client.heartbeat_answered


def test_a_feed_that_falls_silent_is_a_loss() -> None:
    """A feed that only sends is connected to anew when it sends nothing for that long, and it is asked
    nothing.
    """

    async def feed(peer: Peer) -> None:
        peer.send(b"MSG,3\r\n")
        await peer.until_closed()

    with LineServer(feed) as server, Client(server.address, silence=0.2, retry=QUICK) as client:
        until(client, lambda: client.status.connection >= 3)
        assert client.status.loss == (
            f"{server.address} has sent nothing for 0.2 s: silence=0.2 makes that a loss "
            "(nothing is sent to ask)"
        )
        client.silence = None
        assert client.silence is None
        client.send("end", queue=True)
        server.peer(client.status.connection - 1).wait_line(b"end")
        assert [line for peer in server.peers for line in peer.lines] == [b"end"]
        assert any("silence=0.2 makes that a loss" in note for note in notes(client))


def test_silence_counts_on_a_unix_socket_and_without_keepalive(tmp_path: Path) -> None:
    """Where the kernel has nothing to tell, and where nobody looks for a dead peer, as well."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path := str(tmp_path / "socket"))
        listener.listen()
        with Client(f"unix://{path}", silence=0.1, retry=QUICK) as client:
            until(client, lambda: client.status.connection >= 2)
            assert "silence=0.1" in client.status.loss
    with LineServer(mute) as server, Client(server.address, keepalive="off", retry=QUICK) as client:
        seen: queue.Queue[Any] = queue.Queue()
        client.observe(lambda change: seen.put((change.old, change.new)), "silence")
        client.silence = 0.1
        assert seen.get(timeout=PATIENCE) == (None, 0.1)
        until(client, lambda: client.status.connection >= 2)
        assert "silence=0.1" in client.status.loss


def test_announced_bytes_are_one_line() -> None:
    """A framing cuts the same on a real socket, however the bytes come."""
    answers = {b"GET": b"$12\r\nfirst\r\nlast\n\r\n"}
    with LineServer(answering(answers)) as server, Client(f"redis://{server.address}") as client:
        match = client.send("GET x", expect=rb"^\$")
        assert match.line.data == b"$12\r\nfirst\r\nlast\n"


# -- encryption


def secure(certificates: Certificates, **options: Any) -> TLS:
    return TLS(cafile=certificates.cafile, **options)


def test_tls_with_nothing_to_verify_is_refused_before_anything_starts() -> None:
    """A Unix socket has no host whose certificate it could be: a name is given, or nothing is verified."""
    with pytest.raises(SettingsError, match=r"^TLS with /nowhere needs a host name to verify: give .*server"):
        Client("unix:///nowhere", tls=True)
    for tls in TLS(server_name="example.org"), TLS(verify=False):
        assert Client("unix:///nowhere", tls=tls).tls == tls


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls_is_verified_by_default(certificates: Certificates, version: str) -> None:
    """With TLS the certificate is verified; status says how the connection is encrypted."""
    context = certificates.good().server_context(tls12=version == "TLSv1.2")
    with LineServer(echo, tls=context) as server, Client(server.address, tls=secure(certificates)) as client:
        assert client.state == "connected", client.reason
        assert client.status.tls is not None
        assert (client.status.tls.version, client.status.tls.verified) == (version, True)
        delivery = client.send("x" * 50_000)
        assert len(client.expect("^x").text) == 50_000
        assert delivery.wait("acknowledged")


def test_an_unknown_authority_stops_a_new_client(certificates: Certificates) -> None:
    """Without its authority the certificate does not verify, and that ends it."""
    context = certificates.good().server_context()
    with LineServer(echo, tls=context) as server, Client(server.address, tls=True) as client:
        assert client.state == "stopped"
        assert "does not verify" in client.reason


def test_verification_can_be_switched_off_loudly(certificates: Certificates) -> None:
    """Unverified TLS works, and the log and the status say so."""
    context = certificates.wrong_name().server_context()
    with LineServer(echo, tls=context) as server, Client(server.address, tls=TLS(verify=False)) as client:
        client.send("x", expect="x")
        assert any("CERTIFICATE NOT VERIFIED" in note for note in notes(client))


def test_another_name_can_be_verified(certificates: Certificates) -> None:
    """With server_name the certificate is verified for that name instead of the address's host."""
    context = certificates.wrong_name().server_context()
    with LineServer(echo, tls=context) as server:
        tls = secure(certificates, server_name="imap.example.org")
        with Client(server.address, tls=tls) as client:
            client.send("x", expect="x")


def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    """A server that wants a client certificate gets it; without one there is no connection."""
    context = certificates.good().server_context(client_ca=certificates.cafile)
    pair = certificates.client()
    with LineServer(echo, tls=context) as server:
        with Client(server.address, tls=secure(certificates, cert=pair.pem, key=pair.key)) as client:
            client.send("x", expect="x")
        with Client(server.address, tls=secure(certificates), retry=60) as client:
            # With TLS 1.3 it is connected before the server has said no (asyncio's says it by closing).
            until(client, lambda: client.state == "waiting")


def test_a_reconnection_resumes_tls_and_is_still_verified(certificates: Certificates) -> None:
    """A reconnection takes up the TLS session, where that does not leak, and counts as verified."""
    context = certificates.good().server_context()
    with (
        LineServer(echo, tls=context) as server,
        Client(server.address, tls=secure(certificates), retry=QUICK) as client,
    ):
        client.send("x", expect="x")
        server.peer(0).close()
        until(client, lambda: client.status.connection == 2)
        assert client.status.tls is not None
        assert (client.status.tls.resumed, client.status.tls.verified) == (RESUMES, True)
        client.send("y", expect="y")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (Peer.close, r"^closed by \S+$"),
        (Peer.drop, r"^closed by \S+ without close_notify: the end may be cut off$"),
        (Peer.reset, r"^reset by \S+$"),
    ],
)
def test_the_end_of_tls_says_how(
    certificates: Certificates, end: Callable[[Peer], None], reason: str
) -> None:
    """A polite end, a cut and a reset of a TLS connection are told apart."""
    with (
        LineServer(echo, tls=certificates.good().server_context()) as server,
        Client(server.address, tls=secure(certificates), retry=60) as client,
    ):
        client.send("x", expect="x")
        end(server.peer(0))
        until(client, lambda: client.state == "waiting")
        assert re.match(reason, client.reason), client.reason


def imap(context: ssl.SSLContext, behind: bytes = b"") -> Callable[[Peer], Any]:
    """Return the behaviour of an IMAP server that offers STARTTLS, and says `behind` with its consent."""

    async def behave(peer: Peer) -> None:
        peer.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n")
        tag = (await peer.readline()).split()[0]
        peer.send(tag + b" OK go ahead\r\n" + behind)
        await peer.start_tls(context)
        await echo(peer)

    return behave


def test_starttls(certificates: Certificates) -> None:
    """STARTTLS leads to verified TLS before the user can send."""
    with LineServer(imap(certificates.good().server_context())) as server:
        tls = secure(certificates, starttls=True)
        with Client(f"imap://{server.address}", tls=tls) as client:
            assert client.state == "connected", client.reason
            assert client.status.tls is not None
            assert client.send("x", expect="^x$").line.data == b"x"


def test_starttls_injection_is_refused(certificates: Certificates) -> None:
    """Plain text behind the consent to STARTTLS is an attack: the attempt fails, and says so."""
    with LineServer(imap(certificates.good().server_context(), b"* OK injected\r\n")) as server:
        tls = secure(certificates, starttls=True)
        with Client(f"imap://{server.address}", tls=tls, retry=60) as client:
            assert client.state == "waiting"
            assert "injected" in client.reason


# -- odd servers


def test_a_greeting_is_found_by_expect() -> None:
    """What the server says first is found, though it may have come before the call."""
    with LineServer(greet(b"* OK hello\r\n")) as server, Client(server.address) as client:
        assert client.expect(r"^\* OK").text == "* OK hello"


def test_the_last_words_before_a_close_are_read() -> None:
    """What a server says before it closes is received, also when a line of ours meets its reset."""

    async def dismiss(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"* BYE too many\r\n")

    with LineServer(dismiss) as server, Client(server.address, retry=60) as client:
        for _ in range(100):
            with contextlib.suppress(NotConnected):
                client.send("x" * 1000)
        until(client, lambda: client.state == "waiting")
        assert "* BYE too many" in received(client)
        assert re.match("(closed|reset) by", client.reason)


def test_a_flood_with_nobody_reading_does_not_stop_a_round_trip() -> None:
    """While lines pour in, a question is answered all the same."""

    async def pour(peer: Peer) -> None:
        async def ask() -> None:
            while line := await peer.readline():
                peer.send(b"answer to " + line)

        asking = asyncio.create_task(ask())
        try:
            while not asking.done():
                peer.send(LINE_80 * 1000)
                await peer.drain()
        finally:
            asking.cancel()

    with LineServer(pour) as server, Client(server.address) as client:
        for number in range(5):
            client.send(f"{number}", expect=f"^answer to {number}$")


def test_errors_are_the_caller_s_or_the_peer_s(client: Client) -> None:
    """The caller's mistakes are CallerErrors, and also what Python users catch."""
    with pytest.raises(CallerError):
        client.send("a\nb")
    client.stop()
    with pytest.raises(ConnectionError):
        client.send("x")
