"""Record to a disk that is really full, and has room again later: a small one that only the test sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from ipyreconnect import Client, Transcript
from ipyreconnect.client import recorder
from tests.servers.line_server import LineServer, echo
from tests.watching import until

recorder.CALM = 0.0
folder = sys.argv[1]
record, ballast = f"{folder}/record.jsonl", f"{folder}/ballast"

def told(client):
    return [line.text for line in client.transcript if line.direction == "*" and "record" in line.text]

with LineServer(echo) as server, Client(server.address, record=record) as client:
    client.send("before", expect="^before")
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for number in range(200):
        client.send(f"{number} " + "x" * 500, expect=f"^{number} ")
    until(client, lambda: len(told(client)) == 1)
    with open(ballast, "wb"):
        pass
    until(client, lambda: len(told(client)) == 2)
    client.send("after", expect="^after")
first, second = told(client)
assert "cannot be written: No space left on device" in first, first
assert second.endswith("is up to date again; nothing is missing from it"), second
assert list(Transcript.load(record)) == list(client.transcript)
print("whole")
"""


def test_a_record_on_a_full_disk_is_whole_once_there_is_room(tmp_path: Path) -> None:
    """It is full in the middle of a row, as disks are; each line is there, once, and both ends are told."""
    mount = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that needs root")
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "whole\n", done.stderr
    assert not list(tmp_path.iterdir())  # it was mounted for the program alone
