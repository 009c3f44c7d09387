"""Flow control: the receiving waits for readers that are far behind, so that they miss no line.

While it waits (a *pause*), nothing is read from the socket, so TCP slows the peer down. It does not wait
for a reader that is slow by itself, nor while somebody else needs what the socket brings.
"""

from __future__ import annotations

import math
import time
from operator import length_hint

from ..lines.store import Runs
from ..protocol.connection import Connection
from .lock import Strand
from .loop import EVENT_READ, Timer
from .transport import Transport
from .waiting import Waiters

__all__ = ["FlowControl", "ReaderPosition"]

READER_SHARE = 4
"""A reader may be behind by this part of what the transcript keeps before the receiving waits for it."""
READER_PATIENCE = 0.1
"""Seconds without reading after which nothing waits for a reader: its pace is its own affair."""
RECORD_PATIENCE = 2.0
"""Seconds without writing after which nothing waits for a record: a disk may be slow for a moment, and is to
lose nothing then. For so long, too, the transcript keeps, beyond its limit, what a quick reader reads next:
that holds up nobody."""
SLOW_READS = 2
"""A reader that has read so often in a row only after its patience is none of the quick ones: a single time
may be the machine's fault."""

_monotonic = time.monotonic


class ReaderPosition:
    """How far a reader of the received lines has come.

    Its methods may be called on any thread; times are monotonic, in seconds.

    Attributes:
        next: the number of the line that it reads next.
        read_at: when it last read.
        has_all: whether it waits for more: then there is nothing to wait for it for.
        yields: whether the receiving waits for it only while it keeps reading and nobody else needs the
            socket; otherwise, as for a record, for as long as RECORD_PATIENCE.
    """

    __slots__ = ("_left", "_part", "_slow_reads", "has_all", "next", "read_at", "yields")

    def __init__(self, start: int, *, yields: bool = False) -> None:
        self.next = start
        self.yields = yields
        self.has_all = False
        self._part: object = None
        self._left = 0
        self.begin(_monotonic())

    def begin(self, now: float) -> None:
        """Count it as quick until it is seen to be slow."""
        self.read_at = now
        self._slow_reads = 0  # in a row

    def took(self, number: int, end: int, now: float, part: object = None) -> None:
        """Note that it has read on.

        Args:
            number: the number of the line that it reads next.
            end: the number that the next line to be received gets.
            now: the time.
            part: the iterator over the lines that it has taken and is still to go through, which tells how
                many are left; None: there are none.
        """
        self._has_read(now)
        self._part = None
        self._left = 0 if part is None else length_hint(part) - 1  # the first of them is read with this
        self._part = part
        self.next = number
        self.has_all = part is None and number >= end

    def poll(self, end: int, now: float) -> None:
        """Note how far it has come within the lines that it took; `end` as for `took`."""
        if self.has_all:
            if self.next < end:
                self.has_all = False
                self.read_at = now  # its patience begins: it may have waited for an hour
        elif (part := self._part) is not None and (left := length_hint(part)) < self._left:
            self._left = left
            self._has_read(now)

    def needs_more(self, end: int) -> bool:
        """Return whether it has nothing left to read; `end` as for `took`."""
        return self._part is None and self.next >= end

    def _has_read(self, now: float) -> None:
        if self.has_all or now - self.read_at <= READER_PATIENCE:
            self._slow_reads = 0
        else:
            self._slow_reads += 1
        self.read_at = now

    @property
    def is_waited_for_until(self) -> float:
        """The time from which on the receiving does not wait for it."""
        if not self.yields:
            return self.read_at + RECORD_PATIENCE
        # Who reads now and then does not keep reading.
        return -math.inf if self._slow_reads else self.read_at + READER_PATIENCE

    @property
    def is_kept_for_until(self) -> float:
        """The time from which on what it reads next may be forgotten."""
        if self.yields and self._slow_reads >= SLOW_READS:
            return -math.inf
        return self.read_at + RECORD_PATIENCE


class FlowControl:
    """The receiving of one connection, at the pace of its readers.

    Attributes:
        readers: the readers for which the receiving may wait; read and changed with the lock held.
        paused: whether nothing is read now; true also while that is being decided.
    """

    __slots__ = (
        "_connection",
        "_listeners",
        "_strand",
        "_timer",
        "_transport",
        "_waiters",
        "paused",
        "readers",
    )

    def __init__(
        self, strand: Strand, connection: Connection, transport: Transport, waiters: Waiters
    ) -> None:
        self._strand = strand
        self._connection = connection
        self._transport = transport
        self._waiters = waiters
        self._listeners: tuple[ReaderPosition, ...] = ()
        self._timer: Timer | None = None
        self.readers: list[ReaderPosition] = []
        self.paused = False
        connection.needed = self._first_needed

    # -- readers ---------------------------------------------------------------------------------------------

    def register_reader(self, position: ReaderPosition) -> None:
        """Have the receiving wait for a reader while it is far behind, at once if it is so now.

        Any thread; may be repeated.
        """

        def begin() -> None:
            position.begin(_monotonic())
            if position not in self.readers:
                self.readers.append(position)
            self.reconsider()

        self._strand.call(begin)

    def advanced(self, position: ReaderPosition, number: int, part: object = None) -> None:
        """Note that a reader has read on; `number` and `part` as for `ReaderPosition.took`.

        Any thread; cheap unless the receiving waits for a reader.
        """
        position.took(number, self._connection.transcript.end, _monotonic(), part)
        if self.paused:
            self._strand.post(self.reconsider)

    def unregister_reader(self, position: ReaderPosition) -> None:
        """Wait no longer for a reader. Any thread, also from finalizers."""

        def forget() -> None:
            if position in self.readers:  # or its beginning was interrupted, or it has ended before
                self.readers.remove(position)
                self.reconsider()

        self._strand.post(forget)

    def register_listener(self, position: ReaderPosition) -> None:
        """Let no slow reader hold up one that is notified of the lines, and never waited for.

        With the lock held.
        """
        self._listeners = (*self._listeners, position)

    def unregister_listener(self, position: ReaderPosition) -> None:
        """Forget such a reader. With the lock held."""
        self._listeners = tuple(each for each in self._listeners if each is not position)

    # -- receiving; all below with the lock held -------------------------------------------------------------

    def receive(self, line_sink: Runs | None = None, *, wait: bool = False) -> bool:
        """Read once, and process what is buffered as far as no reader has to catch up first.

        Args:
            line_sink: gets the lines as well, for the reader on whose thread this is; then what is still
            buffered
                is left for the next time.
            wait: as for `Transport.read`.

        Returns:
            Whether that brought bytes.
        """
        connection = self._connection
        if connection.inbox.is_framing:
            return False
        if line_sink is None:
            brought = self._transport.read(wait=wait)
        else:
            connection.line_sink = line_sink
            try:
                brought = self._transport.read(wait=wait)
            finally:
                connection.line_sink = None
        while (
            not (self.readers and self.reconsider()) and line_sink is None and connection.inbox.has_buffered
        ):
            self._waiters.wake()  # an on-connect function reads when its condition is asked
            connection.go_on(_monotonic())
        return brought

    def receive_buffered(self) -> None:
        """Process what is buffered, unless a pause has begun."""
        if self._transport.sock is not None and self._connection.inbox.has_buffered and not self.paused:
            self.receive()

    def receive_ready(self, mask: int) -> None:
        """Read, as the selector has notified the I/O thread by `mask` that the socket is ready.

        In a pause, that is either the end of the connection, which also ends the pause, or it was so before
        the pause began, and is ignored.
        """
        transport = self._transport
        if transport.sock is None:
            return
        if self._connection.inbox.is_framing:
            if transport.has_hung_up:
                transport.look_away()
        elif mask & EVENT_READ and (not self.paused or transport.has_hung_up):
            self.paused = False
            self.receive()

    # -- pauses ----------------------------------------------------------------------------------------------

    def reconsider(self) -> bool:
        """Decide whether the receiving waits for a reader; return whether it does."""
        # Before the readers are looked at: one that reads on meanwhile sees it, and has this decided again.
        self.paused = True
        until = self._waits_until(_monotonic())
        self.paused = paused = until < math.inf and self._transport.sock is not None
        if self._connection.watch.is_reading is paused:
            self._connection.watch.set_reading(not paused, _monotonic())
        if paused and self._timer is None and (loop := self._transport.loop) is not None:
            # One, however often it is paused meanwhile: who reads on moves what it waits for, not the timer.
            self._timer = loop.call_at(until, lambda: self._strand.post(self._time_is_over))
        return paused

    def end_pause(self) -> None:
        """End the pause with the socket."""
        self.paused = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """Forget the readers: in a forked child, their threads do not exist.

        Who is notified of lines is so by threads that are made as they are needed, in the child too.
        """
        self.readers.clear()
        self._timer = None
        self.paused = False

    def _waits_until(self, now: float) -> float:
        """Return until when the receiving waits for a reader that does not read on; inf: for none."""
        transcript = self._connection.transcript
        recent, end = transcript.recent(READER_SHARE), transcript.end
        until = math.inf
        for position in self.readers:
            position.poll(end, now)
            if position.next < recent:
                waited_until = position.is_waited_for_until
                if now < waited_until < until and not (position.yields and self._is_needed(position, end)):
                    until = waited_until
        return until

    def _is_needed(self, slow: ReaderPosition, end: int) -> bool:
        """Return whether anybody but the reader `slow` needs what the socket brings: other readers do when
        they have all that there is.
        """
        others = (*self.readers, *self._listeners)
        return self._connection.needs_to_receive or any(
            other is not slow and other.needs_more(end) for other in others
        )

    def _time_is_over(self) -> None:
        self._timer = None
        self.reconsider()

    def _first_needed(self, end: int) -> float:
        """Return the number of the first line that a reader is about to read which is neither slow nor
        forgotten; see `Transcript.begin_writing`.
        """
        now = _monotonic()
        first = math.inf
        for position in self.readers:
            position.poll(end, now)
            if position.next < first and now < position.is_kept_for_until:
                first = position.next
        return first
