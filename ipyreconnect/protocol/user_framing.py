"""The user's framing of one connection, which cuts what was received on a thread of its client's, where it
may take its time. Runs nothing itself: it hands out jobs, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CallerError
from ..lines.framing import Foreign

__all__ = ["FRAMING_PATIENCE", "FramingJob", "UserFraming"]

FRAMING_PATIENCE = 2.0
"""Seconds that a lost connection waits for the user's framing to take what came before the end."""


@dataclass(frozen=True, slots=True)
class FramingJob:
    """What the user's framing of one connection is to do.

    data: what it is fed with; none: it is only made. is_last: whether no more will come.
    """

    framer: Foreign
    data: bytes
    is_last: bool

    def run(self) -> list[bytes]:
        """Do it, on a thread of the client's; return the lines.

        Raises:
            CallerError: for whatever the user's code raises

        """
        try:
            self.framer.make()
            lines = self.framer.feed(self.data) if self.data else []
            return lines + self.framer.finish() if self.is_last else lines
        except CallerError:
            raise
        except BaseException as error:  # a user's code may raise anything, SystemExit too
            raise CallerError(
                f"the framing {self.framer.name} failed: {type(error).__name__}: {error}"
            ) from error


class UserFraming:
    """What the user's framing has still to do.

    Attributes:
        framer: the user's code
        is_made: whether it has been made, which is its first job
        is_working: whether a job was handed out that is not done
        failing: why the connection is lost, while what came before that is still to be cut
        has_job: whether `take_job` has something to do
        is_announced: whether the driver has been asked to take it

    """

    __slots__ = ("_data", "failing", "framer", "has_job", "is_announced", "is_made", "is_working")

    def __init__(self, framer: Foreign, *, is_made: bool) -> None:
        self.framer = framer
        self.is_made = is_made
        self.is_working = False
        self.failing: Exception | None = None
        self.has_job = not is_made
        self.is_announced = False
        self._data: list[bytes] = []

    @property
    def is_busy(self) -> bool:
        """Whether nothing more is to be received for it now."""
        return self.is_working or self.failing is not None

    def announces(self) -> bool:
        """Return whether the driver is to be asked now to take a job; once for each."""
        if not self.has_job or self.is_working or self.is_announced:
            return False
        self.is_announced = True
        return True

    @property
    def unframed(self) -> int:
        """How many bytes it has not been given."""
        return sum(map(len, self._data))

    def add(self, data: bytes) -> None:
        """Have it cut more."""
        self._data.append(data)
        self.has_job = True

    def finish(self, error: Exception) -> None:
        """Have it cut what is left: the connection is lost for the reason that `error` gives."""
        if self.failing is None:
            self.failing = error
            self.has_job = True

    def take_job(self) -> FramingJob | None:
        """Return what it is to do now; None: it is at work."""
        self.is_announced = False
        if self.is_working:
            return None
        self.has_job = False
        data = b"".join(self._data)
        self._data.clear()
        self.is_working = True
        return FramingJob(self.framer, data, self.failing is not None)

    def job_done(self, job: FramingJob) -> None:
        """Note that a job is done."""
        self.is_working = False
        self.is_made = True
        self.has_job = bool(self._data) or (self.failing is not None and not job.is_last)
