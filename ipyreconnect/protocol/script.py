"""Parse an on-connect script, and run it on the lines and times that it is given; sends nothing by itself."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ..errors import ScriptFailed, SettingsError
from ..lines.text import encode_line
from ..mask import MASK, PLAIN_MASK
from .expect import QUOTED, last_lines

__all__ = ["Expect", "ScriptRun", "Send", "Step", "parse_script"]

# Characters of an expression that a refusal quotes.
_SHOWN: Final = 80

# Only these: U+2028 and the like are text to a protocol.
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a line.

    Args:
        number: the step's line in the script, from 1
        data: the line's bytes, without its line end
        shown: what the log shows in their place; the same unless something in it is secret

    """

    number: int
    data: bytes = field(repr=False)
    shown: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait for a line that matches.

    Args:
        number: the step's line in the script, from 1
        pattern: is searched in each line received
        shown: what messages show in its place; the same unless something in it is secret

    """

    number: int
    pattern: re.Pattern[str] = field(repr=False)
    shown: str


Step = Send | Expect


def parse_script(
    text: str,
    *,
    encoding: str | None = None,
    fill: Callable[[str], tuple[str, str]] | None = None,
    eol: bytes = b"",
) -> tuple[Step, ...]:
    """Return the steps of a script.

    A line is sent as it stands, without the indentation that all lines share. ``< REGEX`` waits for a line
    that matches. ``> TEXT`` sends TEXT verbatim, also where it is empty or begins with ``<``, ``>``, ``#``
    or a blank. Lines that begin with ``#``, and blank ones, mean nothing.

    Args:
        text: the script
        encoding: of the lines sent; None: UTF-8
        fill: is given what is to be sent or awaited, and returns it with its placeholders filled, once as it
            is and once as it may be shown; what it fills in never makes another kind of step, nor another
            line
        eol: what ends each line of the connection, and must not stand within one

    Raises:
        SettingsError: naming the line, for a regular expression that is none, text that cannot be encoded, or
            a line break that was filled in

    """
    if not isinstance(text, str):
        raise SettingsError(f"an on-connect script must be text, not {type(text).__name__}")
    steps: list[Step] = []
    for number, line in enumerate(_LINE_BREAK.split(textwrap.dedent(text)), 1):
        words = line.lstrip()
        if not words or words.startswith("#"):
            continue
        kind = words[0]
        if kind in "<>":
            line = words[1:].removeprefix(" ")
        if kind == "<":
            # A blank at an end, which nobody sees there, would never match.
            line = re.sub(r"(?<!\\)\s+\Z", "", line.lstrip())
        shown = line
        if fill is not None:
            line, shown = fill(line)
            if _LINE_BREAK.search(line):
                raise _wrong(number, f"what was filled in has a line break: {shown!r}; give it line by line")
        if kind == "<":
            steps.append(Expect(number, _pattern(number, line, shown), shown))
        else:
            data = _encoded(number, line, shown, encoding, eol)
            try:
                masked = shown.encode(encoding or "utf-8")
            except UnicodeEncodeError:  # only the mask has what the line itself has not
                masked = shown.replace(MASK, PLAIN_MASK).encode(encoding or "utf-8", "replace")
            steps.append(Send(number, data, masked))
    return tuple(steps)


def _pattern(number: int, source: str, shown: str) -> re.Pattern[str]:
    if not source:
        raise _wrong(
            number, "'<' waits for a line: write a regular expression behind it, or '> <' to send it"
        )
    try:
        return re.compile(source)
    except re.error as error:
        raise _wrong(
            number,
            f"{shown!r} is no regular expression ({error}); a line that begins with '<' is sent with '> <'",
        ) from None
    except (RecursionError, OverflowError):
        raise _wrong(
            number, f"{shown[:_SHOWN]!r} is too much of a regular expression; make it simpler"
        ) from None


def _encoded(number: int, text: str, shown: str, encoding: str | None, eol: bytes) -> bytes:
    try:
        return encode_line(text, encoding, lambda _: shown, eol)
    except SettingsError as error:
        raise _wrong(number, str(error)) from None


def _wrong(number: int, what: str) -> SettingsError:
    return SettingsError(f"on-connect script, line {number}: {what}")


class ScriptRun:
    """Run a script once: `start` it, give it each `line` that is received, and call `due` at `deadline`.

    All three return the steps to send, in order. A line meets the step that is awaited when it comes; one
    that does not match is passed over. It has ended when `done` is true or `error` is set, and then takes
    no more lines.

    Args:
        steps: as `parse_script` gives them
        timeout: seconds that each awaited line has
        greeted: whether the server has greeted before the script could see it, with STARTTLS

    """

    def __init__(self, steps: tuple[Step, ...], timeout: float, *, greeted: bool = False) -> None:
        self.error: ScriptFailed | None = None
        """Why it failed, for the user."""
        self.deadline: float | None = None
        """When the awaited line is late, on the clock of `now`, in seconds; None when nothing is awaited."""
        self._steps = steps
        self._timeout = timeout
        self._greeted = greeted
        self._at = 0
        self._last: list[str] = []

    @property
    def done(self) -> bool:
        """Whether all of it has been done."""
        return self.error is None and self._at == len(self._steps)

    @property
    def awaiting(self) -> Expect | None:
        """The step that is awaited, if it is under way."""
        step = self._steps[self._at] if self.error is None and self._at < len(self._steps) else None
        return step if isinstance(step, Expect) else None

    def start(self, now: float) -> list[Send]:
        """Begin; return what to send first."""
        return self._go_on(now)

    def line(self, text: str, now: float, shown: str | None = None, *, met: bool | None = None) -> list[Send]:
        """Take a line that was received, and what a failure quotes in its place; return what to send now.

        met: whether it meets the awaited step, where that was found out elsewhere.
        """
        step = self.awaiting
        if step is None:
            return []
        self._last = [*self._last[1 - QUOTED :], text if shown is None else shown]
        if not (step.pattern.search(text) if met is None else met):
            return []
        self._at += 1
        return self._go_on(now)

    def due(self, now: float) -> list[Send]:
        """Take note of the time: past the deadline the script has failed. Returns nothing to send."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(f"no such line came within {self._timeout:g} s")
        return []

    def extend(self, now: float) -> None:
        """Give the awaited line its time anew: what asks for it has left only now."""
        if self.awaiting is not None:
            self.deadline = now + self._timeout

    def fail(self, why: str) -> ScriptFailed:
        """End it, as the awaited line cannot come any more; return the error, which is also in `error`."""
        step = self.awaiting
        where = "" if step is None else f", line {step.number}, waiting for {step.shown!r}"
        self.deadline = None
        # The script that logs in over implicit TLS begins with waiting for the greeting.
        hint = ": after STARTTLS no server greets again" if self._greeted and not self._last else ""
        self.error = ScriptFailed(f"on-connect script{where}: {why}; {last_lines(self._last)}{hint}")
        return self.error

    def _go_on(self, now: float) -> list[Send]:
        """Go on to the next step that waits, or to the end."""
        sends: list[Send] = []
        while self._at < len(self._steps):
            step = self._steps[self._at]
            if isinstance(step, Expect):
                self.deadline = now + self._timeout
                return sends
            sends.append(step)
            self._at += 1
        self.deadline = None
        return sends
