"""What a forked child does before anything else, in one written order.

The child has a copy of the parent's memory and of its file descriptors, but none of its threads: a lock
that another thread held stays locked for ever, a queue is emptied by nobody, and a socket or an
epoll set is shared with the parent. So each module that owns such a thing says here how it begins anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import IntEnum, auto

__all__ = ["Stage", "in_child"]

log = logging.getLogger("ipyreconnect")


class Stage(IntEnum):
    """When a module begins anew: the order in which they do."""

    MAIN_THREAD = auto()
    """First, as whatever takes a lock asks which thread is the main one."""
    TRANSCRIPTS = auto()
    """Before the connections, which write into them."""
    LOOP = auto()
    """Closes the copy of the selector, then every connection's copy of its socket. In this order, and before
    the watch for the network: to unregister something would change the parent's epoll set."""
    NETWORK_WATCH = auto()
    LOOKUPS = auto()
    """After the connections, which have taken back their questions."""
    RECORDS = auto()
    OBSERVERS = auto()
    TICKER = auto()
    DISPLAY = auto()


_actions: dict[Stage, Callable[[], object]] = {}


def in_child(stage: Stage, action: Callable[[], object]) -> None:
    """Have `action` called in each child that is forked from now on; one for each stage.

    It runs on the child's only thread. Where the system knows no fork, it is never called.
    """
    _actions[stage] = action


def _begin_anew() -> None:
    for stage in sorted(_actions):
        try:
            _actions[stage]()
        except Exception:
            log.exception("unexpected error in a forked child (%s); the others go on", stage.name)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
