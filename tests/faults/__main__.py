"""Play all the faults at the same time, each in its own network, and print how soon each was noticed.

python -m tests.faults                    all of them, in a minute and a half
python -m tests.faults "own link down"    one, or some
python -m tests.faults --json FILE        for the tests, which judge it
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from tests.faults.matrix import FAULTS, Outcome
from tests.faults.table import render
from tests.namespaces import unavailable


class Player:
    """One fault's process."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `finish`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.play", fault],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def finish(self) -> tuple[list[Outcome], str]:
        """Wait for the end; return what was measured, or what failed."""
        output, _ = self._process.communicate()
        self._errors.seek(0)
        with self._errors as errors:
            said = errors.read()
        if self._process.returncode:
            return [], said or f"ended with status {self._process.returncode}"
        return [Outcome(**each) for each in json.loads(output)], ""

    def strike(self) -> None:
        assert self._process.stdin is not None
        if self._process.poll() is None:
            self._process.stdin.write("strike\n")
            self._process.stdin.flush()


def main() -> int:
    """Play, print the table, and return 1 if something could not be played."""
    parser = argparse.ArgumentParser(description="How soon is a dead network noticed?")
    parser.add_argument("fault", nargs="*", help=f"one of: {'; '.join(FAULTS)}")
    parser.add_argument("--json", type=Path, help="write what was measured to this file")
    options = parser.parse_args()
    if unknown := set(options.fault) - set(FAULTS):
        parser.error(f"there is no fault {', '.join(map(repr, unknown))}; there are: {'; '.join(FAULTS)}")
    if (reason := unavailable()) is not None:
        parser.error(reason)
    players = [Player(fault) for fault in options.fault or FAULTS]
    for player in players:
        player.wait_until_ready()
    for player in players:
        player.strike()
    outcomes: list[Outcome] = []
    errors: dict[str, str] = {}
    for player in players:
        measured, error = player.finish()
        outcomes += measured
        if error:
            errors[player.fault] = error
            sys.stderr.write(f"{player.fault}:\n{error}\n")
    if outcomes:
        sys.stdout.write(render(outcomes) + "\n")
    if options.json is not None:
        found = {"outcomes": [vars(outcome) for outcome in outcomes], "errors": errors}
        options.json.write_text(json.dumps(found))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
