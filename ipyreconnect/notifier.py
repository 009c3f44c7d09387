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

__all__ = ["post"]

THREAD_NAME = "ipyreconnect-observers"
LINGER = 0.05
"""Seconds that the thread waits for more before it ends: a busy connection shall not start it over and
over."""

log = logging.getLogger("ipyreconnect")

_calls: deque[Callable[[], None]] = deque()
_condition = threading.Condition()
_running = False


def post(call: Callable[[], None]) -> None:
    """Have `call` run on the observers' thread, after those posted before. Any thread, finalizers too; never
    waits.
    """
    global _running
    with _condition:
        _calls.append(call)
        if _running:
            _condition.notify()
            return
        # First: making the thread may bring a finalizer, which posts as well.
        _running = True
    try:
        threading.Thread(target=_run, name=THREAD_NAME, daemon=True).start()
    except RuntimeError:  # too many threads: the next one tries again
        _running = False
        if threading.main_thread().is_alive():  # else the interpreter ends, and starts no threads any more
            log.exception("cannot start the observers' thread: they will be told later")


def _run() -> None:
    global _running
    while True:
        with _condition:
            if not _calls:
                _condition.wait(LINGER)
            if not _calls:
                _running = False
                return
            call = _calls.popleft()
        try:
            call()
        except BaseException:  # a SystemExit would end the thread, and nobody would be told any more
            log.exception("a callback failed; the connection and the other callbacks go on")


def _after_fork_in_child() -> None:
    global _condition, _running
    _condition = threading.Condition()
    _running = False
    _calls.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
