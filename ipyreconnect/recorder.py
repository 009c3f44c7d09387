"""Appends every line of a transcript to a file as it happens, on its own thread: no I/O waits for the disk.

The file holds one JSON object a line (see `to_json` in protocol/transcript.py), masked like the log.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import Overrun, ReconnectError, SettingsError
from .network.driver import Driver, Follower
from .network.interrupts import guard
from .protocol.state import State
from .protocol.transcript import Line, Transcript, to_json

__all__ = ["Recorder"]

STEP = 4096
"""Lines that are written between two looks at what is new."""
EXIT_PATIENCE = 2.0
"""Seconds that a stop waits for the last lines to be written."""

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has no such files

# Guards the beginnings and ends of all runs: microseconds each. Reentrant, as a signal's handler may connect.
_lock = threading.RLock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Recorder:
    """One record file of one client; made by `Client`.

    A *run* is a thread that writes until the connection is stopped. The next run goes on where it ended; a
    connection that is started while a run is still writing has that run go on, however slow the disk is.

    Raises SettingsError when the file cannot be written, before anything starts.
    """

    def __init__(self, path: str, driver: Driver, transcript: Transcript) -> None:
        # As it is now: the user may change folders before the next run.
        self._path = os.path.abspath(path)
        self._driver = driver
        self._transcript = transcript
        self._next = transcript.end
        self._thread: threading.Thread | None = None  # of the latest run
        self._runs = False  # until it has decided to end
        self._starts = 0  # how many are about to start the connection: then none ends
        if not Path(self._path).is_fifo():  # whose reader would take this for the end
            self._open().close()

    def _open(self) -> IO[str]:
        try:
            return open(self._path, "a", encoding="ascii", newline="\n", opener=_open_at_once)
        except OSError as error:
            why = "nobody reads it" if error.errno == errno.ENXIO else error.strerror
            raise SettingsError(f"cannot write the record {self._path}: {why}") from None

    @property
    def _is_torn(self) -> bool:
        """Whether the last line has no end, as its writer was killed: what follows would be lost with it."""
        if not os.path.isfile(self._path):  # a terminal or a pipe, say
            return False
        try:
            with open(self._path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # it is empty, or may be written only
            return False

    def start(self, connect: Callable[[], None]) -> None:
        """Do `connect`, and record until the connection is stopped. Any thread; harmless when it runs.

        Raises SettingsError when the file cannot be written, ReconnectError when there is no thread to be
        had; then nothing was done.
        """
        shield = (
            guard()
        )  # Ctrl-C must tear none of it: a start that is counted for ever keeps the run for ever
        try:
            with _lock:
                self._starts += 1  # from here on no run ends
            try:
                if not self._is_running:
                    self._begin_run(self._open())
                connect()
            finally:
                with _lock:
                    self._starts -= 1
                self._driver.post(_nothing)  # the run looks again, as it may have been stopped meanwhile
        finally:
            if shield is not None:
                shield.lift()

    @property
    def _is_running(self) -> bool:
        # In a child process there is no such thread.
        return self._runs and self._thread is not None and self._thread.is_alive()

    def _begin_run(self, file: IO[str]) -> None:
        with _lock:
            if self._is_running:  # another thread was quicker
                file.close()
                return
            thread = threading.Thread(target=self._run, args=(file,), name="ipyreconnect-record", daemon=True)
            self._runs = True
            try:
                thread.start()
            except RuntimeError as error:  # too many threads
                self._runs = False
                file.close()
                raise ReconnectError(f"cannot write the record {self._path}: {error}") from None
            self._thread = thread
            atexit.register(self._at_exit)

    def join(self) -> None:
        """Wait until the last line is written, at most 2 s. Any thread but the recorder's own."""
        thread, connection = self._thread, self._driver.connection
        if thread is None or thread is threading.current_thread():
            return
        # Another thread may connect anew at once: then this run goes on.
        self._driver.wait(
            lambda: not self._is_running or connection.state is not State.STOPPED, EXIT_PATIENCE
        )
        if not self._is_running:
            thread.join(EXIT_PATIENCE)

    def _at_exit(self) -> None:
        # Unlike `join`: here nobody connects anew, and the stop itself is still to come.
        self._driver.at_exit()
        thread = self._thread
        if thread is not None:
            thread.join(EXIT_PATIENCE)

    def _run(self, file: IO[str]) -> None:
        place = Follower(self._next)
        self._driver.begin_following(place)
        transcript, connection = self._transcript, self._driver.connection
        try:
            with file:
                if self._is_torn:
                    file.write("\n")
                while not self._is_over():
                    end = transcript.end
                    while self._next < end:
                        self._write(file, min(end, self._next + STEP))
                        self._driver.followed(place, self._next)
                    file.flush()
                    self._driver.wait(lambda: transcript.end > self._next or self._may_end, None)
        except OSError as error:
            self._end_run()
            text = f"the record {self._path} ended at line {self._next}: {error.strerror}"
            self._driver.post(lambda: connection.note(text, time.monotonic()))
        finally:
            self._driver.end_following(place)

    @property
    def _may_end(self) -> bool:
        return not self._starts and self._driver.connection.state is State.STOPPED

    def _is_over(self) -> bool:
        """End the run if the connection is stopped and all is written. Decided under the lock: whoever starts
        the connection afterwards begins another.
        """
        with _lock:
            # In this order: what came before the stop is written.
            over = self._may_end and self._transcript.end == self._next
            if over:
                self._end_run()
            return over

    def _end_run(self) -> None:
        with _lock:
            # Or another run has begun already, and only the closing of this one's file has failed.
            if self._thread is threading.current_thread():
                self._runs = False
                atexit.unregister(self._at_exit)
        self._driver.post(_nothing)  # for who waits for it

    def _write(self, file: IO[str], stop: int) -> None:
        if (first := self._transcript.oldest) > self._next:
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


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, but wait for nobody who reads it, as a pipe does (fifo(7)): ENXIO says that there is none.
    Writing to it does wait.
    """
    file = os.open(path, flags | _NO_WAIT, 0o666)
    if _NO_WAIT:
        os.set_blocking(file, True)
    return file


def _nothing() -> None:
    pass
