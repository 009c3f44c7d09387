"""Matches lines against a regular expression in a process of its own; knows no transcript and no client.

Python's engine holds the interpreter's lock while it searches a line, and an innocent expression can take for
ever over one line (`(a+)+$` over forty letters; `a.*b.*c` over a megabyte). In this process, that would stop
every thread of the notebook's kernel. In another one it holds up nobody, and can be ended.
"""

from __future__ import annotations

import marshal
import os
import re
import subprocess
import sys
from contextlib import suppress
from typing import Any, Self, cast

from ..lines.effort import TooSlow, is_quick
from ..protocol.match import found_at

__all__ = ["Matcher", "Matchers"]

Spans = tuple[int, tuple[tuple[int, int], ...], int | None, str | None]
"""The index of the text that matches, where in it each group begins and ends, the number of the last group
that matched, and its name."""

PATIENCE = 5.0
"""Seconds that one call may take; an ordinary expression takes a hundredth of one for a call's texts."""

# It imports nothing of ours, so it is ready within 30 ms. What limits its time needs no interpreter's lock.
# While it searches a line, the engine lets signals be handled (_sre.c), so each second the program asks
# whether the notebook's kernel, which may have been killed, is still there.
_PROGRAM = """
import faulthandler, marshal, os, re, signal, sys
given, answers = sys.stdin.buffer, sys.stdout.buffer
def hear():
    size = int.from_bytes(given.read(8), "little")
    return marshal.loads(given.read(size)) if size else None
def first(texts):
    for index, text in enumerate(texts):
        if match := look(text):
            return index, match.regs, match.lastindex, match.lastgroup
def end_with(parent):
    def look(number, frame):
        if os.getppid() != parent:
            os._exit(0)
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
pattern, flags, patience, work, parent = hear()
look = re.compile(pattern, flags).search
limit = getattr(signal, "setitimer", None) if work else None
if hasattr(signal, "setitimer"):
    end_with(parent)
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


class Matcher:
    """The process for one expression.

    `among` and `first` are for one thread at a time; `close` and `kill` may be called from any other
    meanwhile.
    """

    def __init__(self, pattern: re.Pattern[Any], patience: float = PATIENCE, work: float = 0.0) -> None:
        """Start it.

        Args:
            pattern: the expression.
            patience: seconds that one call may take.
            work: seconds of computing that one call may take, where the system counts them: then it does not
                matter how busy others keep the processors; 0: no limit.

        Raises:
            OSError: there can be no further process.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the kernel is not meant for it
        )
        self._tell((pattern.pattern, pattern.flags, patience, work, os.getpid()))

    def among(self, texts: list[Any]) -> list[int]:
        """Return the indices of the texts in which the expression is found.

        Raises:
            TooSlow: it takes too long; the process is gone then.
        """
        return cast("list[int]", self._ask(True, texts))

    def first(self, texts: list[Any]) -> Spans | None:
        """Return the first of the texts in which the expression is found, and where; None: in none of them.

        Raises:
            TooSlow: it takes too long; the process is gone then.
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

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def kill(self) -> None:
        """End the process, without waiting for its end; `close` is still to be called. Any thread."""
        self._process.kill()

    def close(self) -> None:
        """End the process, whatever it is doing. Any thread, any number of times."""
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError, ValueError):  # something was still to be written, or another has closed it
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


class Matchers:
    """Processes for several expressions, each started when it is first needed; a context manager ends them.

    For one thread at a time.
    """

    def __init__(self, work: float) -> None:
        """Start none yet; `work` as for `Matcher`."""
        self._work = work
        self._matchers: dict[re.Pattern[Any], Matcher] = {}

    def search(self, pattern: re.Pattern[Any], text: Any) -> Any:
        """Search as `re` does; in a process where that may be slow.

        Raises:
            TooSlow: it takes more seconds of computing than it may, or there can be no further process.
        """
        if is_quick(pattern, text):
            return pattern.search(text)
        matcher = self._matchers.get(pattern)
        try:
            if matcher is None:
                matcher = self._matchers[pattern] = Matcher(pattern, PATIENCE, self._work)
            spans = matcher.first([text])
        except (TooSlow, OSError):
            self._matchers.pop(pattern, None)
            raise TooSlow from None
        return None if spans is None else found_at(pattern, text, spans)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for matcher in self._matchers.values():
            matcher.close()
