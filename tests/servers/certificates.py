"""Certificates for the test servers, good and bad, made by trustme on the spot; none is ever committed."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """One certificate on disk: `pem` holds the chain, `key` the private key."""

    pem: Path
    key: Path

    def server_context(self, *, client_ca: Path | None = None, tls12: bool = False) -> ssl.SSLContext:
        """Make a server's context; `client_ca` demands a client certificate, `tls12` speaks nothing newer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


class Certificates:
    """Issue certificates into `folder`: the good one and each bad one is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.cafile = folder / "ca.pem"
        """The authority that a client is told to trust."""
        self._authority.cert_pem.write_to_path(str(self.cafile))

    def good(self) -> Pair:
        """For localhost, 127.0.0.1 and ::1, by the trusted authority."""
        return self._write("good", self._authority.issue_cert("localhost", "127.0.0.1", "::1"))

    def wrong_name(self) -> Pair:
        """By the trusted authority, for another host."""
        return self._write("wrong-name", self._authority.issue_cert("imap.example.org"))

    def expired(self) -> Pair:
        """By the trusted authority, for the right host, valid until yesterday."""
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        leaf = self._authority.issue_cert(
            "localhost",
            "127.0.0.1",
            "::1",
            not_before=yesterday - datetime.timedelta(days=30),
            not_after=yesterday,
        )
        return self._write("expired", leaf)

    def unknown_issuer(self) -> Pair:
        """For the right host, by an authority that nobody trusts."""
        return self._write("unknown-issuer", trustme.CA().issue_cert("localhost", "127.0.0.1", "::1"))

    def client(self, identity: str = "someone@example.org") -> Pair:
        """A client's certificate, by the trusted authority."""
        return self._write("client", self._authority.issue_cert(identity))

    def _write(self, name: str, leaf: trustme.LeafCert) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        if not pair.pem.exists():
            for number, blob in enumerate(leaf.cert_chain_pems):
                blob.write_to_path(str(pair.pem), append=number > 0)
            leaf.private_key_pem.write_to_path(str(pair.key))
            pair.key.chmod(0o600)
        return pair
