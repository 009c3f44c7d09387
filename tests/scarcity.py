"""Leave a process nothing for a moment, and give it back."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def _opened() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        return None


@contextmanager
def no_files_left(but: int = 0) -> Iterator[None]:
    """Let this process open no file, socket or directory in the block, but so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    # Only numbers below the limit are given out: what is open stays open, and the gaps are filled.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        while (number := _opened()) is not None:
            held.append(number)
        for _ in range(but):
            os.close(held.pop())
        yield
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
