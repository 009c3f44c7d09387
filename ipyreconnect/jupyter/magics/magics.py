"""The magics: each parses its line, calls the client once, and shows the outcome.

A user's mistake becomes one line (`UsageError`). What the peer does to an awaited answer keeps its type, so
that a cell can catch it, and shows as one message without a traceback too.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from ...client.client import Client
from ...lines.delivery import Delivery
from ...lines.text import visible
from ...protocol.match import Match
from ...protocol.state import State
from ...settings import KeepAlive
from ..output.front import Front, front_of
from ..output.outputs import output_for
from .cells import Cells
from .completion import Addresses, Known
from .connect import ConnectRequest, changed_heartbeat
from .connections import Connections, table
from .decorators import Interrupted, documented, in_one_line
from .defaults import Reconnect
from .options import Parsed, parse, unquoted
from .panels import close_all_panels, close_panel, show_panel, store_panel
from .send import SendRequest
from .table import CONNECT, EXPECT, HEARTBEAT, KEEPALIVE, PANEL, SEND, STOP
from .words import heartbeat_words, keepalive_words, outcome, queued_words, stopped_words

__all__ = ["ReconnectMagics"]


@magics_class
class ReconnectMagics(Magics):
    """The magics of one IPython shell, with the connections that they started.

    extension.py puts them into the shell and takes them out again.
    """

    def __init__(self, shell: Any) -> None:
        # First: it refuses a bad value in a profile before anything is registered.
        self.defaults = Reconnect(parent=shell)
        super().__init__(shell)
        self.connections = Connections()
        self.front = front_of(shell)
        self.cells = Cells(shell, self.front, partial(self.is_ours, "cell"))
        self.output = output_for(self.front, shell, self.connections.name_of)
        self.configure_output()
        self.addresses = Addresses(shell)
        self.undo = ExitStack()
        """Takes out of the shell what was put into it."""

    # -- the magics ----------------------------------------------------------------------------------------

    @no_var_expand
    @documented(CONNECT)
    @line_cell_magic
    @in_one_line
    def connect(self, line: str, cell: str | None = None) -> Client | None:
        r"""Start a connection that stays up: after any loss it is made again, until %stop.

        It waits for the first outcome (connected, or the first failure), then goes on in the background, and
        returns the Client. As %%connect, the cell's body is run after every connection before it counts as
        connected: each line is sent, "< REGEX" waits for a matching line, "> TEXT" sends TEXT verbatim, "#"
        comments. Without an address it lists the connections.

        Examples::

            %connect imaps://imap.example.org
            %connect 127.0.0.1:4000 --name gps --keepalive 30/5/3 --record gps.jsonl

            %%connect imaps://imap.example.org --fill
            < ^\* OK
            a login me {{?Password}}
            < ^a OK
        """
        parsed = parse(CONNECT, line)
        if parsed.rest:
            return self._connect(parsed, cell)
        if cell is not None or set(parsed.values) - {"-c"}:
            raise UsageError(
                "no address: write %connect host:port, or a URL such as %connect imaps://imap.example.org"
            )
        named = parsed.get("-c")
        clients = self.connections.all() if named is None else [self.connections.find(named)]
        if clients:
            _say(table(clients, self.connections.latest, time.time(), self.connections.name_of))
        else:
            _say("no connections; start one with %connect ADDRESS, such as %connect imaps://imap.example.org")
        return None

    @no_var_expand
    @documented(SEND)
    @line_cell_magic
    @in_one_line
    def send(self, line: str, cell: str | None = None) -> Delivery | Match | list[Delivery]:
        r"""Send one line, byte for byte as typed, or with %%send each line of the cell.

        The answer appears above the prompt in a terminal, and under the cell in a notebook. Returns the
        Delivery (of %%send, a list of them); with --expect it waits and returns the Match.

        Examples::

            %send 1 capability
            m = %send --expect "^2 (OK|NO|BAD)" --timeout 30 2 select inbox
            %send -c gps --bytes \x05\r\n
        """
        parsed = parse(SEND, line)
        client = self.connections.find(parsed.get("-c"))
        body = None if cell is None else self.cells.lines(cell)
        request = SendRequest.read(parsed, body, client, self._namespace, self.defaults.timeout)
        if request.queue or client.status.state is State.CONNECTED:
            self.output.asking(client)
        try:
            sent = request.send()
        finally:
            if request.expect is not None:
                self.output.show_now()
        if isinstance(sent, Match):
            return sent
        if kept := [delivery for delivery in sent if delivery.number is None]:
            self.output.queued(client, kept)
            _say(queued_words(client, len(kept)))
        result = sent[0] if cell is None else sent
        self.cells.hide(result)
        return result

    @no_var_expand
    @documented(EXPECT)
    @line_magic
    @in_one_line
    def expect(self, line: str) -> Match:
        """Wait for a line that matches, and return the Match.

        It looks from the last send on, or from the last match on where that is later, so an answer that came
        before the call is found. A time-out names what was awaited and shows the last lines.

        Examples::

            m = %expect ^1 (OK|NO|BAD) --timeout 30
        """
        parsed = parse(EXPECT, line)
        if not parsed.rest:
            raise UsageError("no pattern: write %expect REGEX, such as %expect ^1 (OK|NO|BAD)")
        client = self.connections.find(parsed.get("-c"))
        timeout = parsed.seconds("--timeout")
        try:
            return client.expect(
                parsed.rest,
                timeout=self.defaults.timeout if timeout is None else timeout,
                whole=parsed.flag("--whole"),
            )
        finally:
            self.output.show_now()

    @no_var_expand
    @documented(KEEPALIVE)
    @line_magic
    @in_one_line
    def keepalive(self, line: str) -> None:
        """Show the keepalive in force, as the system gives it back, or change it on the live socket."""
        parsed = parse(KEEPALIVE, line)
        client = self.connections.find(parsed.get("-c"))
        if parsed.rest:
            client.set_keepalive(KeepAlive.parse(parsed.rest))
        _say(*keepalive_words(client, self._called(client)))

    @no_var_expand
    @documented(HEARTBEAT)
    @line_magic
    @in_one_line
    def heartbeat(self, line: str) -> None:
        """Show the heartbeat in force, or change it, on the live connection too.

        Examples::

            %heartbeat --every 30 NOOP
            %heartbeat --every 20 --unanswered #keepalive
            %heartbeat off
        """
        parsed = parse(HEARTBEAT, line)
        client = self.connections.find(parsed.get("-c"))
        if parsed.rest or set(parsed.values) - {"-c"}:
            client.heartbeat = changed_heartbeat(client, parsed)
        _say(*heartbeat_words(client, self._called(client)))

    @no_var_expand
    @documented(PANEL)
    @line_magic
    @in_one_line
    def panel(self, line: str) -> None:
        """Show a connection's panel (in a notebook): its log, its state, and controls."""
        client = self._named(parse(PANEL, line))
        if self.front is not Front.NOTEBOOK:
            raise UsageError("a panel needs a notebook; in a terminal %connect lists the connections")
        show_panel(client)

    @no_var_expand
    @documented(STOP)
    @line_magic
    @in_one_line
    def stop(self, line: str) -> None:
        """Close a connection, end its reading, and say which lines its peer never acknowledged."""
        parsed = parse(STOP, line)
        if parsed.flag("--all"):
            if parsed.rest or parsed.flag("-c"):
                raise UsageError("%stop --all stops every connection: leave the name out")
            running = self.connections.running()
            if not running:
                _say("no connection is running")
            for client in running:
                self._stop(client)
            return
        client = self._named(parsed)
        if client.status.state is not State.STOPPED:
            self._stop(client)
            return
        self._let_go(client)
        names = ", ".join(map(self._called, self.connections.running()))
        more = f"; still running: {names} (%stop NAME, or %stop --all)" if names else ""
        _say(f"{self._called(client)} is stopped already{more}")

    # -- their parts ---------------------------------------------------------------------------------------

    @property
    def _namespace(self) -> dict[str, Any]:
        namespace: dict[str, Any] = getattr(self.shell, "user_ns", {})
        return namespace

    def _called(self, client: Client) -> str:
        """Return the name of a client as it is shown."""
        return visible(self.connections.name_of(client))

    def _named(self, parsed: Parsed) -> Client:
        """Find the connection that a NAME or -c NAME means."""
        name, rest = parsed.get("-c"), unquoted(parsed.rest)
        if name is not None and rest and name != rest:
            raise UsageError(f"two names, {rest!r} and -c {name!r}: give one")
        return self.connections.find(rest or name)

    def _connect(self, parsed: Parsed, cell: str | None) -> Client:
        script = None if cell is None else self.cells.lines(cell)
        request = ConnectRequest(parsed, script, self.defaults, self._namespace)
        client = request.client(request.name() or self.connections.name_for(request.address))
        # Only now, when nothing of the new one can be wrong any more, the old one has to go.
        self._put(client)
        self.addresses.use(parsed.rest)
        has_panel = request.panel and self.front is Front.NOTEBOOK
        if has_panel:
            show_panel(client)
        begin = time.monotonic()
        try:
            client.connect(wait=request.wait)
            _say(outcome(client, time.monotonic() - begin, time.time()))
        except KeyboardInterrupt:
            name = self._called(client)
            raise Interrupted(f"interrupted; {name} goes on in the background, %stop ends it") from None
        finally:
            told = client.transcript.end
            if has_panel:
                store_panel(client)  # else where no browser looks, as in nbconvert, it would never be
            self.output.started(client, told, ticks=request.ticks)
        self.cells.hide(client, shown=has_panel)
        return client

    def _put(self, client: Client) -> None:
        """Take a client among the connections, in the place of one of the same name."""
        old, other = self.connections.get(client.name), self.connections.others().get(client.name)
        if old is not None:
            self._stop(old, replaced=True)
        self.connections.put(client)
        if other is not None and other is not client:
            _say(f"{visible(client.name)}, which was made in Python, goes on as {self._called(other)}")

    def _stop(self, client: Client, *, replaced: bool = False) -> None:
        """Stop a client and say what its peer did not acknowledge; of one stopped before, say nothing.

        Args:
            client: the client.
            replaced: whether another one takes its name, so that no panel shows its log any more.

        """
        running, name = client.status.state is not State.STOPPED, self._called(client)
        self.output.stopping(client)
        begin = client.transcript.end
        client.stop()
        had_panel = self._let_go(client)
        if running:
            ends = list(client.transcript.lines(begin, client.transcript.end))
            has_log = had_panel and not replaced and self.front is Front.NOTEBOOK
            _say(*stopped_words(client, name, ends, has_log=has_log))

    def _let_go(self, client: Client) -> bool:
        """Leave nothing of a stopped client but its transcript; return whether it had a panel."""
        self.output.forget(client)
        self.connections.end(client)
        return close_panel(client)

    # -- what extension.py needs ---------------------------------------------------------------------------

    def is_ours(self, kind: str, name: str) -> bool:
        """Return whether a magic ("line" or "cell") is ours, and no other was put in its place."""
        shell: Any = self.shell
        own = self.magics[kind].get(name)
        return own is not None and shell.magics_manager.magics[kind].get(name) is own

    def known(self) -> Known:
        """Return what there is to complete."""
        return Known(self.connections.names(), self.addresses.latest_first())

    def configure_output(self, change: object = None) -> None:
        """Apply the defaults of what is shown, when they have changed."""
        self.output.configure(rate=self.defaults.rate, lines=self.defaults.answers)

    def cell_began(self, info: Any) -> None:
        """Hear from IPython that a cell begins to run."""
        self.cells.began(info)
        self.output.cell_began()

    def cell_ended(self, result: Any) -> None:
        """Hear from IPython that a cell has ended."""
        self.cells.ended()
        self.output.cell_ended()

    def take_over(self, other: ReconnectMagics) -> None:
        """Go on with what runs of a shell that has ended."""
        for client in other.connections.own():
            if client.status.state is not State.STOPPED:
                self._put(client)
        other.connections.clear()
        self.output.take_over(other.output)

    def unregister(self) -> None:
        """Take everything out of the shell again, but what others took over; stop the connections."""
        self.undo.close()

    def close(self) -> None:
        """Stop the connections, those that were made in Python too, say so, and end what shows them."""
        for client in self.connections.running():
            self._stop(client, replaced=True)
        self.output.close()
        close_all_panels()  # also of clients that were replaced, and of those that no magic made
        self.connections.clear()


def _say(*rows: str) -> None:
    sys.stdout.write("".join(f"{row}\n" for row in rows))
