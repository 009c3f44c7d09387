"""Fail in bounded ways: whatever a server or a name service does, attempts are few and leave nothing."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipyreconnect import TLS, Client, Retry
from tests.faults.watching import PATIENCE, wait_until
from tests.namespaces import NamespacePair, unavailable
from tests.servers.certificates import Certificates
from tests.servers.line_server import Behaviour, LineServer, end_process, mute, slam, slam_with_reset

pytestmark = pytest.mark.faults

OFTEN = 30
"""Attempts after which a leak of one thing each would show."""

DELAY = 0.05


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("behaviour", [slam, slam_with_reset], ids=["closes", "resets"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_server_that_accepts_and_closes_is_not_stormed(
    tmp_path: Path, behaviour: Behaviour, secure: bool
) -> None:
    """Each loss is followed by the wait, however short the connection was, and nothing piles up."""
    certificates = Certificates(tmp_path)
    with LineServer(behaviour, tls=certificates.good().server_context() if secure else None) as server:
        tls = TLS(cafile=certificates.cafile) if secure else False
        began = time.monotonic()
        with Client(server.address, tls=tls, retry=Retry(DELAY, jitter=0), transcript=100) as client:
            server.peer(4, PATIENCE)
            threads, fds = threading.active_count(), open_fds()
            server.peer(OFTEN, PATIENCE)
            assert time.monotonic() - began >= DELAY * OFTEN
            assert threading.active_count() <= threads
            assert open_fds() <= fds + 3  # the moment's own connection, and the server's two
            assert re.match(r"(closed|reset) by ", client.reason)


def test_the_wait_grows_although_each_attempt_succeeds(tmp_path: Path) -> None:
    """A connection that did not last counts as a failure: a server that slams is called ever more seldom."""
    with (
        LineServer(slam) as server,
        Client(server.address, retry=Retry(DELAY, factor=2.0, jitter=0)) as client,
    ):
        began = time.monotonic()
        wait_until(client, lambda: client.state == "waiting" and len(server.peers) >= 6)
        assert time.monotonic() - began >= DELAY * (1 + 2 + 4 + 8)


def test_a_refused_port_is_called_again_and_again_and_nothing_piles_up() -> None:
    """Nobody listens: attempts at the pace that was asked for, each with its number in the log."""
    with LineServer(mute) as server:
        server.refuse()
        began = time.monotonic()
        with Client(server.address, retry=Retry(DELAY, jitter=0), transcript=100) as client:
            wait_until(client, lambda: client.status.attempt >= 5)
            threads, fds = threading.active_count(), open_fds()
            wait_until(client, lambda: client.status.attempt >= OFTEN)
            assert time.monotonic() - began >= DELAY * (OFTEN - 1)
            assert threading.active_count() <= threads
            assert open_fds() <= fds + 1
            wait_until(client, lambda: client.state == "waiting")
            assert client.transcript[-1].text.startswith(f"refused by {server.address}; try ")
            server.listen()
            wait_until(client, lambda: client.state == "connected")


def test_a_mute_tls_server_does_not_hold_an_attempt_for_ever(tmp_path: Path) -> None:
    """A server that accepts and never shakes hands is left after 10 s; a stop meanwhile is at once."""
    cafile = Certificates(tmp_path).cafile
    with LineServer(mute) as server:
        client = Client(server.address, tls=TLS(cafile=cafile), retry=Retry(DELAY, jitter=0))
        began = time.monotonic()
        client.connect(wait=PATIENCE)
        try:
            assert 9.5 < time.monotonic() - began < 12
            assert client.reason == (
                f"{server.address} did not finish the TLS handshake within 10 s; does it speak TLS?"
            )
            wait_until(client, lambda: client.phase == "tls")
        finally:
            began = time.monotonic()
            client.stop()
        assert time.monotonic() - began < 1
        assert len(server.peers) == 2
        server.peer(0).wait_closed()


HANGING = """
    import ctypes, json, os, sys, threading, time
    from pathlib import Path

    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result):
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    resolv = sys.argv[1]
    checked(libc.unshare(0x00020000))  # CLONE_NEWNS: a /etc/resolv.conf of our own
    checked(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))  # MS_REC | MS_PRIVATE
    checked(libc.mount(resolv.encode(), os.path.realpath("/etc/resolv.conf").encode(), None, 0x1000, None))

    from ipyreconnect import Client

    client = Client("mute.example.org:993", retry=0.1)
    began = time.monotonic()
    client.connect(wait=20)
    found = {"first": time.monotonic() - began, "reason": client.reason}
    seen = threading.Event()
    client.add_watcher(lambda: seen.set() if client.phase == "resolving" else None)
    found["again"] = seen.wait(20)
    found["attempt"] = client.status.attempt
    found["threads"] = sorted(thread.name for thread in threading.enumerate())
    found["fds"] = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    client.stop()
    found["stopping"] = time.monotonic() - began
    found["left"] = sorted(thread.name for thread in threading.enumerate())
    found["ended"] = time.time()
    print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def looking_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process with a mute name service; it takes 10 s, and the other tests need not wait for it."""
    if unavailable() is not None:
        yield None
        return
    resolv = tmp_path_factory.mktemp("names") / "resolv.conf"
    with NamespacePair() as pair, pair.right.socket(kind=socket.SOCK_DGRAM) as name_service:
        resolv.write_text(f"nameserver {pair.right.ipv4}\noptions timeout:30 attempts:2\n")
        name_service.bind((pair.right.ipv4, 53))
        with pair.left.entered():
            process = subprocess.Popen(
                # The second line that it says is when it ended.
                [
                    "sh",
                    "-c",
                    '"$0" "$@" && date +%s.%N',
                    sys.executable,
                    "-c",
                    textwrap.dedent(HANGING),
                    resolv,
                ],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
            )
        try:
            yield process
            assert name_service.recv(512, socket.MSG_DONTWAIT)  # it was asked
        finally:
            end_process(process)


def test_a_name_service_that_hangs_holds_nothing_up(looking_up: subprocess.Popen[bytes] | None) -> None:
    """A mute name service costs each attempt 10 s and one thread in all; neither a stop nor the end of the
    process waits for it.
    """
    if looking_up is None:
        pytest.skip(str(unavailable()))
    output, _ = looking_up.communicate(timeout=60)
    said, ended = output.splitlines()
    found = json.loads(said)
    assert 9.5 < found["first"] < 12
    assert found["reason"] == (
        "timed out looking up 'mute.example.org': no answer from the name service for 10 s"
    )
    assert found["again"]
    assert found["attempt"] == 2
    assert found["threads"] == ["MainThread", "ipyreconnect-io", "ipyreconnect-resolve-mute.example.org"]
    assert found["fds"] < 20
    assert found["stopping"] < 0.5
    assert found["left"] == ["MainThread", "ipyreconnect-resolve-mute.example.org"]
    assert float(ended) - found["ended"] < 10  # the name service has a minute
