"""What a person sees who types the magics into a real IPython in a real terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.servers.line_server import LineServer, answering
from tests.terminal.screen import QUIET, Screen, connected, ipython

pytestmark = pytest.mark.terminal

FLOOD = b"\r\n".join(b"* %d FETCH" % number for number in range(20000))
SERVER = answering(
    {
        rb"FLOOD": FLOOD,
        rb"^escapes": b"\x1b[2J\x1b[Hcleared\x1b]0;title\x07",
        rb"^(\S+) (\S+)": rb"\1 OK \2 done",
    },
    b"* OK ready\r\n",
)


def test_the_weblogs_session() -> None:
    """Connect, lose the server and have it back while typing, send, see the answer above the prompt, stop."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address, "--ticks --retry 0.5")
        screen.wait(r"^< \* OK ready$")
        screen.type("half a lin")
        screen.wait(r"^In \[3\]: half a lin$")
        server.peer(0).reset()
        # The first try's connection did not last: the next one is the second in a row.
        screen.wait(r"^\* reset by \S+; try 2 in 0\.[456] s$")
        screen.wait(r"^\* connected to \S+$")
        # What was typed meanwhile is there, and the cursor behind it.
        assert screen.prompt == "In [3]: half a lin"
        screen.type("e\n")
        screen.wait(r"NameError|SyntaxError")
        screen.wait_prompt(4)
        screen.type("%send 1 capability\n")
        screen.wait(r"^< 1 OK capability done$")
        screen.wait(r"^In \[5\]:$")
        screen.type("%stop\n")
        screen.wait(r"^stopped 127\.0\.0\.1$")
        screen.wait_prompt(6)
        screen.type("import threading; [t.name for t in threading.enumerate() if 'ipyreconnect' in t.name]\n")
        screen.wait(r"^Out\[6\]: \[\]$")
        screen.type("exit\n")
        assert screen.wait_end() < 2.0


def test_a_question_mark_and_a_backslash_are_sent_with_one_enter() -> None:
    """What an instrument is asked ends with a ?, other lines with a backslash: Enter sends both as typed."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.wait_prompt(3)
        screen.type("%send *IDN?\n")
        server.peer(0).wait_line(rb"^\*IDN\?$")
        screen.wait_prompt(4)
        screen.type("m = %send --expect OK 1 a\\\n")
        server.peer(0).wait_line(rb"^1 a\\$")
        screen.wait_prompt(5)
        screen.type("%send?\n")
        screen.wait(r"Send one line, byte for byte as typed")


def test_what_a_listener_prints_stands_above_the_prompt() -> None:
    """The typed text stays, as with the lines of a %send."""
    with LineServer(SERVER) as server, ipython() as screen:
        screen.type(f"from ipyreconnect import Client; c = Client('{server.address}').connect()\n")
        screen.type("heard = c.on_line(lambda line: print('heard', line.text))\n")
        screen.wait_prompt(3)
        screen.type("half a lin")
        screen.wait(r"^In \[3\]: half a lin$")
        server.peer(0).send(b"* late\r\n")
        screen.wait(r"^heard \* late$")
        assert screen.prompt == "In [3]: half a lin"


def test_the_dots_of_the_weblog() -> None:
    """--ticks prints a dot a second in a row of its own above the prompt, and the typed text stays."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address, "--ticks")
        screen.type("typed")
        screen.wait(r"^\.\.\.\nIn \[3\]: typed$")
        assert screen.prompt == "In [3]: typed"
        screen.type("\x15%send 1 noop\n")
        screen.wait(r"^< 1 OK noop done$")
        screen.wait(r"^\.\.\nIn \[4\]:$")
        # While a cell runs, they are printed where its output is.
        screen.type("import time; time.sleep(3.2)\n")
        screen.wait(r"^\.{2,3}$[^.]*In \[5\]:$")


def test_a_flood_leaves_the_typed_text_alone() -> None:
    """Of 20 000 lines the newest are shown and the others counted; what is being typed stays intact."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.wait(r"^< \* OK ready$")
        screen.type("%send FLOOD\n")
        screen.wait(r"^In \[4\]:")
        screen.type("typed in a flood")
        screen.wait(r"^< \* 19999 FETCH$")
        screen.read(QUIET)
        assert screen.prompt == "In [4]: typed in a flood"
        shown = re.findall(r"^< \* (\d+) FETCH$", screen.everything, re.MULTILINE)
        assert len(shown) < 2000
        missed = sum(int(count) for count in re.findall(r"^… (\d+) more$", screen.everything, re.MULTILINE))
        assert len(shown) + missed == pytest.approx(20000, abs=3)


def test_a_servers_escapes_are_shown_not_obeyed() -> None:
    """No server clears the screen or sets the window's title."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.type("%send escapes\n")
        screen.wait(r"^< \\x1b\[2J\\x1b\[Hcleared\\x1b\]0;title\\x07$")
        assert "In [1]: %load_ext ipyreconnect" in screen.text


def test_a_cell_typed_at_the_prompt_is_sent_as_written() -> None:
    """`%%send` sends each line with its blanks; the empty line that ends a cell at a prompt is none."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.type("%%send\n1 two  blanks \n\n>>> 2 {x} $y?\n\n\n")
        screen.wait(r"^< >>> OK 2 done$")
        assert server.peer(0).lines == [b"1 two  blanks ", b"", b">>> 2 {x} $y?"]


def test_only_the_empty_line_that_ends_a_cell_is_none() -> None:
    """Of a cell that is timed, or pasted with its prompts, it is none; code at the prompt sends its own."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.type("%%time\n%%send\ntimed\n\n\n")
        screen.wait_prompt(4)
        screen.type("In [1]: %%send\n   ...: pasted\n\n\n")
        screen.wait_prompt(5)
        screen.type('d = get_ipython().run_cell_magic("send", "", "called\\n\\n")\n')
        screen.wait_prompt(6)
        server.peer(0).wait_line(b"^$")
        assert server.peer(0).lines == [b"timed", b"pasted", b"called", b""]


def test_ctrl_c_leaves_the_wait_and_nothing_else() -> None:
    """Ctrl-C ends %expect with one line; the connection goes on."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.type("%expect ^never --timeout 60\n")
        screen.read(QUIET)
        screen.type("\x03")
        screen.wait(r"interrupted; the connection is as it was$")
        screen.wait_prompt(4)
        screen.type("%send 1 noop\n")
        screen.wait(r"^< 1 OK noop done$")
        assert "Traceback" not in screen.text


def test_tab_completes_options_names_and_addresses() -> None:
    """The menu behind Tab has our options and nothing else, also behind an assignment."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address)
        screen.type("r = %connect --keepalive-\x7f\x7f\t")
        screen.wait(r"^In \[3\]: r = %connect --keepalive$")
        screen.type("\x15%connect --no-\t")
        screen.wait(r"--no-tls\s+--no-verify\s+--no-panel")
        assert "BaseException" not in screen.text
        screen.type(f"\x1b\x15%connect {server.address[:6]}\t")
        screen.wait(rf"^In \[3\]: %connect {server.address}$")
        screen.type("\x15%stop 12\t")
        screen.wait(r"^In \[3\]: %stop 127\.0\.0\.1$")
        screen.type("\x15%config Reconnect.keep\t")
        screen.wait(r"^In \[3\]: %config Reconnect\.keepalive$")


def test_mistakes_are_one_line() -> None:
    """A user's mistake shows as one line in the terminal too."""
    with ipython() as screen:
        screen.wait_prompt(1)
        screen.type("%load_ext ipyreconnect\n")
        screen.wait_prompt(2)
        screen.type("%connect imapz://h\n")
        screen.wait(r"^UsageError: unknown scheme 'imapz' \(did you mean imaps?\?\)")
        screen.wait_prompt(3)
        screen.type("%send x\n")
        screen.wait(r"^UsageError: no connection yet")
        assert "Traceback" not in screen.text


def test_leaving_with_a_live_connection_is_quick() -> None:
    """The command exit ends IPython within two seconds, with a connection open and dots running."""
    with LineServer(SERVER) as server, ipython() as screen:
        connected(screen, server.address, "--ticks")
        screen.type("exit\n")
        assert screen.wait_end() < 2.0
        server.peer(0).wait_closed()
        assert "Traceback" not in screen.text


def test_a_script_gets_plain_text(tmp_path: Path) -> None:
    """`ipython script.ipy` prints the same lines, with no prompt and no control sequence."""
    script = tmp_path / "session.ipy"
    with LineServer(SERVER) as server:
        script.write_text(
            "%load_ext ipyreconnect\n"
            f"%connect {server.address}\n"
            "m = %send --expect '^1 OK' 1 noop\n"
            "print('matched', m.text)\n"
            "%stop\n"
        )
        with Screen(
            sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", str(script)
        ) as screen:
            screen.wait_end()
            assert re.search(r"^connected to \S+ in", screen.text, re.MULTILINE)
            assert re.search(r"^< 1 OK noop done$\nmatched 1 OK noop done$", screen.text, re.MULTILINE)
            assert re.search(r"^stopped 127\.0\.0\.1$", screen.text, re.MULTILINE)


def test_an_embedded_shell_goes_on_with_what_the_one_before_left(tmp_path: Path) -> None:
    """What one IPython.embed() started is listed, shown and stopped in the next that loads the extension."""
    script = tmp_path / "program.py"
    script.write_text(
        "import threading, IPython\n"
        "for _ in range(3):\n"
        "    IPython.embed(banner1='', banner2='', display_banner=False, confirm_exit=False)\n"
        "print([t.name for t in threading.enumerate() if 'ipyreconnect' in t.name])\n"
    )
    with LineServer(SERVER) as server, Screen(sys.executable, str(script)) as screen:
        connected(screen, server.address, "--name first")
        screen.wait(r"^< \* OK ready$")
        screen.type("exit\n")
        screen.wait_prompt(1)
        screen.type("%load_ext ipyreconnect\n")
        screen.wait_prompt(2)
        screen.type(f"%connect {server.address} --name second\n")
        screen.wait(r"^\[second\] < \* OK ready$")
        server.peer(0).send(b"* later\r\n")
        screen.wait(r"^\[first\] < \* later$")
        screen.type("exit\n")
        screen.wait(r"^In \[3\]: exit\n\s*In \[1\]:$")
        screen.type("%load_ext ipyreconnect\n")
        screen.wait(r"^In \[1\]: %load_ext ipyreconnect\n\s*In \[2\]:$")
        screen.type("%connect\n")
        screen.wait(r"^  first +tcp://\S+ +connected .*\n\* second +tcp://\S+ +connected ")
        screen.type("%stop first\n")
        screen.wait(r"^stopped first$")
        screen.type("%unload_ext ipyreconnect\n")
        server.peer(1).wait_closed()
        screen.type("exit\n")
        screen.wait(r"^\[\]$")
        screen.wait_end()
        assert len(re.findall(r"< \* (OK ready|later)$", screen.everything, re.MULTILINE)) == 3
        assert "Traceback" not in screen.everything
