"""Appends every line of a transcript to a file as it happens, on its own thread: no I/O waits for the disk.

The file holds one JSON object a line (see `to_json` in protocol/transcript.py), masked like the log.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import IO

from .errors import Overrun, SettingsError
from .network.driver import Driver, Follower
from .protocol.state import State
from .protocol.transcript import Line, Transcript, to_json

__all__ = ["Recorder"]

STEP = 4096
"""Lines that are written between two looks at what is new."""
EXIT_PATIENCE = 2.0
"""Seconds that a stop waits for the last lines to be written."""


class Recorder:
    """One record file of one client; made by `Client`.

    Raises SettingsError when the file cannot be written, before anything starts.
    """

    def __init__(self, path: str | os.PathLike[str], driver: Driver, transcript: Transcript) -> None:
        self._path = os.fspath(path)
        self._driver = driver
        self._transcript = transcript
        self._next = transcript.end
        self._thread: threading.Thread | None = None
        self._open().close()

    def _open(self) -> IO[str]:
        try:
            return open(self._path, "a", encoding="ascii", newline="\n")
        except OSError as error:
            raise SettingsError(f"cannot write the record {self._path}: {error.strerror}") from None

    def start(self) -> None:
        """Record from where it ended, until the connection is stopped. Any thread; harmless when it runs."""
        if self._thread is None or not self._thread.is_alive():
            file = self._open()
            self._thread = threading.Thread(
                target=self._run, args=(file,), name="ipyreconnect-record", daemon=True
            )
            atexit.register(self._at_exit)
            self._thread.start()

    def join(self) -> None:
        """Wait until the last line is written, at most 2 s. Any thread but the recorder's own."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(EXIT_PATIENCE)

    def _at_exit(self) -> None:
        self._driver.call(lambda: self._driver.connection.stop(time.monotonic()))
        self.join()

    def _run(self, file: IO[str]) -> None:
        place = Follower(self._next)
        self._driver.begin_following(place)
        transcript, connection = self._transcript, self._driver.connection

        def stopped() -> bool:
            return connection.state is State.STOPPED

        try:
            with file:
                # It is started just before the connection.
                self._driver.wait(lambda: not stopped(), EXIT_PATIENCE)
                while True:
                    over = stopped()
                    end = transcript.end
                    while self._next < end:
                        self._write(file, min(end, self._next + STEP))
                        self._driver.followed(place, self._next)
                    file.flush()
                    if over:
                        return
                    self._driver.wait(lambda: transcript.end > self._next or stopped(), None)
        except OSError as error:
            text = f"the record {self._path} ended at line {self._next}: {error.strerror}"
            self._driver.post(lambda: connection.note(text, time.monotonic()))
        finally:
            self._driver.end_following(place)
            atexit.unregister(self._at_exit)

    def _write(self, file: IO[str], stop: int) -> None:
        if (first := self._transcript.first) > self._next:
            gap = f"lines {self._next} to {first - 1} were forgotten before they could be written"
            file.write(to_json(Line(gap.encode(), time.time(), "*", first - 1)) + "\n")
            self._next = first
        try:
            for line in self._transcript.lines(self._next, stop, strict=True):
                file.write(to_json(line) + "\n")
                self._next = line.number + 1
        except Overrun:
            return  # the next call says what is missing
        self._next = max(self._next, stop)
