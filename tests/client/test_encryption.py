"""Prove what a client does with TLS: whom it trusts, what it resumes, how STARTTLS and the end are taken."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from ipyreconnect import (
    TLS,
    Client,
    SettingsError,
)
from ipyreconnect.protocol.resumption import RESUMES
from tests.client.helping import QUICK, notes, secure
from tests.servers.certificates import Certificates
from tests.servers.line_server import (
    LineServer,
    Peer,
    echo,
)
from tests.watching import until


def test_tls_with_nothing_to_verify_is_refused_before_anything_starts() -> None:
    """A Unix socket has no host whose certificate it could be: a name is given, or nothing is verified."""
    with pytest.raises(SettingsError, match=r"^TLS with /nowhere needs a host name to verify: give .*server"):
        Client("unix:///nowhere", tls=True)
    for tls in TLS(server_name="example.org"), TLS(verify=False):
        assert Client("unix:///nowhere", tls=tls).tls == tls


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_tls_is_verified_by_default(certificates: Certificates, version: str) -> None:
    """With TLS the certificate is verified; status says how the connection is encrypted."""
    context = certificates.good().server_context(tls12=version == "TLSv1.2")
    with LineServer(echo, tls=context) as server, Client(server.address, tls=secure(certificates)) as client:
        assert client.state == "connected", client.reason
        assert client.status.tls is not None
        assert (client.status.tls.version, client.status.tls.verified) == (version, True)
        delivery = client.send("x" * 50_000)
        assert len(client.expect("^x").text) == 50_000
        assert delivery.wait("acknowledged")


def test_an_unknown_authority_stops_a_new_client(certificates: Certificates) -> None:
    """Without its authority the certificate does not verify, and that ends it."""
    context = certificates.good().server_context()
    with LineServer(echo, tls=context) as server, Client(server.address, tls=True) as client:
        assert client.state == "stopped"
        assert "does not verify" in client.reason


def test_verification_can_be_switched_off_loudly(certificates: Certificates) -> None:
    """Unverified TLS works, and the log and the status say so."""
    context = certificates.wrong_name().server_context()
    with LineServer(echo, tls=context) as server, Client(server.address, tls=TLS(verify=False)) as client:
        client.send("x", expect="x")
        assert any("CERTIFICATE NOT VERIFIED" in note for note in notes(client))


def test_another_name_can_be_verified(certificates: Certificates) -> None:
    """With server_name the certificate is verified for that name instead of the address's host."""
    context = certificates.wrong_name().server_context()
    with LineServer(echo, tls=context) as server:
        tls = secure(certificates, server_name="imap.example.org")
        with Client(server.address, tls=tls) as client:
            client.send("x", expect="x")


def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    """A server that wants a client certificate gets it; without one there is no connection."""
    context = certificates.good().server_context(client_ca=certificates.cafile)
    pair = certificates.client()
    with LineServer(echo, tls=context) as server:
        with Client(server.address, tls=secure(certificates, cert=pair.pem, key=pair.key)) as client:
            client.send("x", expect="x")
        with Client(server.address, tls=secure(certificates), retry=60) as client:
            # With TLS 1.3 it is connected before the server has said no (asyncio's says it by closing).
            until(client, lambda: client.state == "waiting")


def test_a_reconnection_resumes_tls_and_is_still_verified(certificates: Certificates) -> None:
    """A reconnection takes up the TLS session, where that does not leak, and counts as verified."""
    context = certificates.good().server_context()
    with (
        LineServer(echo, tls=context) as server,
        Client(server.address, tls=secure(certificates), retry=QUICK) as client,
    ):
        client.send("x", expect="x")
        server.peer(0).close()
        until(client, lambda: client.status.connection == 2)
        assert client.status.tls is not None
        assert (client.status.tls.resumed, client.status.tls.verified) == (RESUMES, True)
        client.send("y", expect="y")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (Peer.close, r"^closed by \S+$"),
        (Peer.drop, r"^closed by \S+ without close_notify: the end may be cut off$"),
        (Peer.reset, r"^reset by \S+$"),
    ],
)
def test_the_end_of_tls_says_how(
    certificates: Certificates, end: Callable[[Peer], None], reason: str
) -> None:
    """A polite end, a cut and a reset of a TLS connection are told apart."""
    with (
        LineServer(echo, tls=certificates.good().server_context()) as server,
        Client(server.address, tls=secure(certificates), retry=60) as client,
    ):
        client.send("x", expect="x")
        end(server.peer(0))
        until(client, lambda: client.state == "waiting")
        assert re.match(reason, client.reason), client.reason


def imap(context: ssl.SSLContext, behind: bytes = b"") -> Callable[[Peer], Any]:
    """Return the behaviour of an IMAP server that offers STARTTLS, and says `behind` with its consent."""

    async def behave(peer: Peer) -> None:
        peer.send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n")
        tag = (await peer.readline()).split()[0]
        peer.send(tag + b" OK go ahead\r\n" + behind)
        await peer.start_tls(context)
        await echo(peer)

    return behave


def test_starttls(certificates: Certificates) -> None:
    """STARTTLS leads to verified TLS before the user can send."""
    with LineServer(imap(certificates.good().server_context())) as server:
        tls = secure(certificates, starttls=True)
        with Client(f"imap://{server.address}", tls=tls) as client:
            assert client.state == "connected", client.reason
            assert client.status.tls is not None
            assert client.send("x", expect="^x$").line.data == b"x"


def test_starttls_injection_is_refused(certificates: Certificates) -> None:
    """Plain text behind the consent to STARTTLS is an attack: the attempt fails, and says so."""
    with LineServer(imap(certificates.good().server_context(), b"* OK injected\r\n")) as server:
        tls = secure(certificates, starttls=True)
        with Client(f"imap://{server.address}", tls=tls, retry=60) as client:
            assert client.state == "waiting"
            assert "injected" in client.reason
