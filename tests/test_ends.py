"""A real connection says why it ended, to all who ask, and what was no connection does not count as one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipyreconnect import TLS, Client, ConnectionLost, KeepAlive, NotConnected, Retry
from tests.scarcity import no_files_left
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, LineServerProcess, Peer, echo
from tests.watching import PATIENCE, until

FEW = Retry(delay=0.05, jitter=0, attempts=3, stable=0.05)
"""Three attempts, and connections that count as stable after a twentieth of a second."""


@pytest.mark.parametrize("then", [Peer.close, Peer.reset])
def test_everybody_is_told_the_last_words(then: Callable[[Peer], None]) -> None:
    """Who waits, who sends next, and the list hear why the server has ended it."""

    async def behave(peer: Peer) -> None:
        peer.send(b'INFO {"auth_required":true} \r\n')
        await peer.readline()
        peer.send(b"-ERR 'Authorization Violation'\r\n")
        await peer.readline()
        then(peer)

    with LineServer(behave) as server, Client(f"nats://{server.address}", retry=60) as client:
        client.expect("^INFO")
        client.send("CONNECT {}", expect="^-ERR")
        with pytest.raises(ConnectionLost, match="it said '-ERR 'Authorization Violation''"):
            client.send("PING", expect="^PONG")
        assert "Authorization Violation" in client.reason
        assert "Authorization Violation" in client.status.loss
        with pytest.raises(NotConnected, match=r"Authorization Violation.*waiting for try 2"):
            client.send("PING")
        assert "Authorization Violation" in client.transcript[-1].text


@contextlib.contextmanager
def proxy(context: ssl.SSLContext | None = None, *, reset: bool) -> Iterator[tuple[str, list[int]]]:
    """A proxy whose server is down: it accepts, speaks TLS if it is to, and ends the connection a moment
    later without a byte. Yields its address, and a list that grows by one with each connection.
    """
    calls: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock = listener.accept()[0]
                except OSError:
                    return
                calls.append(1)
                with sock, contextlib.suppress(OSError):  # a client that was stopped meanwhile has gone
                    sock.settimeout(PATIENCE)
                    if context is not None:
                        sock = context.wrap_socket(sock, server_side=True)
                    with sock:
                        over.wait(0.2)  # for so long it looks for its server
                        if reset:
                            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        else:
                            sock.shutdown(socket.SHUT_WR)

        over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"localhost:{listener.getsockname()[1]}", calls
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_three_attempts_at_a_proxy_without_a_server_are_three(
    certificates: Certificates, encrypted: bool, reset: bool
) -> None:
    """However long it takes to find nobody behind itself: a connection without a byte was never stable."""
    context = certificates.good().server_context() if encrypted else None
    with proxy(context, reset=reset) as (address, calls):
        url = f"imap{'s' if encrypted else ''}://{address}"
        tls = TLS(cafile=certificates.cafile) if encrypted else None
        with Client(url, tls=tls, retry=FEW) as client:
            until(client, lambda: client.state == "stopped")
            assert len(calls) == 3
            assert client.reason.endswith("; gave up after 3 tries")


def test_a_protocol_that_nobody_knows_may_have_had_nothing_to_say() -> None:
    """An unknown server that ends a silent connection in good order ends one that was stable."""
    with proxy(reset=False) as (address, calls), Client(address, retry=FEW) as client:
        until(client, lambda: len(calls) > 4)
        assert client.state != "stopped"


def test_a_farewell_in_tls_is_no_alarm(certificates: Certificates) -> None:
    """A server that has answered QUIT and closes without TLS's own end has cut nothing off."""

    async def behave(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"+OK Logging out.\r\n")
        peer.drop()
        await peer.until_closed()

    with (
        LineServer(behave, tls=certificates.good().server_context()) as server,
        Client(f"pop3s://{server.address}", tls=TLS(cafile=certificates.cafile), retry=60) as client,
    ):
        client.send("QUIT", expect=r"^\+OK")
        until(client, lambda: client.state == "waiting")
        assert client.reason == f"closed by {server.address}"


def test_a_unix_socket_is_called_by_its_own_path(tmp_path: Path) -> None:
    """A server that binds a temporary name and renames it is at the path that was given, not at that name."""
    path, bound = str(tmp_path / "socket"), str(tmp_path / "socket.1.tmp")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(bound)
        listener.listen()
        os.rename(bound, path)
        with Client(f"unix://{path}") as client:
            assert client.status.peer == path
            assert [line.text for line in client.transcript[:]] == [f"connected to {path}"]


@pytest.mark.parametrize("keepalive", [KeepAlive.off(), KeepAlive()])
def test_without_a_file_descriptor_a_healthy_connection_goes_on(keepalive: KeepAlive) -> None:
    """It sends, is answered, and takes another keepalive."""
    with LineServer(echo) as server, Client(server.address, keepalive=keepalive) as client:
        client.send("before", expect="before")
        with no_files_left():
            client.send("meanwhile", expect="meanwhile")
            client.keepalive = KeepAlive(7, 3, 3)
            client.keepalive = KeepAlive.off()
            client.send("still", expect="still")
        assert (client.state, client.status.connection) == ("connected", 1)


def test_without_a_file_descriptor_an_attempt_fails_and_is_repeated() -> None:
    """A client that cannot dial for want of one says so, and is connected once there is one."""
    # A process of its own, which has descriptors; the first client keeps the I/O thread, which needs some.
    with LineServerProcess() as server, Client(server.address):
        client = Client(server.address, retry=0.05)
        with no_files_left():
            client.connect(wait=0)
            until(client, lambda: client.status.attempt > 2)
            assert "this process has too many open files" in client.reason
        until(client, lambda: client.state == "connected")
        client.stop()


def test_without_a_file_descriptor_no_certificate_is_judged(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system's authorities stand in a folder, OpenSSL opens it during the handshake: that it cannot
    is no fault of the server's certificate, and passes.
    """
    shutil.copy(certificates.cafile, tmp_path / "authority.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    pair = certificates.good()
    with (
        LineServer(echo) as plain,
        Client(plain.address),  # which keeps the I/O thread, as that needs files of its own
        LineServerProcess(cert=pair.pem, key=pair.key) as server,
    ):
        client = Client(server.address, tls=True, retry=0.05)
        with no_files_left(but=1):  # for its socket
            client.connect(wait=0)
            until(client, lambda: client.status.attempt > 3)
            assert client.reason == (
                f"cannot connect to {server.address}: this process has too many open files"
            )
        until(client, lambda: client.state == "connected")
        assert client.status.tls is not None
        assert client.status.tls.verified
        client.stop()


def test_a_script_that_loses_its_connection_quotes_the_last_words_once() -> None:
    """The script's own message has the last lines; what is advised stands there all the same."""

    async def refuse(peer: Peer) -> None:
        peer.send(b"220 hi\r\n")
        await peer.readline()
        peer.send(b"421 4.4.2 too slow\r\n")

    async def alert(peer: Peer) -> None:
        await peer.readline()
        peer.send(b"\x15\x03\x03\x00\x02\x02\x0a")

    with (
        LineServer(refuse) as server,
        Client(f"smtp://{server.address}", on_connect="EHLO x\n< ^250", retry=60) as client,
    ):
        assert client.reason.count("421 4.4.2 too slow") == 1
    with (
        LineServer(alert) as server,
        Client(f"imap://{server.address}", on_connect="a NOOP\n< ^a OK", retry=60) as client,
    ):
        assert "so it speaks TLS: try --tls (in Python tls=True)" in client.reason
