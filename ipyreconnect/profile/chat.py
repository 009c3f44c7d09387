"""The conversation of IRC. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from ..errors import SettingsError
from ..logical import beginning
from .conversation import Conversation, Kind, Prepared, Question, Step, Verdict
from .mail import first_word

__all__ = ["IRC"]

_MESSAGE = re.compile(
    rb"(?:@\S+ +)?(?::(?P<source>\S+) +)?(?P<command>[A-Za-z]+|[0-9]{3})(?: +(?P<rest>.*))?\Z", re.DOTALL
)


class _Fenced:
    """The numerics, and the echoes of the command, up to the PONG with the token."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._status: bytes | None = None

    def feed(self, line: bytes) -> Verdict | Step | None:
        found = _MESSAGE.match(beginning(line) or b"")
        if found is None:
            return None
        command, rest = found["command"].upper(), found["rest"] or b""
        if command == b"PONG" and rest.split(b" ")[-1].lstrip(b":") == self._token:
            bad = self._status is not None and self._status[:1] in b"45"
            return Verdict(not bad, None if self._status is None else self._status.decode())
        if command.isdigit() and (self._status is None or self._status[:1] not in b"45"):
            self._status = command
        return None

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return None

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


class IRC(Conversation):
    """RFC 2812: few commands have an end of their own, so each question is followed by a PING with a token.

    A registration cannot be asked for so: before it servers answer PING by 451, or not at all (measured).
    """

    pipelines: ClassVar[bool] = True
    _BEFORE: ClassVar[frozenset[bytes]] = frozenset((b"PASS", b"NICK", b"USER", b"CAP", b"AUTHENTICATE"))

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._fenced: dict[bytes, bytes] = {}  # the questions by the tokens behind them

    def kind(self, line: bytes) -> Kind | None:
        """Not asked for: `ask` knows the token."""
        raise NotImplementedError

    def ask(self, line: bytes) -> Question | None:
        """Return the question that a PING closes."""
        if first_word(line) != b"PING":
            return None
        token = line.split(None, 1)[1].removeprefix(b":") if len(line.split(None, 1)) > 1 else b""
        return Question(self._fenced.pop(token, line), _Fenced(token), token)

    def is_unsolicited(self, line: bytes) -> bool:
        """Numerics answer; so do PONG, and the echo of the command that is asked."""
        if not self.pending:
            return True
        found = _MESSAGE.match(line)
        if found is None:
            return True
        command = found["command"].upper()
        if command.isdigit() or command == b"PONG":
            return False
        return command != first_word(self.pending[0].line) or command in (b"PRIVMSG", b"NOTICE", b"PING")

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Put a PING with a token behind."""
        if payload is not None:
            raise SettingsError("IRC has no payloads: leave payload= out")
        if first_word(line) == b"PING":
            return Prepared(line, line + self.eol)
        if first_word(line) in self._BEFORE:
            raise SettingsError(
                "before the registration IRC servers do not say where an answer ends: "
                "give until=, such as until=' (001|433) '"
            )
        self._number += 1
        token = b"ipyreconnect-%d" % self._number
        self._fenced[token] = line
        return Prepared(line, line + self.eol + b"PING :" + token + self.eol)
