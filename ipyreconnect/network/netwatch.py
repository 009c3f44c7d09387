"""Notices that the computer's network changed, or that it slept; not what changed, nor what to do about it.

Only Linux notifies a program of changes without privileges and without polling, through a netlink socket, and
of waking up, through a timer's descriptor; elsewhere a watch says that there is none. A dead peer is then
found by keepalive alone, and a sleep at the next look at a connection.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from .loop import EVENT_READ, Loop, Timer
from .sockets import SockAddr, drop

__all__ = ["NetWatch", "SleepClock", "WakeWatch", "address_gone", "read_clocks"]

SETTLE: Final = 0.2
"""Seconds from the first message of a burst to the one call for all of it. An address that is removed and
added again, as when a lease is renewed, is not missed in between, and nobody notices the delay."""

# linux/rtnetlink.h: RTMGRP_LINK, then _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE.
ROUTE_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400

WITHOUT_WATCH: Final = "a watch for changes of network (a link that goes down is noticed by keepalive alone)"

READ_SIZE: Final = 65536
"""Bytes; more than the kernel puts into one message (netlink(7))."""

# linux/timerfd.h, of which Python knows since 3.13.
TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2

NEVER: Final = 1 << 40
"""Seconds since 1970, in the year 36812."""

SLEPT: Final = 1.0
"""Seconds; a smaller difference between the clocks is no sleep worth a probe."""


class NetWatch:
    """A watch for changes of this computer's interfaces, addresses and routes; one serves a process.

    Attributes:
        missing: why there is no watch; None: there is one.
    """

    def __init__(self, loop: Loop, changed: Callable[[], None]) -> None:
        """Begin to watch the network of the calling thread's namespace.

        The I/O thread. Source: netlink(7), rtnetlink(7).

        Args:
            loop: waits for the messages.
            changed: called on the I/O thread, once for all changes within 0.2 s.
        """
        self._loop = loop
        self._changed = changed
        self._timer: Timer | None = None
        self._sock: socket.socket | None = None
        self.missing: str | None = None
        if not sys.platform.startswith("linux"):
            self.missing = WITHOUT_WATCH
            return
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except OSError as error:  # such as in a sandbox
            self.missing = f"{WITHOUT_WATCH}: {error.strerror}"
            return
        try:
            sock.setblocking(False)
            sock.bind((0, ROUTE_GROUPS))
            loop.register(sock, EVENT_READ, self._heard)
        except OSError as error:
            self.missing = f"{WITHOUT_WATCH}: {error.strerror}"
            drop(sock)
            return
        self._sock = sock

    def _heard(self, mask: int) -> None:
        if self._sock is None:  # closed in the same round of the loop
            return
        try:
            while self._sock.recv(READ_SIZE):
                pass
        except BlockingIOError:
            pass
        except OSError:  # ENOBUFS: more changed than the kernel could keep for us; that is a change as well
            pass
        if self._timer is None:
            self._timer = self._loop.call_at(time.monotonic() + SETTLE, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._changed()

    def close(self) -> None:
        """Stop watching; `changed` is not called any more. The I/O thread; harmless when it is done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._loop.unregister(self._sock)
            drop(self._sock)
            self._sock = None


class WakeWatch:
    """A watch for jumps of the wall clock, as when the computer wakes from sleep; one serves a process."""

    def __init__(self, loop: Loop, woken: Callable[[], None]) -> None:
        """Begin to watch; without effect on a system that does not notify.

        The I/O thread. Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; a clock that is set by 1 ns is
        noticed within a millisecond, each time (measured), and waking up sets it (the kernel's
        timerfd_resume).

        Args:
            loop: waits for the timer.
            woken: called on the I/O thread; whether the computer has slept is decided by `SleepClock`.
        """
        self._loop = loop
        self._woken = woken
        self._fd = _timer_that_never_ends()
        if self._fd is not None:
            loop.register(self._fd, EVENT_READ, self._heard)

    def _heard(self, mask: int) -> None:
        if self._fd is None:  # closed in the same round of the loop
            return
        try:
            os.read(self._fd, 8)
        except OSError as error:
            if error.errno == errno.ECANCELED:
                self._woken()

    def close(self) -> None:
        """Stop watching; `woken` is not called any more. The I/O thread; harmless when it is done."""
        if self._fd is not None:
            self._loop.unregister(self._fd)
            os.close(self._fd)
            self._fd = None


def _timer_that_never_ends() -> int | None:
    """Return a descriptor that is readable when the wall clock has jumped; None: there is none."""
    if not sys.platform.startswith("linux") or sys.maxsize < NEVER:
        return None
    try:
        libc = ctypes.CDLL(None)
        fd: int = libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:  # too many open files
            return None
        when = (ctypes.c_long * 4)(0, 0, NEVER, 0)
        if libc.timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, when, None) == 0:
            return fd
        os.close(fd)
    except (OSError, AttributeError):  # a C library without it
        pass
    return None


def address_gone(sockaddr: SockAddr) -> bool:
    """Return whether this computer has lost the address that a connection comes from.

    Any thread of the connection's network namespace. Source: ip(7), EADDRNOTAVAIL; takes 7 µs (measured).

    Args:
        sockaddr: the connection's own end, from getsockname.
    """
    if not isinstance(sockaddr, tuple):  # a Unix socket's path
        return False
    host, _, *rest = sockaddr
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0, *rest))
    except socket.gaierror:  # fe80::1%eth0 once eth0 has gone
        return True
    except OSError as error:
        return error.errno in _NOT_OURS
    return False


_NOT_OURS: Final = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})


def read_clocks() -> tuple[float, float] | None:
    """Return two clocks in seconds: one that goes on while the computer sleeps, and one that stops.

    Neither is the wall clock, which users and time servers set. Any thread. Source: clock_gettime(2),
    CLOCK_BOOTTIME; clock_gettime(3) of macOS, CLOCK_UPTIME_RAW.

    Returns:
        The two; None where the system does not have both.
    """
    for going_on, stopping in (
        ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"),
        ("CLOCK_MONOTONIC", "CLOCK_UPTIME_RAW"),
    ):
        if hasattr(time, going_on) and hasattr(time, stopping):
            return time.clock_gettime(getattr(time, going_on)), time.clock_gettime(getattr(time, stopping))
    return None


class SleepClock:
    """How long the computer has slept, by the two clocks of `read_clocks`; reads no clock itself."""

    __slots__ = ("_ahead",)

    def __init__(self, going_on: float, stopping: float) -> None:
        self._ahead = going_on - stopping

    def slept(self, going_on: float, stopping: float) -> float:
        """Return the seconds slept since the last call; 0.0 where it was less than a second."""
        ahead = going_on - stopping
        slept, self._ahead = ahead - self._ahead, ahead
        return slept if slept >= SLEPT else 0.0
