"""Turn text into the bytes of one line, and no more than one; values in, values out."""

from __future__ import annotations

import pytest

from ipyreconnect import Client, SettingsError
from ipyreconnect.lines.text import encode_line


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
