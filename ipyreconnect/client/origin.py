"""Runs callbacks in the context in which the user registered them; knows no notebook.

A kernel routes printed text by a context variable that identifies the cell (ipykernel since 6.28). A thread
of ours has no such context, and would print into whatever cell runs at that moment.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["Origin", "key_of"]

P = ParamSpec("P")
T = TypeVar("T")


class Origin:
    """The context (contextvars) of the thread, task or cell that makes this object."""

    __slots__ = ("_context",)

    def __init__(self) -> None:
        self._context = contextvars.copy_context()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in that context. Safe for several threads: each call has a copy (0.2 µs)."""
        return self._context.copy().run(function, *args, **kwargs)


def key_of(function: object) -> object:
    """Return a dict key for a callback.

    That is the callback itself, as a bound method is a new but equal object each time; or its id, where it
    has no hash, like a dataclass with a `__call__`.
    """
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function
