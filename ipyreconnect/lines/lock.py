"""The one lock of all transcripts, free again in a forked child."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from ..forking import Stage, in_child

__all__ = ["exclusive"]

# Reentrant, as a signal's handler may connect in the middle of anything. One for all: it is taken only when a
# client begins and when a secret is added, and an idle transcript is to stay small.
_lock = threading.RLock()


def exclusive() -> AbstractContextManager[bool]:
    """Return the lock to hold while more than one field changes together. Any thread but the I/O thread."""
    return _lock


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


in_child(Stage.TRANSCRIPTS, _after_fork_in_child)
