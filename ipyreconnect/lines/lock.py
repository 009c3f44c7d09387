"""The one lock of all transcripts, free again in a forked child."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
