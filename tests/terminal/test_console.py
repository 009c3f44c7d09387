"""What a person sees in `jupyter console`: a kernel, and a front end that updates nothing it has shown."""

from __future__ import annotations

import sys

import pytest

from tests.kernel.kernels import SERVER
from tests.servers.line_server import LineServer
from tests.terminal.screen import QUIET, Screen, connected

pytestmark = [pytest.mark.terminal, pytest.mark.kernel]


def test_a_console_gets_plain_text() -> None:
    """Answers, a match, a client and a mistake stand there as text; no panel, no widget, no empty output."""
    with LineServer(SERVER) as server, Screen(sys.executable, "-m", "jupyter_console") as screen:
        connected(screen, server.address)
        screen.wait(r"^< \* OK ready$")
        screen.type("%send 1 noop\n")
        screen.wait(r"^In \[3\]: %send 1 noop\n< 1 OK noop done\n\nIn \[4\]:$")
        screen.type("m = %send --expect ^2 2 noop\n")
        screen.wait(r"^< 2 OK noop done\n\nIn \[5\]:$")
        screen.type("%expect OK --timeout 0\n")
        screen.wait(r"^ExpectTimeout: no line from \S+ matched 'OK' within 0 s")
        screen.type("%panel\n")
        screen.wait(r"^UsageError: a panel needs a notebook")
        screen.type("c = %connect " + server.address + " --name second\n")
        screen.wait(r"^\[second\] < \* OK ready$")
        screen.wait_prompt(8)
        screen.type("c\n")
        screen.wait(r"^Out\[8\]: <Client second tcp://\S+: connected since \d\d:\d\d:\d\d>$")
        screen.type("len(__import__('ipywidgets').widgets.widget._instances)\n")
        screen.wait(r"^Out\[9\]: 0$")


def test_a_consoles_cell_ends_with_no_empty_line() -> None:
    """The empty line that ends a cell at its prompt is not sent."""
    with LineServer(SERVER) as server, Screen(sys.executable, "-m", "jupyter_console") as screen:
        connected(screen, server.address)
        screen.type("%%send\n1 a\n\n2 b \n\n")
        screen.read(QUIET)
        screen.type("\n")
        screen.wait(r"^< 2 OK b done$")
        screen.wait_prompt(4)
        assert server.peer(0).lines == [b"1 a", b"", b"2 b "]
