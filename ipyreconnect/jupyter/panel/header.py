"""The header of a panel: the connection's name, its state, its health and its history."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from traitlets import Unicode

from ...address import Address
from ...client.arguments import name_from
from ...client.client import Client
from ...profile.base import TLSMode
from .channel import Tick, View
from .commands import Commands, explain
from .controls import Control

__all__ = ["Header"]

STRIP = 600.0
"""Seconds that the strip of past states goes back."""
KEPT_STATES = 400
"""Changes that it shows at the most: more than a screen has room for."""
KEPT_ROUND_TRIPS = 60
"""Round-trip times in the plot: two minutes, at a heartbeat every 2 s."""
HEALTH_EVERY = 1.0
"""Seconds between two questions for the peer's health, unless the verdict changes."""

logger = logging.getLogger(__name__)


class Header(Control):
    """Shows the connection's state, how it was, and what comes next; its buttons command the client."""

    kind = Unicode("header").tag(sync=True)

    def __init__(self, client: Client, commands: Commands, **traits: Any) -> None:
        self._trouble = ""
        self.on_state: Callable[[str], None] = lambda state: None
        """Called with the state when it may be new, and every two seconds; on the publisher's thread."""
        status = client.status
        # When each state began (Unix time). The first one began earlier; of a connection it is known when.
        first = (status.connected_since or time.time(), status.state.value)
        self._states: deque[tuple[float, str]] = deque([first], KEPT_STATES)
        self._round_trips: deque[tuple[float, float]] = deque(maxlen=KEPT_ROUND_TRIPS)
        self._health: _Health | None = None
        super().__init__(client, commands, **traits)

    def poke(self) -> None:
        """Note when the state changed, also while there is no view: the strip goes back ten minutes."""
        state = self._client.status.state.value
        if state != self._states[-1][1]:
            self._states.append((time.time(), state))
        super().poke()

    def complain(self, error: BaseException) -> None:
        """Show an error until the user dismisses it or acts again."""
        logger.debug("a command of the panel failed", exc_info=error)
        self._trouble = explain(error)
        self.channel.poke()

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return the status, with times as seconds from now: the browser's clock may be another machine's."""
        client = self._client
        status = client.status
        now = time.time()
        tls = status.tls
        state = status.state.value
        self.on_state(state)
        health = self._present_health(now)
        return Tick(
            key=(status, self._trouble, health and health["verdict"]),
            content={
                "name": client.name,
                "named": client.name not in _names_of(client.address),
                "address": str(client.address),
                "peer": status.peer,
                "state": state,
                "phase": status.phase.value if status.phase else "",
                "reason": status.reason,
                "loss": status.loss,
                "attempt": status.attempt,
                "retry_in": None if status.retry_at is None else max(0.0, status.retry_at - now),
                "up": None if status.connected_since is None else max(0.0, now - status.connected_since),
                "stopped": None if status.stopped_at is None else max(0.0, now - status.stopped_at),
                "connections": status.connection,
                "wants_tls": client.address.tls is not TLSMode.NONE,
                "verify": client.tls.verify,
                "tls": tls and {"version": tls.version, "cipher": tls.cipher, "expires": tls.not_after},
                "trouble": self._trouble,
                "strip": self._strip(now),
                "health": health,
                "round_trips": [[now - at, seconds] for at, seconds in self._round_trips],
            },
        )

    def beat(self) -> Mapping[str, Any]:
        """Return the peer's health."""
        self.on_state(self._client.status.state.value)
        return {"health": self._present_health(time.time())}

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Do what a button says, and show the last error no more."""
        commands: dict[str, Callable[[], object]] = {
            "connect": lambda: self._client.connect(wait=0),
            "reconnect": self._client.reconnect_now,
            "stop": self._client.stop,
        }
        if kind in commands:
            self._commands.submit(commands[kind], self.complain)
        if kind in commands or kind == "dismiss":
            self._trouble = ""
            self.channel.poke()

    def _strip(self, now: float) -> list[list[Any]]:
        """Return how many seconds ago each state began, over the last ten minutes."""
        states = list(self._states)
        while len(states) > 1 and now - states[1][0] > STRIP:
            del states[0]
        return [[min(STRIP, max(0.0, now - at)), state] for at, state in states]

    def _present_health(self, now: float) -> dict[str, Any] | None:
        """Return what is known of the peer; None while there is none. `now`: Unix time."""
        status = self._client.status
        if status.connected_since is None:
            self._round_trips.clear()
            self._health = None
            return None
        # Each time the system is asked, and pokes us; changes of the verdict come by themselves.
        known = self._health
        if known is None or now - known.asked_at > HEALTH_EVERY or status.verdict != known.verdict:
            known = self._health = _Health(now, status.verdict, asdict(self._client.health))
            rtt = known.values["rtt"]
            if rtt is not None:
                self._round_trips.append((now, rtt))
        return known.values


@dataclass(frozen=True, slots=True)
class _Health:
    """The peer's health, when it was asked for (Unix time), and the verdict of that moment."""

    asked_at: float
    verdict: object
    values: dict[str, Any]


def _names_of(address: Address) -> set[str]:
    """Return the names that a connection to this address may have where the user gave it none."""
    return {name_from(None, address), address.display, str(address)}
