"""What leaves the kernel of a line: bounded, harmless, and with a password masked where it is stored."""

from __future__ import annotations

import struct
import sys
import unicodedata
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.client.client import Client
from ipyreconnect.jupyter.panel.log_view import ROW_CHARS, encode_rows, visible
from ipyreconnect.jupyter.panel.panel import Panel, static_html
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.line import Line
from tests.servers.line_server import LineServer, mute
from tests.watching import until


def client_with(*lines: tuple[str, str]) -> Client:
    """A client that was never connected, with this in its transcript."""
    client = Client("127.0.0.1:9")
    for direction, text in lines:
        if direction == ">":
            client.transcript.append_sent(text.encode(), 0.0, Delivery(text.encode()))
        else:
            client.transcript.append_received([text.encode()], 0.0)
    return client


def test_control_characters_are_written_out_and_a_tab_stays_a_tab_too() -> None:
    """ESC is three letters, so that no terminal, browser or reader is led astray."""
    assert visible("a\x1b[2J\x00b\tc\u202ed") == "a\x01ESC\x02[2J\x01NUL\x02b\x01⇥\x02\tc\x01U+202E\x02d"


def test_scripts_and_emoji_keep_their_joiners() -> None:
    """Only what hides or turns text is written out."""
    assert visible("नमस्ते क्‍ष 👩‍🔧 é") == "नमस्ते क्‍ष 👩‍🔧 é"


def test_every_format_character_is_written_out() -> None:
    """What draws nothing hides nothing, such as a text in tags, which are ASCII over again, unseen."""
    kept = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    formats = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    assert {code for code in formats if chr(code) in visible(chr(code))} <= kept
    assert visible("pay \U000e0041") == "pay \x01U+E0041\x02"


@given(st.text())
def test_no_text_gets_a_raw_control_character_or_a_second_line_into_a_row(text: str) -> None:
    """Whatever a server sends: the only controls that travel are our own brackets and the tab."""
    rest = visible(text).replace("\x01", "").replace("\x02", "").replace("\t", "")
    assert not any(unicodedata.category(character) == "Cc" for character in rest)
    assert not {"\u2028", "\u2029", "\u202e", "\ufeff"} & set(rest)


def test_rows_say_all_that_is_shown_of_a_line() -> None:
    """Number, time, direction, delivery, fragment, and the time of the line before."""
    lines = [
        Line(b"* OK", 10.5, "<", 7),
        Line(b"a1 NOOP", 11.0, ">", 8, delivery=Delivery(b"a1 NOOP")),
        Line(b"half a li", 12.0, "<", 9, truncated=True),
        Line(b"closed", 13.0, "*", 10),
    ]
    content, (texts, times) = encode_rows(lines, 1000, before=9.0)
    assert content == {
        "a": 7, "n": 4, "dir": "<><*", "mark": "-q--", "part": [2], "cut": {}, "before": 9.0
    }  # fmt: skip
    assert texts.decode().split("\n") == ["* OK", "a1 NOOP", "half a li", "closed"]
    assert struct.unpack("4d", times) == (10.5, 11.0, 12.0, 13.0)


def test_a_long_line_is_cut_and_says_how_much_is_missing() -> None:
    """One row of a line of a megabyte is no megabyte."""
    content, (texts, _) = encode_rows([Line(b"x" * 1_000_000)], 64 * 1024)
    assert content["cut"] == {0: 1_000_000 - ROW_CHARS}
    assert len(texts) == ROW_CHARS


def test_many_long_lines_share_what_one_message_may_have() -> None:
    """A window is bounded, however long its lines are."""
    _, (texts, _) = encode_rows([Line(b"x" * 5000) for _ in range(500)], 64 * 1024)
    assert len(texts) < 70_000


def test_no_lines_make_an_empty_window() -> None:
    """A window that was forgotten meanwhile is no error."""
    content, (texts, times) = encode_rows([], 1000)
    assert (content["n"], texts, times) == (0, b"", b"")


def test_what_is_stored_says_how_much_of_the_log_it_is() -> None:
    """The last two of three lines, all of them, or none, and as of when."""
    client = client_with(("<", "one"), ("<", "two"), ("<", "three"))
    assert "> · the last 2 of 3 lines, as saved at 2" in static_html(client, 2)
    assert "> · the last of 3 lines, as saved at 2" in static_html(client, 1)
    assert "> · 3 lines, as saved at 2" in static_html(client, 3)
    assert "> · 3 lines, as saved at 2" in static_html(client, 0)


def test_what_is_stored_never_says_for_ever_what_takes_a_moment() -> None:
    """A kernel that is shut down while it stops leaves no notebook that says "stopping"."""

    class Shown:
        def __init__(self) -> None:
            self.updates = 0

        def update(self, obj: object, **kwargs: object) -> None:
            self.updates += 1

    with closing(Panel(Client("127.0.0.1:9"))) as panel:
        shown = Shown()
        panel._stored.append(shown)  # type: ignore[arg-type]  # all that it needs of a display
        for state in ("connecting", "stopping"):
            panel._look(state)
        assert shown.updates == 0
        panel._look("stopped")
        assert shown.updates == 1


def test_a_stored_log_in_is_masked() -> None:
    """IMAP, SMTP, POP3, Redis, IRC: what was typed to log in is not in a file that is passed on."""
    stored = static_html(
        client_with(
            (">", "a1 LOGIN alice wonderland-1"),
            (">", "PASS wonderland-2"),
            (">", "auth wonderland-3"),
            (">", "PRIVMSG NickServ :IDENTIFY wonderland-4"),
            (">", "PRIVMSG NickServ@services.dal.net :identify wonderland-4"),
            (">", "PRIVMSG Q@CServe.quakenet.org :AUTH alice wonderland-4"),
            (">", "NS id wonderland-4"),
            (">", "AUTH LOGIN"),
            ("<", "334 VXNlcm5hbWU6"),
            (">", "wonderland-5"),
            ("<", "+ "),
            (">", "wonderland-6"),
            (">", "a2 SELECT INBOX"),
            (">", "PRIVMSG #tea :idle talk"),
        ),
        20,
    )
    assert "wonderland" not in stored
    assert "a1 LOGIN ••••" in stored
    assert "a2 SELECT INBOX" in stored
    assert "PRIVMSG #tea :idle talk" in stored


def test_a_stored_password_is_masked_where_its_question_is_not_stored() -> None:
    """That a server asked for it is known, also where it did so in a line before those that are kept."""
    client = client_with(("<", "334 UGFzc3dvcmQ6"), (">", "wonderland"), ("<", "235 welcome"))
    stored = static_html(client, 2)
    assert "wonderland" not in stored
    assert "334" not in stored
    assert "&gt; ••••" in stored


def test_the_stored_html_is_harmless_and_short() -> None:
    """Markup is escaped, controls are written out, long lines are cut, and only the last lines are there."""
    stored = static_html(
        client_with(*[("<", f"<script>{n}\x1b</script>" + "x" * 5000) for n in range(100)]), 5
    )
    assert "<script" not in stored
    assert "\x1b" not in stored
    assert "&lt;script&gt;99" in stored
    assert "&lt;script&gt;94" not in stored
    assert len(stored) < 5000


def test_nothing_of_the_log_is_stored_where_the_user_wants_none() -> None:
    """saved_lines=0 stores the state only."""
    assert "a line" not in static_html(client_with(("<", "a line")), 0)


def test_a_saved_notebook_shows_control_characters_written_out() -> None:
    """What a server sends besides text can be read there, too; each line stays one row, a tab a tab."""
    stored = static_html(client_with(("<", "{4}\r\nab\tc\x1b[31m")), 1)
    assert "&lt; {4}\\r\\nab\tc\\x1b[31m</pre>" in stored


def test_what_is_stored_gives_a_reason_only_where_it_is_one() -> None:
    """Why it was lost is said while it is; not once it is back, nor where the user stopped it."""
    with LineServer(mute) as server, Client(server.address, retry=0.05) as client:
        server.peer(0).reset()
        server.peer(1)
        until(client, lambda: client.state == "connected")
        assert f"{server.address}, connected</b>" in static_html(client, 0)
        client.stop()
        assert f"{server.address}, stopped</b>" in static_html(client, 0)
    with LineServer(mute) as server, Client(server.address, retry=60) as client:
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert f"{server.address}, waiting (reset by {server.address})</b>" in static_html(client, 0)
