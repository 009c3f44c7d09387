"""Answers under the cell that asked: how they look, as values; where they land is for tests/kernel."""

from __future__ import annotations

import re
import time
from typing import Any

from ipyreconnect import Client
from ipyreconnect.jupyter.answers import REST, Answer, as_html, as_text
from tests.servers.line_server import LineServer, answering

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
    rows = [(">", "> a<b", "✓ sent"), ("<", "< c", "")]
    assert as_text(rows) == "> a<b   ✓ sent\n< c"
    assert re.sub("<[^>]*>", "", as_html(rows)) == "&gt; a&lt;b   ✓ sent\n&lt; c"
