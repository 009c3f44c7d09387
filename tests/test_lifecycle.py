"""Prove that a client starts, stops, is interrupted, forked and forgotten in every state, and
leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import (
    TLS,
    CallerError,
    Client,
    NotConnected,
    OutboxFull,
    ReconnectError,
    Retry,
    Transcript,
)
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.network import dial, lookups
from ipyreconnect.network.driver import Driver
from tests.servers.line_server import (
    LineServer,
    LineServerProcess,
    Peer,
    echo,
    flood,
    free_port,
    mute,
    never_read,
    slam,
)
from tests.watching import PATIENCE, States, until

AT_ONCE = 0.6
"""Seconds that a stop may take on a busy machine: a fifth for the last acknowledgement, and its
threads' ends.
"""

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mute_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every look-up of a name hang until the test is over."""
    over = threading.Event()
    real = lookups.resolve

    def resolve(host: str, port: int, *, flags: int = 0) -> Any:
        if not flags:
            over.wait(PATIENCE)
        return real(host, port, flags=flags or socket.AI_NUMERICHOST)

    monkeypatch.setattr(dial, "resolve", resolve)
    yield
    over.set()


def io_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ipyreconnect-io"]


def stop_at_once(client: Client) -> None:
    """Stop it, and see that it took no time, and that no thread of ours is left that moment."""
    start = time.monotonic()
    client.stop()
    took = time.monotonic() - start
    assert client.state == "stopped"
    assert took < AT_ONCE, f"{took:.2f} s"
    assert io_threads() == []


def fill(client: Client) -> None:
    """Send until the outbox is full."""
    with contextlib.suppress(OutboxFull):
        while True:
            client.send(b"x" * 65536 + b"\n")


# -- stop in every state


def test_stopping_what_was_never_started() -> None:
    """Stop is harmless for a client that was never connected, and may be repeated."""
    client = Client("127.0.0.1:1")
    stop_at_once(client)
    stop_at_once(client)


@pytest.mark.usefixtures("mute_names")
def test_stopping_while_a_name_is_looked_up() -> None:
    """A look-up that hangs holds up no stop."""
    client = Client("imap.example.invalid:993", tls=False).connect(wait=0)
    until(client, lambda: client.phase == "resolving")
    stop_at_once(client)


def test_stopping_while_nobody_answers_the_call() -> None:
    """A server that cannot be reached holds up no stop."""
    with LineServer(echo) as server:
        server.pull_cable()
        client = Client(server.address).connect(wait=0)
        until(client, lambda: client.phase == "dialing")
        stop_at_once(client)


def test_stopping_while_waiting_for_the_next_try() -> None:
    """The wait for the next try ends with a stop."""
    client = Client(f"127.0.0.1:{free_port()}", retry=60).connect()
    assert client.state == "waiting"
    stop_at_once(client)


def test_stopping_during_the_tls_handshake() -> None:
    """A server that is mute when TLS is spoken to it holds up no stop."""
    with LineServer(mute) as server:
        client = Client(server.address, tls=True).connect(wait=0)
        until(client, lambda: client.phase == "tls")
        stop_at_once(client)
        server.peer(0).wait_closed()


def test_stopping_during_starttls() -> None:
    """A server that is mute when asked for TLS holds up no stop."""
    with LineServer(mute) as server:
        client = Client(f"imap://{server.address}", tls=TLS(starttls=True)).connect(wait=0)
        until(client, lambda: client.phase == "starttls")
        stop_at_once(client)
        server.peer(0).wait_closed()


def test_stopping_during_the_script() -> None:
    """An on-connect script that waits for an answer holds up no stop."""
    with LineServer(mute) as server:
        client = Client(server.address, on_connect="< never").connect(wait=0)
        until(client, lambda: client.phase == "script")
        stop_at_once(client)


def test_stopping_during_the_function() -> None:
    """An on-connect function that waits for an answer holds up no stop, and ends with it."""
    ended = threading.Event()

    def login(session: Any) -> None:
        try:
            session.expect("never")
        finally:
            ended.set()

    with LineServer(mute) as server:
        client = Client(server.address, on_connect=login).connect(wait=0)
        until(client, lambda: client.phase == "script")
        stop_at_once(client)
        assert ended.wait(PATIENCE)


def test_stopping_a_quiet_connection() -> None:
    """A quiet connection is closed in good order: the server reads the end, and all that was sent before."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        client.send("bye")
        stop_at_once(client)
        server.peer(0).wait_line(b"bye")
        server.peer(0).wait_closed()
        assert client.unconfirmed == []


def test_stopping_a_flood() -> None:
    """A flood that nobody reads holds up no stop."""
    with LineServer(flood()) as server:
        client = Client(server.address).connect()
        until(client, lambda: client.transcript.end > 100_000)
        stop_at_once(client)


def test_stopping_towards_a_peer_that_does_not_read() -> None:
    """With a full outbox a stop takes its fifth of a second, and reports what was never acknowledged."""
    with LineServer(never_read) as server:
        client = Client(server.address).connect()
        fill(client)
        stop_at_once(client)
        assert client.unconfirmed
        assert "never acknowledged" in client.transcript[-1].text


def test_stopping_a_connection_that_a_slow_reader_holds_up() -> None:
    """A connection that waits for a slow follower is stopped like any other."""
    with LineServer(flood()) as server:
        client = Client(server.address, transcript=20_000).connect()
        lines = client.follow()
        next(lines)
        until(client, lambda: client._driver.flow.paused)
        stop_at_once(client)


def test_stopping_while_another_thread_waits_for_an_answer() -> None:
    """Whoever waits for an answer, and reads the socket meanwhile, is told that the client was stopped."""
    reasons: list[str] = []
    with LineServer(mute) as server:
        client = Client(server.address).connect()

        def wait() -> None:
            try:
                client.expect("never")
            except ConnectionError as error:
                reasons.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        until(client, lambda: client._driver.leader.thread == thread.ident)
        stop_at_once(client)
        thread.join(PATIENCE)
    assert reasons == ["stopped"]


def test_two_threads_may_stop_at_once() -> None:
    """However many stop it at the same time, all of them return when it is stopped."""
    with LineServer(never_read) as server:
        client = Client(server.address).connect()
        client.send("x")
        threads = [threading.Thread(target=client.stop) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert client.state == "stopped"


def test_a_stop_returns_though_another_thread_connects_anew() -> None:
    """A stop ends even when somebody else connects again before it has looked."""
    with LineServer(echo) as server:
        client = Client(server.address, retry=0.01)
        over = threading.Event()

        def connect() -> None:
            while not over.is_set():
                client.connect(wait=1)

        other = threading.Thread(target=connect)
        other.start()

        def stop() -> None:
            for _ in range(50):
                client.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        stopper.join(PATIENCE)
        hung = stopper.is_alive()
        over.set()
        other.join(PATIENCE)
        client.stop()
        assert not hung


# -- starting


def test_with_connects_and_stops() -> None:
    """Inside `with` the client is connected, after it stopped, also when the body fails."""
    with LineServer(echo) as server:
        with contextlib.suppress(KeyError), Client(server.address) as client:
            assert client.state == "connected"
            raise KeyError
        assert client.state == "stopped"


def test_connecting_twice_is_connecting_once() -> None:
    """A second connect of a running client leaves its connection alone."""
    with LineServer(echo) as server, Client(server.address) as client:
        assert client.connect() is client
        client.send("x", expect="^x$")
        assert len(server.peers) == 1


def test_connecting_after_a_stop_goes_on_with_the_transcript() -> None:
    """After a stop a client can be connected anew; line numbers and transcript go on."""
    with LineServer(echo) as server:
        client = Client(server.address)
        with client:
            first = client.send("one", expect="one").line.number
        with client:
            second = client.send("two", expect="two").line.number
            assert second > first
            assert client.status.connection == 2
        assert [line.text for line in client.transcript if line.direction == "<"] == ["one", "two"]
        assert client.transcript[first].text == "one"


def test_connecting_while_it_is_being_stopped_connects() -> None:
    """A connect that comes while a stop still waits for the last acknowledgement begins when that is over."""
    with LineServer(never_read) as server:
        client = Client(server.address).connect()
        fill(client)
        stopper = threading.Thread(target=client.stop)
        stopper.start()
        until(client, lambda: client.state != "connected")
        client.connect()
        assert client.state == "connected"
        stopper.join(PATIENCE)
        client.stop()


def test_reconnecting_in_every_state() -> None:
    """Reconnect now drops a live connection, cuts a wait short, and leaves a stopped client alone."""
    port = free_port()
    server = LineServer(echo, port=port)
    client = Client(f"127.0.0.1:{port}", retry=60)
    client.reconnect_now()
    assert client.state == "stopped"
    client.connect()
    assert client.state == "waiting"
    states = States(client)
    with server:
        client.reconnect_now()
        states.wait("connected")
        client.reconnect_now()
        states.wait("connected")
        server.peer(0).wait_closed()
        client.send("x", expect="x")
        assert len(server.peers) == 2
        client.stop()


def test_a_server_that_accepts_and_closes_is_given_up() -> None:
    """With `attempts`, a server that accepts and closes each time is called that often and no more."""
    with LineServer(slam) as server:
        client = Client(server.address, retry=Retry(delay=0.01, attempts=3)).connect()
        until(client, lambda: client.state == "stopped")
        assert len(server.peers) == 3
        assert client.reason.endswith("gave up after 3 tries")
        stop_at_once(client)


def test_two_clients_share_one_thread() -> None:
    """All connections of the process are served by one I/O thread, which ends with the last of them."""
    with LineServer(echo) as server:
        one, two = Client(server.address).connect(), Client(server.address).connect()
        assert len(io_threads()) == 1
        one.stop()
        two.send("x", expect="x")
        assert len(io_threads()) == 1
        stop_at_once(two)


# -- again and again


def test_a_thousand_connections_leave_nothing_behind() -> None:
    """After connecting and stopping a thousand times there are no more threads, files or objects
    than before.
    """
    with LineServerProcess("echo") as server:
        client = Client(server.address, transcript=Transcript(100, 65536))

        def cycle(times: int) -> None:
            for _ in range(times):
                client.connect()
                assert client.state == "connected"
                client.stop()

        def look() -> tuple[int, int, int]:
            gc.collect()
            return threading.active_count(), len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()

        cycle(200)
        threads, files, blocks = look()
        cycle(800)
        now = look()
        assert now[:2] == (threads, files)
        assert now[2] - blocks < 800


def test_a_forgotten_client_that_is_stopped_is_freed() -> None:
    """Nothing holds a stopped client that nobody knows any more."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        client.send("x", expect="x")
        client.stop()
        forgotten = weakref.ref(client)
        del client
        gc.collect()
        assert forgotten() is None


def test_a_kept_transcript_keeps_no_client() -> None:
    """Where only a transcript is kept it is all that is left of its client; its deliveries tell their end."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        client.send("x", expect="x")
        client.stop()
        transcript, forgotten = client.transcript, weakref.ref(client)
        del client
        gc.collect()
        assert forgotten() is None
    (delivery,) = (line.delivery for line in transcript if line.delivery)
    assert delivery.wait()


@pytest.mark.parametrize("error", [ReconnectError, ValueError])
def test_a_failed_function_leaves_nothing_to_the_collector(error: type[Exception]) -> None:
    """What an on-connect function had made is gone with its attempt, however seldom the collector runs."""
    made: list[weakref.ref[Transcript]] = []

    def login(session: object) -> None:
        local = Transcript()
        made.append(weakref.ref(local))
        raise error("no luck")

    gc.disable()
    try:
        with LineServer(echo) as server, Client(server.address, on_connect=login, retry=60) as client:
            assert client.reason.endswith("no luck")
            assert [each() for each in made] == [None]
    finally:
        gc.enable()


def test_everything_at_once_neither_hangs_nor_leaks() -> None:
    """Threads that do all there is to do, on a connection that is lost again and again, all come
    to their end.
    """
    seconds = 1.5
    over = threading.Event()
    odd: list[BaseException] = []

    def read_some(client: Client, chance: random.Random) -> None:
        for _ in client.follow(as_bytes=chance.random() < 0.5):
            if over.is_set() or chance.random() < 0.1:
                return

    deeds: list[Callable[[Client, random.Random], object]] = [
        lambda client, chance: client.send("ask", expect="^ask$", timeout=0.2),
        lambda client, chance: client.send("x" * chance.randrange(100_000)),
        lambda client, chance: client.send("queued", queue=True, expect="^queued$", timeout=0.1),
        lambda client, chance: client.expect("^ask$", timeout=0.01),
        lambda client, chance: client.send("wait").wait(timeout=0.02),
        lambda client, chance: client.set_keepalive(chance.choice(["5/3/3", "30/5/2", "off"])),
        lambda client, chance: client.reconnect_now(),
        lambda client, chance: client.connect(wait=0.02),
        read_some,
    ]

    def do(client: Client, server: LineServer, seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            try:
                chance.choice(deeds)(client, chance)
                if chance.random() < 0.02:
                    server.peers[-1].reset()
                elif chance.random() < 0.01:
                    client.stop()
                    client.connect(wait=0)
            except (ReconnectError, IndexError):
                pass
            except BaseException as error:  # noqa: BLE001 - told below
                odd.append(error)

    retry = Retry(delay=0.01)
    with LineServer(echo) as server, Client(server.address, retry=retry, transcript=2000) as client:
        threads = [threading.Thread(target=do, args=(client, server, seed)) for seed in range(5)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + seconds
        while any(thread.is_alive() for thread in threads) and time.monotonic() < ends + PATIENCE:
            # Feeds those who follow, who would otherwise wait for a line for ever.
            with contextlib.suppress(ReconnectError):
                client.send("feed")
            client.connect(wait=0.01)
            if time.monotonic() > ends:
                over.set()
            threads[0].join(0.005)
        over.set()
        assert not any(thread.is_alive() for thread in threads)
        assert odd == []
        until(client, lambda: client.connect(wait=0).state == "connected")
        driver = client._driver
        assert (driver.leader.thread, driver.waiters.waiting, driver.leader.has_discarded) == (0, [], False)
        assert client._connection.expectations.pending == []
        assert driver.flow.readers == []
        stop_at_once(client)


# -- finalizers and signal handlers


class Owner:
    """Somebody who stops its client when it is forgotten, in a cycle that only the collector finds."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.itself = self

    def __del__(self) -> None:
        self.client.stop()


def test_a_finalizer_may_stop_a_client_in_the_middle_of_its_own_work() -> None:
    """A finalizer that stops the client in the middle of one of its steps neither hangs nor is ignored."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        owners = [Owner(client)]

        def collect() -> None:
            # As if the collector came just now: with the turn, on whatever thread.
            if owners:
                owners.clear()
                gc.collect()

        client.add_watcher(collect)
        until(client, lambda: client.state == "stopped")
        client.remove_watcher(collect)
        stop_at_once(client)


def test_a_signal_handler_may_stop_a_client_in_the_first_moment_of_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler that stops the client is not left waiting for the very step that it has interrupted."""
    with LineServer(echo) as server, Client(server.address) as client:
        begin = Driver._begin_step

        def interrupted(driver: Driver) -> None:
            if threading.current_thread() is threading.main_thread():
                monkeypatch.setattr(Driver, "_begin_step", begin)
                signal.raise_signal(signal.SIGTERM)
            begin(driver)

        before = signal.signal(signal.SIGTERM, lambda *_: client.stop())
        try:
            monkeypatch.setattr(Driver, "_begin_step", interrupted)
            assert client.health is not None
        finally:
            signal.signal(signal.SIGTERM, before)
        until(client, lambda: client.state == "stopped")


def test_a_stop_does_not_wait_for_what_another_thread_begins_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopping a stopped client is done at once, also when another thread connects it at that moment."""
    with LineServer(echo) as server:
        client = Client(server.address)
        call = Driver.call

        def late(driver: Driver, work: Callable[[], Any]) -> Any:
            monkeypatch.setattr(Driver, "call", call)
            result = call(driver, work)
            client.connect()
            return result

        monkeypatch.setattr(Driver, "call", late)
        stopping = threading.Thread(target=client.stop, daemon=True)
        stopping.start()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
        stop_at_once(client)


def test_a_framing_that_exits_ends_only_its_own_connection() -> None:
    """What a user's framing raises, SystemExit too, loses the connection and leaves the I/O thread alone."""

    class Exits:
        def feed(self, data: bytes) -> list[bytes]:
            raise SystemExit(1)

    with LineServer(echo) as server, Client(server.address, framing=Exits, retry=10) as client:
        client.send("x")
        until(client, lambda: client.state == "waiting")
        assert client.reason == "the framing Exits failed: SystemExit: 1"
        with Client(server.address) as other:
            other.send("y", expect="y")


def test_what_cannot_be_done_in_the_middle_of_a_step_says_so() -> None:
    """Sending from within the connection's own work (as a finalizer may try to) is refused in clear words,
    where it would wait for itself.
    """
    refused: list[str] = []

    def send() -> None:
        try:
            client.send("from within")
        except CallerError as error:
            refused.append(str(error))

    with LineServer(echo) as server, Client(server.address) as client:
        client._driver.call(send)
        assert "in the middle of something" in refused[0]


def test_a_framing_may_send() -> None:
    """It has a thread of its own, so that it may do what any other code of the user's may."""

    class Chatty:
        sent = False

        def feed(self, data: bytes) -> list[bytes]:
            if not self.sent:
                self.sent = True
                client.send("from within")
            return [data]

    with LineServer(echo) as server, Client(server.address, framing=Chatty()) as client:
        client.send("x")
        client.expect("from within")
        assert server.peer(0).lines == [b"x", b"from within"]


# -- interrupts


def test_a_call_that_waits_for_another_s_step_can_be_interrupted() -> None:
    """Ctrl-C leaves a call that waits for a step that never ends; what was asked for is not done."""
    begun, over = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        over.wait(PATIENCE)

    with LineServer(echo) as server, Client(server.address) as client:
        client.send("x")
        thread = threading.Thread(target=client._driver.call, args=(hang,))
        thread.start()
        assert begun.wait(PATIENCE)
        try:
            assert interrupted(lambda: client.send("y"), lambda: bool(client._driver.queued)) < 0.5
        finally:
            over.set()
            thread.join(PATIENCE)
        client.send("z", expect="z")
        assert [line.text for line in client.transcript if line.direction == ">"] == ["x", "z"]


def interrupted(action: Callable[[], object], ready: Callable[[], bool]) -> float:
    """Interrupt the main thread in `action` as soon as `ready()`; return how long it took to leave it."""
    sent: list[float] = []
    over = threading.Event()

    def interrupt() -> None:
        while not ready() and not over.wait(0.001):
            pass
        sent.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            action()
    finally:
        over.set()
        thread.join(PATIENCE)
    return time.monotonic() - sent[0]


@pytest.mark.usefixtures("mute_names")
def test_an_interrupt_leaves_connect() -> None:
    """Ctrl-C leaves a connect that waits at once; the attempt goes on in the background."""
    client = Client("imap.example.invalid:993", tls=False)
    assert interrupted(lambda: client.connect(wait=10), lambda: bool(client._driver.waiters.waiting)) < 0.5
    assert client.state == "connecting"
    client.stop()


WAITS: dict[str, Callable[[Client], object]] = {
    "expect": lambda client: client.expect("never"),
    "send": lambda client: client.send("x", expect="never"),
    "follow": lambda client: list(client.follow()),
    "delivery": lambda client: client.send(b"x" * 1_000_000).wait("acknowledged"),
}


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_leaves_every_wait(wait: str) -> None:
    """Ctrl-C leaves whatever waits within half a second, and the connection is as it was."""
    with LineServer(never_read if wait == "delivery" else mute) as server:
        client = Client(server.address).connect()
        if wait == "delivery":
            fill_the_kernel(client)
        driver = client._driver
        took = interrupted(
            lambda: WAITS[wait](client), lambda: bool(driver.waiters.waiting or driver.leader.thread)
        )
        assert took < 0.5
        assert client.state == "connected"
        assert (driver.waiters.waiting, driver.leader.thread, driver.flow.readers) == ([], 0, [])
        assert client._connection.expectations.pending == []
        if wait != "delivery":
            client.send("after")
            server.peer(0).wait_line(b"after")
        client.stop()


def test_an_interrupt_leaves_a_coroutine_s_wait() -> None:
    """Ctrl-C leaves a coroutine that awaits a line, as in a notebook, and nothing of it is left."""
    with LineServer(mute) as server, Client(server.address) as client:
        driver = client._driver
        took = interrupted(lambda: asyncio.run(client.aexpect("never")), lambda: bool(driver.waiters.waiting))
        assert took < 0.5
        assert client.state == "connected"
        assert (driver.waiters.waiting, client._connection.expectations.pending) == ([], [])


def fill_the_kernel(client: Client) -> None:
    """Send until the kernel takes no more, so that a line stays unacknowledged."""
    while client.send(b"x" * 65536).status == "sent":
        pass


STORM = """
    import signal, sys, threading
    from ipyreconnect import Client

    client = Client(sys.argv[1]).connect()
    go, over = threading.Event(), threading.Event()

    def storm():
        go.wait()
        while not over.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            over.wait(0.0005)

    thread = threading.Thread(target=storm)
    thread.start()
    interrupts = begun = 0
    while begun < 3000:
        try:
            try:
                go.set()
                while begun < 3000:
                    begun += 1
                    if begun % 3:
                        client.send(f"line {begun}")
                    else:
                        client.send(f"line {begun}", expect=f"^line {begun}$")
            except KeyboardInterrupt:
                interrupts += 1
        except KeyboardInterrupt:  # a second one, on a busy machine, before that was counted
            pass
    while not over.is_set():
        try:
            over.set()
        except KeyboardInterrupt:
            pass
    while True:
        try:
            thread.join()
            break
        except KeyboardInterrupt:
            pass
    client.send("the end", expect="^the end$")
    driver = client._driver
    left = [len(driver.waiters.waiting), driver.leader.thread, len(client._connection.expectations.pending)]
    print(interrupts, client.status.connection, client.state, *left, flush=True)
    client.stop()
"""


def test_a_storm_of_interrupts_tears_nothing() -> None:
    """However often Ctrl-C is pressed while sending, each line arrives whole and in order, on
    one connection.
    """
    with LineServer(echo) as server:
        interrupts, *rest = run(STORM, server.address).split()
        assert int(interrupts) > 100
        assert rest == ["1", "connected", "0", "0", "0"]
        lines = server.peer(0).lines
        numbers = [int(line.removeprefix(b"line ")) for line in lines[:-1]]
        assert numbers == sorted(set(numbers))
        assert lines[-1] == b"the end"


def run(program: str, *arguments: str, timeout: float = 30.0) -> str:
    """Run a program in an interpreter of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=timeout,
    )
    return done.stdout


# -- fork


def in_child(check: Callable[[], object]) -> str:
    """Run `check` in a forked child; return what it gives there, as text."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            try:
                answer = str(check())
            except BaseException as error:  # noqa: BLE001 - the parent is to see it
                answer = repr(error)
            os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


def test_a_forked_child_neither_holds_nor_harms_the_connection() -> None:
    """In a child the client is stopped; the parent's goes on, and its end reaches the server
    while the child lives.
    """
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        client.send("before", expect="before")

        def child() -> str:
            client.stop()
            with contextlib.suppress(NotConnected):
                client.send("from the child")
            return f"{client.state}: {client.reason}"

        assert in_child(child) == "stopped: the process was forked: the connection stays with its parent"
        client.send("after", expect="after")
        assert client.status.connection == 1
        hold, release = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(release)
            os.read(hold, 1)  # until the parent has closed its end
            os._exit(0)
        client.stop()
        server.peer(0).wait_closed()
        os.close(release)
        os.close(hold)
        os.waitpid(pid, 0)
        assert server.peer(0).lines == [b"before", b"after"]


def test_a_forked_child_can_connect_by_itself() -> None:
    """In a child a client can be connected anew, beside the parent's connection."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()

        def child() -> str:
            client.connect()
            text = client.send("hello", expect="hello").text
            client.stop()
            return text

        assert in_child(child) == "hello"
        client.send("parent", expect="parent")
        client.stop()
        assert len(server.peers) == 2


def test_a_forked_child_begins_with_nothing_of_its_parent_s_connection() -> None:
    """The half of a line that the parent has received is not the beginning of the child's first one, and what
    the parent sends is none of its business.
    """

    async def greet(peer: Peer) -> None:
        peer.send(b"* half a li" if len(server.peers) == 1 else b"* OK\r\n")
        await peer.until_closed()

    with LineServer(greet) as server:
        client = Client(server.address).connect()
        until(client, lambda: bool(client.transcript.unfinished))
        delivery = client._driver.call(lambda: in_flight(client))

        def child() -> str:
            status = delivery.status
            client.connect()
            text = client.expect("OK").text
            client.stop()
            return f"{status} {text}"

        assert in_child(child) == "unconfirmed * OK"
        client.stop()


def test_a_forked_child_waits_for_no_record(tmp_path: Path) -> None:
    """The thread that writes it is the parent's: a stop in the child has nothing to wait for."""
    with LineServer(echo) as server:
        client = Client(server.address, record=tmp_path / "record.jsonl").connect()

        def child() -> bool:
            began = time.monotonic()
            client.stop()
            return time.monotonic() - began < 1

        assert in_child(child) == "True"
        client.stop()


def in_flight(client: Client) -> Delivery:
    """Enter a line that is not acknowledged yet; with the turn."""
    delivery = Delivery(b"x")
    ledger = client._connection.outbox._ledger
    ledger.add(ledger.sent + 10**6, 1, delivery)
    return delivery


def test_nobody_is_told_in_a_forked_child() -> None:
    """A child calls no observers of the parent's: it has no threads but those that it makes itself."""
    with LineServer(echo) as server:
        client = Client(server.address).connect()
        client.observe(lambda _: None, "state")
        assert in_child(threading.active_count) == "1"
        client.stop()


def test_a_fork_in_the_middle_of_a_flood_is_harmless() -> None:
    """A child that is forked while the I/O thread is busy can stop the client, whatever was held
    that moment.
    """
    with LineServer(flood()) as server:
        client = Client(server.address).connect()

        def child() -> str:
            client.stop()
            return client.state  # type: ignore[no-any-return]

        for _ in range(20):
            assert in_child(child) == "stopped"
        assert client.state == "connected"
        client.stop()


# -- the interpreter's exit

HUNG = """
    import sys, threading, time
    from ipyreconnect import Client
    from ipyreconnect.network import dial

    real = dial.resolve
    def resolve(host, port, *, flags=0):
        if not flags:
            time.sleep(60)
        return real(host, port, flags=flags)
    dial.resolve = resolve
    clients = [Client(f"name{number}.example.invalid:1").connect(wait=0) for number in range(5)]
    while not any("resolve" in thread.name for thread in threading.enumerate()):
        pass
    print("end", time.monotonic())
"""

LIVE = """
    import sys, time
    from ipyreconnect import Client

    clients = [Client(sys.argv[1]).connect() for _ in range(20)]
    for client in clients:
        client.send("last words")
    full = Client(sys.argv[2]).connect()
    try:
        while True:
            full.send(b"x" * 65536)
    except Exception:
        pass
    waiting = Client("127.0.0.1:1", retry=60).connect()
    print("end", time.monotonic())
"""


def exits(program: str, *arguments: str) -> float:
    """Return how long the interpreter took to end."""
    word, when = run(program, *arguments).split()
    assert word == "end"
    return time.monotonic() - float(when)


def test_the_interpreter_ends_with_a_hung_name_service() -> None:
    """A look-up that hangs does not keep the interpreter from ending."""
    assert exits(HUNG) < 2


def test_the_interpreter_ends_with_live_connections() -> None:
    """Live connections are closed in good order when the interpreter ends, and hold it up for no
    more than 2 s.
    """
    with LineServer(echo) as server, LineServer(never_read) as full:
        assert exits(LIVE, server.address, full.address) < 2
        for peer in server.peers:
            peer.wait_closed()
            assert peer.lines == [b"last words"]


def test_an_exit_from_a_signal_handler_does_not_hang() -> None:
    """A handler that ends the process in the middle of sending, with a stop of its own, leads to its end."""
    program = """
        import signal, sys, threading, time
        from ipyreconnect import Client

        client = Client(sys.argv[1]).connect()

        def end(number, frame):
            print("end", time.monotonic(), flush=True)
            client.stop()
            sys.exit()

        signal.signal(signal.SIGTERM, end)
        main = threading.main_thread().ident
        threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGTERM)).start()
        while True:
            client.send("x", expect="x")
    """
    with LineServer(echo) as server:
        assert exits(program, server.address) < 2


# -- memory

IDLE = """
    import gc, resource, sys, threading
    from ipyreconnect import Client

    def rss():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    count = int(sys.argv[2])
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    first = Client(sys.argv[1]).connect()
    before = rss()
    clients = [Client(sys.argv[1]) for _ in range(count)]
    for client in clients:
        client.connect(wait=0)
    for client in clients:
        client.connect(wait=10)
    assert all(client.state == "connected" for client in clients)
    print((rss() - before) / count)
    for client in clients:
        client.stop()
    first.stop()
"""


def test_an_idle_connection_costs_little_memory() -> None:
    """One of many idle plain connections takes no more than 12 KiB."""
    with LineServer(mute) as server:
        assert float(run(IDLE, server.address, "500")) < 12 * 1024
