"""The client: the thread-safe face of one connection, with traits to observe; usable with no IPython at all.

It turns calls into exceptions and waits, and leaves all the rest to the floors below. Values that change by
themselves (`state`, `reason`, …) are read from one frozen status, so they are never half old; their observers
run on a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import inspect
import logging
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Never, NoReturn, Self, cast, overload

import traitlets
from traitlets.traitlets import EventHandler
from traitlets.utils.bunch import Bunch

from ..address import Address, parse_address
from ..errors import ExpectTimeout, ReconnectError, ScriptFailed, SettingsError
from ..lines.delivery import UNCONFIRMED, Delivery
from ..lines.framing import check_framing
from ..lines.line import Line
from ..lines.text import HAS_BREAK, decode, encode_line, has_break, has_own_end, in_one_line
from ..lines.transcript import Transcript
from ..mask import check_encoding
from ..network.driver import Driver, Waiter
from ..profile.base import TLSMode
from ..protocol.configuration import QUEUE_LIMIT, Settings
from ..protocol.connection import Connection
from ..protocol.expect import Expectation, Pattern, compile_pattern
from ..protocol.health import UNKNOWN, Health
from ..protocol.match import Match
from ..protocol.state import State
from ..protocol.status import Status
from ..secret import Secret
from ..settings import TLS, Heartbeat, KeepAlive, Retry, path_from, silence_from
from .arguments import (
    Replies,
    check_function,
    context_for,
    eol_from,
    forms_of,
    heartbeat_from,
    is_function,
    keepalive_from,
    name_from,
    redaction_of,
    refusing,
    replies_from,
    reply_from,
    retry_from,
    script_from,
    seconds_from,
    server_name_for,
    size_from,
    transcript_from,
    whole_number,
    with_tls,
)
from .follow import Follow, Listeners
from .notifier import Notifier
from .origin import Origin
from .recorder import Recorder
from .session import Session
from .slow_search import SlowSearch

__all__ = ["Client", "Follow"]

LAST_LINES = 5
"""How many lines a time-out quotes."""
INTERRUPT_EVERY = 0.2
"""Seconds: an interrupt does not wake a kernel's event loop, so what waits in it looks around this often
(measured: 0.24–0.37 s)."""
MANY_LINES = 4096
"""Lines that an expectation looks through at once: some milliseconds."""
EXIT_PATIENCE = 1.0
"""Seconds that `stop` waits for the I/O thread to end after the last connection; it takes milliseconds."""

log = logging.getLogger("ipyreconnect")
Payload = str | bytes | Secret


_CALLED_OTHERWISE = {
    **dict.fromkeys(
        ("close", "disconnect", "shutdown", "terminate", "quit", "end", "aclose"), "client.stop() ends it"
    ),
    **dict.fromkeys(("open", "start", "dial", "run"), "client.connect() starts it"),
    **dict.fromkeys(
        ("recv", "read", "receive", "read_until", "recvuntil", "expect_exact", "read_very_eager", "query"),
        "client.expect(REGEX) waits for a line, client.send(TEXT, expect=REGEX) asks for one",
    ),
    **dict.fromkeys(
        ("readline", "readlines", "recvline", "recvlines", "lines", "makefile"),
        "`for line in client.follow()` reads them as they come, client.expect(REGEX) waits for one, and "
        "client.transcript has all",
    ),
    **dict.fromkeys(
        ("write", "writelines", "sendall", "sendline", "sendlines", "send_line", "println", "writeline"),
        "client.send(TEXT) sends one line, client.send(BYTES) bytes as they are",
    ),
    "reconnect": "client.reconnect_now() connects anew at once",
    **dict.fromkeys(
        ("settimeout", "set_timeout"), "each call has its own: client.expect(REGEX, timeout=SECONDS)"
    ),
    "setsockopt": "client.set_keepalive('5/3/3') sets the keepalive; the other options are the client's own",
    **dict.fromkeys(
        ("connected", "is_connected", "is_open", "closed", "is_alive", "isalive", "alive"),
        "client.state == 'connected' says it, and client.health how the peer is",
    ),
    **dict.fromkeys(
        ("on_message", "on_data", "add_listener", "subscribe"),
        "client.on_line(FUNCTION) has it called for each line",
    ),
}
"""How other libraries (sockets, files, telnetlib, pexpect, pwntools, pyserial, PyVISA) call what a client
does, and how it is called here. These are no attributes: `hasattr` and completion know nothing of them."""

_AT_THE_BEGINNING = "it is fixed when a client is made: make another one, with Client(ADDRESS, {name}=…)"
_FIXED = {
    **dict.fromkeys(
        ("tls", "encoding", "eol", "framing", "name", "on_connect", "transcript", "record", "queue_limit"),
        _AT_THE_BEGINNING,
    ),
    "address": "it is fixed when a client is made: make another one, with Client(ADDRESS, …)",
    "replies": "client.add_reply(REGEX, LINE) adds one, and the others are fixed when a client is made",
    "secrets": "client.hide(SECRET) hides one from now on",
    "keepalive_in_force": "client.keepalive sets it, and the system says what of that is in force",
}
"""What a client was given that it cannot change, and what there is instead."""

_OF_TRAITLETS = frozenset(dir(traitlets.HasTraits)) - {"observe", "unobserve", "unobserve_all"}
_FOR_THE_SKINS = frozenset(
    (
        *("add_watcher", "changed", "compiled", "encode", "in_vain", "itself", "last_asked", "notifier"),
        *("poke", "remove_watcher", "run_function", "search", "work", "show_as_script", "wait_for_delivery"),
    )
)
"""Names of the client's that are for this package, and not offered by completion."""

_started: dict[weakref.ref[Client], None] = {}
"""Those that were ever started, in order, until they are collected. Each step is one of a dict's own, which
no thread, finalizer or signal handler sees half done."""


def _is_offered(name: str) -> bool:
    # Traits whose names begin with _ have to stay: traitlets finds a class's by what `dir` says.
    return name[:1] == "_" or (name not in _FOR_THE_SKINS and name not in _OF_TRAITLETS)


def _is_private(name: str) -> bool:
    return name[:1] == "_" and name[:2] != "__"


class _ClientType(traitlets.MetaHasTraits):
    """The type of clients: it has completion offer nothing internal. IPython looks into the class too."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if _is_offered(name)]


class _Live(traitlets.TraitType[Any, Any]):
    """A trait whose value is looked up when it is read; who observes it is told by the client."""

    def __init__(
        self,
        read: Callable[[Client], Any],
        write: Callable[[Client, Any], None] | None = None,
        about: str = "",
    ) -> None:
        super().__init__(help=about, read_only=write is None, allow_none=True)
        self._read = read
        self._write = write

    def get(self, obj: Any, cls: Any = None) -> Any:
        return self._read(obj)

    def set(self, obj: Any, value: Any) -> None:
        if self._write is None:
            raise traitlets.TraitError(f"{self.name} follows the connection; it can be observed, not set")
        self._write(obj, value)


class Client(traitlets.HasTraits, metaclass=_ClientType):
    """A connection to a line-based server that is kept up until it is stopped.

    address: "host:port", "host port", "[v6]:port", "unix:///path" or a URL such as
    "imaps://imap.example.org".
    name: what the user calls it; the host by default.
    tls: None (as the address says), True, False, or a `TLS` with the details.
    keepalive: a `KeepAlive` or "idle/interval/count" in seconds, "off".
    retry: a `Retry`, or the delay in seconds.
    encoding: of text that is sent and read; None: UTF-8, and ISO-8859-1 where a line is not UTF-8.
    eol: the line end that is added: "crlf", "lf", "cr", "none" or bytes; None: the protocol's.
    framing: "lines", "announced", "raw", or a class (or an object, of which each connection has a copy) with
    `feed(data) -> list[bytes]`; None: the protocol's.
    heartbeat: a `Heartbeat`, or the line (every minute); None: none. It can be changed at any time.
    silence: seconds without anything received after which the connection is lost, while it is read and with
    nothing sent to ask; None: none are too many. It can be changed at any time.
    replies: {regex: line} answered by themselves; a line is answered by the first that is found in it, and by
    the protocol's own (PING) where none is; an empty mapping switches those off.
    on_connect: an on-connect script, or a function that is given a session.
    transcript: a `Transcript` with limits of its own, or how many lines to keep.
    record: a file to which every line is appended as it happens, as JSON; `Transcript.load` reads it.
    secrets: what is shown as •••• wherever it is sent or received, and in the text of `on_connect`.
    queue_limit: bytes that may wait to be sent.
    longest_line: bytes of a received line that is kept in one piece, or a text such as "8MiB"; None: 1 MiB. A
    longer one comes in fragments, cut between characters.

    Raises SettingsError, before anything starts, for whatever another try could not mend. Every method may be
    called from any thread.
    """

    _connection: Connection
    _driver: Driver
    _origins: dict[object, Origin]
    _shown_heartbeat: Heartbeat | None

    state = _Live(
        lambda client: client.status.state.value, about="stopped, connecting, connected, waiting or stopping"
    )
    phase = _Live(
        lambda client: client.status.phase.value if client.status.phase else None,
        about="how far connecting has come",
    )
    reason = _Live(lambda client: client.status.reason, about="of the last failure or loss")
    attempt = _Live(
        lambda client: client.status.attempt, about="tries begun since the last connection that was stable"
    )
    retry_at = _Live(
        lambda client: client.status.retry_at, about="when the next try is, Unix time in seconds"
    )
    connected_since = _Live(lambda client: client.status.connected_since, about="Unix time in seconds")
    health = _Live(
        lambda client: client._health(),
        about="what is known of the peer; read anew each time, and observed when its verdict changes",
    )
    keepalive = _Live(
        lambda client: client._driver.keepalive,
        lambda client, value: _ignore(client.set_keepalive(value)),
        about="as set",
    )
    retry = _Live(
        lambda client: client._driver.connection.retry,
        lambda client, value: client._set_retry(value),
        about="as set",
    )
    heartbeat = _Live(
        lambda client: client._shown_heartbeat,
        lambda client, value: client._set_heartbeat(value),
        about="a Heartbeat, as set, or None; what is hidden in it is shown as ••••",
    )
    silence = _Live(
        lambda client: client._connection.silence,
        lambda client, value: client._set_silence(value),
        about="seconds without anything received that make a loss, as set, or None",
    )

    def __init__(
        self,
        address: str | Address,
        *more: Never,
        name: str | None = None,
        tls: TLS | bool | None = None,
        keepalive: KeepAlive | str | None = None,
        retry: Retry | float | None = None,
        encoding: str | None = None,
        eol: str | bytes | None = None,
        framing: Any = None,
        heartbeat: Heartbeat | str | bytes | None = None,
        silence: float | None = None,
        replies: Replies | None = None,
        on_connect: str | Callable[..., object] | None = None,
        transcript: Transcript | int | None = None,
        record: str | os.PathLike[str] | None = None,
        secrets: Iterable[Secret] = (),
        queue_limit: int = QUEUE_LIMIT,
        longest_line: int | str | None = None,
    ) -> None:
        super().__init__()
        given: tuple[object, ...] = more
        if given:
            port = str(given[0]) if len(given) == 1 else ""
            example = f"{address}:{port}" if re.fullmatch("[0-9]{1,5}", port) else "host:port"
            raise SettingsError(
                f"a Client takes one address, and all else by name: write Client({example!r}, …)"
            )
        if not isinstance(address, Address):
            address = parse_address(address)
        self.address, self.tls = with_tls(address, tls)
        profile = self.address.profile
        self.encoding = None if encoding is None else check_encoding(encoding)
        self.eol = eol_from(eol, profile)
        self.name = name_from(name, self.address)
        check_framing(framing, profile)
        self.framing = framing if framing is not None else profile.framing
        longest = None if longest_line is None else size_from(longest_line, "longest_line")
        self.transcript = transcript_from(transcript, longest)
        forms = forms_of(secrets, self.encoding)
        redact = redaction_of(forms, self.transcript)
        with refusing(redact):
            beat = heartbeat_from(heartbeat, self.encoding, self.eol)
            rules = replies_from(replies, profile, self.encoding, self.eol)
        quiet = silence_from(silence)
        encrypted = self.address.tls is not TLSMode.NONE
        settings = Settings(
            where=self.address.display,
            profile=profile,
            tls=self.address.tls,
            context=context_for(self.tls) if encrypted else None,
            server_name=server_name_for(self.address, self.tls) if encrypted else None,
            eol=self.eol,
            encoding=self.encoding,
            framing=framing,
            script=script_from(on_connect, redact, self.encoding, self.eol),
            has_function=is_function(on_connect),
            longest_line=longest,
            queue_bytes=whole_number(queue_limit, "queue_limit must be a whole number of bytes", 1),
        )
        self._driver = Driver(
            self.address, settings, keepalive_from(keepalive), retry_from(retry), self.transcript, self
        )
        self._connection = self._driver.connection
        self._connection.replies = rules
        self._connection.set_heartbeat(beat, 0.0)
        self._connection.set_silence(quiet, 0.0)
        path = path_from("record", record)
        self._recorder = None if path is None else Recorder(path, self._driver, self.transcript)
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._listeners: Listeners | None = None
        self._notifier: Notifier | None = None
        self._worker: Notifier | None = None
        self.__dict__.setdefault("_origins", {})
        self._origin = Origin()
        self._told = self._connection.status
        self.itself = weakref.ref(self, _forget)  # for its deliveries, and for `all`
        # At last, as a client that is refused changes nothing of what it was given.
        self._hide(forms)
        # What a user may look at has no secret in it.
        self.on_connect = (
            self.transcript.redacted_text(on_connect) if isinstance(on_connect, str) else on_connect
        )
        self._shown_heartbeat = self._shown(beat)
        self._made = True  # from here on `__setattr__` refuses

    # -- what is known ---------------------------------------------------------------------------------------

    @classmethod
    def all(cls) -> list[Self]:
        """Return the clients of this process that run, from `connect` to `stop`, in the order in which they
        were started; of a subclass its own. Any thread.
        """
        found = (itself() for itself in list(_started))
        return [
            client
            for client in found
            if isinstance(client, cls) and client._connection.state is not State.STOPPED
        ]

    @property
    def status(self) -> Status:
        """Everything about the state at one moment, as one frozen value."""
        return self._connection.status

    def _health(self) -> Health:
        return self._driver.call(self._driver.look)

    @property
    def keepalive_in_force(self) -> KeepAlive | None:
        """What the kernel gave back for the live socket; None while there is none, and for a Unix socket."""
        return self.status.keepalive

    @property
    def heartbeat_answered(self) -> bool:
        """Whether a heartbeat as it is now was ever answered at this address: before that, no silence says
        that a program hangs.
        """
        return self._driver.call(lambda: self._connection.heartbeat_answered)

    @property
    def unconfirmed(self) -> list[Line]:
        """The lines of the lost connection that its peer never acknowledged: it may have received them, or
        not.
        """
        lines = []
        for delivery in self._connection.unconfirmed:
            number = -1 if delivery.number is None else delivery.number
            kept = self.transcript[number : number + 1] if number >= 0 else []
            lines += kept or [
                Line(delivery.data, direction=">", number=number, encoding=self.encoding, delivery=delivery)
            ]
        return lines

    def __repr__(self) -> str:
        status = self.status
        since = ""
        began = status.connected_since or status.stopped_at
        if began is not None:
            since = time.strftime(" since %H:%M:%S", time.localtime(began))
        elif status.reason:
            since = f" ({status.reason})"
        return f"<Client {self.name} {self.address}: {status.state.value}{since}>"

    if not TYPE_CHECKING:  # else every name would be one for a type checker

        def __getattr__(self, name: str) -> NoReturn:
            """Name the right call, where another library's is tried; called for unknown names only."""
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in _CALLED_OTHERWISE:
                told += f": {_CALLED_OTHERWISE[name]}"
            raise AttributeError(told, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what could not take effect; a subclass may keep what it likes under names of its own."""
        if name[:1] != "_" and not self._is_settable(name):
            raise SettingsError(f"{name} of a client cannot be set: {_instead_of_setting(name)}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name[:1] != "_" and name in self.__dict__ and not self._is_settable(name):
            raise SettingsError(f"{name} of a client cannot be taken away: {_instead_of_setting(name)}")
        super().__delattr__(name)

    def _is_settable(self, name: str) -> bool:
        if "_made" not in self.__dict__ or name in _OF_TRAITLETS:
            return True
        here, own = (inspect.getattr_static(kind, name, None) for kind in (type(self), Client))
        if isinstance(here, traitlets.TraitType) or here is not own:  # which says itself what it takes
            return True
        return here is None and type(self) is not Client and name not in _FIXED

    def __dir__(self) -> list[str]:
        """Return what is for users: what completion offers."""
        return [name for name in super().__dir__() if _is_offered(name) and not _is_private(name)]

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Client is a live connection, which is neither copied nor pickled: make another one with "
            "Client(address, …)"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not _in_notebook():
            return {"text/plain": repr(self)}
        from ..jupyter.panel.panel import panel_for

        return panel_for(self)._repr_mimebundle_(include=include, exclude=exclude)

    # -- connecting and stopping -----------------------------------------------------------------------------

    def connect(self, wait: float | None = 10.0) -> Self:
        """Start, and wait for the first outcome, at most `wait` seconds (0 or None: not at all).

        What the network does is no exception here: `state` and `reason` say it, and a failure is retried. A
        running client goes on, one that waits for its next try tries now. Returns self.

        Raises SettingsError for a `wait` that is no number of seconds; then nothing was begun.
        """
        patience = 0.0 if wait is None else seconds_from(wait)
        if self._connection.state is State.STOPPING:
            # A fifth of a second at most.
            self._driver.wait(lambda: self._connection.state is not State.STOPPING, None)
        if self._recorder is None:
            self._start()
        else:
            self._recorder.start(self._start)
        if patience:
            self._driver.wait(lambda: self._connection.state is not State.CONNECTING, patience)
        return self

    def _start(self) -> None:
        if self._connection.state is State.STOPPED:
            _started.pop(self.itself, None)  # it comes last now
        _started[self.itself] = None  # first: nothing runs that is not found
        self._driver.call(lambda: self._connection.start(time.monotonic()))

    def stop(self) -> None:
        """Close at once, in whatever state, and end the reading; then no thread and no socket is left of it.

        What the peer has not acknowledged within a fifth of a second is in `unconfirmed`, and is not
        delivered later.
        """
        driver = self._driver

        def stop() -> int | None:
            self._connection.stop(time.monotonic())
            return None if driver.at_rest else driver.ended

        if driver.has_turn:  # called by a finalizer or a signal handler, in the middle of something
            driver.post(stop)
            return
        thread = driver.loop_thread
        ended = driver.call(stop)
        if threading.current_thread() is thread:
            return
        if ended is not None:
            # Another thread may connect anew at once: then it has ended all the same.
            driver.wait(lambda: driver.at_rest or driver.ended != ended, None)
        if thread is not None and driver.ends(thread):
            thread.join(EXIT_PATIENCE)
        if self._recorder is not None:
            self._recorder.join()

    def reconnect_now(self) -> None:
        """Cut the wait for the next try short, or drop the live connection and connect anew."""
        self._driver.call(lambda: self._connection.retry_now(time.monotonic()))

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- sending and expecting -------------------------------------------------------------------------------

    @overload
    def send(
        self,
        data: Payload,
        *,
        expect: None = None,
        whole: bool = False,
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Delivery: ...
    @overload
    def send(
        self,
        data: Payload,
        *,
        expect: Pattern,
        whole: bool = False,
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Match: ...
    def send(
        self,
        data: Payload,
        *,
        expect: Pattern | None = None,
        whole: bool = False,
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Delivery | Match:
        """Send one line of text (the line end is added), or bytes as they are; never blocks.

        expect: wait at most `timeout` seconds for a line that matches, and return the `Match`; else the
        `Delivery` is returned. whole: as for `expect`. queue: when there is no connection, keep the line for
        a minute until there is.
        secrets: parts of `data` that are shown as ••••, from now on in all that is sent or received; with a
        `Secret` as `data` the whole line is secret.

        Raises SettingsError (a ValueError) for text with a line break, or that the encoding does not know;
        NotConnected, which says when the next try is; OutboxFull; with `expect` also ExpectTimeout and
        ConnectionLost. When it raises one of the first four, nothing was sent.
        """
        wire, line = self.encode(data, secrets)
        delivery = Delivery(line, self.itself)
        if expect is None:
            self._driver.call(
                lambda: self._connection.send(wire, line, delivery, time.monotonic(), queue=queue)
            )
            return delivery
        expectation = Expectation(self.compiled(expect), whole=whole)

        def work() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return self._outcome(expectation, seconds_from(timeout), work, time.monotonic())

    def expect(self, pattern: Pattern, timeout: float = 10.0, *, whole: bool = False) -> Match:
        """Wait at most `timeout` seconds for a line that matches, and return the `Match`.

        It looks from the last send on, or after the last match where that is later, so an answer that came
        before the call is found. What is compared is the beginning of a logical line, before its first
        announced byte: neither a mail, a value or a payload that the line announced, nor a later fragment of
        a line that was too long. whole: look into all of a logical line; of one that came in fragments, into
        each of them.

        Raises ExpectTimeout, and ConnectionLost when the connection that was to
        answer is gone.
        """
        expectation = Expectation(self.compiled(pattern), whole=whole)
        seconds = seconds_from(timeout)
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= seconds:
                return self._result(expectation, seconds)
        return self._outcome(
            expectation, seconds, lambda: self._connection.expect(expectation, time.monotonic()), began
        )

    async def asend(
        self,
        data: Payload,
        *,
        expect: Pattern | None = None,
        whole: bool = False,
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Delivery | Match:
        """Do what `send` does, from a coroutine of any event loop; a cancelled one leaves the connection as
        it was.
        """
        if expect is None:
            return self.send(data, queue=queue, secrets=secrets)
        wire, line = self.encode(data, secrets)
        delivery = Delivery(line, self.itself)
        expectation = Expectation(self.compiled(expect), whole=whole)

        def work() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return await self._async_outcome(expectation, seconds_from(timeout), work, time.monotonic())

    async def aexpect(self, pattern: Pattern, timeout: float = 10.0, *, whole: bool = False) -> Match:
        """Do what `expect` does, from a coroutine of any event loop; a cancelled one leaves the connection as
        it was.
        """
        expectation = Expectation(self.compiled(pattern), whole=whole)
        seconds = seconds_from(timeout)
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= seconds:
                return self._result(expectation, seconds)
            await asyncio.sleep(0)
        return await self._async_outcome(
            expectation, seconds, lambda: self._connection.expect(expectation, time.monotonic()), began
        )

    def _rule_out(self, expectation: Expectation) -> Iterator[None]:
        """Look through what was received, if that is much, before the connection is asked to: with its turn,
        nobody else could do anything meanwhile.
        """
        start, end = self._connection.expectations.looks_from, self.transcript.end
        return expectation.rule_out(self.transcript, start, end) if end - start > MANY_LINES else iter(())

    def _outcome(
        self, expectation: Expectation, timeout: float, work: Callable[[], None], began: float
    ) -> Match:
        """Do `work` and wait for what comes of it until `timeout` seconds after `began`."""
        self._driver.call_and_wait(
            work,
            lambda: expectation.outcome is not None,
            began + timeout,
            lambda: self._connection.forget(expectation),
        )
        return self._result(expectation, timeout)

    async def _async_outcome(
        self, expectation: Expectation, timeout: float, work: Callable[[], None], began: float
    ) -> Match:
        asyncio.get_running_loop()  # raises, before anything was done, where no event loop of asyncio's runs
        try:
            self._driver.call(work)
            await self._until(lambda: expectation.outcome is not None, began + timeout - time.monotonic())
        finally:
            if expectation.outcome is None:
                # Posted: a coroutine that was dropped is closed by the garbage collector, at any moment.
                self._driver.post(lambda: self._connection.forget(expectation))
        return self._result(expectation, timeout)

    def _result(self, expectation: Expectation, timeout: float) -> Match:
        outcome = expectation.outcome
        if isinstance(outcome, Match):
            return outcome
        if outcome is not None:
            # Its traceback will know this frame, and with it all the caller's: no cycle must keep them alive.
            expectation.outcome = None
            try:
                raise outcome
            finally:
                del outcome
        end = self.transcript.end
        lines = self.transcript.lines(max(expectation.origin, end - 10 * LAST_LINES), end)
        last = [line for line in lines if line.direction == "<"][-LAST_LINES:]
        begun = self._driver.call(lambda: self.transcript.unfinished)
        told = f"{'no whole line' if begun else 'nothing'} was received since the last send"
        if last:
            shown = "".join(f"\n  < {line.text[:200]!r}" for line in last)
            told = f"the last {'line' if len(last) == 1 else 'lines'}:{shown}"
        if begun:
            # A prompt, say. Of what may be the half of a secret, nothing is shown.
            quoted = "" if self.transcript.hides else f": {decode(begun[:200], self.encoding)!r}"
            told += f"\n  and an unfinished one of {len(begun)} byte{'s' * (len(begun) > 1)}{quoted}"
        if expectation.unsent:
            told = "the line is still queued, and sent once connected"
        raise ExpectTimeout(f"{self.in_vain(expectation.pattern, timeout)}; {told}")

    async def _until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait in a coroutine; see INTERRUPT_EVERY."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def set_result() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(set_result)

        waiter = Waiter(done, wake)
        ends = None if timeout is None else loop.time() + timeout
        self._driver.watch(waiter)
        try:
            while not woken.done():
                left = INTERRUPT_EVERY if ends is None else min(INTERRUPT_EVERY, ends - loop.time())
                if left <= 0:
                    break
                await asyncio.wait({woken}, timeout=left)
        finally:
            self._driver.post(lambda: self._driver.unwatch(waiter))
        return done()

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        """Wait until `delivery` has come as far as `status`; what `Delivery.wait` calls."""
        timeout = seconds_from(timeout)
        self._driver.call(lambda: self._connection.hurry(time.monotonic()))
        self._driver.wait(lambda: delivery.reached(status) or delivery.status == UNCONFIRMED, timeout)
        return delivery.reached(status)

    def hide(self, *secrets: Secret) -> None:
        """Show these as •••• from now on, in all that is sent or received: in the log, a record, an error.

        A secret is recognised within a line: not where raw reads, or the fragments of a line that is too long
        to be kept in one piece, cut through it.
        """
        self._hide(forms_of(secrets, self.encoding))

    def _hide(self, forms: Iterable[bytes]) -> None:
        for form in forms:
            self.transcript.hide(form)

    def _redacted(self, data: str | bytes) -> str | bytes:
        hide = self.transcript
        return hide.redacted_text(data) if isinstance(data, str) else hide.redacted(data)

    def compiled(self, pattern: Pattern) -> re.Pattern[Any]:
        """Return `pattern` compiled; the SettingsError for one that is no expression shows no secret."""
        return compile_pattern(pattern, self.transcript.redacted_text)

    def in_vain(self, pattern: re.Pattern[Any], timeout: float) -> str:
        """Return how an error says that no line matched, without the secrets that were filled in."""
        source = pattern.pattern
        awaited = source if isinstance(source, str) else source.decode("utf-8", "replace")
        return (
            f"no line from {self.address.display} matched {self.transcript.redacted_text(awaited)!r} "
            f"within {timeout:g} s"
        )

    def encode(self, data: Payload, secrets: Iterable[Secret] = ()) -> tuple[bytes, bytes]:
        """Return what goes out, and the line that the log shows."""
        if secrets:
            self._hide(forms_of(secrets, self.encoding))
        if isinstance(data, str):
            line = encode_line(data, self.encoding, self.transcript.redacted_text, self.eol)
            wire = line + self.eol
        elif isinstance(data, bytes):
            wire, line = data, data.removesuffix(b"\n").removesuffix(b"\r")
        elif isinstance(data, Secret):
            self.hide(data)
            line = data.reveal()
            if has_break(line, self.eol):
                raise SettingsError(HAS_BREAK if has_break(line) else has_own_end(self.eol))
            wire = line + self.eol
        else:
            raise SettingsError(
                f"send takes text (one line) or bytes (as they are), not {type(data).__name__}"
            )
        if not wire:
            raise SettingsError("there is not one byte to send: give a line; an empty one needs an eol")
        return wire, self.transcript.redacted(line)

    # -- following -------------------------------------------------------------------------------------------

    @overload
    def follow(self, *, as_bytes: None = None, start: int | None = None) -> Follow[Line]: ...
    @overload
    def follow(self, *, as_bytes: bool, start: int | None = None) -> Follow[bytes]: ...
    def follow(self, *, as_bytes: bool | None = None, start: int | None = None) -> Follow[Any]:
        """Iterate over the received lines, also of later connections, until the client is stopped; with `for`
        and `async for`.

        start: the line number to begin with; by default, like `expect`, from the last send or match on, so
        nothing is missed. as_bytes: yield bytes instead of `Line`s, which is several times quicker.

        A reader who is far behind holds up the receiving, by TCP's own flow control, but only while it reads
        something every tenth of a second, and while nobody else waits for what the peer says: no reply, no
        expectation, no heartbeat, no other reader. Else it falls behind: the oldest lines are forgotten, and
        it raises Overrun, whose `lost` says how many it will never get. The next loop over the same object
        goes on with the oldest line that is kept. An `async for` lets the other tasks of its event loop have
        their turn every few milliseconds.

        One `follow()` has one reader at a time: until a thread or task has left its loop, another's attempt
        to read raises CallerError.
        """
        if start is not None:
            start = whole_number(start, "start must be the number of a line,", 0)
        return Follow(self, bool(as_bytes), start)

    def on_line(self, listener: Callable[[Line], object]) -> Callable[[Line], object]:
        """Call `listener(line)` for each line received from now on, on the observers' thread. Returns it, so
        it can decorate.

        A client's listeners are called in the order in which they were registered, one after the other with
        its observers; those of other clients do not wait for them.

        Raises SettingsError for what is no plain function of one argument.
        """
        check_function(listener, "a listener", "the line", "it is called on the observers' thread")
        origin = Origin()

        def add() -> None:
            if self._listeners is None:
                self._listeners = Listeners(self)
                self._watchers = (*self._watchers, self._listeners.poke)
            self._listeners.add(_key_of(listener), listener, origin)

        self._driver.call(add)
        return listener

    def off_line(self, listener: Callable[[Line], object]) -> None:
        """Call `listener` no more."""
        listeners = self._listeners
        if listeners is not None:
            self._driver.call(lambda: listeners.remove(_key_of(listener)))

    def observe(
        self,
        handler: Callable[..., Any],
        names: Any = traitlets.All,
        type: Any = "change",  # noqa: A002 - traitlets' name for it
    ) -> None:
        """Call `handler(change)` when a trait changes, on the observers' thread; see `HasTraits.observe`."""
        super().observe(handler, names, type)
        # Those that a subclass declares are registered before `__init__`.
        self.__dict__.setdefault("_origins", {})[_key_of(handler)] = Origin()

    def unobserve(
        self,
        handler: Callable[..., Any],
        names: Any = traitlets.All,
        type: Any = "change",  # noqa: A002
    ) -> None:
        """Call `handler` no more; see `HasTraits.unobserve`."""
        super().unobserve(handler, names, type)
        # Where it still observes another trait, it is called where the client was made.
        self._origins.pop(_key_of(handler), None)

    def unobserve_all(self, name: Any = traitlets.All) -> None:
        """Call no handler of that trait any more; see `HasTraits.unobserve_all`."""
        super().unobserve_all(name)
        if name is traitlets.All:
            self._origins.clear()

    # -- settings --------------------------------------------------------------------------------------------

    def set_keepalive(self, keepalive: KeepAlive | str) -> KeepAlive | None:
        """Change the keepalive, also of the live socket; return what is in force, as the kernel gives it back
        (None: no socket).

        Raises SettingsError, also when the kernel refuses it; then nothing is changed.
        """
        before, wanted = self.keepalive, keepalive_from(keepalive)
        try:
            in_force = self._driver.call(lambda: self._driver.set_keepalive(wanted))
        except OSError as error:
            raise SettingsError(f"the system refuses the keepalive {wanted}: {error.strerror}") from None
        if wanted != before:
            # Posted, as everything that Ctrl-C must not tear.
            self._driver.post(lambda: self._notify([("keepalive", before, wanted)]))
        return in_force

    def add_reply(self, pattern: Pattern, line: str | bytes) -> None:
        """Answer each received line in which `pattern` is found with `line`; it may refer to groups.

        A line is answered once: by this rule rather than by those that were there before, the protocol's own
        included.
        """
        with refusing(self.transcript.redacted_text):
            rule = reply_from(pattern, line, self.encoding, self.eol)
        self._driver.call(lambda: self._connection.add_reply(*rule))

    def _set_heartbeat(self, heartbeat: Heartbeat | str | bytes | None) -> None:
        before, real = self._shown_heartbeat, self._connection.heartbeat
        if before is not None and real is not None:
            # Who changes what is shown, such as its period, means what is hidden behind it.
            if heartbeat == before.line:
                heartbeat = real.line
            elif isinstance(heartbeat, Heartbeat) and heartbeat.line == before.line:
                same = heartbeat.answered == before.answered
                heartbeat = replace(
                    heartbeat, line=real.line, answered=real.answered if same else heartbeat.answered
                )
        with refusing(self.transcript.redacted_text):
            wanted = heartbeat_from(heartbeat, self.encoding, self.eol)
        shown = self._shown(wanted)

        def change() -> None:
            self._connection.set_heartbeat(wanted, time.monotonic())
            self._shown_heartbeat = shown

        self._driver.call(change)
        if shown != before:
            self._driver.post(lambda: self._notify([("heartbeat", before, shown)]))

    def _shown(self, heartbeat: Heartbeat | None) -> Heartbeat | None:
        """Return a heartbeat without what is hidden: what a user may look at."""
        if heartbeat is None:
            return None
        answered = heartbeat.answered
        if not isinstance(answered, bool):
            source = answered.pattern if isinstance(answered, re.Pattern) else answered
            shown = self._redacted(source)
            if shown != source:
                # What the mask has cut apart need not be an expression any more.
                answered = re.escape(cast("str", shown))  # or bytes, which it leaves bytes
        return replace(heartbeat, line=self._redacted(heartbeat.line), answered=answered)

    def _set_silence(self, silence: float | None) -> None:
        before, wanted = self.silence, silence_from(silence)
        if wanted != before:
            self._driver.call(lambda: self._connection.set_silence(wanted, time.monotonic()))
            self._driver.post(lambda: self._notify([("silence", before, wanted)]))

    def _set_retry(self, retry: Retry | float) -> None:
        before, wanted = self.retry, retry_from(retry)
        self._driver.call(lambda: self._connection.set_retry(wanted))
        self._driver.post(lambda: self._notify([("retry", before, wanted)]))

    # -- for the skins ---------------------------------------------------------------------------------------

    @property
    def last_asked(self) -> int:
        """The number after the last line that the user's code sent, but for what an on-connect function did;
        0 where there is none. Any thread.
        """
        return self._connection.expectations.last_asked

    def show_as_script(self, template: str) -> None:
        """Have `on_connect` be this text, which has no secret in it, instead of what is run."""
        self.__dict__["on_connect"] = template

    def add_watcher(self, poke: Callable[[], None]) -> None:
        """Call `poke()` after anything changed. With the turn, on whatever thread: it may only set a flag or
        wake a thread.
        """

        def add() -> None:
            self._watchers = (*self._watchers, poke)

        self._driver.call(add)

    def remove_watcher(self, poke: Callable[[], None]) -> None:
        """Call `poke` no more; harmless when it is unknown."""

        def remove() -> None:
            self._watchers = tuple(each for each in self._watchers if each != poke)

        self._driver.call(remove)

    # -- called by the driver, with the turn -----------------------------------------------------------------

    def poke(self) -> None:
        """Tell the watchers."""
        for poke in self._watchers:
            try:
                poke()
            except Exception:
                log.exception("a watcher failed; the connection goes on")

    def changed(self, statuses: list[Status]) -> None:
        """Tell the observers, on a thread of their own, in order."""
        differences: list[tuple[str, Any, Any]] = []
        for status, following in zip_longest(statuses, statuses[1:]):
            if following is not None and (status.state, status.phase) == (following.state, following.phase):
                continue  # the rest of what belongs to this state is still to come
            before, self._told = self._told, status
            differences += _differences(before, status)
        self._notify(differences)

    @property
    def notifier(self) -> Notifier:
        """Who calls this client's observers and listeners. With the turn the first time."""
        if self._notifier is None:
            self._notifier = Notifier()
        return self._notifier

    def search(self, expectation: Expectation) -> None:
        """Have it looked for on a thread and in a process of its own. With the turn."""
        SlowSearch(expectation, self._driver, self.transcript).begin()

    def work(self, job: Callable[[], None]) -> None:
        """Have code of the user's (a framing) run on a thread of this client's, one after the other; other
        than its observers and listeners, it may be what they wait for. With the turn.
        """
        if self._worker is None:
            self._worker = Notifier()
        self._worker.post(lambda: self._origin.call(job))

    def _notify(self, differences: list[tuple[str, Any, Any]]) -> None:
        if differences and self._trait_notifiers:
            self.notifier.post(lambda: self._tell(differences))

    def _tell(self, differences: list[tuple[str, Any, Any]]) -> None:
        for name, old, new in differences:
            change = Bunch(name=name, old=old, new=new, owner=self, type="change")
            # Not by `notify_change`: there, one that raises would rob the others.
            for observer in self._observers(name):
                try:
                    self._origins.get(_key_of(observer), self._origin).call(observer, change)
                except BaseException:  # a SystemExit of one must not end the others
                    log.exception("an observer of %s failed; the connection and the others go on", name)

    def _observers(self, name: str) -> list[Callable[[Bunch], object]]:
        found = [
            observer
            for trait in (name, traitlets.All)
            for kind in ("change", traitlets.All)
            for observer in self._trait_notifiers.get(trait, {}).get(kind, ())
        ]
        return [
            getattr(self, each.name) if isinstance(each, EventHandler) and each.name else each
            for each in found
        ]

    def run_function(self, session: int) -> None:
        """Run the on-connect function on a thread of its own; what it raises is why the attempt failed."""
        function = self.on_connect

        def run() -> None:
            error: Exception | None = None
            try:
                if callable(function):
                    given = Session(self, self._driver, session)
                    try:
                        function(given)
                    finally:
                        given.end()
            except ReconnectError as raised:
                # Else it would keep this call, and all that the function made, until the collector runs.
                error = raised.with_traceback(None)
            except BaseException as raised:  # noqa: BLE001 - whatever the user's function raises is the reason
                error = ScriptFailed(f"on-connect function: {self._told_in_one_line(raised)}")
            self._driver.post(lambda: self._connection.script_ended(session, error, time.monotonic()))

        try:
            name = f"ipyreconnect-script-{self.name}"
            threading.Thread(target=self._origin.call, args=(run,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            failed = ScriptFailed(f"on-connect function: {error}")
            self._driver.post(lambda: self._connection.script_ended(session, failed, time.monotonic()))

    def _told_in_one_line(self, error: BaseException) -> str:
        """Name an error of the user's; what is hidden is masked before anything in it is folded."""
        try:
            text = in_one_line(self.transcript.redacted_text(str(error)))
        except Exception:  # noqa: BLE001 - an error that cannot even be told is one all the same
            text = ""
        return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _differences(before: Status, after: Status) -> Iterator[tuple[str, Any, Any]]:
    phases = [status.phase.value if status.phase else None for status in (before, after)]
    pairs = (
        ("reason", before.reason, after.reason),
        ("attempt", before.attempt, after.attempt),
        ("retry_at", before.retry_at, after.retry_at),
        ("connected_since", before.connected_since, after.connected_since),
        ("phase", phases[0], phases[1]),
        ("health", before.health or UNKNOWN, after.health or UNKNOWN),
        # Last: who observes the state finds the rest as it belongs to it.
        ("state", before.state.value, after.state.value),
    )
    for name, old, new in pairs:
        if old != new:
            yield name, old, new


def _forget(itself: weakref.ref[Client]) -> None:
    _started.pop(itself, None)


def _instead_of_setting(name: str) -> str:
    """Return what there is instead of setting an attribute that cannot be set, or why it cannot."""
    if name in _FIXED:
        return _FIXED[name].format(name=name)
    if name in _CALLED_OTHERWISE:
        return _CALLED_OTHERWISE[name]
    there = inspect.getattr_static(Client, name, None)
    if isinstance(there, property):
        return "it follows the connection, and is only read"
    if there is not None:
        return "it is a method; a class of your own, class Mine(Client), may have another"
    able = sorted(each for each, trait in Client.class_traits().items() if not trait.read_only)
    near = difflib.get_close_matches(name, able, 1) or difflib.get_close_matches(name, _FIXED, 1)
    guess = f"did you mean {near[0]}?" if near else "all else is given to Client(…)"
    return f"it has no such attribute; {', '.join(able[:-1])} and {able[-1]} can be set; {guess}"


def _key_of(function: object) -> object:
    """Return what stands for a function in a dict: itself, as a method is another object each time, or which
    object it is, where it has no hash, as many a dataclass.
    """
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function


def _ignore(_: object) -> None:
    pass


def _in_notebook() -> bool:
    """Say whether a front end that can show widgets is there."""
    shell_module = sys.modules.get("IPython.core.getipython")
    shell = shell_module.get_ipython() if shell_module is not None else None
    if not hasattr(shell, "kernel"):
        return False
    from ..jupyter.output.front import Front, front_of

    return front_of(shell) is Front.NOTEBOOK
