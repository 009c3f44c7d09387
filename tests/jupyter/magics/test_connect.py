"""What %connect makes of its line."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from ipyreconnect.jupyter.magics.connect import parse_eol, parse_reply


def test_line_ends_have_names_and_escapes() -> None:
    """--eol takes crlf, lf, cr, none, and escapes."""
    assert [parse_eol(text) for text in ("crlf", "LF", "cr", "none", r"\r\n", r"\x00")] == [
        b"\r\n",
        b"\n",
        b"\r",
        b"",
        b"\r\n",
        b"\x00",
    ]
    with pytest.raises(UsageError, match="crlf, lf, cr, none"):
        parse_eol("windows")


def test_reply_rules_are_split_at_the_first_plain_equals_sign() -> None:
    r"""REGEX=LINE; the LINE may hold = as it is, the REGEX as \=."""
    assert parse_reply(r"^PING (.*)=PONG \1") == (r"^PING (.*)", r"PONG \1")
    assert parse_reply(r"a\=b=c=d") == ("a=b", "c=d")
    assert parse_reply(r"(?\=PING)=c\=d") == ("(?=PING)", r"c\=d")
    assert parse_reply(r"a\\=\=") == (r"a\\", r"\=")
    assert parse_reply("x=") == ("x", "")
    for bad in ("", "no equals", "=line", r"a\=b"):
        with pytest.raises(UsageError, match="give REGEX=LINE"):
            parse_reply(bad)
