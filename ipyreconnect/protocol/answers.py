"""Who asks what on a client's connection, and which received lines answer it: each gets its own answer.

Pure: lines and `now` come in; who may send next, what nobody owns, and outcomes come out. All calls are made
under the connection's lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from ..errors import ConnectionLost, Overrun
from ..lines.line import Line
from ..profile.conversation import (
    Conversation,
    Done,
    GoOn,
    Kind,
    Prepared,
    Question,
    Reader,
    Unsolicited,
    Verdict,
)
from .answer import Answer

__all__ = ["PATIENCE", "Answers", "Asked", "Bare", "Heard"]

PATIENCE: Final = 30.0
"""Seconds that a late answer may hold up other questions."""
MOST_OWNED: Final = 10_000
"""Runs of lines that are remembered as answers, half of them at least: an expectation that looks further back
sees older answers like any other lines."""
LARGEST_ANSWER: Final = 256 << 20
"""Bytes of an answer that are kept: whoever asks for more of it at once reads it by `follow`."""


class Heartbeat(Enum):
    """Marks a question that a heartbeat is."""

    HEARTBEAT = "a heartbeat"


class Bare(Conversation):
    """The conversation of a protocol that nobody knows: nothing is answered but what an asker describes."""

    pipelines: ClassVar[bool] = False

    def kind(self, line: bytes) -> Kind | None:
        """Nothing is known to be answered."""
        return None


class Asked:
    """A question that somebody asks, until its answer is there or nobody waits for it any longer.

    Attributes:
        prepared: what is sent for it.
        shown: the line as the log shows it.
        reader: reads its answer where the asker says how; None: the protocol knows.
        outcome: None while it waits; then the `Answer`, or the exception to raise. Any thread may read it.
        sent: whether it has left.

    """

    __slots__ = ("given_up", "outcome", "prepared", "reader", "sent", "shown")

    def __init__(self, prepared: Prepared, shown: bytes, reader: Reader | None = None) -> None:
        self.prepared = prepared
        self.shown = shown
        self.reader = reader
        self.outcome: Answer | Exception | None = None
        self.sent = False
        self.given_up = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A received line, with its number and its Unix time (s)."""

    number: int
    line: bytes
    time: float


class Answers:
    """The questions of one client, on one connection after the other.

    Args:
        encoding: of the answers' texts; None: UTF-8.

    """

    __slots__ = (
        "_encoding",
        "_entries",
        "_late",
        "_owned",
        "_size",
        "conversation",
        "is_awaited",
        "is_known",
        "late_ends",
        "waiting",
    )

    def __init__(self, encoding: str | None = None) -> None:
        self._encoding = encoding
        self.conversation: Conversation = Bare()
        self.waiting: list[Asked] = []
        """Those that have not left yet, in the order in which they were asked."""
        self.is_awaited = False
        """Whether received lines matter to it: else it need not be told of them."""
        self.is_known = False
        """Whether the protocol is known, so that sent lines matter."""
        self.late_ends = math.inf
        """When an answer that nobody waits for holds up others no longer (monotonic, s)."""
        self._entries: list[Heard] = []  # lines that nobody else was shown yet
        self._size = 0  # of these, in bytes
        self._owned: list[range] = []  # numbers of lines that were answers, in order
        self._late = -1.0  # since when the oldest question has been waited for by nobody; negative: it is not

    def begin(self, conversation: Conversation, *, eol: bytes = b"\r\n", greeted: bool = False) -> None:
        """Begin on a new connection.

        Args:
            conversation: a new one.
            eol: the line end that is sent.
            greeted: whether the server has said already what it says first.

        """
        self.conversation = conversation
        self.is_known = type(conversation) is not Bare
        conversation.eol = eol
        self._entries.clear()
        self._size = 0
        self._late = -1.0
        self.late_ends = math.inf
        if greeted:
            conversation.pending.clear()
        self._note()

    def _note(self) -> None:
        self.is_awaited = self.conversation.tracks or bool(self.conversation.pending)

    # -- asking

    def ask(self, asked: Asked) -> None:
        """Have a question wait for its turn."""
        self.waiting.append(asked)
        self._set_late_end()

    def next(self) -> Asked | None:
        """Return the question that may be sent now, which is not `waiting` any longer; None: none may."""
        if not self.waiting:
            return None
        conversation = self.conversation
        if conversation.pending and not (conversation.pipelines and self._late < 0 and self._greeted):
            return None
        return self.waiting.pop(0)

    @property
    def _greeted(self) -> bool:
        pending = self.conversation.pending
        return not pending or bool(pending[0].line)

    def left(self, asked: Asked) -> None:
        """Take note that a question was sent; one that nothing answers has its outcome now."""
        asked.sent = True
        conversation = self.conversation
        questions = conversation.sent(asked.prepared.wire)
        if asked.reader is not None:
            if not questions:
                questions = [Question(asked.prepared.line, asked.reader)]
                conversation.pending += questions
            questions[-1].reader = asked.reader
        self._note()
        if not questions:
            asked.outcome = Answer((), Verdict(None), encoding=self._encoding)
            return
        questions[-1].asker = asked
        questions[-1].payload = asked.prepared.payload

    def sent(self, wire: bytes, *, is_heartbeat: bool = False) -> None:
        """Take note of what was sent by hand, by a script, by a reply, or as a heartbeat, whose answer is
        nobody else's.
        """
        for question in self.conversation.sent(wire):
            self.is_awaited = True
            if is_heartbeat:
                question.asker = Heartbeat.HEARTBEAT

    @property
    def may_beat(self) -> bool:
        """Whether a heartbeat may be sent now."""
        return not self.waiting and self.conversation.may_beat

    def give_up(self, asked: Asked, now: float) -> None:
        """Take note that nobody waits for it any longer: its answer, once it comes, is put aside."""
        if asked in self.waiting:
            self.waiting.remove(asked)
            self._set_late_end()
            return
        asked.given_up = True
        if self._late < 0 and self._oldest is asked:
            self._late = now
        self._set_late_end()

    @property
    def _oldest(self) -> object:
        pending = self.conversation.pending
        return pending[0].asker if pending else None

    def awaited(self) -> str:
        """Return, for a message, the question whose answer holds up those that wait."""
        pending = self.conversation.pending
        if not pending:
            return "nothing"
        asker = pending[0].asker
        if isinstance(asker, Asked):
            return f"the answer to {asker.shown.decode('utf-8', 'replace')!r} is awaited"
        return "the greeting is awaited" if not pending[0].line else "the answer to another line is awaited"

    # -- time

    def let_go(self, now: float) -> bool:
        """Give up a late answer that others wait for; say whether the conversation can go on without it, as
        the asker himself said what its end looks like, and may have been wrong.
        """
        asked = self._oldest
        if not isinstance(asked, Asked) or asked.reader is None:
            return False
        self.conversation.pending.pop(0)
        self._take_entries()
        self._find_late(now)
        self._note()
        return True

    def late_question(self) -> str:
        """Return, for a message, the question whose answer is late."""
        asked = self._oldest
        return asked.shown.decode("utf-8", "replace") if isinstance(asked, Asked) else ""

    def _set_late_end(self) -> None:
        self.late_ends = self._late + PATIENCE if self._late >= 0 and self.waiting else math.inf

    def _find_late(self, now: float) -> None:
        oldest = self._oldest
        self._late = now if isinstance(oldest, Asked) and oldest.given_up else -1.0
        self._set_late_end()

    def lost(self, reason: str) -> None:
        """Fail all that wait: the connection is lost."""
        askers = [question.asker for question in self.conversation.pending]
        for asked in [*askers, *self.waiting]:
            if isinstance(asked, Asked) and asked.outcome is None:
                asked.outcome = ConnectionLost(reason)
        self.waiting.clear()
        self.begin(Bare())

    # -- receiving

    def received(
        self, number: int, line: bytes, now: float, time: float
    ) -> tuple[list[Heard], Question | None]:
        """Take the next received line.

        Args:
            number: its number in the transcript.
            line: its bytes, as the framing has cut them.
            now: monotonic, s.
            time: Unix time, s.

        Returns:
            The lines that others are shown now, in their order; and the question whose payload is to be sent
            now, or None.

        """
        pending = self.conversation.pending
        asker = pending[0].asker if pending else None
        shown: list[Heard] = []
        if asker is None:
            shown.append(Heard(number, line, time))
        else:
            self._withhold(number, line, time, asker)
        event = self.conversation.received(line)
        if event is None:
            return shown, None
        if isinstance(event, Unsolicited):
            return self._released(number - event.lines) + shown, None
        if isinstance(event, GoOn):
            return shown, event.question
        self._done(event, now)
        return shown, None

    def _withhold(self, number: int, line: bytes, time: float, asker: object) -> None:
        """Show a line to nobody else yet, as it may belong to an answer."""
        self._entries.append(Heard(number, line, time))
        self._size += len(line)
        if self._size > LARGEST_ANSWER:
            self._too_much(asker)

    def _released(self, before: int) -> list[Heard]:
        """Return, as nobody's answer, the withheld lines whose number is greater than `before`."""
        entries = self._entries
        at = len(entries)
        while at and entries[at - 1].number > before:
            at -= 1
        free = entries[at:]
        del entries[at:]
        self._size -= sum(len(heard.line) for heard in free)
        return free

    def _take_entries(self) -> list[Heard]:
        """Return the withheld lines, and remember that they were an answer, which expectations pass over."""
        entries, self._entries, self._size = self._entries, [], 0
        owned = self._owned
        for entry in entries:
            last = owned[-1] if owned else range(0)
            if last and last.stop == entry.number:
                owned[-1] = range(last.start, entry.number + 1)
            else:
                owned.append(range(entry.number, entry.number + 1))
        if len(owned) > MOST_OWNED:
            del owned[: MOST_OWNED // 2]
        return entries

    def _done(self, event: Done, now: float) -> None:
        asked = event.question.asker
        entries = self._take_entries()
        self._find_late(now)
        self._note()
        if not isinstance(asked, Asked) or asked.given_up or asked.outcome is not None:
            return
        asked.outcome = Answer(
            [
                Line(bytes(each.line), each.time, "<", each.number, encoding=self._encoding)
                for each in entries
            ],
            event.verdict,
            event.question.reader,
            encoding=self._encoding,
            data=[each.line for each in entries],
        )

    def _too_much(self, asker: object) -> None:
        self._take_entries()
        if isinstance(asker, Asked) and asker.outcome is None:
            asker.outcome = Overrun(
                f"the answer to {asker.shown.decode('utf-8', 'replace')!r} is longer than "
                f"{LARGEST_ANSWER >> 20} MiB: read it by follow()"
            )

    @property
    def first_withheld(self) -> int | None:
        """The number of the first line that nobody may look at yet; None: there is none."""
        return self._entries[0].number if self._entries else None

    def free(self, first: int, lines: list[bytes]) -> list[tuple[int, list[bytes]]]:
        """Return the parts of a run of lines that were nobody's answer, each with its first line's number."""
        at, stop = first, first + len(lines)
        parts: list[tuple[int, list[bytes]]] = []
        for owned in self._owned:
            if owned.stop <= at or owned.start >= stop:
                continue
            if owned.start > at:
                parts.append((at, lines[at - first : owned.start - first]))
            at = min(owned.stop, stop)
        if at < stop:
            parts.append((at, lines[at - first :]))
        return parts

    @property
    def owns(self) -> bool:
        """Whether any line that is kept was somebody's answer."""
        return bool(self._owned)
