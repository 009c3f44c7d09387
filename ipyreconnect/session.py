"""What an on-connect function is given: send, expect and read, on the connection being made; ends with it.

The function runs on a thread of its own after every (re)connection, before it counts as connected.
It reads what the server says in order, from the first byte on: what an expectation has passed over or found
is read, and `readexactly` goes on behind it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, overload

from .arguments import seconds_from, whole_number
from .errors import ConnectionLost, ExpectTimeout, Overrun
from .network.driver import Driver
from .protocol.connection import SCRIPT_PATIENCE
from .protocol.delivery import Delivery
from .protocol.expect import QUOTED, Match, Pattern, last_lines
from .protocol.transcript import decode
from .settings import Secret

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Session"]


class Session:
    """One run of an on-connect function; made by the client.

    Each method raises ConnectionLost once the connection, or its turn at being made, is over.
    """

    def __init__(self, client: Client, driver: Driver, number: int) -> None:
        self._client = client
        self._driver = driver
        self._connection = driver.connection
        self._number = number
        # Where reading goes on: a line's number in the transcript, and how many bytes of it are read already.
        self._line, self._offset, self._received = driver.call(lambda: self._connection.session_start)
        self._read = 0  # bytes, of those that were received since
        self._since_send = self._line
        self._sent_up_to = 0
        self._over = False

    def end(self) -> None:
        """Be of no use any more, as the function has ended. Any thread."""
        self._over = True

    def _check(self) -> None:
        if self._over:
            raise ConnectionLost(
                f"the session with {self._client.address.display} is over: its function has ended"
            )
        self._connection.check_session(self._number)

    @property
    def mark(self) -> int:
        """The number of the first line that the function has left for others."""
        return max(self._line, self._sent_up_to)

    @property
    def unread(self) -> tuple[int, int]:
        """Where reading has stopped: in which line, before which of its bytes."""
        return self._line, self._offset

    @overload
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: None = None,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Delivery: ...
    @overload
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: Pattern,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Match: ...
    def send(
        self,
        data: str | bytes | Secret,
        *,
        expect: Pattern | None = None,
        timeout: float = SCRIPT_PATIENCE,
        secrets: Iterable[Secret] = (),
    ) -> Delivery | Match:
        """Send one line of text (the line end is added), or bytes as they are; see `Client.send`.

        expect: read at most `timeout` seconds on, until a line matches that was received afterwards, and
        return the `Match`; it raises what `Session.expect` raises.
        """
        pattern, seconds = None if expect is None else self._client.compiled(expect), seconds_from(timeout)
        wire, line = self._client.encode(data, secrets)
        delivery = Delivery(line, self._client.itself)
        self._check()
        self._driver.call(
            lambda: self._connection.send(wire, line, delivery, time.monotonic(), session=self._number)
        )
        self._since_send = self._line
        self._sent_up_to = (delivery.number or 0) + 1
        return delivery if pattern is None else self._read_until(pattern, seconds, self._sent_up_to)

    def expect(self, pattern: Pattern, timeout: float = SCRIPT_PATIENCE) -> Match:
        """Read lines until one matches, at most `timeout` seconds long; return the `Match`.

        Raises ExpectTimeout, ConnectionLost, and SettingsError for a pattern that is no regular expression.
        """
        return self._read_until(self._client.compiled(pattern), seconds_from(timeout))

    def _read_until(self, compiled: re.Pattern[Any], timeout: float, first: int = 0) -> Match:
        """Read lines until one matches whose number is `first` or more."""
        is_bytes = isinstance(compiled.pattern, bytes)
        found: list[Match] = []
        last: list[str] = []

        def look() -> bool:
            self._check()
            transcript = self._connection.transcript
            self._check_kept()
            for number, raw in transcript.raw(self._line):
                if number == transcript.end:
                    return False  # not complete yet
                self._read += len(raw) - self._offset
                data = raw[self._offset :].removesuffix(b"\n").removesuffix(b"\r")
                self._line, self._offset = number + 1, 0
                text = decode(data, self._client.encoding)
                if number >= first and (match := compiled.search(data if is_bytes else text)):
                    found.append(Match(transcript[number], match, transcript, self._since_send))
                    return True
                last[:] = [*last[1 - QUOTED :], transcript.redacted_text(text)]
            return False

        self._wait(look, timeout)
        if found:
            return found[0]
        raise ExpectTimeout(f"{self._client.in_vain(compiled, timeout)}; {last_lines(last)}")

    def readexactly(self, size: int, timeout: float = SCRIPT_PATIENCE) -> bytes:
        """Return the next `size` bytes, line ends and all, waiting at most `timeout` seconds for them.

        Raises ExpectTimeout, then nothing is read; ConnectionLost; SettingsError for what is no number of
        bytes.
        """
        size = whole_number(size, "readexactly takes a number of bytes", 0)
        timeout = seconds_from(timeout)
        taken: list[bytes] = []

        def look() -> bool:
            self._check()
            self._check_kept()
            if self._connection.received_bytes - self._received < self._read + size:
                return False  # without looking, which would cost the square of the size
            pieces: list[bytes] = []
            missing, offset = size, self._offset
            for number, raw in self._connection.transcript.raw(self._line):
                piece = raw[offset : offset + missing]
                pieces.append(piece)
                missing -= len(piece)
                if not missing:
                    whole = offset + len(piece) == len(raw) and number < self._connection.transcript.end
                    self._line, self._offset = (number + 1, 0) if whole else (number, offset + len(piece))
                    self._read += size
                    taken[:] = pieces
                    return True
                offset = 0
            return False

        if not size or self._wait(look, timeout):
            return b"".join(taken)
        raise ExpectTimeout(
            f"{self._client.address.display} did not send {size} more bytes within {timeout:g} s"
        )

    def _check_kept(self) -> None:
        transcript = self._connection.transcript
        if self._line < transcript.oldest:
            raise Overrun(
                f"lines {self._line} to {transcript.oldest - 1} were forgotten before the on-connect "
                "function read them: let the transcript keep more",
                transcript.oldest - self._line,
            )

    def _wait(self, look: Callable[[], bool], timeout: float) -> bool:
        """Wait until `look()` with the turn gives true; what it raises is raised here."""
        error: list[Exception] = []
        true: list[bool] = []

        def done() -> bool:
            if true or error:
                return True
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
