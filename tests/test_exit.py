"""The interpreter ends at once, also where a name is being looked up that nobody ever answers for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.namespaces import unavailable

ROOT = Path(__file__).parent.parent

AT_ONCE = 2.0
"""Seconds from the last statement to the end of the process."""

HANGS = """
import socket, threading
socket.getaddrinfo = lambda *args, **kwargs: threading.Event().wait()
"""

# A name server that never reads what it is asked.
MUTE = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
"""

PLAIN = """
from ipyreconnect import Client
client = Client("imap.example.org:993", record=RECORD)
client.observe(lambda change: None, "state")
client.on_line(lambda line: None)
client.connect(wait=0.3)
assert (client.state, client.phase) == ("connecting", "resolving"), (client.state, client.phase)
print("leaving", flush=True)
"""

IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
for line in "%load_ext ipyreconnect", "%connect imap.example.org:993 --wait 0.3 --ticks", "%connect":
    assert shell.run_cell(line).success
print("leaving", flush=True)
"""


def seconds_to_leave(command: list[str], home: Path) -> float:
    """Run a program that says "leaving" at last, and nothing more; give how long it took from then on."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(home)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = []
        while "leaving" not in (line := process.stdout.readline()):
            said.append(line)
            assert line, "".join(said)
        begin = time.monotonic()
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
        return time.monotonic() - begin


@pytest.mark.parametrize("program", [PLAIN, IPYTHON], ids=["python", "ipython"])
def test_a_hung_look_up_holds_nobody_back(program: str, tmp_path: Path) -> None:
    """With a resolver that never returns, the end of a program, and of IPython, takes no two seconds."""
    program = f"RECORD = {str(tmp_path / 'record.jsonl')!r}\n{HANGS}{program}"
    assert seconds_to_leave([sys.executable, "-c", program], tmp_path) < AT_ONCE


@pytest.mark.faults
def test_the_systems_resolver_holds_nobody_back(tmp_path: Path) -> None:
    """The same with the real resolver, whose name server is there and mute."""
    if reason := unavailable():
        pytest.skip(reason)
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    shell = f'ip link set lo up && mount --bind {resolv_conf} /etc/resolv.conf && exec "$@"'
    program = f"RECORD = {str(tmp_path / 'record.jsonl')!r}\n{MUTE}{PLAIN}"
    command = ["unshare", "--net", "--mount", "sh", "-c", shell, "sh", sys.executable, "-c", program]
    assert seconds_to_leave(command, tmp_path) < AT_ONCE
