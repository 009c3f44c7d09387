"""What is received, sent and noted stands in a transcript as it came."""

from __future__ import annotations

import pytest

from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.framing import LINE_LIMIT
from ipyreconnect.lines.store import LEAST_BYTES
from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import HOURS, LONGEST, WHOLE, Model, flat, receive


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
