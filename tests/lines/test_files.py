"""What is saved is loaded again, and what was torn off is told from what is no record."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given

from ipyreconnect.errors import SettingsError
from ipyreconnect.lines.delivery import ACKNOWLEDGED, Delivery
from ipyreconnect.lines.files import from_json, to_json
from ipyreconnect.lines.framing import LINE_LIMIT
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import Model, Step, histories, numbers, receive, sizes


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
