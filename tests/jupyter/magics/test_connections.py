"""Prove which connections are found by which name, and what the list says of each."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

import ipyreconnect
from ipyreconnect import Client
from ipyreconnect.jupyter.magics.connections import Connections, last_loss
from ipyreconnect.protocol.state import State
from ipyreconnect.protocol.status import Status
from tests.jupyter.shells import new_shell, run
from tests.servers.line_server import LineServer, answering
from tests.watching import until

REFUSED, CLOSED = "refused by 127.0.0.1:1", "closed by 127.0.0.1:1"


@pytest.mark.parametrize(
    ("state", "loss", "reason", "said"),
    [
        (State.CONNECTED, "", "", ""),
        (State.CONNECTED, "", REFUSED, ""),
        (State.CONNECTED, CLOSED, REFUSED, CLOSED),
        (State.WAITING, "", REFUSED, REFUSED),
        (State.WAITING, CLOSED, CLOSED, CLOSED),
        (State.CONNECTING, CLOSED, REFUSED, f"{CLOSED}; then {REFUSED}"),
    ],
)
def test_the_last_loss_is_the_loss_of_a_connection(state: State, loss: str, reason: str, said: str) -> None:
    """It says why a connection was lost; a try that failed is told only as long as none has succeeded."""
    assert last_loss(Status(state=state, loss=loss, reason=reason)) == said


# -- those that were made in Python --------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer(answering({rb"(.*)": rb"re \1"})) as server:
        yield server


@pytest.fixture
def shell() -> Iterator[Any]:
    with new_shell() as shell:
        ipyreconnect.load_ipython_extension(shell)
        yield shell
        ipyreconnect.unload_ipython_extension(shell)


def made(server: LineServer, name: str = "mine") -> Client:
    return Client(server.address, name=name).connect()


def test_each_is_called_the_same_for_as_long_as_it_runs(server: LineServer) -> None:
    """The second of a name is NAME#2, also when the first has ended; then its name is free again."""
    known = Connections()
    first, second = made(server), made(server)
    assert known.others() == {"mine": first, "mine#2": second}
    first.stop()
    assert known.others() == {"mine#2": second}
    third, fourth = made(server), made(server)
    assert known.others() == {"mine#2": second, "mine": third, "mine#3": fourth}
    assert known.names() == ["mine#3", "mine", "mine#2"]
    first.connect()  # whose name is another's now
    assert known.name_of(first) == "mine#4"
    assert known.find("mine#2") is second
    assert [known.name_of(client) for client in known.all()] == ["mine#2", "mine", "mine#3", "mine#4"]
    for client in Client.all():
        client.stop()
    assert known.all() == []
    assert known.names() == []
    assert known.name_of(second) == "mine#2"  # for who tells of its end


def test_one_whose_name_ends_like_anothers_number_is_told_apart(server: LineServer) -> None:
    """No two are called the same, whatever users call theirs."""
    known = Connections()
    clients = [made(server, name) for name in ("mine#2", "mine", "mine", "mine#2")]
    assert known.others() == dict(zip(["mine#2", "mine", "mine#3", "mine#2#2"], clients, strict=True))
    for client in clients:
        client.stop()


def test_an_own_name_is_an_own_ones(server: LineServer) -> None:
    """What the user names here is found by that name; one of Python's that has it gets another."""
    known = Connections()
    python, own = made(server), made(server)
    assert known.find("mine") is python
    assert known.get("mine") is None
    known.put(own)
    assert known.find("mine") is known.get("mine") is own
    assert known.others() == {"mine#2": python}
    assert known.name_for(own.address) == "127.0.0.1"
    own.stop()
    assert known.find("mine") is own  # to look back
    python.stop()


def test_no_name_is_chosen_that_one_of_pythons_has(server: LineServer) -> None:
    """A %connect without --name leaves it its name."""
    known = Connections()
    with Client(server.address) as python:
        assert python.name == "127.0.0.1"
        assert known.name_for(python.address) == server.address


def test_own_ones_are_meant_before_those_of_python(server: LineServer) -> None:
    """Without -c: the latest own that was not stopped, else the latest of Python's, else what was stopped."""
    known = Connections()
    own = made(server, "own")
    known.put(own)
    first, second = made(server), made(server)
    assert known.latest is own
    own.stop()
    known.end(own)
    assert known.latest is second
    first.stop()
    second.stop()
    assert known.latest is own


def test_what_is_known_is_not_kept_alive(server: LineServer) -> None:
    """A client that has ended and has no variable is gone."""
    known = Connections()
    made(server)
    assert known.names() == ["mine"]
    Client.all()[0].stop()
    gc.collect()
    assert len(known._called) == 0


def test_the_magics_reach_what_was_made_in_python(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed, sent to, asked, shown, changed and stopped by its name, and completed."""
    run(shell, "%connect")
    assert "no connections" in capsys.readouterr().out
    shell.user_ns["server"], shell.user_ns["made"] = server, made
    first, second = run(shell, "pair = made(server), made(server); pair").result
    run(shell, "%connect")
    table = capsys.readouterr().out
    assert [line.split()[:2] for line in table.splitlines()[-2:]] == [
        ["mine", f"tcp://{server.address}"],
        ["*", "mine#2"],
    ]
    assert run(shell, "%send -c mine --expect re hello").result.text == "re hello"
    assert run(shell, "%send --expect re 'to the second'").result.text == "re 'to the second'"
    assert "re hello" in first.transcript.text()
    assert "re hello" not in second.transcript.text()
    text = capsys.readouterr().out
    assert "< re hello" in text  # in a terminal it is shown from what is sent first on
    assert "re 'to the second'" in text
    run(shell, "%keepalive -c mine#2 9/3/3")
    assert str(second.keepalive) == "9/3/3"
    assert capsys.readouterr().out.count("mine#2: ") == 1
    run(shell, "%heartbeat -c mine#2")
    assert "mine#2: " in capsys.readouterr().out
    with provisionalcompleter():
        offered = [found.text for found in shell.Completer.completions("%send -c ", 9)]
    assert offered[:2] == ["mine#2", "mine"]
    run(shell, "%stop mine")
    assert (first.state, second.state) == ("stopped", "connected")
    assert capsys.readouterr().out.splitlines()[-1] == "stopped mine"
    run(shell, "%stop")
    assert second.state == "stopped"
    assert capsys.readouterr().out.splitlines()[-1] == "stopped mine#2"


def test_connect_replaces_only_its_own(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was made in Python goes on under another name, which is said; the next one of that name
    replaces the first that %connect made.
    """
    python = made(server)
    own = run(shell, f"%connect {server.address} --name mine").result
    assert "mine, which was made in Python, goes on as mine#2" in capsys.readouterr().out
    again = run(shell, f"%connect {server.address} --name mine").result
    text = capsys.readouterr().out
    assert "made in Python" not in text
    assert "stopped mine" in text
    assert (python.state, own.state, again.state) == ("connected", "stopped", "connected")
    run(shell, "%send -c mine#2 hello")
    until(python, lambda: "re hello" in python.transcript.text())
    python.stop()


@pytest.mark.parametrize("end", ["%stop --all", "%unload_ext ipyreconnect", "%reload_ext ipyreconnect"])
def test_all_that_runs_is_ended_and_said(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    """%stop --all and %unload_ext end those of Python too, and name each."""
    shell.extension_manager.loaded.add("ipyreconnect")
    first, second = made(server), made(server)
    own = run(shell, f"%connect {server.address}").result
    run(shell, "%connect")
    capsys.readouterr()
    assert run(shell, end).success
    assert {client.state for client in (first, second, own)} == {"stopped"}
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("stopped ")] == [
        f"stopped {own.name}",
        "stopped mine",
        "stopped mine#2",
    ]
    if end == "%stop --all":
        run(shell, end)
        assert capsys.readouterr().out.splitlines()[-1] == "no connection is running"
