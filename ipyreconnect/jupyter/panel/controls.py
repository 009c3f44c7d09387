"""What the controls of a panel have in common: they show a client's status, and command it.

What the user does in the browser is a command to the client, run by `Commands` away from every thread that
others wait for, and answered with what came of it. web/controls.mjs is the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from traitlets import Unicode

from ...client.client import Client
from .commands import Commands, explain
from .page import script, style
from .part import Part

__all__ = ["Control"]


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
