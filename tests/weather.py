"""Two computers and the air between them: packets come late, or get lost, or only the large ones; no tests.

Each computer has a TUN device instead of the end of a cable, and a thread carries every packet from one to
the other, as the weather has it: what a cable cannot do without tc's netem, which not every kernel has.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from tests import namespaces
from tests.namespaces import CABLE, NamespacePair

__all__ = ["Weather", "WirelessPair", "unavailable"]

TUN: Final = "/dev/net/tun"

# linux/if_tun.h; without IFF_NO_PI there would be four more bytes before each packet.
TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000

LARGEST_PACKET: Final = 65536


@dataclass
class Weather:
    """What becomes of packets from now on; each of it may be changed at any time, by any thread.

    delay: seconds one way. jitter: by how many of these it varies. lost: which of its packets each TCP stream
    loses, each way, such as every third; 0: none. left_lost, right_lost: all that the computer of that side
    sends gets lost. largest: bytes of the largest packet that passes; nobody is told of others.
    """

    delay: float = 0.0
    jitter: float = 0.0
    lost: int = 0
    left_lost: bool = False
    right_lost: bool = False
    largest: int = LARGEST_PACKET
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def loses(self, side: int, packet: bytes) -> bool:
        """Decide about a packet that the left (0) or the right side (1) has sent."""
        if (self.right_lost if side else self.left_lost) or len(packet) > self.largest:
            return True
        ports = packet[20:24]  # of TCP in IPv4, without options
        number = self._numbers[ports] = self._numbers.get(ports, 0) + 1
        return self.lost > 0 and number % self.lost == 0

    def underway(self) -> float:
        """Return for how many seconds a packet is under way."""
        return max(0.0, self.delay + random.uniform(-self.jitter, self.jitter))


class WirelessPair(NamespacePair):
    """A `NamespacePair` without a cable, whose `weather` can be changed; packets stay in order."""

    def __init__(self) -> None:
        self.weather = Weather()
        self._ends: list[int] = []

    def _join(self, undo: ExitStack) -> None:
        for end in (self.left, self.right):
            with end.entered():
                fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                undo.callback(os.close, fd)
                fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", CABLE.encode(), IFF_TUN | IFF_NO_PI))
            self._ends.append(fd)
        stopping, stop = os.pipe()
        undo.callback(os.close, stopping)
        undo.callback(os.close, stop)
        thread = threading.Thread(target=self._carry, args=(stopping,), name="weather")
        undo.callback(thread.join)
        undo.callback(os.write, stop, b"\0")
        thread.start()

    def _carry(self, stopping: int) -> None:
        """Carry packets until there is something to read from `stopping`."""
        poller = select.poll()
        for fd in (*self._ends, stopping):
            poller.register(fd, select.POLLIN)
        flying: list[tuple[float, int, int, bytes]] = []
        arrives = [0.0, 0.0]
        number = 0
        while True:
            wait = None if not flying else max(0.0, flying[0][0] - time.monotonic()) * 1000
            ready = [fd for fd, _ in poller.poll(wait)]
            if stopping in ready:
                return
            for side, fd in enumerate(self._ends):
                while fd in ready:
                    try:
                        packet = os.read(fd, LARGEST_PACKET)
                    except OSError:  # nothing more, or the interface has gone
                        break
                    if not self.weather.loses(side, packet):
                        number += 1
                        arrives[side] = max(arrives[side], time.monotonic() + self.weather.underway())
                        heapq.heappush(flying, (arrives[side], number, side, packet))
            while flying and flying[0][0] <= time.monotonic():
                _, _, side, packet = heapq.heappop(flying)
                with contextlib.suppress(OSError):  # the interface there is down
                    os.write(self._ends[1 - side], packet)


def unavailable() -> str | None:
    """Say why there can be no weather here; None: there can."""
    return namespaces.unavailable() or (None if os.access(TUN, os.R_OK | os.W_OK) else f"there is no {TUN}")
