"""Prove that a forked child begins anew in the written order, whatever fails."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from functools import partial

import pytest

import ipyreconnect
from ipyreconnect import forking
from ipyreconnect.forking import Stage, in_child

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"  # of Python 3.12, about forking with threads
)


@pytest.fixture(autouse=True)
def no_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what the modules have registered."""
    monkeypatch.setattr(forking, "_actions", {})


def in_a_child(check: Callable[[], bool]) -> bool:
    """Return what `check` says in a forked child."""
    child = os.fork()
    if not child:
        result = 1
        try:
            result = 0 if check() else 1
        finally:
            os._exit(result)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_the_stages_are_run_in_their_order() -> None:
    """However the modules were imported."""
    run: list[Stage] = []
    for stage in reversed(Stage):
        in_child(stage, partial(run.append, stage))
    assert in_a_child(lambda: run == list(Stage))
    assert run == []


def test_what_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A fault at one stage is told, and leaves the others to begin anew."""
    run: list[Stage] = []

    def fail() -> None:
        raise RuntimeError("oops")

    in_child(Stage.MAIN_THREAD, fail)
    in_child(Stage.LOOP, partial(run.append, Stage.LOOP))
    assert in_a_child(lambda: run == [Stage.LOOP] and "MAIN_THREAD" in caplog.text)


def test_each_stage_is_somebodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage is left of a module that has gone."""
    monkeypatch.undo()
    for module in pkgutil.walk_packages(ipyreconnect.__path__, "ipyreconnect."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert set(forking._actions) == set(Stage)
