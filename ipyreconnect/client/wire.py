"""Encodes what a client sends, hides its secrets and compiles its patterns; sends nothing itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from ..errors import SettingsError
from ..lines.search import Pattern, compile_pattern
from ..lines.text import HAS_BREAK, encode_line, has_break, has_own_end, in_one_line, without_end
from ..lines.transcript import Transcript
from ..secret import Secret
from ..settings import Heartbeat
from .hiding import forms_of

__all__ = ["Payload", "Wire"]

Payload = str | bytes | Secret
"""What can be sent: one line of text, bytes as they are, or one line that is secret as a whole."""


class Wire:
    """The encoding, line end and secrets of one client. Safe to use from any thread.

    Attributes:
        where: How messages name the server.
        encoding: Encoding of text that is sent and read; None means UTF-8, and ISO-8859-1 where that fails.
        eol: The bytes that are appended to a line of text.
    """

    __slots__ = ("_transcript", "encoding", "eol", "where")

    def __init__(self, where: str, encoding: str | None, eol: bytes, transcript: Transcript) -> None:
        self.where = where
        self.encoding = encoding
        self.eol = eol
        self._transcript = transcript

    def encode(self, data: Payload, secrets: Iterable[Secret] = ()) -> tuple[bytes, bytes]:
        """Encode one line.

        Args:
            data: The line.
            secrets: Parts of `data` to hide from now on.

        Returns:
            The bytes to send, and the line without its end as the log shows it, secrets hidden.

        Raises:
            SettingsError: It is not one line, the encoding does not know it, or it has no bytes at all.
        """
        if secrets:
            self.hide(secrets)
        if isinstance(data, str):
            line = encode_line(data, self.encoding, self._transcript.redacted_text, self.eol)
            wire = line + self.eol
        elif isinstance(data, bytes):
            wire, line = data, without_end(data)
        else:
            line = self._revealed(data)
            wire = line + self.eol
        if not wire:
            raise SettingsError("there is not one byte to send: give a line; an empty one needs an eol")
        return wire, self._transcript.redacted(line)

    def _revealed(self, secret: Secret) -> bytes:
        """Return a line that is secret as a whole, and hide it from now on."""
        if not isinstance(secret, Secret):
            raise SettingsError(
                f"send takes text (one line) or bytes (as they are), not {type(secret).__name__}"
            )
        self.hide((secret,))
        line = secret.reveal()
        if has_break(line, self.eol):
            raise SettingsError(HAS_BREAK if has_break(line) else has_own_end(self.eol))
        return line

    def hide(self, secrets: Iterable[Secret]) -> None:
        """Show these secrets as •••• from now on, in everything that is sent or received."""
        self.hide_forms(forms_of(secrets, self.encoding))

    def hide_forms(self, forms: Iterable[bytes]) -> None:
        """Show these bytes as •••• from now on; see `hiding.forms_of`."""
        for form in forms:
            self._transcript.hide(form)

    def redacted_text(self, text: str) -> str:
        """Return `text` with every hidden part shown as ••••."""
        return self._transcript.redacted_text(text)

    def redacted_heartbeat(self, heartbeat: Heartbeat | None) -> Heartbeat | None:
        """Return a copy of a heartbeat that is safe to show: hidden parts are ••••."""
        if heartbeat is None:
            return None
        answered = heartbeat.answered
        if not isinstance(answered, bool):
            source = answered.pattern if isinstance(answered, re.Pattern) else answered
            shown = self._redacted(source)
            if shown != source:
                # A masked regular expression need not be a valid one any more.
                answered = re.escape(cast("str", shown))  # or bytes, which it leaves bytes
        return replace(heartbeat, line=self._redacted(heartbeat.line), answered=answered)

    def _redacted(self, data: str | bytes) -> str | bytes:
        hiding = self._transcript
        return hiding.redacted_text(data) if isinstance(data, str) else hiding.redacted(data)

    def describe_error(self, error: BaseException) -> str:
        """Describe an error of the user's code in one line; secrets are hidden before it is shortened."""
        try:
            text = in_one_line(self._transcript.redacted_text(str(error)))
        except Exception:  # noqa: BLE001 - an error whose str() fails is still to be named
            text = ""
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    def compiled(self, pattern: Pattern) -> re.Pattern[Any]:
        """Compile a pattern.

        Raises:
            SettingsError: It is not a regular expression; the message shows no secret.
        """
        return compile_pattern(pattern, self._transcript.redacted_text)

    def no_match_message(self, pattern: re.Pattern[Any], timeout: float) -> str:
        """Return the error message for a pattern that no line matched within `timeout` seconds."""
        source = pattern.pattern
        awaited = source if isinstance(source, str) else source.decode("utf-8", "replace")
        return (
            f"no line from {self.where} matched {self._transcript.redacted_text(awaited)!r} "
            f"within {timeout:g} s"
        )
