"""The soak's server, in its own process: greets, answers, feeds, pings, and cuts connections when told to.

A client's lines: ``ask TOKEN`` gets ``ok TOKEN``; ``mail TOKEN N`` the same behind a literal of N bytes that
forges such answers; ``feed MS`` gets ``fed``, and from then on two lines each MS milliseconds; ``beat`` gets
``beaten``; ``pong N`` answers the server's own ``PING N``, which comes each second to whoever said ``ping
me``; ``bye`` gets a farewell and the end.
The parent's lines, on standard input: ``cut N`` ends N connections at random, half of them by a reset;
``quit``, or the input's end, ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import ssl
import struct
import sys

BACKLOG = 1024
"""Connections that may wait to be accepted: after a restart all clients come at once."""
PING_EVERY = 1.0
"""Seconds between two pings to one that asked for them."""
FORGED = b"ok forged\r\n"
"""What a literal is full of; nothing may be met by it."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: the socket's end is an RST."""

_writers: set[asyncio.StreamWriter] = set()


async def _feed(writer: asyncio.StreamWriter, every: float) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while not writer.is_closing():
            writer.write(b"feed %d\r\nfeed %d\r\n" % (number, number + 1))
            await writer.drain()
            number += 2
            await asyncio.sleep(every)


async def _ping(writer: asyncio.StreamWriter) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while not writer.is_closing():
            writer.write(b"PING %d\r\n" % number)
            await writer.drain()
            number += 1
            await asyncio.sleep(PING_EVERY)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    tasks = []
    _writers.add(writer)
    try:
        writer.write(b"* OK here\r\n")
        while line := await reader.readline():
            word, *values = line.split()
            if word == b"ask":
                writer.write(b"ok %b\r\n" % values[0])
            elif word == b"mail":
                size = int(values[1])
                mail = (FORGED * (size // len(FORGED) + 1))[:size]
                writer.write(b"* mail {%d}\r\n%b\r\nok %b\r\n" % (size, mail, values[0]))
            elif word == b"beat":
                writer.write(b"beaten\r\n")
            elif word == b"feed":
                writer.write(b"fed\r\n")
                tasks.append(asyncio.create_task(_feed(writer, int(values[0]) / 1000)))
            elif line == b"ping me\r\n":
                tasks.append(asyncio.create_task(_ping(writer)))
            elif word == b"bye":
                writer.write(b"* BYE until soon\r\n")
                return
    except (OSError, ValueError):  # reset, or cut in the middle of a line
        pass
    finally:
        _writers.discard(writer)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


def _cut(count: int) -> None:
    for number, writer in enumerate(random.sample(sorted(_writers, key=id), min(count, len(_writers)))):
        if number % 2:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        else:
            writer.close()


async def _obey(told: asyncio.StreamReader) -> None:
    while (command := (await told.readline()).split()) and command[0] != b"quit":
        if command[0] == b"cut":
            _cut(int(command[1]))


async def main(pem: str, ports: list[int]) -> None:
    """Listen on the ports, in the clear and with TLS; 0: on any. Print them, and obey until told to quit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    servers = [
        await asyncio.start_server(_serve, "127.0.0.1", port, ssl=tls, backlog=BACKLOG)
        for port, tls in zip(ports, (None, context), strict=True)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    await _obey(told)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(sys.argv[1], [int(port) for port in sys.argv[2:]]))
