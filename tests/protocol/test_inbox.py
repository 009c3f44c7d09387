"""Play connections as values: how what is received becomes lines."""

from __future__ import annotations

import pytest

from ipyreconnect.lines.transcript import Transcript
from tests.playing import Play, found

# -- text and framing


def test_text_is_utf8_or_else_latin_1() -> None:
    """A line that is not UTF-8 is read as ISO-8859-1; with an encoding, everything is read by that."""
    line = b"gr\xc3\xbc\xc3\x9fe\r\ngr\xfc\xdfe\r\n"
    both, one = Play().up(), Play(encoding="iso-8859-1", transcript=Transcript(encoding="iso-8859-1")).up()
    both.receive(line)
    one.receive(line)
    assert [found(both.expect("^gr")).text for _ in range(2)] == ["grüße", "grüße"]
    assert [found(one.expect("^gr")).text for _ in range(2)] == ["gr\xc3\xbc\xc3\x9fe", "grüße"]


def test_an_unfinished_line_is_kept_as_a_fragment() -> None:
    """What was received of a line when its connection is lost is kept, and marked."""
    play = Play().up()
    play.receive(b"whole\r\nhal")
    play.lost(1.0)
    assert [(line.text, line.truncated) for line in play.lines[1:3]] == [("whole", False), ("hal", True)]
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"f\r\n", 4.0)
    assert (play.lines[-1].text, play.lines[-1].truncated) == ("f", False)


def test_announced_bytes_are_one_line() -> None:
    """With the framing of the protocol, a line that announces bytes is one with them, and found as one."""
    play = Play(profile="imap").up()
    expectation = play.expect("literal", whole=True)
    play.receive(b"* 1 FETCH (BODY[] {9}\r\na liter")
    assert expectation.outcome is None
    play.receive(b"al)\r\nplain\r\n")
    assert found(expectation).line.data == b"* 1 FETCH (BODY[] {9}\r\na literal)"
    assert found(play.expect("plain")).line.data == b"plain"


def test_raw_framing_gives_what_each_read_brought() -> None:
    """With raw framing each read is one line, unchanged."""
    play = Play(framing="raw").up()
    for data in (b"\x00\n", b"\r\n", b"x"):
        play.receive(data)
    assert [line.data for line in play.lines[1:]] == [b"\x00\n", b"\r\n", b"x"]


class Pairs:
    """A user's framing: two bytes a line; it breaks on a "!"."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> list[bytes]:
        if b"!" in data:
            raise ValueError("no exclamation marks")
        self.held += data
        whole = len(self.held) // 2 * 2
        lines, self.held = [self.held[at : at + 2] for at in range(0, whole, 2)], self.held[whole:]
        return lines


def test_a_user_s_framing_cuts_the_lines() -> None:
    """Any object that is fed with bytes and gives lines is a framing; a class makes one for each
    connection.
    """
    play = Play(framing=Pairs).up()
    play.receive(b"abc")
    play.receive(b"d")
    assert [line.data for line in play.lines[1:]] == [b"ab", b"cd"]
    play.receive(b"e")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"xy")
    assert play.lines[-1].data == b"xy"


def test_a_framing_that_fails_is_the_reason_of_a_loss() -> None:
    """A framing that raises ends the connection with what it raised as the reason, and it is tried again."""
    play = Play(framing=Pairs()).up()
    play.receive(b"a!")
    assert play.state == "waiting"
    assert play.status.reason == "the framing Pairs failed: ValueError: no exclamation marks"


def test_a_framing_that_cannot_be_made_anew_is_the_reason_of_a_failed_attempt() -> None:
    """A framing class that fails at a later connection is told as the user's, and not as our mistake."""
    made: list[Pairs] = []

    def once() -> Pairs:
        if made:
            raise RuntimeError("only once")
        made.append(Pairs())
        return made[0]

    play = Play(framing=once).up()
    play.lost(20.0)
    play.until(22.2)
    play.dialed(22.2)
    assert play.state == "waiting"
    assert play.status.reason == "the framing once cannot be made: RuntimeError: only once"


# -- small transcripts


@pytest.mark.parametrize("limits", [(100, 1 << 20), (100_000, 16 * 1024)])
def test_lines_that_a_small_transcript_forgets_at_once_are_still_answered(limits: tuple[int, int]) -> None:
    """Of one read that brings more framed lines than are kept, each is looked at."""
    play = Play(transcript=Transcript(*limits), profile="nats", replies=((rb"^PING", b"PONG"),)).up()
    expectation = play.expect("^MSG a 1 5$")
    play.receive(b"MSG a 1 5\r\nFIRST\r\nPING\r\n" + b"MSG a 1 4\r\nmore\r\n" * 5000)
    assert found(expectation).line.data == b"MSG a 1 5\r\nFIRST"
    assert play.wire == b"PONG\r\n"


def test_a_new_connection_reads() -> None:
    """A stop while nobody read leaves nothing behind that makes the next connection look as if nobody did."""
    play = Play().up()
    play.connection.watch.set_reading(False, 0.0)
    play.stop(1.0)
    play.until(2.0)
    play.up(3.0)
    assert play.connection.watch.is_reading
