"""What can happen to a transcript, a plain model of what it then holds, and how both are compared; has no
tests.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st

from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.store import LEAST_BYTES, Runs
from ipyreconnect.lines.transcript import DEFAULT_BYTES, Transcript
from ipyreconnect.logical import Fragment

LONGEST: Final = LEAST_BYTES // 16
"""Bytes of the longest received line that the smallest transcript keeps in one piece."""
WHOLE: Final = LEAST_BYTES // 8
"""Bytes of the longest line that it keeps in one piece when it is given as a whole."""
OVERHEAD: Final = 4096
"""Bytes that a transcript's own object and what a reader looks at take beside its lines."""
HOURS: Final = 3600.0


@dataclass
class Model:
    """What a transcript is to hold, written as plainly as can be."""

    longest: int
    whole: int
    lines: list[Line] = field(default_factory=list)
    carry: bytes = b""
    over: bool = False

    def add(
        self,
        data: bytes,
        now: float,
        direction: str,
        truncated: bool = False,
        delivery: Delivery | None = None,
    ) -> None:
        self.lines.append(Line(data, now, direction, len(self.lines), truncated, delivery=delivery))

    def receive(self, data: bytes, now: float) -> None:
        self.carry += data
        while True:
            line, end, rest = self.carry.partition(b"\n")
            if end and len(line.removesuffix(b"\r")) <= self.longest:
                self.add(line.removesuffix(b"\r"), now, "<", self.over)
                self.over = False
                self.carry = rest
            elif len(self.carry.removesuffix(b"\r")) > self.longest:
                cut = before_character(self.carry, self.longest)
                self.add(self.carry[:cut], now, "<", True)
                self.over = True
                self.carry = self.carry[cut:]
            else:
                return

    def framed(self, lines: list[bytes], now: float) -> None:
        for line in lines:
            if len(line) <= self.whole:
                self.add(bytes(line), now, "<", isinstance(line, Fragment))
            else:
                rest = bytes(line)
                while rest:
                    cut = self.whole
                    if cut < len(rest):
                        cut = before_character(rest, cut)
                    self.add(rest[:cut], now, "<", True)
                    rest = rest[cut:]

    def sent(self, line: bytes, now: float, delivery: Delivery | None) -> None:
        cut = len(line) > self.whole
        self.add(line[: self.whole], now, ">", cut, None if cut else delivery)

    def note(self, text: str, now: float) -> None:
        self.add(text.encode()[: self.whole], now, "*")

    def flush(self, now: float) -> None:
        if self.carry:
            self.add(self.carry, now, "<", True)
        self.carry = b""
        self.over = False

    def give_up(self) -> None:
        self.carry = b""
        self.over = False

    def received(self, start: int, stop: int | None = None) -> list[tuple[int, bytes, bool]]:
        return [
            (line.number, line.data, line.truncated)
            for line in self.lines[start:stop]
            if line.direction == "<"
        ]


def before_character(data: bytes, at: int) -> int:
    """Return where a piece of at most `at` bytes ends that cuts through no character of UTF-8."""
    start = at
    while start > at - 3 and data[start] & 0xC0 == 0x80:
        start -= 1
    return start if data[start] >= 0xC0 else at


def reads(
    transcript: Transcript,
    data: bytes,
    now: float = 0.0,
    most: int = sys.maxsize,
    runs: Runs | None = None,
) -> Iterator[int]:
    """Do as a driver does: receive into the room that there is, then take it over; yield the size of each
    such step.
    """
    view = memoryview(data)
    while view:
        room = transcript.room()
        size = min(len(room), len(view), most)
        room[:size] = view[:size]
        before = transcript.end
        assert transcript.commit(size, now, runs) == transcript.end - before
        yield size
        view = view[size:]


def receive(transcript: Transcript, data: bytes, now: float = 0.0, most: int = sys.maxsize) -> None:
    for _ in reads(transcript, data, now, most):
        pass


def flat(runs: Any) -> list[tuple[int, bytes, bool]]:
    """Return runs line by line."""
    return [
        (number, bytes(line), isinstance(line, Fragment))
        for first, lines in runs
        for number, line in enumerate(lines, first)
    ]


def same(got: Line, wanted: Line) -> bool:
    """Compare also what `==` leaves out."""
    return got == wanted and got.delivery is wanted.delivery


def numbers(lines: Any) -> list[int]:
    return [line.number for line in lines]


pieces = st.one_of(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\0", b"a", b"\xff", b"\xc3\xa9", b"OK\r\n", b"\n\n", b"\r\r\n"]
    ),
    st.builds(
        lambda size: b"x" * size, st.sampled_from([LONGEST - 1, LONGEST, LONGEST + 1, 300, 3 * LONGEST])
    ),
)
chunks = st.lists(pieces, max_size=12).map(b"".join)
sent_lines = st.one_of(
    st.sampled_from([b"", b"1 noop", b"two\r\nlines", b"\0"]),
    st.builds(lambda size: b"s" * size, st.sampled_from([WHOLE - 1, WHOLE, WHOLE + 1])),
)
framed_lines = st.lists(
    st.one_of(
        sent_lines,
        chunks,
        st.sampled_from([b"ends with CR\r", b"\r"]),
        chunks.map(Fragment),
    ),
    max_size=8,
)
Step = Callable[[Transcript, Model, float], object]


def _receive(data: bytes, most: int, awaited: bool) -> Step:
    def step(transcript: Transcript, model: Model, now: float) -> None:
        at, before = 0, len(model.lines)
        runs: Runs | None = [] if awaited else None
        for size in reads(transcript, data, now, most, runs):
            model.receive(data[at : at + size], now)
            at += size
            # Who waits for a line is shown all that was read, also what is beyond the limit of lines.
            assert runs is None or flat(runs) == model.received(before)

    return step


def _sent(line: bytes, delivered: bool) -> Step:
    def step(transcript: Transcript, model: Model, now: float) -> None:
        delivery = Delivery(line) if delivered else None
        assert transcript.append_sent(line, now, delivery) == len(model.lines)
        model.sent(line, now, delivery)

    return step


def _note(text: str) -> Step:
    def step(transcript: Transcript, model: Model, now: float) -> None:
        assert transcript.append_note(text, now) == len(model.lines)
        model.note(text, now)

    return step


def _framed(lines: list[bytes], awaited: bool) -> Step:
    def step(transcript: Transcript, model: Model, now: float) -> None:
        before = len(model.lines)
        runs: Runs | None = [] if awaited else None
        transcript.append_received(iter(lines), now, runs=runs)
        model.framed(lines, now)
        assert runs is None or flat(runs) == model.received(before)

    return step


def _flush(transcript: Transcript, model: Model, now: float) -> None:
    transcript.flush(now)
    model.flush(now)


def _take(transcript: Transcript, model: Model, now: float) -> None:
    assert transcript.take_unfinished() == model.carry
    model.give_up()


def _room(transcript: Transcript, model: Model, now: float) -> None:
    """A read that brought nothing."""
    assert len(transcript.room()) >= 256


steps = st.one_of(
    st.builds(_receive, chunks, st.sampled_from([1, 7, 500, sys.maxsize]), st.booleans()),
    st.builds(_receive, chunks, st.sampled_from([1, 7, 500, sys.maxsize]), st.booleans()),
    st.builds(_sent, sent_lines, st.booleans()),
    st.builds(_note, st.sampled_from(["", "closed by 127.0.0.1:993", "é" * WHOLE])),
    st.builds(_framed, framed_lines, st.booleans()),
    st.sampled_from([_flush, _take, _room]),
)
# A clock may be set back, and a connection may say nothing for hours.
pauses = st.sampled_from([0.0, 1e-6, 0.5, 72 * 60.0, -1.0, -100 * HOURS])


def check(transcript: Transcript, model: Model) -> None:
    """See that everything from the first line on is there, and nothing else."""
    first, end = transcript.first, len(model.lines)
    kept = model.lines[first:]
    assert transcript.forgotten == first
    assert transcript.end == end
    assert transcript.unfinished == model.carry
    assert len(transcript) == end - first <= transcript.line_limit
    assert list(transcript) == kept
    assert all(map(same, transcript, kept))
    assert weight(transcript) <= transcript.byte_limit + OVERHEAD


histories = st.lists(st.tuples(steps, pauses), max_size=60)
limits = st.sampled_from([1, 2, 10, 10_000])
sizes = st.sampled_from([LEAST_BYTES, LEAST_BYTES + 1, 2 * LEAST_BYTES, DEFAULT_BYTES])


def weight(transcript: Transcript) -> int:
    """Return the bytes of everything that hangs on a transcript, over-allocation included."""
    seen: dict[int, object] = {}
    left: list[object] = [transcript]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType):
            continue
        seen[id(item)] = item
        left.extend(gc.get_referents(item))
    return sum(sys.getsizeof(item) for item in seen.values())
