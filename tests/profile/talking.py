"""Play recorded conversations to a `Conversation`: what is sent and received, and what it makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ipyreconnect.lines.framing import Announced
from ipyreconnect.profile.conversation import Conversation, Done, GoOn, Question, Unsolicited

NEVER = re.compile(rb"(?!)()")


@dataclass
class Answered:
    """An answer that a conversation has found whole."""

    question: bytes
    ok: bool | None
    status: str | None
    lines: list[bytes]
    data: bytes | None = None
    value: Any = None


@dataclass
class Talk:
    """One connection's conversation, with what came of it."""

    conversation: Conversation
    announce: re.Pattern[bytes] = NEVER
    answers: list[Answered] = field(default_factory=list)
    unsolicited: list[bytes] = field(default_factory=list)
    wire: bytes = b""

    def __post_init__(self) -> None:
        self.framer = Announced(self.announce)
        self.undecided: list[bytes] = []

    def say(self, text: bytes) -> list[Question]:
        """Send a line, as the user does."""
        data = text + self.conversation.eol
        self.wire += data
        return self.conversation.sent(data)

    def ask(self, text: bytes, payload: bytes | None = None) -> Question:
        """Send a line and wait for its answer."""
        prepared = self.conversation.prepare(text, payload)
        self.wire += prepared.wire
        question = self.conversation.sent(prepared.wire)[-1]
        question.payload = prepared.payload
        return question

    def hear(self, data: bytes, split: int = 0) -> None:
        """Receive bytes, in two pieces."""
        for piece in (data[:split], data[split:]):
            for line in self.framer.feed(piece):
                self._take(line)

    def _take(self, line: bytes) -> None:
        self.undecided.append(line)
        event = self.conversation.received(line)
        if isinstance(event, Unsolicited):
            at = len(self.undecided) - event.lines
            self.unsolicited += self.undecided[at:]
            del self.undecided[at:]
        elif isinstance(event, GoOn):
            self.wire += self.conversation.payload(event.question)
        elif isinstance(event, Done):
            lines, self.undecided = self.undecided, []
            reader, verdict = event.question.reader, event.verdict
            self.answers.append(
                Answered(
                    event.question.line,
                    verdict.ok,
                    verdict.status,
                    [bytes(each) for each in lines],
                    reader.data(lines),
                    reader.value(lines),
                )
            )

    @property
    def last(self) -> Answered:
        return self.answers[-1]
