"""Runs a client's slow code on threads of its own: the on-connect function, the user's framing, and regular
expressions that may take long. Observers and listeners run on the notifier's threads instead.
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
    """Runs the slow code of one client.

    Its public methods are called with the connection's lock held, and only start what is to be done.

    Args:
        driver: Where results are posted to.
        wire: For the sessions of the on-connect function.
        function: The on-connect function, if there is one.
        name: The client's name; the function's thread is named after it.
        origin: The context in which the user's code runs.
        waiting: Returns the object that waits for deliveries, as for `Delivery`.
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
        """Run a job of the user's framing, one after the other.

        Not on the notifier's thread: an observer or a listener may be waiting for what this job frames.
        """
        if self._jobs is None:
            self._jobs = Notifier()
        self._jobs.post(lambda: self._origin.call(job))

    def search(self, expectation: Expectation) -> None:
        """Search for it on a thread and in a process of its own."""
        SlowSearch(expectation, self._driver).begin()

    def run_function(self, session: int) -> None:
        """Run the on-connect function on a thread of its own; what it raises fails the attempt."""

        def run() -> None:
            self._report(session, self._run(session))

        try:
            name = f"ipyreconnect-script-{self._name}"
            threading.Thread(target=self._origin.call, args=(run,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no thread could be started
            self._report(session, ScriptFailed(f"on-connect function: {error}"))

    def _run(self, session: int) -> Exception | None:
        """Call the function; return its error, None if it succeeded. Runs on its own thread."""
        try:
            if self._function is not None:
                given = Session(self._driver, self._wire, session, self._waiting)
                try:
                    self._function(given)
                finally:
                    given.end()
        except ReconnectError as error:
            # The traceback would keep the function's frames alive until the garbage collector runs.
            return error.with_traceback(None)
        except BaseException as error:  # noqa: BLE001 - whatever the user's function raises is the reason
            return ScriptFailed(f"on-connect function: {self._wire.describe_error(error)}")
        return None

    def _report(self, session: int, error: Exception | None) -> None:
        connection = self._driver.connection
        self._driver.post(lambda: connection.script_ended(session, error, time.monotonic()))
