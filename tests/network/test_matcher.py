"""The process that looks for an expression which may take for ever."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from ipyreconnect.lines.effort import TooSlow
from ipyreconnect.network.matcher import Matcher
from tests.watching import PATIENCE

ROOT = Path(__file__).parents[2]
FOR_EVER = re.compile("(a+)+$")
LINE = "a" * 40 + "b"

DIES = """
import os, re, signal, threading
from ipyreconnect.network.matcher import Matcher

matcher = Matcher(re.compile("(a+)+$"), 3600.0)
threading.Thread(target=matcher.first, args=(["a" * 40 + "b"],), daemon=True).start()
print(matcher.pid, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells so of another process")
def test_it_ends_when_the_kernel_was_killed() -> None:
    """Also in the middle of a line that takes for ever: nothing is left that computes for nobody."""
    with subprocess.Popen(
        [sys.executable, "-c", DIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as kernel:
        assert kernel.stdout is not None
        process = int(kernel.stdout.readline())
        descriptor = os.pidfd_open(process)
        kernel.communicate("\n")
    try:
        # A descriptor of a process is readable when it has ended (pidfd_open(2)).
        assert select.select([descriptor], [], [], PATIENCE)[0]
    finally:
        os.close(descriptor)


def test_it_is_ended_when_it_takes_too_long() -> None:
    matcher = Matcher(FOR_EVER, 0.2)
    with pytest.raises(TooSlow):
        matcher.first([LINE])
    matcher.close()
