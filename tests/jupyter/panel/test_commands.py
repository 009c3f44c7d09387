"""What a panel asks for runs in order on a thread of its own, also after there was none to be had."""

from __future__ import annotations

import threading

import pytest

from ipyreconnect.jupyter.panel.commands import Commands
from tests.watching import PATIENCE


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_one_failed_start_silences_no_later_command(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Who asked is told at once, and the next command runs."""
    commands, ran = Commands(), threading.Event()
    failures: list[BaseException] = []

    def start(thread: threading.Thread) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        commands.submit(ran.set, failures.append)
    assert failures == [error]
    assert not ran.is_set()
    commands.submit(ran.set, failures.append)
    assert ran.wait(PATIENCE)
    assert failures == [error]
