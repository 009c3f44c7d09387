"""Asks the peer, and waits for the whole answer, in threads and in coroutines; knows no protocol itself."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ..address import Address
from ..errors import ExpectTimeout, SettingsError
from ..lines.effort import is_quick
from ..lines.search import Pattern
from ..lines.text import decode
from ..logical import beginning
from ..network.driver import Driver
from ..profile.base import PROFILES
from ..profile.conversation import Reader, Step, Verdict
from ..profile.kinds import announced
from ..protocol.answer import Answer
from ..protocol.answers import Asked
from ..secret import Secret
from .waiting import until
from .wire import Wire

__all__ = ["Asking"]


class _End:
    """Reads an answer up to the line in which the user's expression is found.

    A line over which it would take for ever is no end: others wait for the thread that looks.
    """

    def __init__(self, pattern: re.Pattern[Any], encoding: str | None) -> None:
        self._pattern = pattern
        self._encoding = encoding
        self._is_bytes = isinstance(pattern.pattern, bytes)

    def feed(self, line: bytes) -> Verdict | Step | None:
        head = beginning(line)
        if head is None:
            return None
        text = head if self._is_bytes else decode(head, self._encoding)
        return Verdict(None) if is_quick(self._pattern, text) and self._pattern.search(text) else None

    def data(self, lines: Sequence[bytes]) -> bytes | None:
        return announced(lines)

    def value(self, lines: Sequence[bytes]) -> Any:
        return None


class Asking:
    """What one client asks. Any thread; the coroutines in any event loop of asyncio's.

    Args:
        driver: the client's.
        wire: encodes and masks for it.
        address: where it is connected to.

    """

    __slots__ = ("_address", "_connection", "_driver", "_wire")

    def __init__(self, driver: Driver, wire: Wire, address: Address) -> None:
        self._driver = driver
        self._connection = driver.connection
        self._wire = wire
        self._address = address

    def ask(
        self,
        text: str | Secret,
        timeout: float,
        end: Pattern | None,
        payload: bytes | None,
        secrets: Iterable[Secret],
    ) -> Answer:
        """Ask, and wait at most `timeout` seconds for the answer.

        Raises:
            SettingsError: the question cannot be sent, or nothing says what its answer looks like.
            NotConnected, OutboxFull: it was not sent.
            ExpectTimeout: the whole answer was not there in time.
            ConnectionLost: the connection that was to answer is gone.

        """
        question = _Waiting(self, text, end, payload, secrets)
        ends = time.monotonic() + timeout
        self._driver.call_and_wait(question.send, question.is_over, ends, question.give_up)
        return question.answer(timeout)

    async def aask(
        self,
        text: str | Secret,
        timeout: float,
        end: Pattern | None,
        payload: bytes | None,
        secrets: Iterable[Secret],
    ) -> Answer:
        """Do what `ask` does, in a coroutine."""
        asyncio.get_running_loop()  # raises, before anything was done, where no event loop of asyncio's runs
        question = _Waiting(self, text, end, payload, secrets)
        ends = time.monotonic() + timeout
        try:
            self._driver.call(question.send)
            await until(self._driver, question.is_over, ends - time.monotonic())
        finally:
            if not question.is_over():
                # Posted: a coroutine that was dropped is closed by the garbage collector, at any moment.
                self._driver.post(question.give_up)
        return question.answer(timeout)

    def reader(self, end: Pattern | None) -> Reader | None:
        """Return what reads an answer that ends as the user says; None: the protocol knows.

        Raises:
            SettingsError: neither of them says it.

        """
        if end is not None:
            return _End(self._wire.compiled(end), self._wire.encoding)
        profile = self._address.profile
        if profile.conversation is not None:
            return None
        if profile.name in _FEEDS:
            raise SettingsError(
                f"{profile.name} is a feed, which answers nothing: read it by follow(), or wait by expect()"
            )
        known = [name for name, each in PROFILES.items() if each.port and each.port == self._address.port]
        if known:
            advice = f"write the address as {known[0]}://{self._address.display}, or give until="
        else:
            advice = "give until=, found in its last line, or write the protocol in the address"
        raise SettingsError(f"{self._address} does not say where an answer ends: {advice}")


_FEEDS = frozenset(("nmea",))
"""Protocols in which nothing is asked."""


class _Waiting:
    """One question, and whoever waits for its answer."""

    def __init__(
        self,
        asking: Asking,
        text: str | Secret,
        end: Pattern | None,
        payload: bytes | None,
        secrets: Iterable[Secret],
    ) -> None:
        if isinstance(text, bytes) or not isinstance(text, str | Secret):
            raise SettingsError(
                f"ask takes one line of text, not {type(text).__name__}: bytes go as payload="
            )
        if payload is not None and not isinstance(payload, bytes | bytearray | memoryview):
            raise SettingsError(f"payload= takes bytes, not {type(payload).__name__}")
        self._asking = asking
        self._reader = asking.reader(end)
        self._payload = None if payload is None else bytes(payload)
        wire = asking._wire
        data, self._shown = wire.encode(text, secrets)
        self._line = data[: len(data) - len(wire.eol)]
        self._asked: Asked | None = None

    def send(self) -> None:
        """Ask. With the lock."""
        self._asked = self._asking._connection.ask(
            self._line, self._shown, self._payload, self._reader, time.monotonic()
        )

    def is_over(self) -> bool:
        return self._asked is not None and self._asked.outcome is not None

    def give_up(self) -> None:
        """Wait no longer. With the lock."""
        if self._asked is not None:
            self._asking._connection.stop_asking(self._asked, time.monotonic())

    def answer(self, timeout: float) -> Answer:
        """Return the answer, or raise what came instead."""
        asked = self._asked
        outcome = None if asked is None else asked.outcome
        if isinstance(outcome, Answer):
            return outcome
        if outcome is not None:
            assert asked is not None
            # Its traceback will know this frame, and with it all the caller's: no cycle must keep them alive.
            asked.outcome = None
            try:
                raise outcome
            finally:
                del outcome
        asking = self._asking
        shown = decode(self._shown, asking._wire.encoding)
        if asked is None or not asked.sent:
            why = asking._driver.call(asking._connection.answers.awaited)
            raise ExpectTimeout(f"{shown!r} was not sent within {timeout:g} s: {why}")
        raise ExpectTimeout(
            f"no whole answer to {shown!r} came from {asking._address.display} within {timeout:g} s"
        )
