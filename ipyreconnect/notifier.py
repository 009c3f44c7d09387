"""Runs the user's callbacks (trait observers, on_line listeners) on a thread of their own, one after the
other; never on the I/O thread.

What a callback raises is logged and goes no further. The thread ends when nothing is left to call, and is
started again when something is.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["on_notifier_thread", "post"]

THREAD_NAME = "ipyreconnect-observers"
LINGER = 0.05
"""Seconds that the thread waits for more before it ends: a busy connection shall not start it over and
over."""

log = logging.getLogger("ipyreconnect")

_calls: deque[Callable[[], None]] = deque()
_condition = threading.Condition()
_thread: threading.Thread | None = None


def post(call: Callable[[], None]) -> None:
    """Have `call` run on the observers' thread, after those posted before. Any thread; never waits."""
    global _thread
    with _condition:
        _calls.append(call)
        if _thread is None:
            _thread = threading.Thread(target=_run, name=THREAD_NAME, daemon=True)
            _thread.start()
        else:
            _condition.notify()


def on_notifier_thread() -> bool:
    """Say whether the caller is a callback of ours."""
    return threading.current_thread() is _thread


def _run() -> None:
    global _thread
    while True:
        with _condition:
            if not _calls:
                _condition.wait(LINGER)
            if not _calls:
                _thread = None
                return
            call = _calls.popleft()
        try:
            call()
        except Exception:
            log.exception("a callback failed; the connection and the other callbacks go on")


def _after_fork_in_child() -> None:
    global _condition, _thread
    _condition = threading.Condition()
    _thread = None
    _calls.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
