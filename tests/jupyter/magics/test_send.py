"""What %send sends and waits for."""

from __future__ import annotations

import itertools
import re
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ipyreconnect
from ipyreconnect import Delivery, Secret
from tests.jupyter.shells import refused, run, said
from tests.servers.line_server import LineServer, echo

_counter = itertools.count()
_body = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


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


def test_a_pattern_in_quotes_means_the_same_everywhere(shell: Any, server: LineServer) -> None:
    """`%expect "^1 "` finds what `%send --expect "^1 "` finds."""
    run(shell, f"%connect {server.address}")
    asked = run(shell, '%send --expect "^1 OK " 1 noop').result
    run(shell, "%send 2 noop")
    awaited = run(shell, '%expect "^2 OK " --timeout 5').result
    assert (asked.line.text, awaited.line.text) == ("1 OK noop done", "2 OK noop done")
