"""The delivery status of a line that was sent. Touches no socket: `protocol/ledger.py` moves it along.

The ledger counts the bytes of the outgoing stream (the ciphertext where there is TLS): a line is *sent* when
its last byte was handed to the kernel and *acknowledged* when the peer's TCP has acknowledged it: its end
offset is at most `bytes_acked - 1` of Linux's TCP_INFO, which counts the SYN. Acknowledged means that the
peer's kernel has it, not that its program has read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .text import decode

__all__ = ["Delivery", "Waiting"]

QUEUED, SENT, ACKNOWLEDGED, UNCONFIRMED = "queued", "sent", "acknowledged", "unconfirmed"
STATUSES = (QUEUED, SENT, ACKNOWLEDGED, UNCONFIRMED)
FINAL = (ACKNOWLEDGED, UNCONFIRMED)
"""A status only ever moves along STATUSES, and not beyond one of these."""


class Waiting(Protocol):
    """The client, as far as a delivery needs it: it waits for one, and knows the encoding of its text."""

    encoding: str | None

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        """Wait until the delivery has come as far as `status`; say whether it has."""
        ...


class Delivery:
    """How far one sent line has come. Reading is safe in any thread.

    Attributes:
        status: "queued" (not handed to the kernel yet), "sent", "acknowledged" (the peer's TCP has it) or
            "unconfirmed" (its connection ended, or it expired in the queue, before that).
        data: the bytes without the line end.
        number: of its line in the transcript, None while it waits offline.
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

        Any thread but the I/O thread; can be interrupted.

        Returns:
            Whether it has: False after the time-out, and at once when its status is final and another one.

        Raises:
            ValueError: there is no such status.
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
        # A copy, in another process as a rule, stays as it is: no connection moves it along.
        state = {"status": self.status, "number": self.number}
        return Delivery, (self.data,), (None, state)

    def __repr__(self) -> str:
        waiting = None if self._waiting is None else self._waiting()
        text = decode(self.data, None if waiting is None else waiting.encoding)
        return f"<Delivery {text!r} {self.status}>"
