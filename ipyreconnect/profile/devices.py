"""Conversations of instruments and devices: SCPI, gpsd, rigctld, lircd, LCDd. Pure."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ..errors import SettingsError
from .conversation import Conversation, Kind, Prepared, Verdict
from .kinds import one_line, until
from .mail import first_word

__all__ = ["LIRC", "SCPI", "GPSd", "LCDproc", "Rigctl"]


class SCPI(Conversation):
    """IEEE 488.2 and SCPI-99: a message that ends in a query is answered by one line, any other by none."""

    eol: bytes = b"\n"
    _LINE: ClassVar[Kind] = one_line()

    def kind(self, line: bytes) -> Kind | None:
        """A query's header ends in ``?``; text in quotes is none."""
        bare = re.sub(rb"\"[^\"]*\"|'[^']*'", b"", line)
        return self._LINE if b"?" in bare else None


class GPSd(Conversation):
    """gpsd's JSON (gpsd_json(5)): the answer to ``?WATCH`` is an object of class WATCH, and so on."""

    eol: bytes = b"\n"

    def kind(self, line: bytes) -> Kind | None:
        """Each request is answered by an object of its class, or by ERROR."""
        found = re.match(rb"\?([A-Z]+)", line)
        if found is None:
            return None
        return until(
            re.compile(rb'"class" *: *"(' + found[1] + rb'|ERROR)"'), ok=r'"class" *: *"(?!ERROR)[A-Z]+"'
        )

    def is_unsolicited(self, line: bytes) -> bool:
        """Reports come by themselves; DEVICES stands before WATCH and belongs to it."""
        if not self.pending:
            return True
        found = re.search(rb'"class" *: *"([A-Z]+)"', line)
        name = b"" if found is None else found[1]
        asked = self.pending[0].line[1:].split(b";")[0].split(b"=")[0]
        return name not in (asked, b"ERROR") and not (asked == b"WATCH" and name == b"DEVICES")


class Rigctl(Conversation):
    """Hamlib's rigctld(1): with ``+`` in front each answer ends with RPRT and a number."""

    eol: bytes = b"\n"
    _ANSWER: ClassVar[Kind] = until(r"^RPRT (-?[0-9]+)", ok="^RPRT 0$")
    _SET: ClassVar[re.Pattern[bytes]] = re.compile(rb"\\set_|[A-Z](?: |\Z)")

    def kind(self, line: bytes) -> Kind | None:
        """Without ``+`` only what sets something ends with RPRT."""
        return self._ANSWER if line.startswith((b"+", b";", b"|", b",")) or self._SET.match(line) else None

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """Ask for the form with an end."""
        if payload is not None:
            raise SettingsError("rigctld has no payloads: leave payload= out")
        line = line if line.startswith(b"+") else b"+" + line
        return Prepared(line, line + self.eol)


class LIRC(Conversation):
    """lircd(8): each answer stands between BEGIN and END; key presses come by themselves, also before it."""

    tracks: ClassVar[bool] = True
    eol: bytes = b"\n"

    def __init__(self) -> None:
        super().__init__()
        self._in_answer = False
        self._is_ours = False

    def kind(self, line: bytes) -> Kind | None:
        """Each command is answered."""
        return Kind(_Block) if line.strip() else None

    def is_unsolicited(self, line: bytes) -> bool:
        """What stands between BEGIN and END answers, but for SIGHUP."""
        if self._in_answer:
            self._in_answer = line != b"END"
            return not self._is_ours
        if line == b"BEGIN":
            self._in_answer = True
            self._is_ours = bool(self.pending)
            return not self._is_ours
        return True


class _Block:
    def __init__(self) -> None:
        self._verdict = Verdict(None)

    def feed(self, line: bytes) -> Verdict | None:
        if line in (b"SUCCESS", b"ERROR"):
            self._verdict = Verdict(line == b"SUCCESS", line.decode())
        return self._verdict if line == b"END" else None

    def data(self, lines: Any) -> bytes | None:
        return None

    def value(self, lines: Any) -> Any:
        return None


class LCDproc(Conversation):
    """LCDd's protocol: one line, among listen, ignore, key and menuevent."""

    eol: bytes = b"\n"
    _ANSWER: ClassVar[Kind] = until(r"^(success|huh\?|connect|noop complete)", ok=r"^(?!huh)")

    def kind(self, line: bytes) -> Kind | None:
        """Each command but bye is answered."""
        return None if first_word(line) in (b"BYE", b"") else self._ANSWER

    def is_unsolicited(self, line: bytes) -> bool:
        """What the display and its keys tell."""
        return line.startswith((b"listen ", b"ignore ", b"key ", b"menuevent "))
