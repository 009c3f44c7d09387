"""Show what a server answers under the cell that asked, live, and leave it there as the cell's saved output.

In a kernel a print from a thread lands in whatever cell ran last; the update of a display handle lands in its
own cell, from any thread and after any number of later cells. One thread serves all open answers. It sends
whole texts (never differences), seldom, and of a long answer only the two ends.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ...client.client import Client
from ...lines.delivery import Delivery
from ...lines.line import Line
from ...protocol.state import State
from ..aside import was_sent_aside
from .saved import redacted
from .text import rendered
from .ticker import Follower

LINES = 200
"""Lines of an answer that are shown: a cell's output, not a log."""
TAIL_SHARE = 4
"""Of these, one part in so many are the newest: there stands whether a command was obeyed."""
PAUSE = 0.1
"""Seconds between two updates of an answer that still fits."""
LONG_PAUSE = 1.0
"""Seconds between two updates of one that does not fit any more: a flood must not become one of messages."""
REST = 9
"""A look at what to show is followed by a pause of at least so many times the CPU time that it took, which is
much where there are lines of megabytes: no answer takes more than a tenth of a core from the user's cells."""

MARKS = {
    "queued": "… queued",
    "sent": "✓ sent",
    "acknowledged": "✓✓ acknowledged",
    "unconfirmed": "✗ never acknowledged",
}
"""What stands behind a line that was sent."""

CODE_FONT = "font-family:var(--jp-code-font-family,Menlo,Consolas,'DejaVu Sans Mono',monospace)"
"""Said with the answer, as a page without JupyterLab's styles (an export, Voila) shows a <pre> in others."""

_STYLES = {
    ">": "color:var(--jp-brand-color1,var(--vscode-textLink-foreground,#1565c0))",
    "*": "color:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#757575))",
}


class Handle(Protocol):
    """Be what `display(…, display_id=True)` returns."""

    def update(self, obj: Any, **kwargs: Any) -> None:
        """Replace what is shown."""


class Answer:
    """What was sent in one cell on one connection, and what came after it until the next one was sent.

    All that is sent while the cell runs belongs to it. Later it ends where somebody else sends a line, with a
    magic or in Python; what is typed into a panel, replies, heartbeats and scripts are no such line.
    """

    def __init__(self, client: Client, handle: Handle | None, lines: int = LINES) -> None:
        self.client = client
        self.begin = client.transcript.end
        self.end: int | None = None
        self._asked: int | None = None  # the client's `last_asked` as far as it is known; None: the cell runs
        self._looked = self.begin  # no line before this one is somebody else's
        self._queued: list[Delivery] = []
        self._next = 0.0
        self._handle = handle
        self._lines = lines
        self._shown: object = None

    def close(self) -> None:
        """Take no further lines: somebody else has asked."""
        self.end = self._stop

    def cell_runs(self) -> bool:
        """Take what is sent from now on for the cell's again; say False where somebody else has asked."""
        self._find_who_else_asked()
        if self.end is not None:
            return False
        self._asked = None
        return True

    def cell_ended(self) -> None:
        """Take what is sent from now on for somebody else's, but for what the cell has put into the queue."""
        if self._asked is None:
            self._asked = self.client.last_asked
            self._looked = self.client.transcript.end

    def queued(self, deliveries: Iterable[Delivery]) -> None:
        """Reckon with lines of the cell that leave when the connection is back."""
        self._queued += deliveries

    def _find_who_else_asked(self) -> None:
        """End it in front of the first line that somebody else sent. Costs nothing while nobody did."""
        end, asked = self.client.transcript.end, self.client.last_asked
        if self.end is None and self._asked is not None and self._asked != asked:
            for line in self.client.transcript.lines(self._looked, asked):
                if self._is_of_others(line, asked):
                    self.end = line.number
                    return
            self._asked = asked
        self._looked = end

    def _is_of_others(self, line: Line, asked: int) -> bool:
        if line.direction != ">" or was_sent_aside(self.client, line.number):
            return False
        if line.delivery is None:  # too long a line for its delivery to be kept
            return line.number == asked - 1
        return line.delivery.by_hand and not any(line.delivery is each for each in self._queued)

    @property
    def overflows(self) -> bool:
        """Whether there are more lines than are shown."""
        return self._stop - self.begin > self._lines

    @property
    def _stop(self) -> int:
        if self.end is not None:
            return self.end
        end = self.client.transcript.end  # first: what is sent from here on is not shown yet
        self._find_who_else_asked()
        return end if self.end is None else self.end

    def bundle(self) -> dict[str, str]:
        """Give the answer as it is now, as text and as HTML."""
        rows = self.rows()
        return {"text/plain": as_text(rows), "text/html": as_html(rows)}

    def rows(self) -> list[tuple[str, str, str]]:
        """Give rows of (direction, text, mark); of too many the two ends, with "… n more" between them."""
        transcript = self.client.transcript
        stop = self._stop
        if stop - self.begin <= self._lines:
            return rows_of(redacted(transcript, self.begin, stop))
        tail = max(1, self._lines // TAIL_SHARE)
        head = self._lines - tail
        first = list(redacted(transcript, self.begin, self.begin + head))
        last = list(redacted(transcript, stop - tail, stop))
        missed = stop - self.begin - len(first) - len(last)
        return [*rows_of(first), ("", f"… {missed} more", ""), *rows_of(last)]

    def show(self, now: float) -> None:
        """Update what is shown, where it has changed. Any thread, one at a time."""
        began = time.thread_time()
        bundle = self.bundle()
        if bundle != self._shown and self._handle is not None:
            self._shown = bundle
            self._handle.update(bundle, raw=True)
        took = time.thread_time() - began
        self._next = now + max(LONG_PAUSE if self.overflows else PAUSE, REST * took)

    def due_in(self, now: float) -> float:
        """Say in how many seconds it may be looked at again."""
        return self._next - now


def rows_of(lines: Iterable[tuple[Line, str]]) -> list[tuple[str, str, str]]:
    """Give lines, each with the text to show, as rows of (direction, text, mark)."""
    rows = []
    for line, text in lines:
        mark = MARKS.get(line.delivery.status, "") if line.delivery is not None else ""
        for number, row in enumerate(rendered(line, text)):
            rows.append((line.direction, row, "" if number else mark))
    return rows


def as_text(rows: Sequence[tuple[str, str, str]]) -> str:
    """Give rows as plain text."""
    return "\n".join(f"{text}   {mark}".rstrip() if mark else text for _, text, mark in rows)


def as_html(rows: Sequence[tuple[str, str, str]]) -> str:
    """Give rows as HTML without script and style sheet; a server's text is text in it, never markup."""
    shown = []
    for direction, text, mark in rows:
        style = _STYLES.get(direction)
        row = html.escape(text)
        if mark:
            row += f'   <span style="{_STYLES["*"]}">{html.escape(mark)}</span>'
        shown.append(f'<span style="{style}">{row}</span>' if style else row)
    return (
        f'<pre class="ipyreconnect-answer" style="margin:0;padding:1px 8px;white-space:pre-wrap;{CODE_FONT};'
        'overflow-wrap:anywhere;font-size:var(--jp-code-font-size,13px);line-height:1.3">'
        + "\n".join(shown)
        + "</pre>"
    )


class Answers(Follower):
    """The answers that still grow, and the thread that updates them while there are any."""

    def __init__(self, show: Callable[[dict[str, str]], Handle | None], *, lines: int = LINES) -> None:
        self.lines = lines
        self._display = show
        super().__init__("ipyreconnect answers")

    def forget(self) -> None:
        """Begin anew in a forked child, with no answer."""
        super().forget()
        self._open: dict[Client, tuple[Answer, object]] = {}

    def ask(self, client: Client, cell: object) -> None:
        """Begin an answer under the running cell; one that the same cell began on that client goes on.

        cell: anything that is the same for the same run of a cell. Main thread, before the line is sent.
        """
        with self._lock:
            known = self._open.get(client)
            if known is not None and known[1] is cell and known[0].cell_runs():
                return
        self.finish(client)
        answer = Answer(client, self._display({"text/plain": "", "text/html": ""}), self.lines)
        with self._lock:
            self._open[client] = (answer, cell)
            self._start()
        client.add_watcher(self._poke)

    def cell_ended(self) -> None:
        """Have the answers to cells end where somebody else asks. Main thread, at the end of each cell."""
        with self._lock:
            for answer, _ in self._open.values():
                answer.cell_ended()

    def queued(self, client: Client, deliveries: Sequence[Delivery]) -> None:
        """Note which lines of the running cell leave only later. Main thread."""
        with self._lock:
            if deliveries and client in self._open:
                self._open[client][0].queued(deliveries)

    def show_now(self) -> None:
        """Show what is there. Any thread."""
        with self._lock:
            now = time.monotonic()
            for answer, _ in self._open.values():
                answer.show(now)

    def finish(self, client: Client) -> None:
        """Show what is there of the client's answer and let it be; the last one ends the thread."""
        with self._lock:
            answer, _ = self._open.pop(client, (None, None))
            if answer is None:
                return
            answer.close()
            answer.show(time.monotonic())
            thread = None if self._open else self._retire()
        client.remove_watcher(self._poke)
        self._join(thread)

    def close(self) -> None:
        """Let all answers be and end the thread."""
        for client in list(self._open):
            self.finish(client)

    def end(self) -> None:
        """End the thread and show nothing more: the interpreter exits, and nobody listens any more."""
        with self._lock:
            self._open.clear()
            thread = self._retire()
        self._join(thread, 1.0)

    def _look(self) -> float | None:
        now = time.monotonic()
        late = []
        for answer, _ in self._open.values():
            due = answer.due_in(now)
            if due <= 0:
                answer.show(now)
            else:
                late.append(due)
        return min(late, default=None)


def settled(client: Client, begin: int, patience: float, quiet: float) -> None:
    """Wait until something came from line `begin` on and then nothing for `quiet` s, at most `patience` s.

    Main thread; an interrupt ends it.
    """
    changed = threading.Event()
    client.add_watcher(changed.set)
    try:
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and client.status.state is State.CONNECTED:
            came = client.transcript.end > begin
            changed.clear()
            if not changed.wait(min(left, quiet) if came else left):
                return
    finally:
        client.remove_watcher(changed.set)
