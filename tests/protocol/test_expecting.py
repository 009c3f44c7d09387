"""Play connections as values: what is awaited of the lines, and what a loss does to it."""

from __future__ import annotations

import re

import pytest

from ipyreconnect.errors import (
    NotConnected,
    SettingsError,
)
from ipyreconnect.lines.search import Pattern, compile_pattern
from ipyreconnect.protocol.script import parse_script
from tests.playing import Play, awaited, found, lost


def test_an_answer_that_came_before_the_call_is_found() -> None:
    """Expect looks from the last send on, so an answer that was quicker than the call is not missed."""
    play = Play().up()
    play.receive(b"old answer\r\n")
    play.send(b"ask")
    play.receive(b"* note\r\nthe answer\r\n")
    match = found(play.expect("answer"))
    assert match.line.data == b"the answer"
    assert [line.text for line in match.lines] == ["* note", "the answer"]


def test_the_next_expect_looks_behind_the_last_match() -> None:
    """Of two matching lines the second call gives the second, whether or not they came together."""
    play = Play().up()
    play.receive(b"a 1\r\na 2\r\n")
    assert [found(play.expect("^a")).text for _ in range(2)] == ["a 1", "a 2"]
    third = play.expect("^a")
    assert third.outcome is None
    play.receive(b"a 3\r\n")
    assert found(third).text == "a 3"


def test_an_expectation_is_in_place_before_its_line_leaves() -> None:
    """With send and expect in one, nothing that was received before counts as the answer."""
    play = Play().up()
    play.receive(b"ok early\r\n")
    expectation = awaited("^ok")
    play.send(b"ask", expect=expectation)
    assert expectation.outcome is None
    play.receive(b"ok late\r\n")
    assert found(expectation).text == "ok late"


def test_a_line_in_pieces_is_one_line() -> None:
    """A line matches when it is whole, wherever the network cut it."""
    play = Play().up()
    expectation = play.expect("^one two$")
    for piece in (b"one", b" tw", b"o\r"):
        play.receive(piece)
        assert expectation.outcome is None
    play.receive(b"\n")
    assert found(expectation).line.data == b"one two"


@pytest.mark.parametrize("pattern", ["caf(é)", b"caf(\xc3\xa9)", re.compile("CAF(É)", re.IGNORECASE)])
def test_a_pattern_may_be_text_bytes_or_compiled(pattern: Pattern) -> None:
    """Text patterns look at the text, bytes at the bytes, compiled ones as they were compiled."""
    play = Play().up()
    expectation = play.expect(pattern)
    play.receive("a café\r\n".encode())
    assert found(expectation)[1] in ("é", "é".encode())


def test_a_bad_pattern_is_one_clear_line() -> None:
    """What is no regular expression is refused in one line that repeats it."""
    with pytest.raises(SettingsError, match=r"^not a regular expression: '\(' \(.*\)$"):
        compile_pattern("(")


def test_expectations_of_many_are_all_met() -> None:
    """Each of those who wait for the same line gets it."""
    play = Play().up()
    expectations = [play.expect("x") for _ in range(3)]
    play.receive(b"x\r\n")
    assert len({found(expectation).line.number for expectation in expectations}) == 1


def test_a_forgotten_expectation_takes_nothing() -> None:
    """Whose time is over takes no line away from those who come later."""
    play = Play().up()
    expectation = play.expect("x")
    play.connection.forget(expectation)
    play.receive(b"x\r\n")
    assert expectation.outcome is None
    assert found(play.expect("x")).text == "x"


def test_an_answer_that_ends_with_its_connection_is_found() -> None:
    """Who answers and closes, without a line end (finger, whois), has answered; others are told the loss."""
    play = Play().up()
    expectations = [play.expect("^OK"), play.expect("more")]
    play.receive(b"OK answer")
    assert expectations[0].outcome is None
    play.eof(1.0)
    match = found(expectations[0])
    assert (match.text, match.line.truncated) == ("OK answer", True)
    assert lost(expectations[1]) == "closed by server:1"


def test_a_loss_tells_everybody_who_waits() -> None:
    """At the moment of the loss each expectation is over, with its reason."""
    play = Play().up()
    expectations = [play.expect("x"), play.expect("y")]
    play.lost(1.0)
    assert [lost(each) for each in expectations] == ["reset by server:1"] * 2
    assert expectations[0].outcome is not expectations[1].outcome


def test_an_unanswered_send_is_told_of_its_loss_once() -> None:
    """Whoever asks for the answer only after the loss is told once that it will not come, then waits for new
    lines.
    """
    play = Play().up()
    play.send(b"ask")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    told = lost(play.expect("answer", 4.0))
    assert told == "reset by server:1, before a line matched; expect again to look at what has come since"
    again = play.expect("hello", 5.0)
    assert again.outcome is None
    play.receive(b"hello\r\n", 6.0)
    assert found(again).text == "hello"


def test_who_has_queued_another_line_expects_its_answer() -> None:
    """With the next line the loss of the one before is past: neither that nor its late answer is found."""
    play = Play().up()
    play.send(b"ask")
    play.receive(b"answer to ask\r\n")
    play.lost(1.0)
    play.send(b"ask more", 2.0, queue=True)
    expectation = play.expect("answer", 2.5)
    assert expectation.outcome is None
    play.until(3.5)
    play.dialed(3.5)
    assert play.wire == b"ask more\r\n"
    play.receive(b"answer to more\r\n", 4.0)
    assert found(expectation).text == "answer to more"


def test_an_answer_that_came_before_the_loss_is_found_after_it() -> None:
    """The answer to the last line is found even when its connection is lost by then."""
    play = Play(script=parse_script("login\n< ^in"))
    play.start()
    play.dialed()
    play.receive(b"in\r\n")
    play.send(b"ask")
    play.receive(b"answer\r\n")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"in again\r\n", 4.0)
    match = found(play.expect("answer", 5.0))
    assert [line.text for line in match.lines] == ["answer"]


def test_a_loss_that_was_told_is_not_told_again() -> None:
    """Whoever awaited the answer when the connection was lost knows it; the next call waits for new lines."""
    play = Play().up()
    expectation = awaited("answer")
    play.send(b"ask", expect=expectation)
    play.lost(1.0)
    assert lost(expectation)
    assert play.expect("hello", 2.0).outcome is None


def test_another_s_expectation_does_not_hide_the_loss() -> None:
    """Somebody else who waits for something since long is no reason to keep the loss from who sent the last
    line.
    """
    play = Play().up()
    other = play.expect("news")
    play.send(b"ask")
    play.lost(1.0)
    assert lost(other)
    assert lost(play.expect("answer", 2.0))


def test_a_loss_is_nothing_to_those_who_sent_nothing() -> None:
    """Without an unanswered line, expecting after a loss, a refusal or a new start waits for
    lines to come.
    """
    play = Play().up()
    play.send(b"ask")
    play.receive(b"answer\r\n")
    found(play.expect("answer"))
    play.lost(1.0)
    assert play.expect("x", 2.0).outcome is None
    play.stop(3.0)
    play.start(4.0)
    play.refused(4.0)
    assert play.expect("x", 5.0).outcome is None


def test_expecting_from_a_stopped_client_fails_at_once() -> None:
    """Nothing will come any more: who expects something of a stopped client is told so."""
    play = Play()
    assert isinstance(play.expect("x").outcome, NotConnected)
    play.up()
    play.receive(b"x\r\n")
    play.stop(1.0)
    play.until(1.2)
    assert found(play.expect("x")).text == "x"
    outcome = play.expect("x").outcome
    assert isinstance(outcome, NotConnected)
    assert str(outcome) == "not connected to server:1: stopped; connect first"


def test_a_stop_tells_those_who_wait() -> None:
    """Whoever waits for a line when the client is stopped is told so."""
    play = Play().up()
    expectation = play.expect("x")
    play.stop(1.0)
    play.until(1.2)
    assert lost(expectation) == "stopped"
