"""Prove that a user's framing has a thread of its client's: it may take its time, it holds up nobody else,
and nothing is lost for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from ipyreconnect import TLS, Client, ConnectionLost, Retry
from ipyreconnect.client.session import Session
from ipyreconnect.protocol.user_framing import FRAMING_PATIENCE
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, Peer, echo
from tests.watching import PATIENCE, until

QUICK = Retry(delay=0.02, jitter=0)


class Semicolons:
    """Ends its lines with a semicolon, and gives up what has none at the end of a connection."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.held = (self.held + data).split(b";")
        return lines

    def finish(self) -> list[bytes]:
        held, self.held = self.held, b""
        return [b"rest " + held] if held else []


class Gate(Semicolons):
    """Waits for a gate to be opened before it takes anything."""

    begun = threading.Event()
    open = threading.Event()
    threads: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.threads.add(threading.current_thread().name)

    def feed(self, data: bytes) -> list[bytes]:
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return super().feed(data)


@pytest.fixture
def gate() -> Iterator[type[Gate]]:
    """A framing that is shut; it is opened at last, as its thread would wait for that."""

    class Shut(Gate):
        begun = threading.Event()
        open = threading.Event()
        threads: ClassVar[set[str]] = set()

    yield Shut
    Shut.open.set()


async def answer_and_close(peer: Peer) -> None:
    """Answer the first line, and close at once behind the answer."""
    line = (await peer.readline()).strip()
    peer.send(b"re " + line + b";half")


@pytest.mark.parametrize("encrypted", [False, True])
def test_an_answer_before_the_end_is_found(certificates: Certificates, encrypted: bool) -> None:
    """A server that answers and closes has answered: the end is told when the framing has taken all of it."""
    tls = TLS(cafile=certificates.cafile, server_name="localhost") if encrypted else False
    context = certificates.good().server_context() if encrypted else None
    with (
        LineServer(answer_and_close, tls=context) as server,
        Client(server.address, tls=tls, framing=Semicolons, retry=60) as client,
    ):
        assert client.send("x", expect="^re x$").text == "re x"
        until(client, lambda: client.state == "waiting")
        assert [line.text for line in client.transcript if line.direction == "<"] == ["re x", "rest half"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_flood_goes_through_in_order(certificates: Certificates, encrypted: bool) -> None:
    """Each line once, and in order, however the reads fall."""
    count = 50_000

    async def flood(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"".join(b"%d;" % number for number in range(count)))
        await peer.until_closed()

    tls = TLS(cafile=certificates.cafile, server_name="localhost") if encrypted else False
    context = certificates.good().server_context() if encrypted else None
    with (
        LineServer(flood, tls=context) as server,
        Client(server.address, tls=tls, framing=Semicolons) as client,
    ):
        client.send("go")
        client.expect(f"^{count - 1}$")
        received = [line.data for line in client.transcript if line.direction == "<"]
        assert received == [b"%d" % number for number in range(count)]


def test_a_slow_framing_holds_up_nobody_else(gate: type[Gate]) -> None:
    """Answers, replies and stops of other clients go on; and its own stop does not wait for it."""
    with LineServer(echo) as server, Client(server.address, replies={"^ping": "pong"}) as other:
        slow = Client(server.address, framing=gate, name="slow").connect()
        slow.send("x")
        assert gate.begun.wait(PATIENCE)
        other.send("y", expect="^y$")
        other.send("ping", expect="^pong$")
        delivery = slow.send("it can send meanwhile")
        assert delivery.wait("acknowledged", PATIENCE)
        third = Client(server.address).connect()
        third.stop()
        slow.stop()
        assert slow.state == "stopped"


def test_a_framing_is_never_on_the_thread_of_all_connections(gate: type[Gate]) -> None:
    """Neither when it is made nor when it is fed."""
    gate.open.set()
    with LineServer(echo) as server, Client(server.address, framing=gate, retry=QUICK) as client:
        client.send("x;")
        client.expect("^x$")
        loop = client._driver.loop_thread
        assert loop is not None
        assert loop.name not in gate.threads
        assert threading.current_thread().name in gate.threads  # where it was tried whether it can be made


def test_a_framing_that_hangs_holds_up_a_loss_for_a_moment_only(gate: type[Gate]) -> None:
    """A loss is told though the framing never takes what came before it."""
    with LineServer(echo) as server:
        client = Client(server.address, framing=gate, retry=60).connect()
        client.send("x")
        assert gate.begun.wait(PATIENCE)
        server.peer(0).reset()
        with pytest.raises(ConnectionLost, match="reset by"):
            client.expect("^x$", timeout=FRAMING_PATIENCE + PATIENCE)
        assert client.state == "waiting"
        assert any("did not take what came last" in line.text for line in client.transcript)
        client.stop()


def test_a_function_reads_lines_and_bytes_of_the_user_s_framing() -> None:
    """It is given the framing's lines; bytes that it reads are no line's, and what follows begins one."""
    got: list[bytes] = []

    def login(session: Session) -> None:
        got.append(session.expect("^hello$").line.data)
        got.append(session.readexactly(4))
        session.send("more", expect="^after$")

    async def talk(peer: Peer) -> None:
        peer.send(b"noise;hello;1;23rest;half")
        await peer.readline()
        peer.send(b" a line;after;and;so")
        await peer.readline()
        peer.send(b" on;")
        await peer.until_closed()

    with LineServer(talk) as server, Client(server.address, framing=Semicolons, on_connect=login) as client:
        assert client.state == "connected", client.reason
        assert got == [b"hello", b"1;23"]
        client.send("go", expect="^so on$")
        received = [line.data for line in client.transcript if line.direction == "<"]
        assert received == [b"noise", b"hello", b"1;23", b"rest", b"half a line", b"after", b"and", b"so on"]
