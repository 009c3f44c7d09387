"""The transcript against a plain model of it, under readers in other threads, and in bounded memory."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import pickle
import re
import sys
import tempfile
import threading
import tracemalloc
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipyreconnect.errors import Overrun, SettingsError
from ipyreconnect.lines.delivery import ACKNOWLEDGED, Delivery
from ipyreconnect.lines.files import from_json, to_json
from ipyreconnect.lines.framing import LINE_LIMIT
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.store import LEAST_BYTES, RESERVE, Runs
from ipyreconnect.lines.text import decode
from ipyreconnect.lines.transcript import DEFAULT_BYTES, Transcript
from ipyreconnect.logical import Fragment

LONGEST: Final = LEAST_BYTES // 16
"""Bytes of the longest received line that the smallest transcript keeps in one piece."""
WHOLE: Final = LEAST_BYTES // 8
"""Bytes of the longest line that it keeps in one piece when it is given as a whole."""
OVERHEAD: Final = 4096
"""Bytes that a transcript's own object and what a reader looks at take beside its lines."""

HOURS: Final = 3600.0


# -- a plain model


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


# -- what can happen

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


@given(histories, limits, sizes)
def test_it_keeps_the_newest_of_what_happened_within_its_limits(
    history: list[tuple[Step, float]], lines: int, size: int
) -> None:
    """Whatever comes, in whatever pieces and at whatever times: the newest lines are there, numbered for
    ever, and never more lines or memory than allowed.
    """
    transcript = Transcript(lines, size)
    model = Model(min(LINE_LIMIT, size // 16), size // 8)
    now, first = 1.7e9, 0
    for step, pause in history:
        now += pause
        step(transcript, model, now)
        check(transcript, model)
        assert transcript.first >= first
        first = transcript.first


@given(histories, limits, sizes, st.data())
def test_every_way_to_read_gives_the_same_lines(
    history: list[tuple[Step, float]], lines: int, size: int, data: st.DataObject
) -> None:
    """By number, slice and iteration, forwards and backwards, as bytes and as text: always the same, and an
    error, never a wrong line, for what is forgotten.
    """
    transcript = Transcript(lines, size)
    model = Model(min(LINE_LIMIT, size // 16), size // 8)
    now = 1.7e9
    for step, pause in history:
        now += pause
        step(transcript, model, now)
    first, end = transcript.first, len(model.lines)
    oldest = transcript.oldest
    assert oldest <= first
    for number in data.draw(st.permutations(range(end)))[:50]:
        line = model.lines[number]
        if number >= first:
            assert same(transcript[number], line)
            assert transcript[number - end] == line
            assert line in transcript
            continue
        assert line not in transcript
        with pytest.raises(IndexError, match=f"line {number} is forgotten"):
            transcript[number]
        if number >= oldest:  # not kept, but there for who reads along
            assert flat(transcript.received(number, end)) == model.received(number)
            assert list(transcript.lines(number, end, strict=True)) == model.lines[number:end]
            continue
        with pytest.raises(Overrun, match=f"lines {number} to {oldest - 1} were forgotten"):
            list(transcript.received(number, end))
        with pytest.raises(Overrun):
            list(transcript.lines(number, end, strict=True))
        assert transcript.received_before(number) == (None if number else 0)
    assert transcript.oldest_kept == (oldest, len(model.received(0, oldest)))
    for number in range(oldest, end + 1):
        assert transcript.received_before(number) == len(model.received(0, number))
    assert transcript.received_before(end + 1) is None
    kept = model.lines[first:]
    assert list(reversed(transcript)) == kept[::-1]
    assert flat(transcript.received(first, end)) == model.received(first)
    start, stop = (data.draw(st.integers(-5 - end, end + 5)) for _ in range(2))
    stride = data.draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
    wanted = [line for line in model.lines[start:stop:stride] if line.number >= first]
    assert transcript[start:stop:stride] == wanted
    low, high = sorted((max(0, start), max(0, stop)))
    wanted = model.lines[max(first, low) : high]
    assert list(transcript.lines(low, high)) == wanted
    assert transcript.text(low, high) == "".join(
        f"{line.direction} {line.text}".replace("\r", "\\r").replace("\n", "\\n") + "\n" for line in wanted
    )
    low = max(low, first)
    assert flat(transcript.received(low, high)) == model.received(low, high)
    assert list(transcript.lines(low, high, strict=True)) == wanted


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


# -- cutting


@pytest.mark.parametrize(
    "stream",
    [
        b"a\r\nb\n\r\n\n\0\r\r\nlone\rcr\n\xff\xfe\r\nunfinished",
        b"a" * (LONGEST - 1) + b"\r\nb\n",
        b"a" * LONGEST + b"\r\nb\n",
        b"a" * LONGEST + b"\nb\n",
        b"a" * (LONGEST + 1) + b"\n\nb\r\n",
        b"\n" + b"a" * (3 * LONGEST) + b"\r\n" + b"b" * (LONGEST + 1) + b"\n\n",
    ],
)
def test_where_lines_end_does_not_depend_on_how_the_bytes_were_split(stream: bytes) -> None:
    """The same bytes give the same lines at every split point, over-long ones too."""
    model = Model(LONGEST, WHOLE)
    model.receive(stream, 0.0)
    for split in range(len(stream) + 1):
        transcript = Transcript(bytes=LEAST_BYTES)
        receive(transcript, stream[:split])
        receive(transcript, stream[split:])
        assert list(transcript) == model.lines[transcript.first :]
        assert transcript.first <= 3
        assert transcript.unfinished == model.carry


def test_fragments_joined_are_the_line_and_all_of_them_are_marked() -> None:
    """The end of an over-long line is no line of its own that a pattern could be fooled with."""
    transcript = Transcript()
    line = b"".join(b"%07d." % number for number in range(3 * LINE_LIMIT // 8)) + b"1 OK"
    receive(transcript, b"before\r\n" + line + b"\r\nafter\r\n")
    before, *fragments, after = transcript
    assert (before.data, before.truncated, after.data, after.truncated) == (b"before", False, b"after", False)
    assert b"".join(fragment.data for fragment in fragments) == line
    assert [fragment.truncated for fragment in fragments] == [True] * 4
    assert [flag for _, _, flag in flat(transcript.received(0, 6))] == [False, True, True, True, True, False]


def test_the_end_of_a_connection_ends_an_over_long_line() -> None:
    """What the next connection says first is no fragment of what the last one said."""
    transcript = Transcript(bytes=LEAST_BYTES)
    receive(transcript, b"x" * (2 * LONGEST))
    transcript.flush(0.0)
    receive(transcript, b"* OK ready\r\n")
    assert [(line.data, line.truncated) for line in transcript][2:] == [(b"* OK ready", False)]


def test_a_line_that_is_complete_later_stands_behind_what_was_sent_meanwhile() -> None:
    """A sent line and a note get their numbers at once; the received line gets its own once it is whole."""
    transcript = Transcript()
    receive(transcript, b"one\r\ntw")
    assert transcript.append_sent(b"NOOP", 1.0) == 1
    assert transcript.append_note("the network changed", 2.0) == 2
    receive(transcript, b"o\r\n", 3.0)
    assert [(line.direction, line.data, line.time) for line in transcript] == [
        ("<", b"one", 0.0),
        (">", b"NOOP", 1.0),
        ("*", b"the network changed", 2.0),
        ("<", b"two", 3.0),
    ]


def test_times_are_kept_as_they_are() -> None:
    """A block that is open for hours, and a clock that is set back, change no line's time."""
    transcript = Transcript()
    times = [1.7e9, 1.7e9 + 72 * 60, 1.7e9 + 30 * 24 * HOURS, 1.7e9 - 5.0, 0.0, 1.7e9 + 1e-6]
    for now in times:
        receive(transcript, b"x\n", now)
    assert [line.time for line in transcript] == times


def test_what_was_sent_is_cut_only_where_it_would_fill_the_transcript() -> None:
    """A sent line stays whole, with its fate, up to an eighth of the memory; beyond, its beginning stays."""
    size = 8 * LEAST_BYTES
    transcript = Transcript(bytes=8 * size)
    receive(transcript, b"kept\n")
    whole, huge = Delivery(b"s" * size), Delivery(b"h" * 100 * size)
    for delivery in (whole, huge):
        transcript.append_sent(delivery.data, 0.0, delivery)
    kept, first, second = transcript
    assert kept.data == b"kept"
    assert (first.data, first.truncated, first.delivery) == (whole.data, False, whole)
    assert (second.data, second.truncated, second.delivery) == (b"h" * size, True, None)


def test_a_note_that_is_no_text_is_kept_all_the_same() -> None:
    """A path with bytes that are no UTF-8 must not break what only wants to tell about it."""
    transcript = Transcript()
    transcript.append_note("no such file: /tmp/\udcff", 0.0)
    assert transcript[0].text == "no such file: /tmp/\\udcff"


# -- indices


def test_a_wrong_index_says_what_is_there() -> None:
    """No line 5, line 3 forgotten, and something that is no index: three different messages."""
    transcript = Transcript(lines=2)
    receive(transcript, b"a\nb\nc\nd\ne\n")
    with pytest.raises(IndexError, match="there is no line 5: the transcript has had 5 lines"):
        transcript[5]
    with pytest.raises(IndexError, match="there is no line -6"):
        transcript[-6]
    with pytest.raises(IndexError, match="line 2 is forgotten: the transcript keeps lines 3 to 4"):
        transcript[2]
    with pytest.raises(IndexError):
        transcript[-4]
    with pytest.raises(TypeError):
        transcript["1"]  # type: ignore[call-overload]
    assert transcript[-1].data == b"e"
    assert numbers(transcript[:]) == numbers(transcript[-100:100]) == [3, 4]
    assert "e" not in transcript
    assert repr(transcript) == "<Transcript of 2 lines, 3 forgotten>"


@pytest.mark.parametrize("lines", [0, -1, 2.0, True, "many", None])
def test_limits_that_are_no_numbers_of_lines_are_refused(lines: Any) -> None:
    """One clear line says which limit is wrong and what it may be."""
    with pytest.raises(SettingsError, match="a transcript's lines must be a whole number from 1 up"):
        Transcript(lines=lines)
    with pytest.raises(
        SettingsError, match=f"a transcript's bytes must be a whole number from {LEAST_BYTES} up"
    ):
        Transcript(bytes=lines)


def test_recent_is_about_the_share_that_was_asked_for() -> None:
    """A follower may be behind by a quarter of what is kept, by memory or by lines; then it is waited for."""
    transcript = Transcript(bytes=1024 * 1024)
    assert transcript.recent(4) == 0
    receive(transcript, (b"x" * 79 + b"\n") * 100_000)
    kept = len(transcript)
    assert 0.1 * kept < transcript.end - transcript.recent(4) < 0.4 * kept
    transcript = Transcript(lines=1000)
    receive(transcript, b"x\n" * 5000)
    assert transcript.recent(4) == 4750


# -- memory


def test_a_flooded_line_takes_little_more_than_its_bytes() -> None:
    """A line of 80 bytes takes at most 90, where a list of bytes objects takes 121 and more."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        transcript = Transcript()
        receive(transcript, (b"x" * 78 + b"\r\n") * 500_000, most=16 * 1024)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(transcript) == 500_000
    assert used / len(transcript) <= 90


@pytest.mark.parametrize(
    "lines",
    [[b"x" * 80] * 200, [b"x" * 78 + b"\r\n", b"x" * 80], [b"x" * 80]],
    ids=["many", "literal", "one"],
)
def test_framed_lines_take_little_more_than_their_bytes(lines: list[bytes]) -> None:
    """What a framer made is kept as cheaply as what came in lines."""
    limit = 4 * 1024 * 1024
    transcript = Transcript(bytes=limit)
    while not transcript.forgotten:
        transcript.append_received(lines * 10, 0.0)
    kept = sum(len(line.data) for line in transcript)
    assert kept > 0.8 * limit * 80 / (80 + 20)


@pytest.mark.parametrize(
    "feed",
    [
        lambda transcript: receive(transcript, b"\n" * 4096),
        lambda transcript: receive(transcript, b"\n"),
        lambda transcript: receive(transcript, b"x" * 79 + b"\n"),
        lambda transcript: receive(transcript, b"x" * 1_000_000),
        lambda transcript: receive(transcript, b"x\n" + b"y" * 70_000 + b"\n"),
        lambda transcript: transcript.append_sent(b"x" * 20, 0.0, Delivery(b"x" * 20)),
        lambda transcript: transcript.append_sent(b"", 0.0, Delivery(b"")),
        lambda transcript: transcript.append_sent(b"x" * 9_000, 0.0, Delivery(b"x" * 9_000)),
        lambda transcript: transcript.append_note("", 0.0),
        lambda transcript: transcript.append_received([b"\r"] * 1000, 0.0),
        lambda transcript: transcript.append_received([b"\n" * 100_000], 0.0),
        lambda transcript: (
            transcript[transcript.end - 1 - transcript.end % 7 : transcript.end]
            if receive(transcript, b"\n" * 999)  # type: ignore[func-returns-value]
            else None
        ),
    ],
)
def test_memory_stays_within_the_limit_whatever_comes(feed: Callable[[Transcript], object]) -> None:
    """Tiny lines, endless ones, single ones and sent ones with their fate: all of it is counted."""
    limit = 256 * 1024
    transcript = Transcript(bytes=limit)
    rounds = 0
    while transcript.forgotten < 3 or rounds < 100:
        rounds += 1
        feed(transcript)
        if rounds % 97 == 0:
            assert weight(transcript) <= limit + OVERHEAD
            transcript[transcript.first], transcript[-1]
    assert weight(transcript) <= limit + OVERHEAD


def test_a_full_transcript_keeps_most_of_what_it_may() -> None:
    """Forgetting takes no more than is needed: of 1 MiB, at least two thirds are lines of a flood."""
    transcript = Transcript(bytes=1024 * 1024)
    for _ in range(500):
        receive(transcript, (b"x" * 79 + b"\n") * 128)
        if transcript.forgotten:
            assert 80 * len(transcript) > 2 / 3 * 1024 * 1024
    assert transcript.forgotten


def test_an_idle_transcript_is_tiny() -> None:
    """Of the 12 KiB that an idle connection may take, its transcript takes less than a third."""
    transcripts = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            transcript = Transcript()
            transcript.append_note("connected to 127.0.0.1:143", 0.0)
            receive(transcript, b"* OK ready\r\n")
            transcripts.append(transcript)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / len(transcripts) < 4096


# -- several threads

LINES: Final = 150_000
"""Enough for a hundred blocks to be given up and used again."""


def story(number: int) -> bytes:
    """Return what stands in line `number`: whoever reads it can tell whether it is that one, and whole."""
    return b"%d " % number + b"%x" % (number * 0x9E3779B97F4A7C15) * (number % 7)


def write(transcript: Transcript) -> None:
    """Flood it with lines that tell their number, some of them sent, some in halves."""
    while (number := transcript.end) < LINES:
        if number % 5 == 0:
            transcript.append_sent(story(number), float(number))
            continue
        batch = b"".join(story(each) + b"\r\n" for each in range(number, number + number % 50 + 1))
        half = len(batch) // 2 if number % 3 else len(batch)
        receive(transcript, batch[:half], float(number))
        if half < len(batch):
            # Of what comes now, the first is numbered behind those that are complete.
            receive(transcript, batch[half:], float(number))
        transcript.append_note(story(transcript.end).decode(), float(number))


def right(line: Line) -> bool:
    return line.data == story(line.number) and line.time <= line.number


def by_number(transcript: Transcript) -> int:
    first, end = transcript.first, transcript.end
    seen = 0
    for number in range(first, end, max(1, (end - first) // 20)):
        try:
            line = transcript[number]
        except IndexError:
            assert transcript.first > number
            continue
        assert line.number == number
        assert right(line)
        seen += 1
    return seen


def in_order(transcript: Transcript) -> int:
    lines = list(transcript)
    assert all(map(right, lines))
    assert numbers(lines) == sorted(set(numbers(lines)))
    return len(lines)


def by_length(transcript: Transcript) -> int:
    return max(len(transcript) for _ in range(100))


def strictly(transcript: Transcript) -> int:
    start, end = transcript.first, transcript.end
    seen = start
    try:
        for line in transcript.lines(start, end, strict=True):
            assert line.number == seen
            assert right(line)
            seen += 1
        assert seen == end
    except Overrun:
        assert transcript.first > seen
    return seen - start


def as_bytes(transcript: Transcript) -> int:
    end = transcript.end
    seen = start = transcript.first
    try:
        for number, lines in transcript.received(start, end):
            assert number >= seen
            for seen, line in enumerate(lines, number):
                assert line == story(seen)
    except Overrun:
        assert transcript.first > seen
    return seen - start


def by_searching(transcript: Transcript) -> int:
    seen = 0
    for line in transcript.search("^[0-9]*7 ", reverse=bool(transcript.end % 2)):
        assert right(line)
        assert line.number % 10 == 7
        seen += 1
    assert all(number % 10 == 7 for number in transcript.hits(b"^[0-9]*7 "))
    return seen


def by_windows(transcript: Transcript) -> int:
    end = transcript.end
    lines = transcript[end - 300 : end - 100]
    assert all(map(right, lines))
    return len(lines)


@pytest.mark.parametrize(
    "read", [by_number, by_length, in_order, strictly, as_bytes, by_searching, by_windows]
)
def test_readers_get_right_lines_or_none_while_blocks_are_used_again(
    read: Callable[[Transcript], int],
) -> None:
    """Under a flood that forgets all the time, no reader in another thread ever sees a wrong line."""
    transcript = Transcript(bytes=64 * 1024)
    failures: list[BaseException] = []
    seen = [0, 0]

    def look(reader: int) -> None:
        try:
            while writer.is_alive():
                seen[reader] += read(transcript)
        except BaseException as error:  # noqa: BLE001 - raised again where the test can see it
            failures.append(error)

    writer = threading.Thread(target=write, args=(transcript,))
    readers = [threading.Thread(target=look, args=(reader,)) for reader in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (writer, *readers):
            thread.start()
        for thread in (writer, *readers):
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if failures:
        raise failures[0]
    assert all(seen)
    assert transcript.forgotten
    assert all(map(right, transcript))


def test_hiding_two_secrets_at_once_hides_both() -> None:
    """Two threads that hide something at the same moment do not undo each other's."""
    transcript = Transcript()
    secrets = [[b"secret-%d-%d." % (thread, number) for number in range(60)] for thread in range(4)]

    def hide(mine: list[bytes]) -> None:
        for secret in mine:
            transcript.hide(secret)

    threads = [threading.Thread(target=hide, args=(mine,)) for mine in secrets]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for secret in itertools.chain(*secrets):
        assert transcript.redacted(secret) == "••••".encode()


# -- hiding


def test_what_is_hidden_shows_nowhere() -> None:
    """A secret that the server repeats, that was sent or that stands in a note is masked in every reading."""
    transcript = Transcript()
    receive(transcript, b"password is hunter2, yes hunter2\r\nhunter2")
    assert not transcript.hides
    transcript.hide(b"hunter2")
    transcript.hide(b"hunter2")
    transcript.hide(b"")
    assert transcript.hides
    receive(transcript, b" it is\r\n")
    transcript.append_sent(b"a login me hunter2", 0.0)
    transcript.append_note("login of hunter2 failed", 0.0)
    transcript.append_received([b"framed\nhunter2"], 0.0)
    assert transcript.text().count("••••") == 6
    for lines in (transcript, transcript[:], reversed(transcript), map(transcript.__getitem__, range(5))):
        assert not any(b"hunter2" in line.data for line in lines)
    assert not list(transcript.search("hunter2"))
    assert numbers(transcript.search("••••$")) == [0, 2, 4]
    assert transcript.count_hits("••••") == 5
    assert flat(transcript.received(0, 2))[0][1] == b"password is hunter2, yes hunter2"


@example([b"abc", b"cde"], "abcde")
@example([b"aa"], "aaa")
@given(st.lists(st.text("ab", min_size=1, max_size=3).map(str.encode), min_size=1), st.text("abc"))
def test_whatever_is_hidden_first_no_piece_of_a_secret_shows(secrets: list[bytes], text: str) -> None:
    """Secrets that overlap or hold one another are hidden whole, in whichever order they become known."""
    transcript = Transcript()
    for secret in secrets:
        transcript.hide(secret)
    hidden = {
        place
        for secret in secrets
        for start in range(len(text))
        if text.encode().startswith(secret, start)
        for place in range(start, start + len(secret))
    }
    shown = transcript.redacted(text.encode())
    left = "".join(letter for place, letter in enumerate(text) if place not in hidden)
    assert shown.replace("••••".encode(), b"") == left.encode()
    assert bool(hidden) == (shown != text.encode())


def test_the_whole_of_a_secret_is_hidden_that_holds_another() -> None:
    """A longer secret that becomes known later leaves nothing of itself beside a shorter one's mask."""
    transcript = Transcript()
    for secret in (*(b"secret-%d." % number for number in range(9)), b"hunter", b"hunter2+x", b"x my"):
        transcript.hide(secret)
    assert transcript.redacted_text("is hunter2+x my hunter, hunterhunter") == "is •••• ••••, ••••••••"


def test_what_is_hidden_already_makes_hiding_no_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token a line, hidden with each, stays quick: not all of them are looked at anew for each."""
    looked_at = 0
    real = re.compile

    def count(pattern: bytes) -> re.Pattern[bytes]:
        nonlocal looked_at
        looked_at += pattern.count(b"|") + 1
        return real(pattern)

    monkeypatch.setattr("ipyreconnect.lines.masking.re.compile", count)
    transcript = Transcript()
    for number in range(1000):
        transcript.hide(b"token%06d" % number)
    monkeypatch.undo()
    assert looked_at < 1000 * 10
    assert transcript.redacted(b"token000000 token000999 token001000").count(b"token") == 1


def test_an_encoding_that_nobody_knows_is_refused_at_once(tmp_path: Path) -> None:
    """A typing error is told before there is a line to decode."""
    record = tmp_path / "record.jsonl"
    Transcript().save(record)
    for make in (Transcript, partial(Transcript.load, record)):
        with pytest.raises(SettingsError, match="unknown encoding 'bogus'"):
            make(encoding="bogus")


def test_a_mask_is_text_in_every_encoding() -> None:
    """In an encoding without dots it is stars; in our own notes it is always dots."""
    transcript = Transcript(encoding="iso-8859-1")
    transcript.append_note("é hunter2", 0.0)
    transcript.hide(b"hunter2")
    receive(transcript, b"\xe9 hunter2\n")
    transcript.append_note("é hunter2", 0.0)
    assert [line.text for line in transcript] == ["é ••••", "é ****", "é ••••"]
    assert transcript.redacted_text("\udcff hunter2") == "\udcff ••••"
    assert Transcript().redacted_text("hunter2") == "hunter2"


def test_a_secret_that_is_half_a_character_spoils_no_text() -> None:
    """Bytes that are hidden may be a part of a character of some text: that is shown as well as it can be."""
    transcript = Transcript()
    transcript.hide(b"\xa9")
    assert transcript.redacted_text("café au lait") == "caf\ufffd•••• au lait"


def test_a_signal_s_handler_may_connect_in_the_middle_of_hiding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes between two steps of hiding a secret, on the same thread, is not waited for."""
    transcript = Transcript()
    real = re.compile

    def interrupted(pattern: bytes) -> re.Pattern[bytes]:
        transcript.begin_writing(transcript, None)
        return real(pattern)

    monkeypatch.setattr("ipyreconnect.lines.masking.re.compile", interrupted)
    thread = threading.Thread(target=transcript.hide, args=(b"hunter2",), daemon=True)
    thread.start()
    thread.join(10)
    monkeypatch.undo()
    assert transcript.redacted(b"hunter2") == "••••".encode()


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    """Each line of a key is masked where it comes by itself, and lines are never joined by masking."""
    transcript = Transcript()
    transcript.hide(b"BEGIN\r\nMIIE\r\nEND")
    receive(transcript, b"x BEGIN\r\nMIIE\r\nEND y\r\nplain\r\n")
    assert [line.text for line in transcript] == ["x ••••", "••••", "•••• y", "plain"]
    assert numbers(transcript.search("y")) == [2]


# -- text, records, data frames


def test_text_is_decoded_as_asked_and_never_fails() -> None:
    """UTF-8, else ISO-8859-1; with an encoding, that one, else ISO-8859-1; a note is always our own UTF-8."""
    assert decode("é".encode(), None) == "é"
    assert decode(b"\xe9", None) == "é"
    assert decode("é".encode(), "iso-8859-1") == "Ã©"
    assert decode(b"\xff", "utf-16") == "ÿ"
    assert decode(b"\xff", "undefined") == "ÿ"
    transcript = Transcript(encoding="iso-8859-1")
    receive(transcript, "é\n".encode())
    transcript.append_note("no address found for 'é'", 0.0)
    assert [line.text for line in transcript] == ["Ã©", "no address found for 'é'"]
    assert Line(b"\xe9", direction="*").text == "é"


def test_a_line_is_a_value() -> None:
    """Lines compare and hash by what they are, print as their text, and tell in a repr what they are."""
    line = Line("é".encode(), 1.0, ">", 3, True)
    assert line == Line("é".encode(), 1.0, ">", 3, True)
    assert len({line, Line("é".encode(), 1.0, ">", 3, True), Line(b"e", 1.0, ">", 3, True)}) == 2
    assert line != "é"
    assert (str(line), repr(line)) == ("é", "<Line 3 > 'é' truncated>")


@given(histories, sizes)
def test_what_is_saved_is_loaded_again(history: list[tuple[Step, float]], size: int) -> None:
    """Every byte, number, time, direction and mark of what is kept comes back, also a sent line's fate."""
    transcript = Transcript(bytes=size)
    model = Model(min(LINE_LIMIT, size // 16), size // 8)
    now = 1.7e9
    for step, pause in history:
        now += pause
        step(transcript, model, now)
    for line in transcript:
        if line.delivery is not None:
            line.delivery.status = ACKNOWLEDGED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record.jsonl")
        transcript.save(path)
        loaded = Transcript.load(path)
        again = Path(folder, "again.jsonl")
        loaded.save(again)
        assert again.read_bytes() == path.read_bytes()
    kept = list(transcript)
    assert list(loaded) == kept
    assert (loaded.first, loaded.end) == ((kept[0].number, kept[-1].number + 1) if kept else (0, 0))
    fates = [(line.delivery.data, line.delivery.number) for line in loaded if line.delivery is not None]
    assert fates == [(line.data, line.number) for line in kept if line.delivery is not None]


def test_a_text_file_is_what_text_gives(tmp_path: Path) -> None:
    """A .txt or .log is for reading: directions and text."""
    transcript = Transcript()
    receive(transcript, b"* OK \xe9\r\n")
    transcript.append_sent(b"1 noop", 0.0)
    for name in ("a.txt", "b.log"):
        transcript.save(tmp_path / name)
        assert (tmp_path / name).read_text("utf-8") == transcript.text() == "< * OK é\n> 1 noop\n"


def test_a_record_with_gaps_and_of_several_runs_is_loaded(tmp_path: Path) -> None:
    """Missing lines stay missing under their numbers; where the numbers begin anew, they are counted on."""
    path = tmp_path / "record.jsonl"
    rows = [Line(b"%d" % number, 1.0, "<", number) for number in (5, 6, 10, 11, 0, 1, 20)]
    path.write_text("".join(to_json(line) + "\n" for line in rows))
    loaded = Transcript.load(path)
    assert numbers(loaded) == [5, 6, 10, 11, 12, 13, 20]
    assert (len(loaded), repr(loaded)) == (7, "<Transcript of 7 lines, 5 forgotten>")
    assert [line.data for line in loaded] == [line.data for line in rows]
    assert (loaded.first, loaded.end, loaded[10].data, loaded[-1].data) == (5, 21, b"10", b"20")
    assert numbers(loaded[6:11]) == [6, 10]
    assert numbers(loaded[::-1]) == numbers(reversed(loaded)) == [20, 13, 12, 11, 10, 6, 5]
    with pytest.raises(IndexError):
        loaded[8]


def test_of_a_record_that_was_torn_off_the_whole_lines_are_loaded(tmp_path: Path) -> None:
    """A writer that was killed leaves half a line at the end: the rest is not lost for it."""
    path = tmp_path / "record.jsonl"
    row = to_json(Line(b"x", 1.0)) + "\n"
    path.write_text(row + row[:9])
    assert [line.data for line in Transcript.load(path)] == [b"x"]


def test_a_line_that_was_torn_off_may_stand_before_others(tmp_path: Path) -> None:
    """A record that went on in a later process loses no more than the line that was begun, wherever it was
    torn.
    """
    path = tmp_path / "record.jsonl"
    row = to_json(Line(b"{x}", 1.0)) + "\n"
    for cut in range(1, len(row) - 1):
        path.write_text(row + row[:cut] + "\n" + row)
        assert [line.data for line in Transcript.load(path)] == [b"{x}", b"{x}"]


@pytest.mark.parametrize(
    "row",
    [
        b"hello",
        b"",
        b"[1, 2]",
        b"3",
        b"{}",
        b'{"number": 0, "time": 0, "direction": "<", "text": 3}',
        b'{"number": 0, "time": 0, "direction": "?", "text": ""}',
        b'{"number": -1, "time": 0, "direction": "<", "text": ""}',
        b'{"number": 1e400, "time": 0, "direction": "<", "text": ""}',
        b'{"number": 99999999999999999999, "time": 0, "direction": "<", "text": ""}',
        b'{"number": 0, "time": 0, "direction": ["<"], "text": ""}',
        b'{"number": 0, "time": null, "direction": "<", "text": ""}',
        b'{"number": 0, "time": 0, "direction": "<", "latin1": "\\u20ac"}',
        b'{"number": 0, "time": 0, "direction": "<", "text": "\\ud800"}',
        b'{"number": 0, "time": 0, "direction": ">", "text": "", "delivery": "lost"}',
        b'{"number": 0, "time": 0, "direction": "<", "text": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_record_is_refused_with_the_line_that_is_wrong(tmp_path: Path, row: bytes) -> None:
    """Any other file gives one clear error that names the file and the line."""
    path = tmp_path / "other.jsonl"
    path.write_bytes(to_json(Line(b"x", 1.0)).encode() + b"\n" + row + b"\n")
    with pytest.raises(SettingsError, match=r"other\.jsonl, line 2: not a line of a record"):
        Transcript.load(path)


def test_a_record_can_be_read_by_others() -> None:
    """One JSON object in ASCII a line; bytes that are no UTF-8 stand under another name."""
    assert json.loads(to_json(Line("é".encode(), 1.5, "<", 3))) == {
        "number": 3,
        "time": 1.5,
        "direction": "<",
        "text": "é",
    }
    delivery = Delivery(b"\xe9")
    row = to_json(Line(b"\xe9", 1.5, ">", 3, True, None, delivery))
    assert row.isascii()
    assert json.loads(row) == {
        "number": 3,
        "time": 1.5,
        "direction": ">",
        "latin1": "é",
        "truncated": True,
        "delivery": "queued",
    }
    assert from_json(row) == Line(b"\xe9", 1.5, ">", 3, True)


def test_a_data_frame_has_every_line() -> None:
    """Numbers are the index; times are UTC; text and bytes stand side by side."""
    transcript = Transcript()
    assert list(transcript.to_dataframe().columns) == ["time", "direction", "text", "data", "truncated"]
    receive(transcript, b"* OK \xe9\r\n", 1.7e9 + 0.25)
    transcript.append_sent(b"1 noop", 1.7e9 + 1)
    transcript.flush(0.0)
    frame = transcript.to_dataframe()
    assert frame.index.name == "number"
    assert list(frame.index) == [0, 1]
    assert [moment.isoformat() for moment in frame["time"]] == [
        "2023-11-14T22:13:20.250000+00:00",
        "2023-11-14T22:13:21+00:00",
    ]
    assert list(frame["direction"]) == ["<", ">"]
    assert list(frame["text"]) == ["* OK é", "1 noop"]
    assert list(frame["data"]) == [b"* OK \xe9", b"1 noop"]
    assert list(frame["truncated"]) == [False, False]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"ipyreconnect\[dataframe\]"):
        Transcript().to_dataframe()


def test_what_a_reader_needs_is_kept_a_little_longer() -> None:
    """Beyond what the transcript may keep, up to the reserve; then it is forgotten all the same."""
    transcript = Transcript(bytes=1 << 20)
    needed = 0
    transcript.begin_writing(object(), None, lambda end: min(needed, end))

    def write(size: int) -> None:
        for _ in range(size // 1000):
            transcript.append_received([b"x" * 999], 0.0)

    write(RESERVE)
    assert transcript.first == 0
    needed = 5000
    write(100_000)
    assert 4000 < transcript.first <= 5000
    write(2 * RESERVE)
    assert transcript.first > 5000
    assert sum(len(line.data) for line in transcript) < (1 << 20) + RESERVE
    transcript.end_writing()
    write(100_000)
    assert sum(len(line.data) for line in transcript) < 1 << 20


def rows_of(transcript: Transcript) -> list[tuple[object, ...]]:
    return [
        (line.number, line.data, line.time, line.direction, line.truncated, line.text)
        for line in transcript[:]
    ]


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, lambda kept: pickle.loads(pickle.dumps(kept))])
def test_a_transcript_is_copied_as_plain_values(copying: Callable[[Transcript], Transcript]) -> None:
    """Numbers, times, fragments, deliveries and limits are what they were; what comes later is not in it."""
    kept = Transcript(lines=50_000, bytes=1_000_000, encoding="iso-8859-1")
    kept.append_note("connected", 1.0)
    for number in range(30_000):
        kept.append_received([b"\xe9 line %d" % number, b"with\nbreak", Fragment(b"half")], 2.0 + number)
    delivery = Delivery(b"sent")
    kept.append_sent(b"sent", 40_000.0, delivery)
    delivery.status = ACKNOWLEDGED
    room = kept.room()
    room[:4] = b"half"
    kept.commit(4, 40_001.0)
    assert kept.first > 0
    again = copying(kept)
    assert rows_of(again) == rows_of(kept)
    assert (again.first, again.end, len(again)) == (kept.first, kept.end, len(kept))
    assert (again.line_limit, again.byte_limit, again.encoding) == (50_000, 1_000_000, "iso-8859-1")
    assert again.unfinished == b""
    sent = again[-1].delivery
    assert sent is not None
    assert sent.status == ACKNOWLEDGED
    kept.append_note("later", 5.0)
    assert again.end == kept.end - 1
    again.append_note("its own", 6.0)
    assert again[-1].number == again.end - 1
    assert kept[-1].text == "later"


def test_a_copied_transcript_holds_no_secret() -> None:
    """The lines are masked as they are shown, and what was hidden is not in the pickle."""
    kept = Transcript()
    kept.hide(b"secret")
    kept.append_received([b"my secret is secret"], 1.0)
    written = pickle.dumps(kept)
    assert b"secret" not in written
    again = pickle.loads(written)
    assert rows_of(again) == rows_of(kept)
    assert again[0].text == "my •••• is ••••"


def test_an_empty_transcript_is_copied_with_its_numbers(tmp_path: Path) -> None:
    """A new one, one that has missed lines, and one of which all was forgotten."""
    assert pickle.loads(pickle.dumps(Transcript())).end == 0
    path = tmp_path / "gap.jsonl"
    lines = [Line(b"a", 1.0, "<", 5), Line(b"b", 2.0, "<", 9)]
    path.write_text("".join(f"{to_json(line)}\n" for line in lines))
    gap = Transcript.load(path)
    again = pickle.loads(pickle.dumps(gap))
    assert rows_of(again) == rows_of(gap)
    assert (again.first, again.end, len(again)) == (gap.first, gap.end, len(gap)) == (5, 10, 2)
