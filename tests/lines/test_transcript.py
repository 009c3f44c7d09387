"""Every way to read a transcript gives the same lines, and so does every copy of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.errors import Overrun, SettingsError
from ipyreconnect.lines.delivery import ACKNOWLEDGED, Delivery
from ipyreconnect.lines.files import to_json
from ipyreconnect.lines.framing import LINE_LIMIT
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.store import LEAST_BYTES
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.logical import Fragment
from tests.lines.histories import Model, Step, flat, histories, limits, numbers, receive, same, sizes


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


def test_an_encoding_that_nobody_knows_is_refused_at_once(tmp_path: Path) -> None:
    """A typing error is told before there is a line to decode."""
    record = tmp_path / "record.jsonl"
    Transcript().save(record)
    for make in (Transcript, partial(Transcript.load, record)):
        with pytest.raises(SettingsError, match="unknown encoding 'bogus'"):
            make(encoding="bogus")


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
