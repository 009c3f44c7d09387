"""Prove on-connect functions and scripts on real sockets: they run before each connection counts
as connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipyreconnect import (
    TLS,
    Client,
    ConnectionLost,
    ExpectTimeout,
    Match,
    NotConnected,
    Overrun,
    Retry,
    SettingsError,
    Transcript,
)
from ipyreconnect.client.session import Session
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, Peer, answering, echo, mute, say
from tests.watching import PATIENCE, until

QUICK = Retry(delay=0.02, jitter=0)

LOGIN = {rb"^login (\S+)": rb"ok \1", rb"^bye": b"", rb"^(.*)": rb"echo \1"}


@pytest.fixture
def server() -> Iterator[LineServer]:
    """A server that greets, takes a login, and echoes."""
    with LineServer(answering(LOGIN, b"* hello\r\n")) as server:
        yield server


def login(session: Session) -> None:
    session.expect("^\\* hello")
    session.send("login me")
    assert session.expect(r"^ok (\S+)")[1] == "me"


# -- functions


def test_a_function_runs_before_the_client_is_connected(server: LineServer) -> None:
    """While the function runs the client is connecting, in the phase script; it is connected
    when it returns.
    """
    seen: queue.Queue[tuple[str, str, str]] = queue.Queue()

    def observe(session: Session) -> None:
        login(session)
        seen.put((client.state, client.phase, threading.current_thread().name))
        with pytest.raises(NotConnected, match=r"yet: connecting \(script\), try 1"):
            client.send("too early")

    client = Client(server.address, on_connect=observe)
    with client:
        assert client.state == "connected"
        assert seen.get(timeout=PATIENCE) == ("connecting", "script", "ipyreconnect-script-127.0.0.1")


def test_a_line_may_be_sent_with_what_it_expects(server: LineServer) -> None:
    """As with Client.send, an earlier line is no answer; what was passed over is read."""
    matches: queue.Queue[Match] = queue.Queue()

    def ask(session: Session) -> None:
        until(client, lambda: client.transcript.end > 0)  # the greeting
        matches.put(session.send("1 noop", expect="hello|noop"))
        matches.put(session.send("2 noop", expect=b"noop"))

    client = Client(server.address, on_connect=ask)
    with client:
        assert [matches.get_nowait().text for _ in range(2)] == ["echo 1 noop", "echo 2 noop"]


def test_a_function_runs_at_each_connection(server: LineServer) -> None:
    """After a loss the function runs again, and only then the connection is back."""
    with Client(server.address, on_connect=login, retry=QUICK) as client:
        client.send("bye")
        until(client, lambda: client.status.connection == 2)
        client.send("x", expect="^echo x")
        assert server.peer(1).lines == [b"login me", b"x"]


def test_queued_lines_wait_for_the_function(server: LineServer) -> None:
    """A line that was queued leaves when the function has returned."""
    go = threading.Event()

    def wait(session: Session) -> None:
        login(session)
        assert go.wait(PATIENCE)

    client = Client(server.address, on_connect=wait).connect(wait=0)
    delivery = client.send("queued", queue=True)
    server.peer(0).wait_line(b"login")
    assert delivery.status == "queued"
    go.set()
    client.expect("^echo queued")
    client.stop()


def test_the_function_s_dialogue_is_its_own(server: LineServer) -> None:
    """What the function has read is not found by expect, nor by follow; what comes behind it is."""
    with Client(server.address, on_connect=login) as client:
        lines = client.follow()
        server.peer(0).send(b"ok, news\r\n")
        assert client.expect("^ok").text == "ok, news"
        assert next(lines).text == "ok, news"


def test_what_the_function_has_left_is_for_others() -> None:
    """Lines that the function has not read are found by the first expect after it."""

    def greet(session: Session) -> None:
        session.expect("^1")

    with LineServer(say(b"1\r\n2\r\n3\r\n")) as server, Client(server.address, on_connect=greet) as client:
        assert client.expect(r"^\d").text == "2"


def throw(error: BaseException) -> None:
    raise error


class Untold(Exception):
    """An error whose text is an error."""

    def __str__(self) -> str:
        raise ValueError


def test_a_time_out_quotes_the_beginning_of_a_long_line() -> None:
    """The reason stays one line that can be read, however long the server's lines are."""

    def wait_in_vain(session: Session) -> None:
        until(client, lambda: client.transcript.end > 0)
        session.expect("never", timeout=0.01)

    with LineServer(say(b"x" * 60_000 + b"\r\n")) as server:
        client = Client(server.address, on_connect=wait_in_vain, retry=60)
        client.connect().stop()
        assert client.reason.endswith(f"the last line was '{'x' * 80}'")


RAISED: dict[str, tuple[Callable[[Session], object], str]] = {
    "an error of its own": (lambda session: dict[str, int]()["x"], r"on-connect function: KeyError: 'x'"),
    "an exit": (lambda session: exit(3), r"on-connect function: SystemExit: 3"),
    "an interrupt": (lambda session: throw(KeyboardInterrupt()), r"on-connect function: KeyboardInterrupt"),
    "what a server wrote": (
        lambda session: throw(ValueError("two\nlines \x1b[2J")),
        r"on-connect function: ValueError: two lines \\x1b\[2J",
    ),
    "what cannot be told": (lambda session: throw(Untold()), r"on-connect function: Untold"),
    "a time-out": (
        lambda session: session.expect("never", timeout=0.02),
        r"no line from \S+ matched 'never' within 0.02 s; the last line was '\* hello'",
    ),
    "a bad pattern": (lambda session: session.expect("("), r"not a regular expression: '\('.*"),
    "a time that is none": (
        lambda session: session.expect("x", timeout=-1),
        r"a timeout is a number of seconds from 0 up, not -1",
    ),
    "a size that is none": (
        lambda session: session.readexactly(-1),
        r"readexactly takes a number of bytes from 0 up, not -1",
    ),
    "a line break": (lambda session: session.send("a\nb"), r"a line break in a line would send more .*"),
    "too few bytes": (
        lambda session: session.readexactly(1000, timeout=0.02),
        r"\S+ did not send 1000 more bytes within 0.02 s",
    ),
}


@pytest.mark.parametrize("why", RAISED)
def test_what_the_function_raises_is_why_the_attempt_failed(server: LineServer, why: str) -> None:
    """Whatever the function raises, the attempt has failed, and that is the reason."""
    function, reason = RAISED[why]

    def hello(session: Session) -> None:
        if why != "too few bytes":
            while not session._connection.transcript.end:
                pass
        function(session)

    with Client(server.address, on_connect=hello, retry=60) as client:
        assert client.state == "waiting"
        assert re.fullmatch(reason, client.reason), client.reason


def test_a_loss_ends_the_function(server: LineServer) -> None:
    """When the connection is lost the function is told so by whatever it waits for, and it is tried again."""
    errors: queue.Queue[ConnectionLost] = queue.Queue()

    def dismissed(session: Session) -> None:
        try:
            session.send("bye")
            session.expect("never")
        except ConnectionLost as error:
            errors.put(error)
            raise

    with Client(server.address, on_connect=dismissed, retry=60) as client:
        assert str(errors.get(timeout=PATIENCE)) == f"closed by {server.address}"
        until(client, lambda: client.state == "waiting")
        assert client.reason == f"closed by {server.address}"


def test_a_session_ends_with_its_connection(server: LineServer) -> None:
    """A session that somebody keeps is of no use when the function has returned."""
    sessions: list[Session] = []
    with Client(server.address, on_connect=sessions.append, retry=QUICK) as client:
        session = sessions[0]
        for call in (lambda: session.send("x"), lambda: session.expect("x"), lambda: session.readexactly(1)):
            with pytest.raises(ConnectionLost):
                call()
        client.send("bye")
        until(client, lambda: client.status.connection == 2)
        with pytest.raises(ConnectionLost):
            session.send("x")
        assert len(sessions) == 2


def test_a_session_that_is_over_says_why(server: LineServer) -> None:
    """Not why some other connection was lost, however often it has been lost since."""
    sessions: list[Session] = []
    with Client(server.address, on_connect=sessions.append, retry=QUICK) as client:
        client.reconnect_now()
        until(client, lambda: client.status.connection == 2)
        session = sessions[0]
        for call in (lambda: session.send("x"), lambda: session.expect("x"), lambda: session.readexactly(1)):
            with pytest.raises(
                ConnectionLost, match=r"^the session with \S+ is over: its function has ended$"
            ):
                call()


def test_a_function_may_stop_its_client(server: LineServer) -> None:
    """A function that stops the client, and goes on, ends like any other."""
    ended = threading.Event()

    def give_up(session: Session) -> None:
        client.stop()
        with pytest.raises(ConnectionLost, match=r"^stopped$"):
            session.send("x")
        ended.set()

    client = Client(server.address, on_connect=give_up)
    client.connect()
    assert ended.wait(PATIENCE)
    assert client.state == "stopped"


# -- reading


def test_reading_goes_on_where_it_was() -> None:
    """Bytes and lines are read in order: bytes behind a line, a line behind bytes, bytes of half a line."""
    got: queue.Queue[bytes] = queue.Queue()

    def read(session: Session) -> None:
        got.put(session.expect("SIZE").line.data)
        got.put(session.readexactly(5))
        got.put(session.readexactly(4))
        got.put(session.expect("half$").string.encode())
        session.send("more")
        got.put(session.readexactly(3))
        got.put(session.readexactly(4))
        got.put(session.readexactly(0))

    async def talk(peer: Peer) -> None:
        for piece in (b"noise\r\nSI", b"ZE 9\r\n\x00\r\n", b"\xff\nfour", b"the other half\r\nabc"):
            peer.send(piece)
            await peer.drain()
            await asyncio.sleep(0)
        await peer.readline()
        peer.send(b"d\r\ne")
        await peer.until_closed()

    with LineServer(talk) as server, Client(server.address, on_connect=read) as client:
        assert client.state == "connected", client.reason
        parts = [got.get(timeout=PATIENCE) for _ in range(7)]
        assert parts == [b"SIZE 9", b"\x00\r\n\xff\n", b"four", b"the other half", b"abc", b"d\r\ne", b""]


def test_a_time_out_reads_nothing() -> None:
    """Bytes that did not all come in time are still there for the next call."""
    got: queue.Queue[bytes] = queue.Queue()

    def read(session: Session) -> None:
        with pytest.raises(ExpectTimeout):
            session.readexactly(100, timeout=0.02)
        got.put(session.readexactly(5))

    with LineServer(say(b"1\r\n23rest\r\n")) as server, Client(server.address, on_connect=read) as client:
        assert got.get(timeout=PATIENCE) == b"1\r\n23"
        assert client.state == "connected", client.reason


def test_many_bytes_are_read_quickly() -> None:
    """Megabytes are read in the time that they take to come, not in the square of it."""
    line = b"x" * 78 + b"\r\n"
    count = 100_000
    took: queue.Queue[tuple[int, float]] = queue.Queue()

    def read(session: Session) -> None:
        start = time.monotonic()
        took.put((len(session.readexactly(len(line) * count)), time.monotonic() - start))

    with LineServer(say(line * count)) as server, Client(server.address, on_connect=read) as client:
        size, seconds = took.get(timeout=PATIENCE)
        assert client.state == "connected", client.reason
    assert size == len(line) * count
    assert seconds < 3


def test_what_is_forgotten_before_it_is_read_is_told() -> None:
    """A function that reads more than the transcript keeps is told so, and gets no bytes with a gap."""
    server_says = say(b"x" * 98 + b"\r\n" + (b"y" * 98 + b"\r\n") * 3000)

    def read(session: Session) -> None:
        with pytest.raises(Overrun, match="let the transcript keep more"):
            session.readexactly(200_000)
        raise ValueError("told")

    with LineServer(server_says) as server:
        client = Client(server.address, on_connect=read, transcript=Transcript(bytes=65536), retry=60)
        with client:
            until(client, lambda: client.state == "waiting")
            assert client.reason == "on-connect function: ValueError: told"


@pytest.mark.parametrize("scheme", ["imap", "imaps"])
def test_framing_begins_where_the_function_ends(tmp_path: Path, scheme: str) -> None:
    """The function reads plain lines, in TLS too; what it has left, and what follows, is framed."""
    certificates = Certificates(tmp_path)

    async def talk(peer: Peer) -> None:
        peer.send(b"* hello\r\n")
        await peer.readline()
        peer.send(b"ok me\r\n* note\r\n* whole {5}\r\n\r\n\r\n!\r\n* {7}\r\nlit")
        await peer.readline()
        peer.send(b"eral)\r\nplain\r\n")
        await peer.until_closed()

    secure = scheme == "imaps"
    context = certificates.good().server_context() if secure else None
    tls = TLS(cafile=certificates.cafile) if secure else None
    with (
        LineServer(talk, tls=context) as server,
        Client(f"{scheme}://{server.address}", tls=tls, on_connect=login) as client,
    ):
        assert client.state == "connected", client.reason
        assert client.expect("note").line.data == b"* note"
        assert client.expect(r"(?s)whole.*!", whole=True).line.data == b"* whole {5}\r\n\r\n\r\n!"
        client.send("go")
        assert client.expect("literal", whole=True).line.data == b"* {7}\r\nliteral)"
        assert client.expect("plain").line.data == b"plain"


# -- scripts


def test_a_script_runs_at_each_connection(server: LineServer) -> None:
    """A script's lines are sent and awaited after every connection, before the user's."""
    script = "< ^\\* hello\nlogin me\n< ^ok me\n"
    with Client(server.address, on_connect=script, retry=QUICK) as client:
        assert client.state == "connected", client.reason
        client.send("bye")
        until(client, lambda: client.status.connection == 2)
        client.send("x", expect="^echo x$")
        assert server.peer(1).lines == [b"login me", b"x"]


def test_a_script_that_fails_says_which_line_waited_for_what() -> None:
    """A script whose connection ends is a failed attempt, told with the line that waited."""

    async def dismiss(peer: Peer) -> None:
        peer.send(b"* no\r\n")

    with (
        LineServer(dismiss) as server,
        Client(server.address, on_connect="# hi\n< ^ok\n", retry=60) as client,
    ):
        assert client.state == "waiting"
        assert client.reason == (
            f"on-connect script, line 2, waiting for '^ok': closed by {server.address}; "
            "the last line was '* no'"
        )


def test_what_is_no_script_is_refused() -> None:
    """Anything else than text or a function is refused before anything starts."""
    with pytest.raises(SettingsError, match="on_connect must be a script"):
        Client("127.0.0.1:1", on_connect=42)  # type: ignore[arg-type]


async def a_coroutine(session: Session) -> None:
    """Log nobody in."""


def a_generator(session: Session) -> Iterator[None]:
    """Log nobody in."""
    yield


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (a_coroutine, "neither async nor a generator"),
        (a_generator, "neither async nor a generator"),
        (lambda: None, "called with one argument, the session, but: too many positional arguments"),
        (lambda session, password: None, "the session, but: missing a required argument: 'password'"),
    ],
)
def test_a_function_that_could_not_run_is_refused(function: Callable[..., object], why: str) -> None:
    """A function that would do nothing, or fail at each attempt, is refused before anything starts."""
    with pytest.raises(SettingsError, match=why):
        Client("127.0.0.1:1", on_connect=function)


def test_many_functions_may_run_at_once() -> None:
    """Each client's function runs on its own thread, and none of them holds up the others."""
    together = threading.Barrier(5)

    def meet(session: Session) -> None:
        together.wait(PATIENCE)
        session.send("x")
        session.expect("^x$")

    with LineServer(echo) as server:
        clients = [Client(server.address, on_connect=meet).connect(wait=0) for _ in range(5)]
        for client in clients:
            client.connect()
            until(client, lambda client=client: client.state == "connected")  # type: ignore[misc]
        for client in clients:
            client.stop()


def test_a_function_that_never_returns_holds_up_no_stop() -> None:
    """A function that is busy elsewhere is not waited for."""
    over = threading.Event()
    with LineServer(mute) as server:
        client = Client(server.address, on_connect=lambda session: over.wait(PATIENCE)).connect(wait=0)
        until(client, lambda: client.phase == "script")
        start = time.monotonic()
        client.stop()
        assert time.monotonic() - start < 0.5
        over.set()


async def flood(peer: Peer) -> None:
    """Say the same until nobody listens any more."""
    with contextlib.suppress(OSError):
        while True:
            peer.send(b"* nothing\r\n" * 4096)
            await peer.drain()


def test_a_wait_ends_in_time_though_lines_go_on_coming() -> None:
    """What had come by then is looked at, and no more."""
    took: queue.Queue[float] = queue.Queue()

    def wait(session: Session) -> None:
        began = time.monotonic()
        try:
            session.expect("never", timeout=0.3)
        finally:
            took.put(time.monotonic() - began)

    with (
        LineServer(flood) as server,
        Client(server.address, on_connect=wait, retry=Retry(attempts=1)) as client,
    ):
        client.connect(wait=PATIENCE)
        assert took.get(timeout=PATIENCE) < 1.5
        assert "no line from" in client.reason
        assert "within 0.3 s; the last lines were '* nothing'" in client.reason


@pytest.mark.parametrize("profile", ["tcp", "imap", "redis"])
def test_one_of_many_lines_is_found_with_its_number(profile: str) -> None:
    """Lines are passed over many at a time; the match is of the one line, and what follows is left."""
    matches: queue.Queue[Match] = queue.Queue()

    def read(session: Session) -> None:
        session.send("go")
        matches.put(session.expect("^n7$"))
        assert session.readexactly(4) == b"n8\r\n"
        matches.put(session.expect("^n9999$"))

    async def say_many(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"".join(b"n%d\r\n" % number for number in range(10_001)))
        await peer.until_closed()

    with LineServer(say_many) as server:
        address = server.address.replace("tcp://", "")
        with Client(f"{profile}://{address}", tls=False, on_connect=read, heartbeat=None) as client:
            client.connect(wait=PATIENCE)
            first, second = matches.get(timeout=PATIENCE), matches.get(timeout=PATIENCE)
            assert [line.text for line in first.lines] == [f"n{number}" for number in range(8)]
            assert client.transcript[first.line.number].text == "n7"
            assert client.transcript[second.line.number].text == "n9999"
            assert client.expect("^n1").line.text == "n10000"
