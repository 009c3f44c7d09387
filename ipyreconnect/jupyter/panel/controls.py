"""The controls that stock widgets can't give: header, settings fields, send box; they decide nothing.

What the user does in the browser is a command to the client, run by `Commands` away from every thread that
others wait for, and answered with what came of it. web/controls.mjs is the other side.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from ...address import Address
from ...client.arguments import name_from
from ...errors import NotConnected, SettingsError
from ...profile.base import TLSMode
from ...protocol.state import State
from ...secret import Secret
from ...settings import NO_KEEPALIVE, KeepAlive
from ..aside import send_aside
from .commands import Commands, explain
from .page import script, style
from .part import Part
from .publisher import Tick, View

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["Header", "SendBox", "SettingsFields"]

STRIP = 600.0
"""Seconds that the strip of states goes back."""
KEPT_STATES = 400
"""Changes that it shows at the most: more than a screen has room for."""
KEPT_ROUND_TRIPS = 60
"""Round-trip times in the plot: two minutes, at a heartbeat every 2 s."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the peer's health, unless its verdict changes."""
LONGEST_LINE = 1024 * 1024
"""Characters that are taken from the send box; a longer line is no line typed or pasted by hand."""

logger = logging.getLogger(__name__)


class Control(Part):
    """A part that shows a client's status and commands the client."""

    _esm = Unicode(script("controls")).tag(sync=True)
    _css = Unicode(style("theme", "controls")).tag(sync=True)

    def __init__(self, client: Client, commands: Commands, **traits: Any) -> None:
        self._client = client
        self._commands = commands
        super().__init__(**traits)
        client.add_watcher(self.poke)

    def close(self) -> None:
        """Close the control; the client stays as it is."""
        self._client.remove_watcher(self.poke)
        super().close()

    def poke(self) -> None:
        """Note that something may have changed. Called with the client's turn: it must not do more."""
        self.channel.poke()

    def command(self, request: Mapping[str, Any], kind: str, act: Callable[[], Mapping[str, Any]]) -> None:
        """Run `act` away from here, and answer the view that asked with what it returns or why it failed."""
        answer = {"m": kind, "view": request.get("view"), "id": request.get("id"), "error": ""}

        def reply(content: Mapping[str, Any]) -> None:
            self.publisher.post(lambda: self.send({**answer, **content}))

        self._commands.submit(lambda: reply(act()), lambda error: reply({"error": explain(error)}))


class Header(Control):
    """Which connection this is, how it is, how it was, and what comes next."""

    kind = Unicode("header").tag(sync=True)

    def __init__(self, client: Client, commands: Commands, **traits: Any) -> None:
        self._trouble = ""
        self.on_look: Callable[[str], None] = lambda state: None
        """Called with the state when it may be new, and every two seconds; on the publisher's thread."""
        status = client.status
        # When which state began. The first one began before us; of a connection we know when.
        first = (status.connected_since or time.time(), status.state.value)
        self._states: deque[tuple[float, str]] = deque([first], KEPT_STATES)
        self._round_trips: deque[tuple[float, float]] = deque(maxlen=KEPT_ROUND_TRIPS)
        self._looked: tuple[float, object, dict[str, Any]] | None = None
        super().__init__(client, commands, **traits)

    def poke(self) -> None:
        """Note when the state changed, also while nobody looks: the strip goes back ten minutes."""
        state = self._client.status.state.value
        if state != self._states[-1][1]:
            self._states.append((time.time(), state))
        super().poke()

    def complain(self, error: BaseException) -> None:
        """Show what went wrong until the user dismisses it or acts again."""
        logger.debug("a command of the panel failed", exc_info=error)
        self._trouble = explain(error)
        self.channel.poke()

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return the status, its moments as seconds from now: the browser's clock may be another's."""
        client = self._client
        status = client.status
        now = time.time()
        tls = status.tls
        state = status.state.value
        self.on_look(state)
        health = self._health(now)
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
        """Return how the peer is now."""
        self.on_look(self._client.status.state.value)
        return {"health": self._health(time.time())}

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Do what a button says; that, and reading it, takes the last complaint away."""
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
        """Return how many seconds ago which state began, over the last ten minutes."""
        states = list(self._states)
        while len(states) > 1 and now - states[1][0] > STRIP:
            del states[0]
        return [[min(STRIP, max(0.0, now - at)), state] for at, state in states]

    def _health(self, now: float) -> dict[str, Any] | None:
        """Return what is known of the peer; None while there is none."""
        status = self._client.status
        if status.connected_since is None:
            self._round_trips.clear()
            self._looked = None
            return None
        # Each look is a question to the system, and pokes us; changes of the verdict come by themselves.
        if self._looked is None or now - self._looked[0] > LOOK_EVERY or status.verdict != self._looked[1]:
            self._looked = now, status.verdict, asdict(self._client.health)
            rtt = self._looked[2]["rtt"]
            if rtt is not None:
                self._round_trips.append((now, rtt))
        return self._looked[2]


class SettingsFields(Control):
    """How soon a dead peer is noticed, and when the next try is made after a loss.

    The keepalive changes the live socket, and is shown as the system gave it back.
    """

    kind = Unicode("settings").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what is wanted and what is in force."""
        state = self._state()
        return Tick(state, key=repr(state))

    def _state(self) -> dict[str, Any]:
        retry, in_force = self._client.retry, self._client.keepalive_in_force
        return {
            "keepalive": asdict(self._client.keepalive),
            "in_force": in_force and asdict(in_force),
            "without": NO_KEEPALIVE if self._client.address.path else "",
            "retry": {
                "delay": retry.delay,
                "factor": retry.factor,
                "max": retry.ceiling,
                "attempts": retry.attempts,
            },
        }

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Apply what the user typed or chose; what is refused changes nothing."""
        if kind == "keepalive":
            self.command(content, "applied", lambda: self._set_keepalive(content))
        elif kind == "retry":
            self.command(content, "applied", lambda: self._set_retry(content))

    def _set_keepalive(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        if wish.get("enabled"):
            keepalive = KeepAlive(*(_number(wish.get(name)) for name in ("idle", "interval", "count")))
        else:
            keepalive = replace(self._client.keepalive, enabled=False)
        self._client.set_keepalive(keepalive)
        return self._state()

    def _set_retry(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        values = {name: _number(wish.get(name)) for name in ("delay", "factor", "max")}
        self._client.retry = replace(self._client.retry, **values)
        return self._state()


def _names_of(address: Address) -> set[str]:
    """Return the names that a connection to this address has where the user gave it none."""
    return {name_from(None, address), address.display, str(address)}


def _number(value: object) -> Any:
    """Return a field's text as a number where it is one; the settings refuse anything else with a reason."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text or "nothing"
    return int(number) if number.is_integer() else number


class SendBox(Control):
    """A line to send: what is typed goes to the client and nowhere else; what is masked stays masked."""

    kind = Unicode("send").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return whether a line would leave now."""
        connected = self._client.status.state.value == "connected"
        return Tick({"connected": connected}, key=connected)

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Send the line, and say what is wrong where it can't be sent."""
        if kind == "send":
            text, masked = str(content.get("text", "")), bool(content.get("masked"))
            self.command(content, "sent", lambda: self._send_line(text, masked))

    def _send_line(self, text: str, masked: bool) -> Mapping[str, Any]:
        if len(text) > LONGEST_LINE:
            raise SettingsError(f"a line of {len(text)} characters is too long for this box; use client.send")
        try:
            send_aside(self._client, Secret(text) if masked else text)
        except NotConnected:
            if self._client.status.state is State.WAITING:
                # The header counts down to the next try; a number here would stand still.
                raise NotConnected("not connected: waiting for the next try") from None
            raise
        return {}
