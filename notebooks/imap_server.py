"""A real IMAP server (pymap) for the tour, in its own process, with a cable that can be pulled; Linux only.

    server = ImapServer(port=1993, cafile="tour-ca.pem").start()
    server.pull_cable()                # not one packet gets through any more, in either direction
    server.plug_cable()
    server.deliver("Hello")            # a new message for demouser, password demopass
    server.keep_password("tour.netrc") # that password, where only its owner reads it
    server.stop()

The process is this very file; it ends when it is told to, and also when the notebook's kernel does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import imaplib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import trustme

if TYPE_CHECKING:
    from ipyreconnect import Client

USER, PASSWORD = "demouser", "demopass"
"""The account that pymap's demonstration data comes with."""

# ip(7) and linux/in.h: a socket with a minimum TTL of 255 silently drops whatever comes in with less, and
# packets on loopback come with 64. So the socket is deaf, as if its cable were out: it acknowledges nothing.
IP_MINTTL = 21


def cut(port: int, out: bool) -> None:
    """Pull (or plug) the cable of every socket in this process that has `port` at either end."""
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            if not os.readlink(entry).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as sock:
                ends = [sock.getsockname()]
                with contextlib.suppress(OSError):  # a listener has no other end
                    ends.append(sock.getpeername())
                if sock.family == socket.AF_INET and port in (end[1] for end in ends):
                    sock.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 255 if out else 0)


class ImapServer:
    """The server's process, as the notebook sees it; `port` 0 takes a free one, `start` writes `cafile`."""

    _running: ClassVar[dict[int, ImapServer]] = {}

    def __init__(self, port: int, cafile: str | Path) -> None:
        self.port, self.cafile = port, Path(cafile)
        self._netrc: Path | None = None

    def start(self) -> Self:
        """Start the server with a fresh certificate for localhost; return once it listens."""
        if self.port in self._running:  # the cell was run again
            self._running[self.port].stop()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.cafile))
        with authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.tempfile() as pem:
            command = [sys.executable, __file__, pem, str(self.port)]
            # A session of its own: interrupting the kernel is no reason for the server to end.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            try:
                answer = self._answer()
                if not answer.strip().isdigit():
                    raise RuntimeError(
                        f"cannot listen on port {self.port}: {answer.strip()}; "
                        "choose another one, here and in the cells with %connect"
                    )
                self.port = int(answer)
            except BaseException:
                self.stop()
                raise
        self._running[self.port] = self
        return self

    @property
    def address(self) -> str:
        """What to give to %connect."""
        return f"imaps://localhost:{self.port}"

    def pull_cable(self) -> None:
        """Cut both ends at once: from now on this machine and "the server" do not hear each other."""
        self._tell("pull")
        cut(self.port, True)

    def plug_cable(self) -> None:
        """Let both ends hear each other again."""
        cut(self.port, False)
        self._tell("plug")

    def deliver(self, subject: str) -> None:
        """Put a new message into the demonstration account's inbox, as another client would."""
        trust = ssl.create_default_context(cafile=self.cafile)
        with imaplib.IMAP4_SSL("localhost", self.port, ssl_context=trust) as mail:
            mail.login(USER, PASSWORD)
            mail.append("INBOX", "", "", f"Subject: {subject}\r\n\r\n{subject}!\r\n".encode())

    def keep_password(self, netrc: str | Path) -> None:
        """Write the account into a netrc file until `stop`, as you have once done for an account of yours."""
        with open(
            os.open(netrc, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(f"machine localhost login {USER} password {PASSWORD}\n")
        self._netrc = Path(netrc)

    def stop(self) -> None:
        """End the process and remove its certificate, and the netrc file."""
        self._process.kill()
        self._process.communicate()
        self.cafile.unlink(missing_ok=True)
        if self._netrc is not None:
            self._netrc.unlink(missing_ok=True)
        self._running.pop(self.port, None)

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the IMAP server has ended; what it said is above (or in the log of Jupyter)")
        return line


def wait_until(client: Client, state: str) -> None:
    """Wait until the connection is in `state`, and say how long that took."""
    start, reached = time.monotonic(), threading.Event()

    def look(change: object = None) -> None:
        if client.state == state:
            reached.set()

    client.observe(look, "state")
    look()  # it may have been in that state all the time
    there = reached.wait(60)
    client.unobserve(look, "state")
    if not there:
        raise TimeoutError(f"still {client.state} after a minute: {client.reason}")
    print(f"{state} after {time.monotonic() - start:.1f} s")


async def serve(pem: str, port: int) -> None:
    """Be the server: pymap over TLS, told by standard input when its cable is out."""
    from pymap.backend.dict import DictBackend
    from pymap.imap import IMAPServer, IMAPService
    from proxyprotocol.noop import ProxyProtocolNoop
    from proxyprotocol.reader import ProxyProtocolReader

    parser = argparse.ArgumentParser()
    IMAPService.add_arguments(parser)
    DictBackend.add_subparser("dict", parser.add_subparsers())
    options = parser.parse_args(
        ["--no-tls", "dict", "--demo-data"], argparse.Namespace(debug=False, passlib_cfg=None)
    )
    backend, config = await DictBackend.init(options)
    config.apply_context()

    # pymap's own command line knows STARTTLS only; here TLS comes first, hence --no-tls above.
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    imap = IMAPServer(backend.login, config)
    connected: Any = ProxyProtocolReader(ProxyProtocolNoop()).get_callback(imap)
    try:
        server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls)
    except OSError as error:
        print(os.strerror(error.errno or 0), flush=True)
        return
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)

    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        cut(port, word == "pull")
        print(word, flush=True)
    os._exit(0)  # the kernel is gone, and nobody waits for a goodbye


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
