"""Play one fault in a process of its own: ``python -m tests.faults.play NAME``; judges nothing.

A process has one I/O thread and one watch over its network, so each fault has its own process, whose main
thread lives in a network namespace for good. It prints ``ready`` when everything is connected, waits for a
line of input, so that all faults strike at the same time and none while another one is busy with setting up,
and prints at last what was measured, as one line of JSON.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import sys

from tests.faults import matrix

LIMIT = 170.0
"""Seconds after which one that hangs says where, and ends."""


def ready() -> None:
    """Tell that everything stands, and wait for the others."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> None:
    """Play the fault that the command line names."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    outcomes = matrix.play(sys.argv[1], ready)
    sys.stdout.write(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
