"""What Linux makes of keepalive and user time-out (tcp(7), tcp_timer.c). Pure."""

from __future__ import annotations

import math
from typing import Final

from ..settings import MAX_KEEPALIVE_COUNT, KeepAlive
from .tcp_info import TcpInfo

__all__ = ["longest_retransmission", "probing", "user_timeout"]

_USER_TIMEOUT_MARGIN: Final = 100  # ms


def user_timeout(keepalive: KeepAlive, info: TcpInfo | None = None, *, was_stalled: bool = False) -> int:
    """Return TCP_USER_TIMEOUT in ms for a connection; 0, the system's own rule, with keepalive off.

    A little below T: above it, the kernel would wait for one more probe (measured). It is 0 as well where the
    kernel's rule would kill the living, and the watchdog judges alone:

    - While the window is closed, though its probes are answered.
    - On a connection that once was stalled: a window that opens by less than the next segment does not take
      back the moment from which the kernel counts (icsk_probes_tstamp in tcp_ack_probe), so a peer that had
      not read for T, and then reads slowly, would be cut at once (seen on Linux 6.18).
    - After a silence that was longer than T when the keepalive was set: one unanswered probe is enough then.
    """
    if not keepalive.enabled or was_stalled:
        return 0
    if info is not None and (info.blocked or info.silence >= keepalive.bound):
        return 0
    return keepalive.bound * 1000 - _USER_TIMEOUT_MARGIN


def longest_retransmission(keepalive: KeepAlive) -> int:
    """Return TCP_RTO_MAX_MS (option 44, Linux 6.15) in ms; 0 with keepalive off, which leaves the system's.

    Without it the kernel asks at growing intervals, up to 120 s apart: a peer that dies with its window
    closed would not even be asked within T. A fourteenth of T at the least, since after 15 questions the
    kernel gives up.
    """
    if not keepalive.enabled:
        return 0
    pause = min(keepalive.idle, keepalive.interval) * 1000
    return min(max(pause, keepalive.bound * 1000 // 14, 1000), 120_000)


def probing(keepalive: KeepAlive, every: int = 1) -> KeepAlive:
    """Return what is in force while a peer is asked out of turn, each `every` seconds; T stays.

    The kernel is not to give a verdict sooner than it would; the watchdog is. Setting it makes the kernel ask
    at once, and count: more questions than the user's count, which may be out already, must be allowed. A
    live peer on an idle connection answered within 6.5 ms (measured).
    """
    count = min(max(math.ceil(keepalive.bound / every) - 1, keepalive.count + 1), MAX_KEEPALIVE_COUNT)
    return KeepAlive(idle=every, interval=every, count=count)
