"""What a terminal is shown of what a server sends."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.patch_stdout import StdoutProxy

from ipyreconnect import Client
from ipyreconnect.jupyter.output.terminal import (
    BURST,
    RATE,
    Feed,
    Repeats,
    TerminalLog,
    Throttle,
)
from ipyreconnect.lines.transcript import Transcript
from tests.watching import PATIENCE


def receive(transcript: Transcript, data: bytes, now: float = 0.0) -> None:
    while data:
        room = transcript.room()
        size = min(len(room), len(data))
        room[:size] = data[:size]
        transcript.commit(size, now)
        data = data[size:]


# -- how much is shown --


def test_a_burst_is_shown_whole_and_a_flood_in_blocks() -> None:
    """A long answer is shown whole; of a flood a block a second."""
    throttle = Throttle(rate=10, burst=100)
    assert throttle.take(0.0, 60) == 60
    assert throttle.take(0.0, 60) == 40  # dry now
    assert throttle.take(0.5, 60) == 0  # nothing until a second's worth is there
    assert throttle.again_in() == pytest.approx(0.5)
    assert throttle.take(1.0, 60) == 10
    assert throttle.take(1.1, 60) == 0
    assert throttle.take(60.0, 60) == 60


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 10**6)), max_size=50))
def test_no_flood_is_shown_faster_than_the_rate(steps: list[tuple[float, int]]) -> None:
    """Over any time no more lines are shown than the burst and the rate allow."""
    throttle = Throttle(rate=10, burst=100)
    now = shown = 0.0
    for pause, wanted in steps:
        now += pause
        shown += throttle.take(now, wanted)
    assert shown <= 100 + 10 * now + 1e-6


def test_a_feed_gives_each_line_once() -> None:
    """Lines come in order, once, with their direction; what was sent is not repeated."""
    transcript = Transcript()
    feed = Feed(transcript)
    assert feed.step(0.0) == []
    receive(transcript, b"* OK ready\r\nunfinished")
    assert feed.step(0.1) == ["< * OK ready"]
    transcript.append_sent(b"1 noop", 0.2)
    receive(transcript, b" line\r\n")
    transcript.append_note("closed by 127.0.0.1:1", 0.2)
    assert feed.step(0.2, "[imap] ") == ["[imap] < unfinished line", "[imap] * closed by 127.0.0.1:1"]
    assert feed.step(0.3) == []
    assert feed.due_in() is None


def test_of_a_flood_the_newest_lines_are_shown_and_the_others_counted() -> None:
    """The count of what is left out, and the end of a flood: that is where the answer stands."""
    transcript = Transcript()
    feed = Feed(transcript)
    receive(transcript, b"".join(b"%d\r\n" % n for n in range(5000)))
    rows = feed.step(0.0)
    assert rows[0] == f"… {5000 - BURST} more"
    assert rows[1:] == [f"< {n}" for n in range(5000 - BURST, 5000)]
    receive(transcript, b"".join(b"%d\r\n" % n for n in range(5000, 6000)))
    assert feed.step(0.1) == []
    due = feed.due_in()
    assert due is not None
    assert 0 < due <= 1.1
    assert feed.step(0.1 + due) == [f"… {1000 - RATE} more", *(f"< {n}" for n in range(6000 - RATE, 6000))]
    assert feed.due_in() is None


def test_what_the_transcript_forgot_counts_as_more() -> None:
    """A feed that fell behind says how many lines it missed."""
    transcript = Transcript(lines=10)
    feed = Feed(transcript)
    receive(transcript, b"".join(b"%d\r\n" % n for n in range(100)))
    assert feed.step(0.0) == ["… 90 more", *(f"< {n}" for n in range(90, 100))]


def test_what_was_told_already_is_not_told_again() -> None:
    """%connect tells the first outcome itself: the feed leaves out what happened up to then, but no line."""
    transcript = Transcript()
    transcript.append_note("refused by 127.0.0.1:1; try 2 in 2.0 s", 0.0)
    receive(transcript, b"* OK\r\n")
    feed = Feed(transcript, quiet_before=transcript.end)
    transcript.append_note("connected to 127.0.0.1:1", 0.0)
    assert feed.step(0.0) == ["< * OK", "* connected to 127.0.0.1:1"]


def test_a_long_outage_is_told_ever_less_often() -> None:
    """Tries every 2 s for an hour take a dozen lines, and the return is always told."""
    repeats = Repeats()
    shown = [n for n in range(1, 1801) if repeats.shows(f"refused by 127.0.0.1:1; try {n + 1} in 2.0 s")]
    assert shown == [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert repeats.shows("timed out connecting to 127.0.0.1:1; try 1801 in 1.9 s")
    assert repeats.shows("CERTIFICATE NOT VERIFIED: connected to 127.0.0.1:1")
    assert repeats.shows("refused by 127.0.0.1:1; try 2 in 2.1 s")


class Starting:
    """A prompt's application that has begun when it is looked at for the third time."""

    is_running = False
    looks = 0

    @property
    def future(self) -> object:
        self.looks += 1
        return None if self.looks < 3 else self


def test_lines_wait_for_a_prompt_that_is_being_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in between may land behind the prompt instead of above it."""
    app = Starting()
    shown: list[tuple[str, int]] = []
    written = threading.Event()

    class Proxy(StdoutProxy):
        def __init__(self) -> None:
            pass

        def write(self, data: str) -> int:
            shown.append((data, app.looks))
            written.set()
            return len(data)

        def flush(self) -> None:
            pass

    client = Client("127.0.0.1:1")
    client.transcript.append_received([b"above"], 1e9)
    log = TerminalLog(SimpleNamespace(pt_app=SimpleNamespace(app=app)))
    monkeypatch.setattr("sys.stdout", Proxy())
    log.attach(client, "x")
    assert written.wait(PATIENCE)
    log.detach(client)
    assert shown == [("< above\n", 3)]
