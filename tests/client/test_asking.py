"""`ask`: the whole answer, to whoever asked; nothing of it is anybody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from ipyreconnect import Answer, Client, ConnectionLost, ExpectTimeout, NotConnected, Refused, SettingsError
from tests.servers.line_server import LineServer, Peer, answering, echo, mute
from tests.watching import PATIENCE, until

GREETED = {b"EHLO me": b"250-mx\r\n250 HELP\r\n", b"NOOP": b"250 ok\r\n", b"RCPT": b"550 no such user\r\n"}


@pytest.fixture
def mail() -> Iterator[Client]:
    with (
        LineServer(answering(GREETED, b"220 mx ESMTP\r\n")) as server,
        Client(f"smtp://{server.address}") as client,
    ):
        yield client


def test_the_first_answer_is_not_the_greeting(mail: Client) -> None:
    """A question that is asked at once waits for it; its answer is whole."""
    answer = mail.ask("EHLO me")
    assert (answer.ok, answer.status) == (True, "250")
    assert [line.text for line in answer] == ["250-mx", "250 HELP"]
    assert answer.text == "250-mx\n250 HELP"
    assert answer.check() is answer


def test_a_refusal_is_an_answer(mail: Client) -> None:
    """It raises only where it is checked."""
    answer = mail.ask("RCPT")
    assert (answer.ok, answer.status) == (False, "550")
    with pytest.raises(Refused, match="550 no such user"):
        answer.check()


def test_an_expectation_passes_over_answers(mail: Client) -> None:
    """Whoever expects sees what he would have seen without the questions, before and after them."""
    mail.send("NOOP", expect="^250 ok")
    mail.ask("EHLO me")
    with pytest.raises(ExpectTimeout):
        mail.expect("^250", timeout=0.05)
    mail.send("EHLO me")
    assert mail.expect("^250-").text == "250-mx"
    mail.ask("NOOP")
    assert mail.expect("^250 ").text == "250 HELP"


async def slow_value(peer: Peer) -> None:
    """Answer each question with its own text, those that begin with "slow" only once "go" was sent."""
    held: list[bytes] = []
    while line := (await peer.readline()).rstrip(b"\r\n"):
        if line.startswith(b"slow"):
            held.append(line)
        else:
            for each in (*held, line):
                peer.send(b"value of " + each + b"\r\n")
            held.clear()


def test_each_thread_and_each_task_gets_its_own_answer() -> None:
    with LineServer(echo) as server, Client(server.address) as client:
        got: dict[int, Answer] = {}

        def ask(number: int) -> None:
            got[number] = client.ask(f"item {number}", until=f"^item {number}$", timeout=PATIENCE)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {number: answer.text for number, answer in got.items()} == {n: f"item {n}" for n in range(20)}

        async def all_at_once() -> list[Answer]:
            return await asyncio.gather(
                *(client.aask(f"task {number}", until="^task", timeout=PATIENCE) for number in range(20))
            )

        assert [answer.text for answer in asyncio.run(all_at_once())] == [f"task {n}" for n in range(20)]


def test_a_question_that_is_not_sent_in_time_says_so() -> None:
    """As the answer to another is awaited, which the message names; it is never sent."""
    with LineServer(mute) as server, Client(server.address) as client:
        with pytest.raises(ExpectTimeout, match=r"no whole answer to 'first' came from .* within 0.05 s"):
            client.ask("first", until="^x", timeout=0.05)
        with pytest.raises(ExpectTimeout, match=r"'second' was not sent .*the answer to 'first' is awaited"):
            client.ask("second", until="^x", timeout=0.05)
        client.send("third")
        assert server.peer(0).wait_line(b"third")
        assert server.peer(0).lines == [b"first", b"third"]


def test_a_loss_is_told_to_whoever_waits() -> None:
    with LineServer(mute) as server, Client(server.address, retry=60.0) as client:
        raised: list[BaseException] = []

        def ask(text: str) -> None:
            try:
                client.ask(text, until="^x", timeout=PATIENCE)
            except ConnectionLost as error:
                raised.append(error)

        threads = [threading.Thread(target=ask, args=(text,)) for text in ("one", "two")]
        for thread in threads:
            thread.start()
        server.peer(0).wait_line(b"")
        until(client, lambda: bool(client._connection.answers.waiting))
        server.peer(0).close()
        for thread in threads:
            thread.join()
        assert len(raised) == 2
        with pytest.raises(NotConnected):
            client.ask("three", until="^x")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.ask("hello"), "does not say where an answer ends: give until="),
        (lambda client: client.ask(b"hello", until="x"), "one line of text, not bytes: bytes go as payload="),
        (lambda client: client.ask("a\nb", until="x"), "line break"),
        (lambda client: client.ask("a", until="x", payload="text"), "payload= takes bytes, not str"),
        (lambda client: client.ask("a", until="x", payload=b"text"), "has no payloads"),
        (lambda client: client.ask("a", until="("), "not a regular expression"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(
    ask: Callable[[Client], object], said: str
) -> None:
    with LineServer(echo) as server, Client(server.address) as client:
        with pytest.raises(SettingsError, match=said):
            ask(client)
        client.send("last", expect="^last$")
        assert server.peer(0).lines == [b"last"]


def test_a_port_that_is_known_names_the_url_to_write() -> None:
    """And a feed, what to use instead."""
    with pytest.raises(SettingsError, match=r"redis://127\.0\.0\.1:6379, or give until="):
        Client("127.0.0.1:6379").ask("PING")
    with pytest.raises(SettingsError, match=r"nmea is a feed, .*follow\(\)"):
        Client("nmea://127.0.0.1:1").ask("PING")


def test_an_interrupted_or_cancelled_question_leaves_the_next_its_own_answer() -> None:
    with LineServer(slow_value) as server, Client(server.address) as client:

        async def cancel() -> None:
            task = asyncio.ensure_future(client.aask("slow one", until="^value of", timeout=PATIENCE))
            while not server.peer(0).lines:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancel())
        client.send("go")
        assert client.ask("next", until="^value of", timeout=PATIENCE).text.endswith("value of next")
