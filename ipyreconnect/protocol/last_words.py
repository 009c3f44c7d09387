"""Say why a peer ended a connection, from what it said last and from how often that went the same way; reads
no clock, and decides nothing but whether an end was announced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import Ending
from ..lines.line import Line
from ..lines.text import decode, in_one_line
from ..lines.transcript import Transcript

__all__ = ["Ends", "farewell_answered", "goodbye_in"]

LINES_LOOKED_AT: Final = 10
"""Of a connection's last lines: a goodbye is followed by few."""
MAY_FOLLOW: Final = 4
"""Received lines that may stand behind a goodbye that is one for sure: the answer to LOGOUT, statistics."""
QUOTED: Final = 160
"""Characters of the last words that a reason repeats: it stays a line that can be read."""
JUST_BEFORE: Final = 2.0
"""Seconds before the end within which a line of an unknown protocol counts as said about it."""
ALIKE: Final = 3
"""Ends in a row after the same silence that make a rule of it."""
NO_SILENCE: Final = 0.5
"""Seconds; less is no idle time, but a server that closes as soon as it is called."""
TOLERANCE: Final = 0.15
TOLERANCE_SHARE: Final = 0.05
"""Seconds, and the share of it, by which equal silences differ: the network's and the server's own."""
NOBODY_BEHIND: Final = 150.0
"""Seconds that a proxy may look for its server before it closes what it has accepted: HAProxy 3 to 20,
stunnel 10, one without a time-out of its own as long as Linux tries to connect, 127 (tcp(7),
tcp_syn_retries). A connection that lasted longer was one, though nothing was received."""
SMALL: Final = 64
"""Bytes in all that were received, among which a TLS alert is looked for."""

# That ends the connection, whatever follows: IMAP and ManageSieve, IRC, the codes of SMTP and FTP, of NNTP.
_SURELY: Final = re.compile(rb"(?:\* )?BYE\b|ERROR\b|(?:421|221|205|400)[ -]", re.IGNORECASE)

# Of a protocol that is not known: a code of refusal or of the end, or words that servers use for it.
_PLAINLY: Final = re.compile(
    rb"(?:(?:\* )?BYE\b|-?ERR(?:OR)?\b|-[A-Z]{3,} |(?:221|[45][0-9][0-9])[ -])"
    rb"|.*\b(?:time[d ]*-?out|inactiv\w*|idle|clos(?:ed|ing)|shut(?:ting)? ?down|too many|good-?bye|refus\w+"
    rb"|denied|not (?:allowed|permitted|authori[sz]ed)|in use|busy|unavailable|banned|throttled|fail\w*)\b",
    re.IGNORECASE | re.DOTALL,
)

# With which a client ends a session in these protocols; IMAP's has a tag in front.
_FAREWELL: Final = re.compile(rb"(?:QUIT|LOGOUT|EXIT|BYE)\b|\S+ LOGOUT\s*\Z", re.IGNORECASE)

# A TLS record that holds an alert: its version, 2 bytes of it, how bad it is, which (RFC 8446, 5.1 and 6).
_TLS_ALERT: Final = re.compile(rb"\x15\x03[\x00-\x04]\x00\x02[\x01\x02].", re.DOTALL)

_TRY_TLS: Final = "try --tls (in Python tls=True)"


def goodbye_in(lines: Sequence[Line], goodbye: re.Pattern[bytes] | None, now: float) -> Line | None:
    """Return the line with which the peer announced the end, if it did.

    Args:
        lines: the connection's last ones, sent ones too, in order
        goodbye: what such a line begins with in this protocol; None: none is known
        now: Unix time (s) of the end

    """
    received = [line for line in lines if line.direction == "<" and line.data.strip()][-1 - MAY_FOLLOW :]
    for line in reversed(received):
        last = line is received[-1]
        if goodbye is None:
            return line if now - line.time <= JUST_BEFORE and _PLAINLY.match(line.data) else None
        if goodbye.match(line.data) and (last or _SURELY.match(line.data)):
            return line
    return None


def farewell_answered(lines: Sequence[Line]) -> bool:
    """Say whether the last line sent was the protocol's own goodbye, such as QUIT, and was answered."""
    answered = False
    for line in reversed(lines):
        if line.direction == ">":
            return answered and _FAREWELL.match(line.data) is not None
        answered = answered or (line.direction == "<" and not line.truncated)
    return False


@dataclass(frozen=True, slots=True)
class _Silence:
    """How long (s) nothing came and went before an end, and for how long nothing had been sent."""

    both: float
    ours: float
    mute: bool  # nothing was received at all


class Ends:
    """How one client's connections ended, and what that says. With the lock held; times are seconds.

    Args:
        goodbye: as `Profile.goodbye`
        plain: whether TLS is not spoken on it, and could be
        encoding: of the lines; None: UTF-8, else ISO-8859-1

    """

    __slots__ = (
        "_began",
        "_encoding",
        "_first",
        "_goodbye",
        "_plain",
        "_received",
        "_silences",
        "where",
    )

    def __init__(
        self, where: str, goodbye: re.Pattern[bytes] | None, *, plain: bool, encoding: str | None
    ) -> None:
        self.where = where
        self._goodbye = goodbye
        self._plain = plain
        self._encoding = encoding
        self._silences: list[_Silence] = []  # the last few; a deque takes 760 bytes of each idle connection
        self._first = 0  # number of the connection's first line
        self._received = 0  # bytes that were received before it
        self._began = 0.0

    def began(self, number: int, received: int, now: float) -> None:
        """A connection begins: its first line gets `number`, and so many bytes were received before it."""
        self._first, self._received, self._began = number, received, now

    def was_mute(self, ending: Ending, received: int, now: float) -> bool:
        """Say whether a connection that ends was none: a proxy accepted it, and found nobody behind itself.

        Nothing was received then. In a protocol that nobody knows the server may have had nothing to say; but
        it would have ended it in good order.

        Args:
            ending: how it ends
            received: bytes received up to now
            now: monotonic

        """
        if not ending.by_peer or received != self._received or now - self._began > NOBODY_BEHIND:
            return False
        return self._goodbye is not None or ending is not Ending.CLOSED

    def reason(
        self,
        reason: str,
        ending: Ending,
        transcript: Transcript,
        unfinished: bytes,
        received: int,
        silent_since: tuple[float | None, float | None],
        now: float,
        wall: float,
        *,
        quotes: bool = True,
    ) -> str:
        """Return the reason of an end, with what the peer said last, or what else is known of it.

        Args:
            reason: what is known so far
            ending: how it ended
            transcript: where the lines are; what it hides is shown as ••••
            unfinished: what was received without a line end
            received: bytes received up to now
            silent_since: when something was last received, and last sent (monotonic); None: never
            now: monotonic
            wall: the same as Unix time
            quotes: whether to repeat the last words; False where somebody else does

        """
        if not ending.by_peer:
            return reason
        silence = self._silence(received, silent_since, now)
        self._silences = [*self._silences[1 - ALIKE :], silence]
        lines = transcript[max(self._first, transcript.end - LINES_LOOKED_AT) : transcript.end]
        if ending is Ending.CUT and not unfinished and self._was_announced(lines, wall):
            reason = f"closed by {self.where}"
        if unfinished:
            rest = transcript.redacted(unfinished)
            came = wall if silent_since[0] is None else wall - (now - silent_since[0])
            lines.append(Line(rest, came, "<", transcript.end, True, self._encoding))
        if (words := goodbye_in(lines, self._goodbye, wall)) is not None:
            return f"{reason}; it said '{self._quoted(words)}'" if quotes else reason
        return f"{reason}{self._tls_advice(ending, lines, received, silent_since) or self._repeated()}"

    def _was_announced(self, lines: list[Line], wall: float) -> bool:
        if farewell_answered(lines):
            return True
        words = goodbye_in(lines, self._goodbye, wall)
        return words is not None and (self._goodbye is not None or _SURELY.match(words.data) is not None)

    def _quoted(self, line: Line) -> str:
        text = in_one_line(decode(line.data.strip(), self._encoding))
        return text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"

    def _tls_advice(
        self,
        ending: Ending,
        lines: list[Line],
        received: int,
        silent_since: tuple[float | None, float | None],
    ) -> str:
        """Return the advice for plain text that went to a port where TLS is spoken from the first byte."""
        if not self._plain:
            return ""
        if received == self._received:
            sent = silent_since[1]
            if ending is Ending.RESET and sent is not None and sent >= self._began:
                return f" without a byte; perhaps it speaks TLS from the first one: {_TRY_TLS}"
        elif received - self._received <= SMALL and any(
            line.direction == "<" and _TLS_ALERT.match(line.data + b"\n") for line in lines
        ):
            return f"; it answered with a TLS alert, so it speaks TLS: {_TRY_TLS}"
        return ""

    def _silence(
        self, received: int, silent_since: tuple[float | None, float | None], now: float
    ) -> _Silence:
        heard, sent = (self._began if at is None else max(at, self._began) for at in silent_since)
        return _Silence(now - max(heard, sent), now - sent, received == self._received)

    def _repeated(self) -> str:
        """Return what it says that the connections end after the same silence each time."""
        silences = self._silences
        if len(silences) < ALIKE:
            return ""
        last = silences[-1]
        if _alike([silence.both for silence in silences]):
            if all(silence.mute for silence in silences):
                return (
                    f"; each time after {last.both:.1f} s without a byte: its idle time-out, or a proxy "
                    "with nobody behind it"
                )
            what, seconds = "silence", last.both
        elif _alike([silence.ours for silence in silences]):
            what, seconds = "nothing from here", last.ours
        else:
            return ""
        return (
            f"; each time after {seconds:.1f} s of {what}: that is its idle time-out, it seems; a heartbeat "
            "more often than that keeps the connection (--heartbeat LINE --heartbeat-every S; in Python "
            "heartbeat=Heartbeat(…))"
        )


def _alike(seconds: list[float]) -> bool:
    least, most = min(seconds), max(seconds)
    return least >= NO_SILENCE and most - least <= max(TOLERANCE, TOLERANCE_SHARE * most)
