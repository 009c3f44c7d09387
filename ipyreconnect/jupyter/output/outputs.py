"""Where a user sees what connections receive: above a terminal's prompt, in a console's cells, or under the
notebook's cell that asked. One class for each kind of front end; the magics know no other difference.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import display

from ...client.client import Client
from ...lines.delivery import Delivery
from ...lines.text import visible
from .answers import Answers, Handle, settled
from .front import Front
from .terminal import Feed, TerminalLog

__all__ = ["Output", "output_for"]

ANSWER_PATIENCE = 0.25
"""Seconds that a cell with a %send waits for the beginning of an answer; later lines come live."""
ANSWER_QUIET = 0.03
"""Seconds of silence after which an answer is taken to be complete, for the order of what is shown."""


class Output:
    """Shows what connections receive; this base class shows nothing. For the main thread.

    A line is *told* when the user has read it already, as that of a %connect's outcome.
    """

    def configure(self, *, rate: float, lines: int) -> None:
        """Apply the limits: `rate` lines a second of a lasting flood, `lines` of one answer."""

    def started(self, client: Client, told: int, *, ticks: bool) -> None:
        """Show a client that a cell has started.

        Args:
            client: the client.
            told: the events before this line number are not shown again.
            ticks: print a dot a second.

        """

    def asking(self, client: Client) -> None:
        """Prepare for the answer to a line that is about to be sent."""

    def queued(self, client: Client, deliveries: Sequence[Delivery]) -> None:
        """Note which lines of the running cell are sent only later."""

    def show_now(self) -> None:
        """Show what has come, before the caller shows something itself."""

    def stopping(self, client: Client) -> None:
        """Show no further events of a client, because the caller reports them."""

    def forget(self, client: Client) -> None:
        """Show what is left of a client, and then nothing more of it."""

    def cell_began(self) -> None:
        """Hear that a cell begins to run."""

    def cell_ended(self) -> None:
        """Give answers a moment, so that they stand under this cell before the next one runs."""

    def take_over(self, other: Output) -> None:
        """Go on with what `other` shows, of a shell that has ended."""

    def close(self) -> None:
        """End what runs for it."""

    def exit(self) -> None:
        """End what runs for it at the interpreter's exit, before the streams are closed."""
        self.close()


class TerminalOutput(Output):
    """Shows lines above the prompt of a terminal as they come."""

    def __init__(self, shell: Any, name_of: Callable[[Client], str]) -> None:
        self._name_of = name_of
        self._log = TerminalLog(shell)

    def configure(self, *, rate: float, lines: int) -> None:
        """Apply the rate."""
        self._log.rate = rate

    def started(self, client: Client, told: int, *, ticks: bool) -> None:
        """Show what it receives from now on, and what it has received already."""
        self._attach(client, told, ticks=ticks)
        self._log.show_now()

    def asking(self, client: Client) -> None:
        """Show a client that was made in Python from its first line on."""
        self._attach(client, client.transcript.end)

    def show_now(self) -> None:
        """Show what has come."""
        self._log.show_now()

    def stopping(self, client: Client) -> None:
        """Show no further events."""
        self._log.hush(client)

    def forget(self, client: Client) -> None:
        """Show what is left of it."""
        self._log.detach(client)

    def take_over(self, other: Output) -> None:
        """Go on with the connections of another shell's terminal."""
        if isinstance(other, TerminalOutput):
            self._log.take_over(other._log)

    def close(self) -> None:
        """End the thread."""
        self._log.close()

    def _attach(self, client: Client, told: int, *, ticks: bool = False) -> None:
        if not self._log.shows(client):
            self._log.attach(client, self._name_of(client), quiet_before=told, ticks=ticks)


class KernelOutput(Output):
    """Waits a moment for answers at the end of a cell: a kernel sends the next cell's output elsewhere."""

    def __init__(self) -> None:
        self._awaited: dict[Client, int] = {}

    def cell_began(self) -> None:
        """Await nothing yet."""
        self._awaited.clear()

    def cell_ended(self) -> None:
        """Wait for what the cell has asked for; an interrupt ends the wait."""
        try:
            for client, begin in self._awaited.items():
                settled(client, begin, ANSWER_PATIENCE, ANSWER_QUIET)
        except KeyboardInterrupt:
            pass
        self._awaited.clear()

    def _await(self, client: Client, begin: int) -> None:
        """Wait for a line from number `begin` on at the end of the cell."""
        self._awaited[client] = begin


class ConsoleOutput(KernelOutput):
    """Prints at the end of each cell what came since the last one: a console updates nothing it has shown."""

    def __init__(self, name_of: Callable[[Client], str]) -> None:
        super().__init__()
        self._name_of = name_of
        self._feeds: dict[Client, Feed] = {}

    def started(self, client: Client, told: int, *, ticks: bool) -> None:
        """Print what it receives from now on, and what it has received already."""
        self._add(client, told)
        self._await(client, told)

    def asking(self, client: Client) -> None:
        """Print what it receives, also of a client that was made in Python."""
        end = client.transcript.end
        self._add(client, end)
        self._await(client, end + 1)

    def show_now(self) -> None:
        """Print what has come."""
        now = time.monotonic()
        several = len(self._feeds) > 1
        for client, feed in self._feeds.items():
            for row in feed.step(now, f"[{visible(self._name_of(client))}] " if several else ""):
                sys.stdout.write(f"{row}\n")

    def forget(self, client: Client) -> None:
        """Print nothing more of it."""
        self._feeds.pop(client, None)

    def cell_ended(self) -> None:
        """Print what came within a moment."""
        super().cell_ended()
        self.show_now()

    def close(self) -> None:
        """Print nothing more."""
        self._feeds.clear()

    def _add(self, client: Client, told: int) -> None:
        if client not in self._feeds:
            self._feeds[client] = Feed(client.transcript, quiet_before=told)


class NotebookOutput(KernelOutput):
    """Shows an answer under the cell that asked, live."""

    def __init__(self, shell: Any) -> None:
        super().__init__()
        self._shell = shell
        self._answers = Answers(_display)
        self._cell = object()  # another one for each run of a cell, and once its output was cleared away
        self._hooked: Any = None
        self._hook()

    def configure(self, *, rate: float, lines: int) -> None:
        """Apply the number of lines."""
        self._answers.lines = lines

    def asking(self, client: Client) -> None:
        """Begin an answer under the running cell, or go on with the one that is there."""
        self._await(client, client.transcript.end + 1)
        self._answers.ask(client, self._cell)

    def queued(self, client: Client, deliveries: Sequence[Delivery]) -> None:
        """Have the answer go on until these lines are sent."""
        self._answers.queued(client, deliveries)

    def forget(self, client: Client) -> None:
        """Finish its answer."""
        self._answers.finish(client)

    def cell_began(self) -> None:
        """Have the next answer begin under this cell."""
        self._hook()
        self._cell = object()
        super().cell_began()

    def cell_ended(self) -> None:
        """Show what came within a moment; what others send from now on ends the answers."""
        super().cell_ended()
        self._answers.cell_ended()
        self._answers.show_now()

    def close(self) -> None:
        """Finish all answers and end their thread."""
        self._answers.close()
        if self._hooked is not None:
            self._hooked.unregister_hook(self._see_published)
            self._hooked = None

    def exit(self) -> None:
        """End the thread and show nothing more: no front end listens any more."""
        self._answers.end()

    def _hook(self) -> None:
        """See what is published to the front end, by ipykernel's own hook; under %%capture it is missing."""
        publisher: Any = getattr(self._shell, "display_pub", None)
        if self._hooked is None and hasattr(publisher, "register_hook"):
            publisher.register_hook(self._see_published)
            self._hooked = publisher

    def _see_published(self, message: Any) -> Any:
        """Look at what a cell publishes: an answer that was cleared away is followed by another one."""
        if message["header"]["msg_type"] == "clear_output":
            self._cell = object()
        return message


def output_for(front: Front, shell: Any, name_of: Callable[[Client], str]) -> Output:
    """Return what shows connections in this front end; `name_of` gives a client's name as users know it."""
    match front:
        case Front.TERMINAL:
            return TerminalOutput(shell, name_of)
        case Front.CONSOLE:
            return ConsoleOutput(name_of)
        case Front.NOTEBOOK:
            return NotebookOutput(shell)


def _display(bundle: dict[str, str]) -> Handle | None:
    """Show something under the running cell that can be updated from any thread."""
    handle: Handle | None = display(bundle, raw=True, display_id=True)
    return handle
