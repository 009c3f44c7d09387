"""What an on-connect function has not read yet: bytes that are cut into lines only as it reads them.

The function may read bytes (`readexactly`) where everybody else sees lines, so nothing is cut before it is
known which it wants: what follows bytes begins a new line, however they came. What lies unread for a moment
is cut all the same, so that the log shows it; its bytes are kept for the function.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from ..lines.framing import Announced, Foreign, Framer, Raw, count_lines
from ..lines.store import Runs
from ..lines.transcript import Transcript
from ..logical import Announcing, Continuation

__all__ = ["PlainLines", "Unread"]

PLAIN_AT_ONCE = 64 * 1024
"""Bytes of plain lines that are cut together."""
AT_ONCE = 256 * 1024
LINES_AT_ONCE = 1000
"""Bytes, and lines that are cut one by one, after which others have their turn on the I/O thread."""
RUN_COST = 400
"""Bytes of memory that a run takes beside its own (measured with tracemalloc)."""


_NEVER = re.compile(rb"(?!)()")


class PlainLines(Announced):
    """A framer of plain lines, as the transcript cuts them: nothing announces anything."""

    def __init__(self, limit: int, encoding: str | None) -> None:
        super().__init__(_NEVER, limit=limit, encoding=encoding)
        self._mark = b"\n"  # whole chunks are taken without a look at each line

    def _find(self, data: bytes, at: int, end: int) -> tuple[int, int, int]:
        return end, end, -1

    def _number(self, line: bytes | bytearray, *, first: bool) -> int:
        return -1


class _Run:
    """A line that is cut, with the bytes that it was made of; or plain lines, which are cut again when they
    are read.

    number: of the (first) line. raw: its bytes, and `at`: how many of them are read. time: Unix time, s.
    line: None for plain lines.
    """

    __slots__ = ("at", "line", "number", "raw", "time")

    def __init__(self, number: int, raw: bytes, time: float, line: bytes | None = None) -> None:
        self.number = number
        self.raw = raw
        self.at = 0
        self.time = time
        self.line = line

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes."""
        return RUN_COST + len(self.raw) + (0 if self.line is None else len(self.line))


class Unread:
    """The bytes of one connection that its on-connect function has still to read, and its own place in them.

    With the connection's lock held.

    Args:
        make: makes the framer of the connection; called anew where a line begins in the middle of one.
        transcript: takes the lines when they are cut.
        longest: bytes of a line from which on it is cut though its end has not come.
        limit: bytes of memory that are used at most.

    """

    __slots__ = (
        "_buffer",
        "_cost",
        "_fed",
        "_left",
        "_longest",
        "_make",
        "_runs",
        "_searched",
        "_size",
        "_transcript",
        "framer",
        "limit",
        "lost",
        "wanted",
    )

    def __init__(self, make: Callable[[], Framer], transcript: Transcript, longest: int, limit: int) -> None:
        self.framer = make()
        self.limit = limit
        self.wanted = 0
        """Bytes for which the function waits: until they are there nothing is cut."""
        self.lost = 0
        """Lines that were forgotten as there were too many; the function can go on no more."""
        self._make = make
        self._transcript = transcript
        self._longest = longest
        self._buffer = bytearray()
        self._fed = 0  # how much of it the framer has, without having made a line of it
        self._searched = 0  # up to where it has no line end that the framer has not been given
        self._runs: deque[_Run] = deque()
        self._size = 0  # of their bytes that are not read
        self._cost = 0
        self._left: int | None = None  # the first line of those that were lost

    def __len__(self) -> int:
        return self._size + len(self._buffer)

    @property
    def mark(self) -> int:
        """The number of the first line that the function has left for others."""
        if self._left is not None:
            return self._left
        # What was cut anew, behind bytes that were read, has a later number than what stands behind it.
        return min((run.number for run in self._runs), default=self._transcript.end)

    @property
    def uncut(self) -> bytes:
        """What is no line yet."""
        return bytes(self._buffer)

    @property
    def unfed(self) -> bytes:
        """What the framer has not been given yet: with this it goes on."""
        return bytes(self._buffer[self._fed :])

    def add(self, data: bytes, now: float) -> Runs:
        """Take over what was received at `now` (Unix time, s); return what had to be cut for it."""
        self._buffer += data
        runs: Runs = []
        if self._cost + len(self._buffer) <= self.limit // 2:
            return runs
        if isinstance(self.framer, Foreign):
            if self._cost + len(self._buffer) > self.limit:
                self._give_up(1)
                self._transcript.append_received([Announcing(self.uncut, 0)], now)
                self._drop(len(self._buffer))
            return runs
        if not self.wanted or self._cost + len(self._buffer) > self.limit:
            # As much as has come: more would hold up others.
            left = len(self._buffer) - len(data)
            while len(self._buffer) > left and (cut := self.cut(now)):
                runs += cut
        if self._cost + len(self._buffer) > self.limit:
            self._give_up(0)
        return runs

    def _give_up(self, lines: int) -> None:
        """Keep no more for the function, which lets too much lie; `lines`: how many are lost beside those
        that are cut.
        """
        self._left = self.mark
        self.lost += lines + sum(count_lines(run.raw[run.at :]) or 1 for run in self._runs)
        self._runs.clear()
        self._size = self._cost = 0

    def cut(self, now: float, *, one: bool = False) -> Runs:
        """Cut what is whole into lines, or the next line alone, and put them into the transcript; return
        them. It may be only a part of what is whole, and none are left when none come.
        """
        runs: Runs = []
        lines, left = 0, len(self._buffer) - AT_ONCE
        while lines < LINES_AT_ONCE and (len(self._buffer) > left or not runs):
            if not one and self._cut_plain(now, runs):
                continue
            if not self._cut_one(now, runs):
                break
            lines += 1
            if one and runs:
                break
        return runs

    def _cut_plain(self, now: float, runs: Runs) -> bool:
        """Cut the plain lines that come next, if there are any."""
        data = self._next_plain()
        if data:
            self._append(_Run(self._transcript.end, data, now))
            self._take_plain(data, now, runs)
        return bool(data)

    def _next_plain(self) -> bytes:
        """Return the whole plain lines that come next in what is not cut, some of them; b"" for none."""
        framer = self.framer
        if self._fed or not isinstance(framer, Announced):
            return b""
        data = bytes(self._buffer[:PLAIN_AT_ONCE])
        return data[: framer.plain(data, min(PLAIN_AT_ONCE // 2, self._transcript.longest_line))]

    def _take_plain(self, data: bytes, now: float, runs: Runs) -> None:
        """Put plain lines, which come next in what is not cut, into the transcript."""
        transcript = self._transcript
        view = memoryview(data)
        while view:
            room = transcript.room()
            step = min(len(room), len(view))
            room[:step] = view[:step]
            view = view[step:]
            transcript.commit(step, now, runs)
        self._drop(len(data))

    def _cut_one(self, now: float, runs: Runs) -> bool:
        """Cut the next line, or a fragment, if it is there."""
        while stop := self._next_stop():
            lines = self.framer.feed(bytes(self._buffer[self._fed : stop]))
            self._fed = stop
            if lines:
                held = self.framer.buffered if isinstance(self.framer, Announced) else 0
                raw = bytes(self._buffer[: stop - held])
                self._drop(stop - held)
                self._fed = self._searched = held
                self._keep(lines, raw, now, runs)
                return True
        return False

    def _next_stop(self) -> int:
        """Return where the next piece for the framer ends that may complete a line."""
        size = len(self._buffer)
        if isinstance(self.framer, Raw):
            return size
        begin = self._fed
        if isinstance(self.framer, Announced):
            begin += self.framer.announced  # in which line ends mean nothing
        # What was looked through is not looked through again, at each piece of a line that comes in many.
        stop = self._buffer.find(b"\n", max(begin, self._searched)) + 1
        if not stop:
            self._searched = size
            return size if size - self._fed > self._longest else 0
        return stop

    def _drop(self, size: int) -> None:
        """Let go of the first `size` bytes; a line begins behind them, or goes on that is begun."""
        del self._buffer[:size]
        self._fed = self._searched = 0

    def _keep(self, lines: list[bytes], raw: bytes, now: float, runs: Runs) -> None:
        """Put the lines into the transcript, and keep them with their bytes."""
        made: Runs = []
        self._transcript.append_received(lines, now, made)
        pieces = [(first + index, line) for first, part in made for index, line in enumerate(part)]
        at = 0
        for (number, line), (_, following) in zip(pieces, [*pieces[1:], (0, b"")], strict=True):
            stop = at + len(line)
            if number == pieces[-1][0] or isinstance(self.framer, Foreign):
                stop = len(raw)  # what a user's framing has left out is with the first
            elif not isinstance(following, Continuation):
                stop = raw.index(b"\n", stop) + 1
            self._append(_Run(number, raw[at:stop], now, line))
            at = stop
        runs += made

    def _append(self, run: _Run) -> None:
        if self._left is None:
            self._runs.append(run)
            self._size += len(run.raw)
            self._cost += run.cost
        else:
            self.lost += count_lines(run.raw) or 1

    def _take_run(self) -> None:
        run = self._runs.popleft()
        self._size -= len(run.raw) - run.at
        self._cost -= run.cost

    def read_line(self) -> tuple[int, bytes, float] | None:
        """Return the next line that is cut, as its number, its bytes and its Unix time; None: none is."""
        if not self._runs:
            return None
        run = self._runs[0]
        number, line = run.number, run.line
        if line is None:
            stop = run.raw.index(b"\n", run.at) + 1
            line = run.raw[run.at : stop - 1].removesuffix(b"\r")
            self._pass_over(run, stop, 1)
        else:
            self._take_run()
        return number, line, run.time

    def peek(self) -> tuple[int, bytes]:
        """Return plain lines that come next and are whole, with their ends, and the number that the first
        has, or will have at least; b"" where what comes next is no such line. `pass_over` reads them.
        """
        if self._runs:
            run = self._runs[0]
            return run.number, b"" if run.line is not None else run.raw[run.at :]
        return self._transcript.end, self._next_plain()

    def pass_over(self, size: int, now: float, runs: Runs) -> tuple[int, float]:
        """Read the plain lines that are the next `size` bytes, as `peek` has given them; return the last
        one's number and its Unix time. `runs` is given those that are cut for it.
        """
        number, time = self._transcript.end, now
        while size:
            if not self._runs:
                self._take_plain(bytes(self._buffer[:size]), now, runs)
                return self._transcript.end - 1, now
            run = self._runs[0]
            stop = min(run.at + size, len(run.raw))
            size -= stop - run.at
            lines = count_lines(run.raw[run.at : stop])
            number, time = run.number + lines - 1, run.time
            self._pass_over(run, stop, lines)
        return number, time

    def _pass_over(self, run: _Run, stop: int, lines: int) -> None:
        """Take note that the first run is read up to `stop`, which is so many lines."""
        self._size -= stop - run.at
        run.at = stop
        run.number += lines
        if stop == len(run.raw):
            self._take_run()

    def take_framed(self, size: int, lines: list[bytes], now: float) -> Runs:
        """Take over the lines that the framer made elsewhere, when it was fed with the next `size` bytes."""
        self._fed += size
        runs: Runs = []
        if lines:
            raw = bytes(self._buffer[: self._fed])
            self._drop(self._fed)
            self._keep(lines, raw, now, runs)
        return runs

    def read(self, size: int, now: float, runs: Runs) -> bytes | None:
        """Return the next `size` bytes, wherever they stand; None: not so many are there. What follows begins
        a new line; `runs` is given the one that is there already.
        """
        if len(self) < size:
            return None
        pieces: list[bytes] = []
        missing = size
        while missing and self._runs:
            piece = self._read_run(self._runs[0], missing, now, runs)
            pieces.append(piece)
            missing -= len(piece)
        if missing:
            data = bytes(self._buffer[:missing])
            self._drop(missing)
            self.framer = self._make()
            # Data, whatever it looks like: nothing is compared with it.
            self._transcript.append_received([Announcing(data, 0)], now)
            pieces.append(data)
        return b"".join(pieces)

    def _read_run(self, run: _Run, most: int, now: float, runs: Runs) -> bytes:
        """Return the next bytes of the first run, at most so many."""
        at, raw = run.at, run.raw
        stop = min(at + most, len(raw))
        data = raw[at:stop]
        if run.line is not None or stop == len(raw):
            self._take_run()
            if rest := raw[stop:]:
                self._cut_anew(rest, now, runs)
            return data
        lines = count_lines(data)
        if data.endswith(b"\n"):
            self._pass_over(run, stop, lines)
        else:  # within a line
            end = raw.index(b"\n", stop) + 1
            self._pass_over(run, end, lines + 1)
            self._cut_anew(raw[stop:end], now, runs)
        return data

    def _cut_anew(self, rest: bytes, now: float, runs: Runs) -> None:
        """Put the rest of a line, of which the function has read the beginning as bytes, before the
        others.
        """
        framer = self._make()
        others = self._runs
        self._runs = deque()
        self._keep([*framer.feed(rest), *framer.finish()], rest, now, runs)
        self._runs += others

    def finish(self, now: float, *, calls: bool = True) -> None:
        """Cut all that is left, at the end of the connection; `calls`: whether the framer may be called."""
        if calls:
            while self.cut(now):
                pass
            lines = [*self.framer.feed(self.unfed), *self.framer.finish()]
        else:
            lines = [Announcing(self.uncut, 0)] if self._buffer else []
        self._buffer.clear()
        self._transcript.append_received(lines, now)
