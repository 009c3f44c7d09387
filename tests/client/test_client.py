"""Prove what users rely on in `Client`, on real sockets: connecting, sending, settings, replies."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import queue
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipyreconnect import (
    TLS,
    CallerError,
    Client,
    Heartbeat,
    KeepAlive,
    NotConnected,
    OutboxFull,
    Retry,
    Secret,
    SettingsError,
    Transcript,
)
from ipyreconnect.client.session import Session
from tests.client.helping import QUICK, Thread, notes, received
from tests.namespaces import deafen, hear
from tests.servers.line_server import (
    LINE_80,
    LineServer,
    Peer,
    answering,
    echo,
    free_port,
    greet,
    mute,
    never_read,
    say,
)
from tests.watching import PATIENCE, States, until

# -- connecting


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


# -- observing


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
