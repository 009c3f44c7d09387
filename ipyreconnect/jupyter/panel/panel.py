"""A client's panel: header, log, send box and settings fields in one box; the client does the work.

A stock box of ipywidgets holds the parts, which draw themselves (header.py, log_view.py, send_box.py,
fields.py). Each part can also be put into a layout of the user's own: `panel.header`, `panel.log`,
`panel.send_box`, `panel.keepalive`.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import ipywidgets
from IPython.display import display

from ...client.client import Client
from ..output.saved import static_html
from .commands import Commands
from .copies import SavedCopies
from .fields import SettingsFields
from .header import Header
from .log_view import LogView
from .part import Part, free_from_busy_cells
from .publisher import get_publisher
from .send_box import SendBox

__all__ = ["Panel", "close_all_panels", "close_panel", "panel_for"]

SAVED_LINES = 20
"""Lines that a saved notebook shows: enough to remember what it was about, little enough for a diff."""


class Panel(ipywidgets.VBox):
    """The panel of one client, in any number of views; closing it leaves the client as it is. Any thread.

    Args:
        client: the client; `panel_for` returns the panel that it has.
        saved_lines: how many of the last lines a saved notebook shows as plain HTML (what looks like a log-in
            is masked); 0 for none.

    """

    saved_lines: int = SAVED_LINES
    """May be set on the class, for all panels to come, and on one panel."""

    def __init__(self, client: Client, *, saved_lines: int | None = None) -> None:
        self.client = client
        if saved_lines is not None:
            self.saved_lines = saved_lines
        self.copies = SavedCopies(client.transcript, self._static_bundle)
        commands = Commands()
        self.header = Header(client, commands)
        self._log_view = LogView(client, label=f"log of {client.name}")
        self.send_box = SendBox(client, commands)
        self.keepalive = SettingsFields(client, commands)
        self._parts: tuple[Part, ...] = (self.header, self._log_view, self.send_box, self.keepalive)
        self.header.on_state = self._store_state
        super().__init__(self._parts)
        self.add_class("ipyreconnect-panel")
        free_from_busy_cells(self)
        free_from_busy_cells(self.layout)

    @property
    def log(self) -> LogView:
        """The live log; ipywidgets has a logger of this name, which nothing here needs."""
        return self._log_view

    def _store_state(self, state: str) -> None:
        """Keep what a saved notebook shows up to date. Called on the publisher's thread."""
        self.copies.poll(state, time.monotonic())

    def show(self) -> None:
        """Show the panel under the running cell.

        Below it is, hidden while the panel is alive, what a saved notebook is to show. It can be updated
        there: were it the panel's own, each update would draw the panel anew.
        """
        bundle = super()._repr_mimebundle_() or {}
        live = {**bundle, "text/plain": repr(self), "text/html": ""}
        self._expect_views()
        display(live, raw=True)
        if self.saved_lines <= 0:
            return
        handle = display(self._static_bundle(), raw=True, display_id=True)
        if handle is not None:
            self.copies.add(handle, self.client.status.state.value)

    def _static_bundle(self) -> dict[str, str]:
        return {"text/html": self.static_html(), "text/plain": repr(self)}

    def store(self) -> None:
        """Update what a saved notebook shows. Any thread."""
        self.copies.update()

    def _expect_views(self) -> None:
        for part in self._parts:
            part.expect_view()

    def close(self) -> None:
        """Close the panel and all that belongs to it; where it was shown, the last lines stay as HTML."""
        if self.comm is None:
            return
        with _lock:
            if _panels.get(self.client) is self:
                del _panels[self.client]
        get_publisher().remove([part.channel for part in self._parts])  # all at once, as it may wait
        for part in self._parts:
            part.close()
        layout = self.layout
        super().close()
        layout.close()
        self.store()
        self.copies.clear()

    def static_html(self) -> str:
        """Return the header and the last lines as plain HTML, for where no kernel answers."""
        return static_html(self.client, self.saved_lines)

    def __repr__(self) -> str:
        return f"<Panel of {self.client!r}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any] | None:
        """Return the live view, and for nbviewer, GitHub and nbconvert the last lines as HTML."""
        bundle: dict[str, Any] | None = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            self._expect_views()
            bundle["text/plain"] = repr(self)
            if self.saved_lines > 0:
                bundle["text/html"] = self.static_html()
        return bundle


_panels: dict[Client, Panel] = {}
_lock = threading.RLock()


def panel_for(client: Client) -> Panel:
    """Return the client's panel; the first call makes it. Any thread."""
    with _lock:
        panel = _panels.get(client)
        if panel is None:
            panel = _panels[client] = Panel(client)
        return panel


def close_panel(client: Client) -> bool:
    """Close the client's panel, and return whether it had one. Any thread."""
    with _lock:
        panel = _panels.get(client)
    if panel is not None:
        panel.close()
    return panel is not None


def close_all_panels() -> None:
    """Close every panel of the process, and end the publisher with the last one. Any thread."""
    with _lock:
        panels = list(_panels.values())
    for panel in panels:
        panel.close()
