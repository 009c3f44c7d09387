"""Name what can go wrong, the caller's faults and the peer's apart; decides nothing and raises nothing."""

from __future__ import annotations

from enum import Enum

__all__ = [
    "AttemptFailed",
    "CallerError",
    "ConnectionLost",
    "ExpectTimeout",
    "NotConnected",
    "OutboxFull",
    "Overrun",
    "PeerError",
    "ReconnectError",
    "Refused",
    "ScriptFailed",
    "SettingsError",
]


class ReconnectError(Exception):
    """Be the base of every error that ipyreconnect raises on purpose.

    ``str()`` of any of them is written for the user: what happened, to whom, and what comes next.
    """


class CallerError(ReconnectError):
    """Say that the caller asked for something that cannot be done, however the network behaves."""


class SettingsError(CallerError, ValueError):
    """Refuse a value before anything starts: an address, a keepalive, a CA file, a pattern, a line.

    ``str()`` is one line that says what is wrong and what to write instead.
    """


class NotConnected(CallerError, ConnectionError):
    """Refuse to send while there is no connection; the text names the state and when the next try is."""


class OutboxFull(CallerError):
    """Refuse a line because too many are waiting for a peer that does not read, or for a connection."""


class PeerError(ReconnectError):
    """Say that the peer, or the network on the way to it, did something else than was awaited."""


class Ending(Enum):
    """How a connection ended, for those who decide by it: no message is ever compared."""

    CLOSED = "the peer said that it sends no more"
    CUT = "the same, without the close_notify with which TLS ends"
    RESET = "the peer, or somebody on the way, reset it"
    OTHER = "the network, a time-out, a fault, or the user"

    @property
    def by_peer(self) -> bool:
        """Whether the peer ended it, rather than the network or this side."""
        return self is not Ending.OTHER


class ConnectionLost(PeerError, ConnectionError):
    """Say that the connection went away while something was awaited on it; the text is the reason.

    ``ending`` says how it went, as far as that is known.
    """

    def __init__(self, reason: str = "", *, ending: Ending = Ending.OTHER) -> None:
        super().__init__(reason)
        self.ending = ending


class ExpectTimeout(PeerError, TimeoutError):
    """Say that no matching line came in time; the text names what was awaited and shows the last lines."""


class Refused(PeerError):
    """Say that the server refused what was asked; the text is what it said.

    Attributes:
        answer: The whole `Answer`; None for an error that stands within a larger value.
    """

    def __init__(self, text: str = "", answer: object = None) -> None:
        super().__init__(text)
        self.answer = answer


class ScriptFailed(PeerError):
    """Say that the on-connect script did not get the answers that it waits for."""


class AttemptFailed(PeerError):
    """Say why one attempt at connecting failed, and whether another could succeed.

    ``reason`` is the user's text, such as ``refused by 127.0.0.1:993``. ``final`` is true where trying again
    cannot mend it, such as a certificate that does not verify on the very first connection.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason, final)  # both in `args`, so that a pickled copy is whole
        self.reason = reason
        self.final = final

    def __str__(self) -> str:
        return self.reason


class Overrun(ReconnectError):
    """Say that a reader fell so far behind that the transcript has forgotten what it would read next.

    ``lost`` is how many lines it will never get. A `follow()` counts exactly those that the peer has sent,
    and goes on with the oldest that is kept.
    """

    def __init__(self, text: str, lost: int = 0) -> None:
        super().__init__(text, lost)  # both in `args`, so that a pickled copy is whole
        self.lost = lost

    def __str__(self) -> str:
        return str(self.args[0])
