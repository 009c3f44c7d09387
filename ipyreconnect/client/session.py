"""The session that an on-connect function is given: send, expect and read, on the connection being made.

The function runs on a thread of its own after every (re)connection, before the connection counts as
connected. It reads what the server sends in order, from the first byte on: what an expectation has skipped or
matched is read, and `readexactly` continues after it.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, overload

from ..errors import ConnectionLost, ExpectTimeout, Overrun
from ..lines.delivery import Delivery, Waiting
from ..lines.effort import TooSlow
from ..lines.framing import Foreign, split_lines
from ..lines.search import Pattern
from ..lines.text import decode
from ..logical import beginning
from ..network.driver import Driver
from ..protocol.expect import QUOTED, Expectation, last_lines
from ..protocol.match import Match
from ..protocol.opening import SCRIPT_PATIENCE
from ..secret import Secret
from .arguments import seconds_from, whole_number
from .slow_search import search_one
from .wire import Wire

__all__ = ["Session"]

GRACE = 0.1
"""Seconds after a time-out for which what had been received before it is still searched."""


@dataclass(frozen=True, slots=True)
class _Read:
    """Lines that were read in one step.

    Attributes:
        found: The match in the last of them, if there is one.
        number: The number of the last line.
        lines: The lines.
        at: When the last one came (Unix time, seconds).
        size: How many received bytes they took.
    """

    found: re.Match[Any] | None
    number: int
    lines: list[bytes]
    at: float
    size: int


class Session:
    """One run of an on-connect function; made by the client.

    Every method raises ConnectionLost once the connection is lost, or the function has ended.
    """

    def __init__(
        self, driver: Driver, wire: Wire, number: int, waiting: Callable[[], Waiting | None]
    ) -> None:
        self._driver = driver
        self._wire = wire
        self._connection = driver.connection
        self._number = number
        self._waiting = waiting
        self._since_send = self._connection.transcript.end
        self._over = False

    def end(self) -> None:
        """End the session: the function has ended. Safe to call from any thread."""
        self._over = True

    def _check(self) -> None:
        if self._over:
            raise ConnectionLost(f"the session with {self._wire.where} is over: its function has ended")
        self._connection.check_session(self._number)

    @overload
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: None = None,
        whole: bool = False,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Delivery: ...
    @overload
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: Pattern,
        whole: bool = False,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Match: ...
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: Pattern | None = None,
        whole: bool = False,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Delivery | Match:
        """Send one line of text (the line end is added), or bytes as they are; see `Client.send`.

        Args:
            data: The line.
            expect: Also wait for a line received afterwards that matches.
            whole: As for `Session.expect`.
            timeout: Seconds to wait at most.
            secrets: Parts of `data` that are shown as •••• from now on.

        Returns:
            With `expect` the `Match`, otherwise the `Delivery`.

        Raises:
            SettingsError: `data` is not one line.
            ExpectTimeout: With `expect`, no line matched in time.
            ConnectionLost: The connection is lost.
        """
        pattern, seconds = None if expect is None else self._wire.compiled(expect), seconds_from(timeout)
        wire, line = self._wire.encode(data, secrets)
        delivery = Delivery(line, self._waiting)
        self._check()
        self._driver.call(
            lambda: self._connection.send(wire, line, delivery, time.monotonic(), session=self._number)
        )
        first = self._since_send = (delivery.number or 0) + 1
        return delivery if pattern is None else self._read_until(pattern, seconds, first, whole=whole)

    def expect(self, pattern: Pattern, timeout: float = SCRIPT_PATIENCE, *, whole: bool = False) -> Match:
        """Read lines, cut by the connection's framing, until one matches.

        Args:
            pattern: A regular expression.
            timeout: Seconds to wait at most.
            whole: Search all of a logical line, with the bytes that it announced; by default only its
                beginning is compared, as for `Client.expect`.

        Returns:
            The `Match`.

        Raises:
            ExpectTimeout: No line matched in time.
            ConnectionLost: The connection is lost.
            SettingsError: `pattern` is not a regular expression.
        """
        return self._read_until(self._wire.compiled(pattern), seconds_from(timeout), whole=whole)

    def _read_until(
        self, compiled: re.Pattern[Any], timeout: float, first: int = 0, *, whole: bool = False
    ) -> Match:
        """Read lines until one matches whose number is at least `first`."""
        ends = time.monotonic() + timeout
        transcript = self._connection.transcript
        expectation = Expectation(compiled, first, whole=whole)
        last: list[bytes] = []
        left: int | None = None  # bytes that had been received when the time was over, and were not read yet
        while (read := self._read_some(expectation, ends)) is not None:
            if read.found is not None:
                line = read.number, read.lines[-1], read.at
                return Match(line, read.found, transcript, self._since_send)
            last = [*last, *read.lines[-QUOTED:]][-QUOTED:]
            if (now := time.monotonic()) >= ends:
                # Search what had been received by then, not what keeps coming.
                left = self._unread_bytes() if left is None else left - read.size
                if left <= 0 or now > ends + GRACE:
                    break
        texts = [transcript.redacted_text(decode(line, self._wire.encoding)) for line in last]
        raise ExpectTimeout(f"{self._wire.no_match_message(compiled, timeout)}; {last_lines(texts)}")

    def _read_some(self, expectation: Expectation, ends: float) -> _Read | None:
        """Read the next lines, up to one that matches; None if none comes until `ends` (monotonic, s)."""
        first, plain = self._peek()
        if not plain:
            read = self._read_line(ends)
            if read is None:
                return None
            number, line, at = read
            found = self._look(expectation, number, [line], ends)
            return _Read(found, number, [line], at, len(line) + 1)
        # Many at once, up to the first match.
        lines = split_lines(plain)
        found = self._look(expectation, first, lines, ends)
        if expectation.cursor < first + len(lines):
            lines = lines[: expectation.cursor - first]
            plain = b"".join(islice(io.BytesIO(plain), len(lines)))
        number, at = self._pass_over(len(plain))
        return _Read(found, number, lines, at, len(plain))

    def _unread_bytes(self) -> int:
        return self._driver.call(lambda: len(self._connection.unread(self._number)))

    def _peek(self) -> tuple[int, bytes]:
        """Return the number of the next line, and unread whole lines; see `Unread.peek`."""

        def work() -> tuple[int, bytes]:
            self._check()
            self._check_kept()
            unread = self._connection.unread(self._number)
            return (0, b"") if isinstance(unread.framer, Foreign) else unread.peek()

        return self._driver.call(work)

    def _pass_over(self, size: int) -> tuple[int, float]:
        def work() -> tuple[int, float]:
            self._check()
            self._check_kept()
            return self._connection.pass_over(self._number, size, time.monotonic())

        return self._driver.call(work)

    def _look(
        self, expectation: Expectation, number: int, lines: list[bytes], ends: float
    ) -> re.Match[Any] | None:
        """Search lines up to the first match, and leave the expectation's cursor after the last one searched.

        A line over which the regular expression may take long is searched in a process of its own, and is the
        last one of this call.

        Args:
            expectation: What is searched for.
            number: The number of the first line.
            lines: The lines.
            ends: When the time is over (monotonic, seconds).
        """
        found = expectation.look(number, lines, self._wire.encoding)
        if found is not None:
            return found[2]
        if not expectation.is_slow:
            return None
        line = lines[expectation.cursor - number]
        expectation.is_slow = False
        expectation.cursor += 1
        compared = line if expectation.whole else beginning(line)
        if compared is None:
            return None
        text = compared if expectation.bytes else decode(compared, self._wire.encoding)
        try:
            return search_one(expectation.pattern, text, max(0.1, ends - time.monotonic()))
        except TooSlow:
            self._check()
            no_match = self._wire.no_match_message(expectation.pattern, 0)
            raise ExpectTimeout(f"{no_match}: the expression takes too long over a line") from None

    def _read_line(self, ends: float) -> tuple[int, bytes, float] | None:
        """Read the next line: its number, bytes and time; None if none comes until `ends` (monotonic, s)."""
        read: list[tuple[int, bytes, float]] = []

        def look() -> bool:
            self._check()
            self._check_kept()
            line = self._connection.read_line(self._number, time.monotonic())
            if line is not None:
                read.append(line)
            return line is not None

        self._check()
        framer = self._driver.call(lambda: self._connection.unread(self._number)).framer
        if isinstance(framer, Foreign):
            return self._read_foreign(framer, look, read, ends)
        return read[0] if self._wait(look, max(0.0, ends - time.monotonic())) else None

    def _read_foreign(
        self,
        framer: Foreign,
        look: Callable[[], bool],
        read: list[tuple[int, bytes, float]],
        ends: float,
    ) -> tuple[int, bytes, float] | None:
        """Read a line with the user's own framing, on this thread.

        It is fed byte by byte, so that `readexactly` continues right after the line.
        """
        connection = self._connection

        def some_is_there() -> bool:
            self._check()
            return look() or bool(connection.unread(self._number).unfed)

        while self._wait(some_is_there, max(0.0, ends - time.monotonic())):
            if read:
                return read[0]
            data = self._driver.call(lambda: connection.unread(self._number).unfed)
            lines: list[bytes] = []
            size = 0
            while not lines and size < len(data):
                lines = framer.feed(data[size : size + 1])
                size += 1
            self._driver.call(partial(connection.take_framed, self._number, size, lines, time.monotonic()))
        return None

    def readexactly(self, size: int, timeout: float = SCRIPT_PATIENCE) -> bytes:
        """Read exactly `size` bytes, line ends included; what follows begins a new line.

        Args:
            size: How many bytes.
            timeout: Seconds to wait at most.

        Returns:
            The bytes.

        Raises:
            ExpectTimeout: They did not come in time; nothing is read then.
            ConnectionLost: The connection is lost.
            SettingsError: `size` is not a number of bytes.
        """
        size = whole_number(size, "readexactly takes a number of bytes", 0)
        timeout = seconds_from(timeout)
        taken: list[bytes] = []

        def look() -> bool:
            self._check()
            self._check_kept()
            data = self._connection.read_bytes(self._number, size, time.monotonic())
            if data is not None:
                taken.append(data)
            return data is not None

        if not size or self._wait(look, timeout):
            return b"".join(taken)
        self._driver.call(lambda: self._connection.want_no_bytes(self._number, time.monotonic()))
        raise ExpectTimeout(f"{self._wire.where} did not send {size} more bytes within {timeout:g} s")

    def _check_kept(self) -> None:
        if lost := self._connection.unread(self._number).lost:
            raise Overrun(
                f"{lost} lines were forgotten before the on-connect function read them: "
                "let the transcript keep more",
                lost,
            )

    def _wait(self, look: Callable[[], bool], timeout: float) -> bool:
        """Wait until `look()`, called with the connection's lock held, is true; raise what it raises."""
        error: list[Exception] = []
        true: list[bool] = []

        def done() -> bool:
            if not true and not error:
                try:
                    if look():
                        true.append(True)
                except Exception as raised:  # noqa: BLE001 - raised again where it is waited for
                    error.append(raised)
            return bool(true or error)

        self._driver.wait(done, timeout)
        if error:
            raise error.pop()  # popped: its traceback refers to this frame, which must not keep it alive
        return bool(true)
