"""The escapes of a bytes literal, as --bytes and --eol read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from ipyreconnect.jupyter.magics.escapes import unescape


def test_escapes_become_bytes() -> None:
    """`%send --bytes` reads what a Python bytes literal may hold, and any text beside it."""
    assert unescape(r"\x00\xff\r\n\t\\\0\101\'") == b"\x00\xff\r\n\t\\\x00A'"
    assert unescape("Grüße") == "Grüße".encode()
    assert unescape("Grüße", "iso-8859-1") == "Grüße".encode("iso-8859-1")
    for bad in (r"\q", r"\xg0", "\\", r"\x1", r"\400"):
        with pytest.raises(UsageError, match="escape"):
            unescape(bad)
    with pytest.raises(UsageError, match="cannot be encoded"):
        unescape("€", "iso-8859-1")


def test_escapes_are_read_in_the_text_and_not_in_its_bytes() -> None:
    """A character whose bytes hold that of a backslash is no escape, and each text beside one is encoded."""
    assert unescape(r"表\r\n", "shift_jis") == "表".encode("shift_jis") + b"\r\n"
    assert unescape(r"\x00é\n", "utf-16-le") == b"\x00\xe9\x00\n"
    assert unescape(r"\x00", "utf-16") == b"\x00"
    with pytest.raises(UsageError, match=r"\\é is no escape"):
        unescape(r"\é", "shift_jis")


@given(st.binary())
def test_every_byte_can_be_written(data: bytes) -> None:
    """repr(bytes) without its b and quotes comes back as those bytes."""
    assert unescape(repr(data)[2:-1]) == data
