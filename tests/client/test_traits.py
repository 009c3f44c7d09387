"""Prove that observers are told of each change, in order, on a thread of their own."""

from __future__ import annotations

import contextvars
import functools
import gc
import queue
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import traitlets
from traitlets import TraitError

from ipyreconnect import (
    Client,
    Retry,
)
from ipyreconnect.protocol.health import UNKNOWN, Health
from tests.servers.line_server import (
    LineServer,
)
from tests.watching import PATIENCE, States, until


def test_observers_are_told_in_order(server: LineServer, client: Client) -> None:
    """Observers of the state see each change once, in order, with old and new."""
    seen: queue.Queue[tuple[str, str]] = queue.Queue()
    client.observe(lambda change: seen.put((change.old, change.new)), "state")
    server.peer(0).reset()
    until(client, lambda: client.status.connection == 2)
    client.stop()
    changes = [seen.get(timeout=PATIENCE) for _ in range(5)]
    states = ["connected", "waiting", "connecting", "connected", "stopping", "stopped"]
    assert changes == list(pairwise(states))


@pytest.mark.parametrize("end", [Client.reconnect_now, Client.stop, None])
def test_the_state_is_told_last(server: LineServer, end: Callable[[Client], None] | None) -> None:
    """Who observes the state has been told before what else belongs to it."""
    seen: queue.Queue[tuple[str, Any]] = queue.Queue()
    with Client(server.address, retry=60) as client:
        until(client, lambda: client.status.verdict is not None)
        client.observe(lambda change: seen.put((change.name, change.new)))
        if end is not None:
            end(client)
        else:
            server.peer(0).close()
        told: list[tuple[str, Any]] = []
        while ("state", client.state) not in told:
            told.append(seen.get(timeout=PATIENCE))
    first = next(at for at, (name, new) in enumerate(told) if name == "state" and new != "stopping")
    before = told[:first]
    assert {("connected_since", None), ("health", UNKNOWN)} <= set(before)


def test_who_observes_the_health_is_given_it(server: LineServer) -> None:
    """Observers of the health are given what the attribute gives, of the moment that its verdict changed."""
    seen: queue.Queue[Health] = queue.Queue()
    client = Client(server.address)
    client.observe(lambda change: seen.put(change.new), "health")
    with client:
        alive = seen.get(timeout=PATIENCE)
        assert (alive.verdict, alive.probes_of, alive.unacknowledged) == ("alive", 3, 0)
    assert seen.get(timeout=PATIENCE) == client.health == UNKNOWN


def test_observers_run_on_a_thread_of_their_own(server: LineServer) -> None:
    """No observer runs on the I/O thread, nor on the one that caused the change."""
    names: queue.Queue[str] = queue.Queue()
    client = Client(server.address)
    client.observe(lambda change: names.put(threading.current_thread().name))
    client.on_line(lambda line: names.put(threading.current_thread().name))
    with client:
        client.send("x", expect="x")
    assert {names.get(timeout=PATIENCE) for _ in range(6)} == {"ipyreconnect-observers"}


def test_callbacks_run_where_they_were_given(server: LineServer) -> None:
    """A context variable, by which a notebook knows whose output it is, has the value of that place."""
    cell: contextvars.ContextVar[str] = contextvars.ContextVar("cell", default="none")
    seen: queue.Queue[tuple[str, str]] = queue.Queue()

    def login(session: Any) -> None:
        seen.put(("function", cell.get()))

    def note(name: str) -> Callable[[Any], object]:
        return lambda _: seen.put((name, cell.get()))

    cell.set("made")
    with Client(server.address, on_connect=login) as client:
        cell.set("observed")
        client.observe(state := note("observer"), "state")
        cell.set("listened")
        client.on_line(note("listener"))
        cell.set("later")
        server.peer(0).send(b"a line\r\n")
        client.expect("a line")
        client.reconnect_now()
        found: set[tuple[str, str]] = set()
        while len({name for name, _ in found}) < 3:
            found.add(seen.get(timeout=PATIENCE))
        client.unobserve(state, "state")
    assert found == {("function", "made"), ("observer", "observed"), ("listener", "listened")}
    cell.set("none")


def test_a_slow_observer_slows_nothing(client: Client) -> None:
    """While an observer takes its time, lines come and go, and the client can be stopped."""
    begun, over = threading.Event(), threading.Event()

    def dawdle(change: Any) -> None:
        begun.set()
        over.wait(PATIENCE)

    client.observe(dawdle, "state")
    client.reconnect_now()
    assert begun.wait(PATIENCE)
    until(client, lambda: client.state == "connected")
    client.send("x", expect="x")
    client.stop()
    assert client.state == "stopped"
    over.set()


def test_an_observer_that_fails_robs_nobody(
    server: LineServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What one observer raises is logged; the others, and its own next calls, are made all the same."""
    seen: queue.Queue[str] = queue.Queue()

    def fail(change: Any) -> None:
        raise SystemExit("no")

    for name in ("reason", "state", "phase"):
        client.observe(fail, name)
    client.observe(lambda change: 1 / 0)
    client.observe(lambda change: seen.put(change.new), "state")
    server.peer(0).reset()
    assert [seen.get(timeout=PATIENCE) for _ in range(3)] == ["waiting", "connecting", "connected"]
    assert "an observer of" in caplog.text
    assert client.state == "connected"


def test_a_subclass_may_declare_its_observers(server: LineServer) -> None:
    """What traitlets' decorator marks is told like what is registered later."""
    seen: queue.Queue[str] = queue.Queue()

    class Watched(Client):
        @traitlets.observe("state")
        def _note(self, change: Any) -> None:
            seen.put(change.new)

    with Watched(server.address):
        assert [seen.get(timeout=PATIENCE) for _ in range(2)] == ["connecting", "connected"]
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == ["stopping", "stopped"]


def test_all_observers_can_be_taken_away(client: Client) -> None:
    """After unobserve_all nobody is called, and nothing of them is kept."""
    seen: list[str] = []
    handler = functools.partial(lambda change: seen.append(change.new))
    client.observe(handler, "state")
    gone = weakref.ref(handler)
    del handler
    client.unobserve_all()
    gc.collect()
    assert gone() is None
    client.stop()
    assert seen == []


def test_an_observer_can_be_taken_away(client: Client) -> None:
    """After unobserve nobody is called."""
    seen: list[str] = []
    client.observe(handler := lambda change: seen.append(change.new), "state")
    client.unobserve(handler, "state")
    client.reconnect_now()
    states = States(client)
    client.stop()
    states.wait("stopped")
    assert seen == []


def test_an_observer_finds_the_rest_as_it_belongs(client: Client, server: LineServer) -> None:
    """When the state is told, reason and time of the next try are already there."""
    seen: queue.Queue[tuple[str, float | None]] = queue.Queue()
    client.observe(lambda change: seen.put((client.reason, client.retry_at)), "state")
    server.refuse()
    client.retry = Retry(delay=60)
    server.peer(0).reset()
    reason, retry_at = seen.get(timeout=PATIENCE)
    assert reason == f"reset by {server.address}"
    assert retry_at is not None


def test_state_can_be_observed_and_not_set(client: Client) -> None:
    """What follows the connection cannot be set."""
    with pytest.raises(TraitError, match=r"\"state\" trait is read-only"):
        client.state = "connected"
