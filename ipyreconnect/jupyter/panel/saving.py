"""Write a log's lines to a file where the kernel runs, which is where the notebook is."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from ...errors import SettingsError
from ...lines.files import save_lines
from ...lines.line import Line
from ..output.text import count_of_lines

__all__ = ["save_beside_notebook"]


def save_beside_notebook(lines: Iterable[Line], name: str, ending: str) -> str:
    """Write a new file, named after the connection and the time, and return what to say of it.

    Args:
        lines: what to write.
        name: the connection's.
        ending: "txt" or "jsonl", which is the format, too.

    Raises:
        SettingsError: it cannot be written there.

    """
    path = _free_path(name, ending)
    try:
        count = save_lines(lines, path, "x")
    except OSError as error:
        raise SettingsError(
            f"cannot write {path}: {error.strerror}; %cd FOLDER has it written elsewhere"
        ) from None
    return f"{count_of_lines(count)} saved to {path}"


def _free_path(name: str, ending: str) -> Path:
    """Return a path at which there is nothing yet."""
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "connection"
    moment = time.strftime("%Y%m%d-%H%M%S")
    path = Path(f"{stem}-{moment}.{ending}").absolute()
    for number in itertools.count(2):
        if not os.path.lexists(path):
            break
        path = path.with_name(f"{stem}-{moment}-{number}.{ending}")
    return path
