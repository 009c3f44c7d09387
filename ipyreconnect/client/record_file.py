"""The file of a record, and the rows that are still to be written to it; decides nothing."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from bisect import bisect_right

__all__ = ["RecordFile", "Rows"]

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has no such files


class Rows:
    """The rows to be written next, each with the number of the line that follows it."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []
        self._numbers: list[int] = []
        self._at = 0  # bytes of the first row that are written
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, row: bytes, number: int) -> None:
        """Append a row with its line end; with it, the file has all lines before line `number`."""
        self._rows.append(row)
        self._numbers.append(number)
        self.size += len(row)

    @property
    def is_inside_one(self) -> bool:
        """Whether the first row is written in part."""
        return self._at > 0

    def rewind(self) -> None:
        """Write the first row from its beginning again."""
        self._at = 0

    def left(self) -> bytes:
        """Return the bytes to be written."""
        return b"".join(self._rows)[self._at :]

    def written(self, size: int) -> int | None:
        """Note that `size` more bytes are written.

        Returns:
            The number of the line after the last row that is whole; None if none of them became whole.
        """
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
    """The file with the record's name, open for appending, without a buffer.

    Every method may raise OSError. One thread at a time may use it.

    Attributes:
        is_regular: Whether it is a regular file. Only those outlive their last reader, and are moved away by
            programs that rotate logs.
        is_torn: Whether its last row has no end, as its writer was killed: the next row would be lost too.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.open()

    def open(self) -> None:
        """Open the file that has the name now; the one before must be closed already."""
        self._fd = -1
        self._fd = _open_without_waiting(self._path)
        self._status = os.fstat(self._fd)
        self.is_regular = stat.S_ISREG(self._status.st_mode)
        self.is_torn = self.is_regular and self._status.st_size > 0 and not self._ends_with_a_row()

    def _ends_with_a_row(self) -> bool:
        try:
            with open(self._path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"
        except OSError:  # it is write-only, or has just been truncated
            return True

    @property
    def was_moved(self) -> bool:
        """Whether another file, or no file, has the name now."""
        if not self.is_regular:
            return False
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(status, self._status)

    @property
    def place(self) -> tuple[int, int, int]:
        """The identity of the file (device, inode) and its size in bytes."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino, status.st_size

    def write(self, data: bytes) -> int:
        """Write `data`, or the first part of it; return how many bytes are written."""
        written = os.write(self._fd, data)
        if not written:  # no system does that, but it would make the caller try for ever
            raise OSError(errno.EIO, "nothing of it was taken")
        return written

    def close(self) -> None:
        """Close it; does nothing the second time."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _open_without_waiting(path: str) -> int:
    """Open a file for appending, without waiting for a reader if it is a named pipe (fifo(7)).

    Without a reader, this raises OSError with ENXIO. Writing to it does wait.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags | _NO_WAIT, 0o666)
    if _NO_WAIT:
        os.set_blocking(fd, True)
    return fd
