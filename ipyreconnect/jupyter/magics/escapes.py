r"""The escapes of a Python bytes literal in what the user types: `\r\n`, `\x00`."""

from __future__ import annotations

import re

from IPython.core.error import UsageError

__all__ = ["unescape"]

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([0-7]{1,3})|(.)|$)", re.DOTALL)
_SIMPLE = {
    "\\": b"\\",
    "'": b"'",
    '"': b'"',
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}


def unescape(text: str, encoding: str = "utf-8") -> bytes:
    r"""Turn a text with the escapes of a Python bytes literal into its bytes.

    The text between them is encoded with `encoding`. UsageError for an escape that Python does not know.
    """
    pieces = []
    position = 0
    for escape in _ESCAPE.finditer(text):
        pieces += [_encoded(text[position : escape.start()], encoding), _byte_of(escape)]
        position = escape.end()
    return b"".join([*pieces, _encoded(text[position:], encoding)])


def _byte_of(escape: re.Match[str]) -> bytes:
    if escape[1]:
        return bytes([int(escape[1], 16)])
    if escape[2]:
        value = int(escape[2], 8)
        if value > 255:
            raise UsageError(f"\\{escape[2]} is no byte: octal escapes go up to \\377")
        return bytes([value])
    if escape[3] in _SIMPLE:
        return _SIMPLE[escape[3]]
    raise UsageError(
        f"{escape[0]} is no escape: use \\xHH, \\r, \\n, \\t, \\0 and the like, and \\\\ for a backslash"
    )


def _encoded(text: str, encoding: str) -> bytes:
    try:
        # Nothing is nothing, also where an encoding begins every text with a mark.
        return text.encode(encoding) if text else b""
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{text[error.start : error.end]!r} cannot be encoded as {encoding}; write its bytes as \\xHH"
        ) from None
