"""What is secret is sent, and shown nowhere: not in a reason, an error, a repr, a trait or a kept line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import Client, ExpectTimeout, Heartbeat, Secret, SettingsError, Transcript
from ipyreconnect.lines.files import to_json
from ipyreconnect.lines.text import decode
from ipyreconnect.mask import MASK, PLAIN_MASK
from tests.servers.line_server import LineServer, echo, mute, say
from tests.watching import until

# With all that somebody could write differently: a regular expression, a repr, an encoding.
PASSWORD = "h.nt'er\\2+ä"
FORMS = {PASSWORD, re.escape(PASSWORD), repr(PASSWORD)[1:-1], re.escape(repr(PASSWORD)[1:-1]), "h.nt"}


def told(client: Client) -> list[str]:
    """Give all that a client tells of itself, as text."""
    made: Any = client
    texts = [repr(value) for value in vars(client).values()]
    texts += [repr(made.trait_values()), repr(client), repr(client.status), str(client.on_connect)]
    texts += [repr(client._driver.connection.settings), client.transcript.text()]
    texts += [
        f"{line!r} {line.text!r} {line.data!r} {to_json(line)} {line.delivery!r}"
        for line in client.transcript
    ]
    return texts


def assert_hidden(texts: Iterable[str]) -> None:
    for text in texts:
        for form in FORMS:
            assert form not in text


@pytest.mark.parametrize("encoding", [None, "iso-8859-1"])
def test_a_script_that_is_text_keeps_no_clear_copy(encoding: str | None) -> None:
    """With `secrets=` the password of a script reaches the server and nothing that can be looked at."""
    script = f"a login me {PASSWORD}\n< ^a login me {re.escape(PASSWORD)}$"
    with (
        LineServer(echo) as server,
        Client(server.address, on_connect=script, secrets=[Secret(PASSWORD)], encoding=encoding) as client,
    ):
        assert client.state == "connected"
        sent = f"a login me {PASSWORD}".encode(encoding or "utf-8")
        assert server.peer(0).wait_line(b"^a login") == sent
        assert re.search(r"> a login me (••••|\*\*\*\*)\n", client.transcript.text())
        assert_hidden(told(client))
        assert str(client.on_connect).startswith(f"a login me {MASK}\n")


@pytest.mark.parametrize("line", [PASSWORD, f"alive {PASSWORD}\r\n".encode()])
def test_a_heartbeat_keeps_no_clear_copy(line: str | bytes) -> None:
    """A password in a heartbeat is sent, and shows in nothing that can be looked at."""
    beat = Heartbeat(line, every=0.05)
    with (
        LineServer(echo) as server,
        Client(server.address, heartbeat=beat, secrets=[Secret(PASSWORD)]) as client,
    ):
        assert server.peer(0).wait_line(re.escape(PASSWORD).encode())
        assert_hidden(told(client))


@pytest.mark.parametrize("encoding", [None, "iso-8859-1"])
def test_a_heartbeat_can_be_changed_without_its_secret(encoding: str | None) -> None:
    """Who changes the period of what is shown, or sets that again, means what is hidden behind it."""
    beat = Heartbeat(f"alive {PASSWORD}", every=60.0, answered=f"^({re.escape(PASSWORD)}|alive)")
    with (
        LineServer(echo) as server,
        Client(server.address, encoding=encoding, heartbeat=beat, secrets=[Secret(PASSWORD)]) as client,
    ):
        shown = client.heartbeat
        assert shown is not None
        assert_hidden([repr(shown)])
        client.heartbeat = replace(shown, every=0.05)
        assert server.peer(0).wait_line(b"^alive") == f"alive {PASSWORD}".encode(encoding or "utf-8")
        until(client, lambda: client.heartbeat_answered)
        client.heartbeat = shown.line
        client.heartbeat = replace(client.heartbeat, every=0.05)
        server.peer(0).wait_line(b"^alive")
        assert set(server.peer(0).lines) == {f"alive {PASSWORD}".encode(encoding or "utf-8")}
        assert_hidden([*told(client), repr(client.heartbeat)])


def test_a_reply_that_is_not_sent_shows_no_secret() -> None:
    """The log says which rule it was that a line break came with, without the password in it."""
    rule = f"(?s)^{re.escape(PASSWORD)} (.*)"
    with (
        LineServer(say(f"{PASSWORD} a\rQUIT\r\n".encode())) as server,
        Client(server.address, replies={rule: r"OK \1"}, secrets=[Secret(PASSWORD)]) as client,
    ):
        until(client, lambda: "it is not sent" in client.transcript.text())
        assert_hidden(told(client))
        assert f"the reply to '(?s)^{MASK} (.*)' has a line break" in client.transcript.text()


def test_an_encoding_without_the_dots_has_asterisks() -> None:
    """The mask is legible in ISO-8859-1 too, where there is no dot to make it of."""
    secret = Secret("hunter2")
    with (
        LineServer(echo) as server,
        Client(server.address, on_connect="pass hunter2", secrets=[secret], encoding="iso-8859-1") as client,
    ):
        assert client.send("again hunter2", expect="^again").line.text == f"again {PLAIN_MASK}"
        assert [line.text for line in client.transcript if line.direction == ">"] == [
            f"pass {PLAIN_MASK}",
            f"again {PLAIN_MASK}",
        ]


def test_the_reason_of_a_failed_script_shows_no_secret() -> None:
    """The line that it waited for and the last lines are told, masked where the server echoes a password."""
    script = f"a login me {PASSWORD}\n< ^a OK {re.escape(PASSWORD)}"

    async def refuse(peer: Any) -> None:
        peer.send(b"NO to " + await peer.readline())

    with (
        LineServer(refuse) as server,
        Client(server.address, on_connect=script, secrets=[Secret(PASSWORD)], retry=60) as client,
    ):
        assert client.state == "waiting"
        assert f"waiting for '^a OK {MASK}'" in client.reason
        assert f"the last line was 'NO to a login me {MASK}'" in client.reason
        assert_hidden(told(client))


def test_what_a_function_raises_shows_no_secret() -> None:
    """An on-connect function's time-out quotes pattern and lines masked; so is whatever else it raises."""
    secret = Secret(PASSWORD)

    def quoting(session: Any) -> None:
        session.send(f"login {PASSWORD}", secrets=[secret])
        session.expect("^login")
        raise ValueError(f"no luck with {PASSWORD!r}")

    def waiting(session: Any) -> None:
        session.send(f"login {PASSWORD}", secrets=[secret])
        session.expect(f"^OK {re.escape(PASSWORD)}", timeout=0.1)

    for function, words in (quoting, f"no luck with .*{MASK}"), (waiting, f"'login {MASK}'"):
        with LineServer(echo) as server, Client(server.address, on_connect=function, retry=60) as client:
            assert client.state == "waiting"
            assert re.search(words, client.reason)
            assert_hidden(told(client))


def test_a_secret_with_blanks_is_masked_before_they_are_folded() -> None:
    """A reason is one line, with single blanks: a secret that has others is found in it all the same."""
    words = "tr  ub\tador\x07"

    def failing(session: Any) -> None:
        raise ValueError(f"cannot log in\nwith {words}")

    with (
        LineServer(mute) as server,
        Client(server.address, on_connect=failing, secrets=[Secret(words)], retry=60) as client,
    ):
        assert client.reason == f"on-connect function: ValueError: cannot log in with {MASK}"


@pytest.mark.parametrize("words", ["pässwört", "it's", b"\xffit's"])
def test_a_secret_is_masked_however_it_is_quoted(words: str | bytes) -> None:
    """Errors quote in many ways: as text, in ASCII, as bytes, and within quotes of either kind."""
    texts = [words] if isinstance(words, str) else []
    data = words.encode() if isinstance(words, str) else words

    def failing(session: Any) -> None:
        quoted = [form for text in texts for form in (text, repr(text), ascii(text), repr(f'"{text}"'))]
        raise ValueError("|".join([*quoted, repr(data), repr(b'"' + data)]))

    with (
        LineServer(mute) as server,
        Client(server.address, on_connect=failing, secrets=[Secret(words)], retry=60) as client,
    ):
        said = client.reason.removeprefix("on-connect function: ValueError: ")
        assert [re.sub("['\"b]", "", form) for form in said.split("|")] == [MASK] * (2 + 4 * len(texts))


def test_a_pattern_that_is_refused_shows_no_secret() -> None:
    """Who forgets to escape a password in an expression does not find it in the traceback."""
    with LineServer(echo) as server, Client(server.address, secrets=[Secret(PASSWORD)]) as client:
        for ask in (
            lambda: client.expect(f"({PASSWORD}"),
            lambda: client.send("x", expect=f"({PASSWORD}"),
            lambda: client.transcript.search(f"({PASSWORD}"),
        ):
            with pytest.raises(SettingsError, match=f"not a regular expression: .*{MASK}") as raised:
                ask()
            assert_hidden([str(raised.value)])
        with pytest.raises(SettingsError, match=f'^a reply is a .* not ".{MASK}"') as raised:
            client.add_reply(f"({PASSWORD}", "x")
        assert_hidden([str(raised.value)])


def test_an_expectation_shows_no_secret() -> None:
    """A match, its groups and its lines are masked, and so is a time-out that quotes the pattern."""
    with LineServer(echo) as server, Client(server.address) as client:
        match = client.send(f"x {PASSWORD}", expect=r"x (?P<word>.*)", secrets=[Secret(PASSWORD)])
        for shown in (match[1], match["word"], match.group(1, 0)[0], match.groups()[0]):
            assert shown == MASK
        assert match.groupdict() == {"word": MASK}
        assert match.string == match.text == match.lines[0].text == f"x {MASK}"
        assert client.send(f"x {PASSWORD}".encode() + b"\n", expect=b"x (.*)")[1] == MASK.encode()
        with pytest.raises(ExpectTimeout) as caught:
            client.expect(f"never {re.escape(PASSWORD)}", timeout=0)
        assert_hidden([str(caught.value), repr(match), *told(client)])


def test_a_group_that_is_a_part_of_a_secret_is_masked() -> None:
    """An expression that cuts a password in two finds no half of it."""
    secret = Secret("é-hunter2-ü")
    with LineServer(echo) as server, Client(server.address, secrets=[secret]) as client:
        match = client.send("ö é-hunter2-ü ok", expect=r"(?P<word>h\w*?)(\d)(-ü)? (ok)( never)?")
        assert match.groups() == (MASK, MASK, MASK, "ok", None)
        assert match.groups("")[4] == ""
        assert match.groupdict() == {"word": MASK}
        assert (match[0], match.group(2, 4), match["word"]) == (f"{MASK} ok", (MASK, "ok"), MASK)
        assert (match.expand(r"\1"), match.group()) == (MASK, f"{MASK} ok")
        match = client.send("x é-hunter2-ü\n".encode(), expect=rb"x (.*)-h(.*)2")
        assert match.groups() == (MASK.encode(), MASK.encode())
        match = client.send("no secret", expect="(no) (secret)")
        assert (match.groups(), match.expand(r"\2 \1")) == (("no", "secret"), "secret no")


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Secret(f"{PASSWORD}\udcff"),
        lambda: Client("127.0.0.1:1", encoding="ascii").encode(PASSWORD, [Secret(PASSWORD)]),
        lambda: Client("127.0.0.1:1", encoding="ascii", on_connect=PASSWORD, secrets=[Secret(PASSWORD)]),
    ],
)
def test_a_refusal_keeps_no_error_that_holds_a_secret(refused: Callable[[], object]) -> None:
    """An error has no secret in it either where a debugger looks: in what it was raised from."""
    with pytest.raises(SettingsError) as caught:
        refused()
    error: BaseException | None = caught.value
    while error is not None:
        assert not isinstance(error, UnicodeError)
        assert_hidden([repr(error)])
        error = error.__cause__ or error.__context__


def test_a_refusal_shows_no_piece_of_a_secret() -> None:
    """What the encoding lacks is told of a line without a secret only."""
    with LineServer(mute) as server, Client(server.address, encoding="ascii") as client:
        with pytest.raises(SettingsError, match="'é' cannot be sent as ascii"):
            client.send("café")
        with pytest.raises(SettingsError, match="a line with a secret in it cannot be sent") as caught:
            client.send(f"login {PASSWORD}", secrets=[Secret(PASSWORD)])
        assert "ä" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_whatever_a_transcript_gives_is_masked(tmp_path: Path) -> None:
    """Searching, saving and tables are of what one sees; looking for the password itself finds nothing."""
    with LineServer(echo) as server, Client(server.address) as client:
        client.send(f"x {PASSWORD} y", expect="^x", secrets=[Secret(PASSWORD)])
        client.transcript.save(tmp_path / "saved.jsonl")
        texts = [
            repr(list(client.transcript.search("^x .* y"))),
            client.transcript.to_dataframe().to_string(),
        ]
        texts += [(tmp_path / "saved.jsonl").read_text(), repr(client.transcript[:]), repr(client.transcript)]
        assert all(MASK in text or "\\u2022" in text for text in texts[:3])
        assert_hidden(texts)
        assert not list(client.transcript.search(re.escape(PASSWORD)))
        assert next(iter(client.follow(start=0, as_bytes=True))) == f"x {MASK} y".encode()


def test_a_secret_in_pieces_is_masked() -> None:
    """One send of several lines is masked in each, and so is a secret that has a line break itself."""
    with LineServer(mute) as server, Client(server.address) as client:
        key = Secret("-----BEGIN-----\nc2VjcmV0\n-----END-----")
        delivery = client.send(b"key " + key.reveal() + b"\nuse it\n", secrets=[key])
        assert delivery.wait("acknowledged", 10)
        server.peer(0).wait_line(b"^use it")
        assert server.peer(0).lines[1] == b"c2VjcmV0"
        assert "c2VjcmV0" not in "\n".join(told(client))


def test_a_record_has_no_secret(tmp_path: Path) -> None:
    """Neither what was sent nor what the server says of it is written down in clear."""
    record = tmp_path / "record.jsonl"
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send(Secret(PASSWORD), expect=".")
        client.send(f"again {PASSWORD}", expect="^again")
    assert_hidden([record.read_text(), Transcript.load(record).text()])
    assert Transcript.load(record).text().count(MASK) == 4


@pytest.mark.parametrize(
    ("encoding", "line", "secret"),
    [
        ("utf-16", "login äsesame", "sesame"),
        ("utf-32", "login äsesame", "sesame"),
        ("iso2022_jp", "login 日パスワード日", "パスワード"),
        ("iso2022_jp", "login パスワード", "パスワード"),
        ("iso2022_jp", "login pass日word", "pass日word"),
        ("iso2022_kr", "login 가비밀번호가", "비밀번호"),
        ("hz", "login 你密码你", "密码"),
    ],
)
def test_a_secret_is_hidden_in_the_middle_of_any_encoding(encoding: str, line: str, secret: str) -> None:
    """Also where its bytes depend on the characters before it, or a line begins with a mark."""
    client = Client("127.0.0.1:1", encoding=encoding, transcript=Transcript(encoding=encoding))
    _, shown = client.encode(line, [Secret(secret)])
    text = decode(shown, encoding)
    assert secret not in text
    assert line.encode(encoding) not in shown
    if encoding.startswith("utf"):
        assert text == line.replace(secret, "••••")


def test_a_secret_is_hidden_in_json() -> None:
    """A server that quotes what it was sent quotes it so."""
    word = 'p"ä\\s'
    client = Client("127.0.0.1:1", secrets=[Secret(word)])
    for ensure_ascii in True, False:
        quoted = json.dumps({"password": word}, ensure_ascii=ensure_ascii)
        assert client.encode(quoted)[1].decode() == '{"password": "••••"}'
