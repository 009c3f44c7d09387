"""Framers: they cut received bytes into logical lines, announced or raw. Plain lines need none: the
transcript cuts those itself.

Also here is what of a logical line is compared with an expectation, a reply rule or a script's step: its
beginning.
"""

from __future__ import annotations

import codecs
import copy
import io
import re
from collections.abc import Callable
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..errors import CallerError, SettingsError
from ..logical import Announcing, Continuation, Fragment
from .text import without_end

if TYPE_CHECKING:
    from ..profile.base import Profile

LINE_LIMIT = 1 << 20
"""Longest logical line that is kept in one piece, in bytes.

1 MiB: a mail without attachments and nearly every Redis or NATS value fits, a regular expression over it
takes milliseconds (but one that tries each part from each place, as ``\\w+@``, takes for ever), and a
hundred servers that each send a line without end take 100 MiB.
"""

ANNOUNCEMENT = re.compile(rb"^(?:[$=!]|H?MSG[ \t].*[ \t]|.*\{)(\d+)(?:\+?\})?$")
"""Announcements of three protocols, for ``framing="announced"`` where the profile names none.

IMAP literals (RFC 9051, section 4.3; RFC 7888; ``~{n}`` of RFC 3516), Redis bulk and verbatim strings and
bulk errors (RESP2 and RESP3), NATS messages with and without headers.
"""

FRAMINGS = ("lines", "announced", "raw")
"""The framings that go by a name."""

# A number of more digits (an exabyte and above) is no size, and int() refuses one of thousands.
_MAX_DIGITS = 18

SMALL = 1024
"""Bytes of which it does not matter how they are counted or cut."""
SAMPLE = 500
"""Bytes at the beginning by which it is judged how long the lines are."""
LONG = 100
"""Bytes of a line from which on it is cut more quickly by way of its line end alone (measured; lines of 80
take a fifth longer so, those of 400 a third of the time)."""

# Of a line that is too long to be buffered, and of what follows announced bytes, only these last bytes are
# searched for an announcement: the longest one that may end such a line, "{" 18 digits "+}", is far shorter.
_WINDOW = 64

# How far beyond the limit a line must be before a fragment of it is given out. It leaves a whole window and a
# line end behind, so that where fragments end depends on the bytes alone and never on how they were split.
_SLACK = 2 * _WINDOW

_LONGEST_CHARACTER = 4
"""Bytes of the longest character in UTF-8 (RFC 3629)."""
_ONE_BYTE_EACH = re.compile(r"ascii|iso8859-\d+|cp125\d|cp8\d\d|koi8-[rtu]|mac-\w+")
"""Encodings in which each byte is a character."""

# Punctuation that means itself at the beginning of a regular expression.
_PLAIN = b"!\"#%&',-/:;<=>@_`~{}"


@runtime_checkable
class Feeds(Protocol):
    """What a user's framing must offer; a `finish() -> list[bytes]` is called when a connection has ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received; return the logical lines that it completes, without their line ends."""


class Framer(Protocol):
    """A framing in use: bytes in, logical lines out. Used on the I/O thread only."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received; return the logical lines that it completes, without their line ends."""

    def finish(self) -> list[bytes]:
        """Return what is incomplete at the end of a connection as fragments, and be ready for the next."""


def cut_before(data: bytes | bytearray | memoryview, at: int, encoding: str | None) -> int:
    """Return where to cut `data` so that no character is cut through: at most `at`, which is returned where
    the bytes there are no text in this encoding (None: UTF-8). `data` reaches beyond `at`.
    """
    code = "utf-8" if encoding is None else codecs.lookup(encoding).name
    if code == "utf-8":
        for back in range(min(_LONGEST_CHARACTER, at)):
            byte = data[at - back]
            if byte & 0xC0 != 0x80:  # no continuation byte: a character begins here
                return at - back if back == 0 or byte >= 0xC0 else at
        return at
    if _ONE_BYTE_EACH.fullmatch(code):
        return at
    try:
        decoder = codecs.getincrementaldecoder(code)()
        decoder.decode(bytes(data[:at]))
        pending = len(decoder.getstate()[0])
    except (UnicodeError, LookupError, NotImplementedError):
        return at
    return at - pending if pending < at else at


class Raw:
    """Give what each read brought as one line, unchanged."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data as one line."""
        return [data] if data else []

    def finish(self) -> list[bytes]:
        """Return nothing: no data is ever buffered."""
        return []


class Announced:
    """Join a line that announces n raw bytes, those bytes, and what follows up to the next line end.

    What follows the raw bytes may announce again (IMAP) or be empty (Redis, NATS). The final line end (LF or
    CRLF) is taken off once; inner ones are kept. A logical line of more than `limit` bytes comes as fragments
    of `limit` bytes; a line that announces more than `limit` bytes is given out at once, before they arrive.
    Little more than `limit` bytes are buffered, and the framing stays in step however much was announced.

    Args:
        pattern: is searched in each line without its line end; the last group that matched is the number of
            bytes; `^` matches only where a logical line begins.
        limit: bytes of the longest logical line that comes in one piece.
        encoding: of the text, so that fragments are cut between characters; None means UTF-8.

    Raises:
        SettingsError: the pattern or the limit cannot work.
    """

    def __init__(
        self, pattern: re.Pattern[bytes], *, limit: int = LINE_LIMIT, encoding: str | None = None
    ) -> None:
        source: object = getattr(pattern, "pattern", None)
        if not isinstance(source, bytes):
            raise SettingsError(f"an announcement must be a compiled pattern of bytes, not {pattern!r}")
        if not pattern.groups:
            raise SettingsError(f"the announcement {source!r} needs a group for the number of bytes, (\\d+)")
        if limit < 1:
            raise SettingsError(f"the longest line must be at least 1 byte, not {limit}")
        self.limit = limit
        self._encoding = encoding
        self._search = pattern.search
        self._mark = _mark(pattern)
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()  # the logical line in progress, without the fragments that are already out
        self._raw = 0  # announced bytes still to come
        self._tail = 0  # bytes of the logical line since its beginning or since its last raw byte
        self._head = -1  # bytes of this logical line before the first announced one; none was announced yet
        self._over = False  # fragments of this logical line are already out

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received; return the logical lines that it completes."""
        lines: list[bytes] = []
        start = self._consume(data, 0, lines) if self._buffer or self._raw else 0
        end = data.rfind(b"\n", start) + 1
        if not self._mark and start < end:
            start = self._skip_plain(data, start, end, lines)
        while start < end:
            at, stop, number = self._find(data, start, end)
            if start < at:
                self._add(split_lines(data[start:at]), at - start, lines)
            if at == end:
                start = end
            else:
                start = self._take(data, at, stop, number, lines) or self._consume(data, at, lines)
        if start < len(data):
            self._consume(data, start, lines)
        return lines

    def plain(self, data: bytes, longest: int) -> int:
        """Return how many bytes at the beginning of `data` are whole lines of at most `longest` bytes that
        announce nothing, where `data` begins a line: they need no framing, and `feed` is given the rest.

        0 where that is not plain to see.
        """
        if self._buffer or self._raw or self._over or not self._mark:
            return 0
        end, _, _ = self._find(data, 0, data.rfind(b"\n") + 1)
        start = 0
        while end - start > longest:
            stop = data.rfind(b"\n", start, start + longest) + 1
            if not stop:
                return start
            start = stop
        return end

    @property
    def unfinished(self) -> bytes:
        """The line in progress, b"" where bytes that were announced are a part of it."""
        return bytes(self._buffer) if self._head < 0 and not self._over else b""

    @property
    def buffered(self) -> int:
        """Bytes that it was fed with last and has given out in no line or fragment yet."""
        return len(self._buffer)

    @property
    def announced(self) -> int:
        """Announced bytes that are still to come."""
        return self._raw

    @property
    def is_over(self) -> bool:
        """Whether fragments of the line in progress are already out."""
        return self._over

    def finish(self) -> list[bytes]:
        """Return the incomplete line as fragments, if there is one, and start anew."""
        lines: list[bytes] = []
        self._cut(bytes(self._buffer), lines)
        self._reset()
        return lines

    def _skip_plain(self, data: bytes, start: int, end: int, lines: list[bytes]) -> int:
        """Take all of data[start:end] if none of its lines announces anything; return how far it got."""
        if self._number(data[start : data.find(b"\n", start)], first=True) >= 0:
            return start  # where the first line announces, the next ones will as well: do not cut in vain
        plain = split_lines(data[start:end])
        if any(map(self._search, plain)):
            return start
        self._add(plain, end - start, lines)
        return end

    def _find(self, data: bytes, at: int, end: int) -> tuple[int, int, int]:
        """Find the next line in data[at:end] that announces: where it begins and ends, and how many bytes.

        Where none does, it begins at `end`.
        """
        while at < end and (hit := data.find(self._mark, at, end)) >= 0:
            at = data.rfind(b"\n", at, hit) + 1 or at
            stop = data.find(b"\n", hit)
            number = self._number(data[at:stop], first=True)
            if number >= 0:
                return at, stop, number
            at = stop + 1
        return end, end, -1

    def _take(self, data: bytes, at: int, stop: int, number: int, lines: list[bytes]) -> int:
        """Take the logical line at data[at], whose first line ends at `stop` and announces `number` bytes.

        Returns where the next one begins; 0, with nothing taken, if this one is not all there or too long.
        """
        head = stop - at - (data[stop - 1 : stop] == b"\r")
        while number >= 0:
            rest = stop + 1 + number
            stop = data.find(b"\n", rest)
            if stop < 0 or stop - at > self.limit:
                return 0
            number = self._number(data[rest:stop], first=False)
        lines.append(Announcing(data[at:stop].removesuffix(b"\r"), head))
        return stop + 1

    def _consume(self, data: bytes, at: int, lines: list[bytes]) -> int:
        """Continue the logical line in progress, or begin one, with data[at:]; return where that ends."""
        size = len(data)
        while at < size:
            if self._raw:
                stop = min(at + self._raw, size)
                self._raw -= stop - at
                self._take_in(data[at:stop], lines)
                at = stop
                continue
            stop = data.find(b"\n", at) + 1
            ended = stop > 0
            stop = stop or size
            self._tail += stop - at
            self._take_in(data[at:stop], lines)
            at = stop
            if not ended:
                break
            number = self._number(self._buffer[-self._tail : -1], first=self._head < 0 and not self._over)
            if number < 0:
                self._end(lines)
                break
            self._raw = number
            self._tail = 0
            if self._head < 0:
                self._head = len(without_end(bytes(self._buffer)))
            if number > self.limit:
                self._cut(bytes(self._buffer), lines)
                self._buffer.clear()
        return at

    def _number(self, line: bytes | bytearray, *, first: bool) -> int:
        """Return how many bytes the line (with or without its CR) announces, −1 for none.

        `first` tells a line from what follows the raw bytes of one, which is no beginning of a line.
        """
        line = line.removesuffix(b"\r")
        if not line:
            return -1
        if first and len(line) <= self.limit:
            found = self._search(line)
        else:
            found = self._search(b" " + line[-_WINDOW:], 1)
        if found is None or found.lastindex is None:
            return -1
        digits = found[found.lastindex]
        return int(digits) if digits.isdigit() and len(digits) <= _MAX_DIGITS else -1

    def _take_in(self, data: bytes, lines: list[bytes]) -> None:
        """Keep data of the line in progress, and give out what is over the limit."""
        buffer = self._buffer
        buffer += data
        if len(buffer) >= self.limit + _SLACK:
            whole = bytes(buffer)
            del buffer[: self._cut(whole, lines, len(whole) - _SLACK)]

    def _end(self, lines: list[bytes]) -> None:
        """Give out the logical line in progress, which has just ended with LF."""
        line = bytes(self._buffer[:-1]).removesuffix(b"\r")
        if self._over or len(line) > self.limit:
            self._cut(line, lines)
        else:
            lines.append(line if self._head < 0 else Announcing(line, self._head))
        self._reset()

    def _add(self, plain: list[bytes], size: int, lines: list[bytes]) -> None:
        """Add whole plain lines that were `size` bytes, the over-long ones in pieces."""
        limit = self.limit
        if size <= limit or max(map(len, plain)) <= limit:
            lines += plain
            return
        for line in plain:
            if len(line) > limit:
                self._cut(line, lines)
                self._over = False
            else:
                lines.append(line)

    def _cut(self, data: bytes, lines: list[bytes], stop: int | None = None) -> int:
        """Give out `data` of the logical line in progress as fragments of at most the limit; return how far
        that came.

        Where they end depends on the bytes alone.

        Args:
            data: what is there of that line, without the fragments that are already out.
            lines: are given the fragments.
            stop: give out only whole fragments that end up to there; more of the line is still to come. None:
                all of it.
        """
        at = 0
        while at < len(data):
            end = at + self.limit
            if stop is not None and end > stop:
                break
            if end < len(data):
                end = at + max(1, cut_before(memoryview(data)[at:], self.limit, self._encoding))
            piece = data[at:end]
            if self._over:
                lines.append(Continuation(piece))
            else:
                self._over = True
                head = self._head
                lines.append(Fragment(piece, head if 0 <= head < len(piece) else None))
            at = end
        return min(at, len(data))


class Foreign:
    """A user's framing for one connection: what it raises or returns wrongly becomes a CallerError that names
    it. It is made, and called, on a thread of its own client, never on the I/O thread: it may take its time.

    Args:
        framing: as `make_framer` takes it: an object to be copied, a class, or a function that makes one.
    """

    def __init__(self, framing: Any) -> None:
        self._given = framing
        self._framer: Feeds | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        given = self._given if self._framer is None else type(self._framer)
        return getattr(given, "__name__", type(given).__name__)

    def make(self) -> Feeds:
        """Return the user's object for this connection, made the first time.

        Raises:
            SettingsError: it cannot be made.
        """
        if self._framer is None:
            given = self._given
            is_object = not isinstance(given, type) and isinstance(given, Feeds)
            self._framer = _copied(given) if is_object else _made(given)
        return self._framer

    def feed(self, data: bytes) -> list[bytes]:
        """Return what the user's framing makes of the data."""
        return self._call(self.make().feed, data)

    def finish(self) -> list[bytes]:
        """Return what it makes of what is incomplete."""
        finish = getattr(self.make(), "finish", None)
        return self._call(finish) if callable(finish) else []

    def _call(self, method: Callable[..., list[bytes]], *arguments: bytes) -> list[bytes]:
        name = self.name
        try:
            lines = list(method(*arguments))
        except BaseException as error:  # a user's code may raise anything, SystemExit too
            raise CallerError(f"the framing {name} failed: {type(error).__name__}: {error}") from error
        for line in lines:
            if not isinstance(line, bytes):
                raise CallerError(f"the framing {name} gave {type(line).__name__}, not bytes")
        return lines


def make_framer(
    framing: str | Feeds | Callable[[], Feeds] | None,
    profile: Profile,
    limit: int = LINE_LIMIT,
    encoding: str | None = None,
) -> Framer | None:
    """Return the framer for one connection, or None for plain lines, which the transcript cuts by itself.

    Args:
        framing: "lines", "announced", "raw", None (what the profile says), an object with `feed(data) ->
            list[bytes]`, of which each connection has a copy, or a class or function that makes one for each
            connection.
        profile: the address's profile.
        limit: bytes of the longest logical line that comes in one piece.
        encoding: of the text, so that longer ones are cut between characters; None means UTF-8.

    Raises:
        SettingsError: it is none of these, or an object that cannot be copied.
    """
    if framing is None:
        framing = profile.framing
    if isinstance(framing, str):
        if framing == "lines":
            return None
        if framing == "raw":
            return Raw()
        if framing == "announced":
            pattern = ANNOUNCEMENT if profile.announce is None else profile.announce
            return Announced(pattern, limit=limit, encoding=encoding)
        raise SettingsError(
            f"unknown framing {framing!r}: use {', '.join(FRAMINGS)}, "
            f"or an object with feed(data) -> list[bytes]"
        )
    if isinstance(framing, Announced | Raw):
        return copy.deepcopy(framing)
    return Foreign(framing)


def check_framing(framing: Any, profile: Profile) -> None:
    """Refuse now what would be refused at each connection. The user's thread, as this makes one.

    Raises:
        SettingsError: as `make_framer`.
    """
    framer = make_framer(framing, profile)
    if isinstance(framer, Foreign):
        framer.make()


def _copied(framing: Feeds) -> Feeds:
    """Copy a user's framing as it was given: what it keeps of one connection must not reach the next, nor
    another client; raise SettingsError where it cannot be copied.
    """
    name = type(framing).__name__
    try:
        copied = copy.deepcopy(framing)
    except Exception as error:  # whatever a user's object, or a part of it, makes of being copied
        raise SettingsError(
            f"the framing {name} cannot be copied for each connection ({type(error).__name__}: {error}): "
            "give the class instead, or a function that makes one"
        ) from error
    if not isinstance(copied, Feeds):
        raise SettingsError(f"a framing needs a method feed(data) -> list[bytes]; a copy of {name} has none")
    return copied


def _made(factory: object) -> Feeds:
    """Call a user's factory of framings; raise SettingsError when it is none."""
    name = getattr(factory, "__name__", type(factory).__name__)
    if not callable(factory):
        raise SettingsError(f"a framing needs a method feed(data) -> list[bytes]; {name} has none")
    try:
        made = factory()
    except Exception as error:  # a user's code may raise anything
        raise SettingsError(f"the framing {name} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, Feeds):
        raise SettingsError(f"a framing needs a method feed(data) -> list[bytes]; {name}() made one without")
    return made


def split_lines(data: bytes, count: int | None = None) -> list[bytes]:
    """Cut data that ends with LF into lines without their LF or CRLF; a lone CR belongs to its line.

    Args:
        data: whole lines.
        count: how many lines these are, where that is known.
    """
    # Each is one pass in C, several times quicker than to look for each line's CR, and right unless the lines
    # do not all end alike, of which there is a cheap proof: bytes are missing, or too many.
    if len(data) < SMALL or data.count(b"\n", 0, SAMPLE) > SAMPLE // LONG:
        lines = data.splitlines()  # looks at each byte, and takes a lone CR for an end
        if count is None:
            if b"\r" not in data or _all_crlf(lines, data):
                return lines
            count = count_lines(data)
        if len(lines) == count:
            return lines
    else:  # which jumps from LF to LF, and has two steps for each line
        end = b"\r\n" if b"\r" in data else b"\n"
        lines = list(map(bytes.removesuffix, io.BytesIO(data), repeat(end)))
        if end == b"\n" or _all_crlf(lines, data):
            return lines
    return [line[:-1].removesuffix(b"\r") for line in io.BytesIO(data)]


def _all_crlf(lines: list[bytes], data: bytes) -> bool:
    """Say whether behind each of the lines, as they were cut from `data`, two bytes are left out."""
    return len(b"".join(lines)) + 2 * len(lines) == len(data)  # a fifth of what sum(map(len, lines)) takes


def count_lines(data: bytes) -> int:
    """Return how many LF stand in `data`."""
    if len(data) < SMALL:
        return data.count(b"\n")
    # `count` looks at each byte; `replace` jumps from LF to LF, which takes half of the time for lines of
    # 80 bytes, a seventh for 400, and twice for 20 (in Python 3.11 and 3.13).
    return len(data) - len(data.replace(b"\n", b""))


# What may stand before the first certain character of a pattern: anchors, look-arounds, optional characters.
_BEFORE_MARK = rb"(?:\^|\\A|\(\?<?[!=](?:\[[^\]\\]*\]|[^()\[\]\\])*\)|[%b]\?)*+" % re.escape(_PLAIN)
_MARKED = re.compile(_BEFORE_MARK + rb"(?:\\([^\w\s])|([%b]))(?![?*{])" % re.escape(_PLAIN))


def _mark(pattern: re.Pattern[bytes]) -> bytes:
    r"""Return a character that every match of the pattern holds, b"" if none is certain.

    Only what is plain to see counts: punctuation, bare or escaped, at the beginning of a pattern without
    alternatives, as in ``\{(\d+)\}$``. It lets whole chunks be taken without looking at each line.
    """
    if b"|" in pattern.pattern or pattern.flags & re.VERBOSE:
        return b""
    found = _MARKED.match(pattern.pattern)
    return (found[1] or found[2]) if found else b""
