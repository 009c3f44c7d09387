"""Speak the few lines that lead from plain text to TLS in four protocols; encrypts nothing itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Final

from ..errors import AttemptFailed
from ..profile.base import Dialect

__all__ = ["StartTLS"]

MAX_LINES: Final = 1000
"""Lines of the server after which a dialogue is given up: real ones take fewer than fifty."""

MAX_LINE: Final = 8192
"""Bytes of a line that are looked at: RFC 9051 and RFC 5321 want lines far shorter than that."""

# Characters of a server's line that a message quotes.
_SHOWN: Final = 120

# Sent where SMTP wants the client's name: an address literal (RFC 5321, 4.1.4) is always well-formed, and
# this one tells nothing. The user says EHLO anew after TLS, as RFC 3207, 4.2, demands.
_CLIENT: Final = b"[127.0.0.1]"

# A dialogue yields what to send, b"" for nothing, and is given the server's next line. It returns on consent.
_Dialogue = Generator[bytes, bytes, None]

_CAPABILITY: Final = re.compile(rb"\* (?:CAPABILITY|OK \[CAPABILITY) ([^\]]*)", re.IGNORECASE)
_SMTP_REPLY: Final = re.compile(rb"([2-5][0-9][0-9])(?:([- ])(.*))?", re.DOTALL)


class StartTLS:
    """Ask a server for TLS: give it each line that was received, send what it returns, until it is `done`.

    The server speaks first in all four protocols. Nothing but the first lines of the protocol is ever sent in
    plain text, and no consent but the server's own ends the dialogue.

    Args:
        dialect: "imap" (RFC 9051, 6.2.1), "smtp" (RFC 3207), "pop3" (RFC 2595, 4) or "nntp" (RFC 4642)
        where: what messages call the server

    """

    def __init__(self, dialect: Dialect, where: str = "the server") -> None:
        dialogues: dict[Dialect, Callable[[], _Dialogue]] = {
            "imap": self._imap,
            "smtp": self._smtp,
            "pop3": self._pop3,
            "nntp": self._nntp,
        }
        self.where = where
        self.dialect = dialect
        self.done = False
        """Whether the server has consented: the very next byte, both ways, is TLS."""
        self._lines = 0
        self._error: AttemptFailed | None = None
        self._dialogue = dialogues[dialect]()
        next(self._dialogue)  # up to where it waits for the greeting

    def receive_line(self, line: bytes) -> list[bytes]:
        """Take the server's next line, without its line end; return lines to send, with theirs.

        Raises:
            AttemptFailed: never final: the server does not offer TLS or refuses it, with what it said; it
                speaks another protocol; or it goes on in plain text after its consent

        """
        if self._error is not None:
            raise self._error
        try:
            if self.done:
                self.check_nothing_follows(line or b"\n")
            self._lines += 1
            if self._lines > MAX_LINES:
                raise self._failed(f"{self.where} sent {MAX_LINES} lines and no answer to STARTTLS")
            answer = self._dialogue.send(line[:MAX_LINE])
        except StopIteration:
            self.done = True
            return []
        except AttemptFailed as error:
            self._error = error
            raise
        return [answer] if answer else []

    def check_nothing_follows(self, received: bytes) -> None:
        """Check what was received between the consent and the beginning of TLS: it has to be nothing.

        Else somebody on the way may have put commands or answers there that would seem to have come encrypted
        (CVE-2011-0411, CVE-2021-38084).

        Raises:
            AttemptFailed: there is something

        """
        if received:
            raise self._failed(
                f"{self.where} sent {len(received)} bytes in plain text after agreeing to STARTTLS; "
                "somebody on the way may have injected them"
            )

    # -- the four dialogues

    def _imap(self) -> _Dialogue:
        line = yield b""
        greeting = re.match(rb"\* (OK|PREAUTH|BYE)(?: |\Z)", line, re.IGNORECASE)
        if not greeting:
            raise self._foreign(line)
        if greeting[1].upper() == b"BYE":
            raise self._refused("refuses the connection", line)
        if greeting[1].upper() == b"PREAUTH":
            # RFC 9051, 7.1.4: no STARTTLS is possible then, and an attacker would like us to go on without.
            raise self._refused("logs us in before STARTTLS, which rules it out", line)
        offered = _imap_capabilities(line)
        if not offered:
            line = yield b"s1 CAPABILITY\r\n"
            while not line.startswith(b"s1 "):
                offered = _imap_capabilities(line) or offered
                line = yield b""
            if not _imap_agrees(line):
                raise self._refused("does not say what it offers", line)
        self._check(offered)
        line = yield b"s2 STARTTLS\r\n"
        while not line.startswith(b"s2 "):
            line = yield b""
        if not _imap_agrees(line):
            raise self._refused("refuses STARTTLS", line)

    def _smtp(self) -> _Dialogue:
        code, texts = yield from self._smtp_reply(b"")
        if code != b"220":
            raise self._refused("refuses the connection", texts[-1])
        code, texts = yield from self._smtp_reply(b"EHLO " + _CLIENT + b"\r\n")
        if code != b"250":
            raise self._refused("refuses EHLO, without which there is no STARTTLS", texts[-1])
        self._check([text[4:] for text in texts[1:]])
        code, texts = yield from self._smtp_reply(b"STARTTLS\r\n")
        if code != b"220":
            raise self._refused("refuses STARTTLS", texts[-1])

    def _smtp_reply(self, command: bytes) -> Generator[bytes, bytes, tuple[bytes, list[bytes]]]:
        """Send the command; return the code and the lines of its answer (RFC 5321, section 4.2.1)."""
        lines: list[bytes] = []
        while True:
            line = yield b"" if lines else command
            reply = _SMTP_REPLY.fullmatch(line)
            if not reply or (lines and line[:3] != lines[0][:3]):
                raise self._foreign(line)
            lines.append(line)
            if reply[2] != b"-":
                return reply[1], lines

    def _pop3(self) -> _Dialogue:
        line = yield b""
        if line.startswith(b"-ERR"):
            raise self._refused("refuses the connection", line)
        if not line.startswith(b"+OK"):
            raise self._foreign(line)
        line = yield b"CAPA\r\n"
        if line.startswith(b"+OK"):
            self._check((yield from self._list()), "STLS")
        elif not line.startswith(b"-ERR"):
            raise self._foreign(line)
        # A server older than CAPA (RFC 2449) may still know STLS; its answer tells.
        line = yield b"STLS\r\n"
        if not line.startswith(b"+OK"):
            raise self._refused("refuses STLS", line)

    def _nntp(self) -> _Dialogue:
        line = yield b""
        if not re.match(rb"[245][0-9][0-9](?: |\Z)", line):
            raise self._foreign(line)
        if line[:3] not in (b"200", b"201"):
            raise self._refused("refuses the connection", line)
        line = yield b"CAPABILITIES\r\n"
        if line[:3] == b"101":
            self._check((yield from self._list()))
        elif line[:3] not in (b"500", b"502"):
            raise self._refused("does not say what it offers", line)
        # A server older than CAPABILITIES (RFC 3977) may still know STARTTLS; its answer tells.
        line = yield b"STARTTLS\r\n"
        if line[:3] != b"382":
            raise self._refused("refuses STARTTLS", line)

    def _list(self) -> Generator[bytes, bytes, list[bytes]]:
        """Return the lines up to the lone dot."""
        lines = []
        while (line := (yield b"")) != b".":
            lines.append(line)
        return lines

    # -- what went wrong

    def _check(self, offered: list[bytes], keyword: str = "STARTTLS") -> None:
        """Raise unless the keyword is the first word of one of the lines."""
        words = [line.split(None, 1)[0].upper() for line in offered if line.strip()]
        if keyword.encode() not in words:
            what = _shown(b" ".join(words)) if words else "nothing"
            raise self._failed(
                f"{self.where} does not offer {keyword} (it offers {what}); nothing but the question was sent"
            )

    def _refused(self, what: str, line: bytes) -> AttemptFailed:
        return self._failed(f"{self.where} {what}: it says {_shown(line)}")

    def _foreign(self, line: bytes) -> AttemptFailed:
        return self._failed(
            f"{self.where} does not speak {self.dialect.upper()} in plain text: it says {_shown(line)}"
        )

    @staticmethod
    def _failed(reason: str) -> AttemptFailed:
        return AttemptFailed(reason, final=False)


def _imap_capabilities(line: bytes) -> list[bytes]:
    """Return the capabilities that a greeting or an untagged response names; [] for none."""
    found = _CAPABILITY.match(line)
    return found[1].split() if found else []


def _imap_agrees(line: bytes) -> bool:
    """Tell whether a tagged line is an OK."""
    return re.match(rb"s[0-9] OK(?: |\Z)", line, re.IGNORECASE) is not None


def _shown(line: bytes) -> str:
    """Return a server's line as it can be shown in a message."""
    return repr(line[:_SHOWN].decode("utf-8", "backslashreplace"))
