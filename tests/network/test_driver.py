"""Prove how one connection is driven: turns, the reading leader, waiting, and what the system refuses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import queue
import select
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ipyreconnect import CallerError, Client, ConnectionLost, ExpectTimeout, KeepAlive, Retry
from ipyreconnect.network import interrupts, sockets
from ipyreconnect.network import loop as loops
from ipyreconnect.network.driver import Driver, Follower
from tests.servers.line_server import LineServer, Peer, echo, flood, mute, never_read
from tests.watching import PATIENCE, until


@pytest.fixture
def driver(client: Client) -> Driver:
    """What drives it."""
    return client._driver


def holding_the_turn(driver: Driver, meanwhile: Callable[[], None]) -> None:
    """Have another thread hold the turn while `meanwhile` runs here."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait(PATIENCE)

    thread = threading.Thread(target=lambda: driver.call(hold))
    thread.start()
    assert begun.wait(PATIENCE)
    try:
        meanwhile()
    finally:
        over.set()
        thread.join(PATIENCE)


# -- the turn


def test_work_is_done_one_piece_at_a_time(driver: Driver) -> None:
    """Whatever the threads, no two pieces of work run at the same time, and each caller gets its
    own result.
    """
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> int:
        inside.append(number)
        most.append(len(inside))
        time.sleep(0)  # lets others in, if they could
        inside.remove(number)
        return number

    def many(first: int) -> None:
        for number in range(first, first + 200):
            assert driver.call(partial(work, number)) == number

    threads = [threading.Thread(target=many, args=(1000 * index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(most) == 1200
    assert max(most) == 1


def test_what_a_piece_of_work_raises_reaches_its_caller(driver: Driver) -> None:
    """An error of the work is raised where it was asked for, also when another thread did it."""

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        driver.call(fail)
    errors: queue.Queue[BaseException] = queue.Queue()

    def ask() -> None:
        try:
            driver.call(fail)
        except KeyError as error:
            errors.put(error)

    thread = threading.Thread(target=ask)
    holding_the_turn(driver, thread.start)
    thread.join(PATIENCE)
    assert isinstance(errors.get(timeout=PATIENCE), KeyError)


def interrupted(driver: Driver, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another thread do what `call` asks for, and interrupt the caller just when it sees the end."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        over.wait(PATIENCE)

    def see_and_be_interrupted(lock: Any, ends: float | None, shield: object) -> None:
        over.set()  # only now, so that the work waits in the inbox before
        lock.acquire()
        raise KeyboardInterrupt

    ended = threading.Event()

    def ask() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            call()
            raise AssertionError("it was not interrupted")
        ended.set()

    holder = threading.Thread(target=lambda: driver.call(hold))
    holder.start()
    assert begun.wait(PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr("ipyreconnect.network.interrupts.acquire", see_and_be_interrupted)
        threading.Thread(target=ask, daemon=True).start()
        assert ended.wait(PATIENCE)
    holder.join(PATIENCE)


def test_an_interrupt_at_the_end_of_what_another_thread_did_comes_through(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the very moment in which the end of one's work is seen hangs nobody."""
    done: list[int] = []
    interrupted(driver, lambda: driver.call(lambda: done.append(1)), monkeypatch)
    assert done == [1]


def test_an_interrupt_with_the_wait_just_begun_leaves_no_waiter(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is interrupted when another thread has begun to watch for it is forgotten."""
    interrupted(driver, lambda: driver.wait(lambda: False, PATIENCE), monkeypatch)
    assert driver.call(lambda: driver._waiters) == []


def test_posted_work_waits_for_nobody_and_is_done(driver: Driver) -> None:
    """Work that is posted while another thread has the turn is done by that one, and the poster goes on."""
    done = threading.Event()

    def post() -> None:
        driver.post(done.set)
        assert not done.is_set()

    holding_the_turn(driver, post)
    assert done.wait(PATIENCE)


def test_calling_from_within_a_step_is_refused(driver: Driver) -> None:
    """Who has the turn cannot wait for it: a call is refused, a post is done afterwards."""
    done: list[str] = []

    def within() -> None:
        assert driver.has_turn
        with pytest.raises(CallerError, match="in the middle of something"):
            driver.call(lambda: None)
        driver.post(lambda: done.append("later"))
        done.append("now")

    driver.call(within)
    assert not driver.has_turn
    assert done == ["now", "later"]


def test_a_finalizer_in_the_middle_of_a_step_may_forget_a_follower(client: Client, driver: Driver) -> None:
    """The collector may come at any time, and end a forgotten iterator in the middle of the same
    connection's step.
    """
    client.send("x", expect="x")
    forgotten = client.follow(start=0)
    next(forgotten)
    cycle = [forgotten]
    cycle.append(cycle)  # type: ignore[arg-type]
    del forgotten

    def collect() -> None:
        cycle.clear()
        gc.collect()

    driver.call(collect)
    assert driver._followers == []
    client.send("y", expect="y")


def test_each_piece_is_settled_before_the_next(client: Client, driver: Driver) -> None:
    """A stop and a start that wait for the same turn are done one after the other, each with all
    that follows.
    """
    connection = driver.connection
    ended = driver.ended

    def post() -> None:
        driver.post(lambda: connection.fail(ConnectionLost("test"), time.monotonic()))
        driver.post(lambda: connection.stop(time.monotonic()))
        driver.post(lambda: connection.start(time.monotonic()))

    holding_the_turn(driver, post)
    until(client, lambda: client.state == "connected")
    assert driver.ended == ended + 1
    assert client.status.connection == 2
    client.send("x", expect="x")


def test_an_error_of_our_own_drops_the_connection_and_says_so(
    client: Client, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the engine neither hangs nor hides: the connection is lost for that reason,
    and comes back.
    """

    def fail(connection: object, size: int, now: float) -> None:
        raise AssertionError("oops")

    with monkeypatch.context() as patched:
        patched.setattr(type(driver.connection), "committed", fail)
        client.send("x")
        until(client, lambda: "internal error" in client.reason)
    assert client.reason == "internal error, please report it: AssertionError: oops"
    until(client, lambda: client.status.connection == 2)
    client.send("x", expect="x")


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
    assert driver._waiters == []


def test_what_was_true_when_it_was_woken_counts(client: Client, driver: Driver) -> None:
    """A condition that held for a moment has been met, though it holds no more when the waiter wakes up."""
    flag: list[bool] = []
    results: queue.Queue[bool] = queue.Queue()
    thread = threading.Thread(target=lambda: results.put(driver.wait(lambda: bool(flag), PATIENCE)))
    thread.start()
    until(client, lambda: bool(driver._waiters))

    def a_moment() -> None:
        driver.post(lambda: flag.append(True))

    holding_the_turn(driver, a_moment)
    driver.call(flag.clear)
    assert results.get(timeout=PATIENCE)
    thread.join(PATIENCE)


# -- the leader


def leading(client: Client) -> bool:
    return bool(client._driver._leader)


def test_the_lead_belongs_to_who_asked_for_it() -> None:
    """Whoever has the turn when a thread begins to wait, it is that thread that reads, and no
    other is held for it.
    """
    with LineServer(mute) as server, Client(server.address) as client:
        results: queue.Queue[str] = queue.Queue()
        thread = threading.Thread(target=lambda: results.put(client.expect("answer").text))

        def begin() -> None:
            thread.start()
            while not client._driver._inbox:
                time.sleep(0)

        holding_the_turn(client._driver, begin)
        until(client, lambda: leading(client))
        assert client._driver._leader == thread.ident
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
            while not client._driver._inbox:
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
            assert client._driver._condemned == []
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
    assert client._driver._wake_pair is None


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
    assert client._driver._prompt  # nothing has waited in vain


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
        until(client, lambda: driver._paused)
        server.behaviour = echo
        client.reconnect_now()
        until(client, lambda: client.status.connection == 2)
        driver.end_following(place)
        driver.end_following(place)
        client.send("x", expect="x", timeout=1)


def test_a_paused_connection_notices_its_end() -> None:
    """A connection that is held up by a follower is still told of a reset at once."""
    with LineServer(flood()) as server, Client(server.address, transcript=5000, retry=60) as client:
        place = Follower(0)
        client._driver.begin_following(place)
        until(client, lambda: client._driver._paused)
        start = time.monotonic()
        server.peer(0).reset()
        until(client, lambda: client.state == "waiting")
        assert time.monotonic() - start < 1
        assert client.reason == f"reset by {server.address}"
        client._driver.end_following(place)


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


def test_a_handler_that_only_counts_does_not_end_a_wait(server: LineServer) -> None:
    """A user's own handler of SIGINT is called at once while something is waited for, and again and again."""
    counted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: counted.append(number))
    try:
        with LineServer(mute) as quiet, Client(quiet.address) as client:

            def interrupt() -> None:
                for number in range(3):
                    os.kill(os.getpid(), signal.SIGINT)
                    while len(counted) <= number:
                        time.sleep(0)
                quiet.peer(0).send(b"answer\r\n")

            thread = threading.Thread(target=interrupt)
            until(client, lambda: client.state == "connected")
            thread.start()
            client.expect("answer")
            thread.join(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert counted == [signal.SIGINT] * 3


def test_a_handler_that_replaces_itself_stays_replaced(server: LineServer, client: Client) -> None:
    """A handler that puts in another one, as for a second Ctrl-C that ends all, is not put back by us."""
    called: list[str] = []

    def second(number: int, frame: object) -> None:
        called.append("second")

    def first(number: int, frame: object) -> None:
        called.append("first")
        signal.signal(signal.SIGINT, second)

    before = signal.signal(signal.SIGINT, first)
    try:
        with LineServer(mute) as quiet, Client(quiet.address) as other:

            def interrupt() -> None:
                while not other._driver._leader:
                    time.sleep(0)
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(ExpectTimeout):
                other.expect("never", timeout=0.2)
            thread.join(PATIENCE)
        assert signal.getsignal(signal.SIGINT) is second
        assert called == ["first"]
    finally:
        signal.signal(signal.SIGINT, before)


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
