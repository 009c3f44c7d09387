"""What the magics promise to somebody who works in a real JupyterLab: answers, completion, one panel."""

from __future__ import annotations

import re

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from ipyreconnect.jupyter.output.answers import Row, as_html
from tests.browser.lab import Notebook
from tests.browser.panels import serving
from tests.servers.line_server import answering

SERVER = answering(
    {rb"^html": b"<img src=x onerror=alert(1)><b>bold</b>", rb"^(\S+) (\S+)": rb"\1 OK \2 done"},
    b"* OK hello\r\n",
)


def test_an_answer_grows_under_the_cell_that_asked_and_is_saved_there(notebook: Notebook) -> None:
    """Lines that come after later cells have run stand under the cell that asked, also in the saved file."""
    with serving(SERVER) as server:
        notebook.run(f"%load_ext ipyreconnect\nc = %connect {server.address} --no-panel")
        asked = notebook.run("%send 1 noop")
        later = notebook.run("print('meanwhile')")
        server.peer(0).send(b"* late\r\n")
        answer = asked.locator(".ipyreconnect-answer")
        expect(answer).to_have_text("> 1 noop   ✓✓ acknowledged\n< 1 OK noop done\n< * late")
        expect(later).to_have_text("meanwhile\n")
        second = notebook.run("%send html")
        expect(second.locator(".ipyreconnect-answer")).to_contain_text("<b>bold</b>")
        assert not second.locator("b, img").count()
        saved = notebook.save()
    texts = [str(output) for cell in saved["cells"] for output in cell.get("outputs", [])]
    assert any("< * late" in text and "1 OK noop done" in text for text in texts)


def test_stop_leaves_no_word_of_the_panel_behind(notebook: Notebook) -> None:
    """JupyterLab ends the subshell with the last widget: what came later, the kernel complained of in red."""
    log = notebook.jupyter.folder / "log"
    begin = log.stat().st_size
    with serving(SERVER) as server:
        notebook.run("%load_ext ipyreconnect")
        for number in range(5):
            shown = notebook.run(f"%connect {server.address} --name n{number}")
            expect(shown.locator(".ipr-badge")).to_have_text("connected")
            notebook.run("%send 1 noop")
            notebook.run("%stop")
            expect(shown.locator(".ipyreconnect-panel")).to_have_count(0)
        notebook.run("pass")
    assert "subshell" not in log.read_text()[begin:]


def test_stop_says_where_the_log_is(notebook: Notebook) -> None:
    """Its panel is gone from under the cell; %panel shows what was said, also of one that is stopped."""
    with serving(SERVER) as server:
        notebook.run(f"%load_ext ipyreconnect\n%connect {server.address} --name tour")
        notebook.run("%send 1 noop")
        stopped = notebook.run("%stop")
        expect(stopped).to_have_text(re.compile(r"^stopped tour; %panel tour shows its [45] lines\n$"))
        expect(notebook.run("%panel tour").locator(".ipr-row").filter(has_text="1 OK noop")).to_be_visible()
        notebook.run(f"%connect {server.address} --name tour")
        replaced = notebook.run(f"%connect {server.address} --name tour")
        expect(replaced).to_contain_text("stopped tour\n")


def test_tab_offers_the_magics_options(notebook: Notebook) -> None:
    """Behind `r = %connect --no-` stand our options and nothing else."""
    notebook.run("%load_ext ipyreconnect")
    notebook.run("0")
    page = notebook.page
    page.evaluate("jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.evaluate("jupyterapp.commands.execute('notebook:enter-edit-mode')")
    page.keyboard.type("r = %connect --no-")
    page.keyboard.press("Tab")
    items = page.locator(".jp-Completer-item")
    expect(items).to_have_count(3)
    for name in ("--no-tls", "--no-verify", "--no-panel"):
        expect(items.filter(has_text=name)).to_have_count(1)


def test_an_answer_is_in_the_code_font_in_exports_too(notebook: Notebook) -> None:
    """Columns stand under each other in a cell, and in the HTML that nbconvert makes of it."""
    font = "answer => getComputedStyle(answer).fontFamily"
    with serving(SERVER) as server:
        notebook.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        answer = notebook.run("%send 1 noop").locator(".ipyreconnect-answer")
        expect(answer).to_contain_text("1 OK noop")
        assert answer.evaluate(font).endswith("monospace")
    shown = {"text/html": as_html([Row("<", "1 OK", "")]), "text/plain": "1 OK"}
    output = nbformat.v4.new_output("display_data", shown)  # type: ignore[no-untyped-call]
    cell = nbformat.v4.new_code_cell("%send", outputs=[output])  # type: ignore[no-untyped-call]
    saved = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    page = notebook.page.context.new_page()
    try:
        page.route("**", lambda route: route.abort())  # it would load scripts from elsewhere
        for template in ("lab", "classic", "basic"):
            exporter = HTMLExporter(template_name=template)  # type: ignore[no-untyped-call]
            body, _ = exporter.from_notebook_node(saved)
            page.set_content(body, wait_until="commit")
            page.wait_for_selector(".ipyreconnect-answer")
            assert page.locator(".ipyreconnect-answer").evaluate(font).endswith("monospace"), template
    finally:
        page.close()
