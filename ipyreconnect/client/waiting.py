"""Waits for what comes of an expectation or a delivery, in threads and in coroutines; sends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from ..errors import ExpectTimeout
from ..lines.delivery import UNCONFIRMED, Delivery
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..network.driver import Driver, Waiter
from ..protocol.expect import Expectation
from ..protocol.match import Match
from .arguments import seconds_from
from .wire import Wire

__all__ = ["Waiting", "until"]

LAST_LINES = 5
"""How many lines a time-out quotes."""
INTERRUPT_EVERY = 0.2
"""Seconds: an interrupt does not wake a kernel's event loop, so what waits in it looks around this often
(measured: 0.24–0.37 s)."""
MANY_LINES = 4096
"""Lines that an expectation looks through at once: some milliseconds."""


async def until(driver: Driver, done: Callable[[], bool], timeout: float | None) -> bool:
    """Wait in a coroutine until `done()`, which is called with the turn, at most `timeout` seconds; return
    whether it is. See INTERRUPT_EVERY.
    """
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
    driver.watch(waiter)
    try:
        while not woken.done():
            left = INTERRUPT_EVERY if ends is None else min(INTERRUPT_EVERY, ends - loop.time())
            if left <= 0:
                break
            await asyncio.wait({woken}, timeout=left)
    finally:
        driver.post(lambda: driver.unwatch(waiter))
    return done()


class Waiting:
    """What one client waits for. Any thread; the coroutines in any event loop of asyncio's.

    Each of its methods that returns a `Match` raises ExpectTimeout when the time is over, and ConnectionLost
    when the connection that was to answer is gone.
    """

    __slots__ = ("__weakref__", "_connection", "_driver", "_transcript", "_wire", "encoding")

    def __init__(self, driver: Driver, transcript: Transcript, wire: Wire) -> None:
        self._driver = driver
        self._connection = driver.connection
        self._transcript = transcript
        self._wire = wire
        self.encoding = wire.encoding  # of the text of a delivery, which asks for it

    def for_line(self, expectation: Expectation, timeout: float) -> Match:
        """Expect a line, at most `timeout` seconds long."""
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= timeout:
                return self._result(expectation, timeout)
        return self._outcome(expectation, timeout, lambda: self._expect(expectation), began)

    async def afor_line(self, expectation: Expectation, timeout: float) -> Match:
        """Do what `for_line` does, in a coroutine."""
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= timeout:
                return self._result(expectation, timeout)
            await asyncio.sleep(0)
        return await self._async_outcome(expectation, timeout, lambda: self._expect(expectation), began)

    def for_answer(self, expectation: Expectation, timeout: float, ask: Callable[[], None]) -> Match:
        """Do `ask` with the turn, which sends a line with this expectation, and wait for the answer, at most
        `timeout` seconds; raises what `ask` raises.
        """
        return self._outcome(expectation, timeout, ask, time.monotonic())

    async def afor_answer(self, expectation: Expectation, timeout: float, ask: Callable[[], None]) -> Match:
        """Do what `for_answer` does, in a coroutine."""
        return await self._async_outcome(expectation, timeout, ask, time.monotonic())

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        """Wait until `delivery` has come as far as `status`; what `Delivery.wait` calls."""
        timeout = seconds_from(timeout)
        self._driver.call(lambda: self._connection.outbox.hurry(time.monotonic()))
        self._driver.wait(lambda: delivery.reached(status) or delivery.status == UNCONFIRMED, timeout)
        return delivery.reached(status)

    def _expect(self, expectation: Expectation) -> None:
        self._connection.expect(expectation, time.monotonic())

    def _rule_out(self, expectation: Expectation) -> Iterator[None]:
        """Look through what was received, if that is much, before the connection is asked to: with its turn,
        nobody else could do anything meanwhile.
        """
        transcript = self._transcript
        start, end = self._connection.expectations.looks_from, transcript.end
        return expectation.rule_out(transcript, start, end) if end - start > MANY_LINES else iter(())

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
        driver = self._driver
        try:
            driver.call(work)
            left = began + timeout - time.monotonic()
            await until(driver, lambda: expectation.outcome is not None, left)
        finally:
            if expectation.outcome is None:
                # Posted: a coroutine that was dropped is closed by the garbage collector, at any moment.
                driver.post(lambda: self._connection.forget(expectation))
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
        told = (
            "the line is still queued, and sent once connected"
            if expectation.unsent
            else self._told_of_what_came(expectation.origin)
        )
        raise ExpectTimeout(f"{self._wire.in_vain(expectation.pattern, timeout)}; {told}")

    def _told_of_what_came(self, origin: int) -> str:
        """Return how a time-out tells of what was received from line `origin` on."""
        transcript = self._transcript
        end = transcript.end
        lines = transcript.lines(max(origin, end - 10 * LAST_LINES), end)
        last = [line for line in lines if line.direction == "<"][-LAST_LINES:]
        begun = self._driver.call(lambda: transcript.unfinished)
        told = f"{'no whole line' if begun else 'nothing'} was received since the last send"
        if last:
            shown = "".join(f"\n  < {line.text[:200]!r}" for line in last)
            told = f"the last {'line' if len(last) == 1 else 'lines'}:{shown}"
        if begun:
            # A prompt, say. Of what may be the half of a secret, nothing is shown.
            quoted = "" if transcript.hides else f": {decode(begun[:200], self.encoding)!r}"
            told += f"\n  and an unfinished one of {len(begun)} byte{'s' * (len(begun) > 1)}{quoted}"
        return told
