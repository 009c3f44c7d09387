"""The panel beside others: several connections, parts in one's own layout, a tab closed and opened again."""

from __future__ import annotations

import os
import re
import signal

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import PanelPage, connect, serving, show
from tests.servers.line_server import answering

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")


def test_several_connections_have_their_panels_at_a_time(notebook: Notebook) -> None:
    """Each shows and sends for itself."""
    with serving(NOOP) as first, serving(NOOP) as second:
        one = connect(notebook, first.address, "name='one'")
        two = connect(notebook, second.address, "name='two'")
        for panel, word in ((one, "a1"), (two, "b1")):
            panel.line.fill(f"{word} NOOP")
            panel.line.press("Enter")
            expect(panel.row(f"{word} OK done")).to_be_visible()
        expect(one.row("b1 OK done")).to_have_count(0)
        second.peer(0).close()
        two.state("waiting")
        one.state("connected")


def test_panels_side_by_side_share_the_width(notebook: Notebook) -> None:
    """Two in one HBox have half of it each, and nothing in them is cut off."""
    with serving(NOOP) as server:
        notebook.run(
            "from ipyreconnect import Client\nfrom ipyreconnect.jupyter.panel.panel import panel_for\n"
            f"clients = [Client({server.address!r}, name=name).connect() for name in ('one', 'two')]\n"
            "from ipywidgets import HBox"
        )
        both = notebook.run("HBox([panel_for(client) for client in clients])").locator(".ipyreconnect-panel")
        expect(both.locator(".ipr-badge").get_by_text("connected")).to_have_count(2)
        whole = notebook.page.locator(".jp-OutputArea-output:has(.ipyreconnect-panel)").bounding_box()
        assert whole is not None
        for panel in both.all():
            box = panel.bounding_box()
            assert box is not None
            assert 0.45 * whole["width"] < box["width"] < 0.51 * whole["width"]
            beyond = """panel => [...panel.querySelectorAll('button, input, label')].filter(one =>
                one.offsetParent && one.getBoundingClientRect().right > panel.getBoundingClientRect().right
            ).map(one => one.textContent)"""
            assert panel.evaluate(beyond) == []


def test_the_parts_fit_into_a_layout_of_ones_own(notebook: Notebook) -> None:
    """The log of one connection beside the header of another, each alive by itself."""
    with serving(NOOP) as server:
        connect(notebook, server.address)
        notebook.run("from ipyreconnect.jupyter.panel.panel import panel_for\nfrom ipywidgets import HBox")
        mine = notebook.run("HBox([panel_for(client).log, panel_for(client).header])")
        expect(mine.locator(".ipr-row").filter(has_text="* OK hello")).to_be_visible()
        expect(mine.locator(".ipr-badge")).to_have_text("connected")
        server.peer(0).send(b"* 1 EXISTS\r\n")
        expect(mine.locator(".ipr-row").filter(has_text="* 1 EXISTS")).to_be_visible()


def test_a_view_of_its_own_is_filled(notebook: Notebook) -> None:
    """JupyterLab's "Create New View for Cell Output": the panel has its room, more of it goes to the log."""
    page = notebook.page
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        page.evaluate("jupyterapp.commands.execute('notebook:create-output-view').then(() => null)")
        try:
            view = page.locator(".jp-LinkedOutputView")
            inside = PanelPage(view.locator(".ipyreconnect-panel"))
            inside.state("connected")
            heights = []
            for height in (900, 1400):
                page.set_viewport_size({"width": 1100, "height": height})
                fits = """panel => {
                    const view = panel.closest('.jp-LinkedOutputView').getBoundingClientRect();
                    const left = view.bottom - panel.getBoundingClientRect().bottom;
                    return left >= 0 && left < 12;
                }"""
                page.wait_for_function(fits, arg=inside.root.element_handle())
                heights.append(inside.log.evaluate("log => log.clientHeight"))
            assert heights[1] > heights[0] + 200
        finally:
            page.set_viewport_size({"width": 1100, "height": 900})
            page.evaluate(
                "[...jupyterapp.shell.widgets('main')]"
                ".filter(one => one.content?.node.matches('.jp-LinkedOutputView'))"
                ".forEach(one => one.dispose())"
            )


def test_a_tab_closed_and_opened_again_shows_the_panel_as_it_is_now(notebook: Notebook) -> None:
    """Meanwhile the kernel sends nothing; then everything is there that came meanwhile."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        notebook.save()
        notebook.page.evaluate("jupyterapp.shell.currentWidget.dispose()")
        server.peer(0).send(b"* meanwhile\r\n")
        notebook.open()
        again = PanelPage(notebook.page.locator(".ipyreconnect-panel"))
        expect(again.row("* meanwhile")).to_be_visible()
        again.line.fill("a1 NOOP")
        again.line.press("Enter")
        expect(again.row("a1 OK done")).to_be_visible()


def test_every_widget_of_the_panel_is_answered_beside_a_running_cell(notebook: Notebook) -> None:
    """Children, Layouts and styles too: one that is forgotten would wait for the cell on ipykernel 7.4."""
    with serving(NOOP) as server:
        connect(notebook, server.address)
        notebook.run("from ipywidgets.widgets.widget import _instances")
        comms = "[widget.comm for widget in _instances.values()]"
        assert notebook.value(f"len({comms})") == 10
        waiting = (
            f"[comm for comm in {comms} if hasattr(comm, '_reply_subshell_for')"
            " and '_reply_subshell_for' not in vars(comm)]"
        )
        assert notebook.value(f"len({waiting})") == 0


def test_a_kernel_that_stands_still_is_told_by_the_age_of_its_last_word(notebook: Notebook) -> None:
    """Nothing tells of a kernel that hangs but its silence; when it goes on, so does the panel."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        pid = notebook.value("__import__('os').getpid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            expect(panel.life).to_have_text(re.compile(r"^kernel gone since \d\d:\d\d:\d\d$"), timeout=25_000)
            expect(panel.root).to_have_class(re.compile("ipyreconnect-gone"))
        finally:
            os.kill(pid, signal.SIGCONT)
        expect(panel.life).to_have_text("")
        server.peer(0).send(b"* going on\r\n")
        expect(panel.row("* going on")).to_be_visible()


def test_a_view_elsewhere_in_the_page_remembers_how_it_was_looked_at(notebook: Notebook) -> None:
    """An output that is drawn anew keeps its place, its height, its times and its wrapping."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        server.peer(0).send(b"".join(b"%d of many\r\n" % number for number in range(100)))
        expect(panel.row("99 of many")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Home")
        panel.button("wrap").click()
        panel.log.evaluate("log => { log.style.height = '400px' }")  # as the handle at its corner does
        notebook.page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.deleteCell(1)")
        expect(notebook.page.locator(".ipyreconnect-panel")).to_have_count(0)
        again = show(notebook)
        expect(again.row("* OK hello")).to_be_visible()
        expect(again.button("wrap")).to_have_attribute("aria-pressed", "true")
        expect(again.log).to_have_css("height", "400px")


def test_a_view_that_showed_only_hits_remembers_the_line(notebook: Notebook) -> None:
    """The search is gone with the view; the line that was in sight is there."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        server.peer(0).send(b"".join(b"%d of many\r\n" % number for number in range(3000)))
        expect(panel.row("2999 of many")).to_be_visible()
        panel.button("search").click()
        panel.root.get_by_role("textbox", name="search all lines").fill("5 of")
        expect(panel.root.locator(".ipr-verdict")).to_have_text("300 hits")
        panel.button("Show only the lines that have it").click()
        panel.log.focus()
        panel.page.keyboard.press("Home")
        expect(panel.texts.first).to_have_text("5 of many")
        panel.wheel(18 * 200)
        expect(panel.texts.first).to_have_text("2005 of many")
        notebook.page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.deleteCell(1)")
        expect(notebook.page.locator(".ipyreconnect-panel")).to_have_count(0)
        expect(show(notebook).texts.first).to_have_text("2005 of many")
