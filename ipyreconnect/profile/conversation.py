"""One connection's conversation: which received lines answer which sent line, and what may be sent meanwhile.

Pure: lines in, events out; no sockets, threads or clocks. It is told of each line that is sent, whoever
sends it, and of each logical line that is received, in their order, and never raises for what a peer writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Final, Protocol

from ..errors import SettingsError
from ..logical import beginning

__all__ = [
    "Conversation",
    "Done",
    "Event",
    "GoOn",
    "Kind",
    "Prepared",
    "Question",
    "Reader",
    "Step",
    "Unsolicited",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer ended.

    Attributes:
        ok: True, False, or None where the protocol does not say.
        status: the word or number that says so, such as ``OK``, ``250`` or ``ACK``; None where there is none.

    """

    ok: bool | None
    status: str | None = None


class Step(Enum):
    """What a reader says of a line that ends no answer but does not simply belong to one."""

    READY = "the server is ready for what belongs to the command"


class Reader(Protocol):
    """Reads one answer, line by line; made anew for each."""

    def feed(self, line: bytes) -> Verdict | Step | None:
        """Take the next logical line of the answer.

        Returns:
            The verdict when the answer ends with this line; `Step.READY` when the server asks for what
            belongs to the command; None when more is to come.

        """

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        """Return the payload of the whole answer, as the peer meant it; None where it has none."""

    def value(self, lines: Sequence[bytes]) -> Any:
        """Return what the whole answer means, with its texts as bytes; None where nothing can be parsed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of answer: called, it makes the reader of one."""

    make: Callable[[], Reader]

    def __call__(self) -> Reader:
        """Return a new reader."""
        return self.make()


class Question:
    """A sent line that is answered, until it is.

    Attributes:
        line: what was sent, without its line end; empty for a greeting, which nobody asked for.
        reader: reads its answer.
        tag: what the answer is recognised by, in a protocol that has tags; else empty.
        payload: what is sent when the server is ready for it; None: nothing, or it is sent already.
        asker: whoever keeps the answer; the conversation does not look at it.

    """

    __slots__ = ("asker", "line", "payload", "reader", "tag")

    def __init__(self, line: bytes, reader: Reader, tag: bytes = b"", payload: bytes | None = None) -> None:
        self.line = line
        self.reader = reader
        self.tag = tag
        self.payload = payload
        self.asker: Any = None

    def __repr__(self) -> str:
        return f"<Question {self.tag!r}>"  # not the line, which may hold a password


@dataclass(frozen=True, slots=True)
class Done:
    """The received line ends the answer to `question`; all lines since the last event belong to it."""

    question: Question
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class GoOn:
    """The server is ready for the payload of `question`, whose answer goes on after it."""

    question: Question


@dataclass(frozen=True, slots=True)
class Unsolicited:
    """The last `lines` received lines answer nobody."""

    lines: int = 1


Event = Done | GoOn | Unsolicited

ONE_UNSOLICITED: Final = Unsolicited()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent for a question.

    Attributes:
        line: the line without its end, as it is shown in the log.
        wire: what is sent at once, with line ends.
        payload: what is sent when the server is ready for it; None: nothing.

    """

    line: bytes
    wire: bytes
    payload: bytes | None = None


class Conversation:
    """A conversation in which answers come in the order of the questions. Subclasses say what answers what.

    All calls are made under the connection's lock, in the order in which the lines were sent and received.

    Attributes:
        pending: the questions that are not answered yet, the oldest first.
        mode: what state the server is in, in words for the header: ``in DATA``, ``IDLE``; empty: none that
            matters.

    """

    greeting: ClassVar[Kind | None] = None
    """Reads what the server says first; None: it says nothing before it is asked."""
    pipelines: ClassVar[bool] = False
    """Whether a question may be sent while another is unanswered."""
    tracks: ClassVar[bool] = False
    """Whether it must see each received line, also while nothing is asked, so as not to lose its place."""
    eol: bytes = b"\r\n"
    """The line end of what `prepare` makes; the connection sets it to its own."""
    end: ClassVar[bytes] = b"\n"
    """What ends a sent line, beside a CR in front of it."""

    def __init__(self) -> None:
        self.pending: list[Question] = []  # not a deque, which takes 0.6 KiB while it is empty
        self.mode = ""
        self._begun = b""  # of a sent line whose end was not sent yet
        self._skip = 0  # bytes of a payload that are still to be sent
        if self.greeting is not None:
            self.pending.append(Question(b"", self.greeting()))

    # -- what subclasses say

    def kind(self, line: bytes) -> Kind | None:
        """Say what answers `line`; None: nothing does."""
        raise NotImplementedError

    def is_unsolicited(self, line: bytes) -> bool:
        """Say whether the beginning of a received line shows that it answers nobody."""
        return False

    def counted(self, line: bytes) -> int:
        """Return how many bytes that belong to the command `line` follow its line end when it is sent."""
        return 0

    def answered(self, question: Question, verdict: Verdict) -> None:
        """Take note that `question` is answered, such as in `mode`."""

    def ready(self, question: Question) -> Verdict | None:
        """Say how the answer ends where the server is ready for more and the question has no payload: what
        follows is the user's. None: it does not end.
        """
        return Verdict(True)

    # -- what was sent

    @property
    def may_beat(self) -> bool:
        """Whether a heartbeat may be sent now: nobody waits for an answer, and the server is in no mode in
        which it would be taken for something else.
        """
        return not self.pending and not self.mode

    def sent(self, data: bytes) -> list[Question]:
        """Take what was sent, with line ends; return the questions that it asks."""
        asked: list[Question] = []
        while data:
            if self._skip:
                step = min(self._skip, len(data))
                self._skip -= step
                data = data[step:]
                continue
            line, end, data = data.partition(self.end)
            if not end:
                self._begun += line
                break
            line = (self._begun + line).removesuffix(b"\r")
            self._begun = b""
            self._skip = self.counted(line)
            question = self.ask(line)
            if question is not None:
                self.pending.append(question)
                asked.append(question)
        return asked

    def ask(self, line: bytes) -> Question | None:
        """Return the question that a sent line is; None: nothing answers it."""
        kind = self.kind(line)
        return None if kind is None else Question(line, kind())

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Return what is sent for the question `line` with `payload`.

        Raises:
            SettingsError: the protocol has no payloads, or this line has none, or another count of bytes.

        """
        if payload is not None:
            raise SettingsError("this protocol has no payloads: leave payload= out")
        return Prepared(line, line + self.eol)

    # -- what was received

    def received(self, line: bytes) -> Event | None:
        """Take the next logical line.

        Returns:
            None where the line is a part of something that is not decided yet, as a rule of the oldest
            question's answer.

        """
        head = beginning(line)
        if head is not None and self.is_unsolicited(head):
            return ONE_UNSOLICITED
        question = self.owner(line)
        if question is None:
            return ONE_UNSOLICITED
        return self._fed(question, question.reader.feed(line))

    def owner(self, line: bytes) -> Question | None:
        """Return the question that a received line belongs to."""
        return self.pending[0] if self.pending else None

    def _fed(self, question: Question, said: Verdict | Step | None) -> Event | None:
        if said is None:
            return None
        if isinstance(said, Step):
            if question.payload is not None:
                return GoOn(question)
            verdict = self.ready(question)
            if verdict is None:
                return None
            said = verdict
        self.pending.remove(question)
        self.answered(question, said)
        return Done(question, said)

    def payload(self, question: Question) -> bytes:
        """Return what is to be sent now for a question whose server is ready, and note it as sent."""
        data = question.payload
        question.payload = None
        return b"" if data is None else data
