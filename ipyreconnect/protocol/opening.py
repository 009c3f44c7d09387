"""What stands between a socket and a connection that is up: STARTTLS, TLS, the on-connect script or
function, each with its time-out. Sends nothing itself, and moves no state: it gives the lines to be sent and
the verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import AttemptFailed, ScriptFailed
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..profile.base import TLSMode
from .configuration import Settings
from .resumption import Resumption
from .script import ScriptRun, Send
from .starttls import StartTLS
from .state import NEVER
from .tls import TLSInfo, TLSPipe, instead_of_tls

__all__ = ["SCRIPT_PATIENCE", "Opening"]

HANDSHAKE_PATIENCE = 10.0
"""Seconds that the peer has for TLS, and for STARTTLS: a mute one must not hold an attempt for ever."""
SCRIPT_PATIENCE = 30.0
"""Seconds that each awaited line of an on-connect script has."""


class Opening:
    """How far the opening of one client's connection has come; see the module's first lines.

    Attributes:
        ends: when the present step has taken too long (monotonic, s); `late` tells what follows
        session: the number of the on-connect function's present session, or of the last one
        is_running: whether what comes is for the on-connect script or function
        has_script: whether it is a script
        mark: the number of the first line that the script has left for others

    """

    __slots__ = (
        "_dialogue",
        "_had_to_wait",
        "_handed_over",
        "_left",
        "_resumption",
        "_script",
        "_settings",
        "_transcript",
        "ends",
        "has_script",
        "is_running",
        "mark",
        "session",
    )

    def __init__(self, settings: Settings, transcript: Transcript) -> None:
        self._settings = settings
        self._transcript = transcript
        self._resumption = Resumption(settings.resumes)
        self.session = 0
        self.mark = 0
        self.let_go()

    def let_go(self) -> None:
        """Forget all that belongs to one connection."""
        self.ends = NEVER
        self.is_running = self.has_script = False
        self._dialogue: StartTLS | None = None
        self._script: ScriptRun | None = None
        self._left: list[Send] = []  # what is to be sent, once the outbox has room for it
        self._had_to_wait = False  # whether it had none the last time
        self._handed_over = 0  # bytes of the stream that had left when more of the script was written last

    # -- TLS -------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> TLSMode:
        """Begin with a socket; return what is to be done first."""
        settings = self._settings
        self.ends = now + HANDSHAKE_PATIENCE
        if settings.tls is TLSMode.STARTTLS and settings.dialect is not None:
            self._dialogue = StartTLS(settings.dialect, settings.where)
            return TLSMode.STARTTLS
        return TLSMode.IMPLICIT if settings.tls is TLSMode.IMPLICIT else TLSMode.NONE

    def answers(self, lines: list[bytes]) -> Iterator[bytes]:
        """Yield what is to be sent to the server's lines of the dialogue that leads to TLS, with line ends.

        Raises:
            AttemptFailed: the server does not agree

        """
        if self._dialogue is not None:
            for line in lines:
                yield from self._dialogue.receive_line(line)

    def is_agreed(self, rest: bytes) -> bool:
        """Return whether the server has agreed to TLS; `rest` is what it has sent behind its last line.

        Raises:
            AttemptFailed: it has, and goes on in plain text

        """
        if self._dialogue is None or not self._dialogue.done:
            return False
        self._dialogue.check_nothing_follows(rest)
        self._dialogue = None
        return True

    def begin_tls(self, now: float, wall: float) -> TLSPipe:
        """Return the pipe for a TLS handshake.

        Raises:
            AttemptFailed: there is no name that could be verified

        """
        settings = self._settings
        assert settings.context is not None
        self.ends = now + HANDSHAKE_PATIENCE
        return TLSPipe(
            settings.context,
            settings.server_name,
            self._resumption.session(wall),
            where=settings.where,
            instead=instead_of_tls(settings.tls, settings.dialect),
        )

    def secured(self, info: TLSInfo, wall: float) -> None:
        """Note what the handshake has agreed upon, at `wall` (Unix time, s)."""
        self._resumption.secured(info, wall)

    def tls_ended(self, pipe: TLSPipe, *, in_handshake: bool) -> None:
        """Keep the session of a connection that has ended, for the next one. After a failed handshake a whole
        one is to be made: the session may be what failed.
        """
        self._resumption.ended(pipe, in_handshake=in_handshake)

    # -- the on-connect script or function -------------------------------------------------------------------

    @property
    def quotes(self) -> bool:
        """Whether a failure now is the script's, which quotes the last lines itself."""
        return self._script is not None and self._script.awaiting is not None

    @property
    def awaits(self) -> re.Pattern[str] | None:
        """What the script's awaited step looks for."""
        step = self._script.awaiting if self._script is not None else None
        return None if step is None else step.pattern

    def begin_script(self, now: float) -> None:
        """Begin to run the script."""
        self.is_running = self.has_script = True
        self.claim_lines()
        greeted = self._settings.tls is TLSMode.STARTTLS
        self._script = ScriptRun(self._settings.script, SCRIPT_PATIENCE, greeted=greeted)
        self._left = self._script.start(now)

    def begin_function(self) -> int:
        """Begin a session of the on-connect function; return its number."""
        self.is_running = True
        self.session += 1
        return self.session

    def hear(self, line: bytes, now: float, *, met: bool | None = None) -> None:
        """Give the script a received line; met: whether it was found elsewhere that its step is met."""
        if self._script is not None:
            text = decode(line, self._settings.encoding)
            shown = self._transcript.redacted_text(text)
            self._left += self._script.line(text, now, shown, met=met)

    @property
    def next_line(self) -> Send | None:
        """The next line of the script that is to be sent, once there is room; None: there is none."""
        return self._left[0] if self._left else None

    def take_line(self) -> None:
        """Take this line to be sent."""
        del self._left[0]

    def claim_lines(self) -> None:
        """Note that all lines up to now are the script's own affair."""
        self.mark = self._transcript.end

    def is_done(self, handed_over: int, now: float) -> bool:
        """Return whether the script has come to its end, once what found room was sent; else plan for what it
        waits for.

        Args:
            handed_over: bytes that the kernel has taken of the stream
            now: monotonic (s)

        """
        script = self._script
        assert script is not None
        if self._left:
            if not self._had_to_wait or handed_over != self._handed_over:
                self._handed_over = handed_over
                self.ends = now + SCRIPT_PATIENCE
            self._had_to_wait = True
            return False
        if script.done:
            return True
        if self._had_to_wait:
            self._had_to_wait = False
            script.extend(now)
        self.ends = NEVER if script.deadline is None else script.deadline
        return False

    @property
    def error(self) -> ScriptFailed | None:
        """Why the script has failed, if it has."""
        return None if self._script is None else self._script.error

    def fail(self, why: str) -> ScriptFailed:
        """End the script, as the awaited line cannot come any more; return the error."""
        assert self._script is not None
        return self._script.fail(why)

    def end(self) -> None:
        """End: the connection is up."""
        self._script = None
        self.is_running = self.has_script = False
        self.ends = NEVER

    # -- time-outs -------------------------------------------------------------------------------------------

    def late(self, handed_over: int, *, is_stuck: bool, now: float) -> AttemptFailed | None:
        """Note that `ends` has come; return why the attempt has failed, None where a script runs: see
        `error`, and whether there is room for more of it.

        Args:
            handed_over: bytes that the kernel has taken of the stream
            is_stuck: whether it has not taken all
            now: monotonic (s)

        """
        where = self._settings.where
        self.ends = NEVER
        if self._script is not None:
            if not self._left:
                self._script.due(now)
            elif is_stuck and handed_over == self._handed_over:
                self._script.fail(f"{where} took nothing of what was sent for {SCRIPT_PATIENCE:.0f} s")
            return None
        if self._dialogue is not None:
            return AttemptFailed(f"{where} did not answer STARTTLS within {HANDSHAKE_PATIENCE:.0f} s")
        return AttemptFailed(
            f"{where} did not finish the TLS handshake within {HANDSHAKE_PATIENCE:.0f} s; does it speak TLS?"
        )
