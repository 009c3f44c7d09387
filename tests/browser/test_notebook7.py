"""The main path in Notebook 7, which shows notebooks one a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.lab import Jupyter, Notebook
from tests.browser.panels import connect, serving
from tests.servers.line_server import answering

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")


@pytest.fixture
def notebook7(browser: Browser) -> Iterator[Notebook]:
    """Give an empty notebook in a Notebook 7 of its own."""
    with Jupyter("notebook") as jupyter:
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        page = context.new_page()
        name = jupyter.write("test.ipynb", "")
        page.goto(jupyter.url(name), timeout=60_000)
        notebook = Notebook(page, jupyter, name)
        notebook.ready()
        yield notebook
        context.close()


def test_the_main_path_works_in_notebook_7(notebook7: Notebook) -> None:
    """Connect, see the log, send a line, lose the connection and get it back, stop."""
    with serving(NOOP) as server:
        panel = connect(notebook7, server.address)
        panel.state("connected")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        server.peer(0).close()
        panel.state("waiting")
        panel.button("Reconnect now").click()
        panel.state("connected")
        panel.button("Stop").click()
        panel.state("stopped")
