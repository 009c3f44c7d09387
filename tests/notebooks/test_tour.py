"""The guided tour: it runs headless, shows what its text promises, and is saved without outputs."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from docs.tour import RECORDING
from notebooks.imap_server import ImapServer
from tests.docs.pages import shown
from tests.servers.line_server import free_port

ROOT = Path(__file__).parent.parent.parent
TOUR = ROOT / "notebooks" / "tour.ipynb"


def read() -> Any:
    untyped: Any = nbformat
    return untyped.read(TOUR, as_version=4)


def move(notebook: Any, port: str) -> None:
    """Change a notebook's port to a free one: its own may be taken by somebody who reads it right now."""
    free = str(free_port())
    for cell in notebook.cells:
        cell.source = cell.source.replace(port, free)


def texts(cell: Any) -> str:
    """Give all that a cell shows as text."""
    found = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        found += [output.get("text", ""), data.get("text/plain", ""), *output.get("traceback", ())]
    return "\n".join(found)


def run(notebook: Any) -> None:
    """Run it where it is, from top to bottom."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    resources = {"metadata": {"path": str(TOUR.parent)}}
    nbclient.NotebookClient(notebook, timeout=60, resources=resources).execute(env=environment)


@pytest.fixture(scope="module")
def toured() -> Any:
    """The tour after a run, on a port of its own."""
    notebook = read()
    move(notebook, "1993")
    run(notebook)
    return notebook


@pytest.mark.notebook
def test_the_tour_runs_and_shows_what_it_promises(toured: Any) -> None:
    """Each cell works, the pulled cable is noticed after 14 s (then 4 s), and the connection comes back."""
    shown = {cell.id: texts(cell) for cell in toured.cells}

    assert "CAPABILITY IMAP4rev1" in shown["capability"]
    assert "1 OK" in shown["capability"]
    assert "2 OK" in shown["login"]
    assert "BODY[HEADER] {" in shown["fetch"]
    assert "EXISTS" in shown["deliver"]
    # From the last packet on, which came before the cable was pulled, or was the answer to a probe.
    assert 14 - 5 < seconds(shown["pull"], "waiting") < 15.5
    assert "tour" in shown["list"]
    assert "not connected" in shown["refused"]
    assert seconds(shown["plug"], "connected") < 10
    assert 4 - 2 < seconds(shown["again"], "waiting") < 5.5
    assert "7 OK" in shown["after"]
    assert not (TOUR.parent / "tour-ca.pem").exists()


@pytest.mark.notebook
def test_the_page_of_the_tour_shows_what_a_run_shows(toured: Any) -> None:
    """The site has the outputs of a run; what it shows still comes, but for times, ports and counts."""
    recorded = json.loads(RECORDING.read_text(encoding="utf-8"))
    fresh = {cell.id: kinds(shown(cell)) for cell in toured.cells if cell.cell_type == "code"}
    old = {cell: kinds(text) - fresh[cell] for cell, text in recorded.items()}
    assert not any(old.values()), f"record the tour anew (python -m tests.docs.record): {old}"


def kinds(text: str) -> set[str]:
    """The lines of an output, with every number and identifier the same, and columns of any width."""
    alike = re.sub(r"\bF[0-9a-f]{32}\b|[0-9]+(\.[0-9]+)?", "0", text)
    return {" ".join(line.split()) for line in alike.splitlines()}


def seconds(shown: str, state: str) -> float:
    match = re.search(rf"{state} after ([\d.]+) s", shown)
    assert match, shown
    return float(match[1])


@pytest.mark.servers
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Who runs the tour twice is told which port is taken, and where to write another."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(
            RuntimeError, match=f"cannot listen on port {port}: Address already in use; choose"
        ):
            ImapServer(port=port, cafile=tmp_path / "ca.pem").start()
    assert not list(tmp_path.iterdir())


def test_the_tour_is_saved_without_outputs() -> None:
    """What the reader sees comes from running it, not from the machine of whoever saved it."""
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
