"""Who gets which answer, who has to wait, and what others are shown. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from ipyreconnect.errors import ConnectionLost, Overrun, Refused
from ipyreconnect.profile.control import MPD, QMP
from ipyreconnect.profile.conversation import Conversation, Prepared
from ipyreconnect.profile.kinds import until
from ipyreconnect.profile.mail import SMTP
from ipyreconnect.profile.stores import Redis
from ipyreconnect.protocol import answers as module
from ipyreconnect.protocol.answer import Answer
from ipyreconnect.protocol.answers import PATIENCE, Answers, Asked, Bare


@dataclass
class Play:
    """A connection whose peer says what the test says."""

    conversation: Conversation
    answers: Answers = field(default_factory=Answers)
    shown: list[bytes] = field(default_factory=list)
    wire: list[bytes] = field(default_factory=list)
    number: int = 0
    now: float = 100.0

    def __post_init__(self) -> None:
        self.answers.begin(self.conversation, eol=self.conversation.eol)

    def ask(self, text: bytes, pattern: str | None = None, payload: bytes | None = None) -> Asked:
        if pattern is None:
            asked = Asked(self.conversation.prepare(text, payload), text)
        else:
            asked = Asked(Prepared(text, text + b"\r\n"), text, until(pattern)())
        self.answers.ask(asked)
        self.go_on()
        return asked

    def go_on(self) -> None:
        while (asked := self.answers.next()) is not None:
            self.wire.append(asked.prepared.wire)
            self.answers.left(asked)

    def say(self, text: bytes) -> None:
        self.answers.sent(text + b"\r\n")

    def hear(self, *lines: bytes) -> None:
        for line in lines:
            shown, question = self.answers.received(self.number, line, self.now, 1e9 + self.now)
            self.number += 1
            self.shown += [heard.line for heard in shown]
            if question is not None:
                self.wire.append(self.answers.conversation.payload(question))
            self.go_on()


def text(asked: Asked) -> str:
    assert isinstance(asked.outcome, Answer), asked.outcome
    return asked.outcome.text


def test_each_gets_its_own_answer_in_order() -> None:
    """Questions to a protocol that may be asked at once leave at once; others one after the other."""
    redis = Play(Redis())
    asked = [redis.ask(b"GET a%d" % index) for index in range(3)]
    assert len(redis.wire) == 3
    redis.hear(b"+0", b"*1", b"+1", b"-no")
    assert [text(each) for each in asked] == ["+0", "*1\n+1", "-no"]
    assert redis.shown == []
    mpd = Play(MPD())
    mpd.hear(b"OK MPD 0.23.5")
    asked = [mpd.ask(b"find a%d" % index) for index in range(3)]
    assert len(mpd.wire) == 1
    for index in range(3):
        mpd.hear(b"file: %d" % index, b"OK")
    assert [text(each) for each in asked] == [f"file: {index}\nOK" for index in range(3)]


def test_the_greeting_is_nobodys_answer() -> None:
    """A question that is asked before it waits for it; the greeting is shown to all."""
    play = Play(SMTP())
    asked = play.ask(b"EHLO me")
    assert not play.wire
    assert play.answers.awaited() == "the greeting is awaited"
    play.hear(b"220 mx")
    assert play.shown == [b"220 mx"]
    assert play.wire == [b"EHLO me\r\n"]
    play.hear(b"250-mx", b"250 HELP")
    assert text(asked) == "250-mx\n250 HELP"


def test_what_is_sent_by_hand_gets_its_answer_too() -> None:
    """It is shown to all, and the next question waits for it."""
    play = Play(SMTP())
    play.hear(b"220 mx")
    play.say(b"NOOP")
    asked = play.ask(b"EHLO me")
    assert not play.wire
    play.hear(b"250 noop")
    assert play.shown == [b"220 mx", b"250 noop"]
    play.hear(b"250 ehlo")
    assert text(asked) == "250 ehlo"
    assert play.shown == [b"220 mx", b"250 noop"]


def test_a_heartbeats_answer_is_nobody_elses() -> None:
    """Nor does one leave while an answer is awaited, or a mode forbids it."""
    play = Play(SMTP())
    assert not play.answers.may_beat
    play.hear(b"220 mx")
    assert play.answers.may_beat
    play.answers.sent(b"NOOP\r\n", is_heartbeat=True)
    asked = play.ask(b"EHLO me")
    play.hear(b"250 beat", b"250 mine")
    assert text(asked) == "250 mine"
    assert play.shown == [b"220 mx"]
    play.ask(b"DATA")
    play.hear(b"354 go")
    assert not play.answers.may_beat


def test_unsolicited_lines_end_nobodys_answer_and_are_shown() -> None:
    play = Play(Redis())
    asked = play.ask(b"GET a")
    play.hear(b">2", b"+invalidate", b"+a", b"+mine")
    assert text(asked) == "+mine"
    assert play.shown == [b">2", b"+invalidate", b"+a"]
    qemu = Play(QMP())
    qemu.hear(b'{"event": "X"}', b'{"QMP": {}}')
    asked = qemu.ask(b'{"execute": "a"}')
    qemu.hear(b'{"event": "Y"}', b'{"return": {}, "id": "r1"}')
    assert isinstance(asked.outcome, Answer)
    assert asked.outcome.value == {"return": {}, "id": "r1"}
    assert qemu.shown == [b'{"event": "X"}', b'{"QMP": {}}', b'{"event": "Y"}']


def test_a_late_answer_is_put_aside() -> None:
    """The next question leaves only after it; one whose own time ends meanwhile is never sent."""
    play = Play(MPD())
    play.hear(b"OK MPD")
    slow = play.ask(b"slow")
    play.answers.give_up(slow, play.now)
    never, quick = play.ask(b"never"), play.ask(b"quick")
    assert play.wire == [b"slow\n"]
    assert play.answers.awaited() == "the answer to 'slow' is awaited"
    play.answers.give_up(never, play.now)
    assert not never.sent
    play.hear(b"late", b"OK")
    assert slow.outcome is None
    assert play.wire == [b"slow\n", b"quick\n"]
    play.hear(b"mine", b"OK")
    assert text(quick) == "mine\nOK"
    assert play.shown == [b"OK MPD"]


def test_an_answer_that_never_comes_costs_the_connection() -> None:
    """After `PATIENCE`, and only where somebody waits for it; who wait are told."""
    play = Play(MPD())
    play.hear(b"OK MPD")
    slow = play.ask(b"slow")
    play.answers.give_up(slow, play.now)
    assert play.answers.late_ends == math.inf
    quick = play.ask(b"quick")
    assert play.answers.late_ends == play.now + PATIENCE
    assert not play.answers.let_go(play.now + PATIENCE)
    play.answers.lost("no answer to 'slow' came within 30 s")
    assert isinstance(quick.outcome, ConnectionLost)
    assert "no answer to 'slow'" in str(quick.outcome)
    assert play.answers.late_ends == math.inf


def test_with_an_end_of_ones_own_the_next_question_is_let_go() -> None:
    """Who says himself where an answer ends may be wrong: the connection stays."""
    play = Play(Bare())
    slow = play.ask(b"slow", "^never")
    play.answers.give_up(slow, play.now)
    quick = play.ask(b"quick", "^value")
    play.hear(b"something")
    assert play.answers.late_ends == play.now + PATIENCE
    assert play.answers.let_go(play.now + PATIENCE)
    play.go_on()
    play.hear(b"first", b"value of quick")
    assert text(quick) == "first\nvalue of quick"


def test_nothing_of_a_bare_conversation_is_looked_at_but_for_a_question() -> None:
    play = Play(Bare())
    assert not play.answers.is_awaited
    asked = play.ask(b"x", "^end")
    assert play.answers.is_awaited
    play.hear(b"end")
    assert text(asked) == "end"
    assert not play.answers.is_awaited
    assert play.answers.may_beat


def test_expectations_pass_over_answers() -> None:
    """Lines that were an ask's or a heartbeat's are theirs alone, also for who looks later."""
    play = Play(Redis())
    play.hear(b"+free")
    play.ask(b"A")
    play.hear(b"+1")
    play.ask(b"B")
    play.hear(b"*1", b"+2")
    play.hear(b"+free")
    lines = [b"a", b"b", b"c", b"d", b"e"]
    assert play.answers.free(0, lines) == [(0, [b"a"]), (4, [b"e"])]
    assert play.answers.free(2, [b"c"]) == []
    play.ask(b"C")
    assert play.answers.first_withheld is None
    play.hear(b"*2", b"+3")
    assert play.answers.first_withheld == 5


def test_an_answer_may_be_checked() -> None:
    play = Play(Redis())
    good, bad = play.ask(b"A"), play.ask(b"B")
    play.hear(b"+OK", b"-ERR no")
    assert isinstance(good.outcome, Answer)
    assert good.outcome.check() is good.outcome
    assert isinstance(bad.outcome, Answer)
    with pytest.raises(Refused, match="ERR no") as caught:
        bad.outcome.check()
    assert caught.value.answer is bad.outcome
    assert repr(bad.outcome) == "<Answer refused ERR: '-ERR no'>"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for more than is kept is told, and the next question gets its own answer."""
    monkeypatch.setattr(module, "LARGEST_ANSWER", 100)
    play = Play(Redis())
    asked, after = play.ask(b"A"), play.ask(b"B")
    play.hear(b"*3", b"+" + b"x" * 99, b"+y", b"+z", b"+mine")
    assert isinstance(asked.outcome, Overrun)
    assert text(after) == "+mine"
    assert not play.shown


def test_what_waits_for_a_lost_connection_is_told() -> None:
    play = Play(MPD())
    asked, waiting = play.ask(b"a"), play.ask(b"b")
    play.answers.lost("closed by 127.0.0.1:1")
    for each in (asked, waiting):
        assert isinstance(each.outcome, ConnectionLost)
    assert not play.answers.waiting
