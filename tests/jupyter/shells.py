"""A real IPython for a test, with no history file and nothing left behind; no terminal, no kernel."""

from __future__ import annotations

import atexit
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.servers.line_server import answering

if TYPE_CHECKING:
    import pytest

IMAP = answering({rb"^(\S+) (\S+)": rb"\1 OK \2 done", rb"^$": rb"blank"}, b"* OK ready\r\n")
"""What a small IMAP server answers."""


@contextlib.contextmanager
def new_shell(**config: Any) -> Iterator[Any]:
    """Make an IPython shell; `config` holds what a profile would set, as `Class=dict(trait=value)`."""
    settings = Config({name: Config(value) for name, value in config.items()})
    settings.HistoryManager.hist_file = ":memory:"
    make: Any = InteractiveShell  # its __init__ is untyped
    main = sys.modules["__main__"]
    with tempfile.TemporaryDirectory() as directory:
        shell = make(config=settings, ipython_dir=directory)
        try:
            yield shell
        finally:
            # Else it lives until the interpreter's exit, where each IPython has all garbage collected: that
            # took longer than all the tests.
            atexit.unregister(shell.atexit_operations)
            shell.history_manager.end_session()
            shell.restore_sys_module_state()
            sys.modules["__main__"] = main


def run(shell: Any, cell: str) -> Any:
    """Run a cell as if it were typed, with its input transforms and history."""
    return shell.run_cell(cell, store_history=True)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return captured.out + captured.err


def refused(shell: Any, cell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a cell that must fail with one line, and give that line."""
    capsys.readouterr()
    result = run(shell, cell)
    assert not result.success
    text = said(capsys)
    (line,) = [line for line in text.splitlines() if line.startswith("UsageError: ")]
    return line.removeprefix("UsageError: ")
