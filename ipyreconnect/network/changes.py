"""Notifies every connection when the network may have changed, or the computer has slept.

Netlink's messages and the clocks come in, and one call of each subscriber goes out, all on the I/O thread.
There is one watch for each loop, so for the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, Protocol

from ..forking import Stage, in_child
from .lookups import outdate_lookups
from .loop import Loop
from .netwatch import NetWatch, SleepClock, WakeWatch, read_clocks

__all__ = ["Subscriber", "look_for_sleep", "missing", "subscribe", "unsubscribe"]


MAY_DIAL_TOGETHER: Final = 20
"""Clients of a process that may dial at once after a change of network."""
DIALS_A_SECOND: Final = 2000
"""Where there are more of them, so many dial in a second, so that a server of all of them is not flooded."""


class Subscriber(Protocol):
    """A connection that depends on the network."""

    def is_to_dial(self) -> bool:
        """Return whether it will dial anew for a change of network. Called on the I/O thread."""

    def network_changed(self, spread: float) -> None:
        """Take note that the network changed in some way, or that the computer has slept.

        Called on the I/O thread.

        Args:
            spread: if it dials for that, then at a random moment within so many seconds.
        """


class _Watch:
    """The subscribers of one loop; the NetWatch itself is opened, read and closed on its thread."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.subscribers: set[Subscriber] = set()
        self._netwatch: NetWatch | None = None
        self._wakewatch: WakeWatch | None = None
        self._clock: SleepClock | None = None
        loop.call_soon(self._open)

    def _open(self) -> None:
        self._netwatch = NetWatch(self.loop, self.notify)
        clocks = read_clocks()
        if clocks is not None:
            self._clock = SleepClock(*clocks)
            self._wakewatch = WakeWatch(self.loop, self.look_for_sleep)

    def close(self) -> None:
        for watch in (self._netwatch, self._wakewatch):
            if watch is not None:
                watch.close()

    def notify(self) -> None:
        outdate_lookups()
        subscribers = tuple(self.subscribers)
        dialing = sum(subscriber.is_to_dial() for subscriber in subscribers)
        spread = dialing / DIALS_A_SECOND if dialing > MAY_DIAL_TOGETHER else 0.0
        for subscriber in subscribers:
            subscriber.network_changed(spread)

    def look_for_sleep(self) -> None:
        clocks = read_clocks()
        if self._clock is not None and clocks is not None and self._clock.slept(*clocks):
            self.notify()

    @property
    def missing(self) -> Iterator[str]:
        if self._netwatch is not None and self._netwatch.missing is not None:
            yield self._netwatch.missing
        if self._clock is None:
            yield "clocks that tell of a sleep (what it has cut is noticed by keepalive alone)"


# Reentrant, for a finalizer, which can come at any time, may stop a client.
_lock = threading.RLock()
_watches: dict[Loop, _Watch] = {}


def subscribe(subscriber: Subscriber, loop: Loop) -> None:
    """Notify `subscriber` of every change from now on. Any thread."""
    with _lock:
        watch = _watches.get(loop)
        if watch is None:
            watch = _watches[loop] = _Watch(loop)
        watch.subscribers.add(subscriber)


def unsubscribe(subscriber: Subscriber, loop: Loop) -> None:
    """Notify `subscriber` no more; the last one closes the watch. Any thread, before it releases the loop."""
    with _lock:
        watch = _watches.get(loop)
        if watch is None:
            return
        watch.subscribers.discard(subscriber)
        if not watch.subscribers:
            del _watches[loop]
            loop.call_soon(watch.close)


def look_for_sleep(loop: Loop) -> None:
    """Compare the clocks, and notify all if the computer has slept. The I/O thread; takes 1 µs."""
    watch = _watches.get(loop)
    if watch is not None:
        watch.look_for_sleep()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for watch in _watches.values():
        watch.close()
    _watches.clear()


in_child(Stage.NETWORK_WATCH, _after_fork_in_child)


def missing() -> tuple[str, ...]:
    """Return what goes unseen on this system while clients run, and what that means. Any thread."""
    with _lock:
        return tuple(text for watch in _watches.values() for text in watch.missing)
