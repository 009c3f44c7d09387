"""Make the client that a line of %connect asks for."""

from __future__ import annotations

import re

from IPython.core.error import UsageError

from ...client.arguments import EOLS
from .escapes import unescape

__all__ = ["parse_eol", "parse_reply"]


def parse_eol(text: str) -> bytes:
    r"""Read a line end: crlf, lf, cr, none, or escapes such as \r\n; UsageError for anything else."""
    known = EOLS.get(text.lower())
    if known is not None:
        return known
    if "\\" in text:
        return unescape(text)
    raise UsageError(f"--eol {text!r}: give crlf, lf, cr, none or escapes such as \\r\\n")


def parse_reply(text: str) -> tuple[str, str]:
    r"""Read REGEX=LINE, split at the first = without a backslash in front; UsageError when it is none.

    In REGEX, \= becomes =, which has a meaning of its own behind (?.
    """
    found = re.match(r"((?:[^\\=]|\\.)+)=(.*)\Z", text, re.DOTALL)
    if found is None:
        raise UsageError(f"--reply {text!r}: give REGEX=LINE, such as --reply '^PING (.*)=PONG \\1', or off")
    pattern = re.sub(r"\\(.)", lambda pair: "=" if pair[1] == "=" else pair[0], found[1], flags=re.DOTALL)
    return pattern, found[2]
