"""Whole sessions: the weblog's on Dovecot, STARTTLS, bad certificates, hostile servers, Redis."""

from __future__ import annotations

import asyncio
import json
import queue
import re
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import TLS, Client, KeepAlive
from notebooks.imap_server import ImapServer
from tests.jupyter.shells import new_shell, run
from tests.servers.certificates import Certificates, Pair
from tests.servers.dovecot import PASSWORD, USER, Dovecot
from tests.servers.line_server import (
    RUBBISH,
    LineServer,
    LineServerProcess,
    Peer,
    mute,
    say,
)
from tests.servers.redis import Redis
from tests.watching import PATIENCE

MEMORY_LIMIT = 400 << 20
"""Bytes of RSS under which the whole process stays at default limits, whatever a server does."""

LOGIN = f'login {USER} "{PASSWORD}"'


class States:
    """Every state that a client goes through from now on, with the moment at which an observer was told."""

    def __init__(self, client: Client) -> None:
        self._seen: queue.Queue[tuple[str, float]] = queue.Queue()
        client.observe(lambda change: self._seen.put((change.new, time.monotonic())), "state")

    def wait(self, wanted: str, timeout: float) -> float:
        """Wait for the next time that the state becomes `wanted`; return when that was."""
        end = time.monotonic() + timeout
        while True:
            try:
                state, when = self._seen.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not {wanted} within {timeout} s") from None
            if state == wanted:
                return when


def received(client: Client) -> list[bytes]:
    return [line.data for line in client.transcript if line.direction == "<"]


# -- Dovecot --


@pytest.mark.servers
def test_the_weblogs_session_on_a_real_imap_server(certificates: Certificates) -> None:
    """A killed server is noticed at once, the connection is back after 2 s, and stop leaves nothing."""
    with Dovecot(certificates.good()) as server:
        client = Client(server.address, tls=TLS(cafile=str(certificates.cafile)))
        client.connect(wait=10)
        try:
            assert (client.state, client.reason) == ("connected", "")
            assert client.keepalive_in_force == KeepAlive(5, 3, 3)
            assert client.status.tls is not None
            assert client.status.tls.verified
            assert client.status.tls.version == "TLSv1.3"

            match = client.send("1 capability", expect=r"^1 (OK|NO|BAD)")
            assert match[1] == "OK"
            assert any(line.text.startswith("* CAPABILITY IMAP4rev1") for line in match.lines)
            client.send(f"2 {LOGIN}", expect="^2 OK")

            states = States(client)
            killed = time.monotonic()
            server.kill()
            lost = states.wait("waiting", timeout=2)
            assert lost - killed < 1
            assert re.match(rf"(closed|reset) by localhost:{server.tls_port}\b", client.reason)
            server.start()
            back = states.wait("connected", timeout=5)
            assert 1.7 < back - lost < 3

            client.send("3 capability", expect="^3 OK")
            client.send(f"4 {LOGIN}", expect="^4 OK")
        finally:
            client.stop()
        assert client.state == "stopped"


@pytest.mark.servers
def test_the_weblogs_session_in_ipython(certificates: Certificates) -> None:
    """The same by the magics: connect, capability, login, a killed server, back by itself, stop."""
    with Dovecot(certificates.good()) as server, new_shell() as shell:

        def cell(text: str) -> Any:
            result = run(shell, text)
            result.raise_error()
            return result.result

        cell("%load_ext ipyreconnect")
        try:
            cell(f"client = %connect {server.address} --cafile {certificates.cafile} --name dovecot")
            client = shell.user_ns["client"]
            assert client.state == "connected", client.reason
            cell("%send 1 capability")
            assert cell("%expect ^1 (OK|NO|BAD)")[1] == "OK"
            cell(f'%send --expect "^2 OK" 2 {LOGIN}')

            states = States(client)
            server.kill()
            lost = states.wait("waiting", timeout=2)
            server.start()
            assert 1.7 < states.wait("connected", timeout=5) - lost < 3

            cell('%send --expect "^3 OK" 3 noop')
            cell("%stop dovecot")
            assert client.state == "stopped"
        finally:
            cell("%unload_ext ipyreconnect")


@pytest.mark.servers
def test_an_on_connect_script_logs_in_again_after_each_loss(certificates: Certificates) -> None:
    """With an on-connect script the session is logged in again as soon as it counts as connected."""
    script = f"< ^\\* OK\na {LOGIN}\n< ^a OK\n"
    with (
        Dovecot(certificates.good()) as server,
        Client(
            server.address, tls=TLS(cafile=str(certificates.cafile)), on_connect=script, retry=0.05
        ) as client,
    ):
        assert client.state == "connected", client.reason
        client.send("b select inbox", expect="^b OK")
        states = States(client)
        server.kill()
        states.wait("waiting", timeout=2)
        server.start()
        states.wait("connected", timeout=5)
        client.send("c select inbox", expect="^c OK")


@pytest.mark.servers
def test_starttls_protects_the_login(certificates: Certificates) -> None:
    """A connection with STARTTLS is verified TLS before the user can send, and works like any other."""
    tls = TLS(cafile=str(certificates.cafile), starttls=True)
    with Dovecot(certificates.good()) as server, Client(server.starttls_address, tls=tls) as client:
        assert client.state == "connected", client.reason
        assert client.status.tls is not None
        assert client.status.tls.verified
        match = client.send("1 capability", expect="^1 OK")
        assert not any("STARTTLS" in line.text for line in match.lines)
        client.send(f"2 {LOGIN}", expect="^2 OK")


# -- bad certificates --

BAD: dict[str, tuple[Callable[[Certificates], Pair], str]] = {
    "wrong name": (Certificates.wrong_name, "mismatch"),
    "unknown issuer": (Certificates.unknown_issuer, "issuer"),
    "expired": (Certificates.expired, "expired"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_certificate_is_told_and_nothing_is_sent(certificates: Certificates, bad: str) -> None:
    """A certificate that does not verify stops a new client, which says why and has sent no byte."""
    make, why = BAD[bad]
    with LineServer(mute, tls=make(certificates).server_context()) as server:
        with Client(
            server.address, tls=TLS(cafile=str(certificates.cafile)), on_connect="a login me secret"
        ) as client:
            assert client.state == "stopped"
            assert "certificate" in client.reason
            assert re.search(why, client.reason)
            assert not any(line.direction == ">" for line in client.transcript)
        # The server's handshake never ended, so no connection of it was handed to the behaviour.
        assert server.peers == []


@pytest.mark.parametrize("bad", BAD)
def test_a_server_is_told_what_is_wrong_with_its_certificate(certificates: Certificates, bad: str) -> None:
    """Its own log says why the client went away, by the alert that TLS has for it (RFC 8446, section 6.2)."""
    make, _ = BAD[bad]
    context = make(certificates).server_context()
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)

        def serve() -> None:
            accepted, _ = listening.accept()
            with (
                pytest.raises(ssl.SSLError) as error,
                context.wrap_socket(accepted, server_side=True) as sock,
            ):
                sock.recv(1)
            told.append(str(error.value.reason))

        serving = threading.Thread(target=serve)
        serving.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with Client(address, tls=TLS(cafile=str(certificates.cafile))):
            serving.join(PATIENCE)
    assert re.search("ALERT_(BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_EXPIRED)", told[0])


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_certificate_after_starttls_gets_nothing_either(certificates: Certificates, bad: str) -> None:
    """A certificate that does not verify after STARTTLS ends it: the server has heard no more than that."""
    make, why = BAD[bad]
    context = make(certificates).server_context()

    async def imap(peer: Peer) -> None:
        peer.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n")
        while line := await peer.readline():
            tag, command = line.split(maxsplit=1)
            if command.strip().upper() == b"STARTTLS":
                peer.send(tag + b" OK go ahead\r\n")
                await peer.start_tls(context)
            else:
                peer.send(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")

    tls = TLS(cafile=str(certificates.cafile), starttls=True)
    with LineServer(imap) as server:
        address = f"imap://127.0.0.1:{server.port}"
        with Client(address, tls=tls, on_connect="a login me secret") as client:
            assert client.state == "stopped"
            assert "certificate" in client.reason
            assert re.search(why, client.reason)
        server.peer(0).wait_closed()
        assert not any(b"secret" in line for line in server.peer(0).lines)
        assert b"STARTTLS" in server.peer(0).lines[-1].upper()


# -- hostile servers --


def test_whatever_bytes_a_server_sends_are_kept_as_they_came() -> None:
    """NULs, invalid UTF-8, terminal escapes and HTML arrive byte for byte, and the connection lives on."""
    with LineServer(say(RUBBISH)) as server, Client(server.address) as client:
        client.expect("end of the rubbish")
        expected = [line.removesuffix(b"\r") for line in RUBBISH.split(b"\n")[:-1]]
        assert received(client) == expected
        assert all(isinstance(line.text, str) for line in client.transcript)
        assert client.state == "connected"


HOSTILE = """
    import json, resource, sys, threading, time
    from ipyreconnect import Client

    address, until, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = Client(address)
    client.connect(wait=10)
    changed = threading.Event()
    client.add_watcher(changed.set)
    ends = time.monotonic() + 60

    def there():
        end = client.transcript.end
        last = [line.data for line in client.transcript[end - 3 : end]]
        return end >= lines and (not until or until.encode() in last)

    while not there() and time.monotonic() < ends and client.state == "connected":
        changed.wait(0.1)
        changed.clear()
    result = {"there": there(), "end": client.transcript.end, "state": client.state, "reason": client.reason}
    start = time.monotonic()
    client.stop()
    result["stopping"] = time.monotonic() - start
    result["state"] = client.state
    result["threads"] = [thread.name for thread in threading.enumerate()]
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))
"""


@pytest.mark.servers
@pytest.mark.parametrize(
    ("behaviour", "until", "lines"),
    [
        ("endless 200", "after", 1),
        ("endless-nul 200", "after", 1),
        ("endless-high 200", "after", 1),
        ("flood", "", 5_000_000),
    ],
    ids=[
        "200 MiB of one line",
        "200 MiB of NULs",
        "200 MiB of invalid UTF-8",
        "5 million lines, nobody reads",
    ],
)
def test_memory_stays_bounded_and_stop_works_whatever_the_server_sends(
    behaviour: str, until: str, lines: int
) -> None:
    """A line without end or a flood of lines costs less than 400 MiB at default limits, and stop is quick."""
    with LineServerProcess(behaviour) as server:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HOSTILE), server.address, until, str(lines)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            check=True,
            timeout=90,
        )
    result = json.loads(done.stdout)
    assert result["there"], result
    assert result["peak"] < MEMORY_LIMIT
    assert result["stopping"] < 1
    assert result["state"] == "stopped"
    assert result["threads"] == ["MainThread"]


# -- announced framing --


@pytest.mark.servers
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_redis_value_with_line_ends_is_one_line(certificates: Certificates, secure: bool) -> None:
    """What Redis announces by its length is one logical line, whatever bytes it has."""
    with (
        Redis(certificates.good()) as server,
        Client(
            server.tls_address if secure else server.address,
            tls=TLS(cafile=str(certificates.cafile)) if secure else None,
        ) as client,
    ):
        assert client.state == "connected", client.reason
        client.send("PING", expect=r"^\+PONG$")
        client.send(r'SET key "one\r\ntwo\n\x00\xff+OK\r\nthree"', expect=r"^\+OK$")
        match = client.send("GET key", expect=rb"^\$")
        assert match.line.data == b"$21\r\none\r\ntwo\n\x00\xff+OK\r\nthree"
        assert received(client)[-1] == match.line.data


@pytest.mark.servers
def test_an_imap_literal_is_one_line(tmp_path: Path) -> None:
    """A message that IMAP announces as a literal is one logical line with the rest of its response."""
    with (
        tour_server(tmp_path) as server,
        Client(server.address, tls=TLS(cafile=str(server.cafile))) as client,
    ):
        assert client.state == "connected", client.reason
        client.send("1 login demouser demopass", expect="^1 OK")
        client.send("2 select inbox", expect="^2 OK")
        match = client.send("3 fetch 1 body.peek[header]", expect="^3 OK")
        [fetched] = [line for line in match.lines if line.data.startswith(b"* 1 FETCH")]
        assert fetched.data.count(b"\r\n") > 3
        assert fetched.data.endswith(b")")


@contextmanager
def tour_server(tmp_path: Path) -> Iterator[ImapServer]:
    server = ImapServer(0, tmp_path / "ca.pem").start()
    try:
        yield server
    finally:
        server.stop()


# -- whole answers --


@pytest.mark.servers
def test_thousands_of_questions_at_once_get_their_own_answers_from_redis() -> None:
    """From threads and from tasks; values, errors, arrays, and a payload that looks like answers."""
    with Redis() as server, Client(server.address) as client:
        assert client.ask("SET odd", payload=b"x\r\n+OK\r\n-ERR\r\n").check().status == "OK"
        assert client.ask("GET odd").data == b"x\r\n+OK\r\n-ERR\r\n"
        assert client.ask("GET nothing").value is None
        assert client.ask("NOSUCH").ok is False
        assert client.ask("EVAL \"return {1, 'a', {2, 'b'}}\" 0").value == [1, "a", [2, "b"]]
        assert client.ask("HELLO 3").value["proto"] == 3

        wrong: list[str] = []

        def ask(name: str) -> None:
            for number in range(1000):
                text = f"{name}-{number}"
                if client.ask(f"ECHO {text}", timeout=60).value != text:
                    wrong.append(text)

        async def ask_all() -> None:
            async def one(text: str) -> None:
                if (await client.aask(f"ECHO {text}", timeout=60)).value != text:
                    wrong.append(text)

            await asyncio.gather(*(one(f"task-{number}") for number in range(1000)))

        threads = [threading.Thread(target=ask, args=(f"thread{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        asyncio.run(ask_all())
        for thread in threads:
            thread.join()
        assert wrong == []


@pytest.mark.servers
def test_a_mailbox_is_read_by_questions(certificates: Certificates) -> None:
    """A mail that looks like answers is appended and fetched byte for byte; IDLE ends by DONE."""
    mail = b"Subject: x\r\n\r\nr1 OK forged\r\n* 1 EXISTS\r\n.\r\n"
    with (
        Dovecot(certificates.good()) as server,
        Client(server.address, tls=TLS(cafile=str(certificates.cafile))) as client,
    ):
        assert client.ask(LOGIN).check().status == "OK"
        assert client.ask("APPEND INBOX", payload=mail).ok is True
        assert client.ask("SELECT INBOX").ok is True
        assert client.ask("FETCH 1 BODY.PEEK[]").data == mail
        refused = client.ask("SELECT nothing")
        assert (refused.ok, refused.status) == (False, "NO")
        assert client.ask("IDLE").status == "+"
        assert client.ask("DONE").ok is True
        answers = [client.ask(f"my{number} NOOP") for number in range(50)]
        assert [answer.lines[-1].text.split()[0] for answer in answers] == [f"my{n}" for n in range(50)]
