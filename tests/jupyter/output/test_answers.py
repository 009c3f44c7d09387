"""Answers under the cell that asked: how they look, as values; where they land is for tests/kernel."""

from __future__ import annotations

import re
import time
from typing import Any

from ipyreconnect import Client, Heartbeat, Retry
from ipyreconnect.jupyter.aside import send_aside
from ipyreconnect.jupyter.output.answers import REST, Answer, Row, as_html, as_text
from tests.servers.line_server import LineServer, answering
from tests.watching import until

SERVER = answering(
    {
        rb"LONG": b"z" * 5000,
        rb"FLOOD": b"\r\n".join(b"* %d FETCH" % number for number in range(5000)),
        rb"markup": b"<script>alert(1)</script>\x1b[2J & done",
        rb"AUTH": b"334 UGFzc3dvcmQ6",
        rb"aHVudGVyMg": b"235 welcome",
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


class Busy:
    """A front end that takes its time."""

    TIME = 0.02
    """Seconds, of the processor."""

    def update(self, obj: Any, **kwargs: Any) -> None:
        end = time.thread_time() + self.TIME
        while time.thread_time() < end:
            pass


def texts(answer: Answer) -> list[str]:
    """The rows of an answer without their direction."""
    return [row[1][2:] for row in answer.rows()]


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


def test_what_others_send_is_no_part_of_a_cells_answer() -> None:
    """Once the cell has ended its answer goes on with what comes, until Python sends the next line."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        client.expect("ready")
        answer = Answer(client, None)
        client.send("1 noop", expect="^1 OK")
        client.send("2 noop", expect="^2 OK")  # by Python, while the cell runs: the cell's own
        answer.cell_ended()
        server.peer(0).send(b"* late\r\n")
        client.expect("late")
        before = texts(answer)
        assert before == [
            "1 noop",
            "1 OK noop done",
            "2 noop",
            "2 OK noop done",
            "* late",
        ]
        client.send("3 noop")
        client.send("4 noop", expect="^4 OK")
        assert texts(answer) == before
        assert not answer.cell_runs()
        answer.close()
        assert texts(answer) == before


def test_who_asks_at_the_same_moment_is_found_at_the_end() -> None:
    """What another cell sent just before this answer is let be is not in it."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        client.expect("ready")
        answer = Answer(client, None)
        client.send("1 noop", expect="^1 OK")
        answer.cell_ended()
        client.send("x" * 200_000 + " y", timeout=20, expect="done$")
        answer.close()
        assert texts(answer) == ["1 noop", "1 OK noop done"]


def test_lines_of_the_connection_itself_end_no_answer() -> None:
    """Replies, heartbeats, and what is typed into the panel pass; a callback of the cell goes on with it."""
    with (
        LineServer(SERVER) as server,
        Client(server.address, replies={"^PING": "PONG"}, heartbeat=Heartbeat("0 beat", 0.05)) as client,
    ):
        client.expect("ready")
        answer = Answer(client, None)
        client.send("1 noop", expect="^1 OK")
        answer.cell_ended()
        server.peer(0).send(b"PING\r\n")
        server.peer(0).wait_line(b"^PONG$")
        client.expect("^0 OK")
        send_aside(client, "2 panel")
        client.expect("^2 OK")
        assert "2 OK panel done" in texts(answer)
        assert answer.cell_runs()
        client.send("3 noop", expect="^3 OK")
        answer.cell_ended()
        assert "3 OK noop done" in texts(answer)
        client.send("4 noop", expect="^4 OK")
        assert "4 noop" not in texts(answer)


def test_a_line_that_had_to_wait_belongs_to_its_cell() -> None:
    """What a cell queued while the connection was away is its own when it leaves, an hour later."""
    with LineServer(SERVER) as server, Client(server.address, retry=Retry(0.05, jitter=0)) as client:
        client.expect("ready")
        server.peer(0).reset()
        until(client, lambda: client.state != "connected")
        answer = Answer(client, None)
        delivery = client.send("1 noop", queue=True)
        answer.queued([delivery] if delivery.number is None else [])
        answer.cell_ended()
        assert delivery.wait("acknowledged")
        client.expect("^1 OK")
        shown = texts(answer)
        assert {"1 noop", "1 OK noop done"} <= set(shown)
        client.send("2 noop", expect="^2 OK")
        assert texts(answer) == shown


def test_an_answer_is_in_the_code_font_wherever_it_is_shown() -> None:
    """Exports and Voila have no style of JupyterLab's for it: it says so itself."""
    assert re.search(
        r"<pre [^>]*font-family:var\(--jp-code-font-family,.*monospace\)", as_html([Row("<", "x", "")])
    )


def test_an_answer_that_takes_long_to_show_is_shown_seldom() -> None:
    """Mails of megabytes under a cell do not take the interpreter from the cells that follow."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, Busy())
        answer.show(0.0)
        assert answer.due_in(0.0) >= REST * Busy.TIME


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


def test_of_a_line_that_is_cut_it_says_how_much_there_is_more() -> None:
    """What is shown and what is said to be missing are the whole line."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, None)
        client.send("LONG", expect="^z")
        row = answer.bundle()["text/plain"].splitlines()[-1]
    missing = re.fullmatch(r"< z+ … (\d+) more characters", row)
    assert missing
    assert row.count("z") + int(missing[1]) == 5000


def test_a_password_typed_in_clear_is_not_saved() -> None:
    """What looks like a log-in is masked in the output that a notebook keeps."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        answer = Answer(client, None)
        client.send("1 login me hunter2", expect="^1 OK")
        assert "hunter2" not in str(answer.bundle())


def test_a_password_is_not_saved_where_another_cell_was_asked_for_it() -> None:
    """The server's question stands under the cell before; what was typed for it is masked all the same."""
    with LineServer(SERVER) as server, Client(server.address) as client:
        client.send("AUTH LOGIN", expect="^334")
        answer = Answer(client, None)
        client.send("aHVudGVyMg", expect="^235")
        assert answer.bundle()["text/plain"].startswith("> ••••")


def test_rows_are_text_and_html() -> None:
    """Both forms say the same."""
    rows = [Row(">", "> a<b", "✓ sent"), Row("<", "< c", "")]
    assert as_text(rows) == "> a<b   ✓ sent\n< c"
    assert re.sub("<[^>]*>", "", as_html(rows)) == "&gt; a&lt;b   ✓ sent\n&lt; c"
