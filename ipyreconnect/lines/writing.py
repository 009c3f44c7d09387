"""The writer's side of a transcript: received bytes, framed lines, sent lines and notes go into its store."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator

from ..errors import SettingsError
from ..logical import Continuation, Fragment
from .blocks import (
    ASIDE,
    CONTINUATION,
    FRAGMENT,
    FRAMED,
    LONGEST_RUN,
    NOTE,
    RECEIVED,
    SENT,
    SENT_PART,
    TAIL,
    Block,
)
from .delivery import Delivery
from .framing import LINE_LIMIT, count_lines, cut_before, split_lines
from .line import Line
from .lock import exclusive
from .masking import Masking
from .store import BLOCKS_AT_LEAST, LEAST_ROOM, MARK_COST, Runs, Store, nothing_needed

__all__ = ["STRIDE", "WHOLE_SHARE", "WritableStore"]

WHOLE_SHARE = 8
"""What a framer made, what was sent and a note are kept in one piece up to this part of the whole: 8 MiB by
default, more than any framing of ours makes."""
STRIDE = 1024
"""Lines that are taken at a time where they are turned round or joined."""

_CR = ord("\r")


class WritableStore(Store):
    """A store that one writer appends to: a client's connection, or whoever loads a file.

    Its methods are for the writer only, the thread that holds the connection's lock, but for `begin_writing`.

    Attributes:
        encoding: of the lines' text; None means UTF-8, else ISO-8859-1.
    """

    def __init__(self, lines: int, size: int, encoding: str | None) -> None:
        """Begin empty, and with nothing masked.

        Args:
            lines: how many lines it keeps at most.
            size: bytes of memory that it takes at most.
            encoding: of the lines' text.
        """
        super().__init__(lines, size)
        self.encoding = encoding
        self._masking = Masking(encoding)
        self._longest = min(LINE_LIMIT, size // BLOCKS_AT_LEAST)
        self._run = min(LONGEST_RUN, self._longest)
        self._whole = size // WHOLE_SHARE
        # How much may stand behind the last mark before it is looked at closely: the longest run; −1, which
        # is less than anything, while the carry goes on a line of which fragments are kept already.
        self._reach = self._run
        self._writer: object = None

    def begin_writing(
        self,
        writer: object,
        encoding: str | None,
        needed: Callable[[int], float] = nothing_needed,
        longest: int | None = None,
    ) -> None:
        """Take the transcript for `writer`, which may have it already; from now on it is in its encoding. Any
        thread but the I/O thread.

        Args:
            writer: compared by identity or equality only.
            encoding: of the lines' text; None means UTF-8, else ISO-8859-1.
            needed: given the transcript's `end`, returns the number of the first line that a reader is about
                to read, and that is not to be forgotten before; infinity for none. Called by the writer.
            longest: bytes of a received line that is kept in one piece, at most an eighth of all; None means
                1 MiB, or a sixteenth of all where that is less.

        Raises:
            SettingsError: another one writes it; two would overwrite each other's lines.
        """
        with exclusive():
            if self._writer not in (None, writer):
                raise SettingsError(
                    "this transcript is written by another client: stop that first, or give each its own"
                )
            self._writer = writer
            self._needed = needed
            self.encoding = encoding
            self._masking.set_encoding(encoding)
            if longest is not None:
                self._longest = min(longest, self._whole)
                self._run = min(LONGEST_RUN, self._longest)
                self._reach = min(self._reach, self._run)

    def end_writing(self) -> None:
        """Let another one write from now on."""
        self._writer = None
        self._needed = nothing_needed

    # -- received bytes

    def room(self) -> memoryview:
        """Return memory to receive into, 256 bytes or more.

        What was written there is taken over by `commit` if that is called before anything else is written.
        """
        block = self._last
        if block.size - block.used < LEAST_ROOM or block.weight + MARK_COST > block.size:
            block = self._new_block(LEAST_ROOM)
        return block.view[block.used :]

    def commit(self, size: int, now: float, runs: Runs | None = None) -> int:
        """Take over `size` bytes that were received into `room`; return how many lines they completed.

        Args:
            size: how many bytes were received.
            now: when, in seconds since the Unix epoch.
            runs: is given those lines, as `received` does, for a caller that waits for them; they are counted
                by being cut, so that this costs little more than counting alone.
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

    def _count(self, block: Block, start: int, end: int, runs: Runs | None) -> int:
        """Count the line ends from `start` to `end`, which stand in the lines that the next mark is for."""
        if runs is None:
            return count_lines(block.view[start:end].tobytes())
        lines = split_lines(block.view[block.settled : end].tobytes())
        runs.append((self._end, lines))
        return len(lines)

    def _commit_much(self, block: Block, start: int, end: int, now: float, runs: Runs | None) -> int:
        """Mark runs of at most `_run` bytes, each longer line by itself, and what is too long to be one line
        as fragments.

        One search for a line end for each run's length of data: nothing beside counting them all. The outcome
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

    def _mark_fragment(self, block: Block, end: int, kind: int, now: float, runs: Runs | None) -> None:
        if runs is not None:
            data = block.view[block.settled : end].tobytes()
            if kind == TAIL:
                runs.append((self._end, [Continuation(split_lines(data)[0])]))
            else:
                runs.append((self._end, [Fragment(data) if kind == FRAGMENT else Continuation(data)]))
        self._mark(block, end, 1, kind, now)

    @property
    def unfinished(self) -> bytes:
        """What was received of a line that has not ended yet."""
        block = self._last
        return bytes(block.view[block.settled : block.used])

    def take_unfinished(self) -> bytes:
        """Give up the line that is not complete yet, to a framer that goes on with it."""
        unfinished = self.unfinished
        self._last.used = self._last.settled
        self._reach = self._run
        return unfinished

    def go_on_with_fragments(self) -> None:
        """Have what comes up to the next line end be fragments: those before them are kept already."""
        self._reach = -1

    def flush(self, now: float, runs: Runs | None = None) -> None:
        """Keep the unfinished line, of which no more will come, as a fragment.

        Args:
            now: seconds since the Unix epoch.
            runs: as for `commit`.
        """
        block = self._last
        if block.used > block.settled:
            self._mark_fragment(block, block.used, self._fragment_kind, now, runs)
        self._reach = self._run

    # -- lines that somebody else has cut

    def append_received(self, lines: Iterable[bytes], now: float, runs: Runs | None = None) -> None:
        """Append lines that a framer made; those of type `Fragment` are marked so.

        Args:
            lines: without their line ends.
            now: seconds since the Unix epoch.
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
        if count == 1:
            self._append_one_framed(lines[0], now, runs)
            return
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

    def _append_one_framed(self, line: bytes, now: float, runs: Runs | None) -> None:
        kept = line
        head: int | None = getattr(line, "head", None)
        if isinstance(line, Fragment):
            kind = CONTINUATION if isinstance(line, Continuation) else FRAGMENT
        elif head is None and len(line) < self._longest and b"\n" not in line and not line.endswith(b"\r"):
            kind = RECEIVED
            kept = line + b"\n"
        else:
            kind = FRAMED
        if len(kept) > self._whole:
            self._append_in_pieces(line, kind != CONTINUATION, head, now, runs)
            return
        number = self._append(kept, kind, now, head=head)
        if runs is not None:
            runs.append((number, [line]))

    def _append_in_pieces(
        self, line: bytes, is_first: bool, head: int | None, now: float, runs: Runs | None
    ) -> None:
        """Append a line that is too long to be kept whole as fragments.

        Args:
            line: without its line end.
            is_first: whether a line begins with it.
            head: bytes before the first announced one, which must be in the first fragment to be known there.
            now: seconds since the Unix epoch.
            runs: as for `commit`.
        """
        at = 0
        while at < len(line):
            stop = at + self._whole
            if stop < len(line):
                stop = at + cut_before(memoryview(line)[at:], self._whole, self.encoding)
            data = line[at:stop]
            if is_first:
                head = head if head is not None and head < stop else None
                piece: Fragment = Fragment(data, head)
                number = self._append(data, FRAGMENT, now, head=head)
            else:
                piece = Continuation(data)
                number = self._append(data, CONTINUATION, now)
            if runs is not None:
                runs.append((number, [piece]))
            is_first = False
            at = stop

    # -- whatever else stands in a transcript

    def append_aside(self, line: bytes, now: float) -> int:
        """Append a line of the peer that is for no reader, expectation or reply, as what came in plain text
        before STARTTLS; return its number.
        """
        return self._append(line[: self._whole], ASIDE, now)

    def append_sent(self, line: bytes, now: float, delivery: Delivery | None = None) -> int:
        """Append a line that was sent, with its secrets masked; return its number.

        Of a line that is longer than an eighth of all that may be kept, only that much is kept, and without
        its delivery, which would hold the rest.

        Args:
            line: without its line end.
            now: when it was sent, in seconds since the Unix epoch.
            delivery: whose status is shown with the line.
        """
        masking = self._masking
        if masking.active:
            line = masking.masked(line)
        if len(line) > self._whole:
            return self._append(line[: self._whole], SENT_PART, now)
        return self._append(line, SENT, now, 1, delivery)

    def append_note(self, text: str, now: float) -> int:
        """Append something that happened at `now` (seconds since the Unix epoch), with its secrets masked;
        return its number.
        """
        note = self._masking.masked_text(text).encode("utf-8", "backslashreplace")
        return self._append(note[: self._whole], NOTE, now)

    # -- lines of another transcript

    def _restore(self, lines: Iterable[Line], end: int) -> None:
        """Append a copy of another transcript's lines, none of which is forgotten; go on with line `end`."""
        # Other blocks come of it than were there: none of these lines is to be forgotten for that.
        limit, self._byte_limit = self._byte_limit, sys.maxsize
        self._append_copies(lines)
        if end > self._end:
            self._pass_over(end)
        self._byte_limit = limit

    def _append_copies(self, lines: Iterable[Line]) -> None:
        """Append lines of another transcript, with their numbers and times."""
        position = itertools.count()
        runs = itertools.groupby(
            lines, lambda line: (line.number - next(position), line.time, line.direction, line.truncated)
        )
        for (_, time, direction, truncated), run in runs:
            self._append_run(run, time, direction, truncated)

    def _append_run(self, run: Iterator[Line], time: float, direction: str, truncated: bool) -> None:
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
