"""The servers that the site's pages talk to, on loopback; each real where a real one can be had."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import re
import struct
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Final, Self, TypeVar

import asyncssh

from tests.servers.dovecot import Dovecot
from tests.servers.line_server import WAIT, Behaviour, Peer

T = TypeVar("T")


class TokenDovecot(Dovecot):
    """A Dovecot that takes no password but signed tokens (OAUTHBEARER and XOAUTH2), and makes them itself."""

    _KEY: Final = b"only this test knows it"

    def token(self, user: str, seconds: float = 60.0) -> str:
        """Sign a token for a user (RFC 7519 with HS256), which is good for so many seconds."""
        now = int(time.time())
        head, claims = {"typ": "JWT", "alg": "HS256"}, {"sub": user, "iat": now, "exp": int(now + seconds)}
        signed = b".".join(_unpadded(json.dumps(part).encode()) for part in (head, claims))
        signature = hmac.digest(self._KEY, signed, hashlib.sha256)
        return (signed + b"." + _unpadded(signature)).decode()

    def _write(self) -> None:
        super()._write()
        key = self._folder / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_bytes(base64.b64encode(self._KEY))
        settings = self._folder / "oauth2.conf"
        settings.write_text(
            "introspection_mode = local\n"
            f"local_validation_key_dict = fs:posix:prefix={self._folder}/keys/\n"
            "username_attribute = sub\n"
        )
        with (self._folder / "dovecot.conf").open("a") as file:
            file.write(
                "auth_mechanisms = oauthbearer xoauth2\n"
                f"passdb {{\n  driver = oauth2\n  mechanisms = oauthbearer xoauth2\n  args = {settings}\n}}\n"
            )


def _unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def gps(every: float = 0.01) -> Behaviour:
    """Be a receiver that walks in a circle: each time a GGA sentence, with its height, and an RMC."""

    async def behave(peer: Peer) -> None:
        for number in itertools.count():
            for sentence in _sentences(number):
                checksum = 0
                for letter in sentence.encode():
                    checksum ^= letter
                peer.send(f"${sentence}*{checksum:02X}\r\n".encode())
            await peer.drain()
            await asyncio.sleep(every)

    return behave


def _sentences(number: int) -> Iterator[str]:
    seconds = 12 * 3600 + number
    clock = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.00"
    north, east = 28.0 + (number % 60) / 100, 10.0 + (number * 7 % 60) / 100
    yield f"GPGGA,{clock},52{north:07.4f},N,013{east:07.4f},E,1,08,0.9,{34 + number % 5}.0,M,45.0,M,,"
    yield f"GPRMC,{clock},A,52{north:07.4f},N,013{east:07.4f},E,{number % 9}.5,084.4,010126,,"


async def instrument(peer: Peer) -> None:
    """Be a multimeter that speaks SCPI: it names itself, measures, keeps errors, and sends a waveform."""
    errors: list[bytes] = []
    readings = itertools.cycle((b"+4.99871000E+00", b"+5.00012000E+00", b"+5.00034000E+00"))
    samples = struct.pack(">5h", -200, -100, 0, 100, 2570)  # the last one is two line feeds, too
    while line := await peer.readline():
        match re.sub(rb":VOLTAGE|:DC", b"", line.strip().upper()).split():
            case [b"*IDN?"]:
                peer.send(b"EXAMPLE INSTRUMENTS,DMM-1,0001,1.0\n")
            case [b"MEAS:VOLT?"] | [b"READ?"]:
                peer.send(next(readings) + b"\n")
            case [b"SYST:ERR?"]:
                peer.send((errors.pop(0) if errors else b'+0,"No error"') + b"\n")
            case [b"CURV?"]:
                peer.send(b"#2" + b"%02d" % len(samples) + samples + b"\n")
            case [b"CONF:VOLT", *_] | [b"*RST"] | [b"*CLS"]:
                pass
            case _:
                errors.append(b'-113,"Undefined header"')


class SshGateway:
    """An SSH server on loopback that lets anybody in, who may do nothing there but have ports forwarded."""

    port: int

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh gateway")
        self._thread.start()
        self._server = self._run(self._listen())
        self.port = self._server.get_port()
        return self

    async def _listen(self) -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.create_server(_Forwarding, "127.0.0.1", 0, server_host_keys=[key])

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(WAIT)

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        self._loop.close()


class _Forwarding(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True


def http_proxy(port: int) -> Behaviour:
    """Be an HTTP proxy that takes CONNECT, from behind which every host is `port` on loopback."""

    async def behave(peer: Peer) -> None:
        request = await peer.readline()
        while await peer.readline() not in (b"\r\n", b""):
            pass
        if not request.startswith(b"CONNECT "):
            peer.send(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def back() -> None:
            while data := await reader.read(65536):
                peer.send(data)

        coming = asyncio.create_task(back())
        try:
            while data := await peer.read():
                writer.write(data)
        finally:
            coming.cancel()
            writer.close()

    return behave
