"""How a cell's text arrives, and which results IPython shows of it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ipyreconnect
from ipyreconnect import Client, Delivery
from ipyreconnect.jupyter.magics.cells import ends_with_magic, lines_of
from tests.jupyter.shells import new_shell, run, said
from tests.servers.line_server import LineServer

_counter = itertools.count()
_body = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


def test_blank_lines_are_lines(shell: Any, server: LineServer) -> None:
    """An empty line ends many a protocol's header: `%send` alone sends one."""
    run(shell, f"%connect {server.address}")
    assert run(shell, "%send --expect ^blank$").success
    assert run(shell, "%send --expect ^blank$ --").success
    assert server.peer(0).lines == [b"", b""]


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
