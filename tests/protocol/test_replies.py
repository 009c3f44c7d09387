"""Play connections as values: the reply rules."""

from __future__ import annotations

import re

import pytest

from tests.playing import Play, found


def test_a_reply_answers_without_moving_the_user_s_place() -> None:
    """PING is answered with what it carried; the answer to the user's own line is still found."""
    play = Play(replies=((rb"^PING (.*)", rb"PONG \1"),)).up()
    play.send(b"ask")
    play.receive(b"answer\r\nPING :42\r\nPINGS\r\n")
    assert play.wire == b"ask\r\nPONG :42\r\n"
    assert "> PONG :42" in play.log
    assert found(play.expect("answer")).text == "answer"


@pytest.mark.parametrize("together", [True, False])
def test_each_line_is_answered_in_turn_by_the_first_rule_that_is_for_it(together: bool) -> None:
    """However the network cuts the questions, the answers come in their order, and one for each."""
    play = Play(replies=((rb"PASS", rb"secret"), (rb"USER", rb"me"), (rb"\?", rb"what"))).up()
    lines = [b"USER?\r\n", b"PASS?\r\n", b"AGE?\r\n"]
    for piece in [b"".join(lines)] if together else lines:
        play.receive(piece)
    assert play.wire == b"me\r\nsecret\r\nwhat\r\n"
    play.connection.replies.add(re.compile(rb"^AGE"), b"42")
    play.receive(b"AGE?\r\n")
    assert play.wire.endswith(b"what\r\n42\r\n")


@pytest.mark.parametrize("rest", [b"a\rQUIT", b"a\nQUIT", b"$7\r\na\r\nQUIT"])
def test_a_peer_cannot_make_a_reply_two_commands(rest: bytes) -> None:
    """A reply that repeats a line break of the peer's is not sent, and the log says why, once."""
    play = Play(replies=((rb"(?s)^PING (.*)", rb"PONG \1"),), framing="raw").up()
    for number in range(3):
        play.receive(b"PING " + rest, float(number))
    assert play.wire == b""
    why = (
        r"""* the reply to '(?s)^PING (.*)' has a line break that came with server:1's line: it is not sent"""
    )
    assert [line for line in play.log if line.startswith("*")][1:] == [why]
    play.receive(b"PING b")
    assert play.wire == b"PONG b\r\n"


def test_replies_do_not_fill_the_outbox_for_ever() -> None:
    """A peer that asks without reading gets no more answers than the outbox holds; the log says so."""
    play = Play(replies=((rb"^PING", rb"PONG"),), queue_lines=10).up()
    for _ in range(20):
        play.receive(b"PING\r\n", takes=0)
    assert play.log.count("> PONG") == 10
    said = "* 10 lines (60 bytes) wait to be sent to server:1; replies and heartbeats are not sent meanwhile"
    assert [line for line in play.log if line.startswith("* 10 lines")] == [said]
