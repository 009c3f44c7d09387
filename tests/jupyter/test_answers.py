"""Answers under the cell that asked: how they look as values, and where they land in a real kernel."""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from ipyreconnect import Client
from ipyreconnect.jupyter.answers import Answer, as_html, as_text
from tests.servers.line_server import LineServer, answering

SERVER = answering(
    {
        rb"FLOOD": b"\r\n".join(b"* %d FETCH" % number for number in range(5000)),
        rb"markup": b"<script>alert(1)</script>\x1b[2J & done",
        rb"^mute": b"",
        rb"^(\S+) (\S+)": rb"\1 OK \2 done",
    },
    b"* OK ready\r\n",
)


class Shown:
    """What a front end would keep of a display."""

    def __init__(self) -> None:
        self.bundles: list[dict[str, str]] = []

    def update(self, obj: Any, **kwargs: Any) -> None:
        self.bundles.append(obj)


# -- as values --


def test_an_answer_is_what_came_until_somebody_else_asked() -> None:
    """The lines from the question on, with the fate of what was sent, up to the next question."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        client.expect("ready")
        shown = Shown()
        answer = Answer(client, shown)
        delivery = client.send("1 noop")
        client.expect("^1 OK")
        assert delivery.wait("acknowledged")
        answer.close()
        client.send("2 noop", expect="^2 OK")
        answer.show(0.0)
        answer.show(1.0)
        (bundle,) = shown.bundles  # nothing changed in between
    assert bundle["text/plain"] == "> 1 noop   ✓✓ acknowledged\n< 1 OK noop done"


def test_markup_of_a_server_is_text() -> None:
    """HTML and escapes in a line are shown, never obeyed."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, None)
        client.send("markup", expect="done$")
        html = answer.bundle()["text/html"]
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J &amp; done" in html


def test_of_a_long_answer_the_two_ends_are_shown() -> None:
    """A bounded number of lines: the beginning, how many are left out, and the newest."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, None, 40)
        client.send("FLOOD", expect="4999 FETCH")
        rows = answer.bundle()["text/plain"].splitlines()
    assert len(rows) == 41
    assert "… 49" in rows[30]
    assert rows[-1] == "< * 4999 FETCH"


def test_a_password_typed_in_clear_is_not_saved() -> None:
    """What looks like a log-in is masked in the output that a notebook keeps."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, None)
        client.send("1 login me hunter2", expect="^1 OK")
        assert "hunter2" not in str(answer.bundle())


def test_rows_are_text_and_html() -> None:
    """Both forms say the same."""
    rows = [(">", "> a<b", "✓ sent"), ("<", "< c", "")]
    assert as_text(rows) == "> a<b   ✓ sent\n< c"
    assert re.sub("<[^>]*>", "", as_html(rows)) == "&gt; a&lt;b   ✓ sent\n&lt; c"


# -- in a kernel --


class Kernel:
    """A kernel, and what a front end would show of its cells."""

    def __init__(self, client: Any, manager: Any) -> None:
        self.client = client
        self.manager = manager
        self.displays: dict[str, dict[str, str]] = {}
        self.cell_of: dict[str, str] = {}
        self.streams: dict[str, str] = {}
        self.results: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    def run(self, code: str) -> str:
        """Run a cell to its end, and give its id."""
        cell: str = self.client.execute(code)
        self.wait(lambda: self.idle == cell)
        return cell

    idle = ""

    def wait(self, done: Any) -> None:
        """Take messages over until `done()`."""
        deadline = time.monotonic() + 20
        while not done():
            try:
                self._take(self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"it does not come: {self.displays} {self.streams}") from None

    def _take(self, message: dict[str, Any]) -> None:
        parent = message["parent_header"].get("msg_id", "")
        content = message["content"]
        match message["msg_type"]:
            case "status" if content["execution_state"] == "idle":
                self.idle = parent
            case "display_data" | "update_display_data":
                name = content.get("transient", {}).get("display_id", "")
                if message["msg_type"] == "display_data":
                    self.cell_of[name] = parent
                self.displays[name] = content["data"]
            case "stream":
                self.streams[parent] = self.streams.get(parent, "") + content["text"]
            case "execute_result":
                self.results[parent] = content["data"]["text/plain"]
            case "error":
                self.errors[parent] = "\n".join(content["traceback"])

    def under(self, cell: str) -> str:
        """Give the text of the answer that stands under a cell."""
        names = [name for name, parent in self.cell_of.items() if parent == cell]
        return "\n".join(self.displays[name].get("text/plain", "") for name in names)


@pytest.fixture
def kernel(tmp_path: Any) -> Iterator[Kernel]:
    manager, client = start_new_kernel(extra_arguments=[f"--IPKernelApp.ipython_dir={tmp_path}"])
    try:
        yield Kernel(client, manager)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.kernel
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


@pytest.mark.kernel
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


@pytest.mark.kernel
def test_connect_shows_its_panel_once(kernel: Kernel) -> None:
    """The panel shows also where the result is assigned, and never twice; %stop takes it down."""
    with LineServer(SERVER) as server:
        kernel.run("%load_ext ipyreconnect")
        cell = kernel.run(f"%connect {server.address}")
        assert cell not in kernel.results
        assert len([parent for parent in kernel.cell_of.values() if parent == cell]) == 1
        assert re.search(r"^connected to \S+ in", kernel.streams[cell], re.MULTILINE)
        cell = kernel.run(f"c = %connect {server.address} --name second")
        assert len([parent for parent in kernel.cell_of.values() if parent == cell]) == 1
        kernel.run("%stop --all")
        cell = kernel.run(
            "import ipywidgets, threading\n"
            "print(len(ipywidgets.Widget._instances if hasattr(ipywidgets.Widget, '_instances') else\n"
            "          ipywidgets.widgets.widget._instances),\n"
            "      [t.name for t in threading.enumerate() if 'reconnect' in t.name])"
        )
        assert kernel.streams[cell] == "0 []\n"


@pytest.mark.kernel
def test_unloading_leaves_no_trace_in_a_kernel(kernel: Kernel) -> None:
    """%unload_ext with a connection, a panel and an answer leaves no thread, widget, magic or hook."""
    with LineServer(SERVER) as server:
        kernel.run("%reload_ext storemagic")  # IPython itself loads what these magics need at their first use
        look = kernel.run(
            "import threading, ipywidgets\nip = get_ipython()\n"
            "def look():\n"
            "    names = {kind: sorted(table) for kind, table in ip.magics_manager.magics.items()}\n"
            "    hooks = {name: len(calls) for name, calls in ip.events.callbacks.items()}\n"
            "    threads = [t.name for t in threading.enumerate() if 'reconnect' in t.name]\n"
            "    return (names, hooks, threads, list(ip.Completer.custom_matchers), len(ip.configurables),\n"
            "            sorted(ip.magics_manager.registry), len(ipywidgets.widgets.widget._instances))\n"
            "before = look()\nprint(len(before))"
        )
        assert kernel.streams[look] == "7\n"
        for _ in range(3):
            kernel.run(f"%load_ext ipyreconnect\n%connect {server.address}")
            kernel.run("%send 1 noop")
            kernel.run("%reload_ext ipyreconnect")
            kernel.run(f"c = %connect {server.address}")
            kernel.run("%send 2 noop")
            kernel.run("%unload_ext ipyreconnect")
        cell = kernel.run("after = look()\nprint(c.state, *[x for x, y in zip(after, before) if x != y])")
        assert kernel.streams[cell] == "stopped\n"


@pytest.mark.kernel
def test_an_interrupt_ends_a_wait_and_leaves_the_connection(kernel: Kernel) -> None:
    """The kernel's interrupt leaves %expect within half a second; the connection is as it was."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\nc = %connect {server.address} --no-panel")
        waiting = kernel.client.execute("print('waiting')\n%expect ^never --timeout 60")
        kernel.wait(lambda: "waiting" in kernel.streams.get(waiting, ""))
        begin = time.monotonic()
        kernel.manager.interrupt_kernel()
        kernel.wait(lambda: waiting in kernel.errors)
        assert time.monotonic() - begin < 0.5
        assert kernel.errors[waiting] == "interrupted; the connection is as it was"
        kernel.wait(lambda: kernel.idle == waiting)  # what is asked before that is dropped with the cell
        cell = kernel.run("print(c.state)")
        assert kernel.streams[cell] == "connected\n"


@pytest.mark.kernel
def test_without_anybody_to_ask_it_says_so(kernel: Kernel) -> None:
    """A front end that takes no input gets one clear line, and nothing is sent."""
    with LineServer(SERVER) as server:
        kernel.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        cell = kernel.client.execute("%send --fill 1 login me {{?Password}}", allow_stdin=False)
        kernel.wait(lambda: kernel.idle == cell)
        assert kernel.streams[cell].startswith("UsageError: nobody can be asked for 'Password' here")
        kernel.run("%send --expect OK the end")
        assert server.peer(0).lines == [b"the end"]
