"""The tour as a page: the notebook's cells, and the outputs that were recorded from a run of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
NOTEBOOK: Final = HERE.parent / "notebooks" / "tour.ipynb"
RECORDING: Final = HERE / "tour-outputs.json"
"""By a cell's id, what it showed as text; the tests compare it with a fresh run."""


def cells() -> list[Any]:
    """Read the notebook's cells, each with its `source` as one text."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]]


def page() -> list[str]:
    """Write the page: text, code, and what it showed. The panel is a picture."""
    outputs: Mapping[str, str] = json.loads(RECORDING.read_text(encoding="utf-8"))
    lines: list[str] = []
    for cell in cells():
        if cell["cell_type"] == "markdown":
            lines += [_linked(cell["source"]), ""]
            continue
        lines += ["```ipython", cell["source"], "```", ""]
        if shown := outputs.get(cell["id"], ""):
            lines += ["```output", shown, "```", ""]
    return "\n".join(lines).splitlines()


def _linked(text: str) -> str:
    """Name files of the sources, to which the site has no link, instead of linking to them."""
    return re.sub(r"\[([^]]+)\]\(([^):]+\.(?:py|ipynb))\)", r"`notebooks/\2`", text)
