"""The bounded record of what was received, sent and what happened; keeps raw chunks and splits them when
somebody looks.

Why raw chunks: splitting a line and making an object of it costs more than receiving it (27–66 ns for the
split alone, against 25 ns for the bytes), and a list of lines needs 121–137 bytes for a line of 80. So
received bytes land in *blocks* of up to 1 MiB and only their line ends are counted; every line has its number
at once, and its bytes are looked up when a panel, an expectation or a slice asks.

Within a block stand *marks*, each a run of whole lines of one kind and one time; a line that is not complete
yet (the *carry*) stands behind the last mark. No line straddles two blocks or two marks.

One writer, any number of readers, no lock: the writer first writes the bytes, then enters the mark, then
moves `end`; what stands before that never changes. When the transcript is full, the writer gives the oldest
block up, says so in its `given_up`, and only then uses its memory again; a reader copies what it wants and
looks at `given_up` afterwards, so that it never takes new bytes for old lines. (This needs one thread's
writes to be seen by the others in their order, to which the interpreter lock sees. A build without that lock
keeps the order on x86 only; elsewhere the looks at `end` and `given_up` would need a fence.)
"""

from __future__ import annotations

import io
import itertools
import math
import operator
import os
import re
import sys
import threading
from abc import ABCMeta
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Reversible
from typing import Any, overload

from ..errors import Overrun, SettingsError
from ..forking import Stage, in_child
from ..mask import MASK, check_encoding, mask_in
from .delivery import Delivery
from .files import _rows, from_json, save_lines, to_json
from .framing import (
    LINE_LIMIT,
    Announcing,
    Continuation,
    Fragment,
    count_lines,
    cut_before,
    split_lines,
)
from .line import Line
from .search import Found, LineSearch, Pattern, compile_pattern
from .text import decode, one_line

__all__ = ["Line", "Runs", "Transcript", "decode", "from_json", "to_json"]

DEFAULT_LINES = 10_000_000
DEFAULT_BYTES = 64 * 1024 * 1024
"""800 000 lines of 80 bytes; a kernel with one flooded connection stays far under 400 MiB."""
LEAST_BYTES = 16 * 1024
"""Below this, what blocks cost beside their bytes would leave no room for lines."""
FIRST_BLOCK = 1024
"""An idle connection costs little: blocks double from here."""
LARGEST_BLOCK = 1024 * 1024
"""One read fills at most this much: smaller steps cost hand-overs of the interpreter lock, and for the lines
of bigger ones Python's allocator takes memory from the system and gives it back at each step (measured)."""
BLOCKS_AT_LEAST = 16
"""What is forgotten at a time is at most this part of the whole."""
BLOCK_A_LINE = 2
"""Bytes of a block for each line that is kept at most: one read must not bring so many lines that others,
which nobody could read yet, are forgotten for them."""
LONGEST_RUN = 64 * 1024
"""Bytes of lines that follow each other under one mark, so that looking up a single line never splits more;
a single line may be longer."""
RESERVE = 8 * 1024 * 1024
"""Bytes that it may take beyond what it may keep, while a reader that is waited for has not read them: for
what comes before the receiving can wait, such as the replies to all lines of one read, or the rest of a
connection that was reset."""
WHOLE_SHARE = 8
"""What a framer made, what was sent and a note are kept in one piece up to this part of the whole: 8 MiB by
default, more than any framing of ours makes."""
LEAST_ROOM = 256
"""A read into less room than this is not worth its call: a new block is begun."""
BLOCK_COST = 1024
MARK_COST = 19
DELIVERY_COST = 256
"""Bytes that a block, a mark, and a sent line's delivery take beside the lines themselves (measured with
tracemalloc, over-allocation included)."""
MARKS_AT_ONCE = 64
"""One read makes fewer marks: at most three for each longest run."""
HEAD_COST = 128
"""Bytes that it takes to remember where in a line the first announced byte stands (measured, as above)."""
INDEX_SHARE = 256
"""For random access, where the lines of some runs end is remembered: of one line for so many bytes of the
whole, which takes 4 bytes each."""
STRIDE = 1024
"""Lines that are taken at a time where they are turned round or joined."""

RECEIVED, TAIL, FRAMED, FRAGMENT, CONTINUATION, ASIDE, SENT, SENT_PART, NOTE = range(9)
"""What stands under a mark: received lines with their line ends; the end of an over-long line, with its line
end; a line that a framer made; the first fragment of a line, and a later one; a received line that is for no
reader; a sent line; the beginning of one; what happened."""
_WITH_END = (RECEIVED, TAIL)
_FROM_PEER = (RECEIVED, TAIL, FRAMED, FRAGMENT, CONTINUATION)
_OWN = (ASIDE, SENT, SENT_PART, NOTE)  # for no reader; one line a mark
_DIRECTIONS = "<<<<<<>>*"
_TRUNCATED = (False, True, False, True, True, False, False, True, False)
_CR = ord("\r")
_NOT_RECEIVED = re.compile(b"[^%c]" % RECEIVED)

_FOR_THE_WRITER = frozenset(
    (
        *("append_aside", "append_note", "append_received", "append_sent", "begin_writing", "commit"),
        *("end_writing", "flush", "go_on_with_fragments", "most_at_once", "room", "take_unfinished"),
        "unfinished",
        # And for those who read along.
        *("count_hits", "hidden", "hides", "hits", "oldest", "oldest_kept", "received"),
        *("received_before", "recent", "redacted", "redacted_text"),
    )
)
"""Names of the transcript's that are for this package, and not offered by completion."""

Data = bytes  # where a parameter has the name
Runs = list[tuple[int, list[bytes]]]
"""Received lines that follow each other: the number of the first, and their bytes."""
# Reentrant, as a signal's handler may connect in the middle of anything.
_lock = threading.RLock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have it


in_child(Stage.TRANSCRIPTS, _after_fork_in_child)

_Region = tuple["_Block", int, int, int, bytes]


class _Block:
    """Up to 1 MiB of lines; see the module's first lines."""

    __slots__ = (
        "counts",
        "data",
        "deliveries",
        "ends",
        "first",
        "given_up",
        "heads",
        "kinds",
        "received",
        "settled",
        "size",
        "times",
        "used",
        "view",
        "weight",
    )

    def __init__(self, data: bytearray, first: int, received: int = 0) -> None:
        self.data = data
        self.view = memoryview(data)
        self.size = len(data)
        self.first = first  # the number of the first line in it
        self.received = received  # how many lines before that came from the peer
        self.used = 0  # bytes written
        self.settled = 0  # bytes under marks; behind them stands the carry
        self.weight = 0  # bytes that marks and deliveries take; never more than `size`
        self.ends = array("I")
        self.counts = array("I")  # lines up to and with this mark
        self.times = array("d")
        self.kinds = bytearray()
        self.deliveries: dict[int, Delivery] | None = None
        self.heads: dict[int, int] | None = (
            None  # bytes before the first announced one, of the lines with any
        )
        self.given_up = False

    @property
    def end(self) -> int:
        """The number after its last line."""
        return self.first + self.counts[-1] if self.counts else self.first

    def received_before(self, number: int) -> int:
        """Return how many of the lines before line `number`, of this block or its end, came from the peer."""
        lines = min(number, self.end) - self.first
        kinds = self.kinds[: bisect_right(self.counts, lines)]
        return self.received + lines - sum(map(kinds.count, _OWN))

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes now."""
        return BLOCK_COST + self.size + self.weight

    def line(self, mark: int, number: int, data: bytes, encoding: str | None) -> Line:
        """Return the line that stands alone under a mark."""
        kind = self.kinds[mark]
        delivery = self.deliveries.get(mark) if self.deliveries else None
        return Line(data, self.times[mark], _DIRECTIONS[kind], number, _TRUNCATED[kind], encoding, delivery)


def _first_of(block: _Block) -> int:
    return block.first


def nothing_needed(_end: int) -> float:
    """Say that no line is needed by anybody: see `Transcript.begin_writing`."""
    return math.inf


class _TranscriptType(ABCMeta):
    """The type of transcripts: it has completion offer nothing internal. IPython looks into the class too."""

    def __dir__(cls) -> list[str]:
        return [name for name in super().__dir__() if name not in _FOR_THE_WRITER]


class Transcript(Reversible[Line], Collection[Line], metaclass=_TranscriptType):
    """The lines of a connection: those received, those sent, and what happened; the oldest are forgotten
    first.

    lines: how many it keeps at most. bytes: how much memory it takes at most, but for up to 8 MiB that a
    follower or a record is about to read. encoding: how a line's `text` is decoded (None: UTF-8, else
    ISO-8859-1). Indexed by line number: `t[n].number == n` for as long as the line is kept
    (`t.first <= n < t.end`); negative indices count from the end; slices give what is kept of the range.
    Reading is safe in any thread at any time and holds nobody up; the methods under "writing" are
    for the one that has the connection's turn.

    Raises SettingsError for limits that are no positive whole numbers, and for an unknown encoding.
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
        self.encoding = None if encoding is None else check_encoding(encoding)
        self._hidden: set[Data] = set()
        # Several patterns, each for more than twice as many as the next: making a single one anew for each of
        # many secrets, such as a token a line, would take longer each time.
        self._hides: tuple[re.Pattern[Data], ...] = ()
        self._tiers: tuple[list[Data], ...] = ()
        self._mask = mask_in(None)
        self._line_limit = lines
        self._byte_limit = bytes
        self.most_at_once = min(
            LARGEST_BLOCK, bytes // BLOCKS_AT_LEAST, max(FIRST_BLOCK, lines * BLOCK_A_LINE)
        )
        """Bytes that may come before those who read along have their turn, and miss nothing; a block's size
        at most.
        """
        self._longest = min(LINE_LIMIT, bytes // BLOCKS_AT_LEAST)
        self._run = min(LONGEST_RUN, self._longest)
        self._whole = bytes // WHOLE_SHARE
        self._next_size = FIRST_BLOCK
        self._blocks: tuple[_Block, ...] = ()
        self._last = _NOTHING
        self._end = 0
        self._oldest = 0  # the number of the first line that a block holds
        self._gaps: list[tuple[int, int]] = []  # of a record: a line's number, how many miss before it
        self._cost = 0  # of all blocks but the last
        # How much may stand behind the last mark before it is looked at closely: the longest run; nothing
        # while the carry goes on a line of which fragments are kept already.
        self._reach = self._run
        self._indexes: dict[int, array[int]] = {}
        self._index_limit = bytes // INDEX_SHARE
        self._writer: object = None
        self._needed: Callable[[int], float] = nothing_needed

    # -- reading: any thread

    @property
    def first(self) -> int:
        """The number of the oldest line that is kept (equal to `end` when there is none)."""
        return max(self._oldest, self._end - self._line_limit)

    @property
    def oldest(self) -> int:
        """The number of the oldest line whose bytes are still there. It may be less than `first`: a single
        read can bring more lines than are kept, and who reads along is to get them all.
        """
        return self._oldest

    @property
    def end(self) -> int:
        """The number that the next line will get: how many lines there have been."""
        return self._end

    @property
    def oldest_kept(self) -> tuple[int, int]:
        """The number of the oldest line whose bytes are still there, and how many of those before it came
        from the peer. Any thread.
        """
        for block in self._blocks:
            if not block.given_up:
                return block.first, block.received
        return 0, 0

    def received_before(self, number: int) -> int | None:
        """Return how many of the lines before line `number` came from the peer; None where that is forgotten
        with them, or is still to come. Any thread.
        """
        blocks = self._blocks
        if not blocks or not blocks[0].first <= number <= blocks[-1].end:
            return 0 if not number else None
        return blocks[bisect_right(blocks, number, key=_first_of) - 1].received_before(number)

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

    def __len__(self) -> int:
        first = self.first  # looked at before the end, which only grows: never less than nothing
        return self._end - first - sum(missing for number, missing in self._gaps if number > first)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        end = self._end
        if isinstance(index, slice):
            wanted = range(*index.indices(end))
            if not wanted:
                return []
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
            lines = list(self.lines(low, high + 1))
            if abs(wanted.step) > 1:
                lines = [line for line in lines if line.number in wanted]
            return lines if wanted.step > 0 else lines[::-1]
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

    def lines(
        self, start: int, stop: int, *, strict: bool = False, for_readers: bool = False
    ) -> Iterator[Line]:
        """Yield the kept lines with numbers from `start` up to, not with, `stop`, in order. Any thread.

        strict: raise Overrun where one of them is forgotten already; else it is passed over. for_readers:
        only what the peer has said to those who read; not what came in plain text before STARTTLS.
        """
        encoding = self.encoding
        for block, mark, number, count, data in self._regions(start, stop, strict=strict):
            if for_readers and block.kinds[mark] in _OWN:
                continue
            lines = self._cut(block.kinds[mark], data, count)
            if block.kinds[mark] != RECEIVED:
                yield block.line(mark, number, lines[0], encoding)
                continue
            until, time = block.first + block.counts[mark], block.times[mark]
            for line in lines:
                if number == until:
                    mark += 1
                    until, time = block.first + block.counts[mark], block.times[mark]
                yield Line(line, time, "<", number, False, encoding)
                number += 1

    def received(self, start: int, stop: int) -> Iterator[tuple[int, list[Data]]]:
        """Yield the received lines from `start` up to `stop` as (number of the first, their bytes), a run at
        a time; fragments are of type `Fragment`, and nothing is hidden.

        The fast way to read many lines: no object a line. Raises Overrun when one of them is forgotten
        already. Any thread.
        """
        return _bare(self._regions(start, stop, strict=True))

    def hide(self, secret: Data) -> None:
        """Show `secret` as •••• from now on, wherever it stands in a line, sent or received.

        One with line breaks is hidden line by line, too. Any thread but the I/O thread.
        """
        pieces = {piece for piece in (secret, *secret.splitlines()) if piece}
        with _lock:  # two at once must not lose one of them
            new = [*(pieces - self._hidden)]
            if not new:
                return
            tiers = self._tiers
            while tiers and len(tiers[-1]) <= 2 * len(new):
                new += tiers[-1]
                tiers = tiers[:-1]
            # The longest first, where one is a part of another.
            pattern = b"|".join(map(re.escape, sorted(new, key=len, reverse=True)))
            self._mask = mask_in(self.encoding)
            self._hides = (*self._hides[: len(tiers)], re.compile(pattern))
            self._tiers = (*tiers, new)
            self._hidden |= pieces

    @property
    def hides(self) -> bool:
        """Whether anything is hidden."""
        return bool(self._hides)

    def redacted(self, data: Data) -> Data:
        """Return `data` with what is hidden shown as ••••. Any thread."""
        return self._masked(data, self._mask) if self._hides else data

    def redacted_text(self, text: str) -> str:
        """Return `text` with what is hidden shown as ••••. Any thread."""
        if not self._hides:
            return text
        hidden = self._masked(text.encode("utf-8", "surrogatepass"), MASK.encode())
        try:
            return hidden.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a secret of bytes was a part of a character
            return hidden.decode("utf-8", "replace")

    def hidden(self, data: Data) -> list[tuple[int, int]]:
        """Return where in `data` each hidden stretch begins and ends: secrets that overlap are one. Any
        thread.
        """
        stretches: list[tuple[int, int]] = []
        for start, end in sorted(span for pattern in self._hides for span in _overlapping(pattern, data)):
            if stretches and start < stretches[-1][1]:
                stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
            else:
                stretches.append((start, end))
        return stretches

    def _masked(self, data: Data, mask: Data) -> Data:
        pieces: list[Data] = []
        at = 0
        for start, end in self.hidden(data):
            pieces += data[at:start], mask
            at = end
        pieces.append(data[at:])
        return b"".join(pieces)

    def _has_hidden(self, data: Data) -> bool:
        return any(pattern.search(data) for pattern in self._hides)

    def _cut(self, kind: int, data: Data, count: int) -> list[Data]:
        """Return the `count` lines under marks of this kind, with what is hidden shown as ••••."""
        lines = split_lines(data, count) if kind in _WITH_END else [data]
        # One look through all of them first: mostly there is nothing to hide.
        if self._hides and self._has_hidden(data):
            mask = MASK.encode() if kind == NOTE else self._mask
            lines = [self._masked(line, mask) for line in lines]
        return lines

    def recent(self, share: int) -> int:
        """Return a line number from which on the lines take about one `share`-th of what the transcript may
        keep. Any thread.
        """
        wanted = self._byte_limit // share
        first = self._end - self._line_limit // share
        for block in reversed(self._blocks):
            wanted -= block.cost
            if wanted <= 0:
                return max(block.first, first)
        return max(self._oldest, first)

    def search(
        self, pattern: Pattern, *, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Found:
        """Return the kept lines in which the regular expression `pattern` is found: to go through, each as
        soon as it is found, to count or to index. Any thread.

        pattern: a str pattern looks at a line's text, a bytes pattern at its bytes. start, stop: line numbers
        to look from and up to. reverse: the newest first. What is forgotten or comes meanwhile is not looked
        at. Raises SettingsError for a pattern that is no regular expression.
        """
        compiled = compile_pattern(pattern, self.redacted_text)

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
        found = self._found(compile_pattern(pattern, self.redacted_text), start, stop, reverse)
        return (number + index for (_, _, number, _, _), indexes in found for index in indexes)

    def count_hits(self, pattern: Pattern, *, start: int | None = None, stop: int | None = None) -> int:
        """Return how many lines `search` would give. Any thread."""
        return sum(
            len(indexes)
            for _, indexes in self._found(compile_pattern(pattern, self.redacted_text), start, stop, False)
        )

    def _found(
        self, pattern: re.Pattern[Any], start: int | None, stop: int | None, reverse: bool
    ) -> Iterator[tuple[_Region, list[int]]]:
        """Yield each region with hits, and which lines of it those are, counted from its first."""
        peers = LineSearch(pattern, self.encoding)
        ours = LineSearch(pattern, None)
        regions = self._regions(
            self.first if start is None else start, self._end if stop is None else stop, reverse=reverse
        )
        for region in regions:
            block, mark, _, count, data = region
            kind = block.kinds[mark]
            search = ours if kind == NOTE else peers
            if kind == RECEIVED and not self._has_hidden(data):
                indexes = search.among(data)
            else:
                indexes = [
                    index for index, line in enumerate(self._cut(kind, data, count)) if search.one(line)
                ]
            if indexes:
                yield region, indexes[::-1] if reverse else indexes

    def _made(self, region: _Region, indexes: list[int]) -> Iterator[Line]:
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

    def text(self, start: int | None = None, stop: int | None = None) -> str:
        """Return the kept lines as text, one a line, each with its direction. Any thread.

        Line breaks within a line (a literal has some) are written as escapes: what a peer sends cannot look
        like another line of the log.
        """
        lines = self.lines(self.first if start is None else start, self._end if stop is None else stop)
        return "".join(f"{line.direction} {one_line(line.text)}\n" for line in lines)

    def to_dataframe(self) -> Any:
        """Return the kept lines as a pandas DataFrame: number (index), time (UTC), direction, text, data,
        truncated. Any thread.

        Raises ImportError, with the extra to install, when pandas is missing.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError('to_dataframe needs pandas: pip install "ipyreconnect[dataframe]"') from None
        rows = [
            (line.number, line.time, line.direction, line.text, line.data, line.truncated) for line in self
        ]
        columns = ["number", "time", "direction", "text", "data", "truncated"]
        frame = pandas.DataFrame(rows, columns=columns).set_index("number")
        frame["time"] = pandas.to_datetime(frame["time"].astype("float64"), unit="s", utc=True)
        return frame

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the kept lines to the file `path`, in which `~` is the user's home: as text for .txt and
        .log, else as JSON lines, which `load` reads. Any thread.

        Raises OSError when it can't be written.
        """
        save_lines(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, encoding: str | None = None) -> Transcript:
        """Return the transcript that `save` wrote, or a record's, from the JSON-lines file `path`, with
        numbers and times.

        Of a record whose writer was killed, a line that was only begun is left out; where the numbers of a
        record begin anew, they are counted on. Raises OSError when it can't be read, SettingsError when a
        line of it is none of a record. Any thread.
        """
        with open(os.path.expanduser(path), encoding="utf-8", errors="surrogateescape") as file:
            # As JSON everything takes more than an eighth of what it takes here, so all of it is kept.
            limit = max(DEFAULT_BYTES, WHOLE_SHARE * os.fstat(file.fileno()).st_size)
            transcript = cls(sys.maxsize, limit, encoding=encoding)
            transcript._take_all(_rows(file, os.fspath(path), encoding))
        return transcript

    def _take_over(self, run: Iterator[Line], time: float, direction: str, truncated: bool) -> None:
        """Append lines of one time and kind whose numbers follow each other."""
        kind = {"<": FRAGMENT, ">": SENT_PART if truncated else SENT, "*": NOTE}[direction]
        while lines := list(itertools.islice(run, STRIDE)):
            if lines[0].number > self._end:
                self._pass_over(lines[0].number)
            if direction == "<" and not truncated:
                self.append_received([line.data for line in lines], time)
            else:
                for line in lines:
                    self._append(line.data, kind, time, 1, line.delivery)

    def _pass_over(self, number: int) -> None:
        """Go on with line `number`: those before it are missing. Each block counts from its first line."""
        if not self._end:
            self._oldest = number
        else:
            self._gaps.append((number, number - self._end))
        self._end = number
        self._new_block(LEAST_ROOM)

    def __repr__(self) -> str:
        first = self.first
        return f"<Transcript of {len(self)} lines{f', {first} forgotten' if first else ''}>"

    # -- reading, inside

    def _regions(
        self, start: int, stop: int, *, reverse: bool = False, strict: bool = False
    ) -> Iterator[_Region]:
        """Yield the lines from `start` up to `stop` as (block, mark, number of the first, how many, a copy of
        their bytes): runs of received lines, of which the first stands under that mark, and everything else
        line by line.

        strict: raise Overrun where lines are not there any more; else those are passed over, and those before
        `first`.
        """
        stop = min(stop, self._end)
        first = self._oldest if strict else self.first
        if strict and start < min(first, stop):
            raise _overrun(start, first)
        start = max(start, first)
        if start >= stop:
            return
        blocks = self._blocks
        if start < blocks[-1].first:
            if strict and start < blocks[0].first:
                raise _overrun(start, blocks[0].first)
            low = max(0, bisect_right(blocks, start, key=_first_of) - 1)
            blocks = blocks[low : bisect_left(blocks, stop, key=_first_of)]
        else:
            blocks = blocks[-1:]
        for block in reversed(blocks) if reverse else blocks:
            base = block.first
            counts = block.counts
            low = bisect_right(counts, start - base) if start > base else 0
            high = min(bisect_left(counts, stop - base), len(counts) - 1)
            spans: Iterable[tuple[int, int]] = _spans(block, low, high) if low != high else ((low, high),)
            for low, high in reversed(tuple(spans)) if reverse else spans:
                number = base + counts[low - 1] if low else base
                begin = block.ends[low - 1] if low else 0
                if start > number:
                    begin = self._place(block, low, start - number)
                    number = start
                end = block.ends[high]
                after = base + counts[high]
                if stop < after:
                    end = self._place(block, high, stop - base - (counts[high - 1] if high else 0))
                    after = stop
                data = bytes(block.view[begin:end])
                if block.given_up:
                    if strict:
                        raise _overrun(number, self._oldest)
                    break
                yield block, low, number, after - number, data

    def _place(self, block: _Block, mark: int, lines: int) -> int:
        """Return where in the block the run under `mark` goes on behind its first `lines` lines; anything
        when the block is given up.

        Where the lines of a run end is remembered, for a panel's window or a loop over single lines.
        """
        begin = block.ends[mark - 1] if mark else 0
        number = block.first + (block.counts[mark - 1] if mark else 0)
        index = self._indexes.get(number)
        if index is None:
            data = bytes(block.view[begin : block.ends[mark]])
            if block.given_up:
                return begin
            index = array("I", itertools.accumulate(map(len, io.BytesIO(data))))
            if len(index) <= self._index_limit:
                if sum(map(len, tuple(self._indexes.values()))) + len(index) > self._index_limit:
                    self._indexes = {}
                self._indexes[number] = index
        return begin + index[lines - 1]

    # -- writing: only the one that has the connection's turn

    def begin_writing(
        self,
        writer: object,
        encoding: str | None,
        needed: Callable[[int], float] = nothing_needed,
        longest: int | None = None,
    ) -> None:
        """Take the transcript for `writer`, which may have it already; from now on it is in its encoding. Any
        thread.

        needed(end): the number of the first line that somebody is about to read, and that is not to be
        forgotten before; infinity for none. Asked by the writer. longest: bytes of a received line that is
        kept in one piece, at most an eighth of all; None: 1 MiB, or a sixteenth of all where that is less.

        Raises SettingsError when another one writes it: two would overwrite each other's lines.
        """
        with _lock:
            if self._writer not in (None, writer):
                raise SettingsError(
                    "this transcript is written by another client: stop that first, or give each its own"
                )
            self._writer = writer
            self._needed = needed
            self.encoding = encoding
            self._mask = mask_in(encoding)
            if longest is not None:
                self._longest = min(longest, self._whole)
                self._run = min(LONGEST_RUN, self._longest)
                self._reach = min(self._reach, self._run)

    def end_writing(self) -> None:
        """Let another one write from now on. The writer only."""
        self._writer = None
        self._needed = nothing_needed

    def room(self) -> memoryview:
        """Return memory to receive into, 256 bytes or more; what was written there is taken over by `commit`
        if that is called before anything else is written. The writer only.
        """
        block = self._last
        if block.size - block.used < LEAST_ROOM or block.weight + MARK_COST > block.size:
            block = self._new_block(LEAST_ROOM)
        return block.view[block.used :]

    def commit(self, size: int, now: float, runs: Runs | None = None) -> int:
        """Take over `size` bytes that were received into `room` at `now` (Unix epoch, s); return how many
        lines they completed. The writer only.

        runs: is given those lines, as `received` does, for somebody who waits for them; they are counted by
        being cut, so that this costs little more than counting alone.
        """
        block = self._last
        start = block.used
        end = block.used = start + size
        if end - block.settled > self._reach:
            return self._commit_much(block, start, end, now, runs)
        data = block.data
        last = data.find(b"\n", start, end) + 1
        if not last:
            return 0
        if last == end:  # the one line that answers
            lines = 1
            if runs is not None:
                line = block.view[block.settled : end - 1].tobytes()
                runs.append((self._end, [line.removesuffix(b"\r")]))
        else:
            last = data.rfind(b"\n", start, end) + 1
            lines = self._count(block, start, last, runs)
        self._mark(block, last, lines, RECEIVED, now)
        return lines

    def _count(self, block: _Block, start: int, end: int, runs: Runs | None) -> int:
        """Count the line ends from `start` to `end`, which stand in the lines that the next mark is for."""
        if runs is None:
            return count_lines(block.view[start:end].tobytes())
        lines = split_lines(block.view[block.settled : end].tobytes())
        runs.append((self._end, lines))
        return len(lines)

    def _commit_much(self, block: _Block, start: int, end: int, now: float, runs: Runs | None) -> int:
        """Mark runs of at most `_run` bytes, each longer line by itself, and what is too long to be one line
        as fragments.

        One look for a line end for each run's length of data: nothing beside counting them all. The outcome
        depends on the bytes alone, never on how they were split.
        """
        data, longest, run = block.data, self._longest, self._run
        before = self._end
        while True:
            begin = block.settled
            start = max(start, begin)  # no line end stands before it
            # The line end is no part of the line: a longest one may have two bytes more.
            last = data.find(b"\n", start, min(end, begin + longest + 2)) + 1
            if last - begin == longest + 2 and data[last - 2] != _CR:
                last = 0
            if last and self._reach < 0:
                self._reach = run
                self._mark_fragment(block, last, TAIL, now, runs)
            elif last:
                last = data.rfind(b"\n", start, min(end, begin + run + 1)) + 1 or last
                self._mark(block, last, self._count(block, start, last, runs), RECEIVED, now)
            elif end - begin > longest + 1 or (end - begin > longest and data[end - 1] != _CR):
                # Only of what stands there: what was in this memory before is no part of the line.
                cut = cut_before(block.view[begin:end], longest, self.encoding)
                self._mark_fragment(block, begin + cut, self._fragment_kind, now, runs)
                self._reach = -1
            else:
                return self._end - before

    @property
    def _fragment_kind(self) -> int:
        """What a fragment is that begins behind the last mark."""
        return CONTINUATION if self._reach < 0 else FRAGMENT

    def _mark_fragment(self, block: _Block, end: int, kind: int, now: float, runs: Runs | None) -> None:
        if runs is not None:
            data = block.view[block.settled : end].tobytes()
            if kind == TAIL:
                runs.append((self._end, [Continuation(split_lines(data)[0])]))
            else:
                runs.append((self._end, [Fragment(data) if kind == FRAGMENT else Continuation(data)]))
        self._mark(block, end, 1, kind, now)

    def take_unfinished(self) -> Data:
        """Give up the line that is not complete yet, to a framer that goes on with it. The writer only."""
        unfinished = self.unfinished
        self._last.used = self._last.settled
        self._reach = self._run
        return unfinished

    def go_on_with_fragments(self) -> None:
        """Have what comes up to the next line end be fragments: those before them are kept already. The
        writer only.
        """
        self._reach = -1

    def append_received(self, lines: Iterable[bytes], now: float, runs: Runs | None = None) -> None:
        """Append lines that a framer made; those of type `Fragment` are marked so. The writer only.

        runs: as for `commit`.
        """
        made = lines if isinstance(lines, list) else list(lines)
        if made:
            self._append_framed(made, now, runs)

    def _append_framed(self, lines: list[bytes], now: float, runs: Runs | None) -> None:
        """Append lines as if they were received with line ends, where they can be told apart by those again:
        a mark each would cost much more.
        """
        count = len(lines)
        if count > 1:
            data = b"\n".join(lines) + b"\n"
            if (
                len(data) <= self._run
                and count_lines(data) == count
                and b"\r\n" not in data
                and set(map(type, lines)) == {bytes}
            ):
                number = self._append(data, RECEIVED, now, count)
                if runs is not None:
                    runs.append((number, lines))
            else:
                self._append_framed(lines[: count // 2], now, runs)
                self._append_framed(lines[count // 2 :], now, runs)
            return
        line = lines[0]
        kept = line
        head: int | None = getattr(line, "head", None)
        if isinstance(line, Fragment):
            kind = CONTINUATION if isinstance(line, Continuation) else FRAGMENT
        elif head is None and len(line) < self._longest and b"\n" not in line and not line.endswith(b"\r"):
            kind = RECEIVED
            kept = line + b"\n"
        else:
            kind = FRAMED
        if len(kept) <= self._whole:
            number = self._append(kept, kind, now, head=head)
            if runs is not None:
                runs.append((number, [line]))
            return
        at = 0
        while at < len(line):
            stop = at + self._whole
            if stop < len(line):
                stop = at + cut_before(memoryview(line)[at:], self._whole, self.encoding)
            first = at == 0 and kind != CONTINUATION
            data = line[at:stop]
            head = head if first and head is not None and head < stop else None
            number = self._append(data, FRAGMENT if first else CONTINUATION, now, head=head)
            if runs is not None:
                runs.append((number, [Fragment(data, head) if first else Continuation(data)]))
            at = stop

    def append_aside(self, line: bytes, now: float) -> int:
        """Append a line of the peer that is for no reader, expectation or reply, as what came in plain text
        before STARTTLS; return its number. The writer only.
        """
        return self._append(line[: self._whole], ASIDE, now)

    def append_sent(self, line: bytes, now: float, delivery: Delivery | None = None) -> int:
        """Append a line that was sent at `now` (Unix epoch, s); return its number. The writer only.

        Of a line that is longer than an eighth of all that may be kept, only that much is kept, and without
        its delivery, which would hold the rest.
        """
        if self._hides:
            line = self.redacted(line)
        if len(line) > self._whole:
            return self._append(line[: self._whole], SENT_PART, now)
        return self._append(line, SENT, now, 1, delivery)

    def append_note(self, text: str, now: float) -> int:
        """Append something that happened at `now` (Unix epoch, s); return its number. The writer only."""
        note = self.redacted_text(text).encode("utf-8", "backslashreplace")
        return self._append(note[: self._whole], NOTE, now)

    def flush(self, now: float, runs: Runs | None = None) -> None:
        """Keep the unfinished line, of which no more will come, as a fragment. The writer only.

        runs: as for `commit`.
        """
        block = self._last
        if block.used > block.settled:
            self._mark_fragment(block, block.used, self._fragment_kind, now, runs)
        self._reach = self._run

    @property
    def unfinished(self) -> bytes:
        """What was received of a line that has not ended yet. The writer only."""
        block = self._last
        return bytes(block.view[block.settled : block.used])

    def _append(
        self,
        data: bytes,
        kind: int,
        now: float,
        lines: int = 1,
        delivery: Delivery | None = None,
        head: int | None = None,
    ) -> int:
        """Append whole lines of one kind; return the number of the first."""
        size = len(data)
        weight = MARK_COST if delivery is None else MARK_COST + DELIVERY_COST + size
        if head is not None:
            weight += HEAD_COST
        block = self._last
        if block.size - block.used < size or block.weight + weight > block.size:
            block = self._new_block(max(size, weight))
        start = block.settled
        stop = start + size
        if block.used > start:
            # The received line that is not complete yet moves behind: its number comes later.
            block.view[stop : block.used + size] = bytes(block.view[start : block.used])
        block.view[start:stop] = data
        block.used += size
        if delivery is not None:
            if block.deliveries is None:
                block.deliveries = {}
            block.deliveries[len(block.kinds)] = delivery
        if head is not None:
            if block.heads is None:
                block.heads = {}
            block.heads[len(block.kinds)] = head
        block.weight += weight - MARK_COST
        number = self._end
        self._mark(block, stop, lines, kind, now)
        return number

    def _mark(self, block: _Block, end: int, lines: int, kind: int, now: float) -> None:
        number = self._end
        block.settled = end
        block.weight += MARK_COST
        block.kinds.append(kind)
        block.times.append(now)
        block.ends.append(end)
        # Readers go by the counts, so they come last; then the end.
        number += lines
        block.counts.append(number - block.first)
        self._end = number

    def _new_block(self, need: int) -> _Block:
        """Close the last block and begin one with room for `need` bytes and the carry, which moves there."""
        last = self._last
        carry = bytes(last.view[last.settled : last.used])
        blocks = self._blocks if last.counts else self._blocks[:-1]
        if last.counts:
            last.used = last.settled
            if last.used < last.size // 2:
                # Closed early: keep no more than what is in it. Readers see either, and both hold the same
                # bytes.
                last.data = last.data[: last.used]
                last.view = memoryview(last.data)
                last.size = last.used
            self._cost += last.cost
        # Twice the carry: a line that grows is not to be moved at each step.
        size = max(self._next_size, 2 * len(carry) + need)
        self._next_size = min(2 * self._next_size, self.most_at_once)
        spare = None
        kept = 0
        # Counted with the most that the new block may come to.
        most = BLOCK_COST + 2 * size + MARKS_AT_ONCE * MARK_COST + 4 * self._index_limit
        limit = self._byte_limit - most
        oldest = self._end - self._line_limit
        while kept < len(blocks) and (self._cost > limit or blocks[kept].end <= oldest):
            gone = blocks[kept]
            if self._cost <= limit + RESERVE and gone.end > self._needed(self._end):
                break
            kept += 1
            self._cost -= gone.cost
            self._oldest = gone.end
            gone.given_up = True
            if gone.size == size:
                # Its pages are mapped already: fresh ones cost a page fault each.
                spare = gone.data
        received = last.received_before(last.end)
        block = _Block(bytearray(size) if spare is None else spare, self._end, received)
        block.view[: len(carry)] = carry
        block.used = len(carry)
        self._last = block
        self._blocks = (*blocks[kept:], block)
        return block

    # -- as an object

    def _take_all(self, lines: Iterable[Line]) -> None:
        """Append lines of another transcript, with their numbers and times."""
        position = itertools.count()
        runs = itertools.groupby(
            lines, lambda line: (line.number - next(position), line.time, line.direction, line.truncated)
        )
        for (_, time, direction, truncated), run in runs:
            self._take_over(run, time, direction, truncated)

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

    def _restore(self, lines: Iterable[Line], end: int) -> None:
        # Other blocks come of it than were there: none of these lines is to be forgotten for that.
        limit, self._byte_limit = self._byte_limit, sys.maxsize
        self._take_all(lines)
        if end > self._end:
            self._pass_over(end)
        self._byte_limit = limit

    def __dir__(self) -> list[str]:
        """Return what is for users: what completion offers."""
        return [
            name
            for name in super().__dir__()
            if name not in _FOR_THE_WRITER and (name[:1] != "_" or name[:2] == "__")
        ]


def _restored(
    kind: type[Transcript], lines: int, size: int, encoding: str | None, end: int, rows: list[Any]
) -> Transcript:
    """Return the transcript that `Transcript.__reduce__` took apart."""
    transcript = kind(lines, size, encoding=encoding)
    transcript._restore(itertools.starmap(Line, rows), end)
    return transcript


_NOTHING = _Block(bytearray(), 0)
"""What comes before the first block: it has no room, and nothing is ever written there."""


def _spans(block: _Block, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the marks from `low` to `high` as (first, last) of what is read at once: received lines that
    follow each other, up to about 64 KiB of them, and every other mark by itself.
    """
    kinds, ends = bytes(block.kinds[: high + 1]), block.ends
    while low <= high:
        last = low
        if kinds[low] == RECEIVED:
            other = _NOT_RECEIVED.search(kinds, low)
            last = other.start() - 1 if other else high
            begin = ends[low - 1] if low else 0
            if ends[last] - begin > LONGEST_RUN:
                last = max(low, bisect_right(ends, begin + LONGEST_RUN, low, last + 1) - 1)
        yield low, last
        low = last + 1


def _overlapping(pattern: re.Pattern[Data], data: Data) -> Iterator[tuple[int, int]]:
    """Yield where `pattern` is found, also where that begins within what was found before."""
    found = pattern.search(data)
    while found:
        yield found.span()
        found = pattern.search(data, found.start() + 1)


def _bare(regions: Iterable[_Region]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield of each region what was received, as (number of the first line, lines)."""
    for block, mark, number, count, data in regions:
        kind = block.kinds[mark]
        if kind == RECEIVED:
            yield number, split_lines(data, count)
        elif kind in (FRAMED, FRAGMENT):
            head = block.heads.get(mark) if block.heads else None
            if kind == FRAGMENT:
                yield number, [Fragment(data, head)]
            else:
                yield number, [data if head is None else Announcing(data, head)]
        elif kind == CONTINUATION:
            yield number, [Continuation(data)]
        elif kind == TAIL:
            yield number, [Continuation(split_lines(data)[0])]


def _overrun(wanted: int, first: int) -> Overrun:
    return Overrun(
        f"lines {wanted} to {first - 1} were forgotten before they were read: "
        "read faster, or let the transcript keep more",
        first - wanted,
    )
