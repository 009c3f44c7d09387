"""The client: the thread-safe face of one connection, with traits to observe; usable with no IPython at all.

It turns what the user gives into settings, calls into exceptions and waits, and leaves all the rest to the
floors below. Values that change by themselves (`state`, `reason`, …) are read from one frozen status, so they
are never half old; their observers run on a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import re
import ssl
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain, zip_longest
from typing import Any, Generic, Self, TypeVar, cast, overload

import traitlets
from traitlets.traitlets import EventHandler
from traitlets.utils.bunch import Bunch

from . import notifier
from .address import Address, Profile, TLSMode, parse_address
from .errors import ExpectTimeout, Overrun, ReconnectError, ScriptFailed, SettingsError
from .network.driver import Driver, Follower, Waiter
from .protocol.connection import QUEUE_LIMIT, Settings
from .protocol.delivery import UNCONFIRMED, Delivery
from .protocol.events import Status
from .protocol.expect import Expectation, Match, Pattern, compile_pattern
from .protocol.framing import make_framer
from .protocol.line import HAS_BREAK, Line, decode, encode_line, has_break, in_one_line
from .protocol.liveness import Health
from .protocol.script import Step, parse_script
from .protocol.state import State
from .protocol.transcript import Transcript
from .recorder import Recorder
from .session import Session
from .settings import TLS, Heartbeat, KeepAlive, Retry, Secret, check_encoding

__all__ = ["Client", "Follow"]

LAST_LINES = 5
"""How many lines a time-out quotes."""
INTERRUPT_EVERY = 0.2
"""Seconds: an interrupt does not wake a kernel's event loop, so what waits in it looks around this often
(measured: 0.24–0.37 s)."""
FOLLOW_STEP = 4096
"""Lines that a follower turns into objects at a time."""
FEW = 256
"""Lines as bytes that are worth being handed out together; fewer wait for the next run's."""
LARGEST_PART = 4096
SLOW_PART = 0.1
"""Lines that a follower is handed at a time: fewer where they took it longer than so many seconds."""
LISTENER_STEP = 1000
"""Lines that one on_line listener is told before the others have their turn."""
LISTENER_PATIENCE = 0.1
"""Seconds that listeners are still told, after a stop, of what had been received before."""
MANY_LINES = 4096
"""Lines that an expectation looks through at once: some milliseconds."""
EXIT_PATIENCE = 1.0
"""Seconds that `stop` waits for the I/O thread to end after the last connection; it takes milliseconds."""

log = logging.getLogger("ipyreconnect")
T = TypeVar("T")
Payload = str | bytes | Secret
EOLS = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "none": b""}
Replies = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]


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


class Client(traitlets.HasTraits):
    """A connection to a line-based server that is kept up until it is stopped.

    address: "host:port", "host port", "[v6]:port", "unix:///path" or a URL such as
    "imaps://imap.example.org".
    name: what the user calls it; the host by default.
    tls: None (as the address says), True, False, or a `TLS` with the details.
    keepalive: a `KeepAlive` or "idle/interval/count" in seconds, "off".
    retry: a `Retry`, or the delay in seconds.
    encoding: of text that is sent and read; None: UTF-8, and ISO-8859-1 where a line is not UTF-8.
    eol: the line end that is added: "crlf", "lf", "cr", "none" or bytes; None: the protocol's.
    framing: "lines", "announced", "raw", or an object with `feed(data) -> list[bytes]`; None: the protocol's.
    heartbeat: a `Heartbeat`, or the line (every minute); None: none.
    replies: {regex: line} answered by themselves; they come before the protocol's own (PING); an empty
    mapping switches those off.
    on_connect: an on-connect script, or a function that is given a session.
    transcript: a `Transcript` with limits of its own, or how many lines to keep.
    record: a file to which every line is appended as it happens, as JSON; `Transcript.load` reads it.
    secrets: what is shown as •••• wherever it is sent or received, and in the text of `on_connect`.
    queue_limit: bytes that may wait to be sent.

    Raises SettingsError, before anything starts, for whatever another try could not mend. Every method may be
    called from any thread.
    """

    _driver: Driver

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
    health = _Live(lambda client: client._health(), about="what is known of the peer; read anew each time")
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

    def __init__(
        self,
        address: str | Address,
        *,
        name: str | None = None,
        tls: TLS | bool | None = None,
        keepalive: KeepAlive | str | None = None,
        retry: Retry | float | None = None,
        encoding: str | None = None,
        eol: str | bytes | None = None,
        framing: Any = None,
        heartbeat: Heartbeat | str | None = None,
        replies: Replies | None = None,
        on_connect: str | Callable[..., object] | None = None,
        transcript: Transcript | int | None = None,
        record: str | os.PathLike[str] | None = None,
        secrets: Iterable[Secret] = (),
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        super().__init__()
        if not isinstance(address, Address):
            address = parse_address(address)
        self.address, self.tls = _with_tls(address, tls)
        profile = self.address.profile
        self.encoding = None if encoding is None else check_encoding(encoding)
        self.eol = _eol(eol, profile)
        self.name = name if name is not None else (self.address.host or os.path.basename(self.address.path))
        self.heartbeat = _heartbeat(heartbeat, self.encoding)
        make_framer(framing, profile)  # refuses now what it would refuse at each connection
        self.framing = framing if framing is not None else profile.framing
        self.transcript = _transcript(transcript)
        forms = _forms(secrets, self.encoding)
        encrypted = self.address.tls is not TLSMode.NONE
        settings = Settings(
            where=self.address.display,
            profile=profile,
            tls=self.address.tls,
            context=_context(self.tls) if encrypted else None,
            server_name=_server_name(self.address, self.tls) if encrypted else None,
            eol=self.eol,
            encoding=self.encoding,
            framing=framing,
            heartbeat=self.heartbeat,
            script=_script(on_connect, forms, self.transcript, self.encoding),
            has_function=_is_function(on_connect),
            queue_bytes=_limit(queue_limit),
        )
        rules = _replies(replies, profile, self.encoding)
        self._driver = Driver(
            self.address, settings, _keepalive(keepalive), _retry(retry), self.transcript, self
        )
        self._connection = self._driver.connection
        self._connection.replies = rules
        self._recorder = None if record is None else Recorder(record, self._driver, self.transcript)
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._listeners: dict[Callable[[Line], object], _Listener] = {}
        self._told = self._connection.status
        self.itself = weakref.ref(self)  # for its deliveries
        # At last, as a client that is refused changes nothing of what it was given.
        self.transcript.encoding = self.encoding
        self._hide(forms)
        # What a user may look at has no secret in it.
        self.on_connect = (
            self.transcript.redacted_text(on_connect) if isinstance(on_connect, str) else on_connect
        )

    # -- what is known ---------------------------------------------------------------------------------------

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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if not _in_notebook():
            return {"text/plain": repr(self)}
        from .jupyter.panel import panel_for

        return panel_for(self)._repr_mimebundle_(include=include, exclude=exclude)

    # -- connecting and stopping -----------------------------------------------------------------------------

    def connect(self, wait: float | None = 10.0) -> Self:
        """Start, and wait for the first outcome, at most `wait` seconds (0 or None: not at all).

        What the network does is no exception here: `state` and `reason` say it, and a failure is retried. A
        running client goes on, one that waits for its next try tries now. Returns self.
        """
        if self._connection.state is State.STOPPING:
            # A fifth of a second at most.
            self._driver.wait(lambda: self._connection.state is not State.STOPPING, None)
        if self._recorder is None:
            self._start()
        else:
            self._recorder.start(self._start)
        if wait:
            self._driver.wait(lambda: self._connection.state is not State.CONNECTING, wait)
        return self

    def _start(self) -> None:
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
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Match: ...
    def send(
        self,
        data: Payload,
        *,
        expect: Pattern | None = None,
        timeout: float = 10.0,
        queue: bool = False,
        secrets: Iterable[Secret] = (),
    ) -> Delivery | Match:
        """Send one line of text (the line end is added), or bytes as they are; never blocks.

        expect: wait at most `timeout` seconds for a line that matches, and return the `Match`; else the
        `Delivery` is returned. queue: when there is no connection, keep the line for a minute until there is.
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
        expectation = Expectation(compile_pattern(expect))

        def work() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return self._outcome(expectation, _seconds(timeout), work, time.monotonic())

    def expect(self, pattern: Pattern, timeout: float = 10.0) -> Match:
        """Wait at most `timeout` seconds for a line that matches, and return the `Match`.

        It looks from the last send on, or after the last match where that is later, so an answer that came
        before the call is found. Raises ExpectTimeout, and ConnectionLost when the connection that was to
        answer is gone.
        """
        expectation, seconds = Expectation(compile_pattern(pattern)), _seconds(timeout)
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
        expectation = Expectation(compile_pattern(expect))

        def work() -> None:
            self._connection.send(
                wire, line, delivery, time.monotonic(), expectation=expectation, queue=queue
            )

        return await self._async_outcome(expectation, _seconds(timeout), work, time.monotonic())

    async def aexpect(self, pattern: Pattern, timeout: float = 10.0) -> Match:
        """Do what `expect` does, from a coroutine of any event loop; a cancelled one leaves the connection as
        it was.
        """
        expectation, seconds = Expectation(compile_pattern(pattern)), _seconds(timeout)
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
        start, end = self._connection.looks_from, self.transcript.end
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
        told = "nothing was received since the last send"
        if last:
            shown = "".join(f"\n  < {line.text[:200]!r}" for line in last)
            told = f"the last {'line' if len(last) == 1 else 'lines'}:{shown}"
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
        self._driver.call(lambda: self._connection.hurry(time.monotonic()))
        self._driver.wait(lambda: delivery.reached(status) or delivery.status == UNCONFIRMED, timeout)
        return delivery.reached(status)

    def hide(self, *secrets: Secret) -> None:
        """Show these as •••• from now on, in all that is sent or received: in the log, a record, an error."""
        self._hide(_forms(secrets, self.encoding))

    def _hide(self, forms: Iterable[bytes]) -> None:
        for form in forms:
            self.transcript.hide(form)

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
            self.hide(*secrets)
        if isinstance(data, str):
            line = encode_line(data, self.encoding, self.transcript.redacted_text)
            return line + self.eol, self.transcript.redacted(line)
        if isinstance(data, bytes):
            return data, self.transcript.redacted(data.removesuffix(b"\n").removesuffix(b"\r"))
        if not isinstance(data, Secret):
            raise SettingsError(
                f"send takes text (one line) or bytes (as they are), not {type(data).__name__}"
            )
        self.hide(data)
        wire = data.reveal()
        if has_break(wire):
            raise SettingsError(HAS_BREAK)
        return wire + self.eol, self.transcript.redacted(wire)

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

        A reader who is far behind holds up the receiving, by TCP's own flow control, but never for more than
        two seconds without reading; then the oldest lines are forgotten and it raises Overrun.
        """
        return Follow(self, bool(as_bytes), start)

    def on_line(self, listener: Callable[[Line], object]) -> Callable[[Line], object]:
        """Call `listener(line)` for each line received from now on, on the observers' thread. Returns it, so
        it can decorate.
        """
        if listener not in self._listeners:
            made = _Listener(self, listener)
            self._listeners[listener] = made
            self.add_watcher(made.poke)
        return listener

    def off_line(self, listener: Callable[[Line], object]) -> None:
        """Call `listener` no more."""
        made = self._listeners.pop(listener, None)
        if made is not None:
            made.gone = True
            self.remove_watcher(made.poke)

    # -- settings --------------------------------------------------------------------------------------------

    def set_keepalive(self, keepalive: KeepAlive | str) -> KeepAlive | None:
        """Change the keepalive, also of the live socket; return what is in force, as the kernel gives it back
        (None: no socket).

        Raises SettingsError, also when the kernel refuses it; then nothing is changed.
        """
        before, wanted = self.keepalive, _keepalive(keepalive)
        try:
            in_force = self._driver.call(lambda: self._driver.set_keepalive(wanted))
        except OSError as error:
            raise SettingsError(f"the system refuses the keepalive {wanted}: {error.strerror}") from None
        if wanted != before:
            self._notify([("keepalive", before, wanted)])
        return in_force

    def add_reply(self, pattern: str | bytes, line: str | bytes) -> None:
        """Answer each received line in which `pattern` is found with `line`; it may refer to groups."""
        rule = _reply(pattern, line, self.encoding)
        self._driver.call(lambda: self._connection.add_reply(*rule))

    def _set_retry(self, retry: Retry | float) -> None:
        before, wanted = self.retry, _retry(retry)
        self._driver.call(lambda: self._connection.set_retry(wanted))
        self._notify([("retry", before, wanted)])

    # -- for the skins ---------------------------------------------------------------------------------------

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
        """Tell the observers, on their own thread, in order."""
        differences: list[tuple[str, Any, Any]] = []
        for status, following in zip_longest(statuses, statuses[1:]):
            if following is not None and (status.state, status.phase) == (following.state, following.phase):
                continue  # the rest of what belongs to this state is still to come
            before, self._told = self._told, status
            differences += _differences(before, status)
        self._notify(differences)

    def _notify(self, differences: list[tuple[str, Any, Any]]) -> None:
        if differences and self._trait_notifiers:
            notifier.post(lambda: self._tell(differences))

    def _tell(self, differences: list[tuple[str, Any, Any]]) -> None:
        for name, old, new in differences:
            change = Bunch(name=name, old=old, new=new, owner=self, type="change")
            # Not by `notify_change`: there, one that raises would rob the others.
            for observer in self._observers(name):
                try:
                    observer(change)
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
            mark, unread = 0, (0, 0)
            try:
                if callable(function):
                    given = Session(self, self._driver, session)
                    function(given)
                    mark, unread = given.mark, given.unread
            except ReconnectError as raised:
                # Else it would keep this call, and all that the function made, until the collector runs.
                error = raised.with_traceback(None)
            except BaseException as raised:  # noqa: BLE001 - whatever the user's function raises is the reason
                error = ScriptFailed(f"on-connect function: {_in_one_line(raised)}")
            self._driver.post(
                lambda: self._connection.script_ended(session, error, time.monotonic(), mark, unread)
            )

        try:
            threading.Thread(target=run, name=f"ipyreconnect-script-{self.name}", daemon=True).start()
        except RuntimeError as error:
            failed = ScriptFailed(f"on-connect function: {error}")
            self._driver.post(lambda: self._connection.script_ended(session, failed, time.monotonic()))


def _differences(before: Status, after: Status) -> Iterator[tuple[str, Any, Any]]:
    phases = [status.phase.value if status.phase else None for status in (before, after)]
    pairs = (
        ("reason", before.reason, after.reason),
        ("attempt", before.attempt, after.attempt),
        ("retry_at", before.retry_at, after.retry_at),
        ("connected_since", before.connected_since, after.connected_since),
        ("phase", phases[0], phases[1]),
        ("health", before.verdict, after.verdict),
        # Last: who observes the state finds the rest as it belongs to it.
        ("state", before.state.value, after.state.value),
    )
    for name, old, new in pairs:
        if old != new:
            yield name, old, new


class Follow(Generic[T]):
    """The received lines, as they come; made by `Client.follow`, iterated with `for`, `next`, or `async for`.

    There is one row of lines, however it is iterated: what one loop has left, the next one goes on with.
    """

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self._reader: _Reader[T] = _Reader(client, as_bytes, start)
        self._lines: Iterator[T] | None = None
        self._awaited: Iterator[T] = iter(())
        self._awaits = False

    def __iter__(self) -> Iterator[T]:
        if self._lines is None:
            # A chain hands out the lines of a part without a step of Python for each, which is half the cost.
            # Nothing in it refers to this object, so that whoever leaves a loop leaves nothing behind.
            self._lines = chain.from_iterable(self._reader.parts())
        return self._lines

    def __next__(self) -> T:
        return next(iter(self))

    def __aiter__(self) -> Follow[T]:
        return self

    async def __anext__(self) -> T:
        reader = self._reader
        if not self._awaits:
            self._awaits = True
            reader.begin()
        while True:
            for line in self._awaited:
                return line
            if (part := reader.take()) is None:
                reader.end()
                raise StopAsyncIteration
            self._awaited = iter(part)
            if not part:
                await reader.client._until(reader.news, None)

    def close(self) -> None:
        """End the iteration, also one that another thread waits in; a loop that is left needs no close."""
        self._reader.close()

    def __del__(self) -> None:
        if self._awaits:
            self._reader.end()


class _Reader(Generic[T]):
    """Where one reader of the received lines is, and what it reads next."""

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self.client = client
        self._driver = client._driver
        self._transcript = client.transcript
        self._as_bytes = as_bytes
        self._next = client._connection.mark if start is None else start
        self._from_oldest = start is None  # until something was read: then nobody asked for what is forgotten
        self._place = Follower(self._next)
        self._runs: Iterator[list[T]] = iter(())
        self._lines: list[T] = []
        self._at = 0  # how many of them are given out
        self._part: list[T] = []
        self._size = 1
        self._began = 0.0
        self._closed = False

    def begin(self) -> None:
        """Have the receiving wait for this reader, when it is far behind."""
        self._place.read_at = time.monotonic()
        self._driver.begin_following(self._place)

    def end(self) -> None:
        """Have nobody wait for this reader any more."""
        self._driver.end_following(self._place)

    def close(self) -> None:
        """Have nothing more to read. Any thread."""
        self._closed = True
        self._part.clear()
        self.end()  # which also wakes who waits for news

    def parts(self) -> Generator[list[T], None, None]:
        """Yield the lines as they come, a few at a time, until the client is stopped."""
        try:
            self.begin()
            while (part := self.take()) is not None:
                if part:
                    yield part
                else:
                    self._driver.read_until(self.news)
        finally:
            self.end()

    def news(self) -> bool:
        """Say whether there is something to do."""
        return self._transcript.end > self._next or self._closed or self._stopped

    @property
    def _stopped(self) -> bool:
        return self.client._connection.state is State.STOPPED

    def take(self) -> list[T] | None:
        """Return the next lines, none when there are none yet, None at the end.

        As many as the reader takes a moment for: who is slow must be seen to read, line by line.
        """
        now = time.monotonic()
        if self._part:
            if now - self._began > SLOW_PART:
                self._size = max(1, self._size // 4)
            elif self._size < LARGEST_PART:
                self._size *= 2
        stopped = self._stopped  # asked first: what came before it is still read
        if self._at == len(self._lines):
            self._lines = self._read()
            self._at = 0
        whole = not self._at and len(self._lines) <= self._size
        self._part = self._lines if whole else self._lines[self._at : self._at + self._size]
        self._driver.followed(self._place, self._next - (len(self._lines) - self._at))
        self._at += len(self._part)
        self._began = now
        return None if self._closed or (stopped and not self._part) else self._part

    def _read(self) -> list[T]:
        """Return the next lines that are there, some thousand at most."""
        while not self._closed and (lines := self._try_to_read()) is not None:
            if lines:
                self._from_oldest = False
                return lines
        return []

    def _try_to_read(self) -> list[T] | None:
        """Return the lines of the next run, which may hold none; None when there is no other yet."""
        try:
            for lines in self._runs:
                return lines
        except Overrun:
            if not self._from_oldest:
                raise
        if self._next >= self._transcript.end:
            return None
        if self._from_oldest:
            self._next = max(self._next, self._transcript.first)
        self._runs = self._bytes_of_lines() if self._as_bytes else self._line_objects()
        return []

    def _bytes_of_lines(self) -> Iterator[list[T]]:
        transcript, end = self._transcript, self._transcript.end
        together: list[bytes] = []
        try:
            for number, lines in transcript.received(self._next, end):
                self._next = number + len(lines)
                together = together + lines if together else lines
                if len(together) >= FEW:
                    yield self._shown(together)
                    together = []
        except Overrun:
            yield self._shown(together)  # first what was read before
            raise
        self._next = max(self._next, end)
        yield self._shown(together)

    def _shown(self, lines: list[bytes]) -> list[T]:
        if self._transcript.hides:
            lines = [self._transcript.redacted(line) for line in lines]
        return cast("list[T]", lines)

    def _line_objects(self) -> Iterator[list[T]]:
        transcript, end = self._transcript, self._transcript.end
        while self._next < end:
            start, stop = self._next, min(end, self._next + FOLLOW_STEP)
            lines = list(transcript.lines(start, stop))
            if len(lines) < stop - start:
                # Says what is lost, as an exception.
                next(transcript.received(start, stop), None)
            self._next = stop
            yield cast("list[T]", [line for line in lines if line.direction == "<"])


class _Listener:
    """One on_line listener: how far it has been told, and whether it is to be called."""

    def __init__(self, client: Client, listener: Callable[[Line], object]) -> None:
        self._client = client
        self._listener = listener
        self._next = client.transcript.end
        self._posted = False
        self._ends: float | None = None
        self.gone = False

    def poke(self) -> None:
        if not self._posted and self._client.transcript.end > self._next:
            self._posted = True
            notifier.post(self._run)

    def _run(self) -> None:
        """Tell a number of lines, then let the other callbacks of the process have their turn."""
        client, transcript = self._client, self._client.transcript
        if (missed := transcript.first - self._next) > 0:
            self._next = transcript.first
            self._say(f"{missed} lines were forgotten before {self._name} was told of them: it is too slow")
        stop = min(transcript.end, self._next + LISTENER_STEP)
        try:
            for line in transcript.lines(self._next, stop, strict=True):
                if self.gone or self._is_over():
                    break
                self._next = line.number + 1
                if line.direction == "<":
                    self._tell(line)
        except Overrun:
            stop = self._next  # the next run says what was missed
        self._next = stop
        if self._ends is not None and self._is_over():
            left, self._next = transcript.end - stop, transcript.end
            if left > 0 and not self.gone:
                log.warning(
                    "%s was not told of the last %d lines: %s was stopped", self._name, left, client.name
                )
        if transcript.end > self._next and not self.gone:
            notifier.post(self._run)
        else:
            self._posted = False
            self.poke()

    def _tell(self, line: Line) -> None:
        try:
            self._listener(line)
        except Exception:
            log.exception("%s failed at line %d; it is told the next ones", self._name, line.number)

    def _is_over(self) -> bool:
        """Say whether the client was stopped, and what it had received was told for long enough."""
        if self._client._connection.state is not State.STOPPED:
            self._ends = None
            return False
        if self._ends is None:
            self._ends = time.monotonic() + LISTENER_PATIENCE
        return time.monotonic() > self._ends

    def _say(self, text: str) -> None:
        client = self._client
        client._driver.post(lambda: client._connection.note(text, time.monotonic()))

    @property
    def _name(self) -> str:
        return getattr(self._listener, "__qualname__", None) or repr(self._listener)


_contexts: weakref.WeakValueDictionary[object, ssl.SSLContext] = weakref.WeakValueDictionary()


def _ignore(_: object) -> None:
    pass


def _in_notebook() -> bool:
    """Say whether a front end that can show widgets is there."""
    shell_module = sys.modules.get("IPython.core.getipython")
    shell = shell_module.get_ipython() if shell_module is not None else None
    if not hasattr(shell, "kernel"):
        return False
    from .jupyter.front import Front, front_of

    return front_of(shell) is Front.NOTEBOOK


def _with_tls(address: Address, tls: TLS | bool | None) -> tuple[Address, TLS]:
    """Return the address with the TLS mode that the user wants, and the details."""
    if tls is None:
        return address, TLS()
    if isinstance(tls, TLS):
        if tls.starttls:
            return address.with_tls(TLSMode.STARTTLS), tls
        return (address.with_tls(TLSMode.IMPLICIT) if address.tls is TLSMode.NONE else address), tls
    if not isinstance(tls, bool):
        raise SettingsError(f"tls must be True, False or a TLS with the details, not {tls!r}")
    if tls and address.tls is not TLSMode.NONE:
        return address, TLS()
    return address.with_tls(TLSMode.IMPLICIT if tls else TLSMode.NONE), TLS()


def _context(options: TLS) -> ssl.SSLContext:
    """Return the context for these options; clients with equal ones share it, as it takes 18 KiB and more."""
    files = [os.fspath(path) for path in (options.cafile, options.cert, options.key) if path is not None]
    try:
        key = (options, tuple((path, os.stat(path).st_mtime_ns) for path in files))
    except OSError:
        return options.context()  # which says what is wrong with it
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = options.context()
    return context


def _keepalive(keepalive: KeepAlive | str | None) -> KeepAlive:
    if keepalive is None:
        return KeepAlive()
    return keepalive if isinstance(keepalive, KeepAlive) else KeepAlive.parse(keepalive)


def _retry(retry: Retry | float | None) -> Retry:
    if retry is None:
        return Retry()
    return retry if isinstance(retry, Retry) else Retry(delay=retry)


def _eol(eol: str | bytes | None, profile: Profile) -> bytes:
    if eol is None:
        return profile.eol
    if isinstance(eol, bytes):
        return eol
    known = EOLS.get(eol.lower()) if isinstance(eol, str) else None
    if known is None and isinstance(eol, str) and eol and not eol.strip("\r\n"):
        known = eol.encode()
    if known is None:
        raise SettingsError(f"unknown line end {eol!r}: use crlf, lf, cr, none, or bytes")
    return known


def _limit(limit: int) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise SettingsError(f"queue_limit must be a whole number of bytes from 1 up, not {limit!r}")
    return limit


def _is_function(on_connect: str | Callable[..., object] | None) -> bool:
    if on_connect is None or isinstance(on_connect, str):
        return False
    if not callable(on_connect):
        raise SettingsError(
            f"on_connect must be a script (text) or a function that takes a session, "
            f"not {type(on_connect).__name__}"
        )
    if inspect.iscoroutinefunction(on_connect) or inspect.isgeneratorfunction(on_connect):
        raise SettingsError(
            "on_connect must be a plain function, neither async nor a generator: it has a thread of its own"
        )
    try:
        inspect.signature(on_connect).bind(None)
    except TypeError as error:
        raise SettingsError(f"on_connect is called with one argument, the session, but: {error}") from None
    except ValueError:
        pass  # some functions in C do not tell
    return True


def _in_one_line(error: BaseException) -> str:
    """Name an error of the user's."""
    try:
        text = in_one_line(str(error))
    except Exception:  # noqa: BLE001 - an error that cannot even be told is one all the same
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _heartbeat(heartbeat: Heartbeat | str | None, encoding: str | None) -> Heartbeat | None:
    if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
        heartbeat = Heartbeat(heartbeat)
    if heartbeat is not None and isinstance(heartbeat.line, str):
        encode_line(heartbeat.line, encoding)
    return heartbeat


def _transcript(transcript: Transcript | int | None) -> Transcript:
    if transcript is None:
        return Transcript()
    if isinstance(transcript, int):
        return Transcript(transcript)
    if not isinstance(transcript, Transcript):
        raise SettingsError(f"transcript must be a Transcript or how many lines to keep, not {transcript!r}")
    return transcript


def _server_name(address: Address, tls: TLS) -> str | None:
    return tls.server_name or address.host.partition("%")[0] or None


def _script(
    on_connect: str | Callable[..., object] | None,
    forms: Iterable[bytes],
    transcript: Transcript,
    encoding: str | None,
) -> tuple[Step, ...]:
    """Return the steps of a script, which errors and the log show without its secrets."""
    if not isinstance(on_connect, str):
        return ()
    hiding = Transcript()  # one for this alone: the user's own changes only with a client that is made
    for form in forms:
        hiding.hide(form)

    def fill(line: str) -> tuple[str, str]:
        return line, transcript.redacted_text(hiding.redacted_text(line))

    return parse_script(on_connect, encoding=encoding, fill=fill)


def _forms(secrets: Iterable[Secret], encoding: str | None) -> set[bytes]:
    """Return in which forms secrets may show: as they are sent, as text, in a regular expression, in a
    repr.
    """
    forms: set[bytes] = set()
    for secret in secrets:
        if not isinstance(secret, Secret):
            raise SettingsError(f"secrets are made with Secret(…), not {type(secret).__name__}")
        data = secret.reveal()
        forms.add(data)
        for text in {decode(data, encoding), decode(data, None)}:
            for form in text, re.escape(text), repr(text)[1:-1]:
                forms.add(form.encode("utf-8", "surrogatepass"))
                with contextlib.suppress(UnicodeEncodeError):
                    forms.add(form.encode(encoding or "utf-8"))
    return forms


def _seconds(timeout: float) -> float:
    if (
        not isinstance(timeout, (int, float))
        or isinstance(timeout, bool)
        or not 0 <= timeout <= threading.TIMEOUT_MAX
    ):
        raise SettingsError(f"a timeout is a number of seconds from 0 up, not {timeout!r}")
    return float(timeout)


def _replies(
    replies: Replies | None, profile: Profile, encoding: str | None
) -> tuple[tuple[re.Pattern[bytes], bytes], ...]:
    """Return the user's rules before the protocol's own; an empty mapping means none at all."""
    own = tuple((re.compile(pattern), line) for pattern, line in profile.replies)
    if replies is None:
        return own
    pairs: list[tuple[str | bytes, str | bytes]] = list(
        replies.items() if isinstance(replies, Mapping) else replies
    )
    return (*(_reply(pattern, line, encoding) for pattern, line in pairs), *(own if pairs else ()))


def _reply(pattern: str | bytes, line: str | bytes, encoding: str | None) -> tuple[re.Pattern[bytes], bytes]:
    code = encoding or "utf-8"
    try:
        raw = pattern.encode(code) if isinstance(pattern, str) else pattern
        template = line.encode(code) if isinstance(line, str) else line
        compiled = re.compile(raw)
    except (re.error, UnicodeEncodeError, AttributeError) as error:
        raise SettingsError(
            f"a reply is a regular expression and the line that answers it, "
            f"not {pattern!r} and {line!r} ({error})"
        ) from None
    if has_break(template):
        raise SettingsError(f"a reply is one line, without a line break: {line!r}")
    try:
        re.compile(raw + b"|").sub(template, b"", count=1)
    except (re.error, IndexError) as error:
        raise SettingsError(f"the reply {line!r} does not fit {pattern!r} ({error})") from None
    return compiled, template
