"""Where answers land in a real kernel: under the cell that asked, whatever else goes on."""

from __future__ import annotations

import re

import pytest

from tests.kernel.kernels import SERVER, Kernel
from tests.servers.line_server import LineServer

pytestmark = pytest.mark.kernel


def test_answers_stand_under_the_cell_that_asked(kernel: Kernel) -> None:
    """Lines that come while later cells run, and after them, land under the cell that asked."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        first = kernel.run("%send 1 noop")
        assert "< 1 OK noop done" in kernel.under(first)  # at the end of the cell already
        assert first not in kernel.results
        second = kernel.run("print('later'); import time; time.sleep(0.2); print('cell')")
        server.peer(0).send(b"* late\r\n")
        kernel.wait(lambda: "< * late" in kernel.under(first))
        assert kernel.streams[second] == "later\ncell\n"
        third = kernel.run("d = %send 2 noop")
        server.peer(0).send(b"* later still\r\n")
        kernel.wait(lambda: "< * later still" in kernel.under(third))
        assert "later still" not in kernel.under(first)
        kernel.wait(lambda: "✓✓ acknowledged" in kernel.under(third))


def test_a_panels_messages_move_no_answer(kernel: Kernel) -> None:
    """While a panel is looked at and used, answers and prints stay in their cells."""
    with LineServer(SERVER) as server:
        shown = kernel.run(f"%load_ext ipyreconnect\n%connect {server.address}")
        kernel.wait(lambda: {"log", "header", "send"} <= kernel.parts.keys())
        cell = kernel.run("%send 1 noop")
        kernel.wait(lambda: "< 1 OK noop done" in kernel.under(cell))
        kernel.wait(lambda: kernel.ticks.get(kernel.parts["log"], 0) > 0)
        kernel.tell(kernel.parts["send"], m="send", id=1, text="typed into the panel")
        server.peer(0).wait_line(b"^typed")
        server.peer(0).send(b"* late\r\n")
        kernel.wait(lambda: "< * late" in kernel.under(cell))
        drawn = kernel.ticks[kernel.parts["log"]]
        server.peer(0).send(b"* later\r\n")
        kernel.wait(lambda: "< * later" in kernel.under(cell) and kernel.ticks[kernel.parts["log"]] > drawn)
        kernel.run("print('done')")
        assert set(kernel.cell_of.values()) == {shown, cell}
        assert len(kernel.streams) == 2
        assert not kernel.errors


def test_a_panel_that_nobody_draws_says_what_came_of_connecting(kernel: Kernel) -> None:
    """What nbconvert --execute, say, stores of %connect is how it ended, not how it began."""
    with LineServer(SERVER) as server:
        cell = kernel.run(f"%load_ext ipyreconnect\n%connect {server.address}")
        assert f"tcp://{server.address}: connected since" in kernel.under(cell)


def test_a_cells_questions_share_one_answer(kernel: Kernel) -> None:
    """A loop of %send, and `%%send`, give one output, not one a line."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        cell = kernel.run("for n in range(5):\n    get_ipython().run_line_magic('send', f'{n} noop')")
        assert list(kernel.cell_of.values()).count(cell) == 1
        kernel.wait(lambda: "< 4 OK noop done" in kernel.under(cell))
        cell = kernel.run("%%send --expect ^6\n5 noop\n6 noop")
        kernel.wait(lambda: "< 5 OK noop done" in kernel.under(cell))
        assert kernel.results[cell] == "<Match '6 OK noop done'>"


def test_a_cleared_answer_is_followed_by_another(kernel: Kernel) -> None:
    """The usual polling loop: after each clear_output the next answer stands there anew."""
    with LineServer(SERVER) as server:
        kernel.run(
            f"%load_ext ipyreconnect\n%connect {server.address} --no-panel\nfrom IPython.display import *"
        )
        for wait in (True, False):
            cell = kernel.run(
                f"for n in range(3):\n    clear_output(wait={wait})\n    print('round', n)\n"
                "    %send --expect OK 1 noop\n    %send --expect OK 2 noop"
            )
            names = [name for name, parent in kernel.cell_of.items() if parent == cell]
            assert len(names) == 3
            last = kernel.displays[names[-1]]["text/plain"]
            assert re.fullmatch("> 1 noop.*\n< 1 OK noop done\n> 2 noop.*\n< 2 OK noop done", last)


def test_a_cell_shows_nothing_of_what_another_sends_in_python(kernel: Kernel) -> None:
    """Under a %send stands its own conversation, also where the next cell goes on with client.send."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\nc = %connect {server.address} --no-panel")
        first = kernel.run("%send 1 noop")
        server.peer(0).send(b"* late\r\n")
        kernel.wait(lambda: "< * late" in kernel.under(first))
        kernel.run("c.send('2 noop', expect='^2 OK')")
        kernel.run("c.send('3 noop', expect='^3 OK')")
        third = kernel.run("%send 4 noop")
        kernel.wait(lambda: "< 4 OK noop done" in kernel.under(third))
        assert kernel.under(first).splitlines()[1:] == ["< 1 OK noop done", "< * late"]


def test_what_a_callback_prints_goes_where_it_was_given(kernel: Kernel) -> None:
    """Output of listeners and observers stays under their cells, and so do their failures."""
    with LineServer(SERVER) as server:
        kernel.run(f"from ipyreconnect import Client\nc = Client('{server.address}').connect()")
        listener = kernel.run("c.on_line(lambda line: print('heard', line.text, flush=True)); None")
        observer = kernel.run("c.observe(lambda change: print('now', change.new, flush=True), 'state')")
        broken = kernel.run("c.on_line(lambda line: 1 / 0); None")
        later = kernel.run("c.send('1 noop', expect='^1 OK'); None")
        kernel.wait(lambda: "heard 1 OK noop done" in kernel.streams.get(listener, ""))
        kernel.wait(lambda: "ZeroDivisionError" in kernel.streams.get(broken, ""))
        kernel.run("print('another')")
        server.peer(0).send(b"* late\r\n")
        kernel.wait(lambda: "heard * late" in kernel.streams.get(listener, ""))
        last = kernel.run("c.stop()")
        kernel.wait(lambda: "now stopped" in kernel.streams.get(observer, ""))
        assert not {later, last} & kernel.streams.keys()


def test_a_callback_sends_its_own_lines(kernel: Kernel) -> None:
    """What a silent cell or a callback gives %%send is sent, and not the lines of the last cell again."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        kernel.run("%%send\n1 cell")
        silent = kernel.begin("%%send\n  silent", silent=True)
        kernel.wait(lambda: kernel.idle == silent)
        kernel.run(
            "import asyncio\n"
            "asyncio.get_running_loop().call_soon(\n"
            "    lambda: get_ipython().run_cell_magic('send', '', '>>> from a callback'))"
        )
        kernel.run("%%send\n9 end")
        server.peer(0).wait_line(b"^9 end")
        server.peer(0).wait_line(b"from a callback$")
        assert sorted(server.peer(0).lines) == [b"  silent", b"1 cell", b"9 end", b">>> from a callback"]


def test_connect_shows_its_panel_once(kernel: Kernel) -> None:
    """The panel shows also where the result is assigned, and never twice; unloading takes all down."""
    with LineServer(SERVER) as server:
        kernel.run("%load_ext ipyreconnect")
        cell = kernel.run(f"%connect {server.address}")
        assert cell not in kernel.results
        assert kernel.panels(cell) == 1
        assert re.search(r"^connected to \S+ in", kernel.streams[cell], re.MULTILINE)
        for code in (
            f"c = %connect {server.address} --name second",
            f"c = %connect {server.address} --name second\nc",
            f"%%time\n%connect {server.address} --name second",
            f"get_ipython().run_line_magic('connect', '{server.address} --name second')",
        ):
            cell = kernel.run(code)
            assert kernel.panels(cell) == 1
            assert cell not in kernel.results
        cell = kernel.run("c")  # replaced meanwhile, and looked at all the same
        assert "<Panel of <Client second" in kernel.results[cell]
        kernel.run("%stop --all")
        kernel.run("%unload_ext ipyreconnect")
        text = kernel.say(
            "import ipywidgets, threading\n"
            "print(len(ipywidgets.widgets.widget._instances),\n"
            "      [t.name for t in threading.enumerate() if 'reconnect' in t.name])"
        )
        assert text == "0 []\n"


def test_without_anybody_to_ask_it_says_so(kernel: Kernel) -> None:
    """A front end that takes no input gets one clear line, and nothing is sent."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        cell = kernel.begin("%send --fill 1 login me {{?Password}}", allow_stdin=False)
        kernel.wait(lambda: kernel.idle == cell)
        assert kernel.streams[cell].startswith("UsageError: nobody can be asked for 'Password' here")
        kernel.run("%send --expect ^9 9 end")
        assert server.peer(0).lines == [b"9 end"]


def test_what_is_asked_for_is_asked_without_echo(kernel: Kernel) -> None:
    """`{{?Password}}` asks as for a password; what was typed reaches the server and no output."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        cell = kernel.begin("%send --fill 1 {{?Password}}", allow_stdin=True)
        question = kernel.client.get_stdin_msg(timeout=10)["content"]
        assert question == {"prompt": "Password: ", "password": True}
        kernel.client.input("hunter2")
        kernel.wait(lambda: "< 1 OK •••• done" in kernel.under(cell))
        assert server.peer(0).lines == [b"1 hunter2"]
        assert "hunter2" not in str(kernel.__dict__)
        assert kernel.say("print('hunter' + '2' in str([In, Out, globals()]))") == "False\n"


def test_only_the_newest_places_of_a_panel_are_kept_up_to_date(kernel: Kernel) -> None:
    """A cell that is run again and again does not leave more and more of them, each told of every line."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\nclient = %connect {server.address}")
        cell = kernel.run(
            "from ipyreconnect.jupyter.panel.panel import panel_for\n"
            "for _ in range(12): panel_for(client).show()"
        )
        kernel.run("%stop")
        places = [name for name, parent in kernel.cell_of.items() if parent == cell and name]
        stopped = ["stopped" in kernel.displays[name]["text/plain"] for name in places]
    assert stopped == [False] * 4 + [True] * 8
