"""Conversations of stores and queues: Redis, memcached, beanstalkd, NATS, rrdcached. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from ..errors import SettingsError
from ..logical import beginning
from .conversation import (
    Conversation,
    Done,
    Event,
    Kind,
    Prepared,
    Question,
    Step,
    Unsolicited,
    Verdict,
)
from .kinds import RespReader, announced, bulk, counted, until
from .mail import first_word

__all__ = ["NATS", "Beanstalk", "Memcached", "RRDCached", "Redis"]


class Redis(Conversation):
    """RESP2 and RESP3. Pushes, and messages of a subscription, answer nobody.

    A value is decided when it is whole: its first line does not say yet whether it is a message.
    """

    pipelines: ClassVar[bool] = True
    tracks: ClassVar[bool] = True
    _SUBSCRIBES: ClassVar[frozenset[bytes]] = frozenset(
        (b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE")
    )
    _MESSAGES: ClassVar[frozenset[bytes]] = frozenset((b"message", b"pmessage", b"smessage"))

    def __init__(self) -> None:
        super().__init__()
        self._value: RespReader | None = None  # of the value that comes
        self._lines = 0  # of it that have come
        self._kind = b""  # its type
        self._name = b""  # its first element, where that is text
        self._names: list[int] = []  # confirmations that the pending subscriptions still bring
        self._quiet = False  # after CLIENT REPLY OFF

    def kind(self, line: bytes) -> Kind | None:
        """Not asked for: `sent` makes the reader, and counts confirmations."""
        raise NotImplementedError

    def sent(self, data: bytes) -> list[Question]:
        """Take commands, inline or as arrays of bulk strings."""
        asked: list[Question] = []
        self._begun += data
        while self._begun:
            words, rest = _command_of(self._begun)
            if words is None:
                break
            self._begun = rest
            question = self._command(words) if words else None  # an empty line is no command
            if question is not None:
                self.pending.append(question)
                asked.append(question)
        return asked

    def _command(self, words: list[bytes]) -> Question | None:
        command = words[0].upper()
        if command == b"CLIENT" and [word.upper() for word in words[1:3]] == [b"REPLY", b"OFF"]:
            self._quiet = True
            return None
        if command == b"CLIENT" and [word.upper() for word in words[1:3]] == [b"REPLY", b"ON"]:
            self._quiet = False
        if self._quiet:
            return None
        question = Question(b" ".join(words), RespReader())
        self._names.append(max(len(words) - 1, 1) if command in self._SUBSCRIBES else 0)
        return question

    def received(self, line: bytes) -> Event | None:
        """Take the next line of a value; decide when the value is whole."""
        head = beginning(line)
        if self._value is None:
            self._value, self._lines, self._kind, self._name = RespReader(), 0, line[:1], b""
        elif self._lines == 1 and self._kind in (b"*", b">"):
            self._name = (bulk(line) or line[1:]).lower()
        self._lines += 1
        verdict = self._value.feed(line)
        if verdict is None or isinstance(verdict, Step) or head is None:
            return None
        lines, self._value = self._lines, None
        return self._decide(verdict, lines)

    def _decide(self, verdict: Verdict, lines: int) -> Event | None:
        is_confirmation = self._name.upper() in self._SUBSCRIBES and self._kind in (b"*", b">")
        if self._kind == b">" and not is_confirmation:
            return Unsolicited(lines)
        if self._name in self._MESSAGES and self._kind == b"*" and self.mode:
            return Unsolicited(lines)
        if is_confirmation:
            self.mode = "subscribed"
        if not self.pending:
            return Unsolicited(lines)
        left = self._names[0]
        if left > 1 and verdict.ok:
            self._names[0] = left - 1
            return None
        self._names.pop(0)
        question = self.pending.pop(0)
        return Done(question, verdict)

    @property
    def may_beat(self) -> bool:
        """PING is answered in a subscription, too."""
        return not self.pending

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Send an inline command; with a payload an array, whose last element is the payload."""
        if payload is None:
            return Prepared(line, line + self.eol)
        words = [*line.split(), payload]
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        return Prepared(line, b"*%d\r\n" % len(words) + parts)


_ARRAY: Final = re.compile(rb"\*([0-9]{1,9})\r?\n")
_BULK: Final = re.compile(rb"\$([0-9]{1,9})\r?\n")


def _command_of(data: bytes) -> tuple[list[bytes] | None, bytes]:
    """Return the words of the first command in `data`, and what stands behind it; None: it is not whole."""
    found = _ARRAY.match(data)
    if found is None:
        if data.startswith(b"*") and b"\n" not in data:
            return None, data
        line, end, rest = data.partition(b"\n")
        return (line.split(), rest) if end else (None, data)
    words: list[bytes] = []
    at = found.end()
    while len(words) < int(found[1]):
        part = _BULK.match(data, at)
        if part is None:
            return None, data
        at = part.end() + int(part[1])
        stop = data.find(b"\n", at)
        if stop < 0:
            return None, data
        words.append(data[part.end() : at])
        at = stop + 1
    return words, data[at:]


def _count_of(line: bytes, at: int) -> int:
    """Return the number that is word `at` of a line; -1 where it is none."""
    words = line.split()
    if len(words) <= at or not words[at].isdigit() or len(words[at]) > 18:
        return -1
    return int(words[at])


def _counted_wire(line: bytes, payload: bytes, at: int, eol: bytes) -> tuple[bytes, bytes]:
    """Return the line with its count as word `at`, checked or added, and what is sent."""
    words = line.split()
    count = _count_of(line, at)
    if count < 0 and len(words) == at:
        line = line.rstrip() + b" %d" % len(payload)
    elif count != len(payload):
        said = words[at].decode("utf-8", "replace") if len(words) > at else "nothing"
        raise SettingsError(f"the line says {said} for the count of bytes, and payload= has {len(payload)}")
    return line, line + eol + payload + eol


class _Values:
    """memcached's answers to retrievals: values up to END, or one line."""

    def __init__(self, *, many: bool) -> None:
        self._many = many

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        word = head.split(b" ", 1)[0]
        if (self._many and word in (b"VALUE", b"STAT", b"ITEM", b"CONFIG")) or word.startswith(b"key="):
            return None
        bad = word in _MEMCACHED_BAD
        return Verdict(not bad, word.decode("utf-8", "replace") if word.isalpha() or b"_" in word else None)

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return announced(lines)

    def value(self, lines: Sequence[bytes]) -> Any:
        first = lines[0] if lines else b""
        return int(first) if len(lines) == 1 and first.isdigit() and len(first) < 30 else None


_MEMCACHED_BAD: Final = frozenset(
    (b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"NS", b"EX", b"NF")
)


class Memcached(Conversation):
    """memcached's text protocol (protocol.txt of 1.6): storage commands count their bytes."""

    pipelines: ClassVar[bool] = True
    _STORES: ClassVar[frozenset[bytes]] = frozenset(
        (b"SET", b"ADD", b"REPLACE", b"APPEND", b"PREPEND", b"CAS")
    )

    def kind(self, line: bytes) -> Kind | None:
        """Each command is answered, unless it says ``noreply``."""
        words = line.split()
        if not words or words[-1] == b"noreply":
            return None
        many = words[0].lower() in (b"get", b"gets", b"gat", b"gats", b"stats", b"lru_crawler")
        return Kind(lambda: _Values(many=many))

    def counted(self, line: bytes) -> int:
        """Return the count of a storage command's bytes, and their line end."""
        count = _count_of(line, self._place(line)) if self._place(line) else -1
        return 0 if count < 0 else count + 2

    def _place(self, line: bytes) -> int:
        """Return which word of a storage command is its count; 0 for others."""
        command = first_word(line)
        return 4 if command in self._STORES else 2 if command == b"MS" else 0

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Check or add the count."""
        if payload is None:
            return Prepared(line, line + self.eol)
        place = self._place(line)
        if not place:
            raise SettingsError("only memcached's storage commands take a payload: set, add, replace, ms …")
        words = line.split()
        if len(words) > place and not words[place].isdigit():  # flags behind it, no count
            line = b" ".join([*words[:place], b"%d" % len(payload), *words[place:]])
        return Prepared(*_counted_wire(line, payload, place, self.eol))


class Beanstalk(Conversation):
    """beanstalkd's protocol.txt (1.12): each answer is one logical line; put counts its bytes."""

    pipelines: ClassVar[bool] = True
    _ANSWER: ClassVar[Kind] = until(
        r"^([A-Z_]+)",
        ok=r"^(?:OK|INSERTED|USING|RESERVED|DELETED|RELEASED|BURIED|TOUCHED|WATCHING|FOUND|KICKED|PAUSED)\b",
    )

    def kind(self, line: bytes) -> Kind | None:
        """All but quit are answered."""
        return None if first_word(line) == b"QUIT" else self._ANSWER

    def counted(self, line: bytes) -> int:
        """Return the count of a job's bytes, and their line end."""
        count = _count_of(line, 4) if first_word(line) == b"PUT" else -1
        return 0 if count < 0 else count + 2

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Check or add the count."""
        if payload is None:
            return Prepared(line, line + self.eol)
        if first_word(line) != b"PUT":
            raise SettingsError("only put takes a payload")
        return Prepared(*_counted_wire(line, payload, 4, self.eol))


class _Fence:
    """What comes before the PONG of a PING that was sent behind the question."""

    def __init__(self) -> None:
        self._bad = False

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = (beginning(line) or b"").upper()
        if head.startswith(b"-ERR"):
            self._bad = True
        if head.rstrip() == b"PONG":
            return Verdict(not self._bad, "-ERR" if self._bad else "+OK")
        return None

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return None

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


class NATS(Conversation):
    """The NATS client protocol: nothing but PING has an answer of its own, so each question is followed by
    one, which is paired by its order.
    """

    greeting: ClassVar[Kind | None] = until(r"(?i)^(INFO)\b", ok=r"(?i)^INFO")
    pipelines: ClassVar[bool] = True
    _OTHERS: ClassVar[re.Pattern[bytes]] = re.compile(rb"(?:H?MSG|PING|INFO)\b", re.IGNORECASE)

    def kind(self, line: bytes) -> Kind | None:
        """PING is answered, after all that was sent before it."""
        return Kind(_Fence) if first_word(line) == b"PING" else None

    def counted(self, line: bytes) -> int:
        """Return the count of a message's bytes, and their line end."""
        words = line.split()
        if first_word(line) not in (b"PUB", b"HPUB"):
            return 0
        count = _count_of(line, len(words) - 1)
        return 0 if count < 0 else count + 2

    def is_unsolicited(self, line: bytes) -> bool:
        """Messages, and what the server asks or tells, answer nobody."""
        return self._OTHERS.match(line) is not None and not (self.pending and not self.pending[0].line)

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Check or add the count, and put a PING behind."""
        if first_word(line) == b"PING":
            return Prepared(line, line + self.eol)
        fence = b"PING" + self.eol
        if payload is None:
            return Prepared(line, line + self.eol + fence)
        if first_word(line) != b"PUB":
            raise SettingsError("only PUB takes a payload")
        words = line.split()
        at = len(words) - 1 if len(words) > 2 and words[-1].isdigit() else len(words)
        line, wire = _counted_wire(line, payload, at, self.eol)
        return Prepared(line, wire + fence)


class RRDCached(Conversation):
    """rrdcached's and collectd's text protocol: the first line's number says how many follow."""

    _ANSWER: ClassVar[Kind] = counted(r"(-?[0-9]+)(?: |\Z)")
    eol: bytes = b"\n"

    def kind(self, line: bytes) -> Kind | None:
        """Each command is answered."""
        return self._ANSWER
