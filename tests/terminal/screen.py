"""A program in a pseudo-terminal and what a person would see there; it types, and waits for what shows."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import pexpect
import pyte

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds until something that must show has shown; only a failing test waits so long."""
QUIET = 0.3
"""Seconds without output after which the screen is taken to be complete."""


class Screen:
    """A running program and its screen of 40 rows and 100 columns."""

    def __init__(self, *command: str) -> None:
        self._home = tempfile.mkdtemp(prefix="ipython-")
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "IPYTHONDIR": self._home,
        }
        self._screen = pyte.HistoryScreen(100, 40, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        self._child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env=environment,
            dimensions=(40, 100),
            timeout=PATIENCE,
            cwd=str(ROOT),
        )

    @property
    def text(self) -> str:
        """What the screen shows now."""
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip()

    @property
    def everything(self) -> str:
        """What was ever shown, with what scrolled away."""
        gone = (
            "".join(row[column].data for column in range(100)).rstrip() for row in self._screen.history.top
        )
        return "\n".join([*gone, self.text])

    @property
    def prompt(self) -> str:
        """What stands in the row of the cursor."""
        row: str = self._screen.display[self._screen.cursor.y]
        return row.rstrip()

    def type(self, text: str) -> None:
        """Press keys; a newline is Enter."""
        self._child.send(text.replace("\n", "\r"))

    def read(self, seconds: float) -> bool:
        """Show what the program writes, until it has written nothing for so long; say whether it runs."""
        while True:
            try:
                data = self._child.read_nonblocking(1 << 16, seconds)
            except pexpect.TIMEOUT:
                return True
            except pexpect.EOF:
                return False
            self._stream.feed(data)
            if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
                self._child.send(f"\x1b[{self._screen.cursor.y + 1};{self._screen.cursor.x + 1}R")

    def wait(self, pattern: str, *, everything: bool = False) -> re.Match[str]:
        """Wait until a regular expression is found on the screen (or in everything shown)."""
        deadline = time.monotonic() + PATIENCE
        while True:
            runs = self.read(0.05)
            if found := re.search(pattern, self.everything if everything else self.text, re.MULTILINE):
                return found
            if not runs or time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} does not show on the screen:\n{self.text}")

    def wait_prompt(self, number: int) -> None:
        """Wait for IPython's n-th prompt, with nothing typed yet."""
        self.wait(rf"^In \[{number}\]:$")
        self.read(QUIET)

    def wait_end(self) -> float:
        """Wait until the program has ended, and give the seconds that it took."""
        begin = time.monotonic()
        while self.read(0.05):
            if time.monotonic() > begin + PATIENCE:
                raise AssertionError(f"it does not end:\n{self.text}")
        self._child.wait()
        return time.monotonic() - begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.close(force=True)
        shutil.rmtree(self._home, ignore_errors=True)


def ipython(*arguments: str) -> Screen:
    """Start IPython with the extension at hand."""
    return Screen(
        sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor", *arguments
    )


def connected(screen: Screen, address: str, options: str = "") -> int:
    """Load the extension and connect; give the number of the prompt that stands now."""
    screen.wait_prompt(1)
    screen.type("%load_ext ipyreconnect\n")
    screen.wait_prompt(2)
    screen.type(f"%connect {address} {options}\n")
    screen.wait(r"^connected to \S+ in \d+\.\d\d s$")
    screen.wait(r"^In \[3\]:$")
    return 3
