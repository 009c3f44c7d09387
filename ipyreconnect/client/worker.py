"""Runs a client's slow code, each where it holds up nobody: its on-connect function, its framing, and the
expressions that may take for ever. Calls no observers and no listeners.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import ReconnectError, ScriptFailed
from ..lines.delivery import Waiting
from ..network.driver import Driver
from ..protocol.expect import Expectation
from .notifier import Notifier
from .origin import Origin
from .session import Session
from .slow_search import SlowSearch
from .wire import Wire

__all__ = ["Worker"]


class Worker:
    """The threads for one client's slow code. Its methods are called with the turn, and wait for nothing.

    function: the on-connect function, if there is one. name: what its thread is called after. origin: where
    all that is run as if. waiting: gives who waits for the deliveries of a session, as for `Delivery`.
    """

    __slots__ = ("_driver", "_function", "_jobs", "_name", "_origin", "_waiting", "_wire")

    def __init__(
        self,
        driver: Driver,
        wire: Wire,
        function: Callable[..., object] | None,
        name: str,
        origin: Origin,
        waiting: Callable[[], Waiting | None],
    ) -> None:
        self._driver = driver
        self._wire = wire
        self._function = function
        self._name = name
        self._origin = origin
        self._waiting = waiting
        self._jobs: Notifier | None = None

    def work(self, job: Callable[[], None]) -> None:
        """Have code of the user's (a framing) run on a thread of this client's, one after the other; other
        than its observers and listeners, it may be what they wait for.
        """
        if self._jobs is None:
            self._jobs = Notifier()
        self._jobs.post(lambda: self._origin.call(job))

    def search(self, expectation: Expectation) -> None:
        """Have it looked for on a thread and in a process of its own."""
        SlowSearch(expectation, self._driver).begin()

    def run_function(self, session: int) -> None:
        """Run the on-connect function on a thread of its own; what it raises is why the attempt failed."""

        def run() -> None:
            self._ended(session, self._run(session))

        try:
            name = f"ipyreconnect-script-{self._name}"
            threading.Thread(target=self._origin.call, args=(run,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no thread is to be had
            self._ended(session, ScriptFailed(f"on-connect function: {error}"))

    def _run(self, session: int) -> Exception | None:
        """Call the function, and return why it failed. On its own thread."""
        try:
            if self._function is not None:
                given = Session(self._driver, self._wire, session, self._waiting)
                try:
                    self._function(given)
                finally:
                    given.end()
        except ReconnectError as error:
            # Else it would keep this call, and all that the function made, until the collector runs.
            return error.with_traceback(None)
        except BaseException as error:  # noqa: BLE001 - whatever the user's function raises is the reason
            return ScriptFailed(f"on-connect function: {self._wire.error_in_one_line(error)}")
        return None

    def _ended(self, session: int, error: Exception | None) -> None:
        connection = self._driver.connection
        self._driver.post(lambda: connection.script_ended(session, error, time.monotonic()))
