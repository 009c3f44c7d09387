"""What an on-connect function is given: send, expect and read, on the connection being made; ends with it.

The function runs on a thread of its own after every (re)connection, before it counts as connected.
It reads what the server says in order, from the first byte on: what an expectation has passed over or found
is read, and `readexactly` goes on behind it.
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
from ..lines.framing import Foreign, beginning, split_lines
from ..lines.search import Pattern
from ..lines.text import decode
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
"""Seconds after a time-out for which what had come before it is still looked at."""


@dataclass(frozen=True, slots=True)
class _Read:
    """Lines that were read: the match in the last of them, if there is one, the number of that line and when
    it came (Unix time, s), and how many bytes all of them took.
    """

    found: re.Match[Any] | None
    number: int
    lines: list[bytes]
    at: float
    size: int


class Session:
    """One run of an on-connect function; made by the client.

    number: of the connection's session. waiting: gives who waits for the deliveries, as for `Delivery`.

    Each method raises ConnectionLost once the connection, or its turn at being made, is over.
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
        """Be of no use any more, as the function has ended. Any thread."""
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

        expect: read at most `timeout` seconds on, until a line matches that was received afterwards, and
        return the `Match`; it raises what `Session.expect` raises. whole: as there.
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
        """Read lines until one matches, at most `timeout` seconds long; return the `Match`.

        Lines are cut as the connection's framing does it. whole: look into all of a logical line, also into
        what was announced in it; else what is compared is its beginning, as for `Client.expect`.
        Raises ExpectTimeout, ConnectionLost, and SettingsError for a pattern that is no regular expression.
        """
        return self._read_until(self._wire.compiled(pattern), seconds_from(timeout), whole=whole)

    def _read_until(
        self, compiled: re.Pattern[Any], timeout: float, first: int = 0, *, whole: bool = False
    ) -> Match:
        """Read lines until one matches whose number is `first` or more."""
        ends = time.monotonic() + timeout
        transcript = self._connection.transcript
        expectation = Expectation(compiled, first, whole=whole)
        last: list[bytes] = []
        left: int | None = None  # bytes that had come when the time was over
        while (read := self._read_some(expectation, ends)) is not None:
            if read.found is not None:
                line = read.number, read.lines[-1], read.at
                return Match(line, read.found, transcript, self._since_send)
            last = [*last, *read.lines[-QUOTED:]][-QUOTED:]
            if (now := time.monotonic()) >= ends:
                # What had come by then is looked at, and not what goes on coming.
                left = self._unread_bytes() if left is None else left - read.size
                if left <= 0 or now > ends + GRACE:
                    break
        texts = [transcript.redacted_text(decode(line, self._wire.encoding)) for line in last]
        raise ExpectTimeout(f"{self._wire.in_vain(compiled, timeout)}; {last_lines(texts)}")

    def _read_some(self, expectation: Expectation, ends: float) -> _Read | None:
        """Read the next lines, up to one that matches; None where none comes until `ends` (monotonic, s)."""
        first, plain = self._peek()
        if not plain:
            read = self._read_line(ends)
            if read is None:
                return None
            number, line, at = read
            found = self._look(expectation, number, [line], ends)
            return _Read(found, number, [line], at, len(line) + 1)
        # Many at once, as far as they are passed over.
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
        """Return what `Unread.peek` does."""

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
        """Look at `lines`, whose first has `number`, up to the one that matches, or else up to the first over
        which the expression may take long: this one is looked at elsewhere. The cursor stands behind it.
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
            raise ExpectTimeout(
                f"{self._wire.in_vain(expectation.pattern, 0)}: the expression takes too long over a line"
            ) from None

    def _read_line(self, ends: float) -> tuple[int, bytes, float] | None:
        """Return the next line; None where none comes until `ends` (monotonic, s)."""
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
        """Do what `_read_line` does with the user's own framing, on this thread: byte by byte, so that
        `readexactly` goes on right behind the line.
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
        """Return the next `size` bytes, wherever they stand, line ends and all, waiting at most `timeout`
        seconds for them. What follows begins a new line.

        Raises ExpectTimeout, then nothing is read; ConnectionLost; SettingsError for what is no number of
        bytes.
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
        """Wait until `look()` with the turn gives true; what it raises is raised here."""
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
            raise error.pop()  # popped, for its traceback will know this frame
        return bool(true)
