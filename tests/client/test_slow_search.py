"""Prove that an expression which takes for ever takes its own time only, and finds what `re` finds."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator

import pytest

from ipyreconnect import Client, ConnectionLost, ExpectTimeout, NotConnected
from ipyreconnect.client.session import Session
from tests.servers.line_server import LineServer, Peer
from tests.watching import PATIENCE, until

FOR_EVER = r"^(a+)+$"
"""Takes for ever over the line that the server sends: each letter doubles it."""
HARD = b"a" * 60 + b"!"
SLOW = r"(\w+ ?)+: (?P<value>\d+)"
"""May take for ever, and does not over the lines here."""


async def answer(peer: Peer) -> None:
    """Answer what is asked for: a line over which an expression hangs, another one, the end."""
    while line := (await peer.readline()).strip():
        if line == b"bye":
            return
        peer.send(HARD + b"\r\n" if line == b"hard" else b"re " + line + b"\r\n")


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer(answer) as server:
        yield server


def test_a_wait_ends_with_its_time(server: LineServer) -> None:
    """The expression is still at work then, and is ended; the connection goes on, and so did another one."""
    with Client(server.address) as client, Client(server.address, name="other") as other:
        thread = threading.Thread(target=lambda: other.send("x", expect="^re x$"))
        thread.start()
        with pytest.raises(ExpectTimeout):
            client.send("hard", expect=FOR_EVER, timeout=0.3)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert client.send("y", expect="^re y$").text == "re y"


def test_a_coroutine_s_wait_ends_with_its_time(server: LineServer) -> None:
    """The loop's other tasks go on meanwhile."""

    async def ask() -> str:
        task = asyncio.ensure_future(client.asend("hard", expect=FOR_EVER, timeout=0.3))
        other = await client.aexpect("^a+!", timeout=PATIENCE)
        with pytest.raises(ExpectTimeout):
            await task
        return other.text

    with Client(server.address) as client:
        assert asyncio.run(ask()) == HARD.decode()


def test_a_loss_ends_it(server: LineServer) -> None:
    """Who waits is told at once."""
    with Client(server.address, retry=60) as client:
        client.send("hard")
        client.send("bye")
        with pytest.raises(ConnectionLost):
            client.expect(FOR_EVER, timeout=PATIENCE)
        until(client, lambda: client.state == "waiting")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda server, client: server.peer(0).close(), ConnectionLost),
        (lambda server, client: client.stop(), NotConnected),
    ],
    ids=["loss", "stop"],
)
def test_who_asks_too_late_is_told_so_and_nothing_is_searched(
    server: LineServer, end: Callable[[LineServer, Client], None], error: type[Exception]
) -> None:
    """Nobody waits for what the search would find, so none begins, which nobody would end."""
    with Client(server.address, retry=60) as client:
        client.send("hard")
        until(client, lambda: any(line.data == HARD for line in client.transcript))
        end(server, client)
        until(client, lambda: client.state in ("waiting", "stopped"))
        with pytest.raises(error):
            client.expect(FOR_EVER, timeout=PATIENCE)
        assert not any(thread.name == "ipyreconnect-search" for thread in threading.enumerate())


@pytest.mark.parametrize("as_bytes", [False, True])
def test_it_finds_what_re_finds(server: LineServer, as_bytes: bool) -> None:
    """The match is the same, group by group, whether the line is there already or comes later."""
    text = "re the long way round to it: 42 and more"
    pattern: str | bytes = SLOW.encode() if as_bytes else SLOW
    wanted = re.search(SLOW.encode(), text.encode()) if as_bytes else re.search(SLOW, text)
    assert wanted is not None
    with Client(server.address) as client:
        for match in (
            client.send(text.removeprefix("re "), expect=pattern),
            client.send("the long way round to it: 42 and more", expect=pattern),
        ):
            assert match.group(0) == wanted.group(0)
            assert match.groups() == wanted.groups()
            assert match.groupdict() == wanted.groupdict()
            assert match["value"] == wanted["value"]
            assert (match.span(), match.span("value")) == (wanted.span(), wanted.span("value"))
            assert (match.lastindex, match.lastgroup) == (wanted.lastindex, wanted.lastgroup)
            assert match.string == wanted.string
            assert match.line.text == text
        client.send("nothing of the kind, long as it is")
        with pytest.raises(ExpectTimeout):
            client.expect(pattern, timeout=0.2)
        client.send("and now, as it waits for a while: 7", expect=pattern)


def test_a_later_line_is_found(server: LineServer) -> None:
    """It goes on with the lines that come, in order, and with none from before."""
    with Client(server.address) as client:
        client.send("before everything else there was: 1", expect="^re before")
        for number in (2, 3):
            client.send(f"no number here, but a text {number}")
        client.send("but here there is one, at last: 4")
        assert client.expect(SLOW)["value"] == "4"


def test_a_function_s_wait_ends_with_its_time(server: LineServer) -> None:
    """The attempt has failed, and says why."""

    def login(session: Session) -> None:
        session.send("hard")
        session.expect(FOR_EVER, timeout=0.2)

    with Client(server.address, on_connect=login, retry=60) as client:
        until(client, lambda: client.state == "waiting")
        assert "takes too long over a line" in client.reason


def test_a_function_finds_what_re_finds(server: LineServer) -> None:
    """In its own row of lines."""
    found: list[str] = []

    def login(session: Session) -> None:
        found.append(session.send("one more time around the block: 12", expect=SLOW)["value"])
        found.append(session.send("x", expect="^re x").text)

    with Client(server.address, on_connect=login) as client:
        assert client.state == "connected", client.reason
        assert found == ["12", "re x"]


def test_what_no_needle_of_is_there_is_found_nowhere_at_once(server: LineServer) -> None:
    """Where a match must hold an @, a line without one needs no search at all."""
    with Client(server.address) as client:
        client.send("a" * 20_000)
        with pytest.raises(ExpectTimeout):
            client.expect(r"\w+@\w+", timeout=0.1)
        assert not any(thread.name == "ipyreconnect-search" for thread in threading.enumerate())


# -- reply rules and scripts


def replies_of(server: LineServer, *wanted: bytes) -> None:
    """Wait until the server was sent these lines, in this order, beside others."""
    for line in wanted:
        server.peer(0).wait_line(b"^" + re.escape(line) + b"$")
    sent = [line for line in server.peer(0).lines if line in wanted]
    assert sent == list(wanted)


def test_a_rule_that_may_be_slow_answers_in_order(server: LineServer) -> None:
    """Each line is answered once, by the first rule that is for it, and in the order of the lines."""
    rules = {SLOW: r"value \g<value>", "^re (short .*)": r"got \1", "^re PING": "PONG"}
    with Client(server.address, replies=rules) as client:
        for line in (
            "there was once a number here: 1",
            "short and sweet, this one is",
            "PING",
            "and again: 2",
        ):
            client.send(line)
        replies_of(server, b"value 1", b"got short and sweet, this one is", b"PONG", b"value 2")


def test_a_rule_that_takes_for_ever_is_switched_off(server: LineServer) -> None:
    """That is told, and the other rules go on, as does everybody else meanwhile."""
    with (
        Client(server.address, replies={FOR_EVER: "never", "^a+!": "seen", "^re PING": "PONG"}) as client,
        Client(server.address, name="other") as other,
    ):
        client.send("hard")
        other.send("x", expect="^re x$")
        client.send("PING")
        replies_of(server, b"seen", b"PONG")
        notes = [line.text for line in client.transcript if line.direction == "*"]
        assert f"the reply rule {FOR_EVER!r} took more than 0.1 s for a line: it is switched off" in notes
        client.send("hard")
        client.send("PING again")
        client.expect("^re PING again")
        assert client.state == "connected"


def test_rules_end_with_their_connection(server: LineServer) -> None:
    """What is still to be judged of a connection that is lost is answered on no other."""
    rules = {SLOW: r"value \g<value>"}
    with Client(server.address, replies=rules, retry=0.02) as client:
        client.send("there was once a number here: 1")
        client.reconnect_now()
        until(client, lambda: client.status.connection == 2)
        client.send("there was once a number here: 2")
        server.peer(1).wait_line(b"^value 2$")
        assert b"value 1" not in server.peer(1).lines


def test_a_step_that_may_be_slow_is_met(server: LineServer) -> None:
    """The script goes on with the line that meets it, and with those behind it."""
    script = f"nothing in this one, however long it is\nthe number here is: 5\n< {SLOW}\nthanks\n< ^re thanks"
    with Client(server.address, on_connect=script) as client:
        assert client.state == "connected", client.reason
        replies_of(server, b"the number here is: 5", b"thanks")


def test_a_step_that_takes_for_ever_fails_the_attempt(server: LineServer) -> None:
    """With words that say what is to be done."""
    with Client(server.address, on_connect=f"hard\n< {FOR_EVER}", retry=60) as client:
        until(client, lambda: client.state == "waiting")
        assert "waiting for '^(a+)+$': the expression took more than 0.1 s for a line" in client.reason
