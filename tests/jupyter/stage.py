"""A widget without a browser, for tests of what is sent to one, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipyreconnect.jupyter.panel.channel import Channel, Tick, View


class Stage:
    """A channel with what it sent, and a state that can be changed."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.woken = 0
        self.state: Any = 0
        self.keyed = False
        self.buffers: list[bytes] = []
        self.channel = Channel(self, self.compose, self.wake)

    def send(self, content: Any, buffers: Sequence[bytes] | None = None) -> None:
        self.sent.append(content)

    def wake(self) -> None:
        self.woken += 1

    def compose(self, views: Mapping[str, View]) -> Tick:
        return Tick({"state": self.state}, self.buffers, key=self.state if self.keyed else None)

    def change(self, state: Any) -> None:
        self.state = state
        self.channel.poke()

    def ticks(self) -> list[Any]:
        return [content["state"] for content in self.sent if content["m"] == "tick"]
