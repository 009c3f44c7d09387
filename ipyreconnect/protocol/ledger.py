"""Which bytes of a connection belong to which sent line, and how far the kernel has come. Values only."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..lines.delivery import ACKNOWLEDGED, SENT, UNCONFIRMED, Delivery

__all__ = ["Ledger"]

_NONE: Final[deque[tuple[int, int, Delivery]]] = deque()
"""Stands for the deques of a ledger without any entry: two of its own would take 1.5 KiB."""


class Ledger:
    """The deliveries of one connection, in the order of its stream; a new one for each connection.

    Used only with the connection's lock held.
    """

    __slots__ = ("_unacknowledged", "sent", "size_unsent", "unsent")

    def __init__(self) -> None:
        self.unsent = _NONE  # end offset, size and delivery of what the kernel has not taken whole
        self._unacknowledged = _NONE
        self.sent = 0  # bytes of the stream that the kernel took
        self.size_unsent = 0  # bytes of the lines of which it has not taken the last byte yet

    def add(self, end: int, size: int, delivery: Delivery) -> None:
        """Enter a line of `size` bytes, however it is shown, whose last one stands before offset `end` of the
        outgoing stream.
        """
        if self.unsent is _NONE:
            self.unsent, self._unacknowledged = deque(), deque()
        self.unsent.append((end, size, delivery))
        self.size_unsent += size

    def hand_over(self, size: int) -> None:
        """Note that the kernel took `size` more bytes."""
        self.sent = sent = self.sent + size
        unsent = self.unsent
        while unsent and unsent[0][0] <= sent:
            entry = unsent.popleft()
            entry[2].status = SENT
            self.size_unsent -= entry[1]
            self._unacknowledged.append(entry)

    def acknowledge(self, offset: int) -> bool:
        """Note that the peer acknowledged the stream up to `offset`; return whether that moved a line."""
        waiting = self._unacknowledged
        moved = False
        while waiting and waiting[0][0] <= offset:
            waiting.popleft()[2].status = ACKNOWLEDGED
            moved = True
        return moved

    def forget_sent(self, keep: int) -> None:
        """Forget all but the last `keep` sent lines, as nobody can tell of them what was acknowledged."""
        while len(self._unacknowledged) > keep:
            self._unacknowledged.popleft()

    @property
    def lines_queued(self) -> int:
        """How many lines are not handed to the kernel yet."""
        return len(self.unsent)

    @property
    def awaiting(self) -> bool:
        """Whether a line that was sent is not acknowledged yet."""
        return bool(self._unacknowledged)

    @property
    def settled(self) -> bool:
        """Whether every line is acknowledged."""
        return not self._unacknowledged and not self.unsent

    def close(self) -> tuple[Delivery, ...]:
        """End the ledger with its connection: what is not acknowledged now is unconfirmed, and returned in
        order.
        """
        lost = tuple(delivery for _, _, delivery in (*self._unacknowledged, *self.unsent))
        for delivery in lost:
            delivery.status = UNCONFIRMED
        self._unacknowledged.clear()
        self.unsent.clear()
        self.size_unsent = 0
        return lost
