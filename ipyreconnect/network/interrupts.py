"""Delays Ctrl-C while the main thread changes a connection, and lets it through where that thread only waits.

Python runs a signal's handler in the main thread between any two bytecodes. While that thread holds a
connection's lock, an interrupt is noted, and raised afterwards: no step of a connection is left half done.
"""

from __future__ import annotations

import _thread
import importlib
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..forking import Stage, in_child

__all__ = ["PATIENCE", "Shield", "acquire", "guard"]

PATIENCE = 0.25
"""Seconds for which the main thread blocks in one piece: a signal that comes in the very moment before it
falls asleep does not wake it, whatever it sleeps in."""

_get_ident = _thread.get_ident
_monotonic = time.monotonic
_SIGINT = int(signal.SIGINT)
# The functions beneath signal's own: those turn each number into an enum and back, which costs 8 µs a send.
_raw_signal: Any = importlib.import_module("_signal")
_get_handler, _set_handler = _raw_signal.getsignal, _raw_signal.signal


class Shield:
    """A handler of SIGINT that only notes Ctrl-C, which is raised when the shield is lifted or opened.

    It is installed as it is made. The main thread only.
    """

    __slots__ = ("_before", "_noted", "_open")

    def __init__(self, before: Callable[[int, FrameType | None], object]) -> None:
        """Replace the handler `before`.

        Raises:
            ValueError: this is not the main thread of the main interpreter.
        """
        self._open = False  # while it is, an interrupt goes through at once: nothing but waiting is under way
        self._noted = False
        self._before = before
        _set_handler(_SIGINT, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal. Called by Python in the main thread, with what every handler is given."""
        if self._open:
            # Closed first: what it raises leads out of the waiting, which a second one must not interrupt.
            self._open = False
            self._before(number, frame)
            self._open = True
        else:
            self._noted = True

    def lift(self) -> None:
        """Restore the handler that was there before, and raise the interrupt that was noted."""
        installed = _set_handler(_SIGINT, self._before)
        if installed is not self:
            _set_handler(_SIGINT, installed)  # another one, which a handler that was called has installed
        if self._noted:
            self._before(_SIGINT, None)

    def open(self) -> None:
        """Let interrupts through while the caller waits, and raise the one that was noted."""
        self._open = True
        if self._noted:
            self._noted = self._open = False
            self._before(_SIGINT, None)
            self._open = True

    def close(self) -> None:
        """Only note interrupts again."""
        self._open = False


_main_thread = threading.main_thread().ident


def _find_main_thread() -> None:
    global _main_thread
    _main_thread = threading.main_thread().ident


in_child(Stage.MAIN_THREAD, _find_main_thread)


def guard() -> Shield | None:
    """Return a shield that the caller has to lift, or None where none is needed.

    Only the main thread is ever interrupted, and only if SIGINT has a handler in Python, which could raise.
    """
    if _get_ident() != _main_thread or not callable(before := _get_handler(_SIGINT)):
        return None
    try:
        return Shield(before)
    except ValueError:  # another interpreter's thread took threading for its own: no signals here
        return None


def acquire(lock: Any, ends: float | None, shield: Shield | None) -> None:
    """Wait for `lock`.

    Args:
        lock: what is to be acquired.
        ends: until when to wait (monotonic, s); None: for ever.
        shield: the caller's shield, which is opened meanwhile: an interrupt ends the waiting.
    """
    try:
        while True:
            left = threading.TIMEOUT_MAX if ends is None else max(0.0, ends - _monotonic())
            if shield is None:
                lock.acquire(True, min(left, threading.TIMEOUT_MAX))
                return
            shield.open()
            if lock.acquire(True, min(left, PATIENCE)) or left <= PATIENCE:
                return
    finally:
        if shield is not None:
            shield.close()
