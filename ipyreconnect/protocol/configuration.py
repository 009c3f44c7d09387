"""What a connection is set up with. A value."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from ..profile.base import Dialect, Profile, TLSMode
from .resumption import RESUMES
from .script import Step

__all__ = ["QUEUE_LIMIT", "QUEUE_LINES", "Settings"]

QUEUE_LIMIT = 4 * 1024 * 1024
"""Bytes of lines that may wait to be sent, unless the user says otherwise."""
QUEUE_LINES = 10_000
"""Lines that may wait to be sent: each takes memory beside its bytes, so the bytes alone are no limit."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What does not change while a client lives.

    Attributes:
        where: how messages call the peer.
        profile: the protocol's.
        tls: none, implicit or STARTTLS.
        context: for TLS.
        server_name: to verify.
        eol: bytes that end a sent line.
        encoding: None for UTF-8 with ISO-8859-1 where it does not fit.
        framing: as `make_framer` takes it.
        script: parsed steps.
        has_function: whether a function runs after each connection.
        resumes: whether a TLS session is taken up again.
        queue_bytes, queue_lines: how much may wait to be handed to the kernel, or for a connection.
        longest_line: bytes of a received line that is kept in one piece; None: 1 MiB, or what the transcript
            has room for.
    """

    where: str
    profile: Profile
    tls: TLSMode = TLSMode.NONE
    context: ssl.SSLContext | None = None
    server_name: str | None = None
    eol: bytes = b"\r\n"
    encoding: str | None = None
    framing: Any = None
    script: tuple[Step, ...] = ()
    has_function: bool = False
    resumes: bool = RESUMES
    queue_bytes: int = QUEUE_LIMIT
    queue_lines: int = QUEUE_LINES
    longest_line: int | None = None

    @property
    def dialect(self) -> Dialect | None:
        """How STARTTLS is spoken."""
        return self.profile.dialect
