"""Turn text into the bytes of one line, and no more than one; values in, values out."""

from __future__ import annotations

import pytest

from ipyreconnect import Client, SettingsError
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.text import decode, encode_line
from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import receive


@pytest.mark.parametrize(
    ("text", "encoding", "data"),
    [
        ("größer", None, "größer".encode()),
        ("größer", "iso-8859-1", b"gr\xf6\xdfer"),
        ("ab", "utf-16-le", b"a\0b\0"),
        ("", None, b""),
        ("\u2028\x85\0", None, "\u2028\x85\0".encode()),
    ],
)
def test_a_line_is_encoded(text: str, encoding: str | None, data: bytes) -> None:
    """The bytes of a line are those of its encoding, and what is no line break to a peer may stand in it."""
    assert encode_line(text, encoding) == data


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("a\nb", None, "^a line break in a line would send more than one command"),
        ("a\rb", "cp037", "^a line break in a line would send more than one command"),
        ("say \u0a0d", "utf-16-le", "^'ਊ?.*' has the bytes of a line break in utf-16-le: choose another"),
        ("say \x8e", "cp037", r"^'\\x8e' has the bytes of a line break in cp037: choose another"),
        ("say ł", "iso-8859-1", "^'ł' cannot be sent as iso-8859-1: choose another encoding, or send bytes$"),
    ],
)
def test_what_would_be_more_than_a_line_is_refused(text: str, encoding: str | None, says: str) -> None:
    """Text never sends a second command, not even by a character whose bytes are a line break's."""
    with pytest.raises(SettingsError, match=says):
        encode_line(text, encoding)


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat": "say \x8e"},
        {"on_connect": "say \x8e"},
        {"replies": {"hello": "say \x8e"}},
    ],
)
def test_no_setting_smuggles_a_line_break_in(options: dict[str, str]) -> None:
    """What a client sends by itself is refused for the same reason."""
    with pytest.raises(SettingsError, match="line break"):
        Client("127.0.0.1:1", encoding="cp037", **options)  # type: ignore[arg-type]


def test_text_is_decoded_as_asked_and_never_fails() -> None:
    """UTF-8, else ISO-8859-1; with an encoding, that one, else ISO-8859-1; a note is always our own UTF-8."""
    assert decode("é".encode(), None) == "é"
    assert decode(b"\xe9", None) == "é"
    assert decode("é".encode(), "iso-8859-1") == "Ã©"
    assert decode(b"\xff", "utf-16") == "ÿ"
    assert decode(b"\xff", "undefined") == "ÿ"
    transcript = Transcript(encoding="iso-8859-1")
    receive(transcript, "é\n".encode())
    transcript.append_note("no address found for 'é'", 0.0)
    assert [line.text for line in transcript] == ["Ã©", "no address found for 'é'"]
    assert Line(b"\xe9", direction="*").text == "é"
