"""Conversations of news and files: NNTP and FTP's control connection. Pure."""

from __future__ import annotations

from typing import ClassVar

from ..errors import SettingsError
from .conversation import Conversation, Kind, Prepared, Question, Verdict
from .kinds import status, stuffed
from .mail import first_word

__all__ = ["FTP", "NNTP"]

_BODIES = ("100", "101", "215", "220", "221", "222", "224", "225", "230", "231", "282")
"""Numbers that a dot-stuffed body follows (RFC 3977, and LIST COUNTS, XHDR and XOVER of RFC 2980)."""


class NNTP(Conversation):
    """RFC 3977: answers by number, of which some have a body; POST and IHAVE take an article."""

    greeting: ClassVar[Kind | None] = status("2")
    _ANSWER: ClassVar[Kind] = status("[123]", asks="3(?:35|40)", bodies=_BODIES)
    _GROUP: ClassVar[Kind] = status("[123]", bodies=("211",))

    def __init__(self) -> None:
        super().__init__()
        self._in_article = False

    def kind(self, line: bytes) -> Kind | None:
        """211 has a body for LISTGROUP only."""
        if self._in_article:
            if line != b".":
                return None
            self._in_article = False
            self.mode = ""
        return self._GROUP if first_word(line) == b"LISTGROUP" else self._ANSWER

    def ready(self, question: Question) -> Verdict | None:
        """The article is typed by hand."""
        self._in_article = True
        self.mode = "in an article"
        return Verdict(True, "340" if first_word(question.line) == b"POST" else "335")

    def prepare(self, line: bytes, payload: bytes | None) -> Prepared:
        """POST and IHAVE take an article."""
        if payload is None:
            return Prepared(line, line + self.eol)
        if first_word(line) not in (b"POST", b"IHAVE", b"TAKETHIS"):
            raise SettingsError("only POST, IHAVE and TAKETHIS take a payload")
        if first_word(line) == b"TAKETHIS":  # without leave (RFC 4644, 2.5)
            return Prepared(line, line + self.eol + stuffed(payload))
        return Prepared(line, line + self.eol, stuffed(payload))


class FTP(Conversation):
    """RFC 959, 4.2: the last line has the first one's number; a preliminary answer is followed by another."""

    greeting: ClassVar[Kind | None] = status("2", preliminary="1", strict=True)
    _ANSWER: ClassVar[Kind] = status("[23]", preliminary="1", strict=True)

    def kind(self, line: bytes) -> Kind | None:
        """Each command is answered."""
        return self._ANSWER
