"""Play the faults beside the other tests of this folder, hand out what was measured, and print the table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import weather
from tests.faults.matrix import FAULTS, Outcome
from tests.faults.table import render
from tests.namespaces import unavailable
from tests.weather import WirelessPair

REPOSITORY = Path(__file__).parents[2]

_table = pytest.StashKey[str]()


@dataclass
class Stage:
    """The faults that this session asks for, played all at the same time by one process that waits for them.

    It is started before the first test of this folder, and its outcomes are asked for last.
    """

    faults: list[str]
    folder: Path
    session: pytest.Session
    _process: subprocess.Popen[bytes] | None = None
    _outcomes: list[Outcome] = field(default_factory=list)
    _errors: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        if self._process is None and self.faults:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults", "--json", self.folder / "outcomes.json", *self.faults],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def outcome(self, fault: str, security: str, doing: str) -> Outcome:
        """Wait until all has been played, and return what was measured."""
        if not self._outcomes and not self._errors:
            assert self._process is not None
            self._process.wait()
            found = json.loads((self.folder / "outcomes.json").read_text())
            self._outcomes = [Outcome(**each) for each in found["outcomes"]]
            self._errors = found["errors"]
            self.session.config.stash[_table] = render(self._outcomes)
        if fault in self._errors:
            pytest.fail(f"{fault} could not be played:\n{self._errors[fault]}", pytrace=False)
        wanted = (fault, security, doing)
        return next(each for each in self._outcomes if (each.fault, each.security, each.doing) == wanted)

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@pytest.fixture(scope="session", autouse=True)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Start to play the faults that the chosen tests ask for: they take long, and hardly any computing."""
    chosen = (getattr(item, "callspec", None) for item in request.session.items if _waits(item))
    faults = dict.fromkeys(str(call.params["fault"]) for call in chosen if call is not None)
    if weather.unavailable() is not None:
        faults = {fault: None for fault in faults if not FAULTS[fault].wireless}
    stage = Stage(list(faults), tmp_path_factory.mktemp("faults"), request.session)
    if unavailable() is None:
        stage.start()
    yield stage
    stage.end()


@pytest.fixture
def wireless() -> Iterator[WirelessPair]:
    """Two computers without a cable; the weather is fine."""
    if (reason := weather.unavailable()) is not None:
        pytest.skip(reason)
    with WirelessPair() as pair:
        yield pair


def _waits(item: pytest.Item) -> bool:
    return item.path == Path(__file__).with_name("test_detection.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those last that have to wait until the faults have been played."""
    items.sort(key=_waits)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of which the README has the worst cases."""
    if (table := config.stash.get(_table, None)) is not None:
        terminalreporter.section("how soon a dead network is noticed")
        terminalreporter.write_line(table)
