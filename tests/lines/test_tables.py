"""A transcript as a table."""

from __future__ import annotations

import sys

import pytest

from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import receive


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
