"""What is known of a peer's health, and what is to be done about it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..settings import KeepAlive

__all__ = ["UNKNOWN", "Health", "Look", "Verdict"]


class Verdict(StrEnum):
    """What can be said of a peer."""

    ALIVE = "alive"
    SILENT = "silent"
    """Nothing was heard for a while, and nothing follows from that yet."""
    STALLED = "stalled"
    """It lives and does not read: its window is closed."""
    DYING = "dying"
    """An answer is overdue."""
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a connection's peer at one moment.

    Attributes:
        verdict: alive, silent, stalled (alive but not reading), dying or dead.
        dead_in: seconds until it counts as dead, while dying.
        rtt: smoothed round-trip time, seconds; None: not known.
        last_data: seconds since data came; None: not known.
        last_ack: seconds since an acknowledgement came; None: not known.
        probes: unanswered probes.
        probes_of: how many of them are too many.
        unacknowledged: bytes that were sent and not acknowledged.
        retransmits: times that the oldest of these were sent again.
    """

    verdict: Verdict = Verdict.ALIVE
    dead_in: float | None = None
    rtt: float | None = None
    last_data: float | None = None
    last_ack: float | None = None
    probes: int = 0
    probes_of: int = 0
    unacknowledged: int = 0
    retransmits: int = 0


UNKNOWN = Health(verdict=Verdict.DEAD)
"""The health where there is no connection."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a connection came to, and what is to be done.

    Attributes:
        health: for the user.
        next_look: when to look again, on the clock of `now`, in seconds; None: no need.
        keepalive: what is to be in force on the socket.
        user_timeout: what TCP_USER_TIMEOUT is to be, ms; 0: the system's own rule.
        reason: why the peer is dead, to follow its name: "has not answered for 14.0 s (3 probes)"; else "".
    """

    health: Health
    next_look: float | None
    keepalive: KeepAlive
    user_timeout: int
    reason: str = ""

    @property
    def dead(self) -> bool:
        """Whether the connection is to be given up."""
        return self.health.verdict is Verdict.DEAD
