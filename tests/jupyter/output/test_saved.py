"""What stands in a saved notebook: bounded, harmless, and with a password masked that was typed in clear."""

from __future__ import annotations

from ipyreconnect.client.client import Client
from ipyreconnect.jupyter.output.saved import static_html
from ipyreconnect.lines.delivery import Delivery
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


def test_what_is_stored_says_how_much_of_the_log_it_is() -> None:
    """The last two of three lines, all of them, or none, and as of when."""
    client = client_with(("<", "one"), ("<", "two"), ("<", "three"))
    assert "> · the last 2 of 3 lines, as saved at 2" in static_html(client, 2)
    assert "> · the last of 3 lines, as saved at 2" in static_html(client, 1)
    assert "> · 3 lines, as saved at 2" in static_html(client, 3)
    assert "> · 3 lines, as saved at 2" in static_html(client, 0)


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
