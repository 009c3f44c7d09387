"""The base class of a panel's parts: each draws itself in the browser, and talks with it in messages.

No part knows another. A part keeps nothing of what it shows in a synced trait, for two reasons: traits are
stored with the notebook, and text from a server or a user must not be; and a trait that is changed in the
browser while an `await` cell runs keeps that value for ever on ipykernel 7.4.0, which messages do not. So the
browser sends what the user wants, and the kernel answers with what is in force.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import anywidget

from .channel import Channel, Tick, View
from .publisher import get_publisher

__all__ = ["Part", "free_from_busy_cells"]


def free_from_busy_cells(widget: Any) -> None:
    """Have the browser's messages to `widget` handled while a cell runs.

    ipykernel 7.4.0 hands a comm's messages to the shell that last published on it, which for a thread is the
    main one: a click waits for the cell. Its hook for that decision is private, so it is looked up by name;
    other versions need no help.
    """
    comm = getattr(widget, "comm", None)
    if comm is not None and hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default


class Part(anywidget.AnyWidget):
    """One part of a panel: it listens to its views, and sends ticks through the publisher.

    A subclass has `compose` (the present state as a tick) and `answer` (to a message that is neither hello,
    ack nor bye). Both run on the publisher's thread and must not block.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        free_from_busy_cells(self)
        free_from_busy_cells(self.layout)
        self.publisher = get_publisher()
        self.channel = Channel(self, self.compose, self.publisher.wake, self.beat, self.left)
        self.on_msg(self._listen)
        self.publisher.add(self.channel)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return the present state."""
        raise NotImplementedError

    def beat(self) -> Mapping[str, Any]:
        """Return what a heartbeat carries every two seconds: a few numbers at the most."""
        return {}

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Act on what the user did in the browser."""

    def left(self, view: str) -> None:
        """End what is done for a view that is gone."""

    def expect_view(self) -> None:
        """Send ticks also to a view that is being shown now, before its hello. Any thread."""
        self.publisher.post(lambda: self.channel.expect(time.monotonic()))

    def close(self) -> None:
        """Close the widget and its Layout; nothing is sent afterwards. Any thread."""
        if self.comm is None:
            return
        self.publisher.remove([self.channel])
        layout = self.layout
        super().close()
        layout.close()

    def _listen(self, widget: object, content: Any, buffers: object) -> None:
        """Hand a message on to the publisher: it comes on a thread of the kernel, which must not wait."""
        if isinstance(content, dict):
            self.publisher.post(lambda: self._hear(content))

    def _hear(self, content: dict[str, Any]) -> None:
        kind, view = str(content.get("m")), str(content.get("view"))
        if kind == "hello":
            self.channel.hear(view, time.monotonic(), wants=content.get("want"))
        elif kind == "ack":
            self.channel.hear(
                view, time.monotonic(), acknowledged=int(content["seq"]), wants=content.get("want")
            )
        elif kind == "bye":
            self.channel.leave(view)
        else:
            self.answer(kind, content)
