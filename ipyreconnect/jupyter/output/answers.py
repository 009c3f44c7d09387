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
from typing import Any, NamedTuple, Protocol

from ...client.client import Client
from ...lines.delivery import Delivery
from ...lines.line import Line
from ...protocol.state import State
from ..aside import was_sent_aside
from .saved import redacted
from .text import rendered
from .ticker import Ticker

LINES = 200
"""Lines of an answer that are shown: it is a cell's output, not a log."""
TAIL_SHARE = 4
"""Of these, one in this many are the newest: they say whether a command was obeyed."""
PAUSE = 0.1
"""Seconds between two updates of an answer that still fits."""
LONG_PAUSE = 1.0
"""Seconds between two updates of one that does not fit any more: a flood must not become one of messages."""
REST = 9
"""An update is followed by a pause of at least this many times the CPU time that it took, which is much where
there are lines of megabytes: no answer takes more than a tenth of a core from the user's cells."""

MARKS = {
    "queued": "… queued",
    "sent": "✓ sent",
    "acknowledged": "✓✓ acknowledged",
    "unconfirmed": "✗ never acknowledged",
}
"""By delivery status, what is shown behind a line that was sent."""

CODE_FONT = "font-family:var(--jp-code-font-family,Menlo,Consolas,'DejaVu Sans Mono',monospace)"
"""Set with each answer, as pages without JupyterLab's styles (exports, Voila) have another font for <pre>."""

_STYLES = {
    ">": "color:var(--jp-brand-color1,var(--vscode-textLink-foreground,#1565c0))",
    "*": "color:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#757575))",
}


class Handle(Protocol):
    """What `display(…, display_id=True)` returns."""

    def update(self, obj: Any, **kwargs: Any) -> None:
        """Replace what is shown."""


class Row(NamedTuple):
    """One row of an answer.

    Attributes:
        direction: "<" received, ">" sent, "*" an event, "" a remark about the answer.
        text: what is shown of the line.
        mark: the delivery status of a sent line, or "".

    """

    direction: str
    text: str
    mark: str


class Answer:
    """What was sent in one cell on one connection, and what was received after it.

    All that is sent while the cell runs belongs to it. Later it ends before the next line that is sent by a
    magic or in Python; what is typed into a panel, replies, heartbeats and scripts do not end it.

    Args:
        client: the connection.
        handle: where it is shown; None: nowhere.
        lines: how many lines of it are shown.
        cell: identifies the run of the cell.

    """

    def __init__(
        self, client: Client, handle: Handle | None, lines: int = LINES, cell: object = None
    ) -> None:
        self.client = client
        self.cell = cell
        self.begin = client.transcript.end
        self.end: int | None = None
        self._asked: int | None = None  # the client's `last_asked` when last checked; None: the cell runs
        self._checked = self.begin  # no line before this one was sent by another cell
        self._queued: list[Delivery] = []
        self._next = 0.0
        self._handle = handle
        self._lines = lines
        self._shown: object = None

    def close(self) -> None:
        """Take no further lines."""
        self.end = self._stop

    def cell_runs(self) -> bool:
        """Take what is sent from now on for the cell's again; return False where the answer has ended."""
        self._find_end()
        if self.end is not None:
            return False
        self._asked = None
        return True

    def cell_ended(self) -> None:
        """End at what is sent from now on, except what the cell has put into the queue."""
        if self._asked is None:
            self._asked = self.client.last_asked
            self._checked = self.client.transcript.end

    def queued(self, deliveries: Iterable[Delivery]) -> None:
        """Note lines of the cell that are sent when the connection is back."""
        self._queued += deliveries

    def _find_end(self) -> None:
        """End it before the first line that another cell sent. Costs nothing while none did."""
        end, asked = self.client.transcript.end, self.client.last_asked
        if self.end is None and self._asked is not None and self._asked != asked:
            for line in self.client.transcript.lines(self._checked, asked):
                if self._is_of_others(line, asked):
                    self.end = line.number
                    return
            self._asked = asked
        self._checked = end

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
        self._find_end()
        return end if self.end is None else self.end

    def bundle(self) -> dict[str, str]:
        """Return the answer as it is now, as text and as HTML."""
        rows = self.rows()
        return {"text/plain": as_text(rows), "text/html": as_html(rows)}

    def rows(self) -> list[Row]:
        """Return its rows; of too many the two ends, with "… n more" between them."""
        transcript = self.client.transcript
        stop = self._stop
        if stop - self.begin <= self._lines:
            return rows_of(redacted(transcript, self.begin, stop))
        tail = max(1, self._lines // TAIL_SHARE)
        head = self._lines - tail
        first = list(redacted(transcript, self.begin, self.begin + head))
        last = list(redacted(transcript, stop - tail, stop))
        missed = stop - self.begin - len(first) - len(last)
        return [*rows_of(first), Row("", f"… {missed} more", ""), *rows_of(last)]

    def show(self, now: float) -> None:
        """Update what is shown if it has changed. Any thread, one at a time; `now` is monotonic seconds."""
        began = time.thread_time()
        bundle = self.bundle()
        if bundle != self._shown and self._handle is not None:
            self._shown = bundle
            self._handle.update(bundle, raw=True)
        took = time.thread_time() - began
        self._next = now + max(LONG_PAUSE if self.overflows else PAUSE, REST * took)

    def due_in(self, now: float) -> float:
        """Return in how many seconds it may be updated again."""
        return self._next - now


def rows_of(lines: Iterable[tuple[Line, str]]) -> list[Row]:
    """Return lines, each with the text to show, as rows."""
    rows = []
    for line, text in lines:
        mark = MARKS.get(line.delivery.status, "") if line.delivery is not None else ""
        for number, row in enumerate(rendered(line, text)):
            rows.append(Row(line.direction, row, "" if number else mark))
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """Return rows as plain text."""
    return "\n".join(f"{text}   {mark}".rstrip() if mark else text for _, text, mark in rows)


def as_html(rows: Sequence[Row]) -> str:
    """Return rows as HTML without script and style sheet; a server's text is text in it, never markup."""
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


class Answers(Ticker):
    """The answers that still grow, and the thread that updates them while there are any.

    Args:
        show: shows a bundle under the running cell, and returns its handle.
        lines: how many lines of an answer are shown.

    """

    def __init__(self, show: Callable[[dict[str, str]], Handle | None], *, lines: int = LINES) -> None:
        self.lines = lines
        self._display = show
        super().__init__("ipyreconnect answers")

    def reset(self) -> None:
        """Begin anew in a forked child, with no answer."""
        super().reset()
        self._open: dict[Client, Answer] = {}

    def ask(self, client: Client, cell: object) -> None:
        """Begin an answer under the running cell, or go on with the one that the cell has begun.

        Main thread, before the line is sent.

        Args:
            client: the client that is about to send.
            cell: identifies the run of the cell.

        """
        with self._lock:
            known = self._open.get(client)
            if known is not None and known.cell is cell and known.cell_runs():
                return
        self.finish(client)
        answer = Answer(client, self._display({"text/plain": "", "text/html": ""}), self.lines, cell)
        with self._lock:
            self._open[client] = answer
            self._start()
        client.add_watcher(self._poke)

    def cell_ended(self) -> None:
        """Have the answers end at the next line that a cell sends. Main thread, at the end of each cell."""
        with self._lock:
            for answer in self._open.values():
                answer.cell_ended()

    def queued(self, client: Client, deliveries: Sequence[Delivery]) -> None:
        """Note which lines of the running cell are sent only later. Main thread."""
        with self._lock:
            if deliveries and client in self._open:
                self._open[client].queued(deliveries)

    def show_now(self) -> None:
        """Show what is there. Any thread."""
        with self._lock:
            now = time.monotonic()
            for answer in self._open.values():
                answer.show(now)

    def finish(self, client: Client) -> None:
        """Show what is there of the client's answer and update it no more; the last one ends the thread."""
        with self._lock:
            answer = self._open.pop(client, None)
            if answer is None:
                return
            answer.close()
            answer.show(time.monotonic())
            thread = None if self._open else self._retire()
        client.remove_watcher(self._poke)
        self._join(thread)

    def close(self) -> None:
        """Update no answer any more and end the thread."""
        for client in list(self._open):
            self.finish(client)

    def end(self) -> None:
        """End the thread and show nothing more: the interpreter exits, and no front end listens any more."""
        with self._lock:
            self._open.clear()
            thread = self._retire()
        self._join(thread, 1.0)

    def _poll(self) -> float | None:
        now = time.monotonic()
        late = []
        for answer in self._open.values():
            due = answer.due_in(now)
            if due <= 0:
                answer.show(now)
            else:
                late.append(due)
        return min(late, default=None)


def settled(client: Client, begin: int, patience: float, quiet: float) -> None:
    """Wait until something has been received and then nothing more for a while. Main thread.

    Args:
        client: what receives.
        begin: the first line number that counts.
        patience: seconds to wait at the most.
        quiet: seconds without a further line that end the wait.

    Raises:
        KeyboardInterrupt: the user ended it.

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
