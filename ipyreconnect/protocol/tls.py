"""Turn plain bytes into TLS and back, in memory, as the client of a connection; moves none of them itself."""

from __future__ import annotations

import re
import ssl
from copy import copy
from dataclasses import dataclass
from typing import Final

from ..errors import AttemptFailed, ConnectionLost, Ending, PeerError
from ..profile.base import Dialect, TLSMode

__all__ = ["TLSInfo", "TLSPipe", "instead_of_tls"]

NO_TLS: Final = "; try --no-tls (in Python tls=False)"
NO_TLS_OR_STARTTLS: Final = "; try --no-tls or --starttls (in Python tls=False or TLS(starttls=True))"

_WANTS_NEW_HANDSHAKE: Final = "asks for a new TLS handshake (a renegotiation), which is not supported"

# As much of what the peer said first is kept, to show it where that turns out not to be TLS.
_HEAD: Final = 64
_SHOWN: Final = 40

# Bytes of what is no TLS in the middle of it that are quoted, and that make a line that says something.
_WORDS: Final = 200
_LEAST_WORDS: Final = 4
_RECORD_HEADER: Final = 5
"""Bytes that OpenSSL has taken of a record when it finds that it is none."""
_LAST_TYPE: Final = 0x17
"""The highest type of a TLS record (RFC 8446, section 5.1); text begins with greater bytes."""

# A TLS record begins with its type (20 to 23) and the major version, 3 (RFC 8446, section 5.1).
_RECORD: Final = re.compile(rb"[\x14-\x17](?:\x03|\Z)|\Z")

_ALERT: Final = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(\w+)")

# What the codes of OpenSSL's x509_vfy.h mean to a user, and what to do. Others are told in OpenSSL's words.
_ISSUER: Final = (
    "its issuer is not trusted here (unknown issuer); "
    "if you trust it, give the issuer's certificate with --cafile"
)
_SELF_SIGNED: Final = (
    "it is self-signed, or signed by an authority that is not known here; "
    "if you trust it, give that certificate with --cafile"
)
_VERIFY: Final = {
    2: _ISSUER,
    9: "it is not valid yet; see whether this computer's clock is right",
    10: "it has expired; see whether this computer's clock is right, else the server's owner has to renew it",
    18: _SELF_SIGNED,
    19: _SELF_SIGNED,
    20: _ISSUER,
    21: _ISSUER,
    23: "its issuer has revoked it; do not trust it",
}
# What is looked at with VERIFY_X509_STRICT only (OpenSSL's check_extensions): faults of form, which Python
# minds since 3.13.
_STRICT: Final = frozenset({78, *range(80, 95)})
_TOO_STRICT: Final = (
    "that is a fault of form, which only a strict look minds; if you trust it, give the issuer's "
    "certificate with --cafile, or TLS(strict=False) in Python"
)
_HOSTNAME_MISMATCH: Final = 62
_ADDRESS_MISMATCH: Final = 64

# Alerts (RFC 8446, section 6.2) that tell the user what to do. Others are told by their names.
_ALERTS: Final = {
    "PROTOCOL_VERSION": "it wants another version of TLS than 1.2 or 1.3",
    "HANDSHAKE_FAILURE": "it accepts none of the safe ciphers, or it wants a client certificate (--cert)",
    "CERTIFICATE_REQUIRED": "it wants a client certificate; give one with --cert",
    "BAD_CERTIFICATE": "it wants a client certificate, or another one; give it with --cert",
    "CERTIFICATE_EXPIRED": "the client certificate (--cert) has expired",
    "CERTIFICATE_REVOKED": "the client certificate (--cert) is revoked",
    "CERTIFICATE_UNKNOWN": "it does not accept the client certificate (--cert)",
    "UNKNOWN_CA": "it does not know the issuer of the client certificate (--cert)",
    "ACCESS_DENIED": "it does not accept the client certificate (--cert)",
    "UNRECOGNIZED_NAME": "it does not know the name that it was called by; give another with --server-name",
}

# Alerts after the handshake with which a TLS 1.2 server ends it when it wanted a new one (a renegotiation)
# and was refused: no handshake is under way then but the one that it asked for (seen of OpenSSL).
_RENEGOTIATION: Final = frozenset({"HANDSHAKE_FAILURE", "NO_RENEGOTIATION"})


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What a handshake agreed upon.

    Args:
        version: such as "TLSv1.3"
        cipher: OpenSSL's name of the cipher suite
        not_after: when the peer's certificate expires, Unix epoch seconds; None if it was not verified
        verified: whether the certificate was verified and is for the name that was asked for
        subject: whose certificate it is: its common name, else its first name; "" if it was not verified
        resumed: whether an earlier session was taken up again, without sending the certificate anew

    """

    version: str
    cipher: str
    not_after: float | None
    verified: bool
    subject: str
    resumed: bool = False


class TLSPipe:
    """Encrypt and decrypt one connection, as the client.

    `feed` it what was received, call `handshake` until it is true, then `read_into`; after each call, also
    after one that raised, send what `take` gives. I/O thread only: OpenSSL wants one thread at a time.

    Args:
        context: verifies the peer, or does not
        server_name: a host name or IP address to ask for and to verify; None: neither
        session: to resume, of an earlier connection with the same context **and the same server name**:
            OpenSSL does not verify the certificate of a resumed session again
        where: what messages call the peer
        instead: what messages advise where the peer speaks no TLS, as `instead_of_tls` says it

    Raises:
        AttemptFailed: the name cannot be asked for

    """

    def __init__(
        self,
        context: ssl.SSLContext,
        server_name: str | None,
        session: ssl.SSLSession | None = None,
        *,
        where: str = "",
        instead: str = NO_TLS_OR_STARTTLS,
    ) -> None:
        self._instead = instead
        self.where = where or server_name or "the server"
        self.server_name = None if server_name is None else _plain_name(server_name)
        self._verified = context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        # A renegotiation (TLS 1.2) would make a write wait for a read; RFC 9325, 3.5, wants none.
        context.options |= ssl.OP_NO_RENEGOTIATION
        # Otherwise a bare FIN would look like a proper end.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            if context.check_hostname and self.server_name is None:
                raise ValueError("nothing to verify")  # wrap_bio itself would verify no name at all, silently
            self._object = context.wrap_bio(
                self._incoming, self._outgoing, server_side=False, server_hostname=self.server_name
            )
        except ValueError as error:  # also: it is no name (IDNA)
            raise AttemptFailed(
                f"TLS with {self.where} needs a host name to verify ({error}); give it with --server-name",
                final=True,
            ) from error
        if session is not None:
            try:
                self._object.session = session
            except ValueError:
                pass  # another context's: a full handshake does as well
        self._strict = bool(context.verify_flags & ssl.VERIFY_X509_STRICT)
        self._head = b""
        self._odd = b""
        self._finished = False
        self._closing = False
        self._eof = False
        self._error: PeerError | None = None
        self.closed_by_peer = False
        """Whether the peer has said that this was all (close_notify), as opposed to a connection cut off."""

    def feed(self, ciphertext: bytes | bytearray | memoryview) -> None:
        """Take what was received."""
        if not self._finished and len(self._head) < _HEAD:
            self._head += memoryview(ciphertext)[: _HEAD - len(self._head)]
        if ciphertext and ciphertext[0] > _LAST_TYPE:
            # It goes on with a record, most likely; or it is plain text, whose first bytes OpenSSL keeps.
            self._odd = bytes(ciphertext[:_WORDS])
        self._incoming.write(ciphertext)

    def feed_eof(self) -> None:
        """Take the news that nothing more will come: `handshake` and `read_into` tell what that means."""
        self._eof = True
        self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is done. Its first call makes the ClientHello.

        Raises:
            AttemptFailed: final for a certificate that does not verify; not final where the peer speaks no
                TLS, refuses, or closes

        """
        if self._finished:
            return True
        self._raise()
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._fail(self._failed_attempt(error)) from error
        self._finished = True
        self._head = b""
        return True

    def read_into(self, view: memoryview) -> int:
        """Decrypt into the view, as much as fits; return how many bytes that was, 0 for nothing now.

        What arrived before the end or an error is given first. After close_notify it is 0 for ever, and
        `closed_by_peer` is true.

        Raises:
            ConnectionLost: the connection was cut off, or what came is no valid TLS

        """
        if self._error is not None:
            self._raise()
        total, size = 0, len(view)
        read, incoming, pending = self._object.read, self._incoming, self._object.pending
        try:
            # Asking first spares an exception for each time that nothing is left.
            while total < size and (incoming.pending or pending() or self._eof):
                # One record (16 KiB at most) a call.
                got = read(size - total, view[total:])
                if not got:
                    self.closed_by_peer = True
                    break
                total += got  # type: ignore[operator]  # with a buffer it returns the count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed_by_peer = True
        except ssl.SSLError as error:
            if self._closing:
                self.closed_by_peer = True  # whatever it was: we have said goodbye already
            elif not self.closed_by_peer:
                self._error = self._loss(error)
                if not total:
                    raise copy(self._error) from error
        return total

    def write(self, plaintext: bytes | bytearray | memoryview) -> None:
        """Encrypt all of it.

        Raises:
            ConnectionLost: it cannot be, since the connection has failed, was cut off or closed

        """
        if self._error is not None:
            self._raise()
        try:
            while plaintext and (written := self._object.write(plaintext)) < len(plaintext):
                plaintext = memoryview(plaintext)[written:]
        except ssl.SSLError as error:
            raise self._fail(self._loss(error)) from error

    def take(self) -> bytes:
        """Return the ciphertext to be sent, b"" if there is none."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that this was all (close_notify), and wait for no answer. May be repeated."""
        if self._closing or not self._finished or self._error is not None:
            return
        self._closing = True
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # the peer's own close_notify is not here yet, or never comes

    def info(self) -> TLSInfo:
        """Return what the handshake agreed upon, once it is done."""
        cipher = self._object.cipher()
        certificate = self._object.getpeercert() or {}
        not_after = certificate.get("notAfter")
        return TLSInfo(
            version=self._object.version() or "",
            cipher=cipher[0] if cipher else "",
            not_after=ssl.cert_time_to_seconds(not_after) if isinstance(not_after, str) else None,
            verified=self._verified,
            subject=_subject(certificate),
            resumed=bool(self._object.session_reused),
        )

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later connection to the same name may resume; None while there is nothing to resume.

        With TLS 1.3 the server sends it after the handshake, so it is there after some reading: ask late.
        """
        session = self._object.session if self._finished else None
        if session is not None and (session.has_ticket or self._object.version() != "TLSv1.3"):
            return session
        return None

    # -- what went wrong, told once

    @property
    def failed(self) -> bool:
        """Whether there was an error after which nothing can go on; the next call raises it."""
        return self._error is not None

    def _raise(self) -> None:
        """Repeat the error after which nothing can go on."""
        if self._error is not None:
            raise copy(self._error)

    def _fail(self, error: PeerError) -> PeerError:
        """Keep the error; return one to raise, as what is raised keeps the frames that it came through, and
        with them this pipe.
        """
        self._error = error
        return copy(error)

    def _failed_attempt(self, error: ssl.SSLError) -> AttemptFailed:
        where = self.where
        if isinstance(error, ssl.SSLCertVerificationError):
            return AttemptFailed(
                f"certificate of {self.server_name or where} does not verify: {self._unverified(error)}",
                final=True,
            )
        if not _RECORD.match(self._head):
            said = self._head.decode("iso-8859-1").strip().partition("\n")[0].rstrip()[:_SHOWN]
            return AttemptFailed(f"{where} does not speak TLS (it says {said!a}){self._instead}")
        if self._eof:
            return AttemptFailed(f"closed by {where} during the TLS handshake; does it speak TLS?")
        return AttemptFailed(f"TLS handshake with {where} failed: {_explain(error)}")

    def _unverified(self, error: ssl.SSLCertVerificationError) -> str:
        code = error.verify_code
        if code in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
            what = "hostname" if code == _HOSTNAME_MISMATCH else "IP address"
            return (
                f"{what} mismatch, it is not for {self.server_name}; "
                "connect by the name that it is for, or give that with --server-name"
            )
        if self._strict and code in _STRICT:
            return f"{error.verify_message}; {_TOO_STRICT}"
        return _VERIFY.get(code) or error.verify_message

    def _loss(self, error: ssl.SSLError) -> ConnectionLost:
        where = self.where
        if self._closing:
            return ConnectionLost(f"TLS with {where} is closed: nothing can be sent any more")
        if isinstance(error, ssl.SSLEOFError):
            return ConnectionLost(
                f"closed by {where} without close_notify: the end may be cut off", ending=Ending.CUT
            )
        if isinstance(error, ssl.SSLWantReadError):
            return ConnectionLost(f"{where} {_WANTS_NEW_HANDSHAKE}", ending=Ending.CLOSED)
        alert = _ALERT.fullmatch(error.reason or "")
        if alert and alert[1] in _RENEGOTIATION and self._object.version() != "TLSv1.3":
            return ConnectionLost(
                f"{where} {_WANTS_NEW_HANDSHAKE}, and ended TLS for that", ending=Ending.CLOSED
            )
        if alert:
            return ConnectionLost(f"{where} ended TLS: {_explain(error)}", ending=Ending.CLOSED)
        if words := self._plain_words():
            return ConnectionLost(f"{where} sent plain text inside TLS: '{words}'", ending=Ending.CLOSED)
        return ConnectionLost(f"{where} sent what is no valid TLS: {_explain(error)}")

    def _plain_words(self) -> str:
        """Return the text that stands where a TLS record should begin, "" where that is none.

        OpenSSL has taken the first bytes for a record's header: they are put in front where they are known.
        """
        rest = self._incoming.read()
        known, self._odd = self._odd, b""
        if len(known) >= _RECORD_HEADER and known[_RECORD_HEADER:] == rest[: len(known) - _RECORD_HEADER]:
            said, cut = known, ""
        else:
            said, cut = rest[:_WORDS], "…"
        # A character at the very end may be cut; what else is no UTF-8 is no text.
        line = said.strip().partition(b"\n")[0].decode(errors="replace").rstrip("\r\N{REPLACEMENT CHARACTER}")
        words = line.replace("\t", " ")
        if len(words) < _LEAST_WORDS or "\N{REPLACEMENT CHARACTER}" in words or not words.isprintable():
            return ""
        return cut + words


def instead_of_tls(mode: TLSMode, dialect: Dialect | None) -> str:
    """Say what to try where a server answers in plain text: nothing after its own consent to STARTTLS, and
    STARTTLS only in a protocol that has it.
    """
    if mode is not TLSMode.IMPLICIT:
        return ""
    return NO_TLS if dialect is None else NO_TLS_OR_STARTTLS


def _explain(error: ssl.SSLError) -> str:
    """Say what OpenSSL complains about, without its file names and numbers."""
    reason = error.reason or ""
    alert = _ALERT.fullmatch(reason)
    if alert:
        return _ALERTS.get(alert[1]) or f"alert {alert[1].lower().replace('_', ' ')}"
    if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "WRONG_SSL_VERSION"):
        return _ALERTS["PROTOCOL_VERSION"]
    return reason.lower().replace("_", " ") or error.strerror or str(error)


def _plain_name(name: str) -> str:
    """Return the name as certificates have it: without a final dot, and an address without its zone."""
    address, zone, _ = name.partition("%")
    return address if zone and ":" in address else name.removesuffix(".")


def _subject(certificate: object) -> str:
    """Return the common name in what `getpeercert` gives, else its first alternative name."""
    if not isinstance(certificate, dict):
        return ""
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            if key == "commonName":
                return str(value)
    for _, value in certificate.get("subjectAltName", ()):
        return str(value)
    return ""
