"""The client: the thread-safe face of one connection, with traits to observe; usable with no IPython at all.

It turns calls into exceptions and waits, and leaves all the rest to the floors below. Values that change by
themselves (`state`, `reason`, …) are read from one frozen status, so they are never half old; their observers
run on a thread of their own.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Never, NoReturn, Self, overload

from ..address import Address, parse_address
from ..errors import SettingsError
from ..lines.delivery import Delivery
from ..lines.framing import check_framing
from ..lines.line import Line
from ..lines.search import Pattern
from ..lines.transcript import Transcript
from ..mask import check_encoding
from ..network.driver import Driver
from ..profile.base import TLSMode
from ..protocol.configuration import QUEUE_LIMIT, Settings
from ..protocol.connection import Connection
from ..protocol.expect import Expectation
from ..protocol.health import Health
from ..protocol.match import Match
from ..protocol.state import State
from ..protocol.status import Status
from ..secret import Secret
from ..settings import TLS, Heartbeat, KeepAlive, Retry, path_from, silence_from
from .arguments import (
    Replies,
    check_function,
    check_one_address,
    context_for,
    eol_from,
    heartbeat_from,
    is_function,
    keepalive_from,
    name_from,
    replies_from,
    reply_from,
    retry_from,
    script_from,
    seconds_from,
    server_name_for,
    size_from,
    transcript_from,
    unmasked,
    whole_number,
    with_tls,
)
from .attributes import CALLED_OTHERWISE, OfferingType, instead_of_setting, is_settable, offered
from .callbacks import Callbacks
from .follow import Follow
from .hiding import forms_of, redaction_of, refusing
from .listen import Listeners
from .origin import Origin, key_of
from .recorder import Recorder
from .traits import Live, Observed
from .waiting import Waiting
from .wire import Payload, Wire
from .worker import Worker

__all__ = ["Client", "Follow"]

EXIT_PATIENCE = 1.0
"""Seconds that `stop` waits for the I/O thread to end after the last connection; it takes milliseconds."""

_started: dict[weakref.ref[Client], None] = {}
"""Those that were ever started, in order, until they are collected. Each step is one of a dict's own, which
no thread, finalizer or signal handler sees half done."""


class Client(Observed, metaclass=OfferingType):
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
    _shown_heartbeat: Heartbeat | None

    state = Live(
        lambda client: client.status.state.value, about="stopped, connecting, connected, waiting or stopping"
    )
    phase = Live(
        lambda client: client.status.phase.value if client.status.phase else None,
        about="how far connecting has come",
    )
    reason = Live(lambda client: client.status.reason, about="of the last failure or loss")
    attempt = Live(
        lambda client: client.status.attempt, about="tries begun since the last connection that was stable"
    )
    retry_at = Live(lambda client: client.status.retry_at, about="when the next try is, Unix time in seconds")
    connected_since = Live(lambda client: client.status.connected_since, about="Unix time in seconds")
    health = Live(
        lambda client: client._health(),
        about="what is known of the peer; read anew each time, and observed when its verdict changes",
    )
    keepalive = Live(
        lambda client: client._driver.keepalive,
        lambda client, value: _ignore(client.set_keepalive(value)),
        about="as set",
    )
    retry = Live(
        lambda client: client._driver.connection.retry,
        lambda client, value: client._set_retry(value),
        about="as set",
    )
    heartbeat = Live(
        lambda client: client._shown_heartbeat,
        lambda client, value: client._set_heartbeat(value),
        about="a Heartbeat, as set, or None; what is hidden in it is shown as ••••",
    )
    silence = Live(
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
        check_one_address(address, more)
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
        self._wire = Wire(settings.where, self.encoding, self.eol, self.transcript)
        self._callbacks = Callbacks(self._notify)
        self._driver = Driver(
            self.address,
            settings,
            keepalive_from(keepalive),
            retry_from(retry),
            self.transcript,
            self._callbacks,
        )
        self._connection = self._driver.connection
        self._connection.replies = rules
        self._connection.set_heartbeat(beat, 0.0)
        self._connection.set_silence(quiet, 0.0)
        path = path_from("record", record)
        self._recorder = None if path is None else Recorder(path, self._driver, self.transcript)
        self._listeners: Listeners | None = None
        self._waiting = Waiting(self._driver, self.transcript, self._wire)
        self._waits_for_deliveries = weakref.ref(self._waiting)
        self._callbacks.worker = Worker(
            self._driver,
            self._wire,
            on_connect if callable(on_connect) else None,
            self.name,
            self._origin,
            self._waits_for_deliveries,
        )
        self._itself = weakref.ref(self, _forget)
        # At last, as a client that is refused changes nothing of what it was given.
        self._wire.hide_forms(forms)
        # What a user may look at has no secret in it.
        self.on_connect = self._wire.redacted_text(on_connect) if isinstance(on_connect, str) else on_connect
        self._shown_heartbeat = self._wire.redacted_heartbeat(beat)
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
            if name in CALLED_OTHERWISE:
                told += f": {CALLED_OTHERWISE[name]}"
            raise AttributeError(told, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what could not take effect; a subclass may keep what it likes under names of its own."""
        if name[:1] != "_" and not self._is_settable(name):
            raise SettingsError(f"{name} of a client cannot be set: {instead_of_setting(Client, name)}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name[:1] != "_" and name in self.__dict__ and not self._is_settable(name):
            raise SettingsError(
                f"{name} of a client cannot be taken away: {instead_of_setting(Client, name)}"
            )
        super().__delattr__(name)

    def _is_settable(self, name: str) -> bool:
        return "_made" not in self.__dict__ or is_settable(self, Client, name)

    def __dir__(self) -> list[str]:
        """Return what is for users: what completion offers."""
        return offered(super().__dir__())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Client is a live connection, which is neither copied nor pickled: make another one with "
            "Client(address, …)"
        )

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
            _started.pop(self._itself, None)  # it comes last now
        _started[self._itself] = None  # first: nothing runs that is not found
        self._driver.call(lambda: self._connection.start(time.monotonic()))

    def stop(self) -> None:
        """Close at once, in whatever state, and end the reading; then no thread and no socket is left of it.

        What the peer has not acknowledged within a fifth of a second is in `unconfirmed`, and is not
        delivered later.
        """
        driver = self._driver
        if driver.has_turn:  # called by a finalizer or a signal handler, in the middle of something
            driver.post(self._begin_stop)
            return
        thread = driver.loop_thread
        ended = driver.call(self._begin_stop)
        if threading.current_thread() is not thread:
            self._wait_for_stop(ended, thread)

    def _begin_stop(self) -> int | None:
        """Stop; return how often it had ended, None where no end is to be waited for. With the turn."""
        self._connection.stop(time.monotonic())
        return None if self._driver.at_rest else self._driver.ended

    def _wait_for_stop(self, ended: int | None, thread: threading.Thread | None) -> None:
        """Wait until all is closed, and the I/O thread, if this was its last connection, and the record."""
        driver = self._driver
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
        if expect is not None:
            expectation, work = self._question(data, expect, whole, queue, secrets)
            return self._waiting.send_and_expect(expectation, seconds_from(timeout), work)
        wire, line = self._wire.encode(data, secrets)
        delivery = Delivery(line, self._waits_for_deliveries)
        self._driver.call(lambda: self._connection.send(wire, line, delivery, time.monotonic(), queue=queue))
        return delivery

    def _question(
        self, data: Payload, expect: Pattern, whole: bool, queue: bool, secrets: Iterable[Secret]
    ) -> tuple[Expectation, Callable[[], None]]:
        """Return what is expected, and the work that sends the line with it."""
        wire, line = self._wire.encode(data, secrets)
        delivery = Delivery(line, self._waits_for_deliveries)
        expectation = Expectation(self._wire.compiled(expect), whole=whole)

        def work() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return expectation, work

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
        expectation = Expectation(self._wire.compiled(pattern), whole=whole)
        return self._waiting.expect(expectation, seconds_from(timeout))

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
        expectation, work = self._question(data, expect, whole, queue, secrets)
        return await self._waiting.asend_and_expect(expectation, seconds_from(timeout), work)

    async def aexpect(self, pattern: Pattern, timeout: float = 10.0, *, whole: bool = False) -> Match:
        """Do what `expect` does, from a coroutine of any event loop; a cancelled one leaves the connection as
        it was.
        """
        expectation = Expectation(self._wire.compiled(pattern), whole=whole)
        return await self._waiting.aexpect(expectation, seconds_from(timeout))

    def hide(self, *secrets: Secret) -> None:
        """Show these as •••• from now on, in all that is sent or received: in the log, a record, an error.

        A secret is recognised within a line: not where raw reads, or the fragments of a line that is too long
        to be kept in one piece, cut through it.
        """
        self._wire.hide(secrets)

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
        return Follow(self._driver, self.transcript, self.address.display, bool(as_bytes), start)

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
                self._listeners = Listeners(self._driver, self.transcript, self._notifier, self.name)
                self._callbacks.add_watcher(self._listeners.wake)
            self._listeners.add(key_of(listener), listener, origin)

        self._driver.call(add)
        return listener

    def off_line(self, listener: Callable[[Line], object]) -> None:
        """Call `listener` no more."""
        listeners = self._listeners
        if listeners is not None:
            self._driver.call(lambda: listeners.remove(key_of(listener)))

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
        with refusing(self._wire.redacted_text):
            rule = reply_from(pattern, line, self.encoding, self.eol)
        self._driver.call(lambda: self._connection.add_reply(*rule))

    def _set_heartbeat(self, heartbeat: Heartbeat | str | bytes | None) -> None:
        before = self._shown_heartbeat
        meant = unmasked(heartbeat, before, self._connection.heartbeat)
        with refusing(self._wire.redacted_text):
            wanted = heartbeat_from(meant, self.encoding, self.eol)
        shown = self._wire.redacted_heartbeat(wanted)

        def change() -> None:
            self._connection.set_heartbeat(wanted, time.monotonic())
            self._shown_heartbeat = shown

        self._driver.call(change)
        if shown != before:
            self._driver.post(lambda: self._notify([("heartbeat", before, shown)]))

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
        self._driver.call(lambda: self._callbacks.add_watcher(poke))

    def remove_watcher(self, poke: Callable[[], None]) -> None:
        """Call `poke` no more; harmless when it is unknown."""
        self._driver.call(lambda: self._callbacks.remove_watcher(poke))

    def encode(self, data: Payload, secrets: Iterable[Secret] = ()) -> tuple[bytes, bytes]:
        """Return what `send` sends for this, and the line that the log shows; it is not sent."""
        return self._wire.encode(data, secrets)

    def compiled(self, pattern: Pattern) -> re.Pattern[Any]:
        """Return `pattern` compiled; the SettingsError for one that is no expression shows no secret."""
        return self._wire.compiled(pattern)


def _forget(itself: weakref.ref[Client]) -> None:
    _started.pop(itself, None)


def _ignore(_: object) -> None:
    pass
