"""The event loop of the process's one I/O thread: sockets, timers, and calls from other threads.

Knows nothing of connections. Why it is not asyncio: with the main thread busy computing, each hand-over of
the interpreter's lock takes up to 5 ms, and asyncio's call_soon_threadsafe, its future and its transport need
three a round trip where this loop needs one. While nothing happens, the thread sleeps in the selector.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import logging
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..forking import Stage, in_child

__all__ = ["EVENT_READ", "EVENT_WRITE", "Loop", "LoopUser", "Timer", "acquire_loop", "release_loop", "serves"]

EVENT_READ = selectors.EVENT_READ
EVENT_WRITE = selectors.EVENT_WRITE

THREAD_NAME = "ipyreconnect-io"
MANY_TIMERS = 1000
"""Timers beyond which the cancelled ones among them are looked for."""
EXIT_PATIENCE = 1.0
"""Seconds that the interpreter's exit waits for the I/O thread: its last work is closing sockets, which takes
milliseconds."""

log = logging.getLogger("ipyreconnect")

Callback = Callable[[int], None]


class LoopUser(Protocol):
    """A connection for which the loop runs, as the loop sees it."""

    def at_exit(self) -> None:
        """Close at once, as the process ends. Called on the thread that ends the interpreter."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent, without a byte on the wire. Called in a forked child."""


class Timer:
    """A call that is to be made at some time; made by `Loop.call_at`.

    Attributes:
        when: that time (monotonic, s).
        callback: what is called; None once it was called or cancelled.
    """

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make the call not happen. Any thread; harmless when it has happened."""
        self.callback = None


class Loop:
    """A selector, a heap of timers and a queue of calls, on one daemon thread.

    Attributes:
        shared: whether any thread may register sockets: epoll and kqueue may be changed while another thread
            waits in them; select and poll would not notice.
        thread: the I/O thread.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, EVENT_READ, self._drain_wake)
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._many_timers = MANY_TIMERS
        self._order = itertools.count()
        self._awake = False
        self._ending = False
        self._ident = 0
        self.shared = type(self._selector).__name__ in ("EpollSelector", "KqueueSelector")
        self._epoll = (
            getattr(self._selector, "_selector", None)
            if type(self._selector).__name__ == "EpollSelector"
            else None
        )
        # A daemon thread, so that a forgotten connection never keeps the interpreter alive; atexit below
        # closes in good order.
        self.thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        try:
            self.thread.start()
        except (RuntimeError, MemoryError):  # too many threads
            self._close()
            raise

    # -- from any thread -------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` on the I/O thread, as soon as it is free. Any thread."""
        self._calls.append(callback)
        self._wake()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` on the I/O thread at `when` (monotonic, s). Any thread."""
        timer = Timer(when, callback)
        if self.is_io_thread():
            self._push(timer)
        else:
            self.call_soon(lambda: self._push(timer))
        return timer

    def is_io_thread(self) -> bool:
        """Return whether the caller runs on the I/O thread."""
        return threading.get_ident() == self._ident

    def register(self, sock: socket.socket | int, events: int, callback: Callback) -> None:
        """Call `callback(mask)` on the I/O thread whenever `sock` is ready for `events`.

        The I/O thread, or any if `shared`.
        """
        self._selector.register(sock, events, callback)

    def attend(self, sock: socket.socket, events: int, callback: Callback) -> None:
        """Wait for `events` of `sock` from now on; registers it the first time.

        The I/O thread, or any if `shared`.

        Args:
            sock: a socket that belongs to the caller.
            events: EVENT_READ, EVENT_WRITE, both, or 0: nothing for now.
            callback: called on the I/O thread with what the socket is ready for, of which EVENT_READ is
                certain and EVENT_WRITE may be missing.
        """
        try:
            key = self._selector.get_key(sock)
        except KeyError:
            if not events:
                return
            if self._epoll is None:
                self._selector.register(sock, events, callback)
                return
            # For reading in any case: selectors' keys keep what was registered at first, and mask every event
            # by it.
            key = self._selector.register(sock, events | EVENT_READ, callback)
            if events & EVENT_READ:
                return
        if self._epoll is not None:
            # A quarter of the cost of selectors' own modify, which takes no 0: the socket would have to be
            # unregistered and registered anew.
            self._epoll.modify(
                key.fd,
                (select.EPOLLIN if events & EVENT_READ else 0)
                | (select.EPOLLOUT if events & EVENT_WRITE else 0),
            )
        elif events:
            self._selector.modify(sock, events, callback)
        else:
            self._selector.unregister(sock)

    def unregister(self, sock: socket.socket | int) -> None:
        """Stop waiting for `sock`, which must be done before it is closed; harmless when it is not known.

        The I/O thread, or any if `shared`.
        """
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            pass

    # -- the thread ------------------------------------------------------------------------------------------

    def _push(self, timer: Timer) -> None:
        if timer.callback is None:
            return
        timers = self._timers
        heapq.heappush(timers, (timer.when, next(self._order), timer))
        if len(timers) > self._many_timers:
            # The cancelled ones, which would otherwise stay until their time comes, maybe in a day.
            timers[:] = [entry for entry in timers if entry[2].callback is not None]
            heapq.heapify(timers)
            self._many_timers = max(MANY_TIMERS, 2 * len(timers))

    def _wake(self) -> None:
        if self._awake or self.is_io_thread():
            return
        self._awake = True
        try:
            self._wake_write.send(b"\0")
        except OSError:  # full: it wakes anyway; closed: the loop has ended, and nothing is left to be called
            pass

    def _drain_wake(self, mask: int) -> None:
        try:
            self._wake_read.recv(4096)
        except BlockingIOError:
            pass

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            while not self._ending or self._calls:
                self._step()
        finally:
            self._close()

    def _close(self) -> None:
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _step(self) -> None:
        ready = self._selector.select(self._patience())
        for key, mask in ready:
            self._guarded(key.data, mask)
        # After the wake-up's bytes were read: one that comes in between would be read with them, and
        # forgotten. Before the queue is emptied: a call that is appended from here on wakes the selector
        # again.
        self._awake = False
        now = time.monotonic()
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if (callback := timer.callback) is not None:
                timer.callback = None
                self._guarded(callback)
        # Only those that are there now: a call that appends another one must not starve the sockets.
        for _ in range(len(self._calls)):
            self._guarded(self._calls.popleft())

    def _patience(self) -> float | None:
        if self._calls or self._ending:
            return 0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return max(0.0, timers[0][0] - time.monotonic()) if timers else None

    @staticmethod
    def _guarded(callback: Callable[..., None], *arguments: int) -> None:
        # The thread serves every connection of the process, so one faulty callback must not end it.
        try:
            callback(*arguments)
        except BaseException:  # a SystemExit of a user's framing, say
            log.exception("unexpected error on the I/O thread; the other connections go on")

    def end(self) -> None:
        """End the thread after the calls that are queued. Any thread."""
        self._ending = True
        self._awake = False
        self._wake()


# Reentrant, for a finalizer, which can come at any time, may stop a client.
_lock = threading.RLock()
_loop: Loop | None = None
_users: set[LoopUser] = set()


def acquire_loop(user: LoopUser) -> Loop:
    """Return the process's loop, starting it if there is none; it runs until each user has released it.

    Any thread.

    Raises:
        OSError: too many open files.
        RuntimeError: too many threads.
        MemoryError: the same.
    """
    global _loop
    with _lock:
        _users.add(user)  # first: a finalizer that comes in between may release another's
        if _loop is None or not _loop.thread.is_alive():
            _loop = Loop()
        return _loop


def release_loop(user: LoopUser) -> None:
    """Release the loop for `user`; the last one ends the thread. Any thread."""
    global _loop
    with _lock:
        _users.discard(user)
        if not _users and _loop is not None:
            _loop.end()
            _loop = None


def serves(thread: threading.Thread) -> bool:
    """Return whether `thread` is the I/O thread that connections use now. Any thread."""
    loop = _loop
    return loop is not None and loop.thread is thread


@atexit.register
def _at_exit() -> None:
    loop = _loop
    for user in list(_users):
        try:
            user.at_exit()
        except Exception:
            log.exception("a connection could not be closed; the others are")
    if loop is not None and not loop.is_io_thread():
        loop.thread.join(EXIT_PATIENCE)


def _after_fork_in_child() -> None:
    """Leave the parent's loop alone: its thread does not exist here, and the epoll set is shared."""
    global _lock, _loop
    _lock = threading.RLock()
    loop, _loop = _loop, None
    users = list(_users)
    _users.clear()
    if loop is not None:
        # Closed, never unregistered: epoll_ctl here would change the parent's set.
        loop._close()
    for user in users:
        user.after_fork()


in_child(Stage.LOOP, _after_fork_in_child)
