"""Finds the lines of a chunk in which a regular expression is found; passes over all that cannot hold it.

To make a text of each line and to search it costs twice as much as everything else together. So the pattern
is asked beforehand which bytes every match of it must hold: its *needles*. A chunk without them is passed
over at the speed of `bytes.find`; in one that has few, only the lines around them are looked at. Where
nothing is certain, or nearly every line has a needle, the whole chunk is decoded and cut at once.

The result is always that of the pattern's own search in each line's text.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, overload

from ..errors import SettingsError
from .framing import split_lines
from .line import Line
from .text import decode

__all__ = ["Found", "LineSearch", "Pattern", "compile_pattern", "decode_lines", "needles_of"]

Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]

DENSE = 8
"""Where more than one line in so many holds the needle, cutting all of the chunk is cheaper than cutting out
each such line (measured)."""
MOST_NEEDLES = 8
"""Each needle of an alternation is looked for by itself."""

FOUND_SHOWN = 20
"""Lines that the repr of what was found shows: about what a terminal has room for."""

# In these, "\n" and every other ASCII character is that one byte and no part of another character: a chunk
# can be decoded as a whole, and ASCII characters be found in its bytes.
_PLAIN_CODECS = re.compile(r"utf-8|ascii|iso8859-\d+|cp125\d|koi8-[rtu]")


def compile_pattern(pattern: Pattern, redact: Callable[[str], str] = str) -> re.Pattern[Any]:
    """Return `pattern` compiled; a bytes pattern looks at a line's bytes, a str pattern at its text. Any
    thread.

    Raises:
        SettingsError: it is no regular expression; its text is what `redact` gives.
    """
    if isinstance(pattern, (str, bytes)):
        try:
            return _compiled(pattern)
        except SettingsError as error:
            raise SettingsError(redact(str(error))) from None
    if not isinstance(pattern, re.Pattern):
        raise SettingsError(
            f"a pattern is str, bytes or a compiled regular expression, not {type(pattern).__name__}"
        )
    return pattern


@lru_cache(maxsize=256, typed=True)
def _compiled(pattern: str | bytes) -> re.Pattern[Any]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"not a regular expression: {pattern!r} ({error})") from None
    except (RecursionError, OverflowError):
        raise SettingsError(f"too much of a regular expression: {pattern[:60]!r}; make it simpler") from None


class Found:
    """The lines that a search finds: looked for anew whenever they are gone through, each as soon as it is
    found, and kept only once they were counted. Any thread.
    """

    __slots__ = ("_all", "_find", "_running")

    def __init__(self, find: Callable[[], Iterator[Line]]) -> None:
        self._find = find
        self._all: list[Line] | None = None
        self._running: Iterator[Line] | None = None

    def __iter__(self) -> Iterator[Line]:
        # A generator, as it decides when it is asked for the first line: `list` asks for the length before
        # that, which must not cost a second search.
        yield from self._find() if self._all is None else self._all

    def __next__(self) -> Line:
        if self._running is None:
            self._running = iter(self)
        return next(self._running)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __len__(self) -> int:
        if self._all is None:
            self._all = [*self._find()]
        return len(self._all)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        if isinstance(index, int) and index >= 0:
            for line in islice(self, index, None):
                return line
            raise IndexError(f"fewer than {index + 1} lines were found")
        return list(self)[index]

    def __repr__(self) -> str:
        lines = list(islice(self._find() if self._all is None else self._all, FOUND_SHOWN + 1))
        more = "\n…" if len(lines) > FOUND_SHOWN else ""
        return "\n".join(map(repr, lines[:FOUND_SHOWN])) + more if lines else "no line was found"


class LineSearch:
    """A pattern ready to be searched for in lines. Immutable; any thread.

    Args:
        pattern: compiled; of str it looks at the lines' text, of bytes at their bytes.
        encoding: of the lines, as for `decode`.
    """

    __slots__ = ("_encoding", "_fold", "_look", "_needles", "_of_bytes", "_plain")

    def __init__(self, pattern: re.Pattern[Any], encoding: str | None) -> None:
        self._look = pattern.search
        self._encoding = encoding
        self._of_bytes = isinstance(pattern.pattern, bytes)
        self._plain = self._of_bytes or _is_plain(encoding)
        self._needles = needles_of(pattern) if self._plain else ()
        self._fold = bool(pattern.flags & re.IGNORECASE)

    def one(self, line: bytes) -> bool:
        """Say whether the pattern is found in `line`."""
        return bool(self._look(line if self._of_bytes else decode(line, self._encoding)))

    def rules_out(self, data: bytes) -> bool:
        """Say whether no line of `data`, whole lines however they are joined, can match. False proves
        nothing.
        """
        if not self._needles:
            return False
        data = self._folded(data)
        return not any(needle in data for needle in self._needles) if data else False

    def among(self, data: bytes) -> list[int]:
        """Return which lines match, counted from 0, of `data`: received lines with their line ends."""
        needles = self._needles
        if needles and (folded := self._folded(data)):
            if len(needles) == 1:
                at = folded.find(needles[0])
                if at < 0:
                    return []
                if folded.count(needles[0], at) * DENSE < folded.count(b"\n"):
                    return list(self._around(data, folded, needles[0], at))
            elif not any(needle in folded for needle in needles):
                return []
        look = self._look
        return [index for index, line in enumerate(self._cut(data)) if look(line)]

    def _folded(self, data: bytes) -> bytes:
        """Return what to look for the needles in; b"" where that would prove nothing."""
        if not self._fold:
            return data
        # Letters beyond ASCII may match one of ASCII when case is ignored: U+212A is a K.
        return data.lower() if self._of_bytes or data.isascii() else b""

    def _around(self, data: bytes, folded: bytes, needle: bytes, at: int) -> Iterator[int]:
        """Look at the lines that hold the needle only; the first is found `at`."""
        begin = index = 0  # of the first line that is not passed over yet
        while at >= 0:
            start = data.rfind(b"\n", begin, at) + 1 or begin
            stop = data.find(b"\n", at) + 1 or len(data)
            index += data.count(b"\n", begin, start)
            if self.one(data[start:stop].removesuffix(b"\n").removesuffix(b"\r")):
                yield index
            index += 1
            begin = stop
            at = folded.find(needle, begin)

    def _cut(self, data: bytes) -> Iterable[Any]:
        """Return the lines as the pattern takes them."""
        if self._of_bytes:
            return split_lines(data)
        if self._plain:
            try:
                text = data.decode(self._encoding or "utf-8")
            except UnicodeDecodeError:
                pass
            else:
                lines = text.replace("\r\n", "\n").split("\n")
                del lines[-1]
                return lines
        return [decode(line, self._encoding) for line in split_lines(data)]


def decode_lines(lines: list[bytes], encoding: str | None) -> list[str]:
    """Return the text of each line, as `decode` gives it: all at once where that is the same, which is
    several times quicker. Any thread.
    """
    if _is_plain(encoding):
        try:
            texts = b"\n".join(lines).decode(encoding or "utf-8").split("\n")
        except UnicodeDecodeError:
            pass  # some line does not fit the encoding, and shows as ISO-8859-1
        else:
            if len(texts) == len(lines):  # or some line has a line feed in it
                return texts
    return [decode(line, encoding) for line in lines]


@lru_cache(maxsize=64)
def _is_plain(encoding: str | None) -> bool:
    return encoding is None or bool(_PLAIN_CODECS.fullmatch(codecs.lookup(encoding).name))


_WARNED_OF = re.compile(r"\[\^?(?:\[|\]?(?:\\.|[^\\\]])*?(?:--|&&|~~|\|\|))", re.DOTALL)
"""Sets of which the parser says, in a warning, that they may mean something else one day. It said so when the
pattern was compiled: once is enough, and not from any thread."""


@lru_cache(maxsize=64)
def needles_of(pattern: re.Pattern[Any]) -> tuple[bytes, ...]:
    """Return bytes of which at least one is in whatever `pattern` matches, in lower case where it ignores
    case; () when none are certain. Any thread.

    Of text only ASCII counts, whose bytes are known whatever the encoding is.
    """
    limit = 0x100 if isinstance(pattern.pattern, bytes) else 0x80
    source = pattern.pattern.decode("iso-8859-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
    if pattern.flags & re.LOCALE or _WARNED_OF.search(source):
        return ()
    try:
        # The parser is no public part of `re`; if it is not there, or not as we know it, each line is looked
        # at.
        parser: Any = importlib.import_module("re._parser")
        found = _best(_certain(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG), limit))
    except (ImportError, AttributeError, TypeError, ValueError, RecursionError, re.error):
        return ()
    return tuple(needle.lower() for needle in found) if pattern.flags & re.IGNORECASE else found


def _certain(items: Any, limit: int) -> Iterator[int | tuple[bytes, ...] | None]:
    """Yield what every match of a parsed pattern holds, in order: characters that follow each other, needles
    one of which is there, and None for whatever is not known.
    """
    for operation, argument in items:
        name = str(operation)
        if name == "LITERAL" and argument < limit:
            yield argument
        elif name == "SUBPATTERN" and not argument[1] and not argument[2]:  # flags of its own
            yield from _certain(argument[3], limit)
        elif name == "ATOMIC_GROUP":
            yield from _certain(argument, limit)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and argument[0] >= 1:
            yield from _certain(argument[2], limit)
            if argument[1] != 1:
                yield None
        elif name == "BRANCH":
            choices = [_best(_certain(branch, limit)) for branch in argument[1]]
            needles = tuple(needle for choice in choices for needle in choice)
            yield needles if all(choices) and len(needles) <= MOST_NEEDLES else None
        elif name not in ("AT", "ASSERT", "ASSERT_NOT"):  # these take up no characters
            yield None


def _best(parts: Iterable[int | tuple[bytes, ...] | None]) -> tuple[bytes, ...]:
    """Return the most telling needles: those of which the shortest is the longest."""
    best: tuple[bytes, ...] = ()
    length = 0
    run = bytearray()
    for part in (*parts, None):
        if isinstance(part, int):
            run.append(part)
            continue
        if len(run) > length:
            best, length = (bytes(run),), len(run)
        run.clear()
        if part and min(map(len, part)) > length:
            best, length = part, min(map(len, part))
    return best
