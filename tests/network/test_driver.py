"""Prove that nobody looks silent whom we did not listen to, and what a client says that the system fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipyreconnect import (
    TLS,
    Client,
    ConnectionLost,
    Heartbeat,
    Retry,
    SettingsError,
)
from ipyreconnect.network import loop as loops
from ipyreconnect.network.flow_control import ReaderPosition
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, Peer, echo, flood
from tests.watching import PATIENCE, holding_the_lock, leading, until

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
        holding_the_lock(client._driver, talker.wait)
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
        place = ReaderPosition(0)
        client._driver.register_reader(place)
        until(client, lambda: client._driver.flow.paused)
        until(client, lambda: not client._driver.flow.paused)  # after the reader's two seconds
        end = client.transcript.end
        until(client, lambda: client.transcript.end > end)
        assert client.status.connection == 1
        client._driver.unregister_reader(place)


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
