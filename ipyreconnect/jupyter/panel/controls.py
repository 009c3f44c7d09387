"""The base class of a panel's controls: they show a client's status, and command the client.

What the user does in the browser becomes a command to the client. `Commands` runs it on a thread of its own,
and the outcome is the answer. web/controls.mjs is the other side.
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
    """A part that shows a client's status and commands the client.

    Args:
        client: the client.
        commands: runs what the user asks for.
        traits: of the widget.

    """

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
        """Note that something may have changed. Called with the client's lock: it must not do more."""
        self.channel.poke()

    def command(self, request: Mapping[str, Any], kind: str, act: Callable[[], Mapping[str, Any]]) -> None:
        """Run `act` on the commands' thread, and answer with what it returns, or why it failed.

        Args:
            request: the view's message, to which is answered.
            kind: the answer's kind.
            act: what to do.

        """
        answer = {"m": kind, "view": request.get("view"), "id": request.get("id"), "error": ""}

        def reply(content: Mapping[str, Any]) -> None:
            self.publisher.post(lambda: self.send({**answer, **content}))

        self._commands.submit(lambda: reply(act()), lambda error: reply({"error": explain(error)}))
