"""The user's reply rules on one client's connections: which of them answers a received line. Sends nothing
itself. A line over which an expression may take long is judged elsewhere, and so are those behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..lines.transcript import Transcript
from .events import Event, Judge
from .judging import RULE_PATIENCE, Job, Judging, Later, Rules, Verdict, quick_limit, search_now

__all__ = ["KEEPS_UP_NO_MORE", "TOOK_LONG", "Replies"]

TOOK_LONG = f"took more than {RULE_PATIENCE:g} s for a line"
KEEPS_UP_NO_MORE = "cannot keep up with what is received"
"""Why an expression is given up."""


class Replies:
    """The rules, and the lines that wait to be judged by them, or by the awaited step of a script.

    Attributes:
        rules: patterns, and templates of the lines that answer those in which they are found; see `set_rules`

    """

    __slots__ = ("_encoding", "_events", "_is_announced", "_judging", "_quick_up_to", "_transcript", "rules")

    def __init__(self, transcript: Transcript, encoding: str | None, events: list[Event]) -> None:
        self._events = events
        self._transcript = transcript
        self._encoding = encoding
        self.rules: Rules = ()
        self._quick_up_to = 0  # bytes of a line for which all rules are quick
        self._judging: Judging | None = None
        self._is_announced = False  # whether the driver has been asked to take a job

    def set_rules(self, rules: Rules) -> None:
        """Answer by these rules from now on."""
        self.rules = rules
        self._quick_up_to = quick_limit(rules)

    def add(self, pattern: re.Pattern[bytes], template: bytes) -> None:
        """Answer each line in which `pattern` is found from now on, before the rules that are there."""
        self.set_rules(((pattern, template), *self.rules))

    def are_quick(self, line: bytes) -> bool:
        """Return whether `find` can answer the line at once."""
        return len(line) <= self._quick_up_to and not self.has_waiting_lines

    def find(self, line: bytes) -> tuple[re.Pattern[bytes], bytes] | None:
        """Return the first rule that is for the line, and its reply."""
        for pattern, template in self.rules:
            if found := pattern.search(line):
                return pattern, found.expand(template)
        return None

    # -- lines over which an expression may take long --------------------------------------------------------

    def judge(self, line: bytes, step: re.Pattern[str] | None) -> tuple[Job, Verdict] | None:
        """Judge a line by the rules and by the script's step; None where that is done elsewhere, later."""
        if not self.has_waiting_lines:
            job = self._job(step, line)
            try:
                return job, job.run(search_now)[0]
            except Later:
                pass
        if self._judging is None:
            self._judging = Judging()
        self._judging.put(line)
        self._announce()
        return None

    @property
    def has_waiting_lines(self) -> bool:
        """Whether lines wait to be judged: those that come wait behind them."""
        return self._judging is not None and self._judging.waits

    @property
    def has_too_many_lines(self) -> bool:
        """Whether more lines wait than may; then `end` gives them up."""
        return self._judging is not None and self._judging.is_too_much

    def take_job(self, step: re.Pattern[str] | None) -> Job | None:
        """Return lines that are to be judged now, on a thread of the client's; None: there are none, or that
        is being done.
        """
        self._is_announced = False
        return None if self._judging is None else self._judging.take(lambda *lines: self._job(step, *lines))

    def finish(self, job: Job, verdicts: list[Verdict]) -> Iterator[tuple[bytes, Verdict]]:
        """Yield each line of a job that is done with what was found of it, as long as that counts."""
        judging = self._judging
        if judging is None:
            return
        for line, verdict in zip(judging.finish(job, verdicts), verdicts, strict=False):
            if self._judging is not judging:  # given up meanwhile
                return
            yield line, verdict
        self._announce()

    def _announce(self) -> None:
        judging = self._judging
        if judging is not None and judging.waits and judging.is_idle and not self._is_announced:
            self._is_announced = True
            self._events.append(Judge())

    def end(self) -> None:
        """Judge no more of what this connection has brought."""
        self._judging = None

    def switch_off(self, slow: list[re.Pattern[Any]], why: str, wall: float) -> None:
        """Have these patterns' rules answer nothing any more; say so in the log, at `wall` (Unix time, s)."""
        for pattern, _ in self.rules:
            if pattern in slow:
                self._transcript.append_note(
                    f"the reply rule {self.shown(pattern)!r} {why}: it is switched off", wall
                )
        self.set_rules(tuple(rule for rule in self.rules if rule[0] not in slow))

    def shown(self, pattern: re.Pattern[bytes]) -> str:
        """Return a rule's pattern as it may be shown: masked before it is quoted, which would write an
        escaped secret in another way.
        """
        return self._transcript.redacted_text(pattern.pattern.decode("utf-8", "backslashreplace"))

    def _job(self, step: re.Pattern[str] | None, *lines: bytes) -> Job:
        return Job(lines, self.rules, step, self._encoding)
