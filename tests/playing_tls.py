"""Plays connections with TLS as values: a server of TLS in memory, and a connection in each state."""

from __future__ import annotations

import ssl
from typing import Any

from ipyreconnect.profile.base import TLSMode
from ipyreconnect.protocol.script import parse_script
from ipyreconnect.protocol.state import Phase
from ipyreconnect.settings import TLS
from tests.playing import Play
from tests.servers.certificates import Certificates, Pair


def tls_settings(certificates: Certificates, mode: TLSMode = TLSMode.IMPLICIT, **tls: Any) -> dict[str, Any]:
    return {
        "tls": mode,
        "context": TLS(**({"cafile": certificates.cafile} | tls)).context(),
        "server_name": "localhost",
    }


def in_every_state(certificates: Certificates) -> dict[str, Play]:
    """Return a play in each state and phase."""
    plays = {
        "stopped": Play(),
        "resolving": Play(),
        "dialing": Play(),
        "tls": Play(**tls_settings(certificates)),
        "starttls": Play(profile="imap", **tls_settings(certificates, TLSMode.STARTTLS)),
        "script": Play(script=parse_script("hello\n< there")),
        "function": Play(has_function=True),
        "connected": Play(),
        "full": Play(),
        "waiting": Play(),
        "stopping": Play(),
    }
    for name, play in plays.items():
        if name == "stopped":
            continue
        play.start()
        if name == "dialing":
            play.connection.progress(Phase.DIALING, 0.0)
        elif name == "waiting":
            play.refused()
        elif name != "resolving":
            play.dialed()
        if name in ("full", "stopping"):
            play.stuck = True
            play.send(b"x" * 4_000_000)
        if name == "stopping":
            play.stop(0.0)
    phases = {"tls": Phase.TLS, "starttls": Phase.STARTTLS, "script": Phase.SCRIPT, "function": Phase.SCRIPT}
    for name, phase in phases.items():
        assert plays[name].status.phase is phase
    return plays


class TLSServer:
    """The other side of TLS: OpenSSL as a server, fed with what the connection sends."""

    def __init__(self, pair: Pair, *, tls12: bool = False, context: ssl.SSLContext | None = None) -> None:
        self.context = context or pair.server_context(tls12=tls12)
        self.begin()

    def begin(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.finished = self.closed = False
        self.received = b""

    def turn(self, play: Play, now: float = 0.0) -> bool:
        """Take what was sent, and answer; return whether there was anything to say."""
        sent, play.wire = play.wire, b""
        self.incoming.write(sent)
        try:
            if not self.finished:
                self.object.do_handshake()
                self.finished = True
            while data := self.object.read(1 << 16):
                self.received += data
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        answer = self.outgoing.read()
        play.receive(answer, now)
        return bool(sent or answer)

    def say(self, play: Play, data: bytes, now: float = 0.0) -> None:
        self.object.write(data)
        play.receive(self.outgoing.read(), now)


def handshake(play: Play, pair: Pair, now: float = 0.0, **options: Any) -> TLSServer:
    """Connect with TLS from the first byte on; return the other side."""
    server = TLSServer(pair, **options)
    play.start(now)
    play.dialed(now)
    while server.turn(play, now):
        pass
    return server
