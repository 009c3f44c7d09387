"""How much a connection has received, and when something last came and left; decides nothing."""

from __future__ import annotations

__all__ = ["Traffic"]


class Traffic:
    """The counts of one client's connections, which several of their parts look at. Times are monotonic (s).

    received: bytes, over all connections. received_at: when the last of them came, or when the connection
    came up; None: nothing has come yet. sent_at: when the last line left; None: none has yet.
    """

    __slots__ = ("received", "received_at", "sent_at")

    def __init__(self) -> None:
        self.received = 0
        self.received_at: float | None = None
        self.sent_at: float | None = None
