"""The transcript of a connection, as users see it: a collection of lines to index, search, show and save.

How it keeps them is the store's (`store.py`, `blocks.py`), how they come in the writer's (`writing.py`), and
what of them is shown the masking's (`masking.py`).
"""

from __future__ import annotations

import itertools
import operator
import os
import re
import sys
from abc import ABCMeta
from bisect import bisect_right
from collections.abc import Collection, Iterator, Reversible
from typing import Any, overload

from ..errors import SettingsError
from ..mask import check_encoding
from .blocks import NOTE, OWN, RECEIVED, WITH_END, Region
from .files import load_lines, save_lines
from .framing import split_lines
from .line import Line
from .search import Found, LineSearch, Pattern, compile_pattern
from .store import LEAST_BYTES
from .tables import dataframe_of
from .text import one_line
from .writing import STRIDE, WHOLE_SHARE, WritableStore

__all__ = ["DEFAULT_BYTES", "DEFAULT_LINES", "Transcript"]

DEFAULT_LINES = 10_000_000
DEFAULT_BYTES = 64 * 1024 * 1024
"""800 000 lines of 80 bytes; a kernel with one flooded connection stays far under 400 MiB."""

_OF_USERS = {"encoding", "end", "first"}
_FOR_THE_PACKAGE = {name for name in dir(WritableStore) if name[:1] != "_" and name not in _OF_USERS} | {
    *("count_hits", "hidden", "hides", "hits", "most_at_once", "redacted", "redacted_text")
}
"""Names of the transcript's that are for this package, and not offered by completion."""


class _TranscriptType(ABCMeta):
    """The type of transcripts: it has completion offer nothing internal. IPython looks into the class too."""

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if name not in _FOR_THE_PACKAGE]


class Transcript(WritableStore, Reversible[Line], Collection[Line], metaclass=_TranscriptType):
    """The lines of a connection: those received, those sent, and what happened; the oldest are forgotten
    first.

    Indexed by line number: `t[n].number == n` for as long as the line is kept (`t.first <= n < t.end`);
    negative indices count from the end; slices give what is kept of the range. Reading is safe in any thread
    at any time and makes nobody wait.
    """

    def __init__(
        self,
        lines: int = DEFAULT_LINES,
        bytes: int = DEFAULT_BYTES,  # noqa: A002 - the word users know
        *,
        encoding: str | None = None,
    ) -> None:
        """Begin empty.

        Args:
            lines: how many it keeps at most.
            bytes: how much memory it takes at most, but for up to 8 MiB that a reader or a record is about to
                read.
            encoding: how a line's `text` is decoded; None means UTF-8, else ISO-8859-1.

        Raises:
            SettingsError: a limit is no positive whole number, or the encoding is unknown.
        """
        for name, value, least in (("lines", lines, 1), ("bytes", bytes, LEAST_BYTES)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise SettingsError(
                    f"a transcript's {name} must be a whole number from {least} up, not {value!r}"
                )
        super().__init__(lines, bytes, None if encoding is None else check_encoding(encoding))

    # -- as a collection

    @property
    def forgotten(self) -> int:
        """How many lines had to be forgotten."""
        return self.first

    @property
    def line_limit(self) -> int:
        """How many lines are kept at most."""
        return self._line_limit

    @property
    def byte_limit(self) -> int:
        """How many bytes of memory are used at most."""
        return self._byte_limit

    @property
    def longest_line(self) -> int:
        """How many bytes a received line has at most; a longer one is kept as fragments."""
        return self._longest

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        end = self._end
        if isinstance(index, slice):
            return self._slice(range(*index.indices(end)))
        number = operator.index(index)
        if number < 0:
            number += end
        if not 0 <= number < end:
            raise IndexError(f"there is no line {index}: the transcript has had {end} lines")
        for line in self.lines(number, number + 1):
            return line
        raise IndexError(
            f"line {number} is forgotten: the transcript keeps lines {self.first} to {self._end - 1}"
        )

    def _slice(self, wanted: range) -> list[Line]:
        if not wanted:
            return []
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        lines = list(self.lines(low, high + 1))
        if abs(wanted.step) > 1:
            lines = [line for line in lines if line.number in wanted]
        return lines if wanted.step > 0 else lines[::-1]

    def __iter__(self) -> Iterator[Line]:
        return self.lines(self.first, self._end)

    def __reversed__(self) -> Iterator[Line]:
        stop = self._end
        while stop > (first := self.first):
            start = max(first, stop - STRIDE)
            yield from reversed(list(self.lines(start, stop)))
            stop = start

    def __contains__(self, line: object) -> bool:
        return isinstance(line, Line) and line in self.lines(line.number, line.number + 1)

    def __repr__(self) -> str:
        first = self.first
        return f"<Transcript of {len(self)} lines{f', {first} forgotten' if first else ''}>"

    def lines(
        self, start: int, stop: int, *, strict: bool = False, for_readers: bool = False
    ) -> Iterator[Line]:
        """Yield the kept lines with numbers from `start` up to, not with, `stop`, in order. Any thread.

        Args:
            start: a line number.
            stop: a line number.
            strict: whether to raise where one of them is forgotten already; else it is passed over.
            for_readers: only what the peer has said to those who read; not what came in plain text before
                STARTTLS.

        Raises:
            Overrun: a line is forgotten, and `strict`.
        """
        encoding = self.encoding
        for block, mark, number, count, data in self._regions(start, stop, strict=strict):
            kind = block.kinds[mark]
            if for_readers and kind in OWN:
                continue
            lines = self._cut(kind, data, count)
            if kind != RECEIVED:
                yield block.line(mark, number, lines[0], encoding)
                continue
            until, time = block.first + block.counts[mark], block.times[mark]
            for line in lines:
                if number == until:
                    mark += 1
                    until, time = block.first + block.counts[mark], block.times[mark]
                yield Line(line, time, "<", number, False, encoding)
                number += 1

    def _cut(self, kind: int, data: bytes, count: int) -> list[bytes]:
        """Return the `count` lines under marks of this kind, with each secret masked."""
        lines = split_lines(data, count) if kind in WITH_END else [data]
        masking = self._masking
        # One look through all of them first: mostly there is nothing to mask.
        if masking.active and masking.found_in(data):
            return list(map(masking.masked_note if kind == NOTE else masking.masked, lines))
        return lines

    def text(self, start: int | None = None, stop: int | None = None) -> str:
        """Return the kept lines as text, one a line, each with its direction. Any thread.

        Line breaks within a line (a literal has some) are written as escapes: what a peer sends cannot look
        like another line of the log.

        Args:
            start: the number of the first line; None: the oldest that is kept.
            stop: the number after the last line; None: all that there are now.
        """
        lines = self.lines(self.first if start is None else start, self._end if stop is None else stop)
        return "".join(f"{line.direction} {one_line(line.text)}\n" for line in lines)

    # -- secrets

    def hide(self, secret: bytes) -> None:
        """Show `secret` as •••• from now on, wherever it stands in a line, sent or received.

        One with line breaks is hidden line by line, too. Any thread but the I/O thread.
        """
        self._masking.hide(secret)

    @property
    def hides(self) -> bool:
        """Whether anything is hidden."""
        return self._masking.active

    def redacted(self, data: bytes) -> bytes:
        """Return `data` with what is hidden shown as ••••. Any thread."""
        return self._masking.masked(data)

    def redacted_text(self, text: str) -> str:
        """Return `text` with what is hidden shown as ••••. Any thread."""
        return self._masking.masked_text(text)

    def hidden(self, data: bytes) -> list[tuple[int, int]]:
        """Return where in `data` each hidden stretch begins and ends: secrets that overlap are one. Any
        thread.
        """
        return self._masking.stretches(data)

    # -- searching

    def search(
        self, pattern: Pattern, *, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Found:
        """Return the kept lines in which the regular expression `pattern` is found: to go through, each as
        soon as it is found, to count or to index. Any thread.

        What is forgotten or comes meanwhile is not looked at.

        Args:
            pattern: of str, it looks at a line's text; of bytes, at its bytes.
            start: the line number to look from; None: the oldest that is kept.
            stop: the line number to look up to; None: all that there are now.
            reverse: whether the newest comes first.

        Raises:
            SettingsError: the pattern is no regular expression.
        """
        compiled = compile_pattern(pattern, self._masking.masked_text)

        def find() -> Iterator[Line]:
            found = self._found(compiled, start, stop, reverse)
            return itertools.chain.from_iterable(itertools.starmap(self._made, found))

        return Found(find)

    def hits(
        self, pattern: Pattern, *, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[int]:
        """Return an iterator over the numbers of the lines that `search` would give, which is quicker where
        there are many. Any thread.
        """
        found = self._found(compile_pattern(pattern, self._masking.masked_text), start, stop, reverse)
        return (number + index for (_, _, number, _, _), indexes in found for index in indexes)

    def count_hits(self, pattern: Pattern, *, start: int | None = None, stop: int | None = None) -> int:
        """Return how many lines `search` would give. Any thread."""
        found = self._found(compile_pattern(pattern, self._masking.masked_text), start, stop, False)
        return sum(len(indexes) for _, indexes in found)

    def _found(
        self, pattern: re.Pattern[Any], start: int | None, stop: int | None, reverse: bool
    ) -> Iterator[tuple[Region, list[int]]]:
        """Yield each region with hits, and which lines of it those are, counted from its first."""
        masking = self._masking
        peers = LineSearch(pattern, self.encoding)
        ours = LineSearch(pattern, None)
        regions = self._regions(
            self.first if start is None else start, self._end if stop is None else stop, reverse=reverse
        )
        for region in regions:
            block, mark, _, count, data = region
            kind = block.kinds[mark]
            if kind == RECEIVED and not (masking.active and masking.found_in(data)):
                indexes = peers.among(data)
            else:
                search = ours if kind == NOTE else peers
                indexes = [
                    index for index, line in enumerate(self._cut(kind, data, count)) if search.one(line)
                ]
            if indexes:
                yield region, indexes[::-1] if reverse else indexes

    def _made(self, region: Region, indexes: list[int]) -> Iterator[Line]:
        """Yield the lines of a region that have these indexes, counted from its first."""
        block, mark, number, count, data = region
        kind = block.kinds[mark]
        lines = self._cut(kind, data, count)
        if kind != RECEIVED:
            yield block.line(mark, number, lines[0], self.encoding)
            return
        first, counts, times, encoding = block.first, block.counts, block.times, self.encoding
        for index in indexes:
            time = times[bisect_right(counts, number + index - first)]
            yield Line(lines[index], time, "<", number + index, False, encoding)

    # -- files, tables, copies

    def to_dataframe(self) -> Any:
        """Return the kept lines as a pandas DataFrame: number (index), time (UTC), direction, text, data,
        truncated. Any thread.

        Raises:
            ImportError: pandas is missing; the message names the extra to install.
        """
        return dataframe_of(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the kept lines to a file: as text for .txt and .log, else as JSON lines, which `load` reads.
        Any thread.

        Args:
            path: in which `~` is the user's home.

        Raises:
            OSError: the file can't be written.
        """
        save_lines(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, encoding: str | None = None) -> Transcript:
        """Return the transcript that `save` wrote, or a record's, with numbers and times. Any thread.

        Of a record whose writer was killed, a line that was only begun is left out; where the numbers of a
        record begin anew, they are counted on.

        Args:
            path: of the file of JSON lines; in it, `~` is the user's home.
            encoding: how a line's `text` is decoded; None means UTF-8, else ISO-8859-1.

        Raises:
            OSError: the file can't be read.
            SettingsError: a line of it is none of a record.
        """
        with open(os.path.expanduser(path), encoding="utf-8", errors="surrogateescape") as file:
            # As JSON everything takes more than an eighth of what it takes here, so all of it is kept.
            limit = max(DEFAULT_BYTES, WHOLE_SHARE * os.fstat(file.fileno()).st_size)
            transcript = cls(sys.maxsize, limit, encoding=encoding)
            transcript._append_copies(load_lines(file, os.fspath(path), encoding))
        return transcript

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy as plain values: the lines as they are shown, masked, with numbers and times. What
        was hidden is known no more, and nothing of a connection goes with it. Any thread.
        """
        end = self._end  # first: what comes meanwhile is left out, with its number
        rows = [
            (line.data, line.time, line.direction, line.number, line.truncated, self.encoding, line.delivery)
            for line in self.lines(0, end)
        ]
        return _restored, (type(self), self._line_limit, self._byte_limit, self.encoding, end, rows)

    def __dir__(self) -> list[str]:
        """Return what is for users: what completion offers."""
        return [
            name
            for name in super().__dir__()
            if name not in _FOR_THE_PACKAGE and (name[:1] != "_" or name[:2] == "__")
        ]


def _restored(
    kind: type[Transcript], lines: int, size: int, encoding: str | None, end: int, rows: list[Any]
) -> Transcript:
    """Return the transcript that `Transcript.__reduce__` took apart."""
    transcript = kind(lines, size, encoding=encoding)
    transcript._restore(itertools.starmap(Line, rows), end)
    return transcript
