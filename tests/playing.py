"""Plays connections as values: what a driver does, without a system. Bytes, wishes and times go in; bytes,
effects and outcomes come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ipyreconnect.errors import AttemptFailed, CallerError, ConnectionLost
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.search import Pattern, compile_pattern
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.network.matcher import Matchers
from ipyreconnect.profile.base import PROFILES
from ipyreconnect.protocol.configuration import Settings
from ipyreconnect.protocol.connection import Connection
from ipyreconnect.protocol.events import ApplyOptions, Event, Frame, Judge, RunFunction, StatusChanged
from ipyreconnect.protocol.expect import Expectation
from ipyreconnect.protocol.judging import RULE_PATIENCE
from ipyreconnect.protocol.match import Match
from ipyreconnect.protocol.state import Effect, Phase
from ipyreconnect.protocol.status import Status
from ipyreconnect.settings import Heartbeat, KeepAlive, Retry

WALL = 1_000_000_000.0
"""What the wall clock shows where the monotonic one shows 0."""


class Play:
    """A connection with nobody but the test around it; it does what a driver does, without a system."""

    def __init__(
        self,
        *,
        retry: Retry | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        transcript: Transcript | None = None,
        replies: tuple[tuple[bytes, bytes], ...] = (),
        profile: str = "tcp",
        heartbeat: Heartbeat | None = None,
        silence: float | None = None,
        **settings: Any,
    ) -> None:
        self.connection = Connection(
            Settings(where="server:1", profile=PROFILES[profile], **settings),
            KeepAlive(),
            retry or Retry(),
            Transcript() if transcript is None else transcript,
            chance,
        )
        self.connection.wall_offset = WALL
        self.connection.watch.set_heartbeat(heartbeat, 0.0)
        self.connection.watch.set_silence(silence, 0.0)
        self.connection.replies.set_rules(tuple((re.compile(pattern), line) for pattern, line in replies))
        self.effects: list[Effect] = []
        self.statuses: list[Status] = []
        self.options: list[tuple[KeepAlive, int]] = []
        self.sessions: list[int] = []  # of the on-connect function, as it is to run
        self.wire = b""
        self.acknowledged: int | None = 0
        self.now = 0.0  # when the time was last looked at
        self.stuck = False  # whether the kernel takes nothing, as the peer does not read

    # -- what a driver does

    def settle(self, now: float, *, takes: int | None = None) -> None:
        """Do what is asked for, and hand over what is to be sent, at most `takes` bytes of it."""
        connection, outbox = self.connection, self.connection.outbox
        takes = 0 if self.stuck else takes
        while True:
            for event in connection.take_events():
                self._act_on(event, now)
            while outbox.outgoing and takes != 0:
                data = bytes(outbox.next_outgoing())[:takes]
                takes = None if takes is None else takes - len(data)
                self.wire += data
                outbox.hand_over(len(data))
            if not connection.events:
                break

    def _act_on(self, event: Event, now: float) -> None:
        connection = self.connection
        match event:
            case Effect():
                if event in (Effect.DROP, Effect.CLOSE):
                    connection.dropped(self.acknowledged, now)
                elif event is Effect.END:
                    connection.stopped(now)
                self.effects.append(event)
            case StatusChanged():
                self.statuses.append(event.status)
            case ApplyOptions():
                self.options.append((event.keepalive, event.user_timeout))
            case RunFunction():
                self.sessions.append(event.session)
            case Frame():
                if (job := connection.inbox.take_framing_job()) is not None:
                    try:
                        connection.framed(job, job.run(), None, now)
                    except CallerError as error:
                        connection.framed(job, [], error, now)
            case Judge():
                if (task := connection.take_job()) is not None:
                    with Matchers(RULE_PATIENCE) as matchers:
                        connection.judged(task, task.run(matchers.search), now)

    def start(self, now: float = 0.0) -> None:
        self.connection.start(now)
        self.settle(now)

    def dialed(self, now: float = 0.0) -> None:
        """Let the dial bring a socket."""
        self.wire, self.acknowledged = b"", 0
        self.connection.progress(Phase.DIALING, now)
        self.connection.dialed("10.0.0.1:1", "10.0.0.2:40000", KeepAlive(), now)
        self.settle(now)

    def refused(self, now: float = 0.0, *, final: bool = False) -> None:
        """Let the dial fail."""
        self.connection.fail(AttemptFailed("refused by server:1", final), now)
        self.settle(now)

    def lost(self, now: float, reason: str = "reset by server:1") -> None:
        self.connection.fail(ConnectionLost(reason), now)
        self.settle(now)

    def receive(self, data: bytes, now: float = 0.0, *, takes: int | None = None) -> None:
        """Let the peer's bytes arrive."""
        connection = self.connection
        while data:
            if connection.inbox.is_in_place:
                room = connection.transcript.room()
                size = min(len(room), len(data))
                room[:size] = data[:size]
                connection.committed(size, now)
            else:
                size = len(data)
                connection.received(memoryview(data), now)
            data = data[size:]
        self.go_on(now, takes=takes)

    def go_on(self, now: float, *, takes: int | None = None) -> None:
        """Have the connection take over what it held back."""
        while self.connection.inbox.has_buffered:
            self.connection.go_on(now)
        self.settle(now, takes=takes)

    def eof(self, now: float = 0.0) -> None:
        self.connection.received_eof(now)
        self.settle(now)

    def at(self, now: float) -> None:
        """Let the time come; what the peer acknowledged is looked at when that is wanted."""
        self.now = now
        self.connection.due(now)
        if now >= self.connection.wants_look:
            self.connection.looked(None, now, self.acknowledged)
        self.settle(now)

    def until(self, end: float) -> None:
        """Let the time pass, from one deadline to the next."""
        for _ in range(10_000):
            deadline = self.connection.deadline
            if deadline > end:
                break
            self.at(max(deadline, self.now))
        else:
            raise AssertionError("the deadline does not move on")
        self.at(end)

    def change_network(self, now: float) -> None:
        self.connection.network_changed(now)
        self.settle(now)

    def stop(self, now: float) -> None:
        self.connection.stop(now)
        self.settle(now)

    # -- what a user does

    def up(self, now: float = 0.0) -> Play:
        """Connect, without anything in between."""
        self.start(now)
        self.dialed(now)
        assert self.state == "connected"
        return self

    def send(
        self,
        line: bytes,
        now: float = 0.0,
        *,
        expect: Expectation | None = None,
        queue: bool = False,
        takes: int | None = None,
    ) -> Delivery:
        delivery = Delivery(line)
        self.connection.send(line + b"\r\n", line, delivery, now, expectation=expect, queue=queue)
        self.settle(now, takes=takes)
        return delivery

    def expect(self, pattern: Pattern, now: float = 0.0, *, whole: bool = False) -> Expectation:
        expectation = awaited(pattern)
        expectation.whole = whole
        self.connection.expect(expectation, now)
        self.settle(now)
        return expectation

    # -- what there is to see

    @property
    def state(self) -> str:
        return self.connection.state.value

    @property
    def status(self) -> Status:
        return self.connection.status

    @property
    def log(self) -> list[str]:
        return [f"{line.direction} {line.text}" for line in self.connection.transcript]

    @property
    def lines(self) -> list[Line]:
        return list(self.connection.transcript)


def awaited(pattern: Pattern) -> Expectation:
    return Expectation(compile_pattern(pattern))


def found(expectation: Expectation) -> Match:
    assert isinstance(expectation.outcome, Match)
    return expectation.outcome


def lost(expectation: Expectation) -> str:
    assert isinstance(expectation.outcome, ConnectionLost)
    return str(expectation.outcome)
