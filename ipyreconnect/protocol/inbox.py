"""What one client receives: decrypted, and cut into lines where the transcript does not do that itself. Acts
on nothing: it yields what came, in order, and each time the connection acts before the next is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import AttemptFailed, CallerError
from ..lines.framing import LINE_LIMIT, Announced, Foreign, Framer, Raw, make_framer
from ..lines.store import Runs
from ..lines.transcript import Transcript
from .configuration import Settings
from .events import Closed, Event, Filled, Frame, Framed, Lines, PlainText, Received, Secured
from .state import NEVER
from .tls import TLSPipe
from .traffic import Traffic
from .unread import PlainLines, Unread
from .user_framing import FRAMING_PATIENCE, FramingJob, UserFraming

__all__ = ["Inbox"]

LONGEST_PLAIN_LINE = 64 * 1024
"""Bytes of a line in the dialogue of STARTTLS; real ones take fewer than a thousand."""
MAKING_PATIENCE = 30.0
"""Seconds that the user's framing may take to be made."""
SHOW_UNREAD_AFTER = 0.1
"""Seconds after which the log shows lines that an on-connect function has not read."""
PLAIN_LINE = 32 * 1024
"""Bytes of a line that the transcript frames as well as a framer does."""
PLAIN_STEP = 16 * 1024
"""The plaintext of one TLS record."""


class Inbox:
    """All that one client receives, over all its connections; see the module's first lines.

    Attributes:
        pipe: decrypts what is received; None: it is plain text
        unread: takes what the on-connect function reads, while that runs
        framing: the user's framing; None: there is none
        is_in_place: whether the bytes from the socket are the transcript's bytes, so that they can be
            received right into it
        is_framing: whether the user's framing is at work, or has to be first: until then nothing is read
        has_buffered: whether decrypted data may be left: `go_on` takes it. So those who read along have their
            turn in between, though many TLS records are read from the socket at once
        ends: when something takes too long (monotonic, s); `due` tells what

    """

    __slots__ = (
        "_events",
        "_framer",
        "_in_dialogue",
        "_in_handshake",
        "_plain_rest",
        "_settings",
        "_traffic",
        "_transcript",
        "ends",
        "framing",
        "has_buffered",
        "is_framing",
        "is_in_place",
        "pipe",
        "unread",
    )

    def __init__(
        self, settings: Settings, transcript: Transcript, traffic: Traffic, events: list[Event]
    ) -> None:
        self._events = events
        self._settings = settings
        self._transcript = transcript
        self._traffic = traffic
        self.let_go()

    # -- one connection --------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Forget all that belongs to one connection."""
        self.pipe: TLSPipe | None = None
        self.unread: Unread | None = None
        self.framing: UserFraming | None = None
        self._framer: Framer | None = None
        self._in_dialogue = False  # of STARTTLS
        self._in_handshake = False  # of TLS
        self._plain_rest = b""  # the unfinished line of that dialogue
        self.is_in_place = True
        self.is_framing = False
        self.has_buffered = False
        self.ends = NEVER

    def begin_dialogue(self) -> None:
        """Take what comes for the dialogue that leads to TLS."""
        self._in_dialogue = True
        self.is_in_place = False

    def begin_tls(self, pipe: TLSPipe) -> None:
        """Take what comes for TLS."""
        self.pipe = pipe
        self._in_dialogue = False
        self._in_handshake = True
        self.is_in_place = False

    def begin_framing(self, now: float) -> bool:
        """Cut the lines by the framing that the settings name; return whether that is ready.

        Raises:
            CallerError: the framing is not one

        """
        framer = self._make_framer()
        if isinstance(framer, Foreign):
            self._frame_by(UserFraming(framer, is_made=False))
            self.ends = now + MAKING_PATIENCE  # on a thread of its own, where it may take its time
            return False
        self._framer = framer
        self.is_in_place = self.is_in_place and framer is None
        return True

    def begin_function(self) -> None:
        """Keep what comes for the on-connect function, which reads bytes, too."""
        encoding, longest = self._settings.encoding, self._transcript.longest_line
        self.unread = Unread(
            lambda: self._make_framer() or PlainLines(longest, encoding),
            self._transcript,
            self._longest_framed,
            self._transcript.byte_limit,
        )
        self.is_in_place = False

    def end_function(self) -> tuple[int, bytes]:
        """Cut the lines from now on where the function has left them; return the number of the first of these
        that are in the transcript already, and what is still to be cut.
        """
        unread, self.unread = self.unread, None
        assert unread is not None
        self.ends = NEVER
        framer = unread.framer
        if isinstance(framer, PlainLines):
            # The transcript cuts such lines itself, and goes on with the one that has begun.
            if framer.is_over:
                self._transcript.go_on_with_fragments()
            self.is_in_place = self.pipe is None
            return unread.mark, unread.uncut
        if isinstance(framer, Foreign):
            self._frame_by(UserFraming(framer, is_made=True))
        else:
            self._framer = framer
        return unread.mark, unread.unfed

    def _make_framer(self) -> Framer | None:
        settings = self._settings
        return make_framer(settings.framing, settings.profile, self._longest_framed, settings.encoding)

    @property
    def _longest_framed(self) -> int:
        return self._settings.longest_line or LINE_LIMIT

    @property
    def unfinished(self) -> bytes:
        """What was received behind the last line, as far as it may be shown."""
        if self.unread is not None:
            return self.unread.uncut
        unfinished: bytes = getattr(self._framer, "unfinished", b"")
        return self._transcript.unfinished or unfinished or self._plain_rest

    def close(self, wall: float) -> Runs:
        """Put into the transcript what the end leaves incomplete; return the lines that follow from it.

        Args:
            wall: Unix time (s)

        """
        runs: Runs = []
        transcript = self._transcript
        if self._plain_rest:
            transcript.append_aside(self._plain_rest, wall)
        if self.unread is not None:
            self.unread.finish(wall, calls=not isinstance(self.unread.framer, Foreign))
        if self.framing is not None:
            if unframed := self.framing.unframed:
                transcript.append_note(
                    f"{unframed} bytes were not framed by {self.framing.framer.name}", wall
                )
        elif self._framer is not None:
            transcript.append_received(self._framer.finish(), wall, runs)
        transcript.flush(wall, runs)
        return runs

    # -- receiving -------------------------------------------------------------------------------------------

    def reads_at_most(self, room: int) -> int:
        """Return how many bytes of the `room` for them are to be read at once: ciphertext can be held back, a
        raw read is one line, and of what is to be framed no more than readers can follow.
        """
        if self.pipe is not None or isinstance(self._framer, Raw):
            return room
        return min(room, self._transcript.most_at_once)

    def receive(self, data: memoryview, now: float, wall: float) -> Iterator[Received]:
        """Yield what bytes from the socket bring that are not the transcript's own.

        Args:
            data: ciphertext, or what is to be framed
            now: monotonic (s)
            wall: the same as Unix time (s)

        Raises:
            AttemptFailed: the connection cannot be made
            ConnectionLost: TLS has failed
            CallerError: the framing is not one

        """
        if self.pipe is None:
            return self.take(bytes(data), now, wall)
        self.pipe.feed(data)
        return self.go_on(now, wall)

    def go_on(self, now: float, wall: float) -> Iterator[Received]:
        """Yield more of what was received in TLS, about as much as the transcript takes at once; see
        `receive`.
        """
        pipe = self.pipe
        if pipe is None:
            return
        if self._in_handshake:
            if not pipe.handshake():
                return
            self._in_handshake = False
            yield Secured(pipe.info())
        self.has_buffered = False
        if self._framer is None and self.framing is None and self.unread is None:
            yield from self._decrypt_in_place(pipe)
        else:
            yield from self._decrypt(pipe, now, wall)
        if pipe.closed_by_peer and self.pipe is pipe:
            yield Closed()

    def _decrypt_in_place(self, pipe: TLSPipe) -> Iterator[Received]:
        while self.pipe is pipe:
            room = self._transcript.room()
            size = pipe.read_into(room)
            if size:
                yield Filled(size)
            if size == len(room):
                self.has_buffered = self.pipe is pipe
                return
            if not pipe.failed:  # that was all; else the failure is told next
                return

    def _decrypt(self, pipe: TLSPipe, now: float, wall: float) -> Iterator[Received]:
        left = self._transcript.most_at_once
        if isinstance(self._framer, Raw):
            left = max(left, PLAIN_STEP)
        buffer = memoryview(bytearray(min(PLAIN_STEP, left)))
        while self.pipe is pipe and (size := pipe.read_into(buffer[:left])):
            yield from self.take(bytes(buffer[:size]), now, wall)
            left -= size
            if not left:
                self.has_buffered = self.pipe is pipe
                return

    def take(self, data: bytes, now: float, wall: float) -> Iterator[Received]:
        """Yield plain text: framed, or as it came where it is plain lines, which is far quicker."""
        if self._in_dialogue:
            self._count(data, now)
            yield from self._take_dialogue(data, wall)
        elif self.unread is not None:
            self._count(data, now)
            if cut := self.unread.add(data, wall):
                yield Lines(cut)
            self.ends = min(self.ends, now + SHOW_UNREAD_AFTER)
        elif self.framing is not None:
            self._count(data, now)
            self.framing.add(data)
            self._framing_changed()
        elif self._framer is None:
            yield from self._fill(data)
        else:
            yield from self._frame(self._framer, data, now)

    def _count(self, data: bytes, now: float) -> None:
        self._traffic.received += len(data)
        self._traffic.received_at = now

    def _fill(self, data: bytes) -> Iterator[Received]:
        """Yield plain lines as bytes of the transcript's."""
        view = memoryview(data)
        while view:
            room = self._transcript.room()
            size = min(len(room), len(view))
            room[:size] = view[:size]
            view = view[size:]
            yield Filled(size)

    def _frame(self, framer: Framer, data: bytes, now: float) -> Iterator[Received]:
        """Yield the lines that a framer makes; plain ones before those that announce something as bytes."""
        plain = 0
        if isinstance(framer, Announced):
            plain = framer.plain(data, min(PLAIN_LINE, self._transcript.longest_line))
            yield from self._fill(data[:plain])
        if plain < len(data) and self._framer is framer:
            rest = data[plain:]
            self._count(rest, now)
            if lines := framer.feed(rest):
                yield Framed(lines)

    def _take_dialogue(self, data: bytes, wall: float) -> Iterator[Received]:
        """Yield lines of the dialogue that leads to TLS. Somebody on the way may have written them: they are
        for nobody else.
        """
        *lines, rest = (self._plain_rest + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in lines]
        self._plain_rest = rest
        for line in lines:
            self._transcript.append_aside(line, wall)
        # Together, however they came: nothing may stand behind the server's consent.
        yield PlainText(lines, rest)
        if len(rest) > LONGEST_PLAIN_LINE:
            protocol = (self._settings.dialect or "").upper()
            raise AttemptFailed(
                f"{self._settings.where} answers STARTTLS with a line of more than "
                f"{LONGEST_PLAIN_LINE // 1024} KiB; does it speak {protocol}?"
            )

    # -- the user's framing ----------------------------------------------------------------------------------

    def _frame_by(self, framing: UserFraming) -> None:
        self.framing = framing
        self.is_in_place = False
        self._framing_changed()

    def take_framing_job(self) -> FramingJob | None:
        """Return what the user's framing is to do now; None: nothing, or it is at work."""
        framing = self.framing
        job = None if framing is None else framing.take_job()
        self._framing_changed()
        return job

    def framing_job_done(self, job: FramingJob) -> UserFraming | None:
        """Note that a job is done; return the framing that did it, None: that of a connection before."""
        framing = self.framing
        if framing is None or job.framer is not framing.framer:
            return None
        framing.job_done(job)
        self._framing_changed()
        return framing

    def frames_first(self, error: Exception, now: float) -> bool:
        """Return whether what came before the end is to be framed first, as it may be the answer."""
        framing = self.framing
        if framing is None or not framing.is_made or isinstance(error, CallerError):
            return False
        if framing.failing is None:
            framing.finish(error)
            self.ends = now + FRAMING_PATIENCE
            self._framing_changed()
        return True

    def end_framing(self) -> None:
        """Have the user's framing do no more on this connection."""
        self.framing = None
        self._framing_changed()

    def _framing_changed(self) -> None:
        framing = self.framing
        self.is_framing = framing is not None and framing.is_busy
        if framing is not None and framing.announces():
            self._events.append(Frame())

    # -- what the on-connect function has not read -----------------------------------------------------------

    def cut_unread(self, wall: float) -> Runs:
        """Cut lines that have come, though the function has not read them, and return them; there may be more
        of them, unless none come.
        """
        unread = self.unread
        if unread is None or unread.wanted or isinstance(unread.framer, Foreign):
            return []
        return unread.cut(wall)

    def want_no_bytes(self, now: float) -> None:
        """Note that the function waits for bytes no longer, though they have not come."""
        if self.unread is not None:
            self.unread.wanted = 0
            self.ends = min(self.ends, now + SHOW_UNREAD_AFTER)
