"""Prove the TLS pipe against a real TLS server, the two joined in memory without a socket."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import socket
import ssl
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from ipyreconnect.errors import AttemptFailed, ConnectionLost, Ending
from ipyreconnect.profile.base import Dialect, TLSMode
from ipyreconnect.protocol.tls import TLSPipe, instead_of_tls
from ipyreconnect.settings import TLS
from tests.servers.certificates import Certificates, Pair
from tests.servers.line_server import WAIT, free_port, wait_until_accepting

VERSIONS = ["TLSv1.2", "TLSv1.3"]


class Server:
    """The other side: OpenSSL as a server, fed with and giving bytes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.finished = False
        self.received = b""

    def feed(self, data: bytes) -> None:
        """Take bytes, and do what can be done with them."""
        self.incoming.write(data)
        try:
            if not self.finished:
                self.object.do_handshake()
                self.finished = True
            while data := self.object.read(1 << 16):
                self.received += data
        except ssl.SSLWantReadError:
            pass

    def close(self) -> None:
        """Send close_notify."""
        with pytest.raises(ssl.SSLWantReadError):
            self.object.unwrap()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def exchange(pipe: TLSPipe, server: Server, size: int = 1 << 20) -> None:
    """Carry bytes both ways in pieces of that size until the handshake is done and none is left."""
    pipe.handshake()
    while True:
        forth = pipe.take()
        for piece in pieces(forth, size):
            server.feed(piece)
        back = server.outgoing.read()
        for piece in pieces(back, size):
            pipe.feed(piece)
            pipe.handshake()
        if not forth and not back:
            return


def read(pipe: TLSPipe, room: int = 1 << 20) -> bytes:
    """Read all that is there, in steps of the room."""
    view = memoryview(bytearray(room))
    data = b""
    while size := pipe.read_into(view):
        data += view[:size]
    return data


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.cafile)


@pytest.fixture
def server(certificates: Certificates, version: str) -> Server:
    return Server(certificates.good().server_context(tls12=version == "TLSv1.2"))


@pytest.fixture
def pipe(client: ssl.SSLContext) -> TLSPipe:
    return TLSPipe(client, "localhost", where="localhost:993")


@pytest.fixture
def joined(pipe: TLSPipe, server: Server) -> tuple[TLSPipe, Server]:
    exchange(pipe, server)
    return pipe, server


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 100, 4096, 1 << 20])
@pytest.mark.parametrize("name", ["localhost", "localhost.", "127.0.0.1", "::1", "::1%lo"])
def test_a_handshake_ends_well_however_it_is_split(
    client: ssl.SSLContext, server: Server, version: str, name: str, size: int
) -> None:
    """Names and addresses verify, and the network may split the handshake and the data at any byte."""
    pipe = TLSPipe(client, name)
    exchange(pipe, server, size)
    assert pipe.handshake()
    assert server.finished
    info = pipe.info()
    assert (info.version, info.verified, info.resumed) == (version, True, False)
    assert "AES" in info.cipher or "CHACHA" in info.cipher
    assert info.subject == "localhost"
    assert info.not_after is not None
    assert info.not_after > 1.7e9
    pipe.write(b"a001 NOOP\r\n")
    server.object.write(b"a001 OK\r\n")
    for piece in pieces(pipe.take(), size):
        server.feed(piece)
    assert server.received == b"a001 NOOP\r\n"
    answer = b""
    for piece in pieces(server.outgoing.read(), size):
        pipe.feed(piece)
        answer += read(pipe)
    assert answer == b"a001 OK\r\n"


def test_nothing_is_sent_before_verification(pipe: TLSPipe) -> None:
    """Before the peer has shown who it is, only the ClientHello leaves."""
    assert pipe.handshake() is False
    hello = pipe.take()
    assert hello[:2] == b"\x16\x03"
    assert pipe.handshake() is False
    assert pipe.take() == b""


@pytest.mark.parametrize("room", [1, 100, 16 << 10, 50_000, 1 << 20])
def test_reading_fills_the_room_with_many_records(joined: tuple[TLSPipe, Server], room: int) -> None:
    """One call reads as many records as fit, and what does not fit stays for the next one."""
    pipe, server = joined
    data = bytes(range(256)) * (20 if room == 1 else 4000)
    server.object.write(data)
    pipe.feed(server.outgoing.read())
    view = memoryview(bytearray(room))
    got = b""
    while size := pipe.read_into(view):
        assert size == min(room, len(data) - len(got))
        got += view[:size]
    assert got == data
    assert pipe.read_into(view) == 0
    assert pipe.read_into(memoryview(bytearray())) == 0


def test_big_data_goes_both_ways(joined: tuple[TLSPipe, Server]) -> None:
    """Megabytes pass unharmed, written in one call."""
    pipe, server = joined
    data = bytes(range(251)) * 40_000
    pipe.write(data)
    for piece in pieces(pipe.take(), 100_000):
        server.feed(piece)
    assert server.received == data
    server.object.write(data)
    pipe.feed(server.outgoing.read())
    assert read(pipe) == data


def test_the_end_of_each_line_is_known_in_the_stream(joined: tuple[TLSPipe, Server]) -> None:
    """With what `take` gives after a line was written, and not one byte less, the peer has that line."""
    pipe, server = joined
    have = b""
    for line in (b"a\r\n", b"b" * 40_000 + b"\r\n", b"", b"c\r\n"):
        have += line
        pipe.write(line)
        if piece := pipe.take():
            server.feed(piece[:-1])
            assert len(server.received) < len(have)
            server.feed(piece[-1:])
        assert server.received == have


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_proper_end_is_told_from_a_cut(joined: tuple[TLSPipe, Server], size: int) -> None:
    """After close_notify, and all that came before it, nothing is read for ever, also after the FIN."""
    pipe, server = joined
    server.object.write(b"* BYE\r\n")
    server.close()
    got = b""
    for piece in pieces(server.outgoing.read(), size):
        assert not pipe.closed_by_peer
        pipe.feed(piece)
        got += read(pipe)
    assert got == b"* BYE\r\n"
    assert pipe.closed_by_peer
    pipe.feed_eof()
    assert read(pipe) == b""


def test_a_cut_is_told_after_what_came_before_it(joined: tuple[TLSPipe, Server]) -> None:
    """A FIN without close_notify gives the data first and then says that the end may be missing."""
    pipe, server = joined
    server.object.write(b"* 1 EXISTS\r\n")
    server.object.write(b"half a record")
    pipe.feed(server.outgoing.read()[:-5])
    pipe.feed_eof()
    view = memoryview(bytearray(100))
    assert pipe.read_into(view) == len(b"* 1 EXISTS\r\n")
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="closed by localhost:993 without close_notify"):
            pipe.read_into(view)
    with pytest.raises(ConnectionLost):
        pipe.write(b"more")
    assert not pipe.closed_by_peer


def test_closing_waits_for_nobody(joined: tuple[TLSPipe, Server]) -> None:
    """close() makes a close_notify that the peer understands, once; afterwards nothing can be written."""
    pipe, server = joined
    server.object.write(b"still coming")
    pipe.feed(server.outgoing.read())
    pipe.close()
    goodbye = pipe.take()
    assert goodbye
    pipe.close()
    assert pipe.take() == b""
    server.feed(goodbye)
    assert server.object.read(10) == b""
    with pytest.raises(ConnectionLost, match="closed"):
        pipe.write(b"too late")


def test_the_peer_may_close_while_we_do(joined: tuple[TLSPipe, Server]) -> None:
    """Two goodbyes that cross on the way are a proper end."""
    pipe, server = joined
    server.close()
    pipe.close()
    pipe.feed(server.outgoing.read())
    assert read(pipe) == b""
    assert pipe.closed_by_peer


def test_closing_is_harmless_at_any_time(pipe: TLSPipe, server: Server) -> None:
    """close() may be called whatever has happened."""
    pipe.close()
    exchange(pipe, server)
    pipe.feed(b"rubbish")
    with pytest.raises(ConnectionLost):
        read(pipe)
    pipe.close()


def test_a_session_is_resumed(certificates: Certificates, client: ssl.SSLContext, version: str) -> None:
    """A later connection takes an earlier session up; with TLS 1.3 there is none before some reading."""
    context = certificates.good().server_context(tls12=version == "TLSv1.2")
    pipe, server = TLSPipe(client, "localhost"), Server(context)
    assert pipe.session is None
    exchange(pipe, server)
    assert (pipe.session is None) == (version == "TLSv1.3")
    assert read(pipe) == b""
    session = pipe.session
    assert session is not None
    again = TLSPipe(client, "localhost", session)
    exchange(again, Server(context))
    info = again.info()
    assert (info.resumed, info.verified, info.subject) == (True, True, "localhost")


def test_a_session_of_other_settings_is_left(
    certificates: Certificates, joined: tuple[TLSPipe, Server], version: str
) -> None:
    """A session that belongs to another context costs nothing but the full handshake."""
    pipe, _ = joined
    read(pipe)
    other = TLSPipe(ssl.create_default_context(cafile=certificates.cafile), "localhost", pipe.session)
    exchange(other, Server(certificates.good().server_context(tls12=version == "TLSv1.2")))
    assert not other.info().resumed


def failed(pipe: TLSPipe, server: Server) -> AttemptFailed:
    """Return how the handshake fails on the client's side."""
    with pytest.raises(AttemptFailed) as caught:
        exchange(pipe, server)
    with pytest.raises(AttemptFailed):
        pipe.handshake()
    assert pipe.take()[:1] == b"\x15"  # an alert tells the server why
    return caught.value


@pytest.mark.parametrize(
    ("pair", "name", "words"),
    [
        (Certificates.wrong_name, "localhost", ["of localhost", "hostname mismatch", "--server-name"]),
        (Certificates.wrong_name, "127.0.0.1", ["of 127.0.0.1", "IP address mismatch", "--server-name"]),
        (Certificates.expired, "localhost", ["of localhost", "expired", "clock"]),
        (Certificates.unknown_issuer, "localhost", ["of localhost", "unknown issuer", "--cafile"]),
    ],
)
def test_a_bad_certificate_is_refused_with_its_reason(
    certificates: Certificates,
    client: ssl.SSLContext,
    version: str,
    pair: Callable[[Certificates], Pair],
    name: str,
    words: list[str],
) -> None:
    """Which fault the certificate has, whose it is and what to do; another try cannot mend it."""
    pipe = TLSPipe(client, name, where=f"{name}:993")
    error = failed(pipe, Server(pair(certificates).server_context(tls12=version == "TLSv1.2")))
    assert error.final
    assert error.reason.startswith("certificate of ")
    assert all(word in error.reason for word in words), error.reason


def test_more_faults_have_their_texts(pipe: TLSPipe) -> None:
    """Faults that are hard to make are told in a user's words as well, and unknown ones in OpenSSL's."""
    for code, message, text in (
        (9, "certificate is not yet valid", "not valid yet"),
        (18, "self-signed certificate", "self-signed"),
        (66, "EE certificate key too weak", "EE certificate key too weak"),
    ):
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_code = code
        error.verify_message = message
        assert text in pipe._unverified(error)


def test_without_verification_it_says_so(certificates: Certificates, version: str) -> None:
    """An unverified certificate is accepted where the user wants that, and never passed off as verified."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pair = certificates.unknown_issuer()
    pipe = TLSPipe(context, "elsewhere.example")
    exchange(pipe, Server(pair.server_context(tls12=version == "TLSv1.2")))
    info = pipe.info()
    assert (info.verified, info.subject, info.not_after) == (False, "", None)


@pytest.mark.parametrize(
    ("rubbish", "shown"),
    [
        (b"* OK [CAPABILITY IMAP4rev2] ready\r\n", "'* OK [CAPABILITY IMAP4rev2] ready'"),
        (b"220 mail.example.org ESMTP\r\n220 more\r\n", "'220 mail.example.org ESMTP'"),
        (b"\r\n\x1b[31mred\r\n", r"'\x1b[31mred'"),
        (b"\x00" * 1000, "it says '"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, "'HTTP/1.1 400 Bad Request'"),
        (b"\x16\x01" + b"x" * 2000, "it says '"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_peer_that_speaks_no_tls_is_quoted(pipe: TLSPipe, rubbish: bytes, shown: str, size: int) -> None:
    """What a plain-text server says instead of TLS is shown, harmlessly, with what to try."""
    pipe.handshake()

    def answer() -> None:
        for piece in pieces(rubbish, size):
            pipe.feed(piece)
            assert not pipe.handshake()

    with pytest.raises(AttemptFailed) as caught:
        answer()
    assert not caught.value.final
    assert caught.value.reason.startswith("localhost:993 does not speak TLS (it says '")
    if size == 4096:  # else only the first pieces had come
        assert shown in caught.value.reason
    assert "--no-tls or --starttls" in caught.value.reason
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 300


@pytest.mark.parametrize("handshake", [True, False])
def test_a_pipe_that_failed_leaves_nothing_to_the_collector(
    client: ssl.SSLContext, server: Server, handshake: bool
) -> None:
    """What a failed connection holds is gone with it, also where its error is raised again and again."""
    pipe = TLSPipe(client, "localhost")
    if not handshake:
        exchange(pipe, server)
    pipe.handshake()
    pipe.feed(b"no TLS" * 1000)
    view = memoryview(bytearray(100))
    gc.disable()
    try:
        for _ in range(2):
            with contextlib.suppress(AttemptFailed, ConnectionLost):
                _ = pipe.handshake() and pipe.read_into(view)
                raise AssertionError("it did not fail")
            with contextlib.suppress(ConnectionLost, AttemptFailed):
                pipe.write(b"x")
                raise AssertionError("it did not fail")
        forgotten = weakref.ref(pipe)
        del pipe
        assert forgotten() is None
    finally:
        gc.enable()


def test_a_peer_that_closes_during_the_handshake_is_named(pipe: TLSPipe) -> None:
    """A FIN instead of an answer is a failed attempt that may be tried again."""
    pipe.handshake()
    pipe.feed_eof()
    for _ in range(2):
        with pytest.raises(AttemptFailed, match="closed by localhost:993 during the TLS handshake") as caught:
            pipe.handshake()
        assert not caught.value.final


def test_a_peer_without_a_common_version_is_told(certificates: Certificates, client: ssl.SSLContext) -> None:
    """A refused version is named as such."""
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    context = certificates.good().server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    pipe, server = TLSPipe(client, "localhost", where="localhost:993"), Server(context)
    pipe.handshake()
    with pytest.raises(ssl.SSLError):
        server.feed(pipe.take())
    pipe.feed(server.outgoing.read())
    with pytest.raises(
        AttemptFailed, match="localhost:993 failed: it wants another version of TLS"
    ) as caught:
        pipe.handshake()
    assert not caught.value.final


@pytest.mark.parametrize(
    ("alert", "text"), [(112, "--server-name"), (40, "--cert"), (80, "alert internal error")]
)
def test_an_alert_says_what_to_do(pipe: TLSPipe, alert: int, text: str) -> None:
    """A peer's alert becomes words, and where something can be done, what to do."""
    pipe.handshake()
    pipe.feed(b"\x15\x03\x03\x00\x02\x02%c" % alert)
    with pytest.raises(AttemptFailed, match=text) as caught:
        pipe.handshake()
    assert not caught.value.final


def test_a_missing_client_certificate_is_told(
    certificates: Certificates, client: ssl.SSLContext, version: str
) -> None:
    """Who is refused for want of a certificate learns it, with TLS 1.3 only after the handshake."""
    context = certificates.good().server_context(client_ca=certificates.cafile, tls12=version == "TLSv1.2")
    pipe, server = TLSPipe(client, "localhost", where="localhost:993"), Server(context)
    with pytest.raises(ssl.SSLError):
        exchange(pipe, server)
    pipe.feed(server.outgoing.read())

    def finish(pipe: TLSPipe) -> None:
        if pipe.handshake():
            read(pipe)

    expected = AttemptFailed if version == "TLSv1.2" else ConnectionLost
    with pytest.raises(expected, match="--cert"):
        finish(pipe)


def test_a_client_certificate_is_shown(
    certificates: Certificates, client: ssl.SSLContext, version: str
) -> None:
    """A certificate in the context reaches the server that asks for it."""
    pair = certificates.client()
    client.load_cert_chain(pair.pem, pair.key)
    context = certificates.good().server_context(client_ca=certificates.cafile, tls12=version == "TLSv1.2")
    pipe, server = TLSPipe(client, "localhost"), Server(context)
    exchange(pipe, server)
    assert server.object.getpeercert()


def test_damaged_bytes_end_the_connection(joined: tuple[TLSPipe, Server]) -> None:
    """A bit that flipped, or was injected, is noticed; what came before it is given first."""
    pipe, server = joined
    server.object.write(b"good\r\n")
    good = server.outgoing.read()
    server.object.write(b"damaged\r\n")
    bad = bytearray(server.outgoing.read())
    bad[-1] ^= 1
    pipe.feed(good + bad)
    view = memoryview(bytearray(100))
    assert bytes(view[: pipe.read_into(view)]) == b"good\r\n"
    with pytest.raises(ConnectionLost, match="localhost:993 sent what is no valid TLS"):
        pipe.read_into(view)
    assert pipe.take()[:1] in (b"\x15", b"\x17")  # the alert, in TLS 1.3 itself encrypted


def test_a_name_is_needed_to_verify(client: ssl.SSLContext) -> None:
    """Nothing to verify, or a name that TLS cannot ask for, fails before anything is sent."""
    for name in (None, "a" * 70 + ".example", ".example"):
        with pytest.raises(AttemptFailed, match="needs a host name") as caught:
            TLSPipe(client, name, where="/run/socket")
        assert caught.value.final


def test_a_bare_fin_is_noticed_whatever_the_context_says(
    certificates: Certificates, client: ssl.SSLContext, server: Server
) -> None:
    """A context that hides unexpected ends does not hide them here."""
    client.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    pipe = TLSPipe(client, "localhost")
    exchange(pipe, server)
    pipe.feed_eof()
    with pytest.raises(ConnectionLost):
        read(pipe)


# -- what is odd in the middle of TLS

EXIM = b"421 mx.test: Service not available - closing connection\r\n"


@pytest.mark.parametrize(
    ("size", "alone"), [(5, True), (6, True), (7, True), (20, True), (1 << 20, True), (1 << 20, False)]
)
def test_plain_words_inside_tls_are_quoted(joined: tuple[TLSPipe, Server], size: int, alone: bool) -> None:
    """Exim, when it is stopped, says so in plain text in the middle of TLS: that is the reason."""
    pipe, server = joined
    server.object.write(b"250 OK\r\n")
    sealed = server.outgoing.read()
    if alone:
        pipe.feed(sealed)
        assert read(pipe) == b"250 OK\r\n"
        sealed = b""
    got = b""
    view = memoryview(bytearray(100))

    def play() -> None:
        nonlocal got
        for piece in pieces(sealed + EXIM, size):
            pipe.feed(piece)
            while count := pipe.read_into(view):
                got += view[:count]

    with pytest.raises(ConnectionLost) as caught:
        play()
    assert caught.value.ending is Ending.CLOSED
    assert str(caught.value).startswith("localhost:993 sent plain text inside TLS: '")
    assert got == (b"" if alone else b"250 OK\r\n")
    if alone and size == 1 << 20:
        assert str(caught.value).endswith(f"'{EXIM.decode().strip()}'")
    elif size == 1 << 20:
        # What OpenSSL took for a header is not to be had back.
        assert str(caught.value).endswith("'…x.test: Service not available - closing connection'")


def test_long_words_are_cut_between_characters(joined: tuple[TLSPipe, Server]) -> None:
    """A line of any length and language becomes a short one."""
    pipe, _ = joined
    pipe.feed("421 é".encode() * 500)
    with pytest.raises(ConnectionLost, match="sent plain text inside TLS: '421 é421 é") as caught:
        read(pipe)
    assert len(str(caught.value)) < 300
    assert "\N{REPLACEMENT CHARACTER}" not in str(caught.value)


@pytest.mark.parametrize(
    "rubbish", [b"\x80" * 40, b"no\n", b"\xff\xfetext that is none", b"\x00" * 40, b"HTTP\x00\x01\x02\x03"]
)
def test_what_is_no_text_is_not_quoted(joined: tuple[TLSPipe, Server], rubbish: bytes) -> None:
    """Damaged bytes are said to be such, and do nothing to a terminal."""
    pipe, _ = joined
    pipe.feed(rubbish)
    if len(rubbish) < 5:
        pipe.feed(rubbish * 2)
    with pytest.raises(ConnectionLost) as caught:
        read(pipe)
    assert str(caught.value).isprintable()
    assert "what is no valid TLS" in str(caught.value) or len(rubbish) < 5


@pytest.mark.parametrize(
    ("mode", "dialect", "advice"),
    [
        (TLSMode.IMPLICIT, None, "; try --no-tls (in Python tls=False)"),
        (
            TLSMode.IMPLICIT,
            "imap",
            "; try --no-tls or --starttls (in Python tls=False or TLS(starttls=True))",
        ),
        (TLSMode.STARTTLS, "imap", ""),
    ],
)
def test_only_what_can_be_had_is_advised(
    client: ssl.SSLContext, mode: TLSMode, dialect: Dialect | None, advice: str
) -> None:
    """STARTTLS is advised where the protocol has it, and no way into plain text once it was agreed upon."""
    assert instead_of_tls(mode, dialect) == advice
    pipe = TLSPipe(client, "localhost", where="localhost:993", instead=instead_of_tls(mode, dialect))
    pipe.handshake()
    pipe.feed(b"220 hi\r\n")
    with pytest.raises(AttemptFailed) as caught:
        pipe.handshake()
    assert caught.value.reason == f"localhost:993 does not speak TLS (it says '220 hi'){advice}"


def test_a_refused_new_handshake_is_called_that(certificates: Certificates, client: ssl.SSLContext) -> None:
    """A TLS 1.2 server that wants another handshake ends TLS when it gets none; no cipher is at fault."""
    pair = certificates.good()
    port = free_port()
    command = ["openssl", "s_server", "-no_tls1_3", "-accept", f"127.0.0.1:{port}"]
    command += ["-cert", str(pair.pem), "-key", str(pair.key)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until_accepting("127.0.0.1", port, process)
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
                pipe = TLSPipe(client, "localhost", where="localhost:993")

                def play() -> None:
                    while not pipe.handshake():
                        sock.sendall(pipe.take())
                        pipe.feed(sock.recv(1 << 16))
                    sock.sendall(pipe.take())
                    assert process.stdin is not None
                    process.stdin.write(b"R\n")
                    process.stdin.flush()
                    while data := sock.recv(1 << 16):
                        pipe.feed(data)
                        read(pipe)
                        sock.sendall(pipe.take())

                with pytest.raises(ConnectionLost) as caught:
                    play()
        finally:
            process.kill()
    assert str(caught.value) == (
        "localhost:993 asks for a new TLS handshake (a renegotiation), which is not supported, "
        "and ended TLS for that"
    )
    assert caught.value.ending is Ending.CLOSED


def test_how_it_ended_is_kept_in_a_copy() -> None:
    """An error that is raised in several threads, or sent to another process, says the same there."""
    lost = ConnectionLost("reason", ending=Ending.RESET)
    for twin in copy.copy(lost), pickle.loads(pickle.dumps(lost)):
        assert (str(twin), twin.ending) == ("reason", Ending.RESET)


# -- how strictly is looked


@pytest.mark.parametrize(("strict", "verifies"), [(None, True), (False, True), (True, False)])
def test_an_authority_of_ones_own_need_not_keep_to_every_rule(
    tmp_path: Path, strict: bool | None, verifies: bool
) -> None:
    """The authority that `openssl req -x509` makes by default is trusted by whoever gives it, on each Python;
    who wants it strictly is told what to do instead.
    """
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    for command in (
        f"req -x509 {new} -days 2 -subj /CN=home -out ca.pem -keyout ca.key",
        f"req {new} -subj /CN=localhost -out leaf.csr -keyout leaf.key",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out leaf.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    pair = Pair(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    context = TLS(cafile=tmp_path / "ca.pem", strict=strict).context()
    pipe, server = TLSPipe(context, "localhost", where="localhost:993"), Server(pair.server_context())
    if verifies:
        exchange(pipe, server)
        assert pipe.info().verified
        return
    reason = failed(pipe, server).reason
    assert "a fault of form, which only a strict look minds" in reason
    assert "--cafile, or TLS(strict=False) in Python" in reason
