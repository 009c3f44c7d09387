"""Judges received lines by the user's reply rules and by a script's step, where an expression may take long
over one: as a job for a thread of the client's. Knows no process and no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..lines.effort import SHORT, TooSlow, is_quick, quick_up_to
from ..lines.search import LineSearch
from ..lines.text import decode

__all__ = ["RULE_PATIENCE", "Job", "Judging", "Later", "Rules", "Verdict", "quick_limit", "search_now"]

RULE_PATIENCE = 0.1
"""Seconds of computing that a reply rule, or a script's step, may take for a line: one that takes longer is
switched off, or fails the attempt."""
MOST_LINES = 10_000
MOST_BYTES = 8 * 1024 * 1024
"""Lines and bytes that may wait to be judged: rules that cannot keep up with the peer are switched off."""

Rules = tuple[tuple[re.Pattern[bytes], bytes], ...]
"""Patterns and templates; the first that is found in a line answers it."""

Search = Callable[[re.Pattern[Any], Any], Any]
"""Searches for a pattern in a text, as `re` does; raises TooSlow where that takes too long."""


@dataclass(slots=True)
class Verdict:
    """What became of one line.

    rule: the pattern of the rule that answers it, if any does, and reply: with what. step: whether the
    awaited step of the script is met; None: none is awaited, or it took too long. slow: the patterns that
    took too long.
    """

    rule: re.Pattern[bytes] | None = None
    reply: bytes | None = None
    step: bool | None = None
    slow: list[re.Pattern[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Job:
    """Lines to be judged in order; it ends behind the first that meets the script's step, as the next step
    is another one.

    lines: what is compared of each. rules: pattern and template of each reply, the first that is found
    answers. step: what the script waits for; None: nothing. encoding: of the text.
    """

    lines: tuple[bytes, ...]
    rules: Rules
    step: re.Pattern[str] | None
    encoding: str | None

    def run(self, search: Search) -> list[Verdict]:
        """Judge them; return a verdict for each line that was judged. With a search that takes its time: on a
        thread of the client's.
        """
        verdicts: list[Verdict] = []
        slow: set[re.Pattern[Any]] = set()
        for line in self.lines:
            verdict = Verdict()
            verdicts.append(verdict)
            self._apply_rules(line, verdict, slow, search)
            if self.step is not None:
                try:
                    verdict.step = search(self.step, decode(line, self.encoding)) is not None
                except TooSlow:
                    verdict.slow.append(self.step)
                if verdict.step is not False:
                    break
        return verdicts

    def _apply_rules(self, line: bytes, verdict: Verdict, slow: set[re.Pattern[Any]], search: Search) -> None:
        """Find the rule that answers a line; patterns that take too long go to `slow`, and are left out."""
        for pattern, template in self.rules:
            if pattern in slow:
                continue
            try:
                found = search(pattern, line)
            except TooSlow:
                slow.add(pattern)
                verdict.slow.append(pattern)
                continue
            if found is not None:
                verdict.rule, verdict.reply = pattern, found.expand(template)
                return


class Judging:
    """The lines of one connection that wait to be judged elsewhere, in order. With the lock held."""

    __slots__ = ("_job", "_lines", "_size")

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._job: Job | None = None

    @property
    def waits(self) -> bool:
        """Whether lines wait: those that come wait behind them."""
        return bool(self._lines)

    @property
    def is_too_much(self) -> bool:
        """Whether more lines wait than may."""
        return len(self._lines) > MOST_LINES or self._size > MOST_BYTES

    def put(self, line: bytes) -> None:
        """Have a line wait."""
        self._lines.append(line)
        self._size += len(line)

    def take(self, make: Callable[..., Job]) -> Job | None:
        """Return what is to be done next, made of the lines by `make`; None: nothing, or it is being done."""
        if self._job is None and self._lines:
            self._job = make(*self._lines)
            return self._job
        return None

    @property
    def is_idle(self) -> bool:
        """Whether no job is being done."""
        return self._job is None

    def finish(self, job: Job, verdicts: list[Verdict]) -> list[bytes]:
        """Return the lines that were judged, which wait no more; none where the job was given up before."""
        if job is not self._job:
            return []
        self._job = None
        lines = self._lines[: len(verdicts)]
        del self._lines[: len(verdicts)]
        self._size -= sum(map(len, lines))
        return lines


def quick_limit(rules: Rules) -> int:
    """Return up to which length of a line all rules are quick."""
    return max(SHORT, min((quick_up_to(pattern) for pattern, _ in rules), default=SHORT))


class Later(Exception):
    """An expression may take long over a line: that is judged elsewhere."""


def search_now(pattern: re.Pattern[Any], text: Any) -> Any:
    """Search as `re` does, where that is quick; raises Later where it may not be."""
    if len(text) <= SHORT or is_quick(pattern, text):
        return pattern.search(text)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if LineSearch(pattern, None).rules_out(data):
        return None
    raise Later
