r"""A scriptable line server for tests: it echoes, floods or talks rubbish; it speaks no real protocol.

In a test, on a thread of its own (asyncio inside, nothing to await outside)::

    with LineServer(echo) as server:
        client = Client(server.address)              # "127.0.0.1:40123"
        ...
        peer = server.peer(0)                        # waits for the first connection
        peer.wait_line(rb"NOOP")                     # waits until the server has read such a line
        peer.send(b"* hello\r\n")                      # from any thread
        peer.reset()                                 # RST; close(): FIN, drop(): FIN without close_notify

What the server does with a connection is its *behaviour*: a coroutine function that is given the `Peer`.
When it returns, the connection is closed. Ready-made: `echo`, `mute`, `never_read`, `slam`,
`slam_with_reset`; made to measure: `greet(b"* OK\r\n")`, `answering({rb"(\S+) NOOP": rb"\1 OK done"})`,
`flood(count=1000)`, `endless_line(200 << 20)`, `say(RUBBISH)`. Your own::

    async def login_only(peer):
        peer.send(b"* OK ready\r\n")
        tag, _ = (await peer.readline()).split(b" ", 1)
        peer.send(tag + b" OK in\r\n")
        await peer.until_closed()

More that a network can do: `server.refuse()` (nobody listens, live connections stay) and `server.listen()`
(the same port again), `server.pull_cable()` and `server.plug_cable()` (no packet is answered: keepalive
probes and SYNs vanish; needs no privilege), `tls=` an `ssl.SSLContext` for implicit TLS (certificates.py),
and `await peer.start_tls(context)` for STARTTLS.

In a process of its own, for floods and memory measurements, and so that a test can stop or kill it::

    with LineServerProcess("flood") as server:       # address, host, port as above; suspend(), resume(),
        client = Client(server.address)              # kill() and start() again on the same port

By hand: ``python tests/servers/line_server.py echo --port 4000``; it ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Self, TypeAlias, TypeVar

WAIT = 10.0
"""Seconds that a waiting method waits unless told otherwise; a test that meets this limit has failed."""

LINE_80 = b"0123456789" * 7 + b"01234567\r\n"
"""The flood's line: 80 bytes with its line end."""

RUBBISH = (
    b"a NUL \x00 inside\r\n"
    b"not UTF-8: \xff\xfe\xc3(\r\n"
    b"\x1b[2J\x1b[Hthe screen is cleared\x1b]0;a title\x07\r\n"
    b"<script>document.title = 'owned'</script><img src=x onerror=alert(1)>\r\n"
    b"a carriage return \r in the middle\r\n"
    b"\r\n"
    b"bare line feed\n"
    b"end of the rubbish\r\n"
)
"""One of each kind of harmful line; the last one is "end of the rubbish"."""

ACCEPT_TURNS = 5
"""Turns of asyncio's loop from an accepted connection to its `Peer`: it takes three."""

_T = TypeVar("_T")

_CHUNK = 1 << 18
# netinet/in.h and linux/in6.h; the socket module has no names for these. A packet whose TTL is below the
# minimum is dropped as if it had never come, and loopback sends with 64.
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73


def set_deaf(sock: socket.socket | TransportSocket, deaf: bool) -> None:
    """Make `sock` drop every packet that comes in (a pulled cable), or hear again. Linux, see ip(7)."""
    value = 255 if deaf else 0
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, value)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, value)


class Peer:
    """The server's end of one connection. Coroutines are for behaviours; the rest is for any thread."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._reader = reader
        self._writer = writer
        self._socket: TransportSocket = writer.get_extra_info("socket")
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._closed = threading.Event()
        self._gone = asyncio.Event()
        self._in_handshake = False

    # -- for behaviours --

    async def readline(self) -> bytes:
        """Read one line, line end included; empty at the end of the stream."""
        line = await self._reader.readline()
        self._note(line)
        return line

    async def read(self, limit: int = _CHUNK) -> bytes:
        """Read what has come, at most `limit` bytes; empty at the end. Does not show in `lines`."""
        return await self._reader.read(limit)

    async def drain(self) -> None:
        """Wait until what was sent has nearly left: the way to send without end in bounded memory."""
        await self._writer.drain()
        await asyncio.sleep(0)  # where the kernel takes all at once, that has given nobody else a turn

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on in TLS, as the server."""
        self._in_handshake = True
        await self._writer.start_tls(context)
        self._in_handshake = False

    async def until_closed(self) -> None:
        """Read lines, and do nothing about them, until the client has closed."""
        while await self.readline():
            pass

    async def stand_still(self) -> None:
        """Wait until the server ends, and read nothing: the peer's window fills up."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)  # typeshed promises only a WriteTransport
        transport.pause_reading()
        await self._gone.wait()

    # -- for anybody --

    @property
    def lines(self) -> list[bytes]:
        """The lines that were read from the client so far, without their line ends."""
        with self._changed:
            return list(self._lines)

    @property
    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol version and bits of the TLS cipher, or None without TLS."""
        found: tuple[str, str, int] | None = self._writer.get_extra_info("cipher")
        return found

    @property
    def client_address(self) -> Any:
        """The client's end as the server sees it: (host, port) or (host, port, flow, scope)."""
        return self._writer.get_extra_info("peername")

    def send(self, data: bytes) -> None:
        """Send bytes as they are: the line end is the caller's business."""
        self._call(self._writer.write, data)

    def close(self) -> None:
        """End the connection politely: TLS's close_notify, then FIN."""
        self._call(self._writer.close)

    def drop(self) -> None:
        """End the connection with a FIN and no close_notify: under TLS, a truncation."""
        self._call(self._writer.transport.abort)

    def reset(self) -> None:
        """End the connection with a RST."""
        self._call(self._reset)

    def set_deaf(self, deaf: bool) -> None:
        """Drop all that comes in on this connection from now on, or hear again."""
        self._call(self._set_deaf, deaf)

    def wait_line(self, pattern: bytes, timeout: float = WAIT) -> bytes:
        """Wait until a line matching `pattern` was read, earlier ones included; return the first."""
        wanted = re.compile(pattern)
        with self._changed:
            found = self._changed.wait_for(lambda: next(filter(wanted.search, self._lines), None), timeout)
            if found is None:
                raise TimeoutError(f"no line matching {pattern!r} in {timeout} s; last: {self._lines[-5:]!r}")
            return found

    def wait_closed(self, timeout: float = WAIT) -> None:
        """Wait until this connection has ended on the server's side, whoever ended it."""
        if not self._closed.wait(timeout):
            raise TimeoutError(f"the connection was still open after {timeout} s")

    # -- inside --

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if self._closed.is_set():
            return
        if threading.get_ident() == self._thread:
            function(*args)  # at once, so that a behaviour's drain() sees what it just sent
            return
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile, and the connection with it
            self._loop.call_soon_threadsafe(function, *args)

    def _note(self, line: bytes) -> None:
        if line:
            with self._changed:
                self._lines.append(line.rstrip(b"\r\n"))
                self._changed.notify_all()

    def _reset(self) -> None:
        if not self._writer.transport.is_closing():
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _set_deaf(self, deaf: bool) -> None:
        if not self._writer.transport.is_closing():
            set_deaf(self._socket, deaf)

    def _end(self) -> None:
        self._writer.transport.abort()
        self._gone.set()

    def _ended(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()


Behaviour: TypeAlias = Callable[[Peer], Coroutine[Any, Any, None]]


async def echo(peer: Peer) -> None:
    """Send every line back as it came."""
    while line := await peer.readline():
        peer.send(line)


async def mute(peer: Peer) -> None:
    """Read everything and never say a word."""
    await peer.until_closed()


async def never_read(peer: Peer) -> None:
    """Accept, read nothing, say nothing: alive, with a window that fills up."""
    await peer.stand_still()


async def slam(peer: Peer) -> None:
    """Accept, then close at once."""


async def slam_with_reset(peer: Peer) -> None:
    """Accept, then reset at once."""
    peer.reset()


def say(data: bytes) -> Behaviour:
    """Make a behaviour that sends `data` (`RUBBISH`, say) at once and then listens in silence."""

    async def behave(peer: Peer) -> None:
        peer.send(data)
        await peer.until_closed()

    return behave


def greet(greeting: bytes) -> Behaviour:
    """Make a behaviour that sends `greeting` and then echoes."""

    async def behave(peer: Peer) -> None:
        peer.send(greeting)
        await echo(peer)

    return behave


def answering(answers: Mapping[bytes, bytes], greeting: bytes = b"") -> Behaviour:
    r"""Make a behaviour that answers each line by the first pattern that matches it.

    `answers` maps a pattern (searched) to a template: ``\1`` is a group, a missing line end is added, and an
    empty template closes the connection. A line that nothing matches stays unanswered.
    """
    compiled = [(re.compile(pattern), template) for pattern, template in answers.items()]

    async def behave(peer: Peer) -> None:
        peer.send(greeting)
        while line := await peer.readline():
            for pattern, template in compiled:
                if match := pattern.search(line.rstrip(b"\r\n")):
                    if not template:
                        return
                    answer = match.expand(template)
                    peer.send(answer if answer.endswith(b"\n") else answer + b"\r\n")
                    break

    return behave


def flood(count: int | None = None, line: bytes = LINE_80) -> Behaviour:
    """Make a behaviour that sends `line` `count` times (None: for ever) as fast as it is read."""

    async def behave(peer: Peer) -> None:
        block_lines = max(1, _CHUNK // len(line))
        block = line * block_lines
        left = count
        while left is None or left > 0:
            if left is not None and left < block_lines:
                block = line * left
            peer.send(block)
            await peer.drain()
            if left is not None:
                left -= block_lines
        await peer.until_closed()

    return behave


def endless_line(size: int, fill: bytes = b"x") -> Behaviour:
    """Make a behaviour that sends one line of `size` bytes, then its CRLF, then the line ``after``."""

    async def behave(peer: Peer) -> None:
        block = fill * (_CHUNK // len(fill))
        left = size
        while left > 0:
            peer.send(block[:left])
            await peer.drain()
            left -= len(block)
        peer.send(b"\r\nafter\r\n")
        await peer.until_closed()

    return behave


class LineServer:
    """Serve `behaviour` on loopback from a thread of this process, from `start` to `stop` or in a `with`.

    `host` may be an IPv6 address, or a path (with a slash in it) for a Unix socket; `port` 0 takes a free
    one; `tls` is the server-side context of an implicit TLS. Every method may be called from any thread.
    """

    def __init__(
        self,
        behaviour: Behaviour = echo,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behaviour = behaviour
        self.host = host
        self.port = port
        self._tls = tls
        self._deaf = False
        self._server: asyncio.Server | None = None
        self._changed = threading.Condition()
        self._peers: list[Peer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- what a test does --

    @property
    def address(self) -> str:
        """What a client is given: "127.0.0.1:4000", "[::1]:4000" or "unix:///path"."""
        if "/" in self.host:
            return f"unix://{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def peers(self) -> list[Peer]:
        """All connections so far, closed ones included, in the order in which they came."""
        with self._changed:
            return list(self._peers)

    def peer(self, number: int = 0, timeout: float = WAIT) -> Peer:
        """Wait for the connection `number` (0 is the first) and return it."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._peers) > number, timeout):
                raise TimeoutError(f"only {len(self._peers)} connections came within {timeout} s")
            return self._peers[number]

    def refuse(self) -> None:
        """Stop listening: the port refuses. Live connections stay; `listen` opens the same port again."""
        self._run(self._refuse())

    def listen(self) -> None:
        """Listen again on the same port after `refuse`."""
        self._run(self._listen())

    def pull_cable(self) -> None:
        """Answer no packet any more: no ACK, no answer to a probe or a SYN. The client sees silence."""
        self._run(self._set_deaf(True))

    def plug_cable(self) -> None:
        """Undo `pull_cable`."""
        self._run(self._set_deaf(False))

    def start(self) -> Self:
        """Listen; return when a client can connect."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line server", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Cut all connections, stop listening and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._run(self._end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- inside, on the loop's thread --

    def _run(self, what: Awaitable[_T]) -> _T:
        assert self._loop is not None, "the server is not running"

        async def run() -> _T:
            return await what

        future: Future[_T] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return future.result(WAIT)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        options: dict[str, Any] = {"ssl": self._tls, "limit": 1 << 24}
        if "/" in self.host:
            self._server = await asyncio.start_unix_server(self._accepted, self.host, **options)
            return
        options["backlog"] = 1024
        self._server = await asyncio.start_server(self._accepted, self.host, self.port, **options)
        self.port = self._server.sockets[0].getsockname()[1]
        for listener in self._server.sockets:
            set_deaf(listener, self._deaf)

    async def _refuse(self) -> None:
        if self._server is not None:
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            # What was accepted just before becomes a peer first: a task, a transport, its callback. Once the
            # server is closed, asyncio cannot make a transport any more, and leaves the socket open.
            for _ in range(ACCEPT_TURNS):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None

    async def _set_deaf(self, deaf: bool) -> None:
        self._deaf = deaf
        for listener in self._server.sockets if self._server is not None else ():
            set_deaf(listener, deaf)
        for peer in self.peers:
            peer.set_deaf(deaf)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function that makes its own task: asyncio's would log each one that is cancelled at the end.
        peer = Peer(reader, writer)
        task = asyncio.create_task(self._serve(peer, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with self._changed:
            self._peers.append(peer)
            self._changed.notify_all()

    async def _serve(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # the client went away, which is its right
                await self.behaviour(peer)
        finally:
            writer.close()
            try:
                # After a failed start_tls nobody would tell that it is closed; asyncio has closed it then.
                if not peer._in_handshake:
                    with contextlib.suppress(OSError):  # it had been reset
                        await writer.wait_closed()
            finally:
                peer._ended()

    async def _end(self) -> None:
        await self._refuse()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:  # also TLS handshakes under way
            for peer in self.peers:
                peer._end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # one turn for the transports to close their sockets


class LineServerProcess:
    """Run this file's server in a process of its own, from `start` to `kill` (or in a `with`).

    `behaviour` is the command line's, see `BEHAVIOURS`: "echo", "mute", "flood 1000000", "endless 200", …;
    `cert` and `key` are PEM files and turn TLS on, `tls12` has it speak nothing newer. It ends with the
    test's process in any case: its standard input is our pipe.
    """

    def __init__(
        self,
        behaviour: str = "echo",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cert: Path | None = None,
        key: Path | None = None,
        tls12: bool = False,
    ) -> None:
        self.behaviour = behaviour
        self.host = host
        self.port = port
        self._cert = cert
        self._key = key
        self._tls12 = tls12
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What a client is given."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> Self:
        """Start, again on the same port after a `kill`; return when it listens."""
        command = [sys.executable, __file__, *self.behaviour.split()]
        command += ["--host", self.host, "--port", str(self.port)]
        if self._cert is not None:
            command += ["--cert", str(self._cert), "--key", str(self._key or self._cert)]
        if self._tls12:
            command += ["--tls12"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(read_announcement(self._process, "line server").split()[-1])
        return self

    def suspend(self) -> None:
        """Stop the process (SIGSTOP): its kernel goes on acknowledging, its program does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process with SIGKILL; its kernel closes what it had open."""
        end_process(self._process)
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()


# -- for all the servers that run as a process --


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port on which nobody listens, for servers that cannot choose one themselves."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def read_announcement(process: subprocess.Popen[bytes], name: str) -> str:
    """Wait for the first line of a child's output; RuntimeError when the child ended instead."""
    output: IO[bytes] | None = process.stdout
    assert output is not None
    line = output.readline().decode().strip()
    if not line:
        end_process(process)
        raise RuntimeError(f"the {name} did not start (exit status {process.returncode})")
    return line


def wait_until_accepting(
    host: str, port: int, process: subprocess.Popen[bytes], timeout: float = WAIT
) -> None:
    """Return when `host`:`port` accepts; RuntimeError when `process` ends, TimeoutError after `timeout` s."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=timeout).close()
            return
        except OSError as error:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}") from error
            if time.monotonic() > end:
                raise TimeoutError(f"nobody accepted on {host}:{port} within {timeout} s") from error
            # The end of a foreign process can be waited for; its listening cannot: the port is tried again.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)


def end_process(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a child by its pid, wait for its end and close its pipes; nothing when it has ended or is None."""
    if process is None:
        return
    process.kill()
    process.wait(WAIT)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


# -- the command line --

BEHAVIOURS: Mapping[str, Callable[..., Behaviour]] = {
    "echo": lambda: echo,
    "mute": lambda: mute,
    "never-read": lambda: never_read,
    "slam": lambda: slam,
    "slam-with-reset": lambda: slam_with_reset,
    "rubbish": lambda: say(RUBBISH),
    "flood": lambda count=None: flood(None if count is None else int(count)),
    "endless": lambda mebibytes: endless_line(int(mebibytes) << 20),
    "endless-nul": lambda mebibytes: endless_line(int(mebibytes) << 20, b"\x00"),
    "endless-high": lambda mebibytes: endless_line(int(mebibytes) << 20, b"\xff\xfe\xc3("),
}
"""What the command line can serve: the name, then its arguments."""


def main(arguments: list[str] | None = None) -> None:
    """Serve until standard input ends; the first line of output is "listening HOST PORT"."""
    parser = argparse.ArgumentParser(description="A line server for tests.")
    parser.add_argument("behaviour", choices=BEHAVIOURS)
    parser.add_argument("argument", nargs="*")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--tls12", action="store_true", help="speak nothing newer")
    options = parser.parse_args(arguments)
    context = None
    if options.cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        if options.tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
    behaviour = BEHAVIOURS[options.behaviour](*options.argument)
    with LineServer(behaviour, host=options.host, port=options.port, tls=context) as server:
        sys.stdout.write(f"listening {server.host} {server.port}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
