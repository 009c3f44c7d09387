"""Blocks of lines: how a transcript lays them out in memory.

A *block* is up to 1 MiB of bytes. In it stand *marks*, each a run of whole lines of one kind and one time; a
line that is not complete yet (the *carry*) stands behind the last mark. No line straddles two blocks or two
marks.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from .delivery import Delivery
from .line import Line

__all__ = [
    "ASIDE",
    "CONTINUATION",
    "FRAGMENT",
    "FRAMED",
    "LONGEST_RUN",
    "NOTE",
    "OWN",
    "RECEIVED",
    "SENT",
    "SENT_PART",
    "TAIL",
    "WITH_END",
    "Block",
    "Region",
    "first_of",
]

LONGEST_RUN = 64 * 1024
"""Bytes of lines that follow each other under one mark, so that looking up a single line never splits more;
a single line may be longer."""
BLOCK_COST = 1024
"""Bytes that a block takes beside its lines and marks (measured with tracemalloc)."""

# The kinds of marks. Plain numbers, as each is one byte of a block, compared for each chunk that comes.
RECEIVED, TAIL, FRAMED, FRAGMENT, CONTINUATION, ASIDE, SENT, SENT_PART, NOTE = range(9)
"""What stands under a mark: received lines with their line ends; the end of an over-long line, with its line
end; a line that a framer made; the first fragment of a line, and a later one; a received line that is for no
reader; a sent line; the beginning of one; what happened."""
WITH_END = (RECEIVED, TAIL)
OWN = (ASIDE, SENT, SENT_PART, NOTE)
"""What is for no reader; one line a mark."""
_DIRECTIONS = "<<<<<<>>*"
_TRUNCATED = (False, True, False, True, True, False, False, True, False)
_NOT_RECEIVED = re.compile(b"[^%c]" % RECEIVED)

Region = tuple["Block", int, int, int, bytes]
"""Lines with consecutive numbers: (block, mark of the first, its number, how many, a copy of their bytes).

A plain tuple, which is quicker to make than any class, and taken apart where it is received."""


class Block:
    """Lines with consecutive numbers, in one piece of memory; see the module's first lines.

    One thread writes: first the bytes, then the mark, of which the count comes last. What is under a mark
    never changes until the block is given up, after which its memory may be used again. So a reader copies
    what it wants, and looks at `given_up` afterwards.

    Attributes:
        data: the bytes; view: of them, to write to and to copy from; size: how many.
        first: number of the first line.
        received: how many lines before that one came from the peer.
        used: bytes written.
        settled: bytes under marks; behind them stands the carry.
        weight: bytes that marks and deliveries take; never more than `size`.
        ends: of each mark, where it ends in the data.
        counts: of each mark, how many lines the block has up to and with it.
        times: of each mark, seconds since the Unix epoch.
        kinds: of each mark, such as RECEIVED.
        deliveries: by mark, those of sent lines; None: there are none.
        heads: by mark, the bytes before the first announced one; None: nothing was announced.
        given_up: whether the memory may hold other lines by now.
    """

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
        self.first = first
        self.received = received
        self.used = 0
        self.settled = 0
        self.weight = 0
        self.ends = array("I")
        self.counts = array("I")
        self.times = array("d")
        self.kinds = bytearray()
        self.deliveries: dict[int, Delivery] | None = None
        self.heads: dict[int, int] | None = None
        self.given_up = False

    @property
    def end(self) -> int:
        """The number after its last line."""
        return self.first + self.counts[-1] if self.counts else self.first

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes now."""
        return BLOCK_COST + self.size + self.weight

    def received_before(self, number: int) -> int:
        """Return how many of the lines before line `number`, of this block or its end, came from the peer."""
        lines = min(number, self.end) - self.first
        kinds = self.kinds[: bisect_right(self.counts, lines)]
        return self.received + lines - sum(map(kinds.count, OWN))

    def begin_of(self, mark: int) -> tuple[int, int]:
        """Return the number of the first line under a mark, and where it begins in the data."""
        if not mark:
            return self.first, 0
        return self.first + self.counts[mark - 1], self.ends[mark - 1]

    def line(self, mark: int, number: int, data: bytes, encoding: str | None) -> Line:
        """Return the line that stands alone under a mark."""
        kind = self.kinds[mark]
        delivery = self.deliveries.get(mark) if self.deliveries else None
        return Line(data, self.times[mark], _DIRECTIONS[kind], number, _TRUNCATED[kind], encoding, delivery)

    def spans(self, start: int, stop: int) -> Iterable[tuple[int, int]]:
        """Return the marks of the lines from `start` up to `stop` as (first, last) of what is read at once.

        That is received lines that follow each other, up to about 64 KiB of them, and every other mark by
        itself. The first and the last may have lines before `start` and from `stop` on.
        """
        counts = self.counts
        low = bisect_right(counts, start - self.first) if start > self.first else 0
        high = min(bisect_left(counts, stop - self.first), len(counts) - 1)
        return ((low, high),) if low == high else self._spans_of(low, high)

    def _spans_of(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        kinds, ends = bytes(self.kinds[: high + 1]), self.ends
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


def first_of(block: Block) -> int:
    """Return the number of a block's first line: the key by which blocks are looked up."""
    return block.first
