"""The notebook on scripts and secrets: it runs headless, comes back, and nothing has the password."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from notebooks.imap_server import PASSWORD, USER
from tests.notebooks.test_tour import ROOT, move, texts

NOTEBOOK = ROOT / "notebooks" / "scripts-and-secrets.ipynb"


def read() -> Any:
    untyped: Any = nbformat
    return untyped.read(NOTEBOOK, as_version=4)


class Watched(nbclient.NotebookClient):
    """A front end that keeps all that the kernel says, and looks at every panel as a browser does."""

    def __init__(self, notebook: Any, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.heard: list[str] = []
        self.drawn = 0

    def process_message(self, message: Any, cell: Any, cell_index: int) -> Any:
        """Keep it with its buffers; say hello to a part of a panel, and that a tick is painted."""
        content = message["content"]
        self.heard.append(json.dumps(content, default=str) + str([bytes(b) for b in message["buffers"]]))
        state = content.get("data", {}).get("state", {}) if message["msg_type"] == "comm_open" else {}
        if "_esm" in state:
            self._say(content["comm_id"], {"m": "hello"})
        said = content.get("data", {}).get("content", {}) if message["msg_type"] == "comm_msg" else {}
        if said.get("m") == "tick":
            self.drawn += 1
            self._say(content["comm_id"], {"m": "ack", "seq": said["seq"]})
        return super().process_message(message, cell, cell_index)

    def _say(self, comm: str, content: dict[str, Any]) -> None:
        content |= {"view": "watched", "want": {"follow": True, "rows": 40, "unseen": False}}
        data = {"comm_id": comm, "data": {"method": "custom", "content": content}}
        kernel: Any = self.kc
        kernel.shell_channel.send(kernel.session.msg("comm_msg", data))


def stored(directory: Path) -> Iterator[tuple[str, str]]:
    """Give all that a profile keeps: files as they are, the history also as text."""
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")
        if path.name == "history.sqlite":
            with sqlite3.connect(path) as base:
                yield "history", "\n".join(base.iterdump())
            base.close()


@pytest.mark.notebook
def test_nothing_that_a_session_leaves_behind_has_the_password(tmp_path: Path) -> None:
    """Not the saved notebook with its widgets' state, no message of the kernel, not the history on disk."""
    notebook = read()
    move(notebook, "1994")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)}
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    client = Watched(
        notebook, timeout=60, resources=resources, ipython_hist_file=str(tmp_path / "history.sqlite")
    )
    client.execute(env=environment)
    shown = {cell.id: texts(cell) for cell in notebook.cells}

    assert f"> a login {USER} ••••" in shown["log"]
    assert re.search(r"has not answered for [34]\.\d s", shown["cut"])
    assert "connected after" in shown["back"]
    assert "1 OK" in shown["fetch"]
    assert shown["again"].strip() == "2 logins"
    assert shown["function"].strip() == "connected"
    assert "stopped because: on-connect function: PermissionError: a NO" in shown["wrong"]
    assert shown["search"].strip() == "the password is in: none of them"

    assert client.drawn > 5
    assert any(f"a login {USER} \\xe2" in said for said in client.heard)  # so the log did go over the wire
    history = dict(stored(tmp_path))["history"]
    assert "a login {{user}} {{password}}" in history
    assert notebook.metadata.widgets
    untyped: Any = nbformat
    places = {"notebook": untyped.writes(notebook), "messages": "".join(client.heard)} | dict(
        stored(tmp_path)
    )
    for place, text in places.items():
        assert PASSWORD not in text, place
    left = {path.name for path in NOTEBOOK.parent.iterdir()}
    assert not left & {"scripts.netrc", "scripts.jsonl", "scripts-ca.pem"}


def test_the_notebook_is_saved_without_outputs() -> None:
    """What the reader sees comes from running it; and what it is about stands nowhere in it."""
    assert PASSWORD not in NOTEBOOK.read_text()
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
