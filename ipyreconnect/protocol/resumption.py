"""Decide which TLS session a reconnection may take up; knows no pipe and no clock.

Python's `ssl` copies the session each time that it is asked for one, and until 3.12.8 and 3.13.1 it forgot
the copy (CPython's gh-116810; no 3.11 will get the fix): 5.7 KiB a connection, with TLS 1.2 and 1.3, measured
on 3.11.2, 3.11.7, 3.12.1 and 3.13.0, and none on 3.12.10. There is no other way to a session, and one that is
asked for once and used for ever would run out, or be refused. So nothing is resumed there: a full handshake
costs a quarter more of a reconnection's processor time, and no memory.
"""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from typing import Final

from .tls import TLSInfo, TLSPipe

__all__ = ["RESUMES", "Resumption", "leaks_sessions"]

VERIFIED_FOR: Final = 86_400.0
"""Seconds for which a verified certificate counts. A resumed session brings the next one, for ever, and
nothing is verified anew meanwhile: RFC 8446, 4.6.1, recommends a limit, for the certificates of the chain may
expire and be revoked."""


def leaks_sessions(implementation: str, version: tuple[int, int, int]) -> bool:
    """Say whether asking that Python for a TLS session leaks it; True also where nobody has measured it.

    Args:
        implementation: as in `sys.implementation.name`
        version: its first three numbers

    """
    if implementation != "cpython":
        return True
    return version < (3, 12, 8) or (3, 13, 0) <= version < (3, 13, 1)


RESUMES: Final = not leaks_sessions(sys.implementation.name, sys.version_info[:3])
"""Whether sessions are resumed on this Python."""


@dataclass(frozen=True, slots=True)
class _Kept:
    session: ssl.SSLSession
    until: float


class Resumption:
    """Keep the TLS session of one client's last connection, for as long as its certificate's word holds.

    Times are Unix epoch seconds, as certificates have them. With the connection's lock held.

    Args:
        resumes: whether to keep any

    """

    __slots__ = ("_kept", "_resumes", "_until")

    def __init__(self, resumes: bool = RESUMES) -> None:
        self._resumes = resumes
        self._kept: _Kept | None = None
        self._until = 0.0  # of the connection there is now

    def session(self, wall: float) -> ssl.SSLSession | None:
        """Return the session to resume, None for a full handshake: there is none, or its time is over."""
        if self._kept is None or wall >= self._kept.until:
            return None
        return self._kept.session

    def secured(self, info: TLSInfo, wall: float) -> None:
        """Take note of what a handshake agreed upon: a resumed one was verified when its session began."""
        if info.resumed and self._kept is not None:
            self._until = self._kept.until
            return
        self._until = wall + VERIFIED_FOR
        if info.not_after is not None:
            self._until = min(self._until, info.not_after)

    def ended(self, pipe: TLSPipe, *, in_handshake: bool) -> None:
        """Keep the session of a connection that has ended.

        Args:
            pipe: which has it
            in_handshake: whether it ended before it was secured: then the session may be what failed

        """
        if in_handshake:
            self._kept = None
        elif self._resumes and (session := pipe.session) is not None:
            self._kept = _Kept(session, self._until)
