"""Find out which kind of front end shows the cells: a terminal, a notebook or a console."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

__all__ = ["Front", "front_of", "is_console"]


class Front(Enum):
    """A kind of front end."""

    TERMINAL = "a terminal, or nothing but standard output"
    NOTEBOOK = "a kernel whose front end updates what it shows"
    CONSOLE = "a kernel whose front end shows text once and for all: jupyter console, qtconsole, Spyder"


def front_of(shell: Any) -> Front:
    """Return the kind of front end that shows the cells of this shell."""
    if getattr(shell, "kernel", None) is None:
        return Front.TERMINAL
    if type(shell).__module__.startswith("spyder_kernels."):  # Spyder's consoles are of qtconsole's kind
        return Front.CONSOLE
    try:
        # Comes with IPython, or with an older one's ipykernel; without types.
        psutil = importlib.import_module("psutil")
        parent = psutil.Process(os.getppid()).cmdline()
    except Exception:  # noqa: BLE001 - whatever prevents the look, most kernels serve notebooks
        return Front.NOTEBOOK
    return Front.CONSOLE if is_console(parent) else Front.NOTEBOOK


_CONSOLE = re.compile(r"(jupyter(\.exe)?[-_ ](qt)?console|qtconsole)(w?\.exe|-script\.pyw?|\.py)?")


def is_console(command: Sequence[str]) -> bool:
    """Return whether this command line is that of a front end that never updates what it has shown.

    A kernel is not told which front end it has, but these start it themselves.

    Args:
        command: the words; of them only the program counts, not what it works on.

    """
    program = [re.split(r"[\\/]", word)[-1] for word in command[:4]]
    if program and re.match(r"python|pypy", program[0], re.IGNORECASE):
        del program[0]
    if program[:1] == ["-m"]:
        del program[0]
    # The second word counts where one program serves for all: "jupyter console".
    return any(_CONSOLE.fullmatch(" ".join(program[:words])) for words in (1, 2))
