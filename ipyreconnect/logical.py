"""The kinds of logical line that a framing makes, and what of one is compared. Values only."""

from __future__ import annotations

from typing import Self

__all__ = ["Announcing", "Continuation", "Fragment", "beginning"]


class Announcing(bytes):
    """A logical line with announced bytes in it.

    Attributes:
        head: how many bytes stand before the first announced one, without the line end behind the
            announcement.
    """

    head: int

    def __new__(cls, data: bytes, head: int) -> Self:
        """Make one of all its bytes, and of how many of them stand before the first announced one."""
        line = super().__new__(cls, data)
        line.head = head
        return line


class Fragment(bytes):
    """The first piece of a line that is too long or was never finished; joined they are the line, byte for
    byte.

    Attributes:
        head: as for `Announcing`; None: none of its bytes was announced.
    """

    head: int | None

    def __new__(cls, data: bytes, head: int | None = None) -> Self:
        """Make one of its bytes, and of how many of them stand before the first announced one."""
        piece = super().__new__(cls, data)
        piece.head = head
        return piece


class Continuation(Fragment):
    """A later piece of such a line: whatever it begins with, no line begins there."""


def beginning(line: bytes) -> bytes | None:
    """Return what of a logical line is compared with an expectation, a reply rule or a script's step: its
    bytes before the first announced one; None for a piece of a line that is not its first.

    What follows is data: a mail, a value, a payload that somebody else wrote and that may look like anything.
    """
    kind = type(line)
    if kind is bytes:
        return line
    if isinstance(line, Continuation):
        return None
    head = getattr(line, "head", None)
    return bytes(line) if head is None else bytes(line[:head])
