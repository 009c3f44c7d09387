"""Conversations of players, daemons and emulators that are controlled by lines. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from ..errors import SettingsError
from ..logical import beginning
from .conversation import Conversation, Done, Event, Kind, Prepared, Question, Unsolicited, Verdict
from .kinds import json_object, status, stuffed, until
from .mail import first_word

__all__ = ["BIRD", "MPD", "NUT", "QMP", "MPVIpc", "Simple", "Tor", "simple"]


class Simple(Conversation):
    """Each line is answered, all by the same kind."""

    answer: ClassVar[Kind]

    def kind(self, line: bytes) -> Kind | None:
        """Each line that is not empty is answered."""
        return self.answer if line.strip() else None


def simple(
    name: str,
    answer: Kind,
    *,
    greeting: Kind | None = None,
    eol: bytes = b"\r\n",
    unsolicited: str | None = None,
    pipelines: bool = False,
) -> type[Simple]:
    """Return the class of conversations in which each line is answered by the same kind.

    Args:
        name: of the protocol.
        answer: the kind of its answers.
        greeting: the kind of what the server says first; None: it waits to be asked.
        eol: the line end that is sent.
        unsolicited: a regular expression of the beginnings of lines that answer nobody.
        pipelines: whether a question may be sent while another is unanswered.

    """
    pattern = None if unsolicited is None else re.compile(unsolicited.encode())

    def is_unsolicited(self: Simple, line: bytes) -> bool:
        return pattern is not None and pattern.match(line) is not None

    return type(
        name,
        (Simple,),
        {
            "__doc__": f"The conversation of {name}.",
            "answer": answer,
            "greeting": greeting,
            "eol": eol,
            "pipelines": pipelines,
            "is_unsolicited": is_unsolicited,
        },
    )


class MPD(Conversation):
    """The Music Player Daemon's protocol (0.23): pairs of lines up to OK or ACK; a command list is one."""

    greeting: ClassVar[Kind | None] = until(r"^(OK) MPD|^(ACK)", ok="^OK")
    eol: bytes = b"\n"
    _ANSWER: ClassVar[Kind] = until(r"^(OK|ACK)(?: |$)", ok="^OK")

    def __init__(self) -> None:
        super().__init__()
        self._in_list = False

    def kind(self, line: bytes) -> Kind | None:
        """A list is answered at its end; noidle ends the answer to idle and has none of its own."""
        command = first_word(line)
        if command in (b"COMMAND_LIST_BEGIN", b"COMMAND_LIST_OK_BEGIN"):
            self._in_list = True
            self.mode = "in a command list"
            return None
        if command == b"COMMAND_LIST_END":
            self._in_list = False
            self.mode = ""
        if self._in_list or command == b"NOIDLE" or not line.strip():
            return None
        return self._ANSWER

    @property
    def may_beat(self) -> bool:
        """Not in idle, which another command ends together with the connection."""
        return super().may_beat


class NUT(Conversation):
    """Network UPS Tools' upsd (RFC 9271): one line, or a list between BEGIN and END."""

    eol: bytes = b"\n"
    _LINE: ClassVar[Kind] = until(r"^(OK|ERR)?", ok=r"^(?!ERR)")
    _LIST: ClassVar[Kind] = until(r"^(END) LIST |^(ERR) ", ok="^END")

    def kind(self, line: bytes) -> Kind | None:
        """LIST alone has many lines."""
        return self._LIST if first_word(line) == b"LIST" else self._LINE


class Tor(Conversation):
    """Tor's control protocol (control-spec): numbers, ``250+key=`` with a dotted body, and 650 for events."""

    _ANSWER: ClassVar[Kind] = status("2", more=b"-+")

    def kind(self, line: bytes) -> Kind | None:
        """Each command is answered."""
        return self._ANSWER

    def is_unsolicited(self, line: bytes) -> bool:
        """Events are numbered 650."""
        return line.startswith(b"650")

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """A command that begins with ``+`` takes a dotted payload."""
        if payload is None:
            return Prepared(line, line + self.eol)
        line = line if line.startswith(b"+") else b"+" + line
        return Prepared(line, line + self.eol + stuffed(payload))


class BIRD(Conversation):
    """BIRD's control socket (2.0): four digits; ``-`` goes on, and so do lines that begin with a blank."""

    greeting: ClassVar[Kind | None] = status("0", digits=4)
    eol: bytes = b"\n"
    _ANSWER: ClassVar[Kind] = status("[01]", digits=4)

    def kind(self, line: bytes) -> Kind | None:
        """Help and quit are birdc's own, and not answered on the socket (measured)."""
        return None if first_word(line) in (b"HELP", b"QUIT", b"") else self._ANSWER

    def is_unsolicited(self, line: bytes) -> bool:
        """What is echoed begins with ``+``."""
        return line.startswith(b"+")


class _Tagged(Conversation):
    """Lines of JSON, whose answers bear the id of their question; without one they come in order."""

    key: ClassVar[str]
    number: ClassVar[bool] = False  # whether ids are numbers only
    pipelines: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def kind(self, line: bytes) -> Kind | None:
        """Not asked for: `ask` knows the id."""
        raise NotImplementedError

    def ask(self, line: bytes) -> Question | None:
        """Return the question of a line that is an object."""
        found = _object(line)
        return None if found is None else Question(line, json_object()(), self._tag(found))

    def _tag(self, found: dict[str, Any]) -> bytes:
        return json.dumps(found[self.key]).encode() if self.key in found else b""

    def received(self, line: bytes) -> Event | None:
        """Find the owner by its id."""
        found = _object(beginning(line) or b"")
        if found is None:
            return Unsolicited()
        verdict = self.verdict(found)
        if verdict is None:
            return Unsolicited()
        tag = self._tag(found)
        for question in self.pending:
            if question.tag == tag:
                self.pending.remove(question)
                return Done(question, verdict)
        return Unsolicited()

    def verdict(self, found: dict[str, Any]) -> Verdict | None:
        """Say how the answer that an object is ended; None: it answers nobody."""
        raise NotImplementedError

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Put an id in, where the user has put none."""
        if payload is not None:
            raise SettingsError("this protocol has no payloads: leave payload= out")
        found = _object(line)
        if found is None:
            raise SettingsError('a question is an object of JSON on one line, such as {"execute": "…"}')
        if self.key in found:
            if any(question.tag == self._tag(found) for question in self.pending):
                raise SettingsError(f"the {self.key} is still in use: choose another, or leave it out")
            return Prepared(line, line + self.eol)
        self._last += 1
        name = self._last if self.number else f"r{self._last}"
        line = json.dumps({**found, self.key: name}, ensure_ascii=False).encode()
        return Prepared(line, line + self.eol)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


class QMP(_Tagged):
    """QEMU's machine protocol: a greeting, then return or error with the command's id; events between."""

    greeting: ClassVar[Kind | None] = json_object()
    key: ClassVar[str] = "id"

    def verdict(self, found: dict[str, Any]) -> Verdict | None:
        """Events answer nobody."""
        if "return" in found or "QMP" in found:
            return Verdict(True)
        error = found.get("error")
        if error is None:
            return None
        name = error.get("class") if isinstance(error, dict) else None
        return Verdict(False, name if isinstance(name, str) else None)


class MPVIpc(_Tagged):
    """mpv's JSON IPC: answers bear the request_id; what is no JSON is a command without an answer."""

    key: ClassVar[str] = "request_id"
    number: ClassVar[bool] = True
    eol: bytes = b"\n"

    def verdict(self, found: dict[str, Any]) -> Verdict | None:
        """Events answer nobody."""
        error = found.get("error")
        if "event" in found or not isinstance(error, str):
            return None
        return Verdict(error == "success", error)

    def _tag(self, found: dict[str, Any]) -> bytes:
        return json.dumps(found.get(self.key, 0)).encode()  # without one it is 0 (measured)
