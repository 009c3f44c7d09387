"""Send what is typed into a panel, beside the cells: it ends no cell's answer."""

from __future__ import annotations

import threading
import weakref
from collections import deque

from ..client.client import Client
from ..forking import Stage, in_child
from ..lines.delivery import Delivery
from ..secret import Secret

__all__ = ["send_aside", "was_sent_aside"]

REMEMBERED = 1000
"""Lines of a client that are known to have been typed into its panel: more than a user types in a second,
within which an answer is updated again."""

_lock = threading.Lock()
_sent: weakref.WeakKeyDictionary[Client, deque[Delivery]] = weakref.WeakKeyDictionary()


def send_aside(client: Client, text: str | Secret) -> Delivery:
    """Send a line that no cell sends. Any thread.

    Raises:
        CallerError, PeerError: what `Client.send` raises.

    """
    with _lock:
        delivery = client.send(text)
        _sent.setdefault(client, deque(maxlen=REMEMBERED)).append(delivery)
    return delivery


def was_sent_aside(client: Client, number: int) -> bool:
    """Return whether the line of that number in the client's transcript was sent aside. Any thread."""
    with _lock:  # a line that is being sent is known a moment later
        return any(delivery.number == number for delivery in _sent.get(client, ()))


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()


in_child(Stage.DISPLAY, _after_fork_in_child)
