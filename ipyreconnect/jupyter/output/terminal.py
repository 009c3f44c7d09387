"""Show in a terminal what connections receive, above the prompt and made harmless; never used in a kernel.

One thread serves all connections: when one has changed, it reads the new lines from the transcripts and
writes whole lines to `sys.stdout`. It looks that up each time, because IPython replaces it while a prompt is
shown (what is written then appears above the prompt, and the typed text stays intact). In a kernel a print
from a thread would land in whatever cell ran last, so there nothing of this runs.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...lines.line import Line
from ...lines.text import visible
from ...lines.transcript import Transcript
from .text import rendered
from .ticker import Ticker

RATE = 25
"""Lines a second that are shown of a lasting flood: what an eye can follow at all."""
BURST = 1000
"""Lines that are shown at once after a quiet time: a long answer is shown whole."""
PAUSE = 0.03
"""Seconds between two polls, so that a flood is shown in blocks and the thread costs next to nothing."""
DOTS_A_LINE = 70
"""As in the weblog post that the project began with."""
PROMPT_PATIENCE = 0.2
"""Seconds that a prompt may take to be set up, before lines are shown all the same."""
TICK = 1.0
"""Seconds between two dots, as there."""


@dataclass(slots=True)
class Throttle:
    """A token bucket for the lines to show: `burst` at once, `rate` a second in the long run.

    It has no clock of its own.
    """

    rate: float = RATE
    burst: float = BURST
    _left: float = field(init=False)
    _at: float | None = field(init=False, default=None)
    _dry: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now: float, wanted: int) -> int:
        """Return how many lines may be shown now.

        Once it runs dry it grants nothing until a second's worth is there again, so that a flood is shown in
        blocks with one "… n more" a second and not between every two lines.

        Args:
            now: monotonic seconds.
            wanted: how many lines there are.

        """
        if self._at is not None:
            self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._dry and self._left < min(self.rate, self.burst):
            return 0
        granted = min(wanted, int(self._left))
        self._left -= granted
        self._dry = granted < wanted
        return granted

    def again_in(self) -> float:
        """Return in how many seconds something will be granted again after it ran dry."""
        return max(0.0, (min(self.rate, self.burst) - self._left) / self.rate)


_CONNECTED = re.compile(r"(?:CERTIFICATE NOT VERIFIED: )?connected ")
_NEXT_TRY = re.compile(r";? ?(?:\(?try|attempt) \d+.*$")


class Repeats:
    """Lets the first few of equal events through, then ever fewer: a long outage is one screen, not ten."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def shows(self, note: str) -> bool:
        """Return whether to show this event: the 1st, 2nd, 3rd, 5th, 10th, 20th, 50th, … of its kind."""
        if _CONNECTED.match(note):
            self._counts.clear()
            return True
        kind = _NEXT_TRY.sub("", note)
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= 3 or str(count).rstrip("0") in ("1", "2", "5")


class Watched(Protocol):
    """What is needed of a client."""

    @property
    def transcript(self) -> Transcript:
        """What it received, sent, and what happened."""

    @property
    def state(self) -> str:
        """What it does now."""

    def add_watcher(self, poke: Callable[[], None], /) -> None:
        """Call `poke` on the I/O thread after anything changed."""

    def remove_watcher(self, poke: Callable[[], None], /) -> None:
        """Call `poke` no more."""


class Feed:
    """Reads what is new in one transcript, as rows to show.

    Args:
        transcript: what is read, from the first line that is kept.
        quiet_before: events before this line number are not shown.
        throttle: limits how many lines are shown.

    """

    def __init__(
        self, transcript: Transcript, *, quiet_before: int = 0, throttle: Throttle | None = None
    ) -> None:
        self._transcript = transcript
        self._next = transcript.first
        self._notes_from = quiet_before
        self._notes_until = sys.maxsize
        self._throttle = throttle or Throttle()
        self._repeats = Repeats()

    def step(self, now: float, prefix: str = "") -> list[str]:
        """Return the rows of the lines since the last step; of too many, "… n more" and the newest.

        Args:
            now: monotonic seconds.
            prefix: what to put in front of each row.

        """
        end = self._transcript.end
        pending = end - self._next
        if pending <= 0:
            return []
        granted = self._throttle.take(now, pending)
        if not granted:
            return []
        begin, self._next = self._next, end
        lines = list(self._transcript.lines(end - granted, end))
        missed = (lines[0].number if lines else end) - begin
        rows = [f"… {missed} more"] if missed else []
        for line in lines:
            rows.extend(self._rows(line))
        return [prefix + row for row in rows]

    def _rows(self, line: Line) -> list[str]:
        match line.direction:
            case "<":
                return rendered(line)
            case "*" if self._notes_from <= line.number < self._notes_until and self._repeats.shows(
                line.text
            ):
                return rendered(line)
            case _:
                # What was sent is shown in the prompt that sent it.
                return []

    def hush(self) -> None:
        """Show no further events, but go on with what is received."""
        self._notes_until = self._transcript.end

    def due_in(self) -> float | None:
        """Return in how many seconds to read again although nothing new came, or None."""
        return self._throttle.again_in() + PAUSE if self._next < self._transcript.end else None


class _DottedMessage:
    """A prompt with a row of dots above it, redrawn in place while the row grows."""

    def __init__(self, prompt: Any) -> None:
        self.prompt = prompt
        self.row = ""

    def __pt_formatted_text__(self) -> list[tuple[str, str]]:
        from prompt_toolkit.formatted_text import to_formatted_text

        return [("", f"{self.row}\n"), *((style, text) for style, text, *_ in to_formatted_text(self.prompt))]


@dataclass(slots=True)
class Shown:
    """A connection that is shown: its name, its lines, and whether a dot a second is printed for it."""

    name: str
    feed: Feed
    ticks: bool


class TerminalLog(Ticker):
    """Shows the lines of any number of connections, on one thread that runs while there are any. Any thread.

    Where the shell has a prompt_toolkit prompt, the dots are a row of that prompt, which grows in place:
    nothing else can write a part of a line above a prompt.

    Args:
        shell: IPython's, or None.
        rate: lines a second of a lasting flood that are shown.

    """

    def __init__(self, shell: Any = None, *, rate: float = RATE) -> None:
        self._shell = shell
        self.rate = rate
        self._column = 0
        self._next_dot = 0.0
        self._waits_since = 0.0  # for a prompt that is being set up (monotonic seconds)
        super().__init__("ipyreconnect terminal", PAUSE)

    def reset(self) -> None:
        """Begin anew in a forked child, with no connection."""
        super().reset()
        self._shown: dict[Watched, Shown] = {}

    def attach(self, client: Watched, name: str, *, quiet_before: int = 0, ticks: bool = False) -> None:
        """Show what a client receives from now on, and what it has received already.

        Args:
            client: the client.
            name: what it is called where there are several.
            quiet_before: events before this line number are not shown.
            ticks: print a dot a second.

        """
        feed = Feed(client.transcript, quiet_before=quiet_before, throttle=Throttle(self.rate))
        with self._lock:
            if ticks and not any(shown.ticks for shown in self._shown.values()):
                self._next_dot = time.monotonic() + TICK
            self._shown[client] = Shown(name, feed, ticks)
            client.add_watcher(self._poke)
            self._start()
        self._poke()

    def shows(self, client: Watched) -> bool:
        """Whether `client` is attached."""
        return client in self._shown

    def take_over(self, other: TerminalLog) -> None:
        """Go on with the connections of `other` from where it is, and end its thread."""
        with other._lock:
            taken, other._shown = other._shown, {}
            other._end_of_dots()
            thread = other._retire()
        other._join(thread)
        with self._lock:
            for client in taken:
                client.remove_watcher(other._poke)
                client.add_watcher(self._poke)
                self._start()
            self._shown |= taken
        self._poke()

    def show_now(self) -> None:
        """Show what is there before the caller shows something itself."""
        with self._lock:
            if self._shown:
                self._show()

    def hush(self, client: Watched) -> None:
        """Show no further events of a client, because the caller reports them."""
        with self._lock:
            if client in self._shown:
                self._shown[client].feed.hush()

    def detach(self, client: Watched) -> None:
        """Show what is left of a client, and then no more of it; the last one ends the thread."""
        with self._lock:
            if client not in self._shown:
                return
            client.remove_watcher(self._poke)
            self._show()
            del self._shown[client]
            if self._shown:
                return
            self._end_of_dots()
            thread = self._retire()
        self._join(thread)

    def close(self) -> None:
        """Detach all clients and end the thread."""
        for client in list(self._shown):
            self.detach(client)

    def _poll(self) -> float | None:
        if self._prompt_begins():
            now = time.monotonic()
            self._waits_since = self._waits_since or now
            if now < self._waits_since + PROMPT_PATIENCE:
                return 0.0  # again, after the usual pause
        self._waits_since = 0.0
        self._show()
        return self._due_in()

    def _due_in(self) -> float | None:
        dues = [due for shown in self._shown.values() if (due := shown.feed.due_in()) is not None]
        if self._ticking():
            dues.append(max(0.0, self._next_dot - time.monotonic()))
        return min(dues, default=None)

    def _ticking(self) -> bool:
        return any(shown.ticks and client.state != "stopped" for client, shown in self._shown.items())

    def _show(self) -> None:
        now = time.monotonic()
        several = len(self._shown) > 1
        rows: list[str] = []
        for shown in self._shown.values():
            rows.extend(shown.feed.step(now, f"[{visible(shown.name)}] " if several else ""))
        if rows:
            self._write_rows(rows)
        if now >= self._next_dot and self._ticking():
            # After a standstill (a stopped process, a machine asleep) the missed dots are not made up for.
            self._next_dot = max(self._next_dot + TICK, now + TICK / 2)
            self._dot()

    def _write_rows(self, rows: list[str]) -> None:
        begin = "\n" if self._column else ""
        self._column = 0
        _write(begin + "".join(f"{row}\n" for row in rows))

    def _dot(self) -> None:
        session = self._prompting()
        if session is None:
            self._column += 1
            full = self._column == DOTS_A_LINE
            _write(".\n" if full else ".")
            if full:
                self._column = 0
            return
        self._column = 0
        message = session.message
        if not isinstance(message, _DottedMessage):
            # A new prompt: the row of the last one stays where that prompt was left.
            message = session.message = _DottedMessage(message)
        message.row += "."
        if len(message.row) == DOTS_A_LINE:
            _write(f"{message.row}\n")
            session.message = message.prompt
        session.app.invalidate()

    def _prompt_begins(self) -> bool:
        """Return whether a prompt is being set up. Before its application runs, what is written to it is not
        kept apart from what it draws: it may land behind the prompt instead of above it.
        """
        session = getattr(self._shell, "pt_app", None)
        if session is None:
            return False
        from prompt_toolkit.patch_stdout import StdoutProxy

        return isinstance(sys.stdout, StdoutProxy) and session.app.future is None

    def _prompting(self) -> Any:
        """Return the prompt_toolkit session whose prompt is shown now, or None."""
        session = getattr(self._shell, "pt_app", None)
        return session if session is not None and session.app.is_running else None

    def _end_of_dots(self) -> None:
        if self._column:
            self._column = 0
            _write("\n")
        session = self._prompting()
        if session is not None and isinstance(session.message, _DottedMessage):
            _write(f"{session.message.row}\n")
            session.message = session.message.prompt
            session.app.invalidate()


def _write(text: str) -> None:
    out = sys.stdout
    if out is None:
        return
    try:
        out.write(text)
        out.flush()
    except UnicodeEncodeError:
        encoding = out.encoding or "ascii"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except (OSError, ValueError):
        # The terminal is gone, or its file closed: no user reads it.
        pass
