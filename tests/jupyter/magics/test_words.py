"""What the magics say of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyreconnect import Heartbeat
from tests.jupyter.shells import refused, run, said
from tests.servers.line_server import LineServer, echo, free_port, greet, mute
from tests.watching import until

if TYPE_CHECKING:
    import pytest


def test_stop_says_what_was_never_acknowledged(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that the peer's TCP never confirmed are told; they may have arrived or not."""
    with LineServer(mute) as server:
        run(shell, f"%connect {server.address}")
        server.peer(0)
        server.pull_cable()
        run(shell, "%send lost 1")
        run(shell, "%send lost 2")
        run(shell, f"%send {'x' * 10_000}")
        capsys.readouterr()
        run(shell, "%stop")
        text = said(capsys)
    assert "3 lines were never acknowledged" in text
    assert "> lost 1" in text
    assert "> lost 2" in text
    assert f"> {'x' * 200} … 9800 more characters\n" in text


def test_stop_says_what_was_never_sent(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that still wait for a connection are told when the user stops it."""
    run(shell, f"%connect 127.0.0.1:{free_port()} --retry 30")
    for number in range(23):
        run(shell, f"%send --queue later {number}")
    capsys.readouterr()
    run(shell, "%stop")
    first, *rows = said(capsys).splitlines()
    assert first == "stopped 127.0.0.1"
    assert rows[0] == "  * not sent, the client was stopped: later 0"
    assert len(rows) == 21
    assert rows[20] == "  … 3 more (client.transcript)"


def test_keepalive_is_shown_as_the_system_gives_it_back(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in force is read from the live socket, and said in words."""
    client = run(shell, f"%connect {server.address}").result
    capsys.readouterr()
    run(shell, "%keepalive")
    assert "keepalive 5/3/3 is in force\n  a probe after 5 s of silence" in (text := said(capsys))
    assert "noticed within 14 s" in text
    run(shell, "%keepalive 30/5/2")
    assert "keepalive 30/5/2 is in force" in said(capsys)
    assert str(client.keepalive_in_force) == "30/5/2"
    run(shell, "%keepalive off")
    assert "no probes" in said(capsys)
    for bad in ("5/3", "0/1/1", "soon", "5/3/3/3"):
        assert "keepalive" in refused(shell, f"%keepalive {bad}", capsys)
    run(shell, "%stop")
    capsys.readouterr()
    run(shell, "%keepalive 9/9/9")
    assert "9/9/9 is set, and will be in force once connected" in said(capsys)


def test_a_heartbeat_is_shown_and_changed(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """%heartbeat sends a line, byte for byte, on the live connection; alone it says what is in force."""
    with LineServer(echo) as server:
        client = run(shell, f"%connect {server.address} --name x").result
        peer = server.peer(0)
        capsys.readouterr()
        run(shell, "%heartbeat")
        assert said(capsys) == "x: no heartbeat is sent (%heartbeat LINE)\n"
        run(shell, "%heartbeat --every 0.02  {x}  $HOME -c 'a' --every 5 # no comment")
        assert peer.wait_line(b"HOME") == b" {x}  $HOME -c 'a' --every 5 # no comment"
        assert "x: heartbeat \" {x}  $HOME -c 'a' --every 5 # no comment\", 0.02 s after" in said(capsys)
        until(client, lambda: client.heartbeat_answered)
        run(shell, "%heartbeat --every 30s")
        assert said(capsys).endswith("it is answered: 60 s without anything received are a loss\n")
        assert client.heartbeat == Heartbeat(" {x}  $HOME -c 'a' --every 5 # no comment", 30.0)
        run(shell, "%heartbeat -c x --unanswered")
        assert client.heartbeat.answered is False
        assert said(capsys).endswith("  nothing follows from it when nothing answers\n")
        run(shell, "%heartbeat -- --unanswered")
        assert client.heartbeat == Heartbeat("--unanswered", 30.0)
        assert "  none was answered yet; once one is, 60 s without anything received" in said(capsys)
        run(shell, "%heartbeat OFF")
        assert client.heartbeat is None
        run(shell, "%heartbeat off")
        assert said(capsys).endswith("x: no heartbeat is sent (%heartbeat LINE)\n")
        client.heartbeat = b"DONE\r\nb IDLE\r\n"
        run(shell, "%heartbeat")
        assert r"x: heartbeat b'DONE\r\nb IDLE\r\n' each 60 s, whatever else is sent" in said(capsys)
        client.silence = 99
        run(shell, "%heartbeat --every 7")
        assert client.heartbeat == Heartbeat(b"DONE\r\nb IDLE\r\n", 7)
        assert said(capsys).endswith("  a loss after 99 s without anything received (silence)\n")
        run(shell, "%stop")
        capsys.readouterr()
        run(shell, "%heartbeat NOOP")
        assert said(capsys).startswith(
            "x: heartbeat 'NOOP', 7 s after whatever was sent last, once connected "
        )
        assert (client.state, client.heartbeat) == ("stopped", Heartbeat("NOOP", 7))


def test_a_protocol_s_own_heartbeat_needs_no_line(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The period alone is enough where the protocol has a harmless line, and not where it has none."""
    for scheme, line, greeting in (
        ("gpsd", "?VERSION;", b""),
        ("pop3", "CAPA", b"+OK ready\r\n"),
        ("redis", "PING", b""),
    ):
        with LineServer(greet(greeting) if greeting else mute) as server:
            client = run(shell, f"%connect {scheme}://{server.address} --heartbeat-every 0.02").result
            assert client.heartbeat == Heartbeat(line, 0.02)
            assert server.peer(0).wait_line(b".").decode() == line
            run(shell, "%heartbeat off")
            assert f"no heartbeat is sent (%heartbeat --every S sends {line})" in said(capsys)
            run(shell, "%heartbeat --every 0.03")
            assert client.heartbeat == Heartbeat(line, 0.03)
            client = run(
                shell, f"%connect {scheme}://{server.address} --heartbeat-every 9 --heartbeat-unanswered"
            ).result
            assert client.heartbeat == Heartbeat(line, 9, answered=False)
            client = run(
                shell, f"%connect {scheme}://{server.address} --heartbeat x --heartbeat-unanswered"
            ).result
            assert client.heartbeat == Heartbeat("x", answered=False)
            run(shell, "%stop")
    with LineServer(mute) as server:
        for scheme in ("smtp", "submission", "smtps"):
            cell = f"%connect {scheme}://{server.address} --no-tls --heartbeat-every 5"
            assert "no heartbeat of its own (Exim bears nine NOOPs" in refused(shell, cell, capsys)
        client = run(shell, f"%connect smtp://{server.address} --heartbeat NOOP --heartbeat-every 50").result
        run(shell, "%heartbeat off")
        for cell in ("%heartbeat --every 5", "%heartbeat --unanswered"):
            assert "smtp has no heartbeat of its own" in refused(shell, cell, capsys)
        assert client.heartbeat is None
