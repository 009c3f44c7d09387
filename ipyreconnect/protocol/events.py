"""What the parts of a connection tell it, and what it tells the floors above: values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from ..lines.store import Runs
from ..settings import KeepAlive
from .expect import Search
from .state import Effect
from .status import Status
from .tls import TLSInfo

__all__ = [
    "ApplyOptions",
    "Closed",
    "Event",
    "Filled",
    "Frame",
    "Framed",
    "Judge",
    "Lines",
    "PlainText",
    "Received",
    "RunFunction",
    "Secured",
    "StatusChanged",
]


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


# -- what the connection asks of the driver, in order


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """Users are to be told this status."""

    status: Status


@dataclass(frozen=True, slots=True)
class RunFunction:
    """The on-connect function is to run, as the session of that number."""

    session: int


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """The kernel is to ask and to give up by these rules; user_timeout: ms, 0: the system's own."""

    keepalive: KeepAlive
    user_timeout: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The user's framing has something to do: `Inbox.take_framing_job`."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Lines are to be judged over which an expression may take long: `Exchange.take_job`."""


Event = Effect | StatusChanged | RunFunction | ApplyOptions | Frame | Judge | Search
