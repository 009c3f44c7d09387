"""Attempts at connections, and the servers, names and resolvers that they meet; has no tests."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from ipyreconnect.address import Address, parse_address
from ipyreconnect.errors import AttemptFailed
from ipyreconnect.network.dial import Dial
from ipyreconnect.network.lookups import Candidate, Resolver
from ipyreconnect.network.loop import Loop

PATIENCE = 10.0
"""Seconds after which a test gives up waiting for what should come at once."""

Result = socket.socket | AttemptFailed
T = TypeVar("T")


def on_io(loop: Loop, call: Callable[[], T]) -> T:
    """Run `call` on the I/O thread, after all that is queued there, and return its result."""
    results: queue.SimpleQueue[T] = queue.SimpleQueue()
    loop.call_soon(lambda: results.put(call()))
    return results.get(timeout=PATIENCE)


def waited_for(loop: Loop) -> int:
    """Count the sockets that the loop waits for, without its own."""
    return on_io(loop, lambda: len(loop._selector.get_map()) - 1)


def lookup_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ipyreconnect-resolve")]


def join_lookups() -> None:
    for thread in lookup_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Attempt:
    """One dial, with all that it called back."""

    def __init__(
        self,
        loop: Loop,
        address: Address | str,
        *,
        timeout: float = PATIENCE,
        resolver: Resolver | None = None,
    ) -> None:
        self.loop = loop
        self.phases: list[str] = []
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.threads: set[threading.Thread] = set()
        self.dial = Dial(
            loop,
            parse_address(address) if isinstance(address, str) else address,
            self._done,
            self._phase,
            timeout=timeout,
            resolver=resolver,
        )

    def _done(self, result: Result) -> None:
        self.threads.add(threading.current_thread())
        self.results.put(result)

    def _phase(self, phase: str) -> None:
        self.threads.add(threading.current_thread())
        self.phases.append(phase)

    def socket(self) -> socket.socket:
        result = self.results.get(timeout=PATIENCE)
        assert isinstance(result, socket.socket), result
        return result

    def failure(self) -> AttemptFailed:
        result = self.results.get(timeout=PATIENCE)
        assert isinstance(result, AttemptFailed), result
        return result

    def cancel(self) -> None:
        on_io(self.loop, self.dial.cancel)


def listener(stack: ExitStack, family: int = socket.AF_INET, port: int = 0) -> socket.socket:
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    return stack.enter_context(socket.create_server((host, port), family=family))


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def refused_port(stack: ExitStack) -> int:
    """Return a port that is taken on both families but not listened on, so that nobody can answer there."""
    while True:
        ipv6 = socket.socket(socket.AF_INET6)
        ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ipv6.bind(("::1", 0))
        ipv4 = socket.socket()
        try:
            ipv4.bind(("127.0.0.1", port_of(ipv6)))
        except OSError:  # this one is taken: another
            ipv4.close()
            ipv6.close()
            continue
        stack.enter_context(ipv4)
        return port_of(stack.enter_context(ipv6))


def ipv4(port: int, host: str = "127.0.0.1") -> Candidate:
    return Candidate(socket.AF_INET, (host, port))


def ipv6(port: int) -> Candidate:
    return Candidate(socket.AF_INET6, ("::1", port, 0, 0))


def answering(*candidates: Candidate) -> Resolver:
    """Return a resolver that always gives these addresses."""
    return lambda host, port: candidates


class Mute:
    """A resolver that hangs until it is released, then answers; counts how often it was asked."""

    def __init__(self, *candidates: Candidate) -> None:
        self.candidates = candidates
        self.asked = 0
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[Candidate]:
        self.asked += 1
        self.entered.release()
        self.released.wait()
        return self.candidates


def assert_silent(attempt: Attempt) -> None:
    """Assert that the attempt called nothing back, after all that was queued has run."""
    on_io(attempt.loop, lambda: None)
    on_io(attempt.loop, lambda: None)
    assert attempt.results.empty()


def eventually_connecting(attempt: Attempt, count: int) -> None:
    """Wait until so many sockets of the attempt are under way."""
    deadline = time.monotonic() + PATIENCE
    while on_io(attempt.loop, lambda: len(attempt.dial._connecting)) < count:
        assert time.monotonic() < deadline
