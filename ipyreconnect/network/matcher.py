"""Match lines against a regular expression in a process of its own; knows no transcript and no client.

Python's engine keeps the interpreter lock while it looks at a line, and an innocent expression can take for
ever over one line (`(a+)+$` over forty letters; `a.*b.*c` over a megabyte). Here it would take the kernel
with it. There it holds up nobody, and it can be ended.
"""

from __future__ import annotations

import marshal
import re
import subprocess
import sys
from contextlib import suppress
from typing import Any, cast

__all__ = ["Matcher", "TooSlow"]

Spans = tuple[int, tuple[tuple[int, int], ...], int | None, str | None]
"""The index of the text that matches, where in it each group begins and ends, the number of the last group
that matched, and its name."""

PATIENCE = 5.0
"""Seconds for one call; an ordinary expression takes a hundredth of one for the texts of a call."""

# It imports nothing of ours, so it is there within 30 ms. What watches over its time needs no
# interpreter lock, and does so also where the kernel is dead already.
_PROGRAM = """
import faulthandler, marshal, re, signal, sys
given, answers = sys.stdin.buffer, sys.stdout.buffer
def hear():
    size = int.from_bytes(given.read(8), "little")
    return marshal.loads(given.read(size)) if size else None
def first(texts):
    for index, text in enumerate(texts):
        if match := look(text):
            return index, match.regs, match.lastindex, match.lastgroup
pattern, flags, patience, work = hear()
look = re.compile(pattern, flags).search
limit = getattr(signal, "setitimer", None) if work else None
while asked := hear():
    every, texts = asked
    faulthandler.dump_traceback_later(patience, exit=True)
    if limit:
        limit(signal.ITIMER_VIRTUAL, work)
    found = [index for index, text in enumerate(texts) if look(text)] if every else first(texts)
    if limit:
        limit(signal.ITIMER_VIRTUAL, 0)
    faulthandler.cancel_dump_traceback_later()
    said = marshal.dumps(found)
    answers.write(len(said).to_bytes(8, "little") + said)
    answers.flush()
"""


class TooSlow(Exception):
    """The expression takes too long over some line, or the process was ended meanwhile."""


class Matcher:
    """The process. `among` and `first` are for one thread at a time; `close` and `kill` may be called from
    any other meanwhile.

    patience: seconds that one call may take. work: seconds of computing that it may take, where the system
    counts them: others that keep the processors busy do not count then; 0: no matter.
    """

    def __init__(self, pattern: re.Pattern[Any], patience: float = PATIENCE, work: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the kernel is not meant for it
        )
        self._tell((pattern.pattern, pattern.flags, patience, work))

    def among(self, texts: list[Any]) -> list[int]:
        """Return the indices of the texts in which the expression is found.

        Raises TooSlow; the process is gone then.
        """
        return cast("list[int]", self._ask(True, texts))

    def first(self, texts: list[Any]) -> Spans | None:
        """Return the first of the texts in which the expression is found, and where; None: in none of them.

        Raises TooSlow; the process is gone then.
        """
        return cast("Spans | None", self._ask(False, texts))

    def _ask(self, every: bool, texts: list[Any]) -> Any:
        self._tell((every, texts))
        answers = self._process.stdout
        assert answers is not None
        try:
            size = int.from_bytes(answers.read(8), "little")
            found = marshal.loads(answers.read(size))  # noqa: S302 - what our own program wrote
        except (EOFError, ValueError, TypeError, OSError):
            self.close()
            raise TooSlow from None
        return found

    def kill(self) -> None:
        """End the process, without waiting for its end; `close` is still to be called. Any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the process, whatever it is doing. Any thread, any number of times."""
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError, ValueError):  # of what was still to be written, or closed by another
                pipe and pipe.close()

    def _tell(self, what: Any) -> None:
        assert self._process.stdin is not None
        try:
            said = marshal.dumps(what)
            self._process.stdin.write(len(said).to_bytes(8, "little"))
            self._process.stdin.write(said)
            self._process.stdin.flush()
        except (OSError, ValueError):
            self.close()
            raise TooSlow from None
