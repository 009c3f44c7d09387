"""The store against a plain model of it, under readers in other threads, and in bounded memory."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given

from ipyreconnect.errors import Overrun
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.framing import LINE_LIMIT
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.store import RESERVE
from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import (
    OVERHEAD,
    Model,
    Step,
    check,
    histories,
    limits,
    numbers,
    receive,
    sizes,
    weight,
)


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
