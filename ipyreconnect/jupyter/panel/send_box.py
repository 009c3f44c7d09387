"""The send box of a panel: one line, typed by hand, sent through the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traitlets import Unicode

from ...errors import NotConnected, SettingsError
from ...protocol.state import State
from ...secret import Secret
from ..aside import send_aside
from .channel import Tick, View
from .controls import Control

__all__ = ["SendBox"]

LONGEST_LINE = 1024 * 1024
"""Characters of a line that may be sent from here; a longer one was not typed or pasted by hand."""


class SendBox(Control):
    """A line to send: what is typed goes to the client only, and what is masked stays masked."""

    kind = Unicode("send").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return whether a line would be sent now."""
        connected = self._client.status.state.value == "connected"
        return Tick({"connected": connected}, key=connected)

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Send the line, or say why it cannot be sent."""
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
