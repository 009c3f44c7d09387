"""What an on-connect function has not read yet: bytes that are cut into lines only as it reads them.

The function may read bytes (`readexactly`) where everybody else sees lines, so nothing is cut before it is
known which it wants: what follows bytes begins a new line, however they came. What lies unread for a moment
is cut all the same, so that the log shows it; its bytes are kept for the function.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from .framing import Announced, Announcing, Framer, Raw
from .transcript import Runs, Transcript

__all__ = ["PlainLines", "Unread"]

_NEVER = re.compile(rb"(?!)()")


class PlainLines(Announced):
    """A framer of plain lines: as the transcript cuts them, but a line at a time."""

    def __init__(self, limit: int, encoding: str | None) -> None:
        super().__init__(_NEVER, limit=limit, encoding=encoding)


class Unread:
    """The bytes of one connection that its on-connect function has still to read, and its own place in them.

    With the turn only.

    Args:
        make: makes the framer of the connection; called anew where a line begins in the middle of one.
        transcript: takes the lines when they are cut.
        longest: bytes of a line from which on it is cut though its end has not come.
        limit: bytes that are kept at most.

    """

    __slots__ = (
        "_buffer",
        "_fed",
        "_lines",
        "_longest",
        "_make",
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
        self._lines: deque[tuple[int, bytes, bytes, float]] = deque()  # number, line, raw bytes, Unix time
        self._size = 0  # of the raw bytes of these lines

    def __len__(self) -> int:
        return self._size + len(self._buffer)

    @property
    def mark(self) -> int:
        """The number of the first line that the function has left for others."""
        return self._lines[0][0] if self._lines else self._transcript.end

    @property
    def uncut(self) -> bytes:
        """What is no line yet."""
        return bytes(self._buffer)

    @property
    def unfed(self) -> bytes:
        """What the framer has not been given yet: with this it goes on."""
        return bytes(self._buffer[self._fed :])

    def add(self, data: bytes, now: float) -> None:
        """Take over what was received at `now` (Unix time, s)."""
        self._buffer += data
        if len(self) > self.limit:
            self.cut(now)
            self.lost += len(self._lines)
            self._lines.clear()
            self._size = 0

    def cut(self, now: float, *, one: bool = False) -> Runs:
        """Cut what is whole into lines, or the next line alone, and put them into the transcript; return
        them.
        """
        runs: Runs = []
        buffer, at = self._buffer, 0
        while stop := self._next_stop(at):
            lines = self.framer.feed(bytes(buffer[at + self._fed : stop]))
            self._fed = stop - at
            if lines:
                self._keep(lines, bytes(buffer[at:stop]), now, runs)
                at, self._fed = stop, 0
                if one:
                    break
        del buffer[:at]
        return runs

    def _next_stop(self, at: int) -> int:
        """Return where the next piece for the framer ends that may complete a line which begins at `at`."""
        buffer, begin = self._buffer, at + self._fed
        if isinstance(self.framer, Raw):
            return len(buffer) if begin < len(buffer) else 0
        stop = buffer.find(b"\n", begin) + 1
        return stop if stop or len(buffer) - begin <= self._longest else len(buffer)

    def _keep(self, lines: list[bytes], raw: bytes, now: float, runs: Runs) -> None:
        made: Runs = []
        self._transcript.append_received(lines, now, made)
        for first, pieces in made:
            for number, line in enumerate(pieces, first):
                self._lines.append((number, line, raw, now))
                self._size += len(raw)
                raw = b""  # all of them belong to the first: they are fragments of one line
        runs += made

    def read_line(self) -> tuple[int, bytes, float] | None:
        """Return the next line that is cut, as its number, its bytes and its Unix time; None: none is."""
        if not self._lines:
            return None
        number, line, raw, time = self._lines.popleft()
        self._size -= len(raw)
        return number, line, time

    def take_framed(self, size: int, lines: list[bytes], now: float) -> Runs:
        """Take over the lines that the framer made elsewhere, when it was fed with the next `size` bytes."""
        self._fed += size
        runs: Runs = []
        if lines:
            raw = bytes(self._buffer[: self._fed])
            del self._buffer[: self._fed]
            self._fed = 0
            self._keep(lines, raw, now, runs)
        return runs

    def read(self, size: int, now: float) -> bytes | None:
        """Return the next `size` bytes, wherever they stand; None: not so many are there. What follows begins
        a new line.
        """
        if len(self) < size:
            return None
        pieces: list[bytes] = []
        missing = size
        while missing and self._lines:
            _, _, raw, _ = self._lines.popleft()
            self._size -= len(raw)
            pieces.append(raw[:missing])
            if rest := raw[missing:]:
                self._cut_anew(rest, now)
            missing -= len(pieces[-1])
        if missing:
            data = bytes(self._buffer[:missing])
            del self._buffer[:missing]
            self._fed = 0
            self.framer = self._make()
            # Data, whatever it looks like: nothing is compared with it.
            self._transcript.append_received([Announcing(data, 0)], now)
            pieces.append(data)
        return b"".join(pieces)

    def _cut_anew(self, rest: bytes, now: float) -> None:
        """Put the rest of a line, of which the function has read the beginning as bytes, before the
        others.
        """
        framer = self._make()
        lines, size = self._lines, self._size
        self._lines, self._size = deque(), 0
        made = framer.feed(rest)
        self._keep([*made, *framer.finish()], rest, now, [])
        self._lines += lines
        self._size += size

    def finish(self, now: float, *, calls: bool = True) -> None:
        """Cut all that is left, at the end of the connection; `calls`: whether the framer may be called."""
        if calls:
            self.cut(now)
            lines = [*self.framer.feed(self.unfed), *self.framer.finish()]
        else:
            lines = [Announcing(bytes(self._buffer), 0)] if self._buffer else []
        self._buffer.clear()
        self._transcript.append_received(lines, now)
