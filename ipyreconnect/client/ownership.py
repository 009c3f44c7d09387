"""Sees to it that one thread or task at a time reads a `Follow`; reads nothing itself."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from typing import NoReturn

from ..errors import CallerError

__all__ = ["Owner", "Ownership", "current_owner"]

Owner = int | weakref.ref["asyncio.Task[object]"]
"""Who reads: the thread of that ident, or an asyncio task."""


def current_owner() -> Owner:
    """Return who runs this in an event loop of asyncio's: the task, or the thread where it is none."""
    task = asyncio.current_task()
    return threading.get_ident() if task is None else weakref.ref(task)


class Ownership:
    """Whose the loops are that have begun and have not been left: all those of one.

    where: what messages call the server. Any thread.
    """

    __slots__ = ("_where", "owners")

    def __init__(self, where: str) -> None:
        self._where = where
        self.owners: list[Owner] = []
        """One for each loop."""

    def claim(self, owner: Owner) -> Owner:
        """Begin a loop; return whose it is, for `release`. Raises CallerError where another's has not been
        left.
        """
        owners = self.owners
        owners.append(owner)
        while (first := owners[0]) != owner:  # of two at once, the quicker one's
            if _is_there(first):
                owners.remove(owner)
                self.refuse()
            self.release(first)
        return owner

    def refuse(self) -> NoReturn:
        """Raise the CallerError for who would read beside whose it is."""
        owner = next(iter(self.owners), None)
        name = "another thread" if owner is None else _name_of(owner)
        raise CallerError(
            f"this follow() of {self._where} is being read by {name}, and has one reader at "
            "a time: give each its own, by another call of follow()"
        )

    def release(self, owner: Owner) -> None:
        """Note that a loop was left. Finalizers too."""
        try:
            self.owners.remove(owner)
        except ValueError:  # its thread or task has ended without leaving it, and another one has begun
            pass


def _is_there(owner: Owner) -> bool:
    """Say whether a thread or task has not ended."""
    if isinstance(owner, int):
        return owner in sys._current_frames()
    task = owner()
    return task is not None and not task.done()


def _name_of(owner: Owner) -> str:
    if isinstance(owner, int):
        names = [each.name for each in threading.enumerate() if each.ident == owner]
        return f"the thread {names[0]}" if names else "another thread"
    task = owner()
    return "another task" if task is None else f"the task {task.get_name()}"
