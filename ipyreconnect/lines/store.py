"""The bounded memory of a transcript: keeps raw chunks in blocks, and finds lines in them by number.

Why raw chunks: splitting a line and making an object of it costs more than receiving it (27–66 ns for the
split alone, against 25 ns for the bytes), and a list of lines needs 121–137 bytes for a line of 80. So
received bytes land in *blocks* of up to 1 MiB and only their line ends are counted; every line has its number
at once, and its bytes are looked up when a panel, an expectation or a slice asks.

One writer, any number of readers, no lock: the writer first writes the bytes, then enters the mark, then
moves `end`; what stands before that never changes. When the store is full, the writer gives the oldest
block up, says so in its `given_up`, and only then uses its memory again; a reader copies what it wants and
looks at `given_up` afterwards, so that it never takes new bytes for old lines. (This needs one thread's
writes to be seen by the others in their order, to which the interpreter lock sees. A build without that lock
keeps the order on x86 only; elsewhere the looks at `end` and `given_up` would need a fence.)
"""

from __future__ import annotations

import io
import itertools
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator

from ..errors import Overrun
from ..logical import Announcing, Continuation, Fragment
from .blocks import (
    BLOCK_COST,
    CONTINUATION,
    FRAGMENT,
    FRAMED,
    RECEIVED,
    TAIL,
    Block,
    Region,
    first_of,
)
from .delivery import Delivery
from .framing import split_lines

__all__ = ["LEAST_BYTES", "LEAST_ROOM", "MARK_COST", "Runs", "Store", "nothing_needed"]

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
RESERVE = 8 * 1024 * 1024
"""Bytes that it may take beyond what it may keep, while a reader that is waited for has not read them: for
what comes before the receiving can wait, such as the replies to all lines of one read, or the rest of a
connection that was reset."""
LEAST_ROOM = 256
"""A read into less room than this is not worth its call: a new block is begun."""
MARK_COST = 19
DELIVERY_COST = 256
"""Bytes that a mark, and a sent line's delivery, take beside the lines themselves (measured with tracemalloc,
over-allocation included)."""
MARKS_AT_ONCE = 64
"""One read makes fewer marks: at most three for each longest run."""
HEAD_COST = 128
"""Bytes that it takes to remember where in a line the first announced byte stands (measured, as above)."""
INDEX_SHARE = 256
"""For random access, where the lines of some runs end is remembered: of one line for so many bytes of the
whole, which takes 4 bytes each."""

Runs = list[tuple[int, list[bytes]]]
"""Received lines that follow each other: the number of the first, and their bytes."""

_NOTHING = Block(bytearray(), 0)
"""What comes before the first block: it has no room, and nothing is ever written there."""


def nothing_needed(_end: int) -> float:
    """Say that no reader needs any line: see `WritableStore.begin_writing`."""
    return math.inf


class Store:
    """Lines in memory, by number; the oldest are forgotten first.

    Reading is safe in any thread at any time and makes nobody wait; the methods that change it are for the
    writer, the one thread that holds the connection's lock.

    Attributes:
        most_at_once: bytes that may come before those who read along have had their turn, and miss nothing;
            a block's size at most.
    """

    def __init__(self, lines: int, size: int) -> None:
        """Begin empty.

        Args:
            lines: how many it keeps at most.
            size: bytes of memory that it takes at most, `LEAST_BYTES` or more.
        """
        self._line_limit = lines
        self._byte_limit = size
        least = max(FIRST_BLOCK, lines * BLOCK_A_LINE)
        self.most_at_once = min(LARGEST_BLOCK, size // BLOCKS_AT_LEAST, least)
        self._next_size = FIRST_BLOCK
        self._blocks: tuple[Block, ...] = ()
        self._last = _NOTHING
        self._end = 0
        self._oldest = 0  # the number of the first line that a block holds
        self._gaps: list[tuple[int, int]] = []  # of a record: a line's number, how many miss before it
        self._cost = 0  # of all blocks but the last
        self._needed: Callable[[int], float] = nothing_needed
        self._indexes: dict[int, array[int]] = {}  # by the number of a run's first line: where each line ends
        self._index_limit = size // INDEX_SHARE

    # -- reading: any thread

    @property
    def first(self) -> int:
        """The number of the oldest line that is kept (equal to `end` when there is none)."""
        return max(self._oldest, self._end - self._line_limit)

    @property
    def end(self) -> int:
        """The number that the next line will get: how many lines there have been."""
        return self._end

    @property
    def oldest(self) -> int:
        """The number of the oldest line whose bytes are still there.

        It may be less than `first`: a single read can bring more lines than are kept, and who reads along is
        to get them all.
        """
        return self._oldest

    @property
    def oldest_kept(self) -> tuple[int, int]:
        """The number of the oldest line whose bytes are still there, and how many of those before it came
        from the peer. Any thread.
        """
        for block in self._blocks:
            if not block.given_up:
                return block.first, block.received
        return 0, 0

    def __len__(self) -> int:
        first = self.first  # looked at before the end, which only grows: never less than nothing
        return self._end - first - sum(missing for number, missing in self._gaps if number > first)

    def received_before(self, number: int) -> int | None:
        """Return how many of the lines before line `number` came from the peer. Any thread.

        Returns:
            None where that is forgotten with them, or is still to come.
        """
        blocks = self._blocks
        if not blocks or not blocks[0].first <= number <= blocks[-1].end:
            return 0 if not number else None
        return blocks[bisect_right(blocks, number, key=first_of) - 1].received_before(number)

    def received(self, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines from `start` up to `stop` as (number of the first, their bytes), a run at
        a time; fragments are of type `Fragment`, and nothing is masked. Any thread.

        The fast way to read many lines: no object a line.

        Raises:
            Overrun: one of them is forgotten already.
        """
        return _received(self._regions(start, stop, strict=True))

    def recent(self, share: int) -> int:
        """Return a line number from which on the lines take about one `share`-th of what may be kept. Any
        thread.
        """
        wanted = self._byte_limit // share
        first = self._end - self._line_limit // share
        for block in reversed(self._blocks):
            wanted -= block.cost
            if wanted <= 0:
                return max(block.first, first)
        return max(self._oldest, first)

    def _regions(
        self, start: int, stop: int, *, reverse: bool = False, strict: bool = False
    ) -> Iterator[Region]:
        """Yield the kept lines from `start` up to `stop`: runs of received lines, and everything else line by
        line.

        Args:
            start: a line number; what is kept no more is passed over.
            stop: a line number, not included; what is still to come is left out.
            reverse: whether the newest region comes first. Within a region the oldest line always does.
            strict: whether to raise where a line is not there any more. Lines before `first` that are still
                there are then given too.

        Raises:
            Overrun: a line is forgotten, and `strict`.
        """
        stop = min(stop, self._end)
        if start >= stop:
            return
        start = self._kept_from(start, strict)
        if start >= stop:
            return
        blocks = self._blocks_with(start, stop, strict)
        for block in reversed(blocks) if reverse else blocks:
            spans = block.spans(start, stop)
            for low, high in reversed(tuple(spans)) if reverse else spans:
                region = self._copied(block, low, high, start, stop)
                if block.given_up:
                    if strict:
                        raise _overrun(region[2], self._oldest)
                    break
                yield region

    def _kept_from(self, start: int, strict: bool) -> int:
        """Return line number `start`, or that of the oldest kept line if that is later and not `strict`."""
        oldest = self._oldest if strict else self.first
        if start >= oldest:
            return start
        if strict:
            raise _overrun(start, oldest)
        return oldest

    def _blocks_with(self, start: int, stop: int, strict: bool) -> tuple[Block, ...]:
        """Return the blocks with lines from `start` up to `stop`; mostly that is the last one."""
        blocks = self._blocks
        if start >= blocks[-1].first:
            return blocks[-1:]
        if strict and start < blocks[0].first:  # given up since `_regions` has looked at the oldest
            raise _overrun(start, blocks[0].first)
        low = max(0, bisect_right(blocks, start, key=first_of) - 1)
        return blocks[low : bisect_left(blocks, stop, key=first_of)]

    def _copied(self, block: Block, low: int, high: int, start: int, stop: int) -> Region:
        """Return what stands under the marks from `low` to `high`, from line `start` up to line `stop`.

        It is of no use where the block is given up by the time this returns.
        """
        number, begin = block.begin_of(low)
        end, after = block.ends[high], block.first + block.counts[high]
        if start > number:
            begin = self._end_of(block, low, start - number)
            number = start
        if stop < after:
            end = self._end_of(block, high, stop - block.begin_of(high)[0])
            after = stop
        return block, low, number, after - number, bytes(block.view[begin:end])

    def _end_of(self, block: Block, mark: int, lines: int) -> int:
        """Return where in the block the first `lines` lines under `mark` end; anything where the block is
        given up.

        Where the lines of a run end is remembered, for a panel's window or a loop over single lines.
        """
        number, begin = block.begin_of(mark)
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

    # -- changing: the writer only

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

    def _mark(self, block: Block, end: int, lines: int, kind: int, now: float) -> None:
        """Enter what stands behind the last mark, up to `end`, as so many lines."""
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

    def _new_block(self, need: int) -> Block:
        """Close the last block and begin one with room for `need` bytes and the carry, which moves there."""
        last = self._last
        carry = bytes(last.view[last.settled : last.used])
        blocks = self._blocks if last.counts else self._blocks[:-1]
        if last.counts:
            self._close(last)
        # Twice the carry: a line that grows is not to be moved at each step.
        size = max(self._next_size, 2 * len(carry) + need)
        self._next_size = min(2 * self._next_size, self.most_at_once)
        blocks, spare = self._make_room(blocks, size)
        received = last.received_before(last.end)
        block = Block(bytearray(size) if spare is None else spare, self._end, received)
        block.view[: len(carry)] = carry
        block.used = len(carry)
        self._last = block
        self._blocks = (*blocks, block)
        return block

    def _close(self, block: Block) -> None:
        """Keep no more of a block than what is under its marks."""
        block.used = block.settled
        if block.used < block.size // 2:
            # Readers see either, and both hold the same bytes.
            block.data = block.data[: block.used]
            block.view = memoryview(block.data)
            block.size = block.used
        self._cost += block.cost

    def _make_room(self, blocks: tuple[Block, ...], size: int) -> tuple[tuple[Block, ...], bytearray | None]:
        """Give up the oldest blocks until one of `size` bytes fits within the limits.

        Returns:
            Those that are kept; and memory of just that size to use again, if there is any: its pages are
            mapped already, and fresh ones cost a page fault each.
        """
        # Counted with the most that the new block may come to.
        most = BLOCK_COST + 2 * size + MARKS_AT_ONCE * MARK_COST + 4 * self._index_limit
        limit = self._byte_limit - most
        oldest = self._end - self._line_limit
        kept, spare = 0, None
        while kept < len(blocks) and (self._cost > limit or blocks[kept].end <= oldest):
            gone = blocks[kept]
            if self._cost <= limit + RESERVE and gone.end > self._needed(self._end):
                break
            kept += 1
            self._cost -= gone.cost
            self._oldest = gone.end
            gone.given_up = True
            if gone.size == size:
                spare = gone.data
        return blocks[kept:], spare

    def _pass_over(self, number: int) -> None:
        """Go on with line `number`: those before it are missing. Each block counts from its first line."""
        if not self._end:
            self._oldest = number
        else:
            self._gaps.append((number, number - self._end))
        self._end = number
        self._new_block(LEAST_ROOM)


def _received(regions: Iterable[Region]) -> Iterator[tuple[int, list[bytes]]]:
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
