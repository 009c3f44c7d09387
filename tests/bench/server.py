"""The benchmarks' server, in its own process: echoes lines, floods, holds idle connections; no real protocol.

What a client sends comes back, except for a line that is a command: ``!flood N SIZE`` sends N numbered lines
of SIZE bytes, line end included, ``!pin CORE …`` ties the connection's thread to cores and answers
``pinned``, ``!bye`` closes. ``!feed N SIZE MS`` sends N such lines every MS milliseconds, to the end of the
connection.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.bench.measure import LINE_BYTES

BLOCK_LINES = 4096
"""After so many lines the flood's numbers start again at 0."""


def flood_line(number: int, size: int) -> bytes:
    """Return the `number`-th line of a flood of lines of `size` bytes, without its line end."""
    return b"%06d " % (number % BLOCK_LINES) + b"x" * (size - 9)


@functools.cache
def _block(size: int) -> bytes:
    """Return what a flood sends again and again."""
    return b"".join(flood_line(number, size) + b"\r\n" for number in range(BLOCK_LINES))


@dataclass(frozen=True)
class Server:
    """Where a running benchmark server listens, and the authority that its certificate is signed by."""

    port: int
    tls_port: int
    cafile: Path
    pid: int


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run the server, with a certificate for 127.0.0.1 that is kept in `folder`; kill it at the end."""
    authority = trustme.CA()
    cafile, pem = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(cafile))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    command = [sys.executable, "-m", "tests.bench.server", str(pem)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port, tls_port = map(int, process.stdout.readline().split())
            yield Server(port, tls_port, cafile, process.pid)
        finally:
            process.kill()


def _serve(sock: socket.socket, context: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        with sock:
            while data := sock.recv(1 << 16):
                if not data.startswith(b"!"):
                    sock.sendall(data)
                    continue
                while not data.endswith(b"\n"):
                    data += sock.recv(1 << 16)
                command, *values = data.decode().split()
                if command == "!bye":
                    return
                if command == "!pin":
                    os.sched_setaffinity(0, map(int, values))
                    sock.sendall(b"pinned\r\n")
                if command == "!flood":
                    count, size = map(int, values)
                    whole, rest = divmod(count, BLOCK_LINES)
                    for _ in range(whole):
                        sock.sendall(_block(size))
                    sock.sendall(_block(size)[: rest * size])
                if command == "!feed":
                    count, size, pause = map(int, values)
                    while True:
                        sock.sendall(_block(size)[: count * size])
                        time.sleep(pause / 1000)
    sock.close()


def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_serve, args=(sock, context), daemon=True).start()


def main() -> None:
    """Listen in the clear and with TLS 1.3, print the two ports, and end with standard input."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    threading.stack_size(256 << 10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(sys.argv[1])
    for size in LINE_BYTES.values():
        _block(size)  # made before anybody measures
    ports = []
    for tls in (None, context):
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        ports.append(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, tls), daemon=True).start()
    print(*ports, flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
