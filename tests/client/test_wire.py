"""Prove how what is sent is written, and what of it is refused or hidden."""

from __future__ import annotations

import queue
import re
from typing import Any

import pytest

from ipyreconnect import (
    Client,
    Secret,
    SettingsError,
)
from tests.servers.line_server import (
    LineServer,
    Peer,
    echo,
)
from tests.watching import PATIENCE

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


# -- expecting


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


# -- settings


@pytest.mark.parametrize("secrets", [5, Secret("x")])
def test_secrets_that_are_none_send_nothing(client: Client, secrets: Any) -> None:
    """Where it cannot be told what to hide, nothing leaves."""
    with pytest.raises(SettingsError, match="secrets are several"):
        client.send("x", secrets=secrets)
    assert client.transcript[-1].direction == "*"


@pytest.mark.parametrize("encoding", [None, "iso-8859-1", "cp1251", "shift_jis", "utf-16-le"])
def test_a_delivery_shows_its_line_as_it_was_written(server: LineServer, encoding: str | None) -> None:
    """In whatever encoding it was sent."""
    text = "表" if encoding == "shift_jis" else "я" if encoding == "cp1251" else "é"
    with Client(server.address, encoding=encoding) as client:
        assert re.fullmatch(rf"<Delivery '{text}' \w+>", repr(client.send(text)))
