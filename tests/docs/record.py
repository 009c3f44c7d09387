"""Run the tour, and keep what it shows for the site's page of it: python -m tests.docs.record."""

from __future__ import annotations

import json
import re

from docs.tour import RECORDING
from tests.docs.pages import shown
from tests.notebooks.test_tour import read, run


def main() -> None:
    """Write the recording; it takes half a minute, and needs the tour's own port."""
    notebook = read()
    run(notebook)
    # The greeting may come before the first question, or just behind it.
    outputs = {
        cell.id: re.sub(r"< \* OK .* Server ready .*\n", "", shown(cell))
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    text = json.dumps(
        {cell: output for cell, output in outputs.items() if output}, indent=1, ensure_ascii=False
    )
    RECORDING.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
