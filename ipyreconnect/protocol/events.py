"""What the parts of a connection tell it, and what it tells the floors above: values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from ..lines.transcript import Runs
from .tls import TLSInfo

__all__ = ["Closed", "Filled", "Framed", "Lines", "PlainText", "Received", "Secured"]


# -- what the inbox yields. Not frozen: making a frozen one takes thrice as long, at each read.


@dataclass(slots=True)
class Filled:
    """So many bytes that were received stand in the transcript's room, and are to be committed."""

    size: int


@dataclass(slots=True)
class Framed:
    """Lines that a framer has made of what was received, for the transcript."""

    lines: list[bytes]


@dataclass(slots=True)
class Lines:
    """Received lines that the transcript has already."""

    runs: Runs


@dataclass(slots=True)
class PlainText:
    """Lines of the dialogue that leads to TLS, and the unfinished one behind them."""

    lines: list[bytes]
    rest: bytes


@dataclass(slots=True)
class Secured:
    """The TLS handshake is done."""

    info: TLSInfo


@dataclass(slots=True)
class Closed:
    """The peer has said in TLS that it sends no more."""


Received = Filled | Framed | Lines | PlainText | Secured | Closed
