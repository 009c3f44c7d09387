"""Lets one thread or task at a time read from a `Follow`; reads nothing itself."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from typing import NoReturn

from ..errors import CallerError

__all__ = ["Owner", "Ownership", "current_owner"]

Owner = int | weakref.ref["asyncio.Task[object]"]
"""Who reads: the ident of a thread, or a reference to an asyncio task."""


def current_owner() -> Owner:
    """Return the asyncio task that runs, or the thread if its event loop runs no task now."""
    task = asyncio.current_task()
    return threading.get_ident() if task is None else weakref.ref(task)


class Ownership:
    """The owner of the loops over one `Follow` that have not ended. Safe to use from any thread.

    Args:
        where: How messages name the server.

    Attributes:
        owners: The owner, once for each loop; loops of one owner may be nested.
    """

    __slots__ = ("_where", "owners")

    def __init__(self, where: str) -> None:
        self._where = where
        self.owners: list[Owner] = []

    def claim(self, owner: Owner) -> Owner:
        """Begin a loop.

        Returns:
            `owner`, to be passed to `release`.

        Raises:
            CallerError: A loop of another owner has not ended.
        """
        owners = self.owners
        owners.append(owner)
        while (first := owners[0]) != owner:  # where two claim it at once, the first one in the list wins
            if _is_alive(first):
                owners.remove(owner)
                self.refuse()
            self.release(first)
        return owner

    def refuse(self) -> NoReturn:
        """Raise the CallerError for somebody who is not the owner."""
        owner = next(iter(self.owners), None)
        name = "another thread" if owner is None else _name_of(owner)
        raise CallerError(
            f"this follow() of {self._where} is being read by {name}, and has one reader at "
            "a time: give each its own, by another call of follow()"
        )

    def release(self, owner: Owner) -> None:
        """End a loop. May be called from finalizers."""
        try:
            self.owners.remove(owner)
        except (
            ValueError
        ):  # its thread or task ended without leaving the loop, and another has claimed it since
            pass


def _is_alive(owner: Owner) -> bool:
    """Return whether a thread or task is still alive."""
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
