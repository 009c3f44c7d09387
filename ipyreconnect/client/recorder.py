"""Appends every line of a transcript to a file as it happens, on its own thread: no I/O waits for the disk.

The file holds one JSON object a line (see `to_json` in protocol/line.py), masked like the log. Where it
cannot be written (the disk is full, say), that is told once, and tried again until it can be: what the
transcript keeps meanwhile is not lost, and what is lost is said, in the record as well.
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
from ..network.driver import Driver, Follower
from ..network.interrupts import guard
from ..protocol.state import State
from .record_file import RecordFile, Rows

__all__ = ["Recorder"]

STEP = 4096
"""Lines that are taken between two looks at what is new."""
AT_ONCE = 256 * 1024
"""Bytes that are written at once. What is taken from the transcript waits in memory while the disk is full,
so this is also how much memory that takes, but for a single line that is longer."""
PATIENCE = 2.0
"""Seconds that stops, or the interpreter's exit, wait for all records together that take nothing any more."""
LEAST_PATIENCE = 0.1
"""Seconds that a stop waits for its record though others are stuck: a disk that works takes milliseconds."""
TRY_AGAIN = 1.0
"""Seconds after which writing is tried again when it has failed."""
CALM = 5.0
"""Seconds without a failure after which a trouble is over: a disk that others fill and empty all the time
must not bring two messages a second."""

# Guards the beginnings and ends of all runs: microseconds each. Reentrant, as a signal's handler may connect.
_lock = threading.RLock()
_running: dict[threading.Thread, Recorder] = {}
_stuck: dict[threading.Thread, float] = {}
"""Runs that a stop has waited for in vain, and for how many seconds. They are waited for no more."""

log = logging.getLogger("ipyreconnect")


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _running.clear()
    _stuck.clear()


in_child(Stage.RECORDS, _after_fork_in_child)


@atexit.register
def _at_exit() -> None:
    """Stop what records, and wait for all of it together."""
    running = {thread: recorder for thread, recorder in tuple(_running.items()) if thread not in _stuck}
    for recorder in running.values():
        recorder.at_exit()
    ends = time.monotonic() + PATIENCE
    for thread, recorder in running.items():
        thread.join(max(0.0, ends - time.monotonic()))
        if thread.is_alive():
            log.warning(
                "the record %s is not complete: it has taken nothing for %g s, and the program ends",
                recorder.path,
                PATIENCE,
            )


class Recorder:
    """One record of one client; made by `Client`.

    A *run* is a thread that writes until the connection is stopped. The next run goes on where it ended; a
    connection that is started while a run is still writing has that run go on, however slow the disk is.

    Raises SettingsError when the file cannot be written, before anything starts.
    """

    def __init__(self, path: str, driver: Driver, transcript: Transcript) -> None:
        # As it is now: the user may change folders before the next run.
        self.path = os.path.abspath(path)
        self._driver = driver
        self._transcript = transcript
        self._rows = Rows()
        self._next = transcript.end  # of the line that is taken next
        self._written = self._next  # up to which line the file has everything
        self._left_at: tuple[int, int, int] | None = None  # where a row was left that is written to a part
        self._trouble = ""
        self._missing = 0  # lines, since that began
        self._failed_at = 0.0
        self._thread: threading.Thread | None = None  # of the latest run
        self._runs = False  # until it has decided to end
        self._starts = 0  # how many are about to start the connection: then none ends
        if not Path(self.path).is_fifo():  # whose reader would take this for the end
            self._open().close()

    def _open(self) -> RecordFile:
        try:
            return RecordFile(self.path)
        except OSError as error:
            raise SettingsError(f"cannot write the record {self.path}: {_why(error)}") from None

    def start(self, connect: Callable[[], None]) -> None:
        """Do `connect`, and record until the connection is stopped. Any thread; harmless when it runs.

        Raises SettingsError when the file cannot be written, ReconnectError when there is no thread to be
        had; then nothing was done.
        """
        # Ctrl-C must tear none of it: a start that is counted for ever keeps the run for ever.
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
                self._driver.post(_nothing)  # the run looks again, as it may have been stopped meanwhile
        finally:
            if shield is not None:
                shield.lift()

    @property
    def _is_running(self) -> bool:
        # In a child process there is no such thread.
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
        """Wait until the last line is written, 2 s at most, less where other stops have waited in vain for
        records that are stuck. Any thread but the recorder's own.
        """
        thread, connection = self._thread, self._driver.connection
        with _lock:
            if thread is None or thread is threading.current_thread() or thread in _stuck:
                return
            patience = max(LEAST_PATIENCE, PATIENCE - sum(_stuck.values()))
        began = time.monotonic()
        # Another thread may connect anew at once: then this run goes on.
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
        """Stop, as the interpreter ends: nobody connects anew."""
        self._driver.at_exit()

    # -- a run -----------------------------------------------------------------------------------------------

    def _run(self, file: RecordFile | None) -> None:
        place = Follower(self._next)
        self._driver.begin_following(place)
        try:
            over = False
            while not over:
                last = self._may_end  # asked first: what came before a stop is tried once more
                file = self._try_to_write(file, place)
                failed = file is None
                over = self._end_if_over(gives_up=last and failed)
                if not over:
                    self._wait(failed=failed)
        finally:
            self._driver.end_following(place)
            if file is not None:
                self._close(file)
            with _lock:
                _running.pop(threading.current_thread(), None)
                _stuck.pop(threading.current_thread(), None)

    def _try_to_write(self, file: RecordFile | None, place: Follower) -> RecordFile | None:
        """Write all that there is; return the file, None where it cannot be written now."""
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
        """End the run if the connection is stopped and all is written, or cannot be. Decided under the lock:
        whoever starts the connection afterwards begins another.
        """
        if self._may_end:
            self._driver.call(_nothing)  # the step that stopped it is over: its last lines are there
        with _lock:
            # In this order: what came before the stop is written.
            if not self._may_end or (self._has_more and not gives_up):
                return False
            self._runs = False
            trouble, missing, first = self._trouble, self._missing, self._written
            self._trouble, self._missing = "", 0
        if gives_up:
            lost = f"; {_missing(missing)} for good" if missing else ""
            self._tell(
                f"the record {self.path} lacks the lines from {first} on ({trouble}): the next connect tries "
                f"to write them, transcript.save(FILE) writes them elsewhere{lost}"
            )
        elif trouble:
            self._tell(f"the record {self.path} has ended; {_missing(missing)}")
        self._driver.post(_nothing)  # for who waits for it
        return True

    @property
    def _has_more(self) -> bool:
        return bool(self._rows) or self._transcript.end > self._next

    # -- writing ---------------------------------------------------------------------------------------------

    def _write_all(self, file: RecordFile, place: Follower) -> None:
        """Write all that there is. Raises OSError."""
        transcript = self._transcript
        while True:
            while self._rows:
                self._write_rows(file)
                self._driver.followed(place, self._next)
            end = transcript.end
            if self._next >= end:
                self._written = self._next
                return
            self._take(min(end, self._next + STEP))

    def _take(self, stop: int) -> None:
        """Make rows of the next lines, up to `stop` at most."""
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
            return  # the next call says what is missing
        self._next = max(self._next, stop)

    def _write_rows(self, file: RecordFile) -> None:
        """Write some of the rows, into what has the name now. Raises OSError."""
        if file.was_moved:
            self._rows.rewind()
            self._close(file)
            file.open()
        if self._rows.is_inside_one and self._left_at not in (None, file.place):
            self._rows.rewind()  # somebody else has written since, or it is another file
        self._left_at = None
        if file.is_torn and not self._rows.is_inside_one:
            file.write(b"\n")
        file.is_torn = False
        number = self._rows.written(file.write(self._rows.left()))
        if number is not None:
            self._written = number
        self._takes_something()

    def _takes_something(self) -> None:
        """Have stops wait for this run again."""
        if _stuck:
            with _lock:
                _stuck.pop(threading.current_thread(), None)

    def _leave(self, file: RecordFile) -> None:
        """Close a file that cannot be written now: the next try opens what has the name then."""
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
        except OSError as error:  # of a network's disk, which has taken what it cannot keep
            self._tell(f"the record {self.path} may lack what was written last: {_why(error)}")

    # -- telling ---------------------------------------------------------------------------------------------

    def _begin_trouble(self, reason: str, told: str) -> None:
        self._failed_at = time.monotonic()
        if not self._trouble:
            self._tell(f"the record {self.path} {told}")
        self._trouble = reason

    def _end_trouble(self) -> None:
        if self._trouble and time.monotonic() - self._failed_at >= CALM:
            missing, self._missing, self._trouble = self._missing, 0, ""
            self._tell(f"the record {self.path} is up to date again; {_missing(missing)}")

    def _tell(self, text: str) -> None:
        """Say in the log, which is shown and recorded, and where the program's warnings go, what the user
        would not want to find out in a month.
        """
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
