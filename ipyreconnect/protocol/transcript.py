"""The bounded record of what was received, sent and what happened; keeps raw chunks and splits them when
somebody looks.

Why raw chunks: splitting a line and making an object of it costs more than receiving it (27–66 ns for the
split alone, against 25 ns for the bytes), and a list of lines needs 121–137 bytes for a line of 80. So
received bytes land in blocks of up to 1 MiB and only their line ends are counted; every line has its number
at once, and its bytes are looked up when a panel, an expectation or a slice asks.

One writer, any number of readers, no lock: the writer appends to a block and then publishes the count. A full
transcript gives up its oldest block and uses its memory again; a reader copies what it wants and then checks
that the block was not given up meanwhile.

Within a block stand *marks*, each a run of whole lines of one kind; a line that is not complete yet (the
carry) stands behind the last mark. No line straddles two blocks or two marks.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from ..errors import Overrun, SettingsError
from ..settings import MASK, mask_in
from .framing import split_lines

if TYPE_CHECKING:
    from .delivery import Delivery

__all__ = ["Line", "Transcript", "decode"]

DEFAULT_LINES = 10_000_000
DEFAULT_BYTES = 64 * 1024 * 1024
"""800 000 lines of 80 bytes; a kernel with one flooded connection stays far under 400 MiB."""
LEAST_BYTES = 4096
FIRST_BLOCK = 1024
"""An idle connection costs little: blocks double from here."""
LARGEST_BLOCK = 1024 * 1024
"""One read fills at most this much: bigger steps gain nothing (measured), smaller ones cost hand-overs of the
interpreter lock."""
BLOCKS_AT_LEAST = 16
"""What is forgotten at a time is at most this part of the whole."""
BLOCK_A_LINE = 2
"""Bytes of a block for each line that is kept at most: one read must not bring so many lines that others,
which nobody could read yet, are forgotten for them."""
LONGEST_LINE = 64 * 1024
"""Longer lines are kept as fragments marked `truncated`: a line without end must not be carried for ever."""
LEAST_ROOM = 256
"""A read into less room than this is not worth its call: a new block is begun."""
MARK_COST = 13
DELIVERY_COST = 320
"""Bytes that a mark, and a sent line's delivery record, take beside the line itself (measured with
tracemalloc)."""
MARKS_WEIGHT = 2
"""A block is closed early when its marks weigh more than this many times its bytes (a feed of very short
lines)."""
TICKS = 1_000_000
"""Times are kept as whole microseconds since the block's beginning, 4 bytes each."""
LONGEST_SPAN = 0xFFFFFFFF // TICKS
KEPT_INDEXES = 8
"""Runs of lines whose line ends are kept for random access: 4 bytes a line."""

Data = bytes  # where a parameter has the name

RECEIVED, FRAMED, FRAGMENT, SENT, NOTE = range(5)
_DIRECTIONS = ("<", "<", "<", ">", "*")


def decode(data: bytes, encoding: str | None) -> str:
    """Return `data` as text: by `encoding` (UTF-8 when None) and, where it does not fit, as ISO-8859-1, which
    takes every byte.
    """
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


class Line:
    """One line of a transcript. Immutable; any thread.

    data: the bytes without the line end. time: seconds since the Unix epoch. direction: "<" received, ">"
    sent, "*" something that happened. number: counted from 0 over the whole life of the transcript, never
    used twice. truncated: a fragment of an over-long or unfinished line. delivery: the fate of a sent line,
    else None.
    """

    __slots__ = ("_encoding", "data", "delivery", "direction", "number", "time", "truncated")

    def __init__(
        self,
        data: bytes,
        time: float = 0.0,
        direction: str = "<",
        number: int = 0,
        truncated: bool = False,
        encoding: str | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.data = data
        self.time = time
        self.direction = direction
        self.number = number
        self.truncated = truncated
        self.delivery = delivery
        self._encoding = encoding

    @property
    def text(self) -> str:
        """The line as text, by the connection's encoding, or as ISO-8859-1 where it does not fit."""
        # What happened is our own text, whatever the peer's encoding is.
        return self.data.decode() if self.direction == "*" else decode(self.data, self._encoding)

    def __repr__(self) -> str:
        return f"<Line {self.number} {self.direction} {self.text!r}{' truncated' if self.truncated else ''}>"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Line):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[bytes, float, str, int, bool]:
        return (self.data, self.time, self.direction, self.number, self.truncated)


class _Block:
    """Up to 1 MiB of lines; see the module's first lines."""

    __slots__ = (
        "base",
        "counts",
        "data",
        "deliveries",
        "ends",
        "first",
        "given_up",
        "kinds",
        "settled",
        "times",
        "used",
        "view",
        "weight",
    )

    def __init__(self, data: bytearray, first: int, base: float) -> None:
        self.data = data
        self.view = memoryview(data)
        self.first = first  # the number of the first line in it
        self.base = base  # what `times` count from, Unix epoch seconds
        self.used = 0  # bytes written
        self.settled = 0  # bytes in marks; behind them stands the carry
        self.weight = 0
        self.ends = array("I")
        self.counts = array("I")  # lines up to and with this mark
        self.times = array("I")
        self.kinds = bytearray()
        self.deliveries: dict[int, Delivery] | None = None
        self.given_up = False

    @property
    def count(self) -> int:
        return self.counts[-1] if self.counts else 0

    @property
    def cost(self) -> int:
        return len(self.data) + self.weight


class Transcript(Sequence[Line]):
    """The lines of a connection: those received, those sent, and what happened; the oldest are forgotten
    first.

    lines: how many it keeps at most. bytes: how much memory it takes at most. encoding: how a line's `text`
    is decoded (None: UTF-8, else ISO-8859-1). Indexed by line number: `t[n].number == n` for as long as the
    line is kept (`t.first <= n < t.end`); negative indices count from the end; slices give what is kept of
    the range. Reading is safe in any thread at any time and holds nobody up.

    Raises SettingsError for limits that are no positive whole numbers.
    """

    def __init__(
        self,
        lines: int = DEFAULT_LINES,
        bytes: int = DEFAULT_BYTES,  # noqa: A002 - the word users know
        *,
        encoding: str | None = None,
    ) -> None:
        for name, value, least in (("lines", lines, 1), ("bytes", bytes, LEAST_BYTES)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise SettingsError(
                    f"a transcript's {name} must be a whole number from {least} up, not {value!r}"
                )
        self.encoding = encoding
        self._hidden: frozenset[Data] = frozenset()
        self._hiding: re.Pattern[Data] | None = None
        self._mask = mask_in(None)
        self._line_limit = lines
        self._byte_limit = bytes
        self._largest = max(FIRST_BLOCK, min(LARGEST_BLOCK, bytes // BLOCKS_AT_LEAST, lines * BLOCK_A_LINE))
        self._longest_line = min(LONGEST_LINE, max(FIRST_BLOCK, bytes // 4))
        self._next_size = min(FIRST_BLOCK, self._largest)
        self._blocks: tuple[_Block, ...] = ()
        self._end = 0
        self._first = 0
        self._cost = 0  # of all blocks but the last
        self._spare: bytearray | None = None
        self._indexes: OrderedDict[tuple[int, int], array[int]] = OrderedDict()

    # -- reading: any thread
    # ----------------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """The number of the oldest line that is kept (equal to `end` when there is none)."""
        return self._first

    @property
    def end(self) -> int:
        """The number that the next line will get: how many lines there have been."""
        return self._end

    @property
    def forgotten(self) -> int:
        """How many lines had to be forgotten."""
        return self._first

    @property
    def line_limit(self) -> int:
        """How many lines are kept at most."""
        return self._line_limit

    @property
    def byte_limit(self) -> int:
        """How many bytes of memory are used at most."""
        return self._byte_limit

    def __len__(self) -> int:
        return self._end - self._first

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        end = self._end
        if isinstance(index, slice):
            start, stop, step = index.indices(end)
            if step == 1:
                return list(self.lines(start, stop))
            first = self._first
            return [self[number] for number in range(start, stop, step) if number >= first]
        number = index + end if index < 0 else index
        if not 0 <= number < end:
            raise IndexError(f"there is no line {index}: the transcript has had {end} lines")
        for line in self.lines(number, number + 1):
            return line
        raise IndexError(
            f"line {number} is forgotten: the transcript keeps lines {self._first} to {self._end - 1}"
        )

    def __iter__(self) -> Iterator[Line]:
        return self.lines(self._first, self._end)

    def __contains__(self, line: object) -> bool:
        return any(other == line for other in self)

    def hide(self, secret: Data) -> None:
        """Show `secret` as •••• from now on, wherever it stands in a line, sent or received.

        One with line breaks is hidden line by line, too. Any thread.
        """
        hidden = self._hidden | {piece for piece in (secret, *secret.splitlines()) if piece}
        # The longest first, where one is a part of another.
        pattern = b"|".join(map(re.escape, sorted(hidden, key=len, reverse=True)))
        self._mask = mask_in(self.encoding)
        self._hidden, self._hiding = hidden, re.compile(pattern)

    @property
    def hides(self) -> bool:
        """Whether anything is hidden."""
        return self._hiding is not None

    def redacted(self, data: Data) -> Data:
        """Return `data` with what is hidden shown as ••••. Any thread."""
        return data if self._hiding is None else self._hiding.sub(self._mask, data)

    def redacted_text(self, text: str) -> str:
        """Return `text` with what is hidden shown as ••••. Any thread."""
        if self._hiding is None:
            return text
        hidden = self._hiding.sub(MASK.encode(), text.encode("utf-8", "surrogatepass"))
        return hidden.decode("utf-8", "surrogatepass")

    def lines(self, start: int, stop: int) -> Iterator[Line]:
        """Yield the kept lines with numbers from `start` up to, not with, `stop`, in order. Any thread."""
        if self._hiding is None:
            return self._lines(start, stop)
        return self._redacted_lines(start, stop)

    def _redacted_lines(self, start: int, stop: int) -> Iterator[Line]:
        for line in self._lines(start, stop):
            line.data = self.redacted(line.data)
            yield line

    def _lines(self, start: int, stop: int) -> Iterator[Line]:
        encoding = self.encoding
        for block, mark, number, data, ends in self._runs(start, stop):
            kind = block.kinds[mark]
            time = block.base + block.times[mark] / TICKS
            if kind == RECEIVED:
                position = 0
                for end in ends:
                    yield Line(_stripped(data[position:end]), time, "<", number, False, encoding)
                    number += 1
                    position = end
            else:
                delivery = block.deliveries.get(mark) if kind == SENT and block.deliveries else None
                yield Line(data, time, _DIRECTIONS[kind], number, kind == FRAGMENT, encoding, delivery)

    def received(self, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines from `start` up to `stop` as (number of the first, their bytes), a run at
        a time.

        The fast way to read many lines: no object a line. Raises Overrun when `start` is forgotten already.
        Any thread.
        """
        if start < self._first:
            raise _overrun(start, self._first)
        expected = start
        for block, mark, number, data, _ in self._runs(start, stop, indexed=False):
            if number > expected:
                raise _overrun(expected, number)
            kind = block.kinds[mark]
            if kind == RECEIVED:
                lines = split_lines(data)
                yield number, lines
                expected = number + len(lines)
            else:
                expected = number + 1
                if kind in (FRAMED, FRAGMENT):
                    yield number, [data]
        if expected < min(stop, self._first):
            raise _overrun(expected, self._first)

    def _runs(
        self, start: int, stop: int, indexed: bool = True
    ) -> Iterator[tuple[_Block, int, int, bytes, Sequence[int]]]:
        """Yield (block, mark, first number, a copy of the bytes, line ends in it) for each mark that meets
        the range.
        """
        start = max(start, self._first)
        stop = min(stop, self._end)
        blocks = self._blocks
        at = max(0, bisect_right(blocks, start, key=lambda block: block.first) - 1)
        for block in blocks[at:]:
            if block.first >= stop:
                return
            counts = block.counts
            skipped = bisect_right(counts, start - block.first) if start > block.first else 0
            for mark in range(skipped, len(counts)):
                number = block.first + (counts[mark - 1] if mark else 0)
                if number >= stop:
                    return
                low = block.ends[mark - 1] if mark else 0
                high = block.ends[mark]
                ends: Sequence[int] = ()
                if block.kinds[mark] == RECEIVED:
                    lines = counts[mark] - (counts[mark - 1] if mark else 0)
                    skip = max(0, start - number)
                    last = min(lines, stop - number)
                    if indexed or skip or last < lines:
                        index = self._index(block, mark, low, high)
                        if index is None:
                            continue
                        origin = index[skip - 1] if skip else 0
                        ends = [end - origin for end in index[skip:last]]
                        low, high = low + origin, low + index[last - 1]
                        number += skip
                data = bytes(block.view[low:high])
                if block.given_up:
                    continue
                yield block, mark, number, data, ends

    def _index(self, block: _Block, mark: int, low: int, high: int) -> array[int] | None:
        """Return where each line of a run ends, relative to the run; None when the block was given up
        meanwhile.
        """
        key = (block.first, mark)
        index = self._indexes.get(key)
        if index is None:
            data = bytes(block.view[low:high])
            if block.given_up:
                return None
            index = array("I", itertools.accumulate(map(len, io.BytesIO(data))))
            self._indexes[key] = index
            while len(self._indexes) > KEPT_INDEXES:
                try:
                    self._indexes.popitem(last=False)
                except KeyError:  # another reader was quicker
                    break
        return index

    def raw(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield (number, bytes with line end) of each received line from `start` on, last the unfinished one.

        For who reads a stream of bytes rather than lines. The writer only.
        """
        for block, mark, number, data, ends in self._runs(start, self._end):
            if block.kinds[mark] == RECEIVED:
                position = 0
                for end in ends:
                    yield number, data[position:end]
                    number += 1
                    position = end
            elif block.kinds[mark] in (FRAMED, FRAGMENT):
                yield number, data
        yield self._end, self.unfinished

    def take_unfinished(self) -> bytes:
        """Give up the line that is not complete yet, to a framer that goes on with it. The writer only."""
        unfinished = self.unfinished
        if unfinished:
            self._blocks[-1].used = self._blocks[-1].settled
        return unfinished

    def recent(self, share: int) -> int:
        """Return a line number from which on the lines take about one `share`-th of what the transcript may
        keep. Any thread.
        """
        wanted = self._byte_limit // share
        for block in reversed(self._blocks):
            wanted -= block.cost
            if wanted <= 0:
                return max(block.first, self._end - self._line_limit // share)
        return max(self._first, self._end - self._line_limit // share)

    def search(
        self, pattern: str | re.Pattern[str], *, start: int | None = None, stop: int | None = None
    ) -> Iterator[Line]:
        """Yield the kept lines in which the regular expression `pattern` is found, oldest first. Any thread.

        start, stop: line numbers to look from and up to. Raises SettingsError for a pattern that is no
        regular expression.
        """
        if isinstance(pattern, str):
            try:
                pattern = re.compile(pattern)
            except re.error as error:
                raise SettingsError(f"not a regular expression: {pattern!r} ({error})") from None
        look = pattern.search
        for line in self.lines(self._first if start is None else start, self._end if stop is None else stop):
            if look(line.text):
                yield line

    def text(self, start: int | None = None, stop: int | None = None) -> str:
        """Return the kept lines as text, one a line, each with its direction. Any thread."""
        lines = self.lines(self._first if start is None else start, self._end if stop is None else stop)
        return "".join(f"{line.direction} {line.text}\n" for line in lines)

    def to_dataframe(self) -> Any:
        """Return the kept lines as a pandas DataFrame: number (index), time (UTC), direction, text, data,
        truncated. Any thread.

        Raises ImportError, with the extra to install, when pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError('to_dataframe needs pandas: pip install "ipyreconnect[dataframe]"') from None
        lines = list(self)
        return pandas.DataFrame(
            {
                "time": pandas.to_datetime([line.time for line in lines], unit="s", utc=True),
                "direction": [line.direction for line in lines],
                "text": [line.text for line in lines],
                "data": [line.data for line in lines],
                "truncated": [line.truncated for line in lines],
            },
            index=pandas.Index([line.number for line in lines], name="number"),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the kept lines to the file `path`: as text for .txt and .log, else as JSON lines, which
        `load` reads. Any thread.
        """
        if os.fspath(path).endswith((".txt", ".log")):
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line.direction} {line.text}\n" for line in self)
            return
        with open(path, "w", encoding="ascii", newline="\n") as file:
            file.writelines(to_json(line) + "\n" for line in self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, encoding: str | None = None) -> Transcript:
        """Return the transcript that `save` wrote, or a record's, from the JSON-lines file `path`, with
        numbers and times.

        Raises OSError when it can't be read, SettingsError when a line of it is none of a record.
        """
        lines: list[Line] = []
        with open(path, encoding="utf-8") as file:
            for row, text in enumerate(file, 1):
                try:
                    lines.append(from_json(text, encoding))
                except (ValueError, KeyError, TypeError):
                    raise SettingsError(f"{os.fspath(path)}, line {row}: not a line of a record") from None
        size = sum(len(line.data) + MARK_COST for line in lines)
        # Twice: so that half-empty last blocks never push anything out.
        transcript = cls(max(DEFAULT_LINES, len(lines)), max(DEFAULT_BYTES, 2 * size), encoding=encoding)
        if lines:
            transcript._first = transcript._end = lines[0].number
        for line in lines:
            kind = {"<": FRAGMENT if line.truncated else FRAMED, ">": SENT, "*": NOTE}.get(
                line.direction, FRAMED
            )
            transcript._append(line.data, kind, line.time)
        return transcript

    def __repr__(self) -> str:
        forgot = f", {self._first} forgotten" if self._first else ""
        return f"<Transcript of {len(self)} lines{forgot}>"

    # -- writing: only the one that has the connection's turn
    # ---------------------------------------------------------

    def room(self, now: float) -> memoryview:
        """Return memory to receive into; what was written there is taken over by `commit`. The writer
        only.
        """
        block = self._blocks[-1] if self._blocks else None
        if (
            block is None
            or len(block.data) - block.used < LEAST_ROOM
            or block.weight > MARKS_WEIGHT * len(block.data)
        ):
            block = self._new_block(LEAST_ROOM, now)
        return block.view[block.used :]

    def commit(self, size: int, now: float) -> int:
        """Take over `size` bytes that were received into `room` at `now` (Unix epoch, s); return how many
        lines they completed.
        """
        block = self._blocks[-1]
        data = block.data
        start = block.used
        end = block.used = start + size
        before = self._end
        if end - block.settled > self._longest_line:
            start = self._cut_long_lines(block, start, end, now)
        last = data.rfind(b"\n", start, end) + 1
        if last:
            self._mark(block, last, data.count(b"\n", start, last), RECEIVED, now)
        return self._end - before

    def _cut_long_lines(self, block: _Block, start: int, end: int, now: float) -> int:
        """Mark what is too long to be one line as fragments; return from where on the rest is to be counted.

        One look for a line end per `longest line` of data: nothing beside counting them all.
        """
        data, longest = block.data, self._longest_line
        position = block.settled
        uncounted = start
        while end - position > longest:
            last = data.rfind(b"\n", max(position, start), position + longest + 1) + 1
            if not last:
                if position > block.settled:
                    self._mark(block, position, data.count(b"\n", uncounted, position), RECEIVED, now)
                self._mark(block, position + longest, 1, FRAGMENT, now)
                last = uncounted = position + longest
            position = last
        return uncounted

    def latest(self, start: int) -> Iterable[tuple[int, list[bytes]]]:
        """Return what `received` gives from `start` to the end, quickly where `start` begins the last mark.
        The writer only.
        """
        block = self._blocks[-1]
        counts = block.counts
        marks = len(counts)
        if marks and start == block.first + (counts[-2] if marks > 1 else 0) and block.kinds[-1] == RECEIVED:
            low = block.ends[-2] if marks > 1 else 0
            return ((start, split_lines(bytes(block.view[low : block.settled]))),)
        return self.received(max(start, self._first), self._end)

    def append_received(self, lines: Iterable[bytes], now: float, truncated: type[bytes]) -> None:
        """Append lines that a framer made; instances of `truncated` are marked so. The writer only."""
        for line in lines:
            self._append(line, FRAGMENT if isinstance(line, truncated) else FRAMED, now)

    def append_sent(self, line: bytes, now: float, delivery: Delivery | None = None) -> int:
        """Append a line that was sent; return its number. The writer only."""
        return self._append(self.redacted(line), SENT, now, delivery)

    def append_note(self, text: str, now: float) -> int:
        """Append something that happened; return its number. The writer only."""
        return self._append(self.redacted(text.encode()), NOTE, now)

    def flush(self, now: float) -> None:
        """Keep the unfinished line, of which no more will come, as a fragment. The writer only."""
        if self._blocks and (block := self._blocks[-1]).used > block.settled:
            self._mark(block, block.used, 1, FRAGMENT, now)

    @property
    def unfinished(self) -> bytes:
        """What was received of a line that has not ended yet."""
        if not self._blocks:
            return b""
        block = self._blocks[-1]
        return bytes(block.data[block.settled : block.used])

    def _append(self, line: bytes, kind: int, now: float, delivery: Delivery | None = None) -> int:
        block = self._blocks[-1] if self._blocks else None
        size = len(line)
        if (
            block is None
            or len(block.data) - block.used < size
            or block.weight > MARKS_WEIGHT * len(block.data)
        ):
            block = self._new_block(size, now)
        start = block.settled
        carry = block.used - start
        if carry:
            # The received line that is not complete yet moves behind: its number comes later.
            block.view[start + size : start + size + carry] = bytes(block.view[start : start + carry])
        block.view[start : start + size] = line
        block.used += size
        if delivery is not None:
            if block.deliveries is None:
                block.deliveries = {}
            block.deliveries[len(block.kinds)] = delivery
            block.weight += DELIVERY_COST
        self._mark(block, start + size, 1, kind, now)
        return self._end - 1

    def _mark(self, block: _Block, end: int, lines: int, kind: int, now: float) -> None:
        ticks = int((now - block.base) * TICKS)
        # A clock that was set back, or a block that is open for longer than the ticks reach: the nearest that
        # can be kept. The
        # next block starts afresh.
        if not 0 <= ticks <= LONGEST_SPAN * TICKS:
            ticks = 0 if ticks < 0 else LONGEST_SPAN * TICKS
            block.weight = MARKS_WEIGHT * len(block.data) + 1
        block.kinds.append(kind)
        block.times.append(ticks)
        block.ends.append(end)
        block.weight += MARK_COST
        block.settled = end
        count = block.count + lines
        # Readers go by the counts, so they come last; then the end.
        block.counts.append(count)
        self._end = block.first + count
        if self._end - self._first > self._line_limit:
            self._forget_to(self._end - self._line_limit)

    def _new_block(self, need: int, now: float) -> _Block:
        """Close the last block and begin one with room for `need` bytes behind the carry, which moves
        over.
        """
        blocks = self._blocks
        carry = b""
        if blocks:
            last = blocks[-1]
            carry = bytes(last.data[last.settled : last.used])
            last.used = last.settled
            if last.used < len(last.data) // 2:
                # Closed early: keep no more than what is in it. Readers see either, and both hold the same
                # bytes.
                last.data = last.data[: last.used]
                last.view = memoryview(last.data)
            self._cost += last.cost
        size = max(self._next_size, 2 * len(carry) + need)
        self._next_size = min(2 * self._next_size, self._largest)
        while blocks and self._cost + size > self._byte_limit:
            gone, blocks = blocks[0], blocks[1:]
            self._cost -= gone.cost
            gone.given_up = True
            self._first = max(self._first, gone.first + gone.count)
            if len(gone.data) == self._largest:
                # Its pages are mapped already: fresh ones cost a page fault each.
                self._spare = gone.data
        data, self._spare = (
            (self._spare, None)
            if self._spare is not None and len(self._spare) == size
            else (bytearray(size), self._spare)
        )
        block = _Block(data, self._end, now)
        block.view[: len(carry)] = carry
        block.used = len(carry)
        self._blocks = (*blocks, block)
        return block

    def _forget_to(self, first: int) -> None:
        self._first = first
        blocks = self._blocks
        while len(blocks) > 1 and blocks[0].first + blocks[0].count <= first:
            gone, blocks = blocks[0], blocks[1:]
            self._cost -= gone.cost
            gone.given_up = True
        self._blocks = blocks


def _overrun(wanted: int, first: int) -> Overrun:
    return Overrun(
        f"lines {wanted} to {first - 1} were forgotten before they were read: "
        "read faster, or let the transcript keep more"
    )


def _stripped(line: bytes) -> bytes:
    """Return `line` without its LF or CRLF."""
    return line[:-2] if line.endswith(b"\r\n") else line[:-1] if line.endswith(b"\n") else line


def to_json(line: Line) -> str:
    """Return `line` as one JSON object in ASCII; bytes that are not UTF-8 stand as ISO-8859-1 under
    "latin1".
    """
    row: dict[str, object] = {"number": line.number, "time": line.time, "direction": line.direction}
    try:
        row["text"] = line.data.decode()
    except UnicodeDecodeError:
        row["latin1"] = line.data.decode("iso-8859-1")
    if line.truncated:
        row["truncated"] = True
    if line.delivery is not None:
        row["delivery"] = line.delivery.status
    return json.dumps(row)


def from_json(text: str, encoding: str | None = None) -> Line:
    """Return the line that `to_json` wrote. Raises ValueError, KeyError or TypeError when it did not."""
    row = json.loads(text)
    data = row["text"].encode() if "text" in row else row["latin1"].encode("iso-8859-1")
    return Line(
        data,
        float(row["time"]),
        row["direction"],
        int(row["number"]),
        bool(row.get("truncated", False)),
        encoding,
    )
