"""What %connect makes of its line and of the script below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError

import ipyreconnect
from ipyreconnect import Secret
from ipyreconnect.jupyter.magics.connect import parse_eol, parse_reply
from tests.jupyter.shells import new_shell, refused, run, said
from tests.servers.line_server import LineServer, answering, echo, greet, mute


def test_line_ends_have_names_and_escapes() -> None:
    """--eol takes crlf, lf, cr, none, and escapes."""
    assert [parse_eol(text) for text in ("crlf", "LF", "cr", "none", r"\r\n", r"\x00")] == [
        b"\r\n",
        b"\n",
        b"\r",
        b"",
        b"\r\n",
        b"\x00",
    ]
    with pytest.raises(UsageError, match="crlf, lf, cr, none"):
        parse_eol("windows")


def test_reply_rules_are_split_at_the_first_plain_equals_sign() -> None:
    r"""REGEX=LINE; the LINE may hold = as it is, the REGEX as \=."""
    assert parse_reply(r"^PING (.*)=PONG \1") == (r"^PING (.*)", r"PONG \1")
    assert parse_reply(r"a\=b=c=d") == ("a=b", "c=d")
    assert parse_reply(r"(?\=PING)=c\=d") == ("(?=PING)", r"c\=d")
    assert parse_reply(r"a\\=\=") == (r"a\\", r"\=")
    assert parse_reply("x=") == ("x", "")
    for bad in ("", "no equals", "=line", r"a\=b"):
        with pytest.raises(UsageError, match="give REGEX=LINE"):
            parse_reply(bad)


def test_names_are_hosts_and_the_same_address_is_replaced(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host names a connection, host:port a second one there; the same address replaces it, but not one
    that the user gave another name.
    """
    with LineServer(greet(b"one\r\n")) as one, LineServer(greet(b"two\r\n")) as two:
        first = run(shell, f"%connect {one.address}").result
        second = run(shell, f"%connect {two.address}").result
        assert (first.name, second.name) == ("127.0.0.1", two.address)
        again = run(shell, f"%connect tcp://{one.address}").result
        assert again.name == "127.0.0.1"
        assert (first.state, second.state, again.state) == ("stopped", "connected", "connected")
        named = run(shell, f"%connect {one.address} --name mine").result
        assert named.name == "mine"
        unnamed = run(shell, f"%connect {one.address}").result
        assert (unnamed.name, named.state, again.state) == ("127.0.0.1", "connected", "stopped")
        named = run(shell, f"%connect {one.address} --name mine").result
        run(shell, "%send -c 127.0.0.1 to the first")
        one.peer(3).wait_line(b"to the first")
        capsys.readouterr()
        run(shell, "%connect")
        rows = said(capsys).splitlines()
    assert re.fullmatch(r"  NAME +ADDRESS +STATE +SINCE +LAST LOSS", rows[0])
    assert len(rows) == 4
    assert re.match(rf"\* mine +tcp://{one.address} +connected +\d\d:\d\d:\d\d", rows[3])
    assert len({row.index("tcp://") for row in rows[1:]}) == 1


def test_what_can_not_start_leaves_the_old_connection_alone(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second %connect that is refused stops nothing."""
    client = run(shell, f"%connect {server.address}").result
    assert "keepalive" in refused(shell, f"%connect {server.address} --keepalive 0/0/0", capsys)
    assert "--wait '1e300'" in refused(shell, f"%connect {server.address} --wait 1e300", capsys)
    run(shell, "%config Reconnect.wait = float('inf')")
    assert run(shell, "%config Reconnect.wait").result == 10.0
    assert client.state == "connected"


def test_silence_is_an_option_and_a_default(server: LineServer) -> None:
    """--silence makes it a loss that nothing is received; Reconnect.silence does where it is not given."""
    with new_shell(Reconnect={"silence": 40.0}) as shell:
        ipyreconnect.load_ipython_extension(shell)
        for options, silence in (("", 40.0), ("--silence 1.5", 1.5), ("--silence off", None)):
            assert run(shell, f"%connect {server.address} {options}").result.silence == silence
        run(shell, "%config Reconnect.silence = 0")
        assert run(shell, f"%connect {server.address}").result.silence is None
        ipyreconnect.unload_ipython_extension(shell)


def test_options_reach_the_client(shell: Any, server: LineServer) -> None:
    """Each option of %connect is what it says."""
    client = run(
        shell,
        f"%connect {server.address} --name x --keepalive 9/8/7 --retry 3 --retry-factor 2 --retry-max 50 "
        "--attempts 4 "
        r"--encoding iso-8859-1 --eol lf --framing raw --heartbeat 'NOOP x' --heartbeat-every 99 "
        r"--reply '^PING (.*)=PONG \1' --reply a=b",
    ).result
    assert client.name == "x"
    assert str(client.keepalive) == "9/8/7"
    retry = client.retry
    assert (retry.delay, retry.factor, retry.max, retry.attempts) == (3.0, 2.0, 50.0, 4)
    assert (client.encoding, client.eol, client.framing) == ("iso-8859-1", b"\n", "raw")
    assert (client.heartbeat.line, client.heartbeat.every) == ("NOOP x", 99.0)


def test_replies_are_in_the_encoding_of_the_connection(shell: Any) -> None:
    """--reply finds and sends what its text is in the bytes of --encoding."""
    with LineServer(greet("grün1\r\n".encode("iso-8859-1"))) as server:
        run(shell, rf"%connect {server.address} --encoding iso-8859-1 --reply '^grün(.*)=schön \1'")
        assert server.peer(0).wait_line(b"1$") == "schön 1".encode("iso-8859-1")


def test_a_reply_is_what_pythons_expressions_make_of_it(shell: Any) -> None:
    r"""With \= for an =, any expression can be written; in the line, escapes are no references to groups."""
    with LineServer(greet(b"PING 1\r\nPING 2\r\n")) as server:
        rules = r"--reply '(?\=PING)(?\=.*1)=seen' --reply 'PING 2=\\1 \101'"
        assert run(shell, f"%connect {server.address} {rules}").success
        assert server.peer(0).wait_line(b"A$") == rb"\1 A"
        assert server.peer(0).lines[0] == b"seen"


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ("--reply 1=mine", [b"mine", b"PONG 2"]),
        ("--reply off", []),
        ("--reply 1=mine --reply OFF --reply PING=too", [b"mine", b"too"]),
    ],
)
def test_the_protocols_own_replies_can_be_switched_off(
    shell: Any, options: str, answers: list[bytes]
) -> None:
    """With --reply off, nothing is answered but by the rules that are given."""
    with LineServer(answering({}, b"PING 1\r\nPING 2\r\n")) as server:
        client = run(shell, f"%connect irc://{server.address} {options}").result
        client.expect("PING 2")
        run(shell, "%send end")
        server.peer(0).wait_line(b"^end")
        assert server.peer(0).lines == [*answers, b"end"]


def test_a_script_runs_after_every_connection(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The body of %%connect is run before the connection counts as connected, and again after a loss."""
    cell = f"%%connect {server.address} --retry 0.05\n# log in\n1 login me\n< ^1 OK\n> < verbatim"
    client = run(shell, cell).result
    assert client.state == "connected"
    server.peer(0).wait_line(b"verbatim")
    assert server.peer(0).lines == [b"1 login me", b"< verbatim"]
    server.peer(0).reset()
    assert server.peer(1).wait_line(b"verbatim")
    assert server.peer(1).lines == [b"1 login me", b"< verbatim"]


def test_a_filled_script_is_the_script_it_was(shell: Any) -> None:
    """--fill changes nothing but its fields: the indentation that all lines share is not sent either."""
    shell.user_ns |= {"user": "me", "pw": Secret("hunter2")}
    script = "    login me\n    hunter2\n      more\n\n    end"
    fields = script.replace("me\n", "{{user}}\n").replace("hunter2", "{{pw}}")
    with LineServer(mute) as server:
        for number, cell in enumerate((f"\n{script}", f" --fill\n{fields}")):
            run(shell, f"%%connect {server.address}{cell}")
            server.peer(number).wait_line(b"^end")
            assert server.peer(number).lines == [b"login me", b"hunter2", b"  more", b"end"]


def test_a_connection_counts_once_its_script_has_run(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then it is connecting, lines wait in the queue, and %stop ends it at once."""
    client = run(shell, f"%%connect {server.address} --wait 0.1\n1 login me\n< ^1 NO").result
    assert re.search(r"^still connecting to \S+ \(script, try 1\)", said(capsys), re.MULTILINE)
    assert refused(shell, "%send 2 noop", capsys).endswith("connecting (script), try 1")
    run(shell, "%stop")
    assert client.state == "stopped"


def test_what_is_filled_in_never_shows(
    shell: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets reach the server and nothing else: no log, record, error, repr, In, Out or history."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: "tr0ub4dor")
    shell.user_ns["pw"] = ipyreconnect.Secret("hunter2")
    record = tmp_path / "record.jsonl"
    with LineServer(echo) as server:
        options = f"{server.address} --record {record} --fill"
        client = run(shell, f"%%connect {options}\n1 login me {{{{pw}}}}\n< ^1 login me {{{{pw}}}}").result
        assert client.state == "connected"
        run(shell, "d = %send --fill 2 login me {{?Password}}")
        run(shell, "m = %send --fill --expect ^3 3 {{pw}}{{?Password}}")
        run(shell, "%%send --fill\n4 {{pw}}\n5 {{?Password}}")
        run(shell, "%expect ^5")
        run(shell, "%expect {{pw}} --timeout 0.05")
        shell.user_ns["client"] = client
        run(shell, "client, d, m, client.transcript[:]")
        assert server.peer(0).lines == [
            b"1 login me hunter2",
            b"2 login me tr0ub4dor",
            b"3 hunter2tr0ub4dor",
            b"4 hunter2",
            b"5 tr0ub4dor",
        ]
        run(shell, "%connect")
        run(shell, "%stop")
    places = {
        "shown": said(capsys),
        "record": record.read_text(),
        "transcript": client.transcript.text(),
        "script": str(client.on_connect),
        "In": str(shell.user_ns["In"]),
        "Out": str(shell.user_ns["Out"]),
        "names": str({name: value for name, value in shell.user_ns.items() if name != "pw"}),
        "history": str(list(shell.history_manager.get_range(raw=False))),
        "bytes": str([line.data for line in client.transcript]),
    }
    for place, text in places.items():
        assert "hunter2" not in text, place
        assert "tr0ub4dor" not in text, place
    assert "< 3 ••••" in places["transcript"]


def test_variables_stand_in_an_address_and_in_its_options(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`%connect {{host}}:{{port}} --fill`: no line has to be built by hand."""
    host, port = server.address.rsplit(":", 1)
    shell.user_ns.update(host=host, port=int(port), called="lab", pw=Secret("hunter2"))
    client = run(shell, "%connect {{host}}:{{ port }} --fill --name {{called}}").result
    assert (client.name, client.address.display, client.state) == ("lab", server.address, "connected")
    client = run(
        shell, "%connect --fill {{host}} {{port}} --heartbeat 'beat {{pw}}' --heartbeat-every 0.05"
    ).result
    assert client.address.display == server.address
    server.peer(1).wait_line(b"^beat hunter2$")
    assert client.expect(r"OK", timeout=5)
    run(shell, "%connect")
    assert "hunter2" not in said(capsys) + repr(client) + client.transcript.text() + str(client.heartbeat)
    for cell in (f"%%connect {{{{host}}}}:{port} --fill\n1 {{{{called}}}}\n< ^1 OK {{{{called}}}}",):
        assert run(shell, cell).result.state == "connected"


def test_what_cannot_be_filled_in_is_one_line(
    shell: Any, server: LineServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing variable, or a value with a line break, keeps the whole cell from being sent."""
    run(shell, f"%connect {server.address}")
    shell.user_ns.update(two="a\nb", one="1", word=Secret("hunter2"))
    for cell, words in (
        ("%send --fill {{nobody}}", "no variable named 'nobody'"),
        ("%%send --fill\n1 noop\n{{two}}", "has a line break"),
        (f"%%connect {server.address} --fill\n{{{{nobody}}}}", "no variable named 'nobody'"),
        ("%connect {{nobody}}:1 --fill", "no variable named 'nobody'"),
        ("%connect {{two}}:1 --fill", "has a line break"),
        ("%connect {{word}}:1 --fill", "an address is shown again and again: no secret belongs in it"),
        ("%connect h:1 --name {{word}} --fill", "--name is shown again and again"),
        ("%connect h:1 --reply 'a={{one}}' --fill", "use client.add_reply"),
        ("%connect {{one}}:1", "was not filled in"),
        ("%connect {one}:1 --fill", "was not filled in"),
    ):
        assert words in refused(shell, cell, capsys)
    run(shell, '%send --expect "^the OK" the end')
    assert server.peer(0).lines == [b"the end"]


def test_a_record_is_a_transcript(shell: Any, server: LineServer, tmp_path: Path) -> None:
    """--record appends what happens to a file that can be loaded again."""
    record = tmp_path / "record.jsonl"
    run(shell, f"%connect {server.address} --record {record}")
    run(shell, "%send --expect ^1 1 noop")
    run(shell, "%stop")
    assert "< 1 OK noop done\n" in ipyreconnect.Transcript.load(record).text()
