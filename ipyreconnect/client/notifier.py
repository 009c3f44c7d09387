"""Runs the user's callbacks (trait observers, `on_line` listeners) on a pool of threads of their own.

Each client has a *notifier*, a queue of calls. A notifier with calls gets a thread of the pool and keeps it
until its queue is empty: so a slow callback delays only those of its own client, and a client without calls
needs no thread. Idle threads end. What a callback raises is logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from ..forking import Stage, in_child
from ..network.loop import acquire_loop, release_loop

__all__ = ["Notifier"]

THREAD_NAME = "ipyreconnect-observers"
LINGER = 0.05
"""Seconds that an idle thread waits for calls before it ends, so that a busy client does not start many."""
MOST_THREADS = 256
"""The most threads: that many callbacks may be slow at the same time before others have to wait."""
TRY_AGAIN = 0.1
"""Seconds until the next attempt to start a thread, where none could be started."""

log = logging.getLogger("ipyreconnect")

# Guards everything below. Its lock is reentrant, as a finalizer, which may run at any moment, may post.
_condition = threading.Condition()
_ready: deque[Notifier] = deque()  # those with calls and without a thread
_busy: set[Notifier] = set()  # those, and those that have a thread
_threads = 0
_free = 0  # threads without a notifier
_fails = False  # whether the last attempt to start a thread failed


class Notifier:
    """Runs one client's callbacks, in order."""

    __slots__ = ("__weakref__", "_calls")

    def __init__(self) -> None:
        # A list: an empty deque takes 760 bytes, of each of a thousand idle connections.
        self._calls: list[Callable[[], object]] = []

    def post(self, call: Callable[[], object]) -> None:
        """Queue a call. Safe to call from any thread and from finalizers; waits for nothing."""
        with _condition:
            self._calls.append(call)
            if self not in _busy:
                _busy.add(self)
                _ready.append(self)
        _serve()

    @property
    def is_busy(self) -> bool:
        """Whether a call is running or queued. Safe to read from any thread."""
        return self in _busy

    def _run(self) -> None:
        """Run the queued calls until none is left."""
        while True:
            with _condition:
                if not self._calls:
                    _busy.discard(self)
                    return
                call = self._calls.pop(0)
            try:
                call()
            except BaseException:  # a SystemExit, too, must not end the thread
                log.exception("a callback failed; the connection and the other callbacks go on")
            del call  # it may hold the last reference to its client


def _serve() -> None:
    """Start threads until every notifier with calls gets one."""
    global _threads, _free
    while True:
        with _condition:
            if len(_ready) <= _free or _threads >= MOST_THREADS:
                if _ready:
                    _condition.notify(len(_ready))
                return
            # Counted before it starts: a finalizer that runs meanwhile may post, too.
            _threads += 1
            _free += 1
        if not _start():
            with _condition:
                _threads -= 1
                _free -= 1
            return


def _start() -> bool:
    """Start a thread, or arrange for another attempt; return whether it was started."""
    global _fails
    try:
        threading.Thread(target=_run, name=THREAD_NAME, daemon=True).start()
    except (RuntimeError, MemoryError) as error:  # too many threads
        if not threading.main_thread().is_alive():
            return False  # the interpreter is exiting, and starts no threads any more
        if not _fails:
            _fails = True
            log.error("cannot start a thread for the observers and listeners, who are told later: %s", error)
        _later.begin()
        return False
    _fails = False
    return True


def _run() -> None:
    global _threads, _free
    while True:
        with _condition:
            if not _ready:
                _condition.wait(LINGER)
            if not _ready:
                _threads -= 1
                _free -= 1
                return
            notifier = _ready.popleft()
            _free -= 1
        try:
            notifier._run()
        finally:
            with _condition:
                _free += 1
        del notifier


class _Later:
    """Retries to start a thread, on the I/O thread, which it keeps alive meanwhile.

    Where that cannot be started either, the next `post` retries.
    """

    def __init__(self) -> None:
        self._waits = False

    def begin(self) -> None:
        """Retry after TRY_AGAIN seconds, once. Safe to call from any thread."""
        with _condition:
            if self._waits:
                return
            self._waits = True
        self._begin()

    def _begin(self) -> None:
        try:
            acquire_loop(self).call_at(time.monotonic() + TRY_AGAIN, self._try)
        except (OSError, RuntimeError, MemoryError):  # the loop has no thread either, or no descriptor
            self.at_exit()

    def _try(self) -> None:
        self._waits = False
        _serve()
        if not self._waits:
            release_loop(self)
            if self._waits:  # another thread has called `begin` since
                self._begin()

    def at_exit(self) -> None:
        """Give up: callbacks that have not run by now do not run."""
        self._waits = False
        release_loop(self)

    def after_fork(self) -> None:
        """Give up in the child process, where nothing is to be called."""
        self._waits = False


_later = _Later()


def _after_fork_in_child() -> None:
    global _condition, _threads, _free, _fails
    _condition = threading.Condition()
    for notifier in _busy:
        notifier._calls.clear()
    _busy.clear()
    _ready.clear()
    _threads = _free = 0
    _fails = False


in_child(Stage.OBSERVERS, _after_fork_in_child)
