"""A thread for what the user asks of a panel: it may wait, which no other thread of the panel may."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ...errors import ReconnectError

__all__ = ["Commands", "explain"]


def explain(error: BaseException) -> str:
    """Return an error as one line for the user; one that is not ours with its type."""
    text = " ".join(str(error).split())
    return (
        text
        if isinstance(error, (ReconnectError, ValueError)) and text
        else f"{type(error).__name__}: {text}"
    )


class Commands:
    """Runs what the user asked for, in order, on a thread that lives while there is something to do."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Callable[[], object], Callable[[BaseException], None]]] = deque()
        self._lock = threading.Lock()
        self._running = False

    def submit(self, command: Callable[[], object], failed: Callable[[BaseException], None]) -> None:
        """Run a command soon. Any thread; never blocks.

        Args:
            command: what to run.
            failed: gets what it raises, on the same thread; on the caller's where no thread can be started.

        """
        with self._lock:
            self._queue.append((command, failed))
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="ipyreconnect-commands", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # too many threads: the next one may be started again
            with self._lock:
                self._running = False
                waiting, self._queue = self._queue, deque()
            for _, failed in waiting:
                failed(error)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running = False
                    return
                command, failed = self._queue.popleft()
            try:
                command()
            except Exception as error:  # noqa: BLE001 - the panel shows it; from a callback it would vanish
                failed(error)
