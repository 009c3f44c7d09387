"""The file of a record, and the rows that are still to be written into it; decides nothing."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from bisect import bisect_right

__all__ = ["RecordFile", "Rows"]

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has no such files


class Rows:
    """The rows that are to be written next, each with the number of the line behind it."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []
        self._numbers: list[int] = []
        self._at = 0  # bytes of the first row that were written
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, row: bytes, number: int) -> None:
        """Append a row, with its line end, for the lines up to, not with, line `number`."""
        self._rows.append(row)
        self._numbers.append(number)
        self.size += len(row)

    @property
    def is_inside_one(self) -> bool:
        """Whether only a part of the first row was written."""
        return self._at > 0

    def rewind(self) -> None:
        """Have the first row written whole."""
        self._at = 0

    def left(self) -> bytes:
        """Return what is to be written."""
        return b"".join(self._rows)[self._at :]

    def written(self, size: int) -> int | None:
        """Note that so many more bytes were written; return up to which line that was, None: no whole row."""
        size += self._at
        ends = [*itertools.accumulate(map(len, self._rows))]
        count = bisect_right(ends, size)
        if not count:
            self._at = size
            return None
        number = self._numbers[count - 1]
        self._at = size - ends[count - 1]
        self.size -= ends[count - 1]
        del self._rows[:count], self._numbers[:count]
        return number


class RecordFile:
    """The file that bears the record's name, open for appending. Nothing is buffered.

    Each method may raise OSError. One thread at a time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.open()

    def open(self) -> None:
        """Open what has the name now; what was open before is closed already."""
        self._fd = -1
        self._fd = _open_at_once(self._path)
        self._status = os.fstat(self._fd)
        # Only these stay when their last reader has gone, and are moved away by who keeps them for long.
        self.is_regular = stat.S_ISREG(self._status.st_mode)
        self.is_torn = self.is_regular and self._status.st_size > 0 and not self._ends_with_a_row()
        """Whether its last row has no end, as its writer was killed: what follows would be lost with it."""

    def _ends_with_a_row(self) -> bool:
        try:
            with open(self._path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:  # it may be written only, or was emptied just now
            return True

    @property
    def was_moved(self) -> bool:
        """Whether another file, or none, has the name now."""
        if not self.is_regular:
            return False
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(status, self._status)

    @property
    def place(self) -> tuple[int, int, int]:
        """Which file it is, and where it ends."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino, status.st_size

    def write(self, data: bytes) -> int:
        """Write data, or its beginning; return how many bytes that was."""
        written = os.write(self._fd, data)
        if not written:  # no system's file does that; but else who writes on would do so for ever
            raise OSError(errno.EIO, "nothing of it was taken")
        return written

    def close(self) -> None:
        """Close it; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _open_at_once(path: str) -> int:
    """Open a file to append to it, but wait for nobody who reads it, as a pipe does (fifo(7)): ENXIO says
    that there is none. Writing to it does wait.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags | _NO_WAIT, 0o666)
    if _NO_WAIT:
        os.set_blocking(fd, True)
    return fd
