"""Lines on their way out: encrypted, handed to the kernel, acknowledged by the peer; and those that wait for
a connection. Writes to no socket: the driver takes bytes with `next_outgoing` and reports with `hand_over`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import ConnectionLost, OutboxFull
from ..lines.delivery import UNCONFIRMED, Delivery
from ..lines.text import counted, decode
from ..lines.transcript import Transcript
from .configuration import QUEUE_LINES, Settings
from .expect import Expectation
from .ledger import Ledger
from .state import NEVER
from .tls import TLSPipe
from .traffic import Traffic

__all__ = ["FIRST_LOOK", "QUEUE_PATIENCE", "Outbox", "QueuedLine"]

FAREWELL_PATIENCE = 0.2
"""Seconds that a stop waits for the peer to acknowledge what was sent last; what it has not by then is
reported and never arrives later."""
QUEUE_PATIENCE = 60.0
"""Seconds that a line waits for a connection: an answer to something that was asked a minute ago
surprises."""
FAREWELL_LOOK = 0.001
"""Seconds between looks while the last acknowledgement is awaited."""
HURRIED_LOOK = 0.001
"""Seconds until the look after the next one, once somebody waits for an acknowledgement."""
FIRST_LOOK = 0.01
LONGEST_LOOK = 0.5
"""Seconds between looks at the acknowledgements, while some are awaited: doubling from the first to the
longest."""
JOIN_BELOW = 16 * 1024
JOIN_UP_TO = 256 * 1024
"""Bytes: what is smaller is joined with what follows, up to this much for one call of send."""
SHOWN = 60
"""Characters of a line that a message quotes."""

READS_NOTHING = "the peer reads nothing, or too slowly: wait, or stop the connection"
NOT_BACK_YET = "no connection yet: wait until it is back"
NOT_SENT_MEANWHILE = "replies and heartbeats are not sent meanwhile"
"""What a message advises where lines wait: who sends, who queues, and whoever reads the log."""


@dataclass(frozen=True, slots=True)
class QueuedLine:
    """A line that waits for a connection.

    data: its bytes for the wire. shown: what the transcript shows. expectation: is looked for once it is
    sent. since: when it was queued (monotonic, s).
    """

    data: bytes
    shown: bytes
    delivery: Delivery
    expectation: Expectation | None
    since: float


class Outbox:
    """All that one client sends, over all its connections; see the module's first lines.

    Attributes:
        outgoing: what waits to be handed to the kernel, ciphertext where there is TLS
        pipe: encrypts the lines; None: they leave as they are
        failure: why TLS takes no more lines
        look_at: when the driver is to ask the kernel next how much is acknowledged (monotonic, s)
        ends: when something else is to be done (monotonic, s): the orderly end has taken too long, a line has
            waited too long for a connection, or there is the room that was asked for

    """

    __slots__ = (
        "_expires_at",
        "_farewell_at",
        "_is_refusing",
        "_ledger",
        "_look_pause",
        "_queue",
        "_queue_size",
        "_settings",
        "_traffic",
        "_transcript",
        "_wants_room",
        "_written",
        "ends",
        "failure",
        "look_at",
        "outgoing",
        "pipe",
    )

    def __init__(self, settings: Settings, transcript: Transcript, traffic: Traffic) -> None:
        self._settings = settings
        self._transcript = transcript
        self._traffic = traffic
        self.outgoing: list[memoryview | bytes] = []
        self.pipe: TLSPipe | None = None
        self.failure: ConnectionLost | None = None
        self.look_at = NEVER
        self.ends = NEVER
        self._farewell_at = NEVER
        self._expires_at = NEVER
        self._wants_room = False
        self._ledger = Ledger()
        self._written = 0  # bytes of the outgoing stream so far
        self._look_pause = FIRST_LOOK
        self._queue: list[QueuedLine] = []
        self._queue_size = 0  # bytes
        self._is_refusing = False  # whether the last line of our own accord found no room

    # -- one connection --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin anew, with a connection's first byte."""
        self._ledger = Ledger()
        self.outgoing.clear()
        self._written = 0

    def close(self, acknowledged: int | None) -> tuple[Delivery, ...]:
        """End with the connection; return what was not acknowledged, in order.

        Args:
            acknowledged: bytes of the stream that the peer has, as far as is known; None: nobody can tell

        """
        if acknowledged is not None:
            self._ledger.acknowledge(acknowledged)
        lost = self._ledger.close()
        self.let_go()
        return lost

    def let_go(self) -> None:
        """Send no more of this connection, and wait for nothing of it."""
        self.outgoing.clear()
        self.pipe = self.failure = None
        self.look_at = self._farewell_at = NEVER
        self._wants_room = False
        self._plan()

    def forked(self) -> None:
        """Let go in a child process: what becomes of the lines, its parent knows."""
        for entry in self._queue:
            entry.delivery.status = UNCONFIRMED
        self._queue.clear()
        self._queue_changed(-self._queue_size)
        self._ledger.close()
        self.let_go()

    # -- writing ---------------------------------------------------------------------------------------------

    def write(self, data: bytes, shown: bytes, delivery: Delivery, now: float, wall: float) -> int:
        """Have a line leave; return its number. Where TLS does not take it, `failure` says why.

        Args:
            data: its bytes, with the line end
            shown: what the transcript shows of it
            delivery: follows it from here on
            now: monotonic (s)
            wall: the same as Unix time (s)

        """
        delivery.number = number = self._transcript.append_sent(shown, wall, delivery)
        self._traffic.sent_at = now
        size = len(data)
        if self.pipe is None:
            self.outgoing.append(data)
            self._written = end = self._written + size
        else:
            end = self._encrypt(self.pipe, data)
        self._ledger.add(end, size, delivery)
        if not self.outgoing:
            self._ledger.hand_over(0)  # no bytes at all, which TLS makes no record of
        soon = now + FIRST_LOOK
        if self.look_at > soon:
            self._look_pause = FIRST_LOOK
            self.look_at = soon
        return number

    def _encrypt(self, pipe: TLSPipe, data: bytes) -> int:
        """Encrypt a line; return up to where of the stream it goes."""
        try:
            pipe.write(data)
        except ConnectionLost as error:
            self.failure = error
        self.collect()
        # What TLS did not take ends where nothing is ever acknowledged.
        return self._written if self.failure is None else self._written + 1

    def collect(self) -> None:
        """Take over what TLS has to send: lines, an alert, a key update or a flight of the handshake."""
        if self.pipe is not None and (data := self.pipe.take()):
            self.outgoing.append(data)
            self._written += len(data)

    @property
    def has_failed(self) -> bool:
        """Whether TLS takes nothing any more."""
        return self.pipe is not None and self.pipe.failed

    def say_goodbye(self, now: float) -> None:
        """Begin the orderly end: close_notify in TLS, then a moment for the last acknowledgement."""
        self._farewell_at = now + FAREWELL_PATIENCE
        self._plan()
        self.look_at = now
        if self.pipe is not None:
            self.pipe.close()
            self.collect()

    # -- room ------------------------------------------------------------------------------------------------

    def check_room(self, size: int) -> None:
        """Raise OutboxFull where a line of the user's of `size` bytes is too much for what waits already."""
        ledger = self._ledger
        if ledger.unsent or size > self._settings.queue_bytes:
            self._check(ledger.lines_queued, ledger.size_unsent, size, READS_NOTHING)

    def check_own_room(self, size: int, wall: float) -> bool:
        """Return whether a line of our own accord, of `size` bytes, may leave; say once in the log, `wall`
        (Unix time, s), that it may not.
        """
        try:
            self._check(self._ledger.lines_queued, self._ledger.size_unsent, size, NOT_SENT_MEANWHILE)
        except OutboxFull as error:
            self.refuse(str(error), wall)
            return False
        self._is_refusing = False
        return True

    def refuse(self, why: str, wall: float) -> None:
        """Say why a line of our own accord is not sent; once, however many there are in a row."""
        if not self._is_refusing:
            self._is_refusing = True
            self._transcript.append_note(why, wall)

    def ask_for_room(self) -> None:
        """Have `ends` come as soon as the kernel has taken all that there is."""
        self._wants_room = True

    def gets_room(self) -> bool:
        """Return whether there is the room that was asked for; once."""
        if not self._wants_room or self.outgoing:
            return False
        self._wants_room = False
        self._plan()
        return True

    def is_full(self, size: int) -> bool:
        """Return whether `size` bytes more have to wait until the kernel has taken some."""
        return self._is_full(self._ledger.lines_queued, self._ledger.size_unsent, size)

    def _is_full(self, lines: int, size: int, more: int) -> bool:
        settings = self._settings
        return lines >= settings.queue_lines or (lines > 0 and size + more > settings.queue_bytes)

    def _check(self, lines: int, size: int, more: int, advice: str) -> None:
        if more > self._settings.queue_bytes:
            raise OutboxFull(
                f"{more} bytes at once are more than may wait to be sent ({self._settings.queue_bytes}); "
                "send them in pieces, or give the client a greater queue_limit"
            )
        if self._is_full(lines, size, more):
            what = counted(lines, "line")
            wait = "waits" if lines == 1 else "wait"
            where = self._settings.where
            raise OutboxFull(f"{what} ({size} bytes) {wait} to be sent to {where}; {advice}")

    # -- handing over ----------------------------------------------------------------------------------------

    def next_outgoing(self) -> memoryview | bytes:
        """Return the next bytes for the kernel, where there is something `outgoing`; small pieces are joined,
        as each call of the kernel costs more than they do.
        """
        out = self.outgoing
        if len(out) > 1 and len(out[0]) < JOIN_BELOW:
            size = count = 0
            while count < len(out) and size < JOIN_UP_TO:
                size += len(out[count])
                count += 1
            out[:count] = [b"".join(out[:count])]
        return out[0]

    def hand_over(self, size: int) -> bool:
        """Note that the kernel took `size` bytes of `outgoing`; return whether something is left."""
        self._ledger.hand_over(size)
        out = self.outgoing
        head = out[0]
        if size == len(head):
            del out[0]
            if self._wants_room and not out:
                self.ends = 0.0  # over
            return bool(out)
        out[0] = memoryview(head)[size:]
        return True

    @property
    def handed_over(self) -> int:
        """Bytes of the outgoing stream that the kernel took."""
        return self._ledger.sent

    @property
    def backlog(self) -> tuple[int, int]:
        """Lines and bytes that wait to be handed to the kernel, or for a connection."""
        return self._ledger.lines_queued + len(self._queue), self._ledger.size_unsent + self._queue_size

    # -- acknowledgements ------------------------------------------------------------------------------------

    def hurry(self, now: float) -> None:
        """Have the acknowledgements looked at soon: somebody waits for one."""
        if not self._ledger.settled:
            self._look_pause = HURRIED_LOOK
            self.look_at = now

    def expect_acknowledgement(self, now: float) -> None:
        """Have them looked at soon, as something was received, which most likely acknowledges something."""
        if now + FIRST_LOOK < self.look_at < NEVER and self._ledger.awaiting:
            self.look_at = now + FIRST_LOOK

    def looked(self, acknowledged: int | None, now: float) -> None:
        """Take over how much of the stream the peer has acknowledged (None: nobody can tell), and plan the
        next look.
        """
        self.look_at = NEVER
        ledger = self._ledger
        if acknowledged is None:
            ledger.forget_sent(QUEUE_LINES)
            return
        moved = ledger.acknowledge(acknowledged)
        if not ledger.settled:
            self._look_pause = FIRST_LOOK if moved else min(2 * self._look_pause, LONGEST_LOOK)
            self.look_at = now + self._look_pause

    def _plan(self) -> None:
        has_room = self._wants_room and not self.outgoing
        self.ends = 0.0 if has_room else min(self._farewell_at, self._expires_at)

    def is_goodbye_late(self, now: float) -> bool:
        """Return whether the orderly end has taken too long; once."""
        if now < self._farewell_at:
            return False
        self._farewell_at = NEVER
        self._plan()
        return True

    def has_said_goodbye(self, acknowledged: int | None, now: float) -> bool:
        """Return whether the orderly end is done; until then, it is looked at often."""
        if acknowledged is None or (acknowledged >= self._written and not self.outgoing):
            return True
        self.look_at = now + FAREWELL_LOOK
        return False

    def all_acknowledged(self, acknowledged: int) -> bool:
        """Return whether the peer has all that was written, when it has acknowledged so many bytes."""
        return acknowledged >= self._written

    def unacknowledged(self, acknowledged: int | None) -> int:
        """Return how many bytes the kernel has and the peer has not acknowledged, as far as is known."""
        return 0 if acknowledged is None else max(0, self._ledger.sent - acknowledged)

    # -- waiting for a connection ----------------------------------------------------------------------------

    def enqueue(
        self, data: bytes, shown: bytes, delivery: Delivery, expectation: Expectation | None, now: float
    ) -> None:
        """Have a line wait for a connection. Raises OutboxFull."""
        self._check(len(self._queue), self._queue_size, len(data), NOT_BACK_YET)
        self._queue.append(QueuedLine(data, shown, delivery, expectation, now))
        self._queue_changed(len(data))

    def next_queued(self) -> QueuedLine | None:
        """Return the line that has waited for the longest, which waits no more; None: there is none."""
        if not self._queue:
            return None
        entry = self._queue.pop(0)
        self._queue_changed(-len(entry.data))
        return entry

    def _queue_changed(self, size: int) -> None:
        self._queue_size += size
        self._expires_at = self._queue[0].since + QUEUE_PATIENCE if self._queue else NEVER
        self._plan()

    def expire(self, now: float, wall: float) -> None:
        """Give up the lines that have waited for too long."""
        while now >= self._expires_at:
            self._give_up(f"waited {QUEUE_PATIENCE:.0f} s for a connection", wall)

    def drop_queue(self, why: str, wall: float) -> None:
        """Give up all lines that wait."""
        while self._queue:
            self._give_up(why, wall)

    def forget(self, expectation: Expectation) -> None:
        """Look for nothing once its line is sent: nobody waits any longer. The line itself is still sent."""
        for index, entry in enumerate(self._queue):
            if entry.expectation is expectation:
                self._queue[index] = replace(entry, expectation=None)
                expectation.unsent = True

    def _give_up(self, why: str, wall: float) -> None:
        entry = self.next_queued()
        assert entry is not None
        entry.delivery.status = UNCONFIRMED
        if entry.expectation is not None:
            entry.expectation.outcome = ConnectionLost(f"not sent: {why}")
        shown = decode(entry.shown, self._settings.encoding)[:SHOWN]
        self._transcript.append_note(f"not sent, {why}: {shown}", wall)
