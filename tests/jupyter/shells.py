"""A real IPython for a test, with no history file and nothing left behind; no terminal, no kernel."""

from __future__ import annotations

import atexit
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


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
