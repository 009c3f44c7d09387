"""Prove how one connection is driven: the reading leader, waiting, and what the system refuses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipyreconnect import (
    TLS,
    CallerError,
    Client,
    ConnectionLost,
    ExpectTimeout,
    Heartbeat,
    KeepAlive,
    Retry,
    SettingsError,
)
from ipyreconnect.network import interrupts, sockets
from ipyreconnect.network import loop as loops
from ipyreconnect.network.driver import Driver
from ipyreconnect.network.following import FOLLOW_PATIENCE, RECORD_PATIENCE, Follower
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, Peer, echo, flood, mute, never_read
from tests.watching import PATIENCE, holding_the_turn, until

# -- waiting


def test_conditions_are_asked_with_the_turn(client: Client, driver: Driver) -> None:
    """What is waited for is asked with the turn only, so that it may look at what changes."""
    with_turn: list[bool] = []

    def done() -> bool:
        with_turn.append(driver.has_turn)
        return len(with_turn) > 4

    client_sends = threading.Thread(target=lambda: [client.send("x", expect="x") for _ in range(5)])
    client_sends.start()
    assert driver.wait(done, PATIENCE)
    client_sends.join(PATIENCE)
    assert all(with_turn)
    assert not driver.wait(lambda: False, 0.01)
    assert driver.waiters.waiting == []


def test_what_was_true_when_it_was_woken_counts(client: Client, driver: Driver) -> None:
    """A condition that held for a moment has been met, though it holds no more when the waiter wakes up."""
    flag: list[bool] = []
    results: queue.Queue[bool] = queue.Queue()
    thread = threading.Thread(target=lambda: results.put(driver.wait(lambda: bool(flag), PATIENCE)))
    thread.start()
    until(client, lambda: bool(driver.waiters.waiting))

    def a_moment() -> None:
        driver.post(lambda: flag.append(True))

    holding_the_turn(driver, a_moment)
    driver.call(flag.clear)
    assert results.get(timeout=PATIENCE)
    thread.join(PATIENCE)


# -- the leader


def leading(client: Client) -> bool:
    return bool(client._driver.leader.thread)


def test_the_lead_belongs_to_who_asked_for_it() -> None:
    """Whoever has the turn when a thread begins to wait, it is that thread that reads, and no
    other is held for it.
    """
    with LineServer(mute) as server, Client(server.address) as client:
        results: queue.Queue[str] = queue.Queue()
        thread = threading.Thread(target=lambda: results.put(client.expect("answer").text))

        def begin() -> None:
            thread.start()
            while not client._driver._queue:
                time.sleep(0)

        holding_the_turn(client._driver, begin)
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
            while not client._driver._queue:
                time.sleep(0)

        holding_the_turn(client._driver, begin)
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
            connection.held = True

        driver.call(hold_back)
        until(client, lambda: not connection.held)
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


# -- followers


def test_a_pause_ends_with_its_connection() -> None:
    """A connection that was held up by a slow follower does not leave the next one deaf."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver = client._driver
        place = Follower(0)
        driver.begin_following(place)
        until(client, lambda: driver.flow.paused)
        server.behaviour = echo
        client.reconnect_now()
        until(client, lambda: client.status.connection == 2)
        driver.end_following(place)
        driver.end_following(place)
        client.send("x", expect="x", timeout=1)


def test_a_slow_follower_takes_one_timer_however_often_it_is_waited_for() -> None:
    """Who is slower than a flood for hours, and waited for again and again, leaves no heap of timers."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, Follower(0)
        driver.begin_following(place)
        until(client, lambda: driver.flow.paused)

        def read(number: int) -> bool:
            place.next, place.read_at = number, time.monotonic()
            driver.flow.reconsider()
            return driver.flow.paused

        for _ in range(100):
            assert not driver.call(lambda: read(client.transcript.end))
            assert driver.call(lambda: read(0))
        loop = driver._loop
        assert loop is not None
        pushed = threading.Event()
        loop.call_soon(pushed.set)
        assert pushed.wait(PATIENCE)
        assert len(loop._timers) < 20
        driver.end_following(place)


def test_what_was_ready_before_a_pause_is_not_read_in_it() -> None:
    """The I/O thread may be told that there is something to read, and have its turn only in the pause."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, Follower(0)
        driver.begin_following(place)
        until(client, lambda: driver.flow.paused)

        def ready() -> int:
            end = client.transcript.end
            driver.flow.receive_ready(selectors.EVENT_READ)
            return client.transcript.end - end

        assert driver.call(ready) == 0
        driver.end_following(place)


def test_a_follower_that_has_waited_for_long_is_waited_for() -> None:
    """Its patience begins when there is something to read, not when it last read."""
    with LineServer(echo) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, Follower(0)
        driver.begin_following(place)
        driver.followed(place, client.transcript.end)
        place.read_at -= 3600
        server.peer(0).send(b"line\n" * 10_000)
        until(client, lambda: driver.flow.paused)
        driver.end_following(place)


def test_a_paused_connection_notices_its_end() -> None:
    """A connection that is held up by a follower is still told of a reset at once."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000, retry=60) as client:
        place = Follower(0)
        client._driver.begin_following(place)
        until(client, lambda: client._driver.flow.paused)
        start = time.monotonic()
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert time.monotonic() - start < 1
        assert client.reason == f"reset by {server.address}"
        client._driver.end_following(place)


def test_a_follower_is_waited_for_while_it_keeps_reading() -> None:
    """That is: something at least every tenth of a second, also within the lines that it has in hand."""
    lines = iter(range(100))
    place = Follower(0, yields=True)
    place.begin(10.0)
    place.took(100, 5000, 10.05, lines)
    next(lines)
    assert place.is_waited_for_until == 10.05 + FOLLOW_PATIENCE
    for number in range(1, 11):
        next(lines)
        place.look(5000, now := 10.05 + 0.09 * number)
        assert place.is_waited_for_until == now + FOLLOW_PATIENCE
    place.look(5000, 11.2)
    assert place.is_waited_for_until == now + FOLLOW_PATIENCE < 11.2
    for number in range(1, 4):  # now and then is not enough
        next(lines)
        place.look(5000, 11.2 + 0.3 * number)
        assert place.is_waited_for_until < 0
        assert (place.is_kept_for_until < 0) == (number >= 2)
    next(lines)
    place.look(5000, 12.15)
    assert place.is_waited_for_until == 12.15 + FOLLOW_PATIENCE


def test_the_time_that_a_follower_waits_is_not_its_slowness() -> None:
    """Who has all there is, and waits for an hour, is waited for when something comes."""
    place = Follower(0, yields=True)
    place.begin(10.0)
    place.took(100, 100, 10.0)
    assert place.needs_more(100)
    place.look(100, 3600.0)
    place.look(101, 3610.0)
    assert place.is_waited_for_until == 3610.0 + FOLLOW_PATIENCE
    assert not place.needs_more(101)
    place.took(101, 101, 3610.05, iter([100]))
    assert not place.needs_more(101)  # it has one in hand
    assert place.is_waited_for_until == 3610.05 + FOLLOW_PATIENCE


def test_a_record_is_waited_for_longer() -> None:
    """A disk may be slow for a moment: a record loses nothing for that, however often it happens."""
    place = Follower(0)
    place.begin(10.0)
    for now in (11.9, 13.8, 15.7):
        place.took(10, 5000, now)
        assert place.is_waited_for_until == place.is_kept_for_until == now + RECORD_PATIENCE


def expect_in_vain(client: Client) -> Callable[[], None]:
    def ask() -> None:
        with contextlib.suppress(ExpectTimeout, ConnectionLost):
            client.expect("never", timeout=PATIENCE)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread.join


def await_in_vain(client: Client) -> Callable[[], None]:
    def ask() -> None:
        with contextlib.suppress(ExpectTimeout, ConnectionLost):
            asyncio.run(client.aexpect("never", timeout=PATIENCE))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread.join


def reply(client: Client) -> Callable[[], None]:
    client.add_reply("^PING", "PONG")
    return lambda: None


def listen(client: Client) -> Callable[[], None]:
    client.on_line(lambda line: None)
    return lambda: None


def read(client: Client) -> Callable[[], None]:
    def read_all() -> None:
        for _ in client.follow(as_bytes=True):
            pass

    thread = threading.Thread(target=read_all)
    thread.start()
    return thread.join


@pytest.mark.parametrize("need", [expect_in_vain, await_in_vain, reply, listen, read])
def test_a_slow_follower_holds_nobody_up(need: Callable[[Client], Callable[[], None]]) -> None:
    """Who reads, but slowly, holds up the receiving as long as nobody else needs it: then that goes on."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, Follower(0, yields=True)
        place.begin(time.monotonic() + 3600)  # so long does it keep reading
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: driver.flow.paused)
        end = client.transcript.end
        join = need(client)
        until(client, lambda: client.transcript.end > end + 20_000)
        driver.end_following(place)
        client.stop()
        join()


def test_with_a_heartbeat_nobody_holds_up_the_receiving() -> None:
    """What answers it must not wait behind what a slow reader has not read."""
    with (
        LineServer(flood()) as server,
        Client(server.address, transcript=5000, heartbeat=Heartbeat("noop", every=60)) as client,
    ):
        driver, place = client._driver, Follower(0, yields=True)
        place.begin(time.monotonic() + 3600)
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: client.transcript.end > 20_000)
        assert not driver.flow.paused
        driver.end_following(place)


def test_a_pause_begins_again_when_nobody_needs_the_socket_any_more() -> None:
    """A question lets the receiving go on only until it is answered."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000) as client:
        driver, place = client._driver, Follower(0, yields=True)
        place.begin(time.monotonic() + 3600)
        driver.call(lambda: driver.flow.readers.append(place))
        until(client, lambda: driver.flow.paused)
        with pytest.raises(ExpectTimeout):
            client.send("x", expect="never", timeout=0.05)
        until(client, lambda: driver.flow.paused)
        driver.end_following(place)


# -- who looks silent, and is not


def in_the_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def on_signal(handle: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have `handle` run in the main thread, as signals' handlers do, each time that what this gives is
    called.
    """
    before = signal.signal(signal.SIGUSR1, lambda *_: handle())
    main = threading.main_thread().ident
    assert main is not None
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Talker:
    """A server that answers each line, and sends one of its own 20 times a second; `said_enough` is set when
    that were 30 since `begin`: 1.5 s, in which who is judged by a quarter of a second is long lost.
    """

    def __init__(self) -> None:
        self.said_enough = threading.Event()
        self._left = 0

    def begin(self) -> None:
        self.said_enough.clear()
        self._left = 30

    def wait(self) -> None:
        assert self.said_enough.wait(PATIENCE)

    async def __call__(self, peer: Peer) -> None:
        talk = asyncio.get_running_loop().create_task(self._talk(peer))
        try:
            while line := await peer.readline():
                peer.send(b"re " + line)
        finally:
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)

    async def _talk(self, peer: Peer) -> None:
        while True:
            peer.send(b"feed\r\n")
            await asyncio.sleep(0.05)
            if self._left:
                self._left -= 1
                if not self._left:
                    peer.send(b"enough\r\n")
                    self.said_enough.set()


JUDGED = [{"heartbeat": Heartbeat("beat", 0.1)}, {"silence": 0.25}]
"""What judges a peer by what is received from it: within a quarter of a second."""


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("options", JUDGED)
def test_who_sends_is_not_silent_while_the_leader_is_in_a_signal_handler(
    certificates: Certificates, options: dict[str, Any], encrypted: bool
) -> None:
    """The thread that reads may be busy with something else for long (a handler, a debugger): what lies there
    unread is read before anybody is judged, also the line that this thread waits for.
    """
    assert in_the_main_thread()
    talker, states = Talker(), []

    def handle() -> None:
        talker.begin()
        states.append(talker.said_enough.wait(PATIENCE))
        states.append(client.state == "connected")

    def interrupt() -> None:
        until(client, lambda: leading(client) and (client.heartbeat is None or client.heartbeat_answered))
        ring()

    tls = TLS(cafile=certificates.cafile, server_name="localhost") if encrypted else False
    context = certificates.good().server_context() if encrypted else None
    thread = threading.Thread(target=interrupt)
    with (
        LineServer(talker, tls=context) as server,
        Client(server.address, tls=tls, retry=60, **options) as client,
        on_signal(handle) as ring,
    ):
        thread.start()
        assert client.expect("^enough").text == "enough"
        thread.join(PATIENCE)
        assert states == [True, True]
        client.send("behind", expect="^re behind")
        assert client.status.connection == 1


@pytest.mark.parametrize("options", JUDGED)
def test_who_sends_is_not_silent_while_somebody_keeps_the_turn(options: dict[str, Any]) -> None:
    """Where a step takes long (a debugger in the middle of it), nobody could read: that is the first thing
    that is done after it.
    """
    talker = Talker()
    with LineServer(talker) as server, Client(server.address, retry=60, **options) as client:
        if client.heartbeat is not None:
            until(client, lambda: client.heartbeat_answered)
        talker.begin()
        holding_the_turn(client._driver, talker.wait)
        assert client.expect("^enough").text == "enough"
        client.send("behind", expect="^re behind")
        assert client.status.connection == 1


CHILD = """
import sys
from ipyreconnect import Client, Heartbeat

options = {"heartbeat": Heartbeat("beat", 0.1)} if sys.argv[2] == "heartbeat" else {"silence": 0.25}
with Client(sys.argv[1], retry=60, keepalive="1/1/1", **options) as client:
    client.expect("^feed")
    client.send("ready")
    sys.stdin.readline()
    client.send(f"{client.state} {client.status.connection} {client.reason}")
    sys.stdin.readline()
"""


@pytest.mark.parametrize("judged", ["heartbeat", "silence"])
def test_who_sends_is_not_silent_while_our_process_is_stopped(judged: str) -> None:
    """A process that was stopped and goes on (Ctrl-Z, a debugger) has the connection that it had."""
    talker = Talker()
    with (
        LineServer(talker) as server,
        subprocess.Popen(
            [sys.executable, "-c", CHILD, server.address, judged], stdin=subprocess.PIPE, text=True
        ) as child,
    ):
        try:
            peer = server.peer(0)
            peer.wait_line(b"^ready")
            if judged == "heartbeat":
                peer.wait_line(b"^beat")
            child.send_signal(signal.SIGSTOP)
            talker.begin()
            assert talker.said_enough.wait(PATIENCE)
            child.send_signal(signal.SIGCONT)
            talker.begin()
            assert talker.said_enough.wait(PATIENCE)
            child.communicate("tell\n\n", timeout=PATIENCE)
        finally:
            child.kill()
        assert b"connected 1 " in peer.lines
        assert len(server.peers) == 1


def test_who_sends_is_not_silent_while_we_hold_up_the_receiving() -> None:
    """While a slow reader of ours is waited for, nothing is read, and nothing follows from that."""
    with (
        LineServer(flood()) as server,
        Client(server.address, transcript=5000, retry=60, silence=0.1) as client,
    ):
        place = Follower(0)
        client._driver.begin_following(place)
        until(client, lambda: client._driver.flow.paused)
        until(client, lambda: not client._driver.flow.paused)  # after the reader's two seconds
        end = client.transcript.end
        until(client, lambda: client.transcript.end > end)
        assert client.status.connection == 1
        client._driver.end_following(place)


def test_a_program_that_hangs_is_lost_though_nobody_reads() -> None:
    """Who really sends nothing is found while the leader is in a signal handler, too."""
    assert in_the_main_thread()
    lost = threading.Event()

    async def answer_two(peer: Peer) -> None:
        for _ in range(2):
            peer.send(await peer.readline())
        await peer.until_closed()

    def tell(change: Any) -> None:
        if change.new == "waiting":
            lost.set()

    def handle() -> None:
        lost.wait(PATIENCE)

    def interrupt() -> None:
        until(client, lambda: leading(client))
        ring()

    thread = threading.Thread(target=interrupt)
    with (
        LineServer(answer_two) as server,
        Client(server.address, retry=60, heartbeat=Heartbeat("beat", 0.1)) as client,
        on_signal(handle) as ring,
    ):
        client.observe(tell, "state")
        thread.start()
        with pytest.raises(ConnectionLost, match="its program hangs"):
            client.expect("never")
        thread.join(PATIENCE)
        assert lost.is_set()


# -- what the system refuses


def test_without_an_io_thread_a_client_says_so(server: LineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no I/O thread can be started the client is stopped with the reason, and can be
    connected later.
    """

    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    client = Client(server.address)
    with monkeypatch.context() as patched:
        patched.setattr(loops, "Loop", fail)
        client.connect()
    assert client.state == "stopped"
    assert client.reason == "cannot start the I/O thread: [Errno 24] Too many open files"
    with client:
        assert client.state == "connected"


@pytest.mark.parametrize("selector", [selectors.SelectSelector, selectors.PollSelector])
def test_where_only_its_own_thread_may_touch_the_selector(
    selector: type[selectors.BaseSelector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a system without epoll or kqueue the I/O thread reads for everybody, and survives
    sockets that others close.
    """
    monkeypatch.setattr(selectors, "DefaultSelector", selector)
    with LineServer(echo) as server, Client(server.address, retry=Retry(delay=0.02)) as client:
        io_thread = client._driver.loop_thread
        for number in range(10):
            client.send(f"{number}.", expect=rf"^{number}\.$")
            client.reconnect_now()
            until(client, lambda number=number: client.status.connection == number + 2)  # type: ignore[misc]
        waiting = threading.Thread(target=lambda: client.expect("the end"))
        waiting.start()
        client.send("the end")
        waiting.join(PATIENCE)
        assert client._driver.loop_thread is io_thread
        assert io_thread is not None
        assert io_thread.is_alive()


def test_without_unix_sockets_their_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python has none, as on Windows, that is said before anything starts."""
    monkeypatch.setattr("ipyreconnect.network.sockets.AF_UNIX", None)
    with pytest.raises(SettingsError, match="no Unix sockets on this system: give a host and a port"):
        Client("unix:///run/server.sock")


def test_a_refused_keepalive_changes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel refuses a keepalive, the one before stays in force and the error names it."""
    real = sockets.apply_keepalive

    def refuse(sock: socket.socket, keepalive: KeepAlive, *rest: Any, **more: Any) -> None:
        if str(keepalive) == "7/7/7":
            raise OSError(errno.EINVAL, "Invalid argument")
        real(sock, keepalive, *rest, **more)

    monkeypatch.setattr(sockets, "apply_keepalive", refuse)
    with pytest.raises(CallerError, match="the system refuses the keepalive 7/7/7: Invalid argument"):
        client.set_keepalive("7/7/7")
    assert str(client.keepalive) == str(client.keepalive_in_force) == "5/3/3"


def test_an_outbox_leaves_when_the_peer_reads_again() -> None:
    """What waits for a slow peer leaves as soon as it reads, without anybody's doing."""
    go = threading.Event()

    async def read_late(peer: Peer) -> None:
        # Meanwhile the event loop stands still, and with it all reading.
        go.wait(PATIENCE)
        await peer.until_closed()

    with LineServer(read_late) as server, Client(server.address) as client:
        deliveries = []
        while client._connection.backlog[1] < 2_000_000:  # beyond all that the kernels take
            deliveries.append(client.send("x" * 100_000))
        assert deliveries[-1].status == "queued"
        go.set()
        assert deliveries[-1].wait("acknowledged", timeout=PATIENCE)
        assert {delivery.status for delivery in deliveries} == {"acknowledged"}


def test_a_very_long_wait_is_cut_into_pieces(client: Client) -> None:
    """poll(2) takes no more than some weeks: longer waits are no error."""
    with pytest.raises(OverflowError):
        select.poll().poll(9e15)
    client.send("x", expect="x", timeout=9e9)


def test_no_thread_waits_for_a_peer_that_does_not_read() -> None:
    """Sending to a peer that does not read takes no time, from many threads, while stop waits for nobody."""
    with LineServer(never_read) as server:
        client = Client(server.address).connect()

        def send() -> None:
            for _ in range(50):
                try:
                    client.send(b"x" * 10_000)
                except CallerError:
                    return

        start = time.monotonic()
        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        client.stop()
        assert time.monotonic() - start < 2
