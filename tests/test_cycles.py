"""A thousand connections, one after the other, leave nothing behind; each in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.line_server import LineServer, echo

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[1]
GROWTH = 2 * 1024 * 1024
"""Bytes: 2 KiB a cycle would show, less than any client, socket or thread that stayed would take."""

CYCLES = """
import gc, os, resource, sys, threading
from ipyreconnect import Client

def held():
    gc.collect()
    with open("/proc/self/statm") as file:
        memory = int(file.read().split()[1]) * resource.getpagesize()
    return memory, len(os.listdir("/proc/self/fd")), threading.active_count()

def cycle():
    client = Client(sys.argv[1])
    client.connect()
    if sys.argv[2] == "up":
        assert client.send("noop", expect="noop").text == "noop"
    else:
        assert client.state == "waiting", client.state
    client.stop()

for _ in range(100):
    cycle()
memory, files, threads = held()
for _ in range(1000):
    cycle()
after = held()
print(after[0] - memory, after[1] - files, after[2] - threads)
"""


@pytest.mark.parametrize("server", ["up", "refused"])
def test_a_thousand_cycles_of_connect_and_stop_grow_nothing(server: str) -> None:
    """No thread, no descriptor and no memory is left of clients that are stopped, connected or refused."""
    with LineServer(echo) as up:
        address = up.address if server == "up" else "127.0.0.1:1"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CYCLES, address, server],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
    memory, files, threads = map(int, done.stdout.split())
    assert (files, threads) == (0, 0)
    assert memory < GROWTH
