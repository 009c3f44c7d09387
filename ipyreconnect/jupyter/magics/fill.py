"""Put variables and secrets into a text, and know which parts of it are secret; it sends nothing.

`{{name}}` is a variable of the user's namespace, `{{?Prompt}}` is asked for without echo. The cell, In and
the history keep the template; the values go to the connection only.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

from IPython.core.error import StdinNotImplementedError, UsageError

from ...mask import MASK
from ...secret import Secret
from .escapes import unescape
from .options import suggest

FITS = (str, Number, Secret)
"""What a variable may hold to be put into a text."""

_FIELD = re.compile(r"\{\{(.*?)\}\}")
_NAME = re.compile(r"\s*([^\W\d]\w*)\s*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: as it is in the template, or a value that was put in.

    Attributes:
        text: the part.
        value: whether it was put in.
        secret: whether it must never be shown.

    """

    text: str
    value: bool = False
    secret: bool = False

    def __repr__(self) -> str:
        return f"Piece({MASK if self.secret else self.text!r})"


class Filler:
    """Fills the texts of one cell: each prompt is asked once, however often it occurs.

    Args:
        namespace: the user's variables.
        ask: asks the user for what a prompt names; None: without echo.

    """

    def __init__(self, namespace: Mapping[str, Any], ask: Callable[[str], str] | None = None) -> None:
        self._namespace = namespace
        self._ask = ask or ask_without_echo
        self._answers: dict[str, str] = {}

    def fill(self, template: str) -> tuple[Piece, ...]:
        """Return the template's pieces with the values put in.

        Raises:
            UsageError: there is no such variable, or it cannot be put in.

        """
        pieces: list[Piece] = []
        position = 0
        for field in _FIELD.finditer(template):
            if field.start() > position:
                pieces.append(Piece(template[position : field.start()]))
            pieces.append(self._value(field[1]))
            position = field.end()
        if position < len(template) or not pieces:
            pieces.append(Piece(template[position:]))
        return tuple(pieces)

    def fill_script(self, template: str) -> list[tuple[Piece, ...]]:
        """Return the pieces of each line of an on-connect script, without the indentation that all share.

        What `script_line_of` puts in front of a line would hide that. Nothing is put into a comment.
        """
        return [
            (Piece(line),) if line.lstrip().startswith("#") else self.fill(line)
            for line in textwrap.dedent(template).split("\n")
        ]

    def _value(self, what: str) -> Piece:
        if what.startswith("?"):
            prompt = what[1:].strip() or "Secret"
            if prompt not in self._answers:
                self._answers[prompt] = self._ask(prompt)
            answer = self._answers[prompt]
            if not answer:
                raise UsageError(f"nothing was typed for {prompt!r}, so nothing is sent")
            return _one_line(Piece(answer, value=True, secret=True), prompt)
        name = _NAME.fullmatch(what)
        if name is None:
            raise UsageError(f"--fill takes {{{{name}}}} and {{{{?Prompt}}}}, not {{{{{what}}}}}")
        if name[1] not in self._namespace:
            fit = [known for known, value in self._namespace.items() if isinstance(value, FITS)]
            near = suggest(name[1], [known for known in fit if not known.startswith("_")])
            hint = (
                f"did you mean {near}?" if near else f"set it first, or write {{{{?{name[1]}}}}} to be asked"
            )
            raise UsageError(f"no variable named {name[1]!r}; {hint}")
        return _one_line(_piece_of(name[1], self._namespace[name[1]]), name[1])


def _piece_of(name: str, value: object) -> Piece:
    if isinstance(value, Secret):
        try:
            return Piece(value.reveal().decode(), value=True, secret=True)
        except UnicodeDecodeError:
            raise UsageError(f"the secret {name!r} is not text in UTF-8: send it with client.send") from None
    if isinstance(value, FITS):
        return Piece(str(value), value=True)
    raise UsageError(f"{name!r} is {type(value).__name__}: --fill takes text, numbers and Secrets")


def _one_line(piece: Piece, name: str) -> Piece:
    """Return the piece, if its value has no line break, which would send more than one command."""
    if "\r" in piece.text or "\n" in piece.text:
        raise UsageError(f"the value of {name!r} has a line break, which would send more than one command")
    return piece


def ask_without_echo(prompt: str) -> str:
    """Return what the user types.

    Raises:
        UsageError: no user can be asked here.

    """
    try:
        return getpass.getpass(f"{prompt}: ")
    except (StdinNotImplementedError, EOFError, OSError) as error:
        if isinstance(error, EOFError) and sys.stdin.isatty():
            return ""  # the user refused, with Ctrl-D
        raise UsageError(
            f"nobody can be asked for {prompt!r} here: fetch it, NAME = Secret.from_keyring(SERVICE, USER) "
            "or USER, NAME = Secret.from_netrc(HOST), and write {{NAME}}"
        ) from None


def text_of(pieces: Sequence[Piece]) -> str:
    """Return the filled text."""
    return "".join(piece.text for piece in pieces)


def bytes_of(pieces: Sequence[Piece], encoding: str) -> bytes:
    """Return the filled text as bytes, with the template's escapes resolved and the values as they are."""
    return b"".join(
        encoded(piece, encoding) if piece.value else unescape(piece.text, encoding) for piece in pieces
    )


def pattern_of(pieces: Sequence[Piece]) -> str:
    """Return the filled regular expression, in which each value is matched literally."""
    return "".join(re.escape(piece.text) if piece.value else piece.text for piece in pieces)


def script_line_of(pieces: Sequence[Piece]) -> str:
    """Return the filled line of an on-connect script; no value can change what kind of line it is."""
    template = "".join(MASK if piece.value else piece.text for piece in pieces)
    if template.lstrip().startswith("<"):
        return pattern_of(pieces)
    filled = text_of(pieces)
    return f"> {filled}" if template.lstrip().startswith(MASK) else filled


def secrets_of(pieces: Sequence[Piece], encoding: str) -> list[Secret]:
    """Return what must never be shown, in the bytes that are sent."""
    return [Secret(encoded(piece, encoding)) for piece in pieces if piece.secret]


def encoded(piece: Piece, encoding: str) -> bytes:
    """Return a piece's bytes.

    Raises:
        UsageError: the encoding lacks a character; it shows no secret.

    """
    # Raised afterwards: an exception keeps the one during which it was raised, and that one holds the text.
    with contextlib.suppress(UnicodeEncodeError):
        return piece.text.encode(encoding)
    what = "a secret" if piece.secret else repr(piece.text)
    raise UsageError(f"{what} cannot be encoded as {encoding}: choose another --encoding")
