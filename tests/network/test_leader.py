"""Prove that a thread that waits may read the socket itself, and that nobody is held for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import select
import socket
import threading
import time
from typing import Any

import pytest

from ipyreconnect import (
    TLS,
    Client,
    ConnectionLost,
    ExpectTimeout,
    Retry,
)
from ipyreconnect.network import interrupts
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, Peer, echo, mute
from tests.watching import PATIENCE, holding_the_lock, leading, until


def test_the_lead_belongs_to_who_asked_for_it() -> None:
    """Whoever has the turn when a thread begins to wait, it is that thread that reads, and no
    other is held for it.
    """
    with LineServer(mute) as server, Client(server.address) as client:
        results: queue.Queue[str] = queue.Queue()
        thread = threading.Thread(target=lambda: results.put(client.expect("answer").text))

        def begin() -> None:
            thread.start()
            while not client._driver.queued:
                time.sleep(0)

        holding_the_lock(client._driver, begin)
        until(client, lambda: leading(client))
        assert client._driver.leader.thread == thread.ident
        server.peer(0).send(b"answer\r\n")
        assert results.get(timeout=PATIENCE) == "answer"
        thread.join(PATIENCE)
        until(client, lambda: not leading(client))
        server.peer(0).send(b"more\r\n")
        until(client, lambda: client.transcript[-1].text == "more")


def test_an_interrupt_that_comes_when_another_thread_has_given_the_lead_takes_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is interrupted before it could begin to read does not keep others from reading."""
    acquire = interrupts.acquire

    def interrupted(lock: Any, ends: float | None, shield: Any) -> None:
        acquire(lock, ends, shield)
        if threading.current_thread() is thread:
            raise KeyboardInterrupt

    def ask() -> None:
        with pytest.raises(KeyboardInterrupt):
            client.expect("answer")

    thread = threading.Thread(target=ask)
    with LineServer(mute) as server, Client(server.address) as client:
        monkeypatch.setattr(interrupts, "acquire", interrupted)

        def begin() -> None:
            thread.start()
            while not client._driver.queued:
                time.sleep(0)

        holding_the_lock(client._driver, begin)
        thread.join(PATIENCE)
        assert not leading(client)
        server.peer(0).send(b"more\r\n")
        until(client, lambda: client.transcript[-1].text == "more")


def test_while_one_thread_reads_the_others_are_served() -> None:
    """While one thread reads for its answer, others get theirs from it, and lines go out."""
    with LineServer(echo) as server, Client(server.address) as client:
        waiting = threading.Thread(target=lambda: client.expect("the end"))
        waiting.start()
        until(client, lambda: leading(client))
        for number in range(50):
            assert client.send(f"{number}.", expect=rf"^{number}\.$").text == f"{number}."
        assert leading(client)
        client.send("the end")
        waiting.join(PATIENCE)
        assert not waiting.is_alive()


def test_a_leader_that_gives_up_leaves_the_reading_to_the_io_thread() -> None:
    """After a time-out the I/O thread reads again."""
    with LineServer(mute) as server, Client(server.address) as client:
        with pytest.raises(ExpectTimeout):
            client.expect("never", timeout=0.02)
        assert not leading(client)
        server.peer(0).send(b"late\r\n")
        until(client, lambda: client.transcript[-1].text == "late")


def test_a_loss_under_the_leader_closes_the_socket_at_last() -> None:
    """A socket that a leader waits on is closed when it has left, and the next connection is read."""
    with LineServer(mute) as server, Client(server.address, retry=Retry(delay=0.02)) as client:
        errors: queue.Queue[str] = queue.Queue()

        def wait() -> None:
            try:
                client.expect("never")
            except ConnectionLost as error:
                errors.put(str(error))

        for number in range(10):
            thread = threading.Thread(target=wait)
            thread.start()
            until(client, lambda: leading(client))
            if number % 2:
                client.reconnect_now()
            else:
                server.peer(number).reset()
            assert errors.get(timeout=PATIENCE).startswith(("reset by", "connection to"))
            thread.join(PATIENCE)
            until(client, lambda number=number: client.status.connection == number + 2)  # type: ignore[misc]
            assert not client._driver.leader.has_discarded
        server.peer(10).send(b"read\r\n")
        client.expect("read")


def test_without_files_for_a_leader_the_io_thread_does_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has no more file descriptors still sends and expects."""

    def full() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", full)
    client.send("x", expect="x")
    assert not client._driver.leader.can_be_woken


def test_row_after_row_of_questions_leaves_the_connection_readable(
    server: LineServer, client: Client
) -> None:
    """After a row of questions, during which the I/O thread looks away, what comes unasked is read soon."""
    for number in range(20):
        client.send(f"{number}.", expect=rf"^{number}\.$")
    server.peer(0).send(b"unasked\r\n")
    until(client, lambda: client.transcript[-1].text == "unasked", timeout=1)


async def prompt_at_first(peer: Peer) -> None:
    """Answer the first line at once, and the second only when there is a third."""
    peer.send(await peer.readline())
    asked, more = await peer.readline(), await peer.readline()
    peer.send(more + asked)


def test_a_peer_that_was_prompt_may_be_slow() -> None:
    """While the next answer is waited for as if it came at once, others get their turn all the same."""
    with LineServer(prompt_at_first) as server, Client(server.address) as client:
        client.send("prompt", expect="prompt")
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(client.send("slow", expect="^slow").text))
        thread.start()
        server.peer(0).wait_line(b"slow")
        assert client.send("more", expect="^more").text == "more"
        thread.join(PATIENCE)
        assert answers == ["slow"]


def test_who_has_no_time_waits_for_no_prompt_peer(client: Client) -> None:
    """A time-out of nothing is one, however prompt the peer has been."""
    client.send("x", expect="x")
    with pytest.raises(ExpectTimeout):
        client.expect("never", timeout=0)
    assert client._driver.leader.was_prompt  # nothing has waited in vain


async def tell_the_time(peer: Peer) -> None:
    """Answer each line with the time, a little later."""
    while await peer.readline():
        await asyncio.sleep(0.003)
        peer.send(b"%.6f\r\n" % time.time())


def test_a_line_has_the_time_at_which_it_came() -> None:
    """Not that at which somebody began to wait for it."""
    with LineServer(tell_the_time) as server, Client(server.address) as client:
        for _ in range(5):
            line = client.send("?", expect="^[0-9.]+$").line
            assert line.time > float(line.text) - 0.001


def test_a_leader_does_not_wait_for_what_is_there(certificates: Certificates) -> None:
    """What was held back for a slow reader is not to be read from the socket: a leader is woken for it."""
    with (
        LineServer(mute, tls=certificates.good().server_context()) as server,
        Client(server.address, tls=TLS(cafile=certificates.cafile)) as client,
    ):
        driver, connection = client._driver, client._driver.connection

        def ask() -> None:
            with contextlib.suppress(ConnectionLost):
                client.send("x", expect="never", timeout=PATIENCE)

        thread = threading.Thread(target=ask)
        thread.start()
        until(client, lambda: bool(driver.leader.thread))

        def hold_back() -> None:
            connection.inbox.has_buffered = True

        driver.call(hold_back)
        until(client, lambda: not connection.inbox.has_buffered)
        client.stop()
        thread.join(PATIENCE)


def test_the_end_of_a_prompt_peer_is_no_answer() -> None:
    """A peer that closes where it was about to answer is told to who waits."""

    async def once(peer: Peer) -> None:
        peer.send(await peer.readline())
        await peer.readline()

    with LineServer(once) as server, Client(server.address) as client:
        client.send("a", expect="a")
        with pytest.raises(ConnectionLost, match="closed by"):
            client.send("b", expect="b")


def test_a_very_long_wait_is_cut_into_pieces(client: Client) -> None:
    """poll(2) takes no more than some weeks: longer waits are no error."""
    with pytest.raises(OverflowError):
        select.poll().poll(9e15)
    client.send("x", expect="x", timeout=9e9)
