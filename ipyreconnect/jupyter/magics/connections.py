"""Find connections by name, and list them; it starts and stops none.

Those that the magics started are remembered, also when they have stopped. Those that were made in Python are
known while they run: by their names, or as NAME#2 and so on where another one has the name.
"""

from __future__ import annotations

import itertools
import os
import time
import weakref
from collections.abc import Callable, Sequence

from IPython.core.error import UsageError

from ...address import Address
from ...client.client import Client
from ...lines.line import Line
from ...lines.text import visible
from ...lines.transcript import Transcript
from ...protocol.health import Verdict
from ...protocol.state import State
from ...protocol.status import Status
from ..output.text import shortened
from .options import suggest

STOPPED_KEPT = 8
"""Stopped connections that are remembered with their transcripts: enough to look back, bounded in memory."""
LONGEST_REASON = 160
"""Characters of a reason in the table."""
NOTES_WITHIN = 100_000
"""Lines, from the newest back, that are searched for the last event."""


class Connections:
    """The connections by name, in the order in which they were started. For the main thread.

    *Own* connections are those that were put here, by the magics; the *others* are those that run and were
    made in Python.
    """

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._ended: set[str] = set()
        # Each keeps its name for as long as it runs.
        self._called: weakref.WeakKeyDictionary[Client, str] = weakref.WeakKeyDictionary()

    def name_for(self, address: Address) -> str:
        """Choose a name: the host; where another address has that, host:port or the whole address.

        The same address gets the same name again, so that a second %connect replaces the first; one that the
        user gave a name of its own is left alone.
        """
        host = address.host or os.path.basename(address.path) or address.path
        names = (host, address.display, str(address))
        for name in names:
            if (client := self._clients.get(name)) is not None and client.address == address:
                return name
        others = self.others()
        for name in names:
            if name not in self._clients and name not in others:
                return name
        return str(address)

    def others(self) -> dict[str, Client]:
        """Return what runs and is not own, by name, in the order in which it was started."""
        own = {id(client) for client in self._clients.values()}
        running = [client for client in Client.all() if id(client) not in own]
        names: dict[str, Client] = {}
        for client in running:
            name = self._called.get(client)
            if name is not None and name not in self._clients:
                names.setdefault(name, client)
        for client in running:
            if names.get(self._called.get(client, "")) is not client:
                numbered = (f"{client.name}#{number}" for number in itertools.count(2))
                name = next(
                    name
                    for name in itertools.chain([client.name], numbered)
                    if name not in names and name not in self._clients
                )
                names[name] = client
                self._called[client] = name
        return {self._called[client]: client for client in running}

    def name_of(self, client: Client) -> str:
        """Return the name by which a client is found here, or was while it ran."""
        name: str = client.name
        if self._clients.get(name) is client:
            return name
        self.others()
        return self._called.get(client, name)

    def put(self, client: Client) -> None:
        """Remember a client under its name as the latest: it is an own one from now on."""
        self._clients.pop(client.name, None)
        self._ended.discard(client.name)
        self._clients[client.name] = client
        stopped = [name for name, other in self._clients.items() if other.status.state is State.STOPPED]
        for name in stopped[:-STOPPED_KEPT]:
            if name != client.name:
                del self._clients[name]
                self._ended.discard(name)

    def end(self, client: Client) -> None:
        """Note that the user stopped it: a magic without a name does not mean it any more."""
        if self._clients.get(client.name) is client:
            self._ended.add(client.name)

    def get(self, name: str) -> Client | None:
        """Return the own client of that name, or None."""
        return self._clients.get(name)

    def find(self, name: str | None) -> Client:
        """Return the client of that name, or the latest.

        Raises:
            UsageError: there is none; it suggests a name that is near.

        """
        if name is None:
            latest = self.latest
            if latest is None:
                raise UsageError(
                    "no connection yet: start one with %connect ADDRESS, such as %connect 127.0.0.1:4000"
                )
            return latest
        known = self._clients | self.others()
        client = known.get(name)
        if client is None:
            near = suggest(name, known)
            if near:
                hint = f"did you mean {near}?"
            elif known:
                hint = f"known: {', '.join(known)}"
            else:
                hint = "there is none yet; start one with %connect ADDRESS"
            raise UsageError(f"no connection named {name!r}; {hint}")
        return client

    @property
    def latest(self) -> Client | None:
        """The one that a magic without a name means.

        The own one started last that the user did not stop, else the last of the others, else the last own
        one. Own before others: a library that connects in the background must not change what %send means.
        """
        going = [client for name, client in self._clients.items() if name not in self._ended]
        known = going or [*self.others().values()] or [*self._clients.values()]
        return known[-1] if known else None

    def names(self) -> list[str]:
        """Return all names, the latest first, the own ones before the others."""
        return [*reversed(self._clients), *reversed(self.others())]

    def own(self) -> list[Client]:
        """Return the own clients in the order in which they were started."""
        return list(self._clients.values())

    def all(self) -> list[Client]:
        """Return the own clients, and then the others, in the order in which they were started."""
        return [*self._clients.values(), *self.others().values()]

    def running(self) -> list[Client]:
        """Return those of them that are not stopped."""
        return [client for client in self.all() if client.status.state is not State.STOPPED]

    def clear(self) -> None:
        """Forget them all."""
        self._clients.clear()
        self._ended.clear()
        self._called.clear()


def table(
    clients: Sequence[Client], latest: Client | None, now: float, name_of: Callable[[Client], str]
) -> str:
    """Return a table of connections in aligned columns; a * marks the one that is meant without -c.

    Args:
        clients: the connections.
        latest: the one meant without -c.
        now: Unix time, s.
        name_of: gives a client's name as users know it.

    """
    marks = ("* ", "  ") if len(clients) > 1 else ("", "")
    rows = [(f"{marks[1]}NAME", "ADDRESS", "STATE", "SINCE", "LAST LOSS")]
    for client in clients:
        name = marks[client is not latest] + visible(name_of(client))
        lost = shortened(visible(last_loss(client.status)), LONGEST_REASON)
        rows.append((name, str(client.address), state(client, now), since(client, now), lost))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def state(client: Client, now: float) -> str:
    """Return what a client does now, in few words. `now`: Unix time, s."""
    status = client.status
    match status.state:
        case State.WAITING if status.retry_at is not None:
            return f"waiting, try {status.attempt + 1} in {max(0.0, status.retry_at - now):.1f} s"
        case State.CONNECTING:
            phase = f", {status.phase.value}" if status.phase is not None else ""
            return f"connecting{phase}, try {status.attempt}"
        case State.CONNECTED if status.verdict not in (None, Verdict.ALIVE):
            health = client.health
            left = f" in {health.dead_in:.0f} s" if health.dead_in is not None else ""
            return f"connected, {'dead' if left else health.verdict.value}{left}"
        case _:
            return str(status.state.value)


def last_loss(status: Status) -> str:
    """Return why the last connection was lost and, until it is back, why the last try failed."""
    reasons = (status.loss,) if status.state is State.CONNECTED else (status.loss, status.reason)
    return "; then ".join(dict.fromkeys(filter(None, reasons)))


def since(client: Client, now: float) -> str:
    """Return since when a client is in its state: the time, and the day unless it is today's.

    `now` is Unix time.
    """
    begin = client.status.connected_since if client.status.state is State.CONNECTED else None
    if begin is None:
        note = last_note(client.transcript)
        if note is None:
            return ""
        begin = note.time
    moment, today = time.localtime(begin), time.localtime(now)
    same_day = moment[:3] == today[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", moment)


def last_note(transcript: Transcript) -> Line | None:
    """Return the line of the last event, or None where it is forgotten or long ago."""
    end = transcript.end
    step = 256
    begin = end
    while begin > max(transcript.first, end - NOTES_WITHIN):
        stop, begin = begin, max(transcript.first, begin - step)
        notes = [line for line in transcript.lines(begin, stop) if line.direction == "*"]
        if notes:
            return notes[-1]
        step *= 4
    return None
