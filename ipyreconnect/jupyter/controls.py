"""The controls that stock widgets can't give, as widgets: the header, the keepalive fields and the send box;
they keep no state.

What the user does in the browser is a command to the client, run by `Commands` away from every thread that
others wait for, and answered with what came of it. static/controls.js is the other side.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from ipyreconnect.address import TLSMode
from ipyreconnect.errors import ReconnectError, SettingsError
from ipyreconnect.jupyter.part import Part, static_text
from ipyreconnect.jupyter.publisher import Tick, View
from ipyreconnect.settings import KeepAlive

if TYPE_CHECKING:
    from ipyreconnect.client import Client

__all__ = ["Commands", "Header", "KeepAliveFields", "SendBox", "explain"]

LONGEST_LINE = 1024 * 1024
"""Characters that are taken from the send box; a longer line is no line typed or pasted by hand."""

logger = logging.getLogger(__name__)


def explain(error: BaseException) -> str:
    """Return an error as one line for the user: our own errors speak for themselves, others are named."""
    text = " ".join(str(error).split())
    return (
        text
        if isinstance(error, (ReconnectError, ValueError)) and text
        else f"{type(error).__name__}: {text}"
    )


class Commands:
    """Runs what the user asked for, in order, on a thread that lives while there is something to do."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Callable[[], None], Callable[[BaseException], None]]] = deque()
        self._lock = threading.Lock()
        self._running = False

    def submit(self, command: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """Run `command` soon; `failed` gets what it raises, on the same thread. Any thread; never blocks."""
        with self._lock:
            self._queue.append((command, failed))
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="ipyreconnect-commands", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running = False
                    return
                command, failed = self._queue.popleft()
            try:
                command()
            except Exception as error:  # noqa: BLE001 - the panel shows it; from a callback it would vanish
                failed(error)


class Control(Part):
    """A part that shows a client's status and commands the client."""

    _esm = Unicode(static_text("link.js", "controls.js")).tag(sync=True)
    _css = Unicode(static_text("theme.css", "controls.css")).tag(sync=True)

    def __init__(self, client: Client, commands: Commands, **traits: Any) -> None:
        self._client = client
        self._commands = commands
        super().__init__(**traits)
        client.add_watcher(self.channel.poke)

    def close(self) -> None:
        """Close the control; the client stays as it is."""
        self._client.remove_watcher(self.channel.poke)
        super().close()

    def reply(self, request: Mapping[str, Any], kind: str, **content: Any) -> None:
        """Answer one view's request. Any thread: the publisher sends it."""
        message = {"m": kind, "view": request.get("view"), "id": request.get("id"), **content}
        self.publisher.post(lambda: self.send(message))


class Header(Control):
    """Which connection this is, how it is, and what comes next."""

    kind = Unicode("header").tag(sync=True)

    def __init__(self, client: Client, commands: Commands, **traits: Any) -> None:
        self._trouble = ""
        self.on_status: Callable[[str], None] = lambda state: None
        super().__init__(client, commands, **traits)

    def complain(self, error: BaseException) -> None:
        """Show what went wrong until the user dismisses it or acts again. Any thread."""
        logger.debug("a command of the panel failed", exc_info=error)
        self._trouble = explain(error)
        self.channel.poke()

    def calm(self) -> None:
        """Take the complaint away. Any thread."""
        self._trouble = ""
        self.channel.poke()

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return the status, its moments as seconds from now: the browser's clock may be another's."""
        client = self._client
        status = client.status
        now = time.time()
        state = str(getattr(status.state, "value", status.state))
        phase = getattr(status.phase, "value", status.phase)
        tls = status.tls
        self.on_status(state)
        return Tick(
            key=(status, self._trouble),
            content={
                "name": client.name,
                "address": str(client.address),
                "peer": status.peer,
                "state": state,
                "phase": phase or "",
                "reason": status.reason,
                "attempt": status.attempt,
                "retry_in": None if status.retry_at is None else max(0.0, status.retry_at - now),
                "up": None if status.connected_since is None else max(0.0, now - status.connected_since),
                "connections": status.connection,
                "wants_tls": client.address.tls is not TLSMode.NONE,
                "verify": bool(getattr(client.tls, "verify", True)),
                "tls": tls
                and {
                    "version": tls.version.replace("TLSv", "TLS "),
                    "cipher": tls.cipher,
                    "expires": tls.not_after,
                },
                "trouble": self._trouble,
            },
        )

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take the complaint away when the user has read it."""
        if kind == "dismiss":
            self.calm()


class KeepAliveFields(Control):
    """How soon a dead peer is noticed: changes the live socket, and shows what the system made of it."""

    kind = Unicode("keepalive").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what is wanted and what is in force."""
        state = self._state()
        return Tick(state, key=repr(state))

    def _state(self) -> dict[str, Any]:
        return {
            "wanted": _fields(self._client.keepalive),
            "in_force": _fields(self._client.keepalive_in_force),
        }

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Apply what the user typed or chose."""
        if kind != "apply":
            return

        def command() -> None:
            if content.get("enabled"):
                wanted = KeepAlive(*(_whole(content.get(name)) for name in ("idle", "interval", "count")))
            else:
                wanted = KeepAlive.off()
            self._client.set_keepalive(wanted)
            self.reply(content, "applied", error="", state=self._state())

        self._commands.submit(
            command, lambda error: self.reply(content, "applied", error=explain(error), state=self._state())
        )


def _whole(value: object) -> Any:
    """Return a field's text as a number where it is one; KeepAlive says what is wrong with anything else."""
    text = str(value).strip()
    return int(text) if text.isdigit() and len(text) < 10 else text or "nothing"


def _fields(keepalive: KeepAlive | None) -> dict[str, Any] | None:
    if keepalive is None:
        return None
    return {
        "idle": keepalive.idle,
        "interval": keepalive.interval,
        "count": keepalive.count,
        "enabled": keepalive.enabled,
    }


class SendBox(Control):
    """A line to send. What is typed goes to the client and nowhere else."""

    kind = Unicode("send").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return whether a line would leave now."""
        state = self._client.status.state
        connected = str(getattr(state, "value", state)) == "connected"
        return Tick({"connected": connected}, key=connected)

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Send the line, and say what is wrong where it can't be sent."""
        if kind != "send":
            return

        def command() -> None:
            text = str(content.get("text", ""))
            if len(text) > LONGEST_LINE:
                raise SettingsError(
                    f"a line of {len(text)} characters is too long for this box: client.send takes it"
                )
            self._client.send(text)
            self.reply(content, "sent", error="")

        self._commands.submit(command, lambda error: self.reply(content, "sent", error=explain(error)))
