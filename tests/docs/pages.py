"""Read a page's blocks of code, and run them as a notebook in a real kernel; knows no page by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nbclient
import nbformat
from markdown_it import MarkdownIt

from ipyreconnect.address import parse_address

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

LANGUAGES: Final = frozenset(("python", "ipython", "output", "console", "text"))
"""What a block may be: code that is run, what it shows, commands of a shell, and drawings or files."""

PATIENCE: Final = 60
"""Seconds that one cell may take."""

PANEL: Final = re.compile("<Panel of ")
"""What a panel is where there is only text."""

FAILED: Final = re.compile("^UsageError", re.MULTILINE)
"""What a magic's user sees of a mistake: text without a traceback, on the standard error."""

LATER: Final = re.compile(r"^\* stopped$\n?", re.MULTILINE)
"""What an answer under a cell says once the page's end has stopped the connection."""


@dataclass
class Block:
    """A block of a page: its language, its text, and the line on which it begins."""

    language: str
    text: str
    line: int


@dataclass
class Cell:
    """A block of code, and what the page says that it shows; None: nothing is said."""

    source: str
    line: int
    shows: str | None = None


def blocks(markdown: str) -> Iterator[Block]:
    """Find the blocks of a page, but for directives, which have their own tests."""
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type in ("fence", "code_block"):
            language = token.info.strip()
            if not language.startswith("{"):
                yield Block(language, token.content.rstrip("\n"), (token.map or [0])[0] + 1)


def cells(markdown: str) -> list[Cell]:
    """Make cells of a page's Python and IPython, each with the output that follows it."""
    found: list[Cell] = []
    for block in blocks(markdown):
        if block.language in ("python", "ipython"):
            found.append(Cell(block.text, block.line))
        elif block.language == "output":
            found[-1].shows = block.text
    return found


def commands(markdown: str) -> list[str]:
    """Find the commands of a page that are for a shell, without their prompt."""
    lines = [
        line for block in blocks(markdown) if block.language == "console" for line in block.text.splitlines()
    ]
    assert all(line.startswith("$ ") for line in lines), lines
    return [line.removeprefix("$ ") for line in lines]


def replaced(text: str, places: Mapping[str, str]) -> str:
    """Put each value in the place of its key."""
    for public, here in places.items():
        text = text.replace(public, here)
    return text


def moved(text: str, addresses: Mapping[str, str]) -> str:
    """Put the test's servers in the place of the page's: URLs, then what messages call them, then names."""
    text = replaced(text, addresses)
    for public, here in addresses.items():
        there = parse_address(public)
        text = text.replace(there.display, parse_address(here).display)
        if not there.host[:1].isdigit():
            text = text.replace(there.host, parse_address(here).host)
    return text


def shown(cell: Any) -> str:
    """Give all that a cell shows as text: prints, results, an error as its one line."""
    found = []
    for output in cell.outputs:
        match output.output_type:
            case "stream":
                found.append(output.text)
            case "error":
                found.append(f"{output.ename}: {output.evalue}")
            case _ if not PANEL.match(plain := output.data.get("text/plain", "")):
                found.append(plain)
    return LATER.sub("", "\n".join(text.rstrip("\n") for text in found if text.strip()))


def fits(expected: str, found: str) -> bool:
    """Compare what a page says with what came. … stands for anything in a line, as it is another time or
    port in each run; a line with nothing else stands for any lines.
    """
    pattern = ""
    for line in expected.strip().splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("…"))) + r"\n"
    return re.fullmatch(pattern, found.strip() + "\n") is not None


def run(
    markdown: str, addresses: Mapping[str, str], folder: Path, environment: Mapping[str, str] = {}
) -> None:
    """Run all cells of a page in a new kernel, and hold each to what the page says that it shows.

    Args:
        markdown: the page.
        addresses: the URLs that the page calls its servers by, each of which must occur, and the test's.
        folder: where the kernel works, and where files are that the page reads or writes.
        environment: what the kernel finds in its environment besides ours.

    """
    for public in addresses:
        assert public in markdown, f"the page says nothing of {public}"
    pages_cells = cells(markdown)
    untyped: Any = nbformat
    notebook = untyped.v4.new_notebook(
        cells=[untyped.v4.new_code_cell(moved(cell.source, addresses)) for cell in pages_cells]
    )
    client = nbclient.NotebookClient(
        notebook, timeout=PATIENCE, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    # An IPython of its own: no profile of the developer's, and no history that is kept.
    ours = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython"), "MPLBACKEND": "agg"}
    client.execute(env={**os.environ, **ours, **environment})
    wrong = []
    for cell, made in zip(pages_cells, notebook.cells, strict=True):
        found = shown(made)
        failed = FAILED.search(found) or any(output.output_type == "error" for output in made.outputs)
        if failed if cell.shows is None else not fits(moved(cell.shows, addresses), found):
            wrong.append(f"line {cell.line}:\n{cell.source}\nshows:\n{found}")
    assert not wrong, "\n\n".join(wrong)
