"""Loading and unloading: nothing stays, nothing of others is taken."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest

import ipyreconnect
from tests.jupyter.shells import new_shell, run
from tests.servers.line_server import LineServer


def test_a_forked_child_prints_nothing_and_ends(shell: Any, server: LineServer) -> None:
    """The child of a fork has no thread of ours: it unloads at once, and the parent's connection goes on."""
    client = run(shell, f"%connect {server.address}").result
    child = os.fork()
    if not child:
        try:
            ipyreconnect.unload_ipython_extension(shell)
        except BaseException:  # noqa: BLE001 - whatever it is, the child must not go on as a test
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert client.send("1 noop", expect="^1 OK", timeout=5)


def snapshot(shell: Any) -> dict[str, object]:
    manager = shell.magics_manager
    return {
        "line": dict(manager.magics["line"]),
        "cell": dict(manager.magics["cell"]),
        "registry": list(manager.registry),
        "configurables": [id(one) for one in shell.configurables],
        "matchers": list(shell.Completer.custom_matchers),
        "transformers": list(shell.input_transformers_cleanup),
        "tokens": list(shell.input_transformer_manager.token_transformers),
        "attributes": set(vars(shell.input_transformer_manager)),
        "events": {name: list(callbacks) for name, callbacks in shell.events.callbacks.items()},
        "names": set(shell.user_ns) - {"_i", "_ii", "_iii", "_ih", "_oh", "_dh"},
        "hook": sys.displayhook,
        "threads": threading.active_count(),
    }


def test_unloading_leaves_the_shell_as_it_was(server: LineServer) -> None:
    """Load, use, unload, in any order, many times: nothing accumulates, nothing stays."""
    with new_shell() as shell:
        run(shell, "pass")
        before = snapshot(shell)
        for n in range(100):
            ipyreconnect.load_ipython_extension(shell)
            if n % 3 == 0:
                ipyreconnect.load_ipython_extension(shell)
            if n % 10 == 0:
                shell.run_cell(f"c{n} = %connect {server.address}")
                del shell.user_ns[f"c{n}"]
            ipyreconnect.unload_ipython_extension(shell)
            if n % 5 == 0:
                ipyreconnect.unload_ipython_extension(shell)
        after = snapshot(shell)
    assert after == before


def test_names_that_others_took_are_left_alone(shell: Any) -> None:
    """A magic of ours that a user replaced stays theirs; one that we replaced comes back."""

    def theirs(line: str) -> str:
        return line

    ipyreconnect.unload_ipython_extension(shell)
    shell.register_magic_function(theirs, "line", "panel")
    ipyreconnect.load_ipython_extension(shell)
    shell.register_magic_function(theirs, "line", "stop")
    ipyreconnect.unload_ipython_extension(shell)
    assert shell.magics_manager.magics["line"]["stop"] is theirs
    assert shell.magics_manager.magics["line"]["panel"] is theirs
    assert "connect" not in shell.magics_manager.magics["line"]


@pytest.mark.parametrize("name", ["connect", "send", "expect", "keepalive", "heartbeat", "panel", "stop"])
@pytest.mark.parametrize("kind", ["line", "cell"])
def test_another_extension_keeps_what_it_took(shell: Any, server: LineServer, name: str, kind: str) -> None:
    """Whichever of our names another one took while we were loaded is still its own after the unload."""

    def theirs(line: str, cell: str = "") -> str:
        return "theirs"

    before = snapshot(shell)
    run(shell, f"c = %connect {server.address}")
    shell.register_magic_function(theirs, kind, name)
    shell.Completer.custom_matchers.append(theirs)
    shell.events.register("pre_run_cell", print)
    try:
        ipyreconnect.unload_ipython_extension(shell)
        ipyreconnect.unload_ipython_extension(shell)  # a second time there is nothing to take away
        assert shell.magics_manager.magics[kind][name] is theirs
        assert shell.Completer.custom_matchers[-1] is theirs
        assert print in shell.events.callbacks["pre_run_cell"]
        others = {"connect", "send", "expect", "keepalive", "heartbeat", "panel", "stop"}
        left = {
            (each, one)
            for each, table in shell.magics_manager.magics.items()
            for one in table
            if one in others
        }
        assert left == {(kind, name)}
        assert shell.user_ns["c"].state == "stopped"
    finally:
        shell.events.unregister("pre_run_cell", print)
    ipyreconnect.load_ipython_extension(shell)
    ipyreconnect.unload_ipython_extension(shell)
    assert shell.magics_manager.magics[kind][name] is theirs
    assert len(snapshot(shell)["configurables"]) == len(before["configurables"]) - 2  # type: ignore[arg-type]


def test_reloading_stops_what_ran(shell: Any, server: LineServer) -> None:
    """%reload_ext ends the old connections and leaves nothing double."""
    run(shell, "%load_ext ipyreconnect")
    client = run(shell, f"%connect {server.address}").result
    assert run(shell, "%reload_ext ipyreconnect").success
    assert client.state == "stopped"
    names = [type(one).__name__ for one in shell.configurables]
    assert names.count("ReconnectMagics") == names.count("Reconnect") == 1
