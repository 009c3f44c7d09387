"""Waits for the outcome of an expectation or a delivery, in threads and in coroutines; sends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from ..errors import ExpectTimeout
from ..lines.delivery import UNCONFIRMED, Delivery
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..network.driver import Driver
from ..network.waiting import Waiter
from ..protocol.expect import Expectation
from ..protocol.match import Match
from .arguments import seconds_from
from .wire import Wire

__all__ = ["Waiting", "until"]

LAST_LINES = 5
"""How many received lines the message of a time-out quotes."""
INTERRUPT_EVERY = 0.2
"""Seconds. An interrupt (Ctrl-C, the kernel's Stop) does not wake the kernel's event loop, so a waiting
coroutine wakes up this often to let it through (measured: 0.24–0.37 s)."""
MANY_LINES = 4096
"""Lines that an expectation may search while it holds the connection's lock: some milliseconds."""


async def until(driver: Driver, done: Callable[[], bool], timeout: float | None) -> bool:
    """Wait in a coroutine until `done()` is true.

    Args:
        driver: What happens to its connection wakes the coroutine.
        done: The condition; it is called on any thread, with the connection's lock held.
        timeout: Seconds to wait at most; None means no limit.

    Returns:
        Whether the condition is true now.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def set_result() -> None:
        if not woken.done():
            woken.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
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
    """Waits on behalf of one client, in any thread or in any asyncio event loop.

    Methods that return a `Match` raise ExpectTimeout when `timeout` seconds are over, and ConnectionLost when
    the connection that was to answer is gone.
    """

    __slots__ = ("__weakref__", "_connection", "_driver", "_transcript", "_wire", "encoding")

    def __init__(self, driver: Driver, transcript: Transcript, wire: Wire) -> None:
        self._driver = driver
        self._connection = driver.connection
        self._transcript = transcript
        self._wire = wire
        self.encoding = wire.encoding  # read by `Delivery`, to show its text

    def expect(self, expectation: Expectation, timeout: float) -> Match:
        """Wait for a line, from the last send or match on."""
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= timeout:
                return self._result(expectation, timeout)
        return self._outcome(expectation, timeout, lambda: self._begin(expectation), began)

    async def aexpect(self, expectation: Expectation, timeout: float) -> Match:
        """Do what `expect` does, in a coroutine."""
        began = time.monotonic()
        for _ in self._rule_out(expectation):
            if time.monotonic() - began >= timeout:
                return self._result(expectation, timeout)
            await asyncio.sleep(0)
        return await self._async_outcome(expectation, timeout, lambda: self._begin(expectation), began)

    def send_and_expect(self, expectation: Expectation, timeout: float, send: Callable[[], None]) -> Match:
        """Send a line and wait for its answer.

        Args:
            expectation: What the answer looks like.
            timeout: Seconds to wait at most.
            send: Sends the line together with the expectation; it is called with the connection's lock held,
                and what it raises is raised here.
        """
        return self._outcome(expectation, timeout, send, time.monotonic())

    async def asend_and_expect(
        self, expectation: Expectation, timeout: float, send: Callable[[], None]
    ) -> Match:
        """Do what `send_and_expect` does, in a coroutine."""
        return await self._async_outcome(expectation, timeout, send, time.monotonic())

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        """Wait until `delivery` has reached `status`; called by `Delivery.wait`."""
        timeout = seconds_from(timeout)
        self._driver.call(lambda: self._connection.outbox.hurry(time.monotonic()))
        self._driver.wait(lambda: delivery.reached(status) or delivery.status == UNCONFIRMED, timeout)
        return delivery.reached(status)

    def _begin(self, expectation: Expectation) -> None:
        self._connection.expect(expectation, time.monotonic())

    def _rule_out(self, expectation: Expectation) -> Iterator[None]:
        """Search a large backlog without the connection's lock, which would keep everybody else waiting."""
        transcript = self._transcript
        start, end = self._connection.expectations.looks_from, transcript.end
        return expectation.rule_out(transcript, start, end) if end - start > MANY_LINES else iter(())

    def _outcome(
        self, expectation: Expectation, timeout: float, work: Callable[[], None], began: float
    ) -> Match:
        """Call `work` with the lock held, and wait for the outcome until `timeout` seconds after `began`."""
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
        asyncio.get_running_loop()  # fails where no asyncio loop runs, before anything is done
        driver = self._driver
        try:
            driver.call(work)
            left = began + timeout - time.monotonic()
            await until(driver, lambda: expectation.outcome is not None, left)
        finally:
            if expectation.outcome is None:
                # Not called but posted: the garbage collector may close a dropped coroutine at any moment.
                driver.post(lambda: self._connection.forget(expectation))
        return self._result(expectation, timeout)

    def _result(self, expectation: Expectation, timeout: float) -> Match:
        outcome = expectation.outcome
        if isinstance(outcome, Match):
            return outcome
        if outcome is not None:
            # The traceback refers to this frame and to the caller's: avoid a cycle that keeps them alive.
            expectation.outcome = None
            try:
                raise outcome
            finally:
                del outcome
        detail = (
            "the line is still queued, and sent once connected"
            if expectation.unsent
            else self._describe_received(expectation.origin)
        )
        raise ExpectTimeout(f"{self._wire.no_match_message(expectation.pattern, timeout)}; {detail}")

    def _describe_received(self, origin: int) -> str:
        """Describe what has been received from line `origin` on, for the message of a time-out."""
        transcript = self._transcript
        end = transcript.end
        lines = transcript.lines(max(origin, end - 10 * LAST_LINES), end)
        last = [line for line in lines if line.direction == "<"][-LAST_LINES:]
        begun = self._driver.call(lambda: transcript.unfinished)
        text = f"{'no whole line' if begun else 'nothing'} was received since the last send"
        if last:
            shown = "".join(f"\n  < {line.text[:200]!r}" for line in last)
            text = f"the last {'line' if len(last) == 1 else 'lines'}:{shown}"
        if begun:
            # Such as a prompt. It may be one half of a secret, so it is not shown where there are secrets.
            quoted = "" if transcript.hides else f": {decode(begun[:200], self.encoding)!r}"
            text += f"\n  and an unfinished one of {len(begun)} byte{'s' * (len(begun) > 1)}{quoted}"
        return text
