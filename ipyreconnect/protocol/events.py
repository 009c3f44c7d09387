"""What the parts of a connection tell it, and what it tells the floors above: values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from ..lines.transcript import Runs
from ..settings import KeepAlive
from .state import Phase, State
from .tls import TLSInfo
from .watchdog import Health, Verdict

__all__ = ["Closed", "Filled", "Framed", "Lines", "PlainText", "Received", "Secured", "Status"]


# -- what the inbox yields. Not frozen: making a frozen one takes thrice as long, at each read.


@dataclass(slots=True)
class Filled:
    """So many bytes that were received stand in the transcript's room, and are to be committed."""

    size: int


@dataclass(slots=True)
class Framed:
    """Lines that a framer has made of what was received, for the transcript."""

    lines: list[bytes]


@dataclass(slots=True)
class Lines:
    """Received lines that the transcript has already."""

    runs: Runs


@dataclass(slots=True)
class PlainText:
    """Lines of the dialogue that leads to TLS, and the unfinished one behind them."""

    lines: list[bytes]
    rest: bytes


@dataclass(slots=True)
class Secured:
    """The TLS handshake is done."""

    info: TLSInfo


@dataclass(slots=True)
class Closed:
    """The peer has said in TLS that it sends no more."""


Received = Filled | Framed | Lines | PlainText | Secured | Closed


# -- what the users of a connection see


@dataclass(frozen=True, slots=True)
class Status:
    """All that is known about a connection's state at one moment; swapped as a whole, so it is never half
    old.

    state, phase: see `State` and `Phase`. reason: of the last failure or loss ("" when there was none). loss:
    of the last loss of a connection; failed tries may have followed.
    attempt: tries begun since the last connection that was stable (`Retry.stable`). retry_at: when the next
    one is (Unix epoch, s).
    connected_since: Unix epoch, s. keepalive: in force, as the kernel gave it back. tls: what the handshake
    agreed upon, None for plain text. peer, local: "address:port". connection: how many there have been.
    health: as it was when its verdict last changed, None while nothing is known of the peer.
    stopped_at: when the user stopped it (Unix epoch, s), None while it runs or where it gave up by itself.
    """

    state: State = State.STOPPED
    phase: Phase | None = None
    reason: str = ""
    loss: str = ""
    attempt: int = 0
    retry_at: float | None = None
    connected_since: float | None = None
    keepalive: KeepAlive | None = None
    tls: TLSInfo | None = None
    peer: str = ""
    local: str = ""
    connection: int = 0
    health: Health | None = None
    stopped_at: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was last thought of the peer; None while nothing is known of it."""
        return None if self.health is None else self.health.verdict
