"""Have on-connect functions read lines and bytes as they like, of what peers write as they like: each byte is
read once, and what they leave is for others. Values only.
"""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.protocol.unread import AT_ONCE, PLAIN_AT_ONCE
from tests.playing import Play, found

LONGEST = 256
"""Bytes of the longest line here."""

streams = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"one\r\n",
                b"two\n",
                b"\r\n",
                b"* 1 FETCH (A {5}\r\nab\r\nc)\r\n",
                b"{300}\r\n" + b"d\n" * 150 + b"\r\n",
                b"{600}\r\n" + b"e" * 600 + b"\r\n",
                b"x" * 1000,
                b"y" * (LONGEST + 100) + b"\r\n",
                b"\xc3\xa9" * 200,
                b"{3}",
            ]
        ),
        st.binary(max_size=30),
    ),
    min_size=1,
    max_size=6,
).map(b"".join)

# What the function does between the pieces that come: read so many bytes, or a line, or plain lines at once,
# or nothing for a while.
steps = st.lists(
    st.one_of(st.integers(1, 700), st.sampled_from(["line", "lines", "pause"])), min_size=1, max_size=8
)


def begun(**arguments: object) -> Play:
    play = Play(has_function=True, **arguments)  # type: ignore[arg-type]
    play.start()
    play.dialed()
    return play


def without_ends(data: bytes) -> bytes:
    return data.replace(b"\r", b"").replace(b"\n", b"")


class Reading:
    """A function that reads."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.now = 1.0
        self.read: list[bytes] = []

    def line(self) -> bytes | None:
        line = self.play.connection.read_line(1, self.now)
        if line is not None:
            self.read.append(line[1])
        return None if line is None else line[1]

    def bytes(self, size: int) -> bytes | None:
        data = self.play.connection.read_bytes(1, size, self.now)
        if data is None:
            self.play.connection.want_no_bytes(1, self.now)
        else:
            assert len(data) == size
            self.read.append(data)
        return data

    def lines(self) -> None:
        """Read about half of the plain lines that are there."""
        _, plain = self.play.connection.unread(1).peek()
        plain = plain[: plain.find(b"\n", len(plain) // 2) + 1]
        if plain:
            number, _ = self.play.connection.pass_over(1, len(plain), self.now)
            self.read.append(plain)
            line = self.play.connection.transcript[number].data
            assert line == plain.split(b"\n")[-2].removesuffix(b"\r")

    def pause(self) -> None:
        self.now += 1.0
        self.play.until(self.now)

    def do(self, step: int | str) -> None:
        if isinstance(step, int):
            self.bytes(step)
        elif step == "line":
            self.line()
        elif step == "lines":
            self.lines()
        else:
            self.pause()

    def returns(self) -> None:
        self.play.connection.script_ended(1, None, self.now)
        self.play.settle(self.now)


def received(play: Play, start: int = 0) -> list[bytes]:
    return [line.data for line in play.lines if line.direction == "<" and line.number >= start]


@pytest.mark.parametrize("profile", ["tcp", "imap"])
@settings(deadline=None)
@given(data=streams, doing=steps, cuts=st.lists(st.integers(1, 400), min_size=1, max_size=8))
@example(data=b"x" * 1000, doing=["line", 10], cuts=[1000])
@example(data=b"{300}\r\n" + b"d\n" * 150, doing=[104, "line", "line", 1, 1], cuts=[103])
@example(data=b"x" * 1000, doing=["line", "line", 10], cuts=[1000])
def test_each_byte_is_read_once(profile: str, data: bytes, doing: list[int | str], cuts: list[int]) -> None:
    """Whatever the function reads, and however long it waits in between: nothing twice, and nothing lost."""
    play = begun(profile=profile, longest_line=LONGEST)
    reading = Reading(play)
    stream = data + b"\r\nend\r\n"
    at = 0
    for index in range(max(len(cuts), len(doing))):
        stop = at + cuts[index % len(cuts)]
        play.receive(stream[at:stop], reading.now)
        at = min(stop, len(stream))
        reading.do(doing[index % len(doing)])
    while reading.line() is not None:
        pass
    rest = play.connection.unread(1).uncut + stream[at:]
    assert without_ends(b"".join(reading.read) + rest) == without_ends(stream)


@pytest.mark.parametrize("profile", ["tcp", "imap"])
@settings(deadline=None)
@given(
    data=streams,
    doing=st.lists(st.one_of(st.integers(1, 700), st.sampled_from(["line", "lines"])), max_size=4),
    came=st.integers(0, 2000),
)
@example(data=b"x" * 1000, doing=["line"], came=500)
@example(data=b"x" * 1000 + b"one\r\n", doing=["line", 1], came=1005)
@example(data=b"{600}\r\n" + b"e" * 600 + b"\r\n", doing=["line", "line", 1, 1], came=609)
def test_what_a_function_leaves_is_for_others(
    profile: str, data: bytes, doing: list[int | str], came: int
) -> None:
    """Also where it leaves in the middle of a line, and of a long one: that goes on as it has begun.

    Where it reads bytes of a line that was shown already, the line's rest is shown anew, behind those that
    were shown after it, each time: others get it in this order, and see again what was shown of it.
    """
    play = begun(profile=profile, longest_line=LONGEST)
    reading = Reading(play)
    stream = data + b"\r\nend\r\n"
    play.receive(stream[:came], reading.now)
    for step in doing:
        reading.do(step)
    mark = play.connection.unread(1).mark
    reading.returns()
    play.receive(stream[came:], reading.now)
    play.eof(reading.now)
    left = received(play, mark)
    whole = without_ends(b"".join(reading.read + left))
    assert not Counter(without_ends(stream)) - Counter(whole)  # nothing is lost
    assert whole == without_ends(stream) or any(isinstance(step, int) for step in doing)
    assert all(len(line) <= LONGEST for line in left)


def test_the_lines_behind_bytes_are_found_by_those_who_come_later() -> None:
    """They were shown while the function was busy, and then it read only a part of the first."""
    play = begun()
    reading = Reading(play)
    play.receive(b"one\r\ntwo\r\nthree\r\n")
    reading.pause()
    assert reading.bytes(2) == b"on"
    reading.returns()
    assert found(play.expect("^two")).line.text == "two"


def test_a_line_that_bytes_leave_is_answered_like_any() -> None:
    """It was glued to the bytes when it was shown; now it is a line, and the automatic reply is for it."""
    play = begun(replies=((rb"^PING (.*)", rb"PONG \1"),))
    reading = Reading(play)
    play.receive(b"\x01\x02PING x\r\n")
    reading.pause()
    assert play.wire == b""
    assert reading.bytes(2) == b"\x01\x02"
    play.settle(reading.now)
    assert play.wire == b"PONG x\r\n"


def test_lines_are_shown_after_bytes_were_awaited_in_vain() -> None:
    """The function goes on with something else: the log goes on, too."""
    play = begun()
    reading = Reading(play)
    play.receive(b"one\r\n")
    assert play.connection.read_bytes(1, 100, 1.0) is None
    play.until(2.0)
    assert received(play) == []
    play.connection.want_no_bytes(1, 2.0)
    play.until(3.0)
    assert received(play) == [b"one"]
    assert reading.line() == b"one"


def test_a_long_line_is_the_same_for_a_function_as_for_others() -> None:
    """In a small transcript, where no longer one has room."""
    line = b"x" * 100_000 + b"\r\n"
    play = begun(transcript=Transcript(bytes=1 << 20))
    reading = Reading(play)
    play.receive(line)
    while reading.line() is not None:
        pass
    other = Play(transcript=Transcript(bytes=1 << 20)).up()
    other.receive(line)
    assert reading.read == received(other)
    assert len(reading.read) > 1


@pytest.mark.parametrize(
    ("profile", "line"), [("tcp", b"\n"), ("tcp", b"a\r\n"), ("imap", b"\n"), ("redis", b"$1\r\n\n\r\n")]
)
def test_a_flood_that_nobody_reads_takes_no_more_than_its_share(profile: str, line: bytes) -> None:
    """Many short lines are cut quickly, and what is kept of them for the function is counted with what it
    costs.
    """
    limit = 1 << 20
    play = begun(profile=profile, transcript=Transcript(bytes=limit))
    reading = Reading(play)
    piece = line * ((1 << 14) // len(line))
    tracemalloc.start()
    try:
        for _ in range(64):
            play.receive(piece, reading.now)
            play.until(reading.now)
        reading.pause()
        assert tracemalloc.get_traced_memory()[0] < 3 * limit
    finally:
        tracemalloc.stop()


def test_a_flood_that_nobody_reads_leaves_others_their_turn() -> None:
    """What has come is cut a part at a time."""
    play = begun()
    play.receive(b"\n" * (4 * AT_ONCE), 1.0)
    before, looks = -1, 0
    while play.connection.deadline <= 2.0 and before != play.connection.transcript.end:
        before = play.connection.transcript.end
        play.at(2.0)
        assert play.connection.transcript.end - before <= AT_ONCE + PLAIN_AT_ONCE
        looks += 1
    assert play.connection.transcript.end == 4 * AT_ONCE
    assert looks >= 4


def test_a_function_that_lets_too_much_lie_is_told_and_leaves_the_lines() -> None:
    """How many it has lost; who comes later looks at them all the same, as far as they are kept."""
    play = begun(transcript=Transcript(bytes=1 << 20))
    play.receive(b"first\r\n")
    play.until(2.0)
    play.receive(b"x\r\n" * 500_000)
    play.until(3.0)
    unread = play.connection.unread(1)
    assert unread.lost > 100_000
    assert unread.mark == 0


@pytest.mark.parametrize("profile", ["tcp", "imap"])
def test_a_long_line_in_small_pieces_is_looked_through_once(profile: str) -> None:
    """Otherwise the time would grow with the square of its length: the second half would take thrice as long
    as the first.
    """
    play = begun(profile=profile, longest_line=1 << 22, transcript=Transcript(bytes=1 << 26))
    reading = Reading(play)
    took = []
    for _ in range(2):
        began = time.process_time()
        for _ in range(16_000):
            play.receive(b"x" * 100)
            assert reading.line() is None
        took.append(time.process_time() - began)
    play.receive(b"\r\n")
    assert len(reading.line() or b"") == 3_200_000
    assert took[1] < 2 * took[0]
