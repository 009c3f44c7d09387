"""A client's panel: header, log, send box and settings fields in one box; the client does the work.

A stock box of ipywidgets holds the parts, which draw themselves (log_view.py, controls.py). Each part can
also be put into a layout of one's own: `panel.header`, `panel.log`, `panel.send_box`, `panel.keepalive`.
"""

from __future__ import annotations

import html
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import ipywidgets
from IPython.display import DisplayHandle, display

from ...lines.line import Line
from ...lines.text import visible
from ...lines.transcript import Transcript
from ...mask import MASK
from .commands import Commands
from .controls import Header, SendBox, SettingsFields
from .log_view import LogView
from .part import Part, free_from_busy_cells
from .publisher import get_publisher

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["Panel", "close_all_panels", "close_panel", "panel_for", "static_html"]

SAVED_LINES = 20
"""Lines that a saved notebook shows: enough to remember what it was about, little enough for a diff."""
STATIC_CLASS = "ipyreconnect-static"
"""Where the panel is alive, its style sheet hides what has this class."""
STORE_STATE = 5.0
"""Least seconds between two updates of what a saved notebook shows, where the state has changed …"""
STORE_LINES = (2.0, 60.0)
"""… and where only lines have come, at first and, doubled each time, at last: each update gives the notebook
unsaved changes."""
STORED_AT_MOST = 8
"""Places where that is: each new run of a cell makes another one, and nobody tells which are gone."""
SAVED_CHARS = 300
"""Characters of each saved line."""
ASKED_WITHIN = 16
"""Lines within which a server asked for the password that comes next: nothing but notes stands between."""

# What users type to log in, by protocol; the rest of such a line has no place in a file that is passed on.
_LOGIN = re.compile(
    r"""^(
        \S+\s+(?:LOGIN|AUTHENTICATE)                      # IMAP, with its tag
      | AUTH | PASS | USER | AUTHINFO\s+\w+ | OPER | CONNECT  # SMTP, Redis, POP3, NNTP, IRC, NATS
      | AUTHENTICATE | HELLO\s+\d\s+AUTH
      | (?:PRIVMSG\s+\S+|NICKSERV|NS)\s+:?(?:IDENTIFY|ID|AUTH|REGISTER)  # each IRC network has its own
    )\s.+$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# After these a server is given a password, or something of that kind, on a line of its own.
_CHALLENGE = re.compile(r"334|\+(\s|$)")


class Panel(ipywidgets.VBox):
    """The panel of one client, in any number of views; closing it leaves the client as it is.

    client: whose panel; `panel_for` gives the one that it has. saved_lines: how many of the last lines a
    saved notebook shows as plain HTML (what looks like a log-in is masked); 0 for none. Any thread.
    """

    saved_lines: int = SAVED_LINES
    """May be set on the class, for all panels to come, and on one panel."""

    def __init__(self, client: Client, *, saved_lines: int | None = None) -> None:
        self.client = client
        if saved_lines is not None:
            self.saved_lines = saved_lines
        self._stored: deque[DisplayHandle] = deque(maxlen=STORED_AT_MOST)
        self._stored_at = float("-inf")
        self._pause = STORE_LINES[0]
        self._seen = ("", 0)
        commands = Commands()
        self.header = Header(client, commands)
        self._log_view = LogView(client, label=f"log of {client.name}")
        self.send_box = SendBox(client, commands)
        self.keepalive = SettingsFields(client, commands)
        self._parts: tuple[Part, ...] = (self.header, self._log_view, self.send_box, self.keepalive)
        self.header.on_look = self._look
        super().__init__(self._parts)
        self.add_class("ipyreconnect-panel")
        free_from_busy_cells(self)
        free_from_busy_cells(self.layout)

    @property
    def log(self) -> LogView:
        """The live log; ipywidgets calls its logger so, which nothing here needs."""
        return self._log_view

    def _look(self, state: str) -> None:
        """Keep what a saved notebook shows up to date. On the publisher's thread."""
        if not self._stored or state in ("connecting", "stopping"):  # what comes of it is told soon
            return
        now, seen = time.monotonic(), (state, self.client.transcript.end)
        changed = state != self._seen[0]
        if seen == self._seen or now - self._stored_at < (STORE_STATE if changed else self._pause):
            return
        if not changed:
            self._pause = min(2 * self._pause, STORE_LINES[1])
        self._stored_at, self._seen = now, seen
        self.store()

    def show(self) -> None:
        """Show the panel under the running cell.

        Below it stands, hidden for as long as the panel lives, what a saved notebook is to show. It can be
        brought up to date there: were it the panel's own, each update would draw the panel anew.
        """
        bundle = super()._repr_mimebundle_() or {}
        live = {**bundle, "text/plain": repr(self), "text/html": ""}
        self._expect_views()
        display(live, raw=True)
        if self.saved_lines <= 0:
            return
        handle = display(self._static_bundle(), raw=True, display_id=True)
        if handle is not None:
            self._stored.append(handle)
            self._seen = (self.client.status.state.value, self.client.transcript.end)
            self._pause = STORE_LINES[0]

    def _static_bundle(self) -> dict[str, str]:
        return {"text/html": self.static_html(), "text/plain": repr(self)}

    def store(self) -> None:
        """Bring what a saved notebook shows up to date. Any thread."""
        if self._stored:
            bundle = self._static_bundle()
            for handle in tuple(self._stored):
                handle.update(bundle, raw=True)

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
        get_publisher().remove([part.channel for part in self._parts])  # all at a time, as it may wait
        for part in self._parts:
            part.close()
        layout = self.layout
        super().close()
        layout.close()
        self.store()
        self._stored.clear()

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


def redacted(transcript: Transcript, start: int, stop: int) -> Iterator[tuple[Line, str]]:
    """Yield each kept line start ≤ number < stop with its text, without what looks like a password that was
    typed in clear.
    """
    challenged = False
    # What was asked for just before is not shown, but tells what the first line is.
    for line in transcript.lines(max(0, start - ASKED_WITHIN), stop):
        text = line.text
        if line.direction == ">":
            text = MASK if challenged else _LOGIN.sub(rf"\1 {MASK}", text)
            challenged = False
        elif line.direction == "<":
            challenged = _CHALLENGE.match(text) is not None
        if line.number >= start:
            yield line, text


def static_html(client: Client, lines: int) -> str:
    """Return a client's state and its last lines as HTML that needs no script, style sheet or network."""
    transcript = client.transcript
    rows = []
    for line, text in redacted(transcript, max(0, transcript.end - lines), transcript.end):
        shown = text[:SAVED_CHARS] + ("…" if len(text) > SAVED_CHARS else "")
        shown = "\t".join(map(visible, shown.split("\t")))
        rows.append(f"{time.strftime('%H:%M:%S', time.localtime(line.time))} {line.direction} {shown}")
    status = client.status
    said = f"{client.name}: {client.address}, {status.state.value}"
    if status.reason and status.connected_since is None and status.stopped_at is None:
        said += f" ({status.reason})"  # not where it is connected again, or was stopped by the user
    count = f"{transcript.end:,} line{'s' if transcript.end != 1 else ''}"
    if transcript.end > len(rows) > 0:
        count = f"the last {f'{len(rows)} of' if len(rows) > 1 else 'of'} {count}"
    return (
        f'<div class="{STATIC_CLASS}" style="font:13px system-ui,sans-serif">'
        f"<div><b>{html.escape(said)}</b> · {count}, as saved at {time.strftime('%Y-%m-%d %H:%M:%S')}</div>"
        '<pre style="margin:4px 0 0;font:12px/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere">'
        f"{html.escape(chr(10).join(rows))}</pre></div>"
    )


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
    """Close the client's panel, and say whether it had one. Any thread."""
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
