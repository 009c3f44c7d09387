"""Runs the user's callbacks (trait observers, on_line listeners), each client's one after the other, on
threads of their own; never on the I/O thread.

Each client has a *notifier*, a queue of what is to be called. One that has something is given a thread, and
has it until its queue is empty: so a slow callback holds up those of its own client only, and a client that
has nothing to tell has no thread. A thread that nobody needs ends. What a callback raises is logged and goes
no further.
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
"""Seconds that a thread waits for more before it ends: a busy connection shall not start it over and over."""
MOST_THREADS = 256
"""Threads at most: so many callbacks may be slow at the same time before others wait for one of them."""
TRY_AGAIN = 0.1
"""Seconds after which a thread is asked for again where none could be had."""

log = logging.getLogger("ipyreconnect")

# All below is guarded by this. Reentrant, as a finalizer, which may come anywhere, may post.
_condition = threading.Condition()
_ready: deque[Notifier] = deque()  # those that have something to tell, and no thread yet
_busy: set[Notifier] = set()  # those, and those that have one
_threads = 0
_free = 0  # how many of the threads have no notifier, or not yet
_fails = False  # whether the last thread could not be started


class Notifier:
    """Runs one client's callbacks, in order."""

    __slots__ = ("__weakref__", "_calls")

    def __init__(self) -> None:
        # A list: an empty deque takes 760 bytes, of each of a thousand idle connections.
        self._calls: list[Callable[[], object]] = []

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` run after those posted before. Any thread, finalizers too; waits for none of them."""
        with _condition:
            self._calls.append(call)
            if self not in _busy:
                _busy.add(self)
                _ready.append(self)
        _serve()

    @property
    def is_busy(self) -> bool:
        """Whether something is being called, or is to be. Any thread."""
        return self in _busy

    def _run(self) -> None:
        """Call what is there, until nothing is left."""
        while True:
            with _condition:
                if not self._calls:
                    _busy.discard(self)
                    return
                call = self._calls.pop(0)
            try:
                call()
            except BaseException:  # a SystemExit would end the thread, and nobody would be told any more
                log.exception("a callback failed; the connection and the other callbacks go on")
            del call  # which may be all that keeps its client


def _serve() -> None:
    """See to it that each notifier that has something to tell is given a thread."""
    global _threads, _free
    while True:
        with _condition:
            if len(_ready) <= _free or _threads >= MOST_THREADS:
                if _ready:
                    _condition.notify(len(_ready))
                return
            # First: making the thread may bring a finalizer, which posts as well.
            _threads += 1
            _free += 1
        if not _start():
            with _condition:
                _threads -= 1
                _free -= 1
            return


def _start() -> bool:
    """Start a thread; where there is none to be had, have it tried again. Return whether it was started."""
    global _fails
    try:
        threading.Thread(target=_run, name=THREAD_NAME, daemon=True).start()
    except (RuntimeError, MemoryError) as error:  # too many threads
        if not threading.main_thread().is_alive():
            return False  # the interpreter ends, and starts no threads any more
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
    """Tries again to start a thread, on the I/O thread, though nobody posts any more. It keeps the I/O thread
    running meanwhile; where that has ended, and cannot be started either, the next post tries.
    """

    def __init__(self) -> None:
        self._waits = False

    def begin(self) -> None:
        """Try in a moment; harmless when that is to be done already. Any thread."""
        with _condition:
            if self._waits:
                return
            self._waits = True
        self._begin()

    def _begin(self) -> None:
        try:
            acquire_loop(self).call_at(time.monotonic() + TRY_AGAIN, self._try)
        except (OSError, RuntimeError, MemoryError):  # no thread for the loop either, or no descriptor
            self.at_exit()

    def _try(self) -> None:
        self._waits = False
        _serve()
        if not self._waits:
            release_loop(self)
            if self._waits:  # since it was looked at
                self._begin()

    def at_exit(self) -> None:
        """Try no more: who is not told by now, is not told."""
        self._waits = False
        release_loop(self)

    def after_fork(self) -> None:
        """Try no more, in the child, where nothing is to be told."""
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
