"""The magics in a real IPython against a real server on loopback."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import Client, Match
from ipyreconnect.jupyter.magics.table import MAGICS
from tests.jupyter.shells import refused, run, said
from tests.servers.line_server import LineServer, echo, free_port, mute


def test_the_weblogs_session(shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Connect, send, see the answer, lose the server and have it back, stop: with nothing left behind."""
    client = run(shell, f"%connect {server.address} --retry 0.05").result
    assert isinstance(client, Client)
    assert client.state == "connected"
    assert re.search(rf"^connected to {server.address} in \d+\.\d\d s$", said(capsys), re.MULTILINE)
    match = run(shell, "%send --expect '^1 (OK|NO|BAD)' 1 capability").result
    assert isinstance(match, Match)
    assert match[1] == "OK"
    server.peer(0).reset()
    server.peer(1)
    assert run(shell, "%send --queue --expect '^2 OK' 2 noop").success
    run(shell, "%stop")
    text = said(capsys)
    assert "< * OK ready" in text
    assert "< 1 OK capability done" in text
    assert re.search(r"^\* reset by .*; try \d in \d\.\d s$", text, re.MULTILINE)
    assert re.search(r"^\* connected to ", text, re.MULTILINE)
    assert "stopped 127.0.0.1" in text
    assert client.state == "stopped"


def test_a_refused_connection_is_reported_and_retried(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A first failure is told with what comes next, and tried again like any other."""
    port = free_port()
    client = run(shell, f"%connect 127.0.0.1:{port} --retry 30").result
    assert re.search(rf"^refused by 127\.0\.0\.1:{port}; try 2 in (2|3)\d\.\d s$", said(capsys), re.MULTILINE)
    assert client.state == "waiting"
    assert refused(shell, "%send x", capsys).startswith(f"not connected to 127.0.0.1:{port}: refused by")
    assert run(shell, "d = %send --queue x").success
    assert shell.user_ns["d"].status == "queued"
    text = f"not connected to 127.0.0.1:{port}: %s kept for up to 60 s and sent once connected\n"
    assert said(capsys) == text % "the line is"
    assert run(shell, "%%send --queue\nx\ny").success
    assert said(capsys) == text % "2 lines are"


def test_connect_without_waiting_says_that_it_goes_on(shell: Any, server: LineServer) -> None:
    """--wait 0 returns at once, and the connection is made in the background."""
    client = run(shell, f"c = %connect {server.address} --wait 0").result
    assert client is None  # it was assigned, so nothing is shown
    assert shell.user_ns["c"].expect("ready", timeout=10)


def test_after_a_stop_the_one_before_is_meant(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """%stop ends the latest; then the magics mean the one that still runs."""
    with LineServer(echo) as one, LineServer(echo) as two:
        first = run(shell, f"%connect {one.address} --name one").result
        second = run(shell, f"%connect {two.address} --name two").result
        run(shell, "%stop")
        assert (first.state, second.state) == ("connected", "stopped")
        run(shell, "%send --expect ^hello hello")  # with the answer shown, and the line acknowledged by it
        assert one.peer(0).lines == [b"hello"]
        capsys.readouterr()
        run(shell, "%stop two")
        assert said(capsys) == "two is stopped already; still running: one (%stop NAME, or %stop --all)\n"
        run(shell, "%stop --all")
        assert said(capsys) == "stopped one\n"
        run(shell, "%stop --all")
        assert said(capsys) == "no connection is running\n"
        run(shell, "%connect")
        assert said(capsys).count("stopped") == 2
    assert "did you mean two?" in refused(shell, "%send -c twoo x", capsys)


def test_a_name_may_stand_between_quotes(shell: Any, tmp_path: Path) -> None:
    """As with -c: that of a Unix socket may have blanks in it."""
    for stop in (
        "%stop 'a b.sock'",
        "%stop a b.sock",
        '%stop -c "a b.sock"',
        "%stop 'a b.sock' -c 'a b.sock'",
    ):
        with LineServer(mute, host=str(tmp_path / "a b.sock")) as server:
            client = run(shell, f"%connect {server.address}").result
            assert run(shell, stop).success
            assert client.state == "stopped"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%connect --ticks", "no address"),
        ("%%connect\n1 login", "no address"),
        ("%connect imap.example.org", "no port"),
        ("%connect 127.0.0.1:99999", "out of range"),
        ("%connect 127.0.0.1:http", "not a number"),
        ("%connect imapz://h", "did you mean imap"),
        ("%connect imaps://me:secret@h", "does not belong in an address"),
        ("%connect h:1 --frobnicate", "no option --frobnicate"),
        ("%connect h:1 --keepaliv 5/3/3", "did you mean --keepalive?"),
        ("%connect h:1 --keepalive 5", "keepalive '5'"),
        ("%connect h:1 --retry never", "--retry 'never'"),
        ("%connect h:1 --retry-factor 0", "--retry-factor '0'"),
        ("%connect h:1 --attempts 0", "--attempts '0'"),
        ("%connect tls://h:1 --cafile /nonexistent/ca.pem", "/nonexistent/ca.pem"),
        ("%connect tls://h:1 --key /nonexistent/key.pem", "certificate"),
        ("%connect h:1 --cafile x", "--cafile is about TLS"),
        ("%connect h:1 --no-verify", "--no-verify is about TLS"),
        ("%connect imaps://h --no-tls --no-verify", "leave --no-tls out"),
        ("%connect h:1 --tls --no-tls", "exclude each other"),
        ("%connect redis://h --starttls", "STARTTLS"),
        ("%connect h:1 --encoding klingon", "klingon"),
        ("%connect h:1 --eol windows", "--eol 'windows'"),
        ("%connect h:1 --framing parcels", "parcels"),
        ("%connect h:1 --heartbeat-every 5", "no heartbeat of its own"),
        ("%connect h:1 --heartbeat-unanswered", "give --heartbeat LINE too"),
        ("%connect h:1 --heartbeat off --heartbeat-every 5", "leave --heartbeat-every out"),
        ("%connect h:1 --heartbeat off --heartbeat-unanswered", "leave --heartbeat-unanswered out"),
        ("%connect h:1 --heartbeat x --heartbeat-every 0", "heartbeat every must be a number of seconds"),
        ("%connect h:1 --silence never", "--silence 'never'"),
        ("%connect h:1 --silence 0", "--silence '0'"),
        ("%connect h:1 --silence 1e9", "silence must be a number of seconds from 0.01 to 86400"),
        ("%connect h:1 --reply PING", "REGEX=LINE"),
        ("%connect h:1 --reply (=x", "regular expression"),
        ("%connect h:1 --reply off --reply (=x", "regular expression"),
        ("%connect h:1 --reply none", "or off"),
        (r"%connect h:1 --reply 'PING=PONG \1'", "invalid group reference 1"),
        ("%connect h:1 --encoding us-ascii --reply é=x", "can't encode"),
        ("%connect h:1 --name 'a b'", "--name 'a b'"),
        ("%connect h:1 --name a -c b", "give one name"),
        ("%connect -c nobody", "no connection named 'nobody'"),
        ("%send x", "no connection yet"),
        ("%send -c nobody x", "no connection named 'nobody'"),
        ("%%send\nx", "no connection yet"),
        ("%expect", "no pattern"),
        ("%expect x", "no connection yet"),
        ("%keepalive", "no connection yet"),
        ("%heartbeat", "no connection yet"),
        ("%heartbeat -c nobody NOOP", "no connection named 'nobody'"),
        ("%panel", "no connection yet"),
        ("%stop", "no connection yet"),
        ("%stop nobody", "no connection named 'nobody'"),
        ("%stop --all x", "leave the name out"),
        ("%stop a -c b", "two names"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_starts(
    shell: Any, cell: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each mistake says in one line what is wrong and what to write; no thread is started for it."""
    threads = threading.active_count()
    assert words in refused(shell, cell, capsys)
    assert threading.active_count() == threads


def test_mistakes_with_a_live_connection(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is one line, and nothing is sent."""
    run(shell, f"%connect {server.address}")
    for cell, words in (
        ("%expect (", "not a regular expression"),
        ("%connect h:1 --heartbeat a noop", "--heartbeat 'a noop'"),
        ("%connect imaps:/h:1", "write imaps://h:1"),
        ("%connect /tmp/x.sock", "write unix:///tmp/x.sock"),
        ("%send --expect ( 1 noop", "not a regular expression"),
        ("%send --timeout 5 1 noop", "--timeout goes with --expect"),
        ("%send --expect OK --timeout soon 1 noop", "--timeout 'soon'"),
        ("%send --exepct OK 1 noop", "did you mean --expect?"),
        ("%panel", "needs a notebook"),
    ):
        assert words in refused(shell, cell, capsys)
    run(shell, "%send --expect ^the the end")
    assert server.peer(0).lines == [b"the end"]


def test_help_shows_every_option(shell: Any) -> None:
    """`%magic?` tells what it does, its options, and what they take."""
    for magic in MAGICS.values():
        text = shell.magics_manager.magics["line"][magic.name].__doc__
        for option in magic.options:
            assert option.name in text
        assert magic.operand in text


def test_an_interrupt_leaves_the_connection_as_it_was(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends a wait within half a second, says so in one line, and nothing else changes."""
    client = run(shell, f"%connect {server.address}").result
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    result = run(shell, "%expect ^never --timeout 30")
    timer.join()
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert "interrupted; the connection is as it was" in said(capsys)
    assert client.state == "connected"
    assert run(shell, "%send --expect ^1 1 noop").success


def test_an_interrupted_connect_goes_on(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C during %connect ends the waiting, not the connection."""
    with LineServer(mute) as server:
        server.pull_cable()
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))
        timer.start()
        result = run(shell, f"%connect {server.address} --wait 30")
        timer.join()
        assert isinstance(result.error_in_exec, KeyboardInterrupt)
        assert "goes on in the background" in said(capsys)
        run(shell, "%connect")
        assert "connecting, dialing, try 1" in said(capsys)
