"""The magics in a real IPython against a real server on loopback."""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter

import ipyreconnect
from ipyreconnect import Client, Delivery, Heartbeat, Match, Secret
from ipyreconnect.jupyter.magics.cells import ends_with_magic, lines_of
from ipyreconnect.jupyter.magics.table import MAGICS
from tests.jupyter.shells import new_shell, run
from tests.servers.line_server import LineServer, answering, echo, free_port, greet, mute
from tests.watching import until

IMAP = answering({rb"^(\S+) (\S+)": rb"\1 OK \2 done", rb"^$": rb"blank"}, b"* OK ready\r\n")


@pytest.fixture
def shell() -> Iterator[Any]:
    with new_shell() as shell:
        ipyreconnect.load_ipython_extension(shell)
        yield shell
        ipyreconnect.unload_ipython_extension(shell)


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer(IMAP) as server:
        yield server


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return captured.out + captured.err


def refused(shell: Any, cell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a cell that must fail with one line, and give that line."""
    capsys.readouterr()
    result = run(shell, cell)
    assert not result.success
    text = said(capsys)
    (line,) = [line for line in text.splitlines() if line.startswith("UsageError: ")]
    return line.removeprefix("UsageError: ")


# -- the main job --


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


# -- texts --


@pytest.mark.parametrize(
    "text",
    [
        "a1 LOGIN  two  blanks",
        "a2 APPEND inbox {310}",
        "$HOME {x} {{y}} {nonsense!r:>{",
        "-1 -x --not an option",
        "a 'quote\" \\n \\",
        "Grüße 🦆",
        "  leading blanks",
        "%percent !bang ?mark ;",
        "a;",
        "ends with a question? no",
        "*IDN?",
        "MEAS:VOLT:DC?",
        "what??",
        "?",
        "a \\",
    ],
)
def test_send_sends_what_was_typed(shell: Any, text: str) -> None:
    """No expansion, no splitting, no quoting: the bytes at the server are what stands behind `%send `."""
    shell.user_ns["x"] = "EXPANDED"
    with LineServer(echo) as server:
        run(shell, f"%connect {server.address}")
        result = run(shell, f"%send {text}")
        assert isinstance(result.result, Delivery)
        assert server.peer(0).wait_line(re.escape(text.encode()) + b"$")
        assert server.peer(0).lines == [text.encode()]


def test_blank_lines_are_lines(shell: Any, server: LineServer) -> None:
    """An empty line ends many a protocol's header: `%send` alone sends one."""
    run(shell, f"%connect {server.address}")
    assert run(shell, "%send --expect ^blank$").success
    assert run(shell, "%send --expect ^blank$ --").success
    assert server.peer(0).lines == [b"", b""]


_counter = itertools.count()
_body = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_body, min_size=1, max_size=6))
def test_a_cells_lines_arrive_exactly_as_written(echoing: tuple[Any, LineServer], lines: list[str]) -> None:
    """`%%send` keeps everything: blanks at both ends, prompts, question marks, control characters."""
    shell, server = echoing
    end = f"end {next(_counter)}"
    before = len(server.peer(0).lines)
    body = "\n".join([*lines, end])
    assert run(shell, f"%%send\n{body}").success
    server.peer(0).wait_line(rf"^{end}$".encode())
    assert server.peer(0).lines[before:] == [line.encode() for line in (*lines, end)]


def left_by_ipython(text: str) -> bool:
    """Say whether IPython hands a text over as typed: all but what ends or splits a line of code."""
    return text == text.rstrip() and len(text.splitlines()) < 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_body.filter(left_by_ipython))
def test_any_line_that_ipython_leaves_arrives_exactly_as_typed(
    echoing: tuple[Any, LineServer], text: str
) -> None:
    """`%send` adds and takes nothing; with -- in front, not even what looks like an option."""
    shell, server = echoing
    end = f"end {next(_counter)}"
    before = len(server.peer(0).lines)
    assert run(shell, f"%send -- {text}").success
    assert run(shell, f"%send {end}").success
    server.peer(0).wait_line(rf"^{end}$".encode())
    assert server.peer(0).lines[before:] == [text.encode(), end.encode()]


@pytest.fixture
def echoing(shell: Any) -> Iterator[tuple[Any, LineServer]]:
    with LineServer(mute) as server:
        run(shell, f"%connect {server.address}")
        yield shell, server


def test_a_body_from_elsewhere_is_sent_and_no_earlier_one(
    echoing: tuple[Any, LineServer], tmp_path: Path
) -> None:
    """What a silent cell, a program or a file that is run gives to %%send and %%connect is what is sent."""
    shell, server = echoing
    script = tmp_path / "script.ipy"
    script.write_text("%%send\n>>> run\n... x\n")
    assert run(shell, "%%send\nfirst").success
    assert shell.run_cell("%%send\n  silent", silent=True).success
    shell.run_cell_magic("send", "", "called\n\n")
    assert run(shell, f"%run {script}").success
    assert run(shell, "%%time\n%%send\ntimed").success
    server.peer(0).wait_line(b"timed$")
    assert server.peer(0).lines == [b"first", b"  silent", b"called", b"", b">>> run", b"... x", b"timed"]
    assert run(shell, f"%%connect {server.address} --name one\nlogin one").success
    shell.run_cell_magic("connect", f"{server.address} --name two", "login two")
    assert server.peer(2).wait_line(b"login") == b"login two"


def test_bytes_are_sent_as_they_are(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """--bytes reads escapes and adds no line end."""
    with LineServer(echo) as server:
        run(shell, f"%connect {server.address}")
        run(shell, r"%send --bytes a\x00\xffb\r\nc")
        run(shell, r"%send --bytes d\n")
        server.peer(0).wait_line(b"cd")
        assert server.peer(0).lines == [b"a\x00\xffb", b"cd"]
        assert "no escape" in refused(shell, r"%send --bytes \q", capsys)


def test_a_cell_is_sent_whole_or_not_at_all(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a line, or with what is expected, is found before the first line leaves."""
    run(shell, f"%connect {server.address} --encoding us-ascii")
    assert "regular expression" in refused(shell, "%%send --expect (\n1 noop\n2 noop", capsys)
    assert "cannot be sent as us-ascii" in refused(shell, "%%send\n1 noop\n2 n\u00f6\u00f6p", capsys)
    assert "line break" in refused(shell, "%%send\n1 noop\n2 no\rop", capsys)
    assert "move 'x' below" in refused(shell, "%%send x\n1 noop", capsys)
    run(shell, "%send --expect ^3.OK 3 noop")
    assert server.peer(0).lines == [b"3 noop"]


def test_a_cells_expectation_is_about_its_last_line(shell: Any, server: LineServer) -> None:
    """`%%send --expect` returns the answer to the last line; without it, all the deliveries are returned."""
    run(shell, f"%connect {server.address}")
    assert run(shell, "%%send --expect ^2\n1 noop\n2 noop").result.text == "2 OK noop done"
    deliveries = run(shell, "%%send\n3 noop\n4 noop").result
    assert [delivery.data for delivery in deliveries] == [b"3 noop", b"4 noop"]


# -- expectations --


def test_expect_finds_what_came_before_the_call(shell: Any, server: LineServer) -> None:
    """The answer may be there already: it is found all the same."""
    client = run(shell, f"%connect {server.address}").result
    run(shell, "%send 1 noop")
    client.expect("^1 OK")
    run(shell, "%send 2 noop")
    assert run(shell, "m = %expect ^2 (\\w+) --timeout 5").success
    assert shell.user_ns["m"][1] == "OK"


def test_a_time_out_names_what_was_awaited_and_keeps_its_type(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time-out fails the cell with a message, no traceback, and can be caught as what it is."""
    run(shell, f"%connect {server.address}")
    run(shell, "%send --expect ^1 1 noop")
    capsys.readouterr()
    result = run(shell, "m = %expect ^BYE --timeout 0.05")
    assert isinstance(result.error_in_exec, ipyreconnect.ExpectTimeout)
    text = said(capsys)
    assert "matched '^BYE' within 0.05 s" in text
    run(shell, "try:\n    %expect ^BYE --timeout 0.05\nexcept TimeoutError:\n    caught = True")
    assert shell.user_ns["caught"]


def test_a_loss_during_the_wait_is_told_as_such(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits for an answer hears that the connection is gone."""
    run(shell, f"%connect {server.address} --retry 30")
    timer = threading.Timer(0.1, server.peer(0).reset)
    timer.start()
    result = run(shell, "%expect ^never")
    timer.join()
    assert isinstance(result.error_in_exec, ipyreconnect.ConnectionLost)
    assert "reset by" in said(capsys)


# -- several connections --


def test_names_are_hosts_and_the_same_address_is_replaced(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host names a connection, host:port a second one there; the same address replaces it, but not one
    that the user gave another name.
    """
    with LineServer(greet(b"one\r\n")) as one, LineServer(greet(b"two\r\n")) as two:
        first = run(shell, f"%connect {one.address}").result
        second = run(shell, f"%connect {two.address}").result
        assert (first.name, second.name) == ("127.0.0.1", two.address)
        again = run(shell, f"%connect tcp://{one.address}").result
        assert again.name == "127.0.0.1"
        assert (first.state, second.state, again.state) == ("stopped", "connected", "connected")
        named = run(shell, f"%connect {one.address} --name mine").result
        assert named.name == "mine"
        unnamed = run(shell, f"%connect {one.address}").result
        assert (unnamed.name, named.state, again.state) == ("127.0.0.1", "connected", "stopped")
        named = run(shell, f"%connect {one.address} --name mine").result
        run(shell, "%send -c 127.0.0.1 to the first")
        one.peer(3).wait_line(b"to the first")
        capsys.readouterr()
        run(shell, "%connect")
        rows = said(capsys).splitlines()
    assert re.fullmatch(r"  NAME +ADDRESS +STATE +SINCE +LAST LOSS", rows[0])
    assert len(rows) == 4
    assert re.match(rf"\* mine +tcp://{one.address} +connected +\d\d:\d\d:\d\d", rows[3])
    assert len({row.index("tcp://") for row in rows[1:]}) == 1


def test_what_can_not_start_leaves_the_old_connection_alone(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second %connect that is refused stops nothing."""
    client = run(shell, f"%connect {server.address}").result
    assert "keepalive" in refused(shell, f"%connect {server.address} --keepalive 0/0/0", capsys)
    assert "--wait '1e300'" in refused(shell, f"%connect {server.address} --wait 1e300", capsys)
    run(shell, "%config Reconnect.wait = float('inf')")
    assert run(shell, "%config Reconnect.wait").result == 10.0
    assert client.state == "connected"


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


# -- settings --


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
    for scheme, line in (("gpsd", "?VERSION;"), ("pop3", "CAPA"), ("redis", "PING")):
        with LineServer(mute) as server:
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


def test_silence_is_an_option_and_a_default(server: LineServer) -> None:
    """--silence makes it a loss that nothing is received; Reconnect.silence does where it is not given."""
    with new_shell(Reconnect={"silence": 40.0}) as shell:
        ipyreconnect.load_ipython_extension(shell)
        for options, silence in (("", 40.0), ("--silence 1.5", 1.5), ("--silence off", None)):
            assert run(shell, f"%connect {server.address} {options}").result.silence == silence
        run(shell, "%config Reconnect.silence = 0")
        assert run(shell, f"%connect {server.address}").result.silence is None
        ipyreconnect.unload_ipython_extension(shell)


def test_options_reach_the_client(shell: Any, server: LineServer) -> None:
    """Each option of %connect is what it says."""
    client = run(
        shell,
        f"%connect {server.address} --name x --keepalive 9/8/7 --retry 3 --retry-factor 2 --retry-max 50 "
        "--attempts 4 "
        r"--encoding iso-8859-1 --eol lf --framing raw --heartbeat 'NOOP x' --heartbeat-every 99 "
        r"--reply '^PING (.*)=PONG \1' --reply a=b",
    ).result
    assert client.name == "x"
    assert str(client.keepalive) == "9/8/7"
    retry = client.retry
    assert (retry.delay, retry.factor, retry.max, retry.attempts) == (3.0, 2.0, 50.0, 4)
    assert (client.encoding, client.eol, client.framing) == ("iso-8859-1", b"\n", "raw")
    assert (client.heartbeat.line, client.heartbeat.every) == ("NOOP x", 99.0)


def test_replies_are_in_the_encoding_of_the_connection(shell: Any) -> None:
    """--reply finds and sends what its text is in the bytes of --encoding."""
    with LineServer(greet("grün1\r\n".encode("iso-8859-1"))) as server:
        run(shell, rf"%connect {server.address} --encoding iso-8859-1 --reply '^grün(.*)=schön \1'")
        assert server.peer(0).wait_line(b"1$") == "schön 1".encode("iso-8859-1")


def test_a_reply_is_what_pythons_expressions_make_of_it(shell: Any) -> None:
    r"""With \= for an =, any expression can be written; in the line, escapes are no references to groups."""
    with LineServer(greet(b"PING 1\r\nPING 2\r\n")) as server:
        rules = r"--reply '(?\=PING)(?\=.*1)=seen' --reply 'PING 2=\\1 \101'"
        assert run(shell, f"%connect {server.address} {rules}").success
        assert server.peer(0).wait_line(b"A$") == rb"\1 A"
        assert server.peer(0).lines[0] == b"seen"


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ("--reply 1=mine", [b"mine", b"PONG 2"]),
        ("--reply off", []),
        ("--reply 1=mine --reply OFF --reply PING=too", [b"mine", b"too"]),
    ],
)
def test_the_protocols_own_replies_can_be_switched_off(
    shell: Any, options: str, answers: list[bytes]
) -> None:
    """With --reply off, nothing is answered but by the rules that are given."""
    with LineServer(answering({}, b"PING 1\r\nPING 2\r\n")) as server:
        client = run(shell, f"%connect irc://{server.address} {options}").result
        client.expect("PING 2")
        run(shell, "%send end")
        server.peer(0).wait_line(b"^end")
        assert server.peer(0).lines == [*answers, b"end"]


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


# -- mistakes --


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


# -- what is shown --


def test_what_was_said_is_not_shown_again(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A magic's result is `_` and the cell's result, and shows only where the user asks for it."""
    run(shell, f"%connect {server.address}")
    client = shell.user_ns["_"]
    assert isinstance(client, Client)
    assert "Out[" not in said(capsys)
    run(shell, "%send 1 noop")
    assert isinstance(shell.user_ns["_"], Delivery)
    assert "Out[" not in said(capsys)
    run(shell, "d = %send 2 noop\nd")
    assert re.search(r"Out\[\d+\]: <Delivery '2 noop' \w+>", said(capsys))
    run(shell, "%send --expect ^3 3 noop")
    assert re.search(r"Out\[\d+\]: <Match '3 OK noop done'>", said(capsys))
    run(shell, f"%connect {server.address} --name other\n%send 4 noop\n%send 5 noop")
    assert shell.user_ns["_"].data == b"5 noop"
    assert "Out[" not in said(capsys)
    run(shell, "1 + 1")
    assert re.search(r"Out\[\d+\]: 2", said(capsys))


def test_the_cell_that_loads_the_extension_shows_nothing_twice(
    server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook's first cell often loads, connects and asks at once."""
    with new_shell() as shell:
        try:
            result = run(shell, f"%load_ext ipyreconnect\n%connect {server.address}")
            assert isinstance(result.result, Client)
            assert "Out[" not in said(capsys)
        finally:
            ipyreconnect.unload_ipython_extension(shell)


@pytest.mark.parametrize(
    ("cell", "ends"),
    [
        ("%send x", True),
        ("x = 1\n  %send x\n", True),
        ("%%send\nx", True),
        ("send x", True),
        ("stop", True),
        ("d = %send x", False),
        ("d = %send x\nd", False),
        ("%%time\n%send x", True),
        ("%time %send x", True),
        ("%%time\n%%send\nx", True),
        ("%%time\nd = %send x", False),
        ("%%time", False),
        ("send = 1", False),
        ("send(1)", False),
        ("stop.it", False),
        ("", False),
    ],
)
def test_only_a_magic_at_the_end_is_kept_quiet(cell: str, ends: bool) -> None:
    """Where the last expression is something else, IPython shows it."""
    assert ends_with_magic(cell) is ends


def test_a_body_is_split_at_line_feeds_only() -> None:
    """No other character that Python calls a line end divides a line."""
    assert lines_of("a\n b \n\n") == ["a", " b ", ""]
    assert lines_of("a\x0b\x0c\x85\u2028b") == ["a\x0b\x0c\x85\u2028b"]
    assert lines_of("\n") == [""]
    assert lines_of("") == [""]
    assert lines_of("a\n\n", typed_at_prompt=True) == ["a"]
    assert lines_of("a\n\n\n", typed_at_prompt=True) == ["a", ""]
    assert lines_of("a\n", typed_at_prompt=True) == ["a"]


def test_a_cell_of_another_magic_is_left_to_ipython(shell: Any) -> None:
    """Only the body of ours is kept as written, and only while the magic is ours."""
    for ours in ("\n%%send -c x\n>>> a\n", "  %%connect h:1\n>>> a"):
        assert ">>> a" in shell.transform_cell(ours)
    for other in ("%%sender\n>>> a", "%%time\n>>> a", "%%stop\n>>> a", ">>> send", "\n"):
        assert ">>> " not in shell.transform_cell(other)
    assert "pinfo" in shell.transform_cell("%%send?")
    shell.register_magic_function(print, "cell", "send")
    assert ">>> " not in shell.transform_cell("%%send\n>>> a")


def test_help_shows_every_option(shell: Any) -> None:
    """`%magic?` tells what it does, its options, and what they take."""
    for magic in MAGICS.values():
        text = shell.magics_manager.magics["line"][magic.name].__doc__
        for option in magic.options:
            assert option.name in text
        assert magic.operand in text


# -- scripts and secrets --


def test_a_script_runs_after_every_connection(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The body of %%connect is run before the connection counts as connected, and again after a loss."""
    cell = f"%%connect {server.address} --retry 0.05\n# log in\n1 login me\n< ^1 OK\n> < verbatim"
    client = run(shell, cell).result
    assert client.state == "connected"
    server.peer(0).wait_line(b"verbatim")
    assert server.peer(0).lines == [b"1 login me", b"< verbatim"]
    server.peer(0).reset()
    assert server.peer(1).wait_line(b"verbatim")
    assert server.peer(1).lines == [b"1 login me", b"< verbatim"]


def test_a_filled_script_is_the_script_it_was(shell: Any) -> None:
    """--fill changes nothing but its fields: the indentation that all lines share is not sent either."""
    shell.user_ns |= {"user": "me", "pw": Secret("hunter2")}
    script = "    login me\n    hunter2\n      more\n\n    end"
    fields = script.replace("me\n", "{{user}}\n").replace("hunter2", "{{pw}}")
    with LineServer(mute) as server:
        for number, cell in enumerate((f"\n{script}", f" --fill\n{fields}")):
            run(shell, f"%%connect {server.address}{cell}")
            server.peer(number).wait_line(b"^end")
            assert server.peer(number).lines == [b"login me", b"hunter2", b"  more", b"end"]


def test_a_connection_counts_once_its_script_has_run(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then it is connecting, lines wait in the queue, and %stop ends it at once."""
    client = run(shell, f"%%connect {server.address} --wait 0.1\n1 login me\n< ^1 NO").result
    assert re.search(r"^still connecting to \S+ \(script, try 1\)", said(capsys), re.MULTILINE)
    assert refused(shell, "%send 2 noop", capsys).endswith("connecting (script), try 1")
    run(shell, "%stop")
    assert client.state == "stopped"


def test_what_is_awaited_is_filled_in_too(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """In --expect a value means itself, whatever it would mean in an expression; a secret stays one."""
    shell.user_ns |= {"tag": "a.+", "pw": Secret("hunter2")}
    run(shell, f"%connect {server.address}")
    match = run(shell, "%send --fill --expect '^{{tag}} (OK|NO)' {{tag}} noop").result
    assert match is not None
    assert (match[0], match.re.pattern) == ("a.+ OK", r"^a\.\+ (OK|NO)")
    run(shell, "%send --fill --timeout 0 --expect {{pw}} x")
    run(shell, "%send hunter2 noop")
    text = said(capsys)
    assert "matched '••••'" in text
    assert "hunter2" not in text


def test_what_is_filled_in_never_shows(
    shell: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets reach the server and nothing else: no log, record, error, repr, In, Out or history."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: "tr0ub4dor")
    shell.user_ns["pw"] = ipyreconnect.Secret("hunter2")
    record = tmp_path / "record.jsonl"
    with LineServer(echo) as server:
        options = f"{server.address} --record {record} --fill"
        client = run(shell, f"%%connect {options}\n1 login me {{{{pw}}}}\n< ^1 login me {{{{pw}}}}").result
        assert client.state == "connected"
        run(shell, "d = %send --fill 2 login me {{?Password}}")
        run(shell, "m = %send --fill --expect ^3 3 {{pw}}{{?Password}}")
        run(shell, "%%send --fill\n4 {{pw}}\n5 {{?Password}}")
        run(shell, "%expect ^5")
        run(shell, "%expect {{pw}} --timeout 0.05")
        shell.user_ns["client"] = client
        run(shell, "client, d, m, client.transcript[:]")
        assert server.peer(0).lines == [
            b"1 login me hunter2",
            b"2 login me tr0ub4dor",
            b"3 hunter2tr0ub4dor",
            b"4 hunter2",
            b"5 tr0ub4dor",
        ]
        run(shell, "%connect")
        run(shell, "%stop")
    places = {
        "shown": said(capsys),
        "record": record.read_text(),
        "transcript": client.transcript.text(),
        "script": str(client.on_connect),
        "In": str(shell.user_ns["In"]),
        "Out": str(shell.user_ns["Out"]),
        "names": str({name: value for name, value in shell.user_ns.items() if name != "pw"}),
        "history": str(list(shell.history_manager.get_range(raw=False))),
        "bytes": str([line.data for line in client.transcript]),
    }
    for place, text in places.items():
        assert "hunter2" not in text, place
        assert "tr0ub4dor" not in text, place
    assert "< 3 ••••" in places["transcript"]


def test_variables_stand_in_an_address_and_in_its_options(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`%connect {{host}}:{{port}} --fill`: no line has to be built by hand."""
    host, port = server.address.rsplit(":", 1)
    shell.user_ns.update(host=host, port=int(port), called="lab", pw=Secret("hunter2"))
    client = run(shell, "%connect {{host}}:{{ port }} --fill --name {{called}}").result
    assert (client.name, client.address.display, client.state) == ("lab", server.address, "connected")
    client = run(
        shell, "%connect --fill {{host}} {{port}} --heartbeat 'beat {{pw}}' --heartbeat-every 0.05"
    ).result
    assert client.address.display == server.address
    server.peer(1).wait_line(b"^beat hunter2$")
    assert client.expect(r"OK", timeout=5)
    run(shell, "%connect")
    assert "hunter2" not in said(capsys) + repr(client) + client.transcript.text() + str(client.heartbeat)
    for cell in (f"%%connect {{{{host}}}}:{port} --fill\n1 {{{{called}}}}\n< ^1 OK {{{{called}}}}",):
        assert run(shell, cell).result.state == "connected"


def test_a_pattern_in_quotes_means_the_same_everywhere(shell: Any, server: LineServer) -> None:
    """`%expect "^1 "` finds what `%send --expect "^1 "` finds."""
    run(shell, f"%connect {server.address}")
    asked = run(shell, '%send --expect "^1 OK " 1 noop').result
    run(shell, "%send 2 noop")
    awaited = run(shell, '%expect "^2 OK " --timeout 5').result
    assert (asked.line.text, awaited.line.text) == ("1 OK noop done", "2 OK noop done")


def test_what_cannot_be_filled_in_is_one_line(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing variable, or a value with a line break, keeps the whole cell from being sent."""
    run(shell, f"%connect {server.address}")
    shell.user_ns.update(two="a\nb", one="1", word=Secret("hunter2"))
    for cell, words in (
        ("%send --fill {{nobody}}", "no variable named 'nobody'"),
        ("%%send --fill\n1 noop\n{{two}}", "has a line break"),
        (f"%%connect {server.address} --fill\n{{{{nobody}}}}", "no variable named 'nobody'"),
        ("%connect {{nobody}}:1 --fill", "no variable named 'nobody'"),
        ("%connect {{two}}:1 --fill", "has a line break"),
        ("%connect {{word}}:1 --fill", "an address is shown again and again: no secret belongs in it"),
        ("%connect h:1 --name {{word}} --fill", "--name is shown again and again"),
        ("%connect h:1 --reply 'a={{one}}' --fill", "use client.add_reply"),
        ("%connect {{one}}:1", "was not filled in"),
        ("%connect {one}:1 --fill", "was not filled in"),
    ):
        assert words in refused(shell, cell, capsys)
    run(shell, '%send --expect "^the OK" the end')
    assert server.peer(0).lines == [b"the end"]


def test_a_record_is_a_transcript(shell: Any, server: LineServer, tmp_path: Path) -> None:
    """--record appends what happens to a file that can be loaded again."""
    record = tmp_path / "record.jsonl"
    run(shell, f"%connect {server.address} --record {record}")
    run(shell, "%send --expect ^1 1 noop")
    run(shell, "%stop")
    assert "< 1 OK noop done\n" in ipyreconnect.Transcript.load(record).text()


# -- interrupts --


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


# -- coming and going --


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


def completions(shell: Any, text: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def test_addresses_of_this_and_earlier_sessions_are_offered(
    shell: Any, server: LineServer, tmp_path: Path
) -> None:
    """Tab behind %connect offers where one has been before."""
    run(shell, f"%connect {server.address} --name x")
    assert completions(shell, "%connect 127") == [server.address]
    assert completions(shell, "%send -c ") == ["x"]
