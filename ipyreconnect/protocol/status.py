"""What users see of a client's state: its status, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import KeepAlive
from .health import Health, Verdict
from .state import Phase, State
from .tls import TLSInfo

__all__ = ["Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """All that is known about a connection's state at one moment; swapped as a whole, so it is never half
    old.

    Attributes:
        state, phase: see `State` and `Phase`.
        reason: of the last failure or loss ("" when there was none).
        loss: of the last loss of a connection; failed tries may have followed.
        attempt: tries begun since the last connection that was stable (`Retry.stable`).
        retry_at: when the next one is (Unix epoch, s).
        connected_since: Unix epoch, s.
        keepalive: in force, as the kernel gave it back.
        tls: what the handshake agreed upon, None for plain text.
        peer, local: "address:port".
        connection: how many there have been.
        health: as it was when its verdict last changed, None while nothing is known of the peer.
        stopped_at: when the user stopped it (Unix epoch, s), None while it runs or where it gave up by
            itself.
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
