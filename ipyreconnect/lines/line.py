"""One line of a transcript as a value, its text, and how it stands in a record; knows no transcript."""

from __future__ import annotations

from .delivery import Delivery
from .text import decode

__all__ = ["Line"]

DIRECTIONS = ("<", ">", "*")
"""Received, sent, and what happened."""


class Line:
    """One line of a transcript. Immutable; any thread.

    Attributes:
        data: the bytes without the line end.
        time: seconds since the Unix epoch.
        direction: "<" received, ">" sent, "*" something that happened.
        number: counted from 0 over the whole life of the transcript, never used twice.
        truncated: a fragment of an over-long or unfinished line, or the beginning of what was too long to
            keep.
        delivery: how far a sent line has come, if it is kept whole; else None.
    """

    __slots__ = ("_encoding", "data", "delivery", "direction", "number", "time", "truncated")

    def __init__(
        self,
        data: bytes,
        time: float = 0.0,
        direction: str = "<",
        number: int = 0,
        truncated: bool = False,
        encoding: str | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.data = data
        self.time = time
        self.direction = direction
        self.number = number
        self.truncated = truncated
        self.delivery = delivery
        self._encoding = encoding

    @property
    def text(self) -> str:
        """The line as text, by the connection's encoding, or as ISO-8859-1 where it does not fit."""
        # What happened is our own text, whatever the peer's encoding is.
        return decode(self.data, None if self.direction == "*" else self._encoding)

    def __repr__(self) -> str:
        return f"<Line {self.number} {self.direction} {self.text!r}{' truncated' if self.truncated else ''}>"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Line):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[bytes, float, str, int, bool]:
        return (self.data, self.time, self.direction, self.number, self.truncated)
