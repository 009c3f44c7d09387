"""The magics' defaults, from the profile and from %config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipyreconnect
from ipyreconnect.jupyter.magics.table import MAGICS
from tests.jupyter.shells import new_shell, refused, run, said
from tests.servers.line_server import LineServer

if TYPE_CHECKING:
    import pytest


def test_defaults_come_from_the_configuration(server: LineServer, capsys: pytest.CaptureFixture[str]) -> None:
    """`c.Reconnect.…` in a profile and `%config Reconnect.…` set what an option does not."""
    with new_shell(Reconnect={"keepalive": "30/5/3", "retry": 4.0}) as shell:
        ipyreconnect.load_ipython_extension(shell)
        client = run(shell, f"%connect {server.address}").result
        assert (str(client.keepalive), client.retry.delay) == ("30/5/3", 4.0)
        run(shell, '%config Reconnect.keepalive = "60/10/6"')
        client = run(shell, f"%connect {server.address}").result
        assert str(client.keepalive) == "60/10/6"
        client = run(shell, f"%connect {server.address} --keepalive off --retry 70").result
        assert (str(client.keepalive), client.retry.delay, client.retry.max) == ("off", 70.0, 70.0)
        run(shell, "%config Reconnect")
        assert "Reconnect.keepalive=<Unicode>" in said(capsys)
        ipyreconnect.unload_ipython_extension(shell)


def test_bad_defaults_are_refused_with_the_reason(
    shell: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A bad value is not taken, and it is said why; one in a profile keeps the extension from loading."""
    run(shell, '%config Reconnect.keepalive = "5/3"')
    assert "keepalive '5/3' is not of the form" in caplog.text
    run(shell, "%config Reconnect.retry = -1")
    assert "retry delay" in caplog.text
    run(shell, '%config Reconnect.encoding = "klingon"')
    assert "unknown encoding" in caplog.text
    run(shell, "%config Reconnect.silence = -1")
    assert "Reconnect.silence: silence must be a number of seconds" in caplog.text
    run(shell, '%config Reconnect.encoding = "rot13"')
    assert "no encoding of text" in caplog.text
    run(shell, "%reload_ext ipyreconnect")
    run(shell, '%config Reconnect.retry = "soon"')
    run(shell, "%reload_ext ipyreconnect")
    run(shell, "kept = %config Reconnect.retry")
    assert (shell.user_ns["kept"], said(capsys)) == (2.0, "")
    with new_shell(Reconnect={"keepalive": "never"}) as other:
        assert "keepalive 'never'" in refused(other, "%load_ext ipyreconnect", capsys)
        assert not [name for name in other.magics_manager.magics["line"] if name in MAGICS]
