"""The usual shapes of answers: up to a line, by status code, counted, dot-stuffed, of typed values.

Each function returns a kind: what makes a reader for one answer. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..logical import Announcing, beginning
from .conversation import Kind, Step, Verdict

__all__ = ["counted", "dotted", "json_object", "one_line", "status", "stuffed", "unstuffed", "until", "value"]

Pattern = str | bytes | re.Pattern[bytes]

LARGEST_COUNT: Final = 10**9
"""Lines or elements that an answer may announce; more is no count that anybody waits for."""


def compiled(pattern: Pattern) -> re.Pattern[bytes]:
    """Return a regular expression for the bytes of a line."""
    if isinstance(pattern, re.Pattern):
        return pattern
    return re.compile(pattern.encode() if isinstance(pattern, str) else pattern)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


class _Plain:
    """A reader without payload and value."""

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return announced(lines)

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


def announced(lines: Sequence[bytes]) -> bytes | None:
    """Return the announced bytes of the first line that has some."""
    for line in lines:
        if isinstance(line, Announcing) and line.head < len(line):
            rest = line[line.head :]
            return rest[2:] if rest.startswith(b"\r\n") else rest[1:]
    return None


class _Until(_Plain):
    def __init__(self, end: re.Pattern[bytes], ok: re.Pattern[bytes] | None) -> None:
        self._end = end
        self._ok = ok

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        found = self._end.search(head)
        if found is None:
            return None
        good = None if self._ok is None else self._ok.search(head) is not None
        word = found[1] if found.lastindex else None
        return Verdict(good, _text(word))


def until(pattern: Pattern, ok: Pattern | None = None) -> Kind:
    """Return the kind of answers that end with a line in which `pattern` is found.

    Args:
        pattern: its first group is the status.
        ok: found in that line when the answer is a good one; None: nothing says so, and `ok` is None.

    """
    end, good = compiled(pattern), None if ok is None else compiled(ok)
    return Kind(lambda: _Until(end, good))


class _Status(_Plain):
    """``250-…`` goes on, ``250 …`` ends (RFC 5321, 4.2.1); bodies for some codes."""

    def __init__(self, form: _StatusForm) -> None:
        self._form = form
        self._code: bytes | None = None
        self._body = False

    def feed(self, line: bytes) -> Verdict | Step | None:
        form = self._form
        head = beginning(line)
        if head is None:
            return None
        if self._body:
            if head != b".":
                return None
            return self._verdict()
        found = form.line.match(head)
        if found is None or (self._code is not None and form.strict and found[1] != self._code):
            # Text without a code between the first and the last line, as FTP has it (RFC 959, 4.2).
            return None
        self._code = found[1]
        if found[2] in form.more:
            return None
        if self._code in form.bodies or (form.body is not None and form.body.match(head)):
            self._body = True
            return None
        if form.asks is not None and form.asks.match(self._code):
            return Step.READY
        if form.preliminary is not None and form.preliminary.match(self._code):
            self._code = None  # another number follows
            return None
        return self._verdict()

    def _verdict(self) -> Verdict:
        code = self._code or b""
        return Verdict(self._form.ok.match(code) is not None, _text(code))

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return unstuffed(lines[1:-1]) if self._body else announced(lines)


class _StatusForm:
    """What a protocol's status lines look like."""

    __slots__ = ("asks", "bodies", "body", "line", "more", "ok", "preliminary", "strict")

    def __init__(
        self,
        ok: Pattern,
        more: bytes,
        digits: int,
        asks: Pattern | None,
        bodies: Sequence[str],
        body: Pattern | None,
        preliminary: Pattern | None,
        strict: bool,
    ) -> None:
        self.line = re.compile(rb"([0-9]{%d})([ %s]|\Z)" % (digits, re.escape(more)))
        self.more = (more,) if len(more) == 1 else tuple(more[i : i + 1] for i in range(len(more)))
        self.ok = compiled(ok)
        self.asks = None if asks is None else compiled(asks)
        self.bodies = tuple(code.encode() for code in bodies)
        self.body = None if body is None else compiled(body)
        self.preliminary = None if preliminary is None else compiled(preliminary)
        self.strict = strict


def status(
    ok: Pattern = "[123]",
    *,
    more: bytes = b"-",
    digits: int = 3,
    asks: Pattern | None = None,
    bodies: Sequence[str] = (),
    body: Pattern | None = None,
    preliminary: Pattern | None = None,
    strict: bool = False,
) -> Kind:
    """Return the kind of answers that begin with a number, as those of SMTP, NNTP and FTP.

    Args:
        ok: what the number begins with in a good answer.
        more: what stands behind the number where more lines follow.
        digits: of the number.
        asks: matches the numbers by which the server asks for what belongs to the command.
        bodies: the numbers that a dot-stuffed body follows, up to a line of a dot alone.
        body: matches a status line that such a body follows, where its number alone does not say so.
        preliminary: matches the numbers behind which another answer to the same command follows.
        strict: whether the last line has the first one's number, whatever stands between them.

    """
    form = _StatusForm(ok, more, digits, asks, bodies, body, preliminary, strict)
    return Kind(lambda: _Status(form))


class _Dotted(_Plain):
    def __init__(self, first: re.Pattern[bytes], bad: re.Pattern[bytes] | None) -> None:
        self._first = first
        self._bad = bad
        self._status: str | None = None
        self._begun = False

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        if not self._begun:
            self._begun = True
            found = self._first.match(head)
            if found is None:
                bad = None if self._bad is None else self._bad.match(head)
                return Verdict(False, _text(bad[1] if bad is not None and bad.lastindex else None))
            self._status = _text(found[1]) if found.lastindex else None
            return None
        return Verdict(True, self._status) if head == b"." else None

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return unstuffed(lines[1:-1]) if len(lines) > 1 else None


def dotted(first: Pattern, refused: Pattern | None = None) -> Kind:
    """Return the kind of answers whose first line is followed by a dot-stuffed body, up to a dot alone.

    Args:
        first: matches the first line of a good answer; its first group is the status.
        refused: matches the one line of a refusal, which nothing follows; its first group is the status.

    """
    begin, bad = compiled(first), None if refused is None else compiled(refused)
    return Kind(lambda: _Dotted(begin, bad))


def unstuffed(lines: Sequence[bytes]) -> bytes:
    """Return the body that dot-stuffed lines stand for: each with its CRLF (RFC 5321, 4.5.2)."""
    return b"".join(line[1:] + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines)


class _Counted(_Plain):
    def __init__(self, first: re.Pattern[bytes]) -> None:
        self._first = first
        self._left = -1
        self._verdict = Verdict(None)

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        if self._left < 0:
            found = self._first.match(head)
            number = _number(found[1]) if found is not None else -1
            self._verdict = Verdict(found is not None and number >= 0, _text(found[1]) if found else None)
            self._left = max(number, 0)
        else:
            self._left -= 1
        return self._verdict if self._left == 0 else None


def counted(first: Pattern) -> Kind:
    """Return the kind of answers whose first line says how many lines follow.

    Args:
        first: matches the first line; group 1 is the number. A negative one, or no match, is a refusal,
            which nothing follows.

    """
    begin = compiled(first)
    return Kind(lambda: _Counted(begin))


def _number(digits: bytes | None) -> int:
    """Return a count; -1 for what is none."""
    if digits is None or len(digits) > 10:
        return -1
    try:
        number = int(digits)
    except ValueError:
        return -1
    return number if number <= LARGEST_COUNT else -1


class _OneLine(_Plain):
    def feed(self, line: bytes) -> Verdict | Step | None:
        return Verdict(None)


def one_line() -> Kind:
    """Return the kind of answers that are one line, whatever it says."""
    return Kind(_OneLine)


class _JSON(_Plain):
    def feed(self, line: bytes) -> Verdict | Step | None:
        return Verdict(None)

    def value(self, lines: Sequence[bytes]) -> Any:
        try:
            return json.loads(lines[-1]) if lines else None
        except (ValueError, RecursionError):
            return None


def json_object() -> Kind:
    """Return the kind of answers that are one line of JSON."""
    return Kind(_JSON)


def stuffed(body: bytes) -> bytes:
    """Return what is sent for a body: its lines dot-stuffed, each with its CRLF, and the dot that ends it."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    if body.startswith(b"."):
        body = b"." + body
    return body.replace(b"\r\n.", b"\r\n..") + b".\r\n"


# -- RESP, the protocol of Redis


class RespError(bytes):
    """An error that stands in a RESP value."""


_AGGREGATES: Final = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
"""Elements of each counted item of an aggregate (RESP3); the attribute ``|`` stands before its value."""


class RespReader:
    """Counts the elements of one RESP value that are still to come."""

    __slots__ = ("_first", "_left")

    def __init__(self) -> None:
        self._left = 1
        self._first = b""

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None  # a later piece of a value that is too long to be kept in one
        kind = head[:1]
        if self._left == 1 and not self._first and kind != b"|":
            self._first = head  # only the value itself is left, behind its attributes
        self._left -= 1
        each = _AGGREGATES.get(kind)
        if each is not None:
            self._left += each * max(_number(head[1:]), 0) + (kind == b"|")
        return self._verdict() if self._left <= 0 else None

    def _verdict(self) -> Verdict:
        first = self._first
        word = first[1:].split(b" ", 1)[0]
        if first.startswith((b"-", b"!")):
            return Verdict(False, _text(word) if first.startswith(b"-") else None)
        return Verdict(True, _text(word) if first.startswith(b"+") else None)

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return bulk(lines[0]) if len(lines) == 1 else None

    def value(self, lines: Sequence[bytes]) -> Any:
        return resp(iter(lines))


def bulk(line: bytes) -> bytes | None:
    """Return the bytes of a bulk string, bulk error or verbatim string; None for any other value."""
    if line[:1] not in (b"$", b"!", b"=") or not isinstance(line, Announcing):
        return None
    body = announced([line]) or b""
    return body[4:] if line[:1] == b"=" else body


def resp(lines: Iterator[bytes]) -> Any:
    """Return the next RESP value: bytes, int, float, bool, None, `RespError`, list, and dict and set where
    their items are hashable, else a list of pairs and a list.
    """
    # Without recursion: a peer may nest as deeply as it likes.
    stack: list[tuple[bytes, int, list[Any]]] = []
    for line in lines:
        kind = line[:1]
        if kind in _AGGREGATES and (size := _number(line[1:]) * _AGGREGATES[kind]) != 0:
            if size > 0:
                stack.append((kind, size, []))
                continue
            item = None
        elif kind == b"|":
            continue  # an attribute that says nothing
        else:
            item = _aggregate(kind, []) if kind in _AGGREGATES else _scalar(kind, line)
        whole = _put(item, stack)
        if whole is not None:
            return whole[0]
    return None


def _put(item: Any, stack: list[tuple[bytes, int, list[Any]]]) -> tuple[Any] | None:
    """Put an item into the innermost aggregate, and each that is full then into the next; return the value
    once it is whole.
    """
    while stack:
        kind, size, items = stack[-1]
        items.append(item)
        if len(items) < size:
            return None
        stack.pop()
        if kind == b"|":  # an attribute tells of the value behind it, and is none
            return None
        item = _aggregate(kind, items)
    return (item,)


def _whole(text: bytes) -> int | bytes:
    """Return a whole number; text that is none, or has more digits than Python converts, stays as it is."""
    try:
        return int(text)
    except ValueError:
        return text


def _real(text: bytes) -> float | bytes:
    try:
        return float(text)
    except ValueError:
        return text


_SCALARS: Final[Mapping[bytes, Callable[[bytes], Any]]] = {
    b"+": bytes,
    b"-": RespError,
    b":": _whole,
    b"(": _whole,
    b",": _real,
    b"#": b"t".__eq__,
    b"_": lambda _: None,
}
"""What the text behind the type stands for, in the values of one line."""


def _scalar(kind: bytes, line: bytes) -> Any:
    parse = _SCALARS.get(kind)
    if parse is not None:
        return parse(line[1:])
    if line[1:] == b"-1":
        return None
    body = bulk(line)
    if body is None:
        return bytes(line)
    return RespError(body) if kind == b"!" else body


def _aggregate(kind: bytes, items: list[Any]) -> Any:
    if kind == b"%":
        pairs = list(zip(items[::2], items[1::2], strict=True))
        try:
            return dict(pairs)
        except TypeError:
            return [list(pair) for pair in pairs]
    if kind == b"~":
        try:
            return set(items)
        except TypeError:
            return items
    return items


def value() -> Kind:
    """Return the kind of answers that are one RESP value (Redis), however many lines it has."""
    return Kind(RespReader)
