"""What stands instead of a secret, and how text is encoded. Values only."""

from __future__ import annotations

import codecs
import contextlib
from typing import Final

from .errors import SettingsError

__all__ = ["MASK", "PLAIN_MASK", "check_encoding", "encode_behind", "mask_in"]

MASK: Final = "••••"
"""What stands wherever a secret would be shown; of one length, so that not even the secret's length shows."""
PLAIN_MASK: Final = "****"
"""What stands there in an encoding that knows no such dots, as ISO-8859-1."""


def check_encoding(name: str) -> str:
    """Return the name of an encoding of text; SettingsError for any other name."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, TypeError, ValueError):
        raise SettingsError(
            f"unknown encoding {name!r}: use a name that Python knows, such as utf-8, iso-8859-1 or shift_jis"
        ) from None
    with contextlib.suppress(UnicodeError):
        if codec._is_text_encoding and codec.encode(PLAIN_MASK):
            return name
    raise SettingsError(f"{name!r} is no encoding of text: use one such as utf-8, iso-8859-1 or shift_jis")


def encode_behind(before: str, text: str, encoding: str) -> bytes:
    """Return the bytes that `text` has in a line behind `before`: in some encodings other ones than alone, as
    they begin with a mark of the byte order, or go on in the state that was left (ISO 2022). Any thread.

    Raises:
        UnicodeError: the encoding lacks a character of it.
    """
    try:
        encoder = codecs.getincrementalencoder(encoding)()
    except LookupError:  # a codec of somebody's own
        return text.encode(encoding)
    encoder.encode(before)
    return encoder.encode(text)


def mask_in(encoding: str | None) -> bytes:
    """Return the mask in the bytes of an encoding; None: UTF-8."""
    try:
        return encode_behind("a", MASK, encoding or "utf-8")
    except UnicodeEncodeError:
        return encode_behind("a", PLAIN_MASK, encoding or "utf-8")
