"""Conversations of mail: SMTP, LMTP, IMAP, POP3 and ManageSieve. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from ..errors import SettingsError
from ..logical import Announcing, beginning
from .conversation import Conversation, Event, Kind, Prepared, Question, Reader, Step, Verdict
from .kinds import dotted, status, stuffed, until

__all__ = ["IMAP", "LMTP", "POP3", "SMTP", "Sieve"]


def first_word(line: bytes) -> bytes:
    """Return the first word of a line, in capitals."""
    return line.split(None, 1)[0].upper() if line.strip() else b""


class SMTP(Conversation):
    """RFC 5321: answers by number; DATA is followed by a message, AUTH by answers to challenges."""

    greeting: ClassVar[Kind | None] = status("2")
    _ANSWER: ClassVar[Kind] = status("[23]", asks="3[0-9][0-9]")

    def __init__(self) -> None:
        super().__init__()
        self._in_message = False

    def kind(self, line: bytes) -> Kind | None:
        """All but the lines of a message are answered."""
        if not self._in_message:
            return self._ANSWER
        if line != b".":
            return None
        self._in_message = False
        self.mode = ""
        return self.end_of_message()

    def end_of_message(self) -> Kind:
        """Return what answers the dot behind a message."""
        return self._ANSWER

    def counted(self, line: bytes) -> int:
        """BDAT says how many bytes follow (RFC 3030)."""
        words = line.split()
        if first_word(line) == b"BDAT" and len(words) > 1 and words[1].isdigit() and len(words[1]) < 18:
            return int(words[1])
        return 0

    def ready(self, question: Question) -> Verdict | None:
        """What follows is typed by hand: a message, or the answer to a challenge."""
        if first_word(question.line) == b"DATA":
            self._in_message = True
            self.mode = "in DATA"
            return Verdict(True, "354")
        self.mode = "in AUTH"
        return Verdict(True, "334")

    def answered(self, question: Question, verdict: Verdict) -> None:
        """A login ends with its last answer."""
        if self.mode == "in AUTH" and verdict.status != "334":
            self.mode = ""

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """DATA takes a message, BDAT bytes that it counts."""
        if payload is None:
            return Prepared(line, line + self.eol)
        command = first_word(line)
        if command == b"DATA":
            return Prepared(line, line + self.eol, stuffed(payload))
        if command == b"BDAT":
            if self.counted(line) != len(payload):
                raise SettingsError(f"BDAT says another number of bytes than payload= has, {len(payload)}")
            return Prepared(line, line + self.eol + payload)
        raise SettingsError("only DATA and BDAT take a payload")


class _Several:
    """As many answers by number as there are recipients; a refusal before them is the only one."""

    def __init__(self, count: int, *, ready: bool) -> None:
        self._left = max(count, 1)
        self._ready = ready  # whether the server has asked for the message
        self._one = SMTP._ANSWER()
        self._worst: Verdict | None = None

    def feed(self, line: bytes) -> Verdict | Step | None:
        said = self._one.feed(line)
        if said is None:
            return None
        self._one = SMTP._ANSWER()
        if isinstance(said, Step):
            self._ready = True
            return said
        if not self._ready:
            return said
        self._left -= 1
        if self._worst is None or (self._worst.ok and not said.ok):
            self._worst = said
        return self._worst if self._left == 0 else None

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return None

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


class LMTP(SMTP):
    """RFC 2033: as SMTP, but a message is answered once for each recipient that was taken."""

    def __init__(self) -> None:
        super().__init__()
        self._recipients = 0

    def kind(self, line: bytes) -> Kind | None:
        """Say so of DATA, too, which may be asked with its message."""
        kind = super().kind(line)
        if kind is self._ANSWER and first_word(line) == b"DATA":
            count = self._recipients
            return Kind(lambda: _Several(count, ready=False))
        return kind

    def end_of_message(self) -> Kind:
        """One for each recipient."""
        count = self._recipients
        return Kind(lambda: _Several(count, ready=True))

    def answered(self, question: Question, verdict: Verdict) -> None:
        """Count the recipients that are taken."""
        super().answered(question, verdict)
        command = first_word(question.line)
        if command == b"RCPT" and verdict.ok:
            self._recipients += 1
        elif command in (b"MAIL", b"RSET", b"LHLO", b".") or (command == b"DATA" and verdict.status != "354"):
            self._recipients = 0


class POP3(Conversation):
    """RFC 1939: one line, or for some commands a dot-stuffed body behind it."""

    _LINE: ClassVar[Kind] = until(r"^(\+OK|-ERR|\+(?= |$))", ok=r"^\+")
    _BODY: ClassVar[Kind] = dotted(r"(\+OK)", r"(-ERR)")
    greeting: ClassVar[Kind | None] = _LINE

    def kind(self, line: bytes) -> Kind | None:
        """LIST and UIDL have a body without an argument only."""
        words = line.split()
        command = first_word(line)
        if command in (b"CAPA", b"RETR", b"TOP") or (
            command in (b"LIST", b"UIDL", b"AUTH") and len(words) == 1
        ):
            return self._BODY
        return self._LINE

    def answered(self, question: Question, verdict: Verdict) -> None:
        """The server asks for the next line of a login by ``+`` alone (RFC 5034)."""
        self.mode = "in AUTH" if verdict.status == "+" else ""


class Sieve(Conversation):
    """RFC 5804: lines up to OK, NO or BYE; scripts are literals."""

    LINES: ClassVar[Kind] = until(r"(?i)^(OK|NO|BYE)\b", ok=r"(?i)^OK")
    greeting: ClassVar[Kind | None] = LINES
    _LITERAL: ClassVar[re.Pattern[bytes]] = re.compile(rb"\{([0-9]{1,18})\+?\}\Z")

    def __init__(self) -> None:
        super().__init__()
        self._goes_on = False  # the next sent line is the rest of a command behind its literal

    def kind(self, line: bytes) -> Kind | None:
        """A line that ends with a literal's size is answered only after its rest."""
        self._goes_on = self._LITERAL.search(line) is not None
        return None if self._goes_on else Kind(_Script)

    def counted(self, line: bytes) -> int:
        """Literals need no leave of the server (RFC 5804, 2.4)."""
        found = self._LITERAL.search(line)
        return 0 if found is None else int(found[1])

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Add the payload as a literal."""
        if payload is None:
            return Prepared(line, line + self.eol)
        head = _with_count(line, payload, b"+")
        return Prepared(head, head + self.eol + payload + self.eol)


_COUNT: Final = re.compile(rb"~?\{([0-9]{1,18})(\+?)\}\Z")


def literal(lines: Sequence[bytes]) -> bytes | None:
    """Return the first literal of an answer: as many bytes as its size says, behind the line end."""
    for line in lines:
        if isinstance(line, Announcing) and (found := _COUNT.search(line[: line.head])):
            at = line.head + (2 if line[line.head :].startswith(b"\r\n") else 1)
            return line[at : at + int(found[1])]
    return None


class _Script(Reader):
    """An answer of ManageSieve, whose payload is a literal."""

    def __init__(self) -> None:
        self._lines = Sieve.LINES()

    def feed(self, line: bytes) -> Verdict | Step | None:
        return self._lines.feed(line)

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return literal(lines)

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


def _with_count(line: bytes, payload: bytes, plus: bytes = b"") -> bytes:
    """Return the line with the literal's size behind it, which the user may have written."""
    found = _COUNT.search(line)
    if found is None:
        return line.rstrip() + b" {%d%s}" % (len(payload), plus)
    if int(found[1]) != len(payload):
        raise SettingsError(f"the line says {int(found[1])} bytes, and payload= has {len(payload)}")
    return line


_IMAP_COMMANDS: Final = frozenset(
    b"""APPEND AUTHENTICATE CAPABILITY CHECK CLOSE COMPRESS COPY CREATE DELETE DELETEACL DONE ENABLE ESEARCH
    EXAMINE EXPUNGE FETCH GENURLAUTH GETACL GETMETADATA GETQUOTA GETQUOTAROOT ID IDLE LANGUAGE LIST LISTRIGHTS
    LOGIN LOGOUT LSUB MOVE MYRIGHTS NAMESPACE NOOP NOTIFY RENAME RESETKEY SEARCH SELECT SETACL SETMETADATA
    SETQUOTA SORT STARTTLS STATUS STORE SUBSCRIBE THREAD UID UNAUTHENTICATE UNSELECT UNSUBSCRIBE URLFETCH
    XLIST""".split()
)
"""Commands of RFC 9051 and its extensions, by which a tag is told from a command."""


class _Tagged:
    """Everything up to the line that begins with the tag."""

    def __init__(self, tag: bytes) -> None:
        self._end = re.compile(re.escape(tag) + rb" +(OK|NO|BAD)\b", re.IGNORECASE)

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        if head.startswith(b"+"):
            return Step.READY
        found = self._end.match(head)
        if found is None:
            return None
        word = found[1].upper()
        return Verdict(word == b"OK", word.decode())

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return literal(lines)

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


class IMAP(Conversation):
    """RFC 9051: the answer bears the command's tag; what is untagged belongs to the oldest question.

    A command that waits for more of it (a literal, a login, IDLE) is answered by the ``+``; what is sent then
    has the same tag.
    """

    greeting: ClassVar[Kind | None] = until(r"(?i)^\* (OK|PREAUTH|BYE)\b", ok=r"(?i)^\* (OK|PREAUTH)")

    def __init__(self) -> None:
        super().__init__()
        self._open = b""  # the tag of the command that goes on with the next sent line
        self._number = 0

    def kind(self, line: bytes) -> Kind | None:
        """Not asked for: `ask` knows the tag."""
        raise NotImplementedError

    def ask(self, line: bytes) -> Question | None:
        """Return the question; none where the command goes on behind a literal that needs no leave."""
        tag = self._open or line.split(b" ", 1)[0]
        found = _COUNT.search(line)
        if found is not None and found[2]:
            self._open = tag
            return None
        self._open = b""
        return Question(line, _Tagged(tag), tag) if tag else None

    def counted(self, line: bytes) -> int:
        """Return the size of a literal that needs no leave (RFC 7888); others are counted at the ``+``."""
        found = _COUNT.search(line)
        return int(found[1]) if found is not None and found[2] else 0

    def ready(self, question: Question) -> Verdict | None:
        """The command goes on with what is sent next."""
        self._open = question.tag
        found = _COUNT.search(question.line)
        if found is not None:
            self._skip = int(found[1])
        self.mode = "IDLE" if self._command(question.line) == b"IDLE" else "more of a command awaited"
        return Verdict(None, "+")

    def answered(self, question: Question, verdict: Verdict) -> None:
        """A tagged line ends IDLE, too."""
        if verdict.status != "+":
            self.mode = ""
            self._open = b""

    @staticmethod
    def _command(line: bytes) -> bytes:
        words = line.split(None, 2)
        return words[1].upper() if len(words) > 1 else b""

    def received(self, line: bytes) -> Event | None:
        """Find the owner by its tag."""
        return super().received(line)

    def is_unsolicited(self, line: bytes) -> bool:
        """In IDLE, and while the server waits for more, no untagged line is an answer."""
        return bool(self.mode) and line.startswith(b"*")

    def owner(self, line: bytes) -> Question | None:
        """Return the question with the line's tag; the oldest where it has none."""
        head = beginning(line)
        if head is not None and not head.startswith((b"*", b"+")):
            tag = head.split(b" ", 1)[0]
            for question in self.pending:
                if question.tag == tag:
                    return question
        return self.pending[0] if self.pending else None

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Put a tag in front, where the user has put none; add the payload as a literal."""
        line = self._tagged(line)
        if payload is None:
            return Prepared(line, line + self.eol)
        line = _with_count(line, payload)
        rest = payload + self.eol
        found = _COUNT.search(line)
        if found is not None and found[2]:
            return Prepared(line, line + self.eol + rest)
        return Prepared(line, line + self.eol, rest)

    def _tagged(self, line: bytes) -> bytes:
        if self._open:
            return line  # it goes on with a command that has its tag
        words = line.split(None, 2)
        if len(words) > 1 and words[0].upper() not in _IMAP_COMMANDS and words[1].upper() in _IMAP_COMMANDS:
            if any(question.tag == words[0] for question in self.pending):
                tag = words[0].decode("utf-8", "replace")
                raise SettingsError(f"the tag {tag!r} is still in use: choose another, or leave it out")
            return line
        while True:
            self._number += 1
            tag_bytes = b"r%d" % self._number
            if all(question.tag != tag_bytes for question in self.pending):
                return tag_bytes + b" " + line
