"""A thread that polls connections after they have changed, and lives while there are any."""

from __future__ import annotations

import threading
import time
import weakref

from ...forking import Stage, in_child

__all__ = ["Ticker"]


class Ticker:
    """Base class of what shows connections from a thread of its own; a subclass does so in `_poll`.

    The thread is started with the first connection and ended with the last. `_lock` is held during each poll.

    Args:
        name: the thread's.
        pause: least seconds between two polls.

    """

    def __init__(self, name: str, pause: float = 0.0) -> None:
        self._name = name
        self._pause = pause
        _all.add(self)
        self.reset()

    def reset(self) -> None:
        """Begin anew in a forked child: it has no such thread, and the connections are the parent's."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def _poll(self) -> float | None:
        """Show what has changed; return the seconds until the next poll, or None: after the next change."""
        raise NotImplementedError

    def _poke(self) -> None:
        """Have `_poll` called soon. Any thread; a connection calls it when it has changed."""
        if not self._wake.is_set():  # the usual case in a flood, and much cheaper than set()
            self._wake.set()

    def _start(self) -> None:
        """Start the thread unless it runs. Called with the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self._thread.start()
            except (RuntimeError, MemoryError):  # too many threads: the next start tries again
                self._thread = None
                raise

    def _retire(self) -> threading.Thread | None:
        """Have the thread end, and return it for `_join`. Called with the lock."""
        thread, self._thread = self._thread, None
        self._wake.set()
        return thread

    @staticmethod
    def _join(thread: threading.Thread | None, timeout: float | None = None) -> None:
        """Wait until the thread has ended, at most `timeout` seconds. Called without the lock."""
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        timeout: float | None = None
        while True:
            self._wake.wait(timeout)
            self._wake.clear()
            with self._lock:
                if self._thread is not threading.current_thread():
                    return
                timeout = self._poll()
            time.sleep(self._pause)


_all: weakref.WeakSet[Ticker] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ticker in _all:
        ticker.reset()


in_child(Stage.TICKER, _after_fork_in_child)
