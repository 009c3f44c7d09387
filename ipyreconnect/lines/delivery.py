"""What became of each line that was sent, and the ledger that moves it along; touches no socket.

The ledger counts the bytes of the outgoing stream (the ciphertext where there is TLS): a line is *sent* when
its last byte was handed to the kernel and *acknowledged* when the peer's TCP has acknowledged it: its end
offset is at most `bytes_acked - 1` of Linux's TCP_INFO, which counts the SYN. Acknowledged means that the
peer's kernel has it, not that its program has read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Delivery", "Ledger", "Waiting"]

QUEUED, SENT, ACKNOWLEDGED, UNCONFIRMED = "queued", "sent", "acknowledged", "unconfirmed"
STATUSES = (QUEUED, SENT, ACKNOWLEDGED, UNCONFIRMED)
FINAL = (ACKNOWLEDGED, UNCONFIRMED)
"""A status only ever moves along STATUSES, and not beyond one of these."""


class Waiting(Protocol):
    """Somebody who can wait for a delivery, and knows the encoding of its text: the client."""

    encoding: str | None

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        """Wait until the delivery has come as far as `status`; say whether it has."""
        ...


class Delivery:
    """The fate of one sent line.

    status: "queued" (not handed to the kernel yet), "sent", "acknowledged" (the peer's TCP has it) or
    "unconfirmed" (its connection ended, or it expired in the queue, before that). data: the bytes without the
    line end. number: of its line in the transcript, None while it waits offline. Reading is safe in any
    thread.
    """

    __slots__ = ("_waiting", "data", "number", "status")

    def __init__(self, data: bytes, waiting: Callable[[], Waiting | None] | None = None) -> None:
        self.data = data
        self.status = QUEUED
        self.number: int | None = None
        self._waiting = waiting  # a weak reference: a transcript that is kept keeps no client

    @property
    def by_hand(self) -> bool:
        """Whether the user's code sent the line, not a script, a reply rule or a heartbeat. Any thread."""
        return self._waiting is not None

    def wait(self, status: str = ACKNOWLEDGED, timeout: float = 10.0) -> bool:
        """Wait until the line has come as far as `status` ("sent" or "acknowledged"), at most `timeout`
        seconds.

        Returns whether it has: False after the time-out, and at once when its status is final and another
        one. Any thread but the I/O thread; can be interrupted. Raises ValueError for another status.
        """
        if status not in STATUSES:
            raise ValueError(f"a delivery is one of {', '.join(STATUSES)}, not {status!r}")
        waiting = None if self._waiting is None else self._waiting()
        if self.reached(status) or self.status in FINAL or waiting is None:
            return self.reached(status)
        return waiting.wait_for_delivery(self, status, timeout)

    def reached(self, status: str) -> bool:
        """Say whether the line has come as far as `status`; an "unconfirmed" line has come nowhere else. Any
        thread.
        """
        # Once: the status may move while this looks at it.
        now = self.status
        if now == UNCONFIRMED or status == UNCONFIRMED:
            return now == status
        return STATUSES.index(now) >= STATUSES.index(status)

    def __reduce__(self) -> tuple[object, ...]:
        # A copy, in another process as a rule, stays as it is: nobody tells it anything.
        state = {"status": self.status, "number": self.number}
        return Delivery, (self.data,), (None, state)

    def __repr__(self) -> str:
        from .text import decode  # which is of a higher floor: a line knows its delivery

        waiting = None if self._waiting is None else self._waiting()
        text = decode(self.data, None if waiting is None else waiting.encoding)
        return f"<Delivery {text!r} {self.status}>"


_NONE: Final[deque[tuple[int, int, Delivery]]] = deque()
"""Stands for the deques of a ledger without any entry: two of its own would take 1.5 KiB."""


class Ledger:
    """The deliveries of one connection, in the order of its stream; a new one for each connection.

    Used with the connection's turn only.
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
