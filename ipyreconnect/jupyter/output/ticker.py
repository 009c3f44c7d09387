"""A thread that looks when connections have changed, and lives while there are any; it shows nothing."""

from __future__ import annotations

import threading
import time
import weakref

from ...forking import Stage, in_child

__all__ = ["Follower"]


class Follower:
    """What follows connections on a thread of its own: a subclass says in `_look` what it does each time.

    The thread is started with the first connection and ended with the last. `_lock` is held during each look.
    """

    def __init__(self, name: str, pause: float = 0.0) -> None:
        self._name = name
        self._pause = pause
        _all.add(self)
        self.forget()

    def forget(self) -> None:
        """Begin anew in a forked child: the thread is not there, and the connections are the parent's."""
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def _look(self) -> float | None:
        """Look at what has changed; give the seconds until the next look, or None: when something changes."""
        raise NotImplementedError

    def _poke(self) -> None:
        """Have a look taken soon. Any thread; what a connection calls when it changes."""
        if not self._wake.is_set():  # the usual case in a flood, and much cheaper than set()
            self._wake.set()

    def _start(self) -> None:
        """Start the thread where it does not run. With the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self._thread.start()
            except (RuntimeError, MemoryError):  # too many threads: the next start tries again
                self._thread = None
                raise

    def _retire(self) -> threading.Thread | None:
        """Tell the thread to end, and give it for `_join`. With the lock."""
        thread, self._thread = self._thread, None
        self._wake.set()
        return thread

    @staticmethod
    def _join(thread: threading.Thread | None, patience: float | None = None) -> None:
        """Wait until the thread has ended, at most `patience` seconds. Without the lock."""
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

    def _run(self) -> None:
        timeout: float | None = None
        while True:
            self._wake.wait(timeout)
            self._wake.clear()
            with self._lock:
                if self._thread is not threading.current_thread():
                    return
                timeout = self._look()
            time.sleep(self._pause)


_all: weakref.WeakSet[Follower] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for follower in _all:
        follower.forget()


in_child(Stage.TICKER, _after_fork_in_child)
