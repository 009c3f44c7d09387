"""Appends every line of a transcript to a file as it happens, on a thread of its own: no I/O waits for it.

The file has one JSON object a line (see `to_json` in lines/files.py), with secrets masked as in the log. If
it cannot be written (the disk is full, say), this is reported once, and retried until it can be. What the
transcript keeps meanwhile is not lost; what is lost is reported, in the record as well.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import Overrun, ReconnectError, SettingsError
from ..forking import Stage, in_child
from ..lines.files import to_json
from ..lines.line import Line
from ..lines.text import counted
from ..lines.transcript import Transcript
from ..network.driver import Driver
from ..network.flow_control import ReaderPosition
from ..network.interrupts import guard
from ..protocol.state import State
from .record_file import RecordFile, Rows

__all__ = ["Recorder"]

STEP = 4096
"""Lines that are read from the transcript at a time."""
AT_ONCE = 256 * 1024
"""Bytes that are written at once. While the disk is full, they wait in memory: this is also the most memory
that takes, except for a single line that is longer."""
PATIENCE = 2.0
"""Seconds that stops wait altogether for records that cannot be written. The interpreter's exit waits that
long after the last time that a record has written something."""
LEAST_PATIENCE = 0.1
"""Seconds that a stop waits for its own record though others are stuck; a working disk takes milliseconds."""
LOOK_EVERY = 0.05
"""Seconds between two looks at the exit whether a record makes progress."""
TRY_AGAIN = 1.0
"""Seconds until writing is retried after a failure."""
CALM = 5.0
"""Seconds without a failure after which writing counts as working again: a disk that others keep filling and
emptying must not cause two messages a second."""

# Guards the start and the end of all runs, for microseconds. Reentrant, as a signal handler may connect.
_lock = threading.RLock()
_running: dict[threading.Thread, Recorder] = {}
_stuck: dict[threading.Thread, float] = {}
"""Runs that a stop has waited for in vain, and for how many seconds; nothing waits for them any more."""

log = logging.getLogger("ipyreconnect")


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _running.clear()
    _stuck.clear()


in_child(Stage.RECORDS, _after_fork_in_child)


@atexit.register
def _at_exit() -> None:
    """Stop all recorded clients, and wait for all records together."""
    running = {thread: recorder for thread, recorder in tuple(_running.items()) if thread not in _stuck}
    for recorder in running.values():
        recorder.at_exit()
    _wait_for_progress(running)
    for thread, recorder in running.items():
        if thread.is_alive():
            log.warning(
                "the record %s is not complete: it has taken nothing for %g s, and the program ends",
                recorder.path,
                PATIENCE,
            )


def _wait_for_progress(running: dict[threading.Thread, Recorder]) -> None:
    """Wait until these runs have ended, or PATIENCE seconds after the last time that one has written a line.

    A slow disk is waited for: after the interpreter's exit, nothing would write the rest.
    """
    written, ends = -1, 0.0
    while alive := [thread for thread in running if thread.is_alive()]:
        now = time.monotonic()
        progress = sum(recorder.written for recorder in running.values())
        if progress != written:
            written, ends = progress, now + PATIENCE
        elif now >= ends:
            return
        alive[0].join(LOOK_EVERY)


class Recorder:
    """The record of one client; made by `Client`.

    A *run* is a thread that writes until the client is stopped. The next run continues where it ended. If the
    client is started while a run is still writing, that run continues, however slow the disk is.

    Args:
        path: The file, relative to the current folder.
        driver: The client's driver.
        transcript: The client's transcript.

    Raises:
        SettingsError: The file cannot be written; nothing has been started.
    """

    def __init__(self, path: str, driver: Driver, transcript: Transcript) -> None:
        # Absolute, as the user may change the current folder before the next run.
        self.path = os.path.abspath(path)
        self._driver = driver
        self._transcript = transcript
        self._rows = Rows()
        self._next = transcript.end  # the number of the line to read next
        self.written = self._next
        """The file has all lines before the line with this number."""
        self._left_at: tuple[int, int, int] | None = None  # the file in which a row is written in part
        self._trouble = ""
        self._missing = 0  # lines that are lost since the trouble began
        self._failed_at = 0.0
        self._thread: threading.Thread | None = None  # of the last run
        self._runs = False  # whether it has not decided to end yet
        self._starts = 0  # calls of `start` that are under way: no run ends meanwhile
        if not Path(self.path).is_fifo():  # a pipe's reader would take it for the end of the record
            self._open().close()

    def _open(self) -> RecordFile:
        try:
            return RecordFile(self.path)
        except OSError as error:
            raise SettingsError(f"cannot write the record {self.path}: {_why(error)}") from None

    def start(self, connect: Callable[[], None]) -> None:
        """Call `connect`, and record until the client is stopped. Safe to call repeatedly, from any thread.

        Args:
            connect: Starts the connection.

        Raises:
            SettingsError: The file cannot be written; nothing has been done.
            ReconnectError: No thread could be started; nothing has been done.
        """
        # Shielded from Ctrl-C: if `_starts` were not decreased, the run would never end.
        shield = guard()
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
                self._driver.post(_nothing)  # wakes the run: the client may have been stopped meanwhile
        finally:
            if shield is not None:
                shield.lift()

    @property
    def _is_running(self) -> bool:
        # In the child of a fork, the thread does not exist.
        return self._runs and self._thread is not None and self._thread.is_alive()

    def _begin_run(self, file: RecordFile) -> None:
        with _lock:
            if self._is_running:  # another thread was quicker
                file.close()
                return
            thread = threading.Thread(target=self._run, args=(file,), name="ipyreconnect-record", daemon=True)
            self._runs = True
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:  # too many threads
                self._runs = False
                file.close()
                why = str(error) or "there is no memory for its thread"
                raise ReconnectError(f"cannot write the record {self.path}: {why}") from None
            self._thread = thread
            _running[thread] = self

    def join(self) -> None:
        """Wait until the last line is written. Safe to call from any thread.

        It waits PATIENCE seconds at most; less if other stops have waited in vain for stuck records.
        """
        thread, connection = self._thread, self._driver.connection
        with _lock:
            if thread is None or thread is threading.current_thread() or thread in _stuck:
                return
            patience = max(LEAST_PATIENCE, PATIENCE - sum(_stuck.values()))
        began = time.monotonic()
        # Another thread may have connected again: then this run continues.
        self._driver.wait(lambda: not self._is_running or connection.state is not State.STOPPED, patience)
        if connection.state is not State.STOPPED:
            return
        if not self._is_running:
            thread.join(max(0.0, began + patience - time.monotonic()))
        with _lock:
            if thread not in _running or thread in _stuck:
                return
            _stuck[thread] = time.monotonic() - began
        log.warning(
            "the record %s takes nothing: stop waits for it no longer, and the rest is written once it does",
            self.path,
        )

    def at_exit(self) -> None:
        """Stop the client for good: the interpreter exits."""
        self._driver.at_exit()

    # -- a run -----------------------------------------------------------------------------------------------

    def _run(self, file: RecordFile | None) -> None:
        place = ReaderPosition(self._next)
        self._driver.register_reader(place)
        try:
            over = False
            while not over:
                last = self._may_end  # asked first, so that what came before a stop is tried once more
                file = self._try_to_write(file, place)
                failed = file is None
                over = self._end_if_over(gives_up=last and failed)
                if not over:
                    self._wait(failed=failed)
        finally:
            self._driver.unregister_reader(place)
            if file is not None:
                self._close(file)
            with _lock:
                _running.pop(threading.current_thread(), None)
                _stuck.pop(threading.current_thread(), None)

    def _try_to_write(self, file: RecordFile | None, place: ReaderPosition) -> RecordFile | None:
        """Write all new lines; return the open file, None if it cannot be written now."""
        try:
            if file is None:
                file = RecordFile(self.path)
            self._write_all(file, place)
        except OSError as error:
            self._begin_trouble(
                _why(error),
                f"cannot be written: {_why(error)}; it is tried again every {TRY_AGAIN:g} s, and what the "
                "transcript keeps until then is not lost",
            )
            if file is not None:
                self._leave(file)
            return None
        self._end_trouble()
        return file

    def _wait(self, *, failed: bool) -> None:
        transcript = self._transcript
        if failed:
            self._driver.wait(lambda: self._may_end, TRY_AGAIN)
        else:
            again = TRY_AGAIN if self._trouble else None
            self._driver.wait(lambda: transcript.end > self._next or self._may_end, again)

    @property
    def _may_end(self) -> bool:
        return not self._starts and self._driver.connection.state is State.STOPPED

    def _end_if_over(self, *, gives_up: bool) -> bool:
        """End the run if the client is stopped and everything is written, or cannot be written.

        This is decided with `_lock` held: a `start` that comes later begins another run.

        Args:
            gives_up: Whether to end the run though not everything is written.

        Returns:
            Whether the run has ended.
        """
        if self._may_end:
            self._driver.call(_nothing)  # waits for the step that stopped it, which adds the last lines
        with _lock:
            # In this order, so that what came before the stop is written.
            if not self._may_end or (self._has_more and not gives_up):
                return False
            self._runs = False
            trouble, missing, first = self._trouble, self._missing, self.written
            self._trouble, self._missing = "", 0
        if gives_up:
            lost = f"; {_missing(missing)} for good" if missing else ""
            self._report(
                f"the record {self.path} lacks the lines from {first} on ({trouble}): the next connect tries "
                f"to write them, transcript.save(FILE) writes them elsewhere{lost}"
            )
        elif trouble:
            self._report(f"the record {self.path} has ended; {_missing(missing)}")
        self._driver.post(_nothing)  # wakes `join`
        return True

    @property
    def _has_more(self) -> bool:
        return bool(self._rows) or self._transcript.end > self._next

    # -- writing ---------------------------------------------------------------------------------------------

    def _write_all(self, file: RecordFile, place: ReaderPosition) -> None:
        """Write all new lines; may raise OSError."""
        transcript = self._transcript
        while True:
            while self._rows:
                self._write_rows(file)
                self._driver.advanced(place, self._next)
            end = transcript.end
            if self._next >= end:
                self.written = self._next
                return
            self._make_rows(min(end, self._next + STEP))

    def _make_rows(self, stop: int) -> None:
        """Make rows of the next lines before number `stop`, until there are enough."""
        if (first := self._transcript.oldest) > self._next:
            gap = f"lines {self._next} to {first - 1} were forgotten before they could be written"
            row = to_json(Line(gap.encode(), time.time(), "*", first - 1))
            self._rows.add(f"{row}\n".encode("ascii"), first)
            missing = first - self._next
            self._next = first
            self._missing += missing
            self._begin_trouble(
                "too slow",
                f"is written too slowly: lines {first - missing} to {first - 1} are missing from it",
            )
        try:
            for line in self._transcript.lines(self._next, stop, strict=True):
                self._next = line.number + 1
                self._rows.add(f"{to_json(line)}\n".encode("ascii"), self._next)
                if self._rows.size >= AT_ONCE:
                    return
        except Overrun:
            return  # the next call reports what is missing
        self._next = max(self._next, stop)

    def _write_rows(self, file: RecordFile) -> None:
        """Write some of the rows to the file that has the name now; may raise OSError."""
        if file.was_moved:
            self._rows.rewind()
            self._close(file)
            file.open()
        if self._rows.is_inside_one and self._left_at not in (None, file.place):
            self._rows.rewind()  # another program has written since, or it is another file
        self._left_at = None
        if file.is_torn and not self._rows.is_inside_one:
            file.write(b"\n")
        file.is_torn = False
        number = self._rows.written(file.write(self._rows.left()))
        if number is not None:
            self.written = number
        self._note_progress()

    def _note_progress(self) -> None:
        """Note that this run is not stuck any more."""
        if _stuck:
            with _lock:
                _stuck.pop(threading.current_thread(), None)

    def _leave(self, file: RecordFile) -> None:
        """Close a file that cannot be written now; the next attempt opens what has the name then."""
        self._left_at = None
        if self._rows.is_inside_one:
            try:
                self._left_at = file.place if file.is_regular else (0, 0, 0)
            except OSError:
                self._rows.rewind()
        self._close(file)

    def _close(self, file: RecordFile) -> None:
        try:
            file.close()
        except OSError as error:  # a network disk may report only now that it could not store the data
            self._report(f"the record {self.path} may lack what was written last: {_why(error)}")

    # -- reporting -------------------------------------------------------------------------------------------

    def _begin_trouble(self, reason: str, message: str) -> None:
        self._failed_at = time.monotonic()
        if not self._trouble:
            self._report(f"the record {self.path} {message}")
        self._trouble = reason

    def _end_trouble(self) -> None:
        if self._trouble and time.monotonic() - self._failed_at >= CALM:
            missing, self._missing, self._trouble = self._missing, 0, ""
            self._report(f"the record {self.path} is up to date again; {_missing(missing)}")

    def _report(self, text: str) -> None:
        """Report to the user: as a warning in the program's log, and as a note in the transcript."""
        log.warning("%s", text)
        connection = self._driver.connection
        self._driver.post(lambda: connection.note(text, time.monotonic()))


def _missing(count: int) -> str:
    lines = counted(count, "line")
    return (
        f"{lines} {'is' if count == 1 else 'are'} missing from it" if count else "nothing is missing from it"
    )


def _why(error: OSError) -> str:
    return "nobody reads it" if error.errno == errno.ENXIO else error.strerror or str(error)


def _nothing() -> None:
    pass
