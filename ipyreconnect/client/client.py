"""The client: the thread-safe API of one connection, with traits to observe; needs no IPython.

It turns what happens into return values, exceptions and waits, and leaves everything else to the rooms below.
Values that change by themselves (`state`, `reason`, …) are read from one frozen status, so they are always
consistent; their observers run on a thread of their own.
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
from ..protocol.answer import Answer
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
from .asking import Asking
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
"""Seconds that `stop` waits for the I/O thread to end with the last connection; it takes milliseconds."""

_started: dict[weakref.ref[Client], None] = {}
"""The clients that were ever started, in order, until they are collected. Only single dict operations change
it, which are atomic for other threads, finalizers and signal handlers."""


class Client(Observed, metaclass=OfferingType):
    """A connection to a line-based server that is kept up until it is stopped.

    Every method may be called from any thread.

    Args:
        address: "host:port", "host port", "[v6]:port", "unix:///path", or a URL such as
            "imaps://imap.example.org".
        name: What the user calls the connection; the host by default.
        tls: None (what the address says), True, False, or a `TLS` with the details.
        keepalive: A `KeepAlive`, or "idle/interval/count" in seconds, or "off".
        retry: A `Retry`, or the delay in seconds.
        encoding: Encoding of text, sent and received. None: UTF-8, and ISO-8859-1 where a line is not UTF-8.
        eol: The line end that is added to text: "crlf", "lf", "cr", "none" or bytes. None: the protocol's.
        framing: "lines", "announced", "raw", or a class (or an object, which is copied for each connection)
            with `feed(data) -> list[bytes]`. None: the protocol's.
        heartbeat: A `Heartbeat`, or its line (sent every minute). None: no heartbeat. Can be changed at any
            time.
        silence: Seconds without any received data after which the connection counts as lost, although nothing
            is sent to ask. None: no limit. Can be changed at any time.
        replies: {regular expression: line}, sent automatically. A received line is answered by the first
            expression that is found in it, else by the protocol's own rules (PING). An empty mapping switches
            those off.
        on_connect: An on-connect script (text), or a function that is given a `Session`; runs after each
            (re)connection, before it counts as connected.
        transcript: A `Transcript` with limits of its own, or how many lines to keep.
        record: A file to which every line is appended as JSON as it happens; `Transcript.load` reads it.
        secrets: Shown as •••• wherever they are sent or received, and in the text of `on_connect`.
        queue_limit: Bytes that may wait to be sent.
        longest_line: Bytes of the longest received line that is kept in one piece, or text such as "8MiB".
            None: 1 MiB. A longer line comes in fragments, cut between characters.

    Raises:
        SettingsError: Something is wrong that no retry can mend; nothing has been started.
    """

    _connection: Connection
    _driver: Driver
    _shown_heartbeat: Heartbeat | None

    state = Live(
        lambda client: client.status.state.value, about="stopped, connecting, connected, waiting or stopping"
    )
    phase = Live(
        lambda client: client.status.phase.value if client.status.phase else None,
        about="the step of connecting: resolving, dialing, tls, starttls or script",
    )
    reason = Live(
        lambda client: client.status.reason, about="why the last attempt failed or the connection was lost"
    )
    attempt = Live(
        lambda client: client.status.attempt, about="attempts begun since the last stable connection"
    )
    retry_at = Live(
        lambda client: client.status.retry_at, about="when the next attempt is, Unix time in seconds"
    )
    connected_since = Live(lambda client: client.status.connected_since, about="Unix time in seconds")
    health = Live(
        lambda client: client._health(),
        about="what is known of the peer; computed when read, and observed when its verdict changes",
    )
    keepalive = Live(
        lambda client: client._driver.keepalive,
        lambda client, value: _ignore(client.set_keepalive(value)),
        about="as set",
    )
    retry = Live(
        lambda client: client._driver.connection.lifecycle.retry,
        lambda client, value: client._set_retry(value),
        about="as set",
    )
    heartbeat = Live(
        lambda client: client._shown_heartbeat,
        lambda client, value: client._set_heartbeat(value),
        about="a Heartbeat, as set, or None; secrets in it are shown as ••••",
    )
    silence = Live(
        lambda client: client._connection.watch.silence,
        lambda client, value: client._set_silence(value),
        about="seconds without any received data after which the connection counts as lost, as set, or None",
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
        self._connection.replies.set_rules(rules)
        self._connection.watch.set_heartbeat(beat, 0.0)
        self._connection.watch.set_silence(quiet, 0.0)
        path = path_from("record", record)
        self._recorder = None if path is None else Recorder(path, self._driver, self.transcript)
        self._listeners: Listeners | None = None
        self._waiting = Waiting(self._driver, self.transcript, self._wire)
        self._asking = Asking(self._driver, self._wire, self.address)
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
        # Last, as a client that is refused must not change the transcript that it was given.
        self._wire.hide_forms(forms)
        # Attributes that a user may look at show no secret.
        self.on_connect = self._wire.redacted_text(on_connect) if isinstance(on_connect, str) else on_connect
        self._shown_heartbeat = self._wire.redacted_heartbeat(beat)
        self._made = True  # from here on `__setattr__` refuses

    # -- what is known ---------------------------------------------------------------------------------------

    @classmethod
    def all(cls) -> list[Self]:
        """Return the running clients of this process, from `connect` to `stop`, in the order of their start.

        For a subclass, only its own.
        """
        found = (itself() for itself in list(_started))
        return [
            client
            for client in found
            if isinstance(client, cls) and client._connection.state is not State.STOPPED
        ]

    @property
    def status(self) -> Status:
        """The whole state at one moment, as one frozen value."""
        return self._connection.status

    def _health(self) -> Health:
        return self._driver.call(self._driver.poll_health)

    @property
    def keepalive_in_force(self) -> KeepAlive | None:
        """The keepalive as read back from the live socket; None without one, and for a Unix socket."""
        return self.status.keepalive

    @property
    def heartbeat_answered(self) -> bool:
        """Whether the current heartbeat was ever answered at this address.

        Before that, an unanswered heartbeat does not mean that the server's program hangs.
        """
        return self._driver.call(lambda: self._connection.watch.heartbeat_answered)

    @property
    def unconfirmed(self) -> list[Line]:
        """The lines of the lost connection that its peer never acknowledged; it may have received them."""
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
            """Name the right call where another library's is tried; called for unknown names only."""
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in CALLED_OTHERWISE:
                told += f": {CALLED_OTHERWISE[name]}"
            raise AttributeError(told, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to set what would have no effect; a subclass may set attributes of its own."""
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
        """Return the names for users, which completion offers."""
        return offered(super().__dir__())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a Client is a live connection, which is neither copied nor pickled: make another one with "
            "Client(address, …)"
        )

    # -- connecting and stopping -----------------------------------------------------------------------------

    def connect(self, wait: float | None = 10.0) -> Self:
        """Start, and wait for the first outcome.

        Trouble with the network raises nothing: `state` and `reason` report it, and a failed attempt is
        retried. A client that is connected goes on; one that waits for its next attempt tries now.

        Args:
            wait: Seconds to wait at most; 0 or None: not at all.

        Returns:
            This client.

        Raises:
            SettingsError: `wait` is not a number of seconds; nothing has been started.
        """
        patience = 0.0 if wait is None else seconds_from(wait)
        if self._connection.state is State.STOPPING:
            # It takes a fifth of a second at most.
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
            _started.pop(self._itself, None)  # so that it comes last now
        _started[self._itself] = None  # first, so that `all` finds whatever runs
        self._driver.call(lambda: self._connection.start(time.monotonic()))

    def stop(self) -> None:
        """Close the connection at once, in whatever state, and end all reading.

        When it returns, no thread and no socket of this client is left. Lines that the peer has not
        acknowledged within a fifth of a second are in `unconfirmed`, and are not delivered later.
        """
        driver = self._driver
        if driver.holds_lock:  # called by a finalizer or a signal handler, in the middle of a step
            driver.post(self._begin_stop)
            return
        thread = driver.loop_thread
        ended = driver.call(self._begin_stop)
        if threading.current_thread() is not thread:
            self._wait_for_stop(ended, thread)

    def _begin_stop(self) -> int | None:
        """Stop. Called with the connection's lock held.

        Returns:
            How often the connection had ended before; None if it is at rest already.
        """
        self._connection.stop(time.monotonic())
        return None if self._driver.at_rest else self._driver.ended

    def _wait_for_stop(self, ended: int | None, thread: threading.Thread | None) -> None:
        """Wait until the connection is closed, its I/O thread has ended if nothing else needs it, and the
        record is written.
        """
        driver = self._driver
        if ended is not None:
            # Another thread may have connected again since; it has ended all the same.
            driver.wait(lambda: driver.at_rest or driver.ended != ended, None)
        if thread is not None and driver.has_ended(thread):
            thread.join(EXIT_PATIENCE)
        if self._recorder is not None:
            self._recorder.join()

    def reconnect_now(self) -> None:
        """Connect at once: instead of waiting for the next attempt, or in place of the live connection."""
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
        """Send one line; sending itself never blocks.

        Args:
            data: Text (one line; the line end is added), bytes (sent unchanged), or a `Secret` (one line, all
                of which is secret).
            expect: Also wait for a line that matches this regular expression.
            whole: As for `Client.expect`.
            timeout: With `expect`, seconds to wait at most.
            queue: Without a connection, keep the line for up to a minute until there is one.
            secrets: Parts of `data` that are shown as •••• from now on, in all that is sent or received.

        Returns:
            With `expect` the `Match`, otherwise the `Delivery`.

        Raises:
            SettingsError: The text has a line break or the encoding does not know it (also a ValueError);
                nothing was sent.
            NotConnected: There is no connection; the message says when the next attempt is. Nothing was sent.
            OutboxFull: Too much waits to be sent already; nothing was sent.
            ExpectTimeout: With `expect`, no line matched in time.
            ConnectionLost: With `expect`, the connection was lost before a line matched.
        """
        if expect is not None:
            expectation, send = self._question(data, expect, whole, queue, secrets)
            return self._waiting.send_and_expect(expectation, seconds_from(timeout), send)
        wire, line = self._wire.encode(data, secrets)
        delivery = Delivery(line, self._waits_for_deliveries)
        self._driver.call(lambda: self._connection.send(wire, line, delivery, time.monotonic(), queue=queue))
        return delivery

    def _question(
        self, data: Payload, expect: Pattern, whole: bool, queue: bool, secrets: Iterable[Secret]
    ) -> tuple[Expectation, Callable[[], None]]:
        """Return the expectation, and the function that sends the line together with it."""
        wire, line = self._wire.encode(data, secrets)
        delivery = Delivery(line, self._waits_for_deliveries)
        expectation = Expectation(self._wire.compiled(expect), whole=whole)

        def send() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return expectation, send

    def expect(self, pattern: Pattern, timeout: float = 10.0, *, whole: bool = False) -> Match:
        """Wait for a received line that matches.

        The search begins with the line after the last send, or after the last match if that is later; so an
        answer that came before this call is found.

        Args:
            pattern: A regular expression. It is compared with the beginning of each logical line, before its
                first announced byte: not with a mail, a value or a payload that the line announced, and not
                with later fragments of a line that was too long.
            timeout: Seconds to wait at most.
            whole: Search all of each logical line, with what it announced, and each fragment.

        Returns:
            The `Match`.

        Raises:
            ExpectTimeout: No line matched in time; the message shows the last lines.
            ConnectionLost: The connection that was to answer is gone.
            SettingsError: `pattern` is not a regular expression.
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
        """Do what `send` does, from a coroutine of any asyncio event loop; it can be cancelled."""
        if expect is None:
            return self.send(data, queue=queue, secrets=secrets)
        expectation, send = self._question(data, expect, whole, queue, secrets)
        return await self._waiting.asend_and_expect(expectation, seconds_from(timeout), send)

    async def aexpect(self, pattern: Pattern, timeout: float = 10.0, *, whole: bool = False) -> Match:
        """Do what `expect` does, from a coroutine of any asyncio event loop; it can be cancelled."""
        expectation = Expectation(self._wire.compiled(pattern), whole=whole)
        return await self._waiting.aexpect(expectation, seconds_from(timeout))

    def ask(
        self,
        text: str | Secret,
        *,
        timeout: float = 10.0,
        until: Pattern | None = None,
        payload: bytes | None = None,
        secrets: Iterable[Secret] = (),
    ) -> Answer:
        """Ask one question and wait for its whole answer; any number of threads and tasks may ask at once.

        The protocol of the address says where an answer ends. A question waits until it may be sent: in most
        protocols, until the one before it is answered. Lines of an answer are passed over by `expect`, which
        looks from where it would have looked without the question.

        Args:
            text: One line; in IMAP without a tag, which is put in front.
            timeout: Seconds from now on until the whole answer is there.
            until: Found in the last line of the answer, where the protocol does not know it.
            payload: Bytes that belong to the command: a literal, a message, a value. They are sent when the
                server is ready for them; their count, or the dot behind them, is added.
            secrets: Parts of `text` that are shown as •••• from now on.

        Returns:
            The answer. A refusal is one too: `Answer.check` raises for it.

        Raises:
            SettingsError: The question cannot be asked so; nothing was sent.
            NotConnected: There is no connection; it says when the next try is.
            OutboxFull: Too much waits to be sent.
            ExpectTimeout: The answer was not whole in time. When it comes it is put aside.
            ConnectionLost: The connection that was to answer is gone.
        """
        return self._asking.ask(text, seconds_from(timeout), until, payload, secrets)

    async def aask(
        self,
        text: str | Secret,
        *,
        timeout: float = 10.0,
        until: Pattern | None = None,
        payload: bytes | None = None,
        secrets: Iterable[Secret] = (),
    ) -> Answer:
        """Do what `ask` does, from a coroutine of any event loop; a cancelled one leaves the connection as
        it was.
        """
        return await self._asking.aask(text, seconds_from(timeout), until, payload, secrets)

    def hide(self, *secrets: Secret) -> None:
        """Show these secrets as •••• from now on: in the log, a record, and errors.

        A secret is recognised within one line, sent or received; not where it is cut in two by raw reads, or
        by the fragments of a line that is too long to be kept in one piece.

        Args:
            secrets: What to hide.
        """
        self._wire.hide(secrets)

    # -- following -------------------------------------------------------------------------------------------

    @overload
    def follow(self, *, as_bytes: None = None, start: int | None = None) -> Follow[Line]: ...
    @overload
    def follow(self, *, as_bytes: bool, start: int | None = None) -> Follow[bytes]: ...
    def follow(self, *, as_bytes: bool | None = None, start: int | None = None) -> Follow[Any]:
        """Iterate over received lines as they come, also of later connections, until the client is stopped.

        Works with `for` and with `async for`; the latter lets the other tasks of its event loop run every few
        milliseconds.

        A reader that is far behind holds up the receiving by TCP's own flow control. It does so only while it
        reads something every tenth of a second, and while nothing else waits for what the peer sends: no
        reply rule, expectation, heartbeat or other reader. Otherwise it falls behind, and the oldest lines
        are forgotten: the loop raises Overrun, whose `lost` says how many lines are lost. The next loop over
        the same object continues with the oldest line that is kept.

        Args:
            as_bytes: Yield bytes instead of `Line`s, which is several times faster.
            start: The number of the first line; by default, like `expect`, from the last send or match on.

        Returns:
            An iterable with one reader at a time: until the loop of a thread or task has ended, any other
            one's attempt to read raises CallerError.

        Raises:
            SettingsError: `start` is not the number of a line.
        """
        if start is not None:
            start = whole_number(start, "start must be the number of a line,", 0)
        return Follow(self._driver, self.transcript, self.address.display, bool(as_bytes), start)

    def on_line(self, listener: Callable[[Line], object]) -> Callable[[Line], object]:
        """Call `listener(line)` for each line received from now on, on the observers' thread.

        A client's listeners are called in the order of their registration, one after the other with its
        observers; those of other clients do not wait for them.

        Args:
            listener: A plain function of one argument.

        Returns:
            The listener, so that this method can be used as a decorator.

        Raises:
            SettingsError: It is not a plain function of one argument.
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
        """Stop calling `listener`."""
        listeners = self._listeners
        if listeners is not None:
            self._driver.call(lambda: listeners.remove(key_of(listener)))

    # -- settings --------------------------------------------------------------------------------------------

    def set_keepalive(self, keepalive: KeepAlive | str) -> KeepAlive | None:
        """Change the keepalive, also of the live socket.

        Args:
            keepalive: A `KeepAlive`, or "idle/interval/count" in seconds, or "off".

        Returns:
            What is in force, as read back from the socket; None without one.

        Raises:
            SettingsError: It is not a keepalive, or the system refuses it; nothing is changed.
        """
        before, wanted = self.keepalive, keepalive_from(keepalive)
        try:
            in_force = self._driver.call(lambda: self._driver.set_keepalive(wanted))
        except OSError as error:
            raise SettingsError(f"the system refuses the keepalive {wanted}: {error.strerror}") from None
        if wanted != before:
            # Posted, so that Ctrl-C does not interrupt it half-way.
            self._driver.post(lambda: self._notify([("keepalive", before, wanted)]))
        return in_force

    def add_reply(self, pattern: Pattern, line: str | bytes) -> None:
        r"""Answer each received line in which `pattern` is found with `line`.

        A received line is answered once. A new rule comes before the older ones and the protocol's own.

        Args:
            pattern: A regular expression.
            line: The answer; it may refer to groups of the expression, as in r"PONG \1".

        Raises:
            SettingsError: One of them is not valid, or the answer is not one line.
        """
        with refusing(self._wire.redacted_text):
            rule = reply_from(pattern, line, self.encoding, self.eol)
        self._driver.call(lambda: self._connection.replies.add(*rule))

    def _set_heartbeat(self, heartbeat: Heartbeat | str | bytes | None) -> None:
        before = self._shown_heartbeat
        meant = unmasked(heartbeat, before, self._connection.watch.heartbeat)
        with refusing(self._wire.redacted_text):
            wanted = heartbeat_from(meant, self.encoding, self.eol)
        shown = self._wire.redacted_heartbeat(wanted)

        def change() -> None:
            self._connection.watch.set_heartbeat(wanted, time.monotonic())
            self._shown_heartbeat = shown

        self._driver.call(change)
        if shown != before:
            self._driver.post(lambda: self._notify([("heartbeat", before, shown)]))

    def _set_silence(self, silence: float | None) -> None:
        before, wanted = self.silence, silence_from(silence)
        if wanted != before:
            self._driver.call(lambda: self._connection.watch.set_silence(wanted, time.monotonic()))
            self._driver.post(lambda: self._notify([("silence", before, wanted)]))

    def _set_retry(self, retry: Retry | float) -> None:
        before, wanted = self.retry, retry_from(retry)
        self._driver.call(lambda: self._connection.lifecycle.set_retry(wanted))
        self._driver.post(lambda: self._notify([("retry", before, wanted)]))

    # -- for the skins ---------------------------------------------------------------------------------------

    @property
    def last_asked(self) -> int:
        """The number of the line after the last one that the user's code sent, 0 if there is none.

        What an on-connect function sends does not count.
        """
        return self._connection.expectations.last_asked

    def show_as_script(self, template: str) -> None:
        """Show this text, which has no secrets in it, as `on_connect` instead of the script that runs."""
        self.__dict__["on_connect"] = template

    def add_watcher(self, watcher: Callable[[], None]) -> None:
        """Call `watcher()` after each change of anything.

        It is called on any thread with the connection's lock held: it may only set a flag or wake a thread.
        """
        self._driver.call(lambda: self._callbacks.add_watcher(watcher))

    def remove_watcher(self, watcher: Callable[[], None]) -> None:
        """Stop calling `watcher`; does nothing if it is unknown."""
        self._driver.call(lambda: self._callbacks.remove_watcher(watcher))

    def encode(self, data: Payload, secrets: Iterable[Secret] = ()) -> tuple[bytes, bytes]:
        """Return the bytes that `send` would send, and the line that the log would show."""
        return self._wire.encode(data, secrets)

    def compiled(self, pattern: Pattern) -> re.Pattern[Any]:
        """Compile a pattern; the SettingsError for an invalid one shows no secret."""
        return self._wire.compiled(pattern)


def _forget(itself: weakref.ref[Client]) -> None:
    _started.pop(itself, None)


def _ignore(_: object) -> None:
    pass
