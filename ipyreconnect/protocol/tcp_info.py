"""The kernel's account of a connection: struct tcp_info of Linux (tcp(7)). A value."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ..lines.text import counted

__all__ = ["TcpInfo", "unanswered"]

_CLOSED: Final = 7  # TCP_CLOSE in include/net/tcp_states.h
_TROUBLED: Final = 2  # TCP_CA_CWR in include/uapi/linux/tcp.h; beyond it are Recovery and Loss
_RTO_MIN: Final = 0.2  # seconds; TCP_RTO_MIN in include/net/tcp.h
_COMMON: Final = struct.Struct("=B B B B B 3x I 12x I 16x I 4x I I 8x I I")
_COUNTERS: Final = struct.Struct("=Q Q 8x I")
_COUNTERS_AT: Final = 120
_MSS: Final = struct.Struct("=I")
_MSS_AT: Final = 16
_WINDOW: Final = struct.Struct("=I")
_WINDOW_AT: Final = 228


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """What the kernel knows of a connection at one moment (struct tcp_info of linux/tcp.h).

    Attributes:
        state: 1 while established, 7 when it has ended.
        retransmits: times that the oldest unacknowledged data was sent again since something was
            acknowledged.
        probes: keepalive or window probes that went unanswered, one after the other.
        backoff: how often the time until the next of them was doubled.
        rto: the time until the next retransmission, µs.
        unacked: segments in flight.
        last_data_sent: ms since data was sent.
        last_data_recv: ms since data was received.
        last_ack_recv: ms since an acknowledgement was received.
        rtt: smoothed round-trip time, µs.
        rttvar: its variation, µs.
        bytes_acked: bytes that the peer has acknowledged, and the SYN; None before Linux 4.1.
        bytes_received: None before Linux 4.1.
        notsent: bytes that are yet to be sent.
        snd_wnd: bytes that the peer has room for; None before Linux 5.4.
        snd_mss: bytes of the largest segment that is sent; 0: not known.
        ca_state: 2 where something seems to be lost, 3 and 4 while that is sent again.
    """

    state: int = 1
    retransmits: int = 0
    probes: int = 0
    backoff: int = 0
    rto: int = 0
    unacked: int = 0
    last_data_sent: int = 0
    last_data_recv: int = 0
    last_ack_recv: int = 0
    rtt: int = 0
    rttvar: int = 0
    bytes_acked: int | None = None
    bytes_received: int | None = None
    notsent: int = 0
    snd_wnd: int | None = None
    snd_mss: int = 0
    ca_state: int = 0

    @classmethod
    def unpack(cls, buffer: bytes) -> TcpInfo:
        """Read what `getsockopt(IPPROTO_TCP, TCP_INFO, 280)` gave; an older kernel's is shorter.

        Raises:
            ValueError: it is shorter than any that has what is needed.
        """
        if len(buffer) < _COMMON.size:
            raise ValueError(f"a tcp_info has at least {_COMMON.size} bytes, not {len(buffer)}")
        state, ca_state, retransmits, probes, backoff, rto, unacked, *ages, rtt, rttvar = _COMMON.unpack_from(
            buffer
        )
        counters: tuple[int | None, int | None, int] = (None, None, 0)
        if len(buffer) >= _COUNTERS_AT + _COUNTERS.size:
            counters = _COUNTERS.unpack_from(buffer, _COUNTERS_AT)
        (mss,) = _MSS.unpack_from(buffer, _MSS_AT)
        window: int | None = None
        if len(buffer) >= _WINDOW_AT + _WINDOW.size:
            (window,) = _WINDOW.unpack_from(buffer, _WINDOW_AT)
        sent, received, heard = ages
        return cls(
            state,
            retransmits,
            probes,
            backoff,
            rto,
            unacked,
            sent,
            received,
            heard,
            rtt,
            rttvar,
            *counters,
            window,
            mss,
            ca_state,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended, from whichever side."""
        return self.state == _CLOSED

    @property
    def acknowledged(self) -> int | None:
        """Bytes of the stream that the peer's kernel has; None where this one does not count them."""
        return None if self.bytes_acked is None else max(self.bytes_acked - 1, 0)

    @property
    def silence(self) -> float:
        """Seconds since anything at all was heard from the peer."""
        return min(self.last_data_recv, self.last_ack_recv) / 1000

    @property
    def asking(self) -> bool:
        """Whether the kernel waits for an answer."""
        return bool(self.probes or self.retransmits or self.unacked)

    @property
    def questions(self) -> int:
        """How often it has asked since the last answer."""
        return self.probes + self.retransmits + (1 if self.unacked else 0)

    @property
    def blocked(self) -> bool:
        """Whether there is something to send that the peer has no room for.

        Besides a window of 0 there is one too small for the next segment: then nothing is in flight, either.
        Where there is room, nothing could be sent at all: this end's own link is down, or has no route.
        """
        if self.unacked or self.snd_wnd is None:
            return self.notsent > 0 if not self.unacked else self.snd_wnd == 0
        return self.snd_wnd < min(self.notsent, self.snd_mss or self.notsent)

    @property
    def recovering(self) -> bool:
        """Whether something was lost, or seems to be, and is sent again."""
        return self.retransmits > 0 or self.ca_state >= _TROUBLED

    @property
    def retransmitting_for(self) -> float:
        """Seconds, at the least, that the oldest data in flight has been there: the sum of the waits."""
        if not self.retransmits:
            return 0.0
        first = max(_RTO_MIN, (self.rtt + 4 * self.rttvar) / 1e6)
        longest = self.rto / 1e6
        waits = [min(first * 2.0**wait, longest) for wait in range(self.retransmits)]
        return sum(waits) + self.last_data_sent / 1000


def unanswered(info: TcpInfo) -> str:
    """Say for how long a peer has been silent, and what it has not answered; to follow its name."""
    asked = [
        counted(count, word)
        for count, word in ((info.probes, "probe"), (info.retransmits, "retransmission"))
        if count
    ]
    return f"has not answered for {info.silence:.1f} s ({' and '.join(asked) or 'data in flight'})"
