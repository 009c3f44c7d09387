"""The magics: each takes its line apart, calls the client once and shows the outcome; none keeps one up.

A user's mistake becomes one line (`UsageError`). What the peer does to an awaited answer keeps its type, so
that a cell can catch it, and shows as one message without a traceback too.
"""

from __future__ import annotations

import atexit
import re
import sys
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import cell_magic
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from traitlets import TraitError

from ...address import Address, TLSMode, parse_address
from ...client.arguments import own_heartbeat
from ...client.client import Client
from ...errors import SettingsError
from ...lines.delivery import Delivery
from ...lines.line import visible
from ...lines.transcript import Line
from ...network import changes
from ...network.sockets import missing_options
from ...protocol.connection import QUEUE_PATIENCE
from ...protocol.expect import Match
from ...protocol.state import State
from ...settings import (
    DEFAULT_HEARTBEAT_EVERY,
    NO_KEEPALIVE,
    TLS,
    Heartbeat,
    KeepAlive,
    Retry,
    Secret,
)
from ..output.answers import Answers, Handle, settled
from ..output.front import Front, front_of
from ..output.terminal import Feed, TerminalLog
from ..output.text import rendered, shortened
from .completion import Known, addresses_in_history, make_matcher
from .connect import parse_eol, parse_reply
from .connections import Connections, table
from .decorators import Interrupted, documented, in_one_line
from .defaults import Reconnect
from .escapes import unescape
from .fill import Filler, bytes_of, pattern_of, script_line_of, secrets_of, text_of
from .options import Parsed, parse, unquoted, value_in_need_of_quotes
from .panels import close_all_panels, close_panel, show_panel, store_panel
from .table import CONNECT, EXPECT, HEARTBEAT, KEEPALIVE, MAGICS, PANEL, SEND, STOP
from .typed import TypedLines

UNCONFIRMED_SHOWN = 20
"""Lines that %stop shows of those never acknowledged, and of those never sent; the client has them all."""
LONGEST_SHOWN = 200
"""Characters of each of them."""

ANSWER_PATIENCE = 0.25
"""Seconds that a notebook's cell with a %send waits for the beginning of an answer; later lines come live."""
ANSWER_QUIET = 0.03
"""Seconds of silence after which an answer is taken to be complete, for the order of what is shown."""

_TLS_MODES = {"--tls": TLSMode.IMPLICIT, "--no-tls": TLSMode.NONE, "--starttls": TLSMode.STARTTLS}


@magics_class
class ReconnectMagics(Magics):
    """The magics of one IPython shell, with the connections that they started."""

    def __init__(self, shell: Any) -> None:
        # First: it refuses a bad value in a profile before anything is registered.
        self.defaults = Reconnect(parent=shell)
        super().__init__(shell)
        _instances.add(self)
        self.connections = Connections()
        self._log = TerminalLog(shell, rate=self.defaults.rate)
        # The cell that loads the extension may go on with a magic; its beginning has passed.
        history: Any = shell.history_manager
        self._cell = history.input_hist_raw[-1] if history is not None else ""
        self._at_prompt = False
        self._front = front_of(shell)
        self._run = object()
        self._published: Any = None
        self._asked: dict[Client, int] = {}
        self._feeds: dict[Client, Feed] = {}
        self._answers = Answers(_display, lines=self.defaults.answers)
        self._used: dict[str, None] = {}
        self._past: list[str] | None = None
        self._replaced: dict[tuple[str, str], Any] = {}
        self._matcher = make_matcher(shell, self._known)
        self._typed = TypedLines(shell, partial(self._is_ours, "line"), partial(self._is_ours, "cell"))

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
        pattern = parsed.get("--expect")
        if pattern is None and parsed.flag("--timeout"):
            raise UsageError("--timeout goes with --expect REGEX: without it nothing is waited for")
        whole = parsed.flag("--whole")
        if pattern is None and whole:
            raise UsageError("--whole goes with --expect REGEX: it says what of a line is compared with it")
        filler = Filler(self._namespace) if parsed.flag("--fill") else None
        lines = self._lines(parsed, cell, client, filler)
        if pattern is not None and filler is not None:
            pieces = filler.fill(pattern)
            pattern = pattern_of(pieces)
            client.hide(*secrets_of(pieces, client.encoding or "utf-8"))
        queue = parsed.flag("--queue")
        timeout = self._timeout(parsed)
        expected = None if pattern is None else client.compiled(pattern)
        for each, secrets in lines[1:]:
            client.encode(each, secrets)  # before the first line leaves, of which `send` itself does that
        self._ask(client, queue)
        deliveries = [client.send(each, queue=queue, secrets=secrets) for each, secrets in lines[:-1]]
        last, secrets = lines[-1]
        if expected is not None:
            try:
                return client.send(
                    last, expect=expected, whole=whole, timeout=timeout, queue=queue, secrets=secrets
                )
            finally:
                self._show_now()
        deliveries.append(client.send(last, queue=queue, secrets=secrets))
        if kept := [delivery for delivery in deliveries if delivery.number is None]:
            self._answers.queued(client, kept)
            what = "the line is" if len(kept) == 1 else f"{len(kept)} lines are"
            _say(
                f"not connected to {client.address.display}: {what} kept for up to {QUEUE_PATIENCE:.0f} s "
                "and sent once connected"
            )
        result = deliveries[0] if cell is None else deliveries
        self._hide(result)
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
        try:
            return client.expect(parsed.rest, timeout=self._timeout(parsed), whole=parsed.flag("--whole"))
        finally:
            self._show_now()

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
        _say("\n".join(keepalive_words(client, self.connections.name_of(client))))

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
            client.heartbeat = _changed_heartbeat(client, parsed)
        _say("\n".join(heartbeat_words(client, self.connections.name_of(client))))

    @no_var_expand
    @documented(PANEL)
    @line_magic
    @in_one_line
    def panel(self, line: str) -> None:
        """Show a connection's panel (in a notebook): its log, its state, and controls."""
        client = self._named(parse(PANEL, line))
        if self._front is not Front.NOTEBOOK:
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
        if client.status.state is State.STOPPED:
            self._let_go(client)
            names = ", ".join(self._called(other) for other in self.connections.running())
            more = f"; still running: {names} (%stop NAME, or %stop --all)" if names else ""
            _say(f"{self._called(client)} is stopped already{more}")
            return
        self._stop(client)

    # -- their parts ---------------------------------------------------------------------------------------

    def _named(self, parsed: Parsed) -> Client:
        """Find the connection that a NAME or -c NAME means."""
        name, rest = parsed.get("-c"), unquoted(parsed.rest)
        if name is not None and rest and name != rest:
            raise UsageError(f"two names, {rest!r} and -c {name!r}: give one")
        return self.connections.find(rest or name)

    def _timeout(self, parsed: Parsed) -> float:
        timeout = parsed.seconds("--timeout")
        return self.defaults.timeout if timeout is None else timeout

    def _connect(self, parsed: Parsed, cell: str | None) -> Client:
        filler = Filler(self._namespace) if parsed.flag("--fill") else None
        filled, secrets = self._filled(parsed, filler)
        address = _address(filled)
        wait = filled.seconds("--wait")
        client = self._client(address, filled, cell, filler, secrets)
        # Only now, when nothing of the new one can be wrong any more, the old one has to go.
        self._put(client)
        self._used.pop(parsed.rest, None)
        self._used[parsed.rest] = None
        panel = self._front is Front.NOTEBOOK and self.defaults.panel and not filled.flag("--no-panel")
        if panel:
            show_panel(client)
        begin = time.monotonic()
        try:
            client.connect(wait=self.defaults.wait if wait is None else wait)
            _say(outcome(client, time.monotonic() - begin, time.time()))
        except KeyboardInterrupt:
            name = self._called(client)
            raise Interrupted(f"interrupted; {name} goes on in the background, %stop ends it") from None
        finally:
            told = client.transcript.end
            if panel:
                store_panel(client)  # else where nobody looks, as in nbconvert, it would never be
            self._show(client, told, ticks=self.defaults.ticks or filled.flag("--ticks"))
            self._log.show_now()  # what has come already, before IPython shows what the cell gives
            if self._front is Front.CONSOLE:
                self._asked[client] = told
        self._hide(client, shown=panel)
        return client

    def _show(self, client: Client, told: int, *, ticks: bool = False) -> None:
        """Show what a client receives, in a terminal, from line `told` on; one that was made in Python is
        shown once it was sent something.
        """
        if self._front is Front.TERMINAL and not self._log.shows(client):
            self._log.attach(client, self.connections.name_of(client), quiet_before=told, ticks=ticks)
        elif self._front is Front.CONSOLE and client not in self._feeds:
            self._feeds[client] = Feed(client.transcript, quiet_before=told)

    def _put(self, client: Client) -> None:
        """Take a client among the connections, in the place of one of the same name."""
        old, other = self.connections.get(client.name), self.connections.others().get(client.name)
        if old is not None:
            self._stop(old, replaced=True)
        self.connections.put(client)
        if other is not None and other is not client:
            _say(f"{visible(client.name)}, which was made in Python, goes on as {self._called(other)}")

    def _called(self, client: Client) -> str:
        """Give the name of a client as it is shown."""
        return visible(self.connections.name_of(client))

    def _filled(self, parsed: Parsed, filler: Filler | None) -> tuple[Parsed, list[Secret]]:
        """Put variables into the address and into the options' values; give the secrets in these.

        An address and most options are shown again and again: no secret may stand in one. In --reply a value
        would become part of an expression, and of a template.
        """
        if filler is None:
            return parsed, []
        secrets: list[Secret] = []

        def fill(what: str, template: str) -> str:
            pieces = filler.fill(template)
            if what == "--reply" and any(piece.value for piece in pieces):
                raise UsageError("--fill does not reach into --reply: use client.add_reply(REGEX, LINE)")
            found = secrets_of(pieces, parsed.get("--encoding") or self.defaults.encoding or "utf-8")
            if found and what != "--heartbeat":
                raise UsageError(f"{what} is shown again and again: no secret belongs in it")
            secrets.extend(found)
            return text_of(pieces)

        values = {
            name: tuple(fill(name, value) if value else value for value in given)
            for name, given in parsed.values.items()
        }
        return replace(parsed, rest=fill("an address", parsed.rest), values=values), secrets

    def _client(
        self, address: Address, parsed: Parsed, cell: str | None, filler: Filler | None, secrets: list[Secret]
    ) -> Client:
        """Make the client; SettingsError or UsageError when anything about it is wrong."""
        defaults = self.defaults
        keepalive = parsed.get("--keepalive")
        encoding = parsed.get("--encoding") or defaults.encoding or None
        eol = parsed.get("--eol")
        given = parsed.all("--reply")
        replies = [parse_reply(reply) for reply in given if reply.lower() != "off"]
        only_these = len(replies) < len(given)
        address, tls = self._tls(address, parsed)
        script, of_script = self._script(cell, encoding or "utf-8", filler)
        secrets = [*secrets, *of_script]
        client = Client(
            address,
            name=self._name(address, parsed),
            tls=tls,
            keepalive=KeepAlive.parse(defaults.keepalive if keepalive is None else keepalive),
            retry=self._retry(parsed),
            encoding=encoding,
            eol=None if eol is None else parse_eol(eol),
            framing=parsed.get("--framing"),
            longest_line=parsed.get("--longest-line"),
            heartbeat=_heartbeat(address, parsed),
            silence=self._silence(parsed),
            replies={} if only_these else replies or None,
            on_connect=script,
            transcript=defaults.lines,
            record=parsed.get("--record"),
            secrets=secrets,
        )
        for rule in reversed(replies) if only_these else ():  # each comes before those that are there
            client.add_reply(*rule)
        if of_script:
            client.show_as_script(cell or "")  # what a user may look at is the template
        return client

    def _script(
        self, cell: str | None, encoding: str, filler: Filler | None
    ) -> tuple[str | None, list[Secret]]:
        """Give the on-connect script and the secrets in it."""
        if cell is None:
            return None, []
        script = "\n".join(self._body(cell))
        if filler is None:
            return script, []
        filled = filler.fill_script(script)
        secrets = [secret for one in filled for secret in secrets_of(one, encoding)]
        return "\n".join(script_line_of(one) for one in filled), secrets

    def _name(self, address: Address, parsed: Parsed) -> str:
        name, other = parsed.get("--name"), parsed.get("-c")
        if name is not None and other is not None and name != other:
            raise UsageError(f"--name {name!r} and -c {other!r}: give one name")
        name = other if name is None else name
        if name is None:
            return self.connections.name_for(address)
        if not name or name.startswith("-") or not name.isprintable() or " " in name:
            raise UsageError(f"--name {name!r}: give a name without blanks that does not begin with -")
        return name

    def _tls(self, address: Address, parsed: Parsed) -> tuple[Address, TLS | None]:
        """Give the address with the TLS mode that is wanted, and the details of that TLS."""
        modes = [name for name in _TLS_MODES if parsed.flag(name)]
        if len(modes) > 1:
            raise UsageError(f"{' and '.join(modes)} exclude each other: give one")
        if modes:
            address = address.with_tls(_TLS_MODES[modes[0]])
        if address.tls is TLSMode.NONE:
            for name in ("--no-verify", "--cafile", "--cert", "--key", "--server-name"):
                if parsed.flag(name):
                    advice = (
                        "leave --no-tls out" if modes else "give --tls or --starttls too, or a URL with TLS"
                    )
                    raise UsageError(f"{name} is about TLS, and {address} uses none: {advice}")
            return address, None
        return address, TLS(
            verify=not parsed.flag("--no-verify"),
            cafile=parsed.get("--cafile") or self.defaults.cafile or None,
            cert=parsed.get("--cert"),
            key=parsed.get("--key"),
            server_name=parsed.get("--server-name"),
            starttls=address.tls is TLSMode.STARTTLS,
        )

    def _retry(self, parsed: Parsed) -> Retry:
        defaults = self.defaults
        delay, factor = parsed.seconds("--retry"), parsed.number("--retry-factor")
        longest, attempts = parsed.seconds("--retry-max"), parsed.count("--attempts")
        delay = defaults.retry if delay is None else delay
        # A long --retry alone must not clash with a default that nobody sees.
        longest = max(defaults.retry_max, delay) if longest is None else longest
        return Retry(
            delay=delay,
            factor=defaults.retry_factor if factor is None else factor,
            max=longest,
            attempts=(defaults.attempts or None) if attempts is None else attempts,
        )

    def _silence(self, parsed: Parsed) -> float | None:
        text = parsed.get("--silence")
        if text is None:
            return self.defaults.silence or None
        return None if text.lower() == "off" else parsed.number("--silence")

    def _lines(
        self, parsed: Parsed, cell: str | None, client: Client, filler: Filler | None
    ) -> list[tuple[str | bytes, list[Secret]]]:
        """Give what is to be sent, with the secrets in it."""
        if cell is None:
            texts = [parsed.rest]
        else:
            if parsed.rest.strip():
                raise UsageError(
                    f"%%send takes its lines from the cell: move {parsed.rest.strip()!r} below, or use %send"
                )
            texts = self._body(cell)
        as_bytes, encoding = parsed.flag("--bytes"), client.encoding or "utf-8"
        for text in texts:
            if "\r" in text or "\n" in text:
                raise UsageError(
                    f"a line break in {text!r} would send more than one command; write it as \\r with --bytes"
                )
        if filler is None:
            return [(unescape(text, encoding) if as_bytes else text, []) for text in texts]
        filled = [filler.fill(text) for text in texts]
        return [
            (bytes_of(one, encoding) if as_bytes else text_of(one), secrets_of(one, encoding))
            for one in filled
        ]

    def _body(self, cell: str) -> list[str]:
        return lines_of(cell, typed_at_prompt=self._at_prompt)

    @property
    def _namespace(self) -> dict[str, Any]:
        namespace: dict[str, Any] = getattr(self.shell, "user_ns", {})
        return namespace

    def _ask(self, client: Client, queue: bool) -> None:
        """Make ready to show the answer to what is about to be sent."""
        if not (queue or client.status.state is State.CONNECTED):
            return
        self._show(client, client.transcript.end)
        if self._front is Front.TERMINAL:
            return
        self._asked[client] = client.transcript.end + 1
        if self._front is Front.NOTEBOOK:
            self._answers.ask(client, self._run)

    def _stop(self, client: Client, *, replaced: bool = False) -> None:
        """Stop a client and say what its peer did not acknowledge; of one stopped before, say nothing.

        replaced: another one takes its name, so that nothing shows its log any more.
        """
        running, name = client.status.state is not State.STOPPED, self._called(client)
        self._log.hush(client)
        begin = client.transcript.end
        client.stop()
        had_panel = self._let_go(client)
        if not running:
            return
        told = f"stopped {name}"
        rows = []
        if unconfirmed := client.unconfirmed:
            count = (
                f"{len(unconfirmed)} line{'s were' if len(unconfirmed) > 1 else ' was'} never acknowledged"
            )
            told += f"; {count} by {client.address.display} (it may have them, or not):"
            rows += _first_rows(unconfirmed, "client.unconfirmed")
        ends = client.transcript.lines(begin, client.transcript.end)
        never_sent = [line for line in ends if line.direction == "*" and line.text.startswith("not sent")]
        rows += _first_rows(never_sent, "client.transcript")
        if had_panel and not replaced and self._front is Front.NOTEBOOK:
            lines = client.transcript.end - client.transcript.first
            where = f"%panel {name} shows its {lines:,} line{'s' if lines != 1 else ''}"
            if rows:
                rows.append(where)
            else:
                told += f"; {where}"
        _say("\n".join([told, *rows]))

    def _let_go(self, client: Client) -> bool:
        """Leave nothing of a stopped client but its transcript; say whether it had a panel."""
        self._log.detach(client)
        self._answers.finish(client)
        self._feeds.pop(client, None)
        self.connections.end(client)
        return close_panel(client)

    def _hide(self, result: object, *, shown: bool = False) -> None:
        """Keep IPython from showing `result`, of which enough was said, as the cell's last expression.

        It still becomes `_` and the cell's result, and shows where the user asks for it. shown: it stands
        under this cell already, so that not even who asks for it there wants it twice.
        """
        hook = sys.displayhook
        if not (shown or ends_with_magic(self._cell)):
            return
        if isinstance(hook, _Hiding):
            hook.results.append(result)
        elif hook is getattr(self.shell, "displayhook", None):
            sys.displayhook = _Hiding(hook, result)

    def _known(self) -> Known:
        if self._past is None:
            self._past = addresses_in_history(self.shell)
        return Known(self.connections.names(), (*reversed(self._used), *self._past))

    def _take_apart(self, lines: list[str]) -> list[str]:
        """Have IPython take a cell of ours apart first of all, while its body is as it was written.

        Else it takes leading `>>> ` and `... ` off, and indentation that all lines share.
        """
        first, _, body = "".join(lines).lstrip().partition("\n")
        word = first.rstrip().partition(" ")[0]
        name = word.removeprefix("%%")
        if name != word and self._is_ours("cell", name):
            lines = cell_magic([f"{first}\n", body])
        return lines

    def _is_ours(self, kind: str, name: str) -> bool:
        """Say whether a magic ("line" or "cell") is ours, and nobody has put another in its place."""
        shell: Any = self.shell
        own = self.magics[kind].get(name)
        return own is not None and shell.magics_manager.magics[kind].get(name) is own

    # At a prompt IPython leaves it out when it asks whether a cell is complete, which the %% tells it.
    _take_apart.has_side_effects = True  # type: ignore[attr-defined]

    def _see_published(self, message: Any) -> Any:
        """Look at what a cell publishes: an answer that was cleared away is followed by another one."""
        if message["header"]["msg_type"] == "clear_output":
            self._run = object()
        return message

    def _begin_cell(self, info: Any) -> None:
        self._watch_published()
        self._cell = info.raw_cell or ""
        # What %run or a program runs in a terminal was not typed there, and is not kept in the history.
        prompts = self._front is Front.CONSOLE or getattr(self.shell, "pt_app", None) is not None
        typed = prompts and bool(info.store_history)
        self._at_prompt = typed and _CELL_MAGIC.match(self._cell) is not None
        self._run = object()
        self._asked.clear()

    def _end_cell(self, result: Any) -> None:
        """Give the answers a moment, so that they stand under this cell before the next one runs."""
        self._at_prompt = False
        if self._front is Front.TERMINAL:
            return
        try:
            for client, begin in self._asked.items():
                settled(client, begin, ANSWER_PATIENCE, ANSWER_QUIET)
        except KeyboardInterrupt:
            pass
        self._asked.clear()
        self._answers.cell_ended()
        self._answers.show_now()
        self._show_feeds()

    def _show_now(self) -> None:
        """Show what has come before what the magic gives back is shown."""
        self._log.show_now()
        self._show_feeds()

    def _show_feeds(self) -> None:
        now = time.monotonic()
        several = len(self._feeds) > 1
        for client, feed in self._feeds.items():
            for row in feed.step(now, f"[{self._called(client)}] " if several else ""):
                _say(row)

    # -- coming and going ----------------------------------------------------------------------------------

    def register(self) -> None:
        """Put the magics, their settings and their completion into the shell."""
        shell: Any = self.shell
        for kind, table_ in shell.magics_manager.magics.items():
            for name in self.magics[kind]:
                if name in table_:
                    self._replaced[kind, name] = table_[name]
        shell.register_magics(self)
        shell.configurables.append(self.defaults)
        shell.input_transformers_cleanup.insert(0, self._take_apart)
        self._typed.register()
        self._watch_published()
        shell.events.register("pre_run_cell", self._begin_cell)
        shell.events.register("post_run_cell", self._end_cell)
        if getattr(shell, "Completer", None) is not None:
            shell.Completer.custom_matchers.append(self._matcher)
        self.defaults.observe(self._set_rate, "rate")
        self.defaults.observe(self._set_answers, "answers")
        # The engine stops the connections at exit; printing has to end before the streams are closed.
        atexit.register(self._log.close)
        atexit.register(self._answers.end)

    def _watch_published(self) -> None:
        """See what is published to a front end, by ipykernel's own hook; under %%capture it is not there."""
        publisher: Any = getattr(self.shell, "display_pub", None)
        if self._published is None and hasattr(publisher, "register_hook"):
            publisher.register_hook(self._see_published)
            self._published = publisher

    def take_over(self) -> None:
        """Go on with what runs of shells that have ended: nobody could stop it there any more.

        IPython.embed() makes a new shell each time. A kernel's shell ends with its process.
        """
        for other in list(_instances):
            if other is self or getattr(other.shell, "keep_running", True):
                continue
            for client in other.connections.own():
                if client.status.state is not State.STOPPED:
                    self._put(client)
            other.connections.clear()
            self._log.take_over(other._log)

    def unregister(self) -> None:
        """Take everything out of the shell again, but what others took over; stop the connections."""
        shell: Any = self.shell
        self.close()
        atexit.unregister(self._log.close)
        atexit.unregister(self._answers.end)
        manager = shell.magics_manager
        for kind, own in self.magics.items():
            for name, magic in own.items():
                if manager.magics[kind].get(name) is magic:
                    del manager.magics[kind][name]
                    before = self._replaced.get((kind, name))
                    if before is not None and type(before).__name__ != "LazyMagic":
                        manager.magics[kind][name] = before
        if manager.registry.get(type(self).__name__) is self:
            del manager.registry[type(self).__name__]
        _remove(shell.configurables, self)
        _remove(shell.configurables, self.defaults)
        _remove(shell.input_transformers_cleanup, self._take_apart)
        self._typed.unregister()
        if self._published is not None:
            self._published.unregister_hook(self._see_published)
            self._published = None
        _remove(shell.events.callbacks["pre_run_cell"], self._begin_cell)
        _remove(shell.events.callbacks["post_run_cell"], self._end_cell)
        if getattr(shell, "Completer", None) is not None:
            _remove(shell.Completer.custom_matchers, self._matcher)
        if isinstance(sys.displayhook, _Hiding):
            sys.displayhook = sys.displayhook.hook

    def close(self) -> None:
        """Stop the connections, those that were made in Python too, say so, and end what shows them."""
        for client in self.connections.running():
            self._stop(client, replaced=True)
        self._log.close()
        self._answers.close()
        close_all_panels()  # also of clients that were replaced, and of those that no magic made
        self._feeds.clear()
        self.connections.clear()

    def _set_rate(self, change: Any) -> None:
        self._log.rate = change.new

    def _set_answers(self, change: Any) -> None:
        self._answers.lines = change.new


_instances: weakref.WeakSet[ReconnectMagics] = weakref.WeakSet()
"""Those of all shells of the process."""


class _Hiding:
    """A display hook that lets some results pass in silence; at the end of the cell IPython takes it away."""

    def __init__(self, hook: Any, result: object) -> None:
        self.hook = hook
        self.results = [result]

    def __call__(self, value: object = None) -> None:
        if not any(value is result for result in self.results):
            self.hook(value)
            return
        self.hook.check_for_underscore()
        self.hook.update_user_ns(value)
        self.hook.fill_exec_result(value)


def load(shell: Any) -> None:
    """Register the magics in an IPython shell; a second time changes nothing.

    UsageError when the profile sets `c.Reconnect.…` to something impossible.
    """
    for other in _registered(shell):
        if type(other) is ReconnectMagics:
            return
        other.unregister()  # left by a module that was reloaded
    try:
        magics = ReconnectMagics(shell)
        magics.register()
    except TraitError as error:
        raise UsageError(
            f"ipyreconnect is not loaded, because of a setting in the profile: {error}"
        ) from None
    magics.take_over()


def unload(shell: Any) -> None:
    """Leave the shell as it was before `load`: no magic, no connection, no thread, no panel."""
    for magics in _registered(shell):
        magics.unregister()


def _registered(shell: Any) -> list[Any]:
    # By name: after a reload of this module the class of an older instance is another one.
    return [
        one
        for one in shell.configurables
        if type(one).__name__ == ReconnectMagics.__name__
        and type(one).__module__ == ReconnectMagics.__module__
    ]


def _remove(entries: list[Any], entry: object) -> None:
    entries[:] = [other for other in entries if other is not entry and other != entry]


def _first_rows(lines: list[Line], where: str) -> list[str]:
    """Give the rows that show the first of these lines, and say where the others are."""
    rows = [
        f"  {row}"
        for line in lines[:UNCONFIRMED_SHOWN]
        for row in rendered(line, shortened(line.text, LONGEST_SHOWN))
    ]
    more = len(lines) - UNCONFIRMED_SHOWN
    return [*rows, f"  … {more} more ({where})"] if more > 0 else rows


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _display(bundle: dict[str, str]) -> Handle | None:
    """Show something under the running cell that can be updated from any thread."""
    from IPython.display import display

    handle: Handle | None = display(bundle, raw=True, display_id=True)
    return handle


def _address(parsed: Parsed) -> Address:
    """Read the address of %connect; where it is none, the words of an option's value may stand in it."""
    try:
        return parse_address(parsed.rest)
    except SettingsError:
        if (advice := value_in_need_of_quotes(parsed, _is_address)) is not None:
            raise UsageError(advice) from None
        raise


def _is_address(text: str) -> bool:
    with suppress(SettingsError):
        parse_address(text)
        return True
    return False


def outcome(client: Client, took: float, now: float) -> str:
    """Say in one line how the first attempt ended. took: seconds that it took; now: Unix time, s."""
    status = client.status
    where = client.address.display
    match status.state:
        case State.CONNECTED:
            details = []
            if status.tls is not None:
                details += [status.tls.version, status.tls.cipher]
                if not status.tls.verified:
                    details.append(
                        "CERTIFICATE NOT VERIFIED: anybody in between can read and change everything"
                    )
            shown = f" ({', '.join(details)})" if details else ""
            return f"connected to {where}{shown} in {took:.2f} s"
        case State.WAITING if status.retry_at is not None:
            wait = max(0.0, status.retry_at - now)
            return f"{visible(status.reason)}; try {status.attempt + 1} in {wait:.1f} s"
        case State.CONNECTING:
            phase = status.phase.value if status.phase is not None else "dialing"
            return (
                f"still connecting to {where} ({phase}, try {status.attempt}); it goes on in the background"
            )
        case _:
            return f"{visible(status.reason) or f'not connected to {where}'}; stopped"


def keepalive_words(client: Client, name: str) -> list[str]:
    """Say which keepalive is in force, what it means, and what this system lacks for it."""
    wanted, force = client.keepalive, client.keepalive_in_force
    name = visible(name)
    if client.address.path:
        return [f"{name}: {NO_KEEPALIVE}"]
    if force is None:
        return [
            f"{name}: keepalive {wanted} is set, and will be in force once connected ({client.state} now)"
        ]
    rows = [f"{name}: keepalive {force} is in force", f"  {bound_words(force)}"]
    if force != wanted:
        rows.append(f"  (the system gave this instead of {wanted})")
    rows += [f"  this system lacks {option}" for option in (*missing_options(), *changes.missing())]
    return rows


def bound_words(keepalive: KeepAlive) -> str:
    """Say what a keepalive promises."""
    if not keepalive.enabled:
        return "no probes: a peer that vanishes while nothing is sent goes unnoticed"
    idle, interval, count = keepalive.idle, keepalive.interval, keepalive.count
    return (
        f"a probe after {idle} s of silence, then every {interval} s, {count} in all; "
        f"a dead peer is noticed within {keepalive.bound} s (+ 1 s)"
    )


def _heartbeat(address: Address, parsed: Parsed) -> Heartbeat | None:
    line, every = parsed.get("--heartbeat"), parsed.seconds("--heartbeat-every")
    unanswered = parsed.flag("--heartbeat-unanswered")
    if line is None and every is None:
        if unanswered:
            raise UsageError("--heartbeat-unanswered is about a heartbeat: give --heartbeat LINE too")
        return None
    if line is not None and line.lower() == "off":
        if every is not None or unanswered:
            option = "--heartbeat-unanswered" if every is None else "--heartbeat-every"
            raise UsageError(f"--heartbeat off sends none: leave {option} out")
        return None
    if line is None:
        line = own_heartbeat(address.profile)
    return Heartbeat(line, DEFAULT_HEARTBEAT_EVERY if every is None else every, answered=not unanswered)


def _changed_heartbeat(client: Client, parsed: Parsed) -> Heartbeat | None:
    """Return what %heartbeat asks for; what it does not say stays as it is, or becomes the protocol's own."""
    line, every, unanswered = parsed.rest, parsed.seconds("--every"), parsed.flag("--unanswered")
    before: Heartbeat | None = client.heartbeat
    if line.strip().lower() == "off":
        if every is not None or unanswered:
            raise UsageError("%heartbeat off sends none: leave the options out")
        return None
    if line or before is None:
        line = line or own_heartbeat(client.address.profile)
        usual = DEFAULT_HEARTBEAT_EVERY if before is None else before.every
        return Heartbeat(line, usual if every is None else every, answered=not unanswered)
    return replace(
        before,
        every=before.every if every is None else every,
        answered=False if unanswered else before.answered,
    )


def heartbeat_words(client: Client, name: str) -> list[str]:
    """Say which heartbeat is in force, and what follows from it."""
    beat: Heartbeat | None = client.heartbeat
    name = visible(name)
    silence = client.silence
    told = [] if silence is None else [f"  a loss after {silence:g} s without anything received (silence)"]
    if beat is None:
        own = client.address.profile.heartbeat
        advice = "LINE" if own is None else f"--every S sends {own}"
        return [f"{name}: no heartbeat is sent (%heartbeat {advice})", *told]
    if isinstance(beat.line, bytes):
        how = f"heartbeat {beat.line!r} each {beat.every:g} s, whatever else is sent"
    else:
        how = f"heartbeat {beat.line!r}, {beat.every:g} s after whatever was sent last"
    if client.status.state is State.CONNECTED:
        rows = [f"{name}: {how}"]
    else:
        rows = [f"{name}: {how}, once connected ({client.state} now)"]
    if not beat.answered:
        rows.append("  nothing follows from it when nothing answers")
    elif client.heartbeat_answered:
        rows.append(f"  it is answered: {2 * beat.every:g} s without anything received are a loss")
    else:
        rows.append(
            f"  none was answered yet; once one is, {2 * beat.every:g} s without anything received are a loss"
        )
    return [*rows, *told]


_CELL_MAGIC = re.compile(r"\s*(?:>>> |In \[\d+\]: )?%%\w")


def lines_of(body: str, *, typed_at_prompt: bool = False) -> list[str]:
    r"""Split a cell's body into the lines to send: at \n and nowhere else; the last line end begins no line.

    typed_at_prompt: an empty line at the end is how a terminal is told that the cell is complete.
    """
    lines = (body.removesuffix("\n") if typed_at_prompt and body.endswith("\n\n") else body).split("\n")
    if not lines[-1]:
        lines.pop()
    return lines or [""]


_LAST_MAGIC = re.compile(rf"\s*(?:%time[ \t]+)?%?(?:{'|'.join(MAGICS)})(?:[ \t]+(?![=(.,]).*)?\Z")


def ends_with_magic(cell: str) -> bool:
    """Say whether the last expression of a cell is one of our magics, not assigned to anything."""
    stripped = cell.strip()
    if stripped.startswith("%%"):
        first, _, body = stripped.partition("\n")
        name = re.match(r"%%(\w+)", first)
        # What another cell magic gives, such as %%time, is what its body gives.
        return name is not None and (name[1] in MAGICS or (bool(body) and ends_with_magic(body)))
    return _LAST_MAGIC.match(stripped.rpartition("\n")[2]) is not None
