"""The panel stays true: after a reload, with a dead kernel, saved, in the dark, without a mouse, by ear."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import PanelPage, connect, serving
from tests.servers.line_server import answering

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")


def test_after_a_reload_of_the_page_the_panel_is_back(notebook: Notebook) -> None:
    """Saved, reloaded: the same panel with its log, live, and it can still send."""
    with serving(NOOP) as server:
        connect(notebook, server.address)
        notebook.save()
        notebook.page.reload()
        notebook.page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
        notebook.open()
        panel = PanelPage(notebook.page.locator(".ipyreconnect-panel"))
        panel.state("connected")
        expect(panel.row("* OK hello")).to_be_visible()
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()


def test_a_dead_kernel_is_told_at_a_glance(notebook: Notebook) -> None:
    """The kernel is killed: the panel turns grey and says since when, and takes no orders."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        notebook.run("import os; os.kill(os.getpid(), 9)", wait=False)
        notebook.page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
        expect(panel.life).to_have_text(re.compile(r"^kernel gone since \d\d:\d\d:\d\d$"), timeout=20_000)
        expect(panel.root).to_have_class(re.compile("ipyreconnect-gone"))
        expect(panel.badge).to_have_text("kernel gone")
        expect(panel.detail).to_have_text(re.compile(r"^since \d\d:\d\d:\d\d; until then connected$"))
        expect(panel.root.locator(".ipr-header")).to_have_css("filter", "grayscale(1)")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.send_error).to_have_text("the kernel does not answer: nothing was done")
        expect(panel.line).to_have_value("a1 NOOP")
        idle = panel.root.get_by_role("spinbutton", name="idle")
        idle.fill("7")
        idle.press("Enter")
        expect(panel.outcome).to_have_text("the kernel does not answer: nothing was done")
        panel.button("Stop").press("Enter")
        expect(panel.root.locator(".ipr-trouble")).to_contain_text(
            "the kernel does not answer: nothing was done"
        )
        panel.root.get_by_text("save", exact=True).click()
        panel.button("as text").click()
        expect(panel.root.locator(".ipr-notice")).to_contain_text(
            "the kernel does not answer: nothing was done"
        )
        panel.log.press("/")
        panel.root.get_by_role("textbox", name="search all lines").fill("hello")
        expect(panel.root.locator(".ipr-verdict")).to_have_text(
            "the kernel does not answer: nothing was done"
        )


def test_an_idle_connection_that_is_looked_at_costs_next_to_nothing(notebook: Notebook) -> None:
    """Four parts of the panel beat every two seconds, a view says a word every eight; and that is all."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        expect(panel.health).to_contain_text("alive")
        panel.settled()
        sizes: list[int] = []
        session = notebook.page.context.new_cdp_session(notebook.page)
        session.on(
            "Network.webSocketFrameReceived",
            lambda event: sizes.append(len(event["response"]["payloadData"])),
        )
        session.send("Network.enable")
        notebook.page.wait_for_timeout(5000)
        session.detach()
        assert 4 < len(sizes) < 30
        assert sum(sizes) < 30_000


def test_a_saved_notebook_shows_the_last_lines_without_a_kernel_and_no_password(notebook: Notebook) -> None:
    """They are static HTML, the log-in masked; no other part of the file has any line of the log."""
    with serving(NOOP) as server:
        notebook.run(f"from ipyreconnect import Client\nclient = Client({server.address!r}).connect()")
        notebook.run("client.send('a1 LOGIN alice wonderland'); client.send('a2 NOOP', expect='a2');")
        notebook.run("client")
        content = notebook.save()
        bundles = [output["data"] for cell in content["cells"] for output in cell["outputs"]]
        static = "".join(bundles[0].pop("text/html"))
        assert "a2 OK done" in static
        assert "a1 LOGIN ••••" in static
        assert "script" not in static
        rest = json.dumps([bundles, content["metadata"]])
        assert "OK done" not in rest
        assert "wonderland" not in static + rest


def test_a_notebook_saved_right_after_it_connected_says_so(notebook: Notebook) -> None:
    """The panel is shown before the connection is there; what is stored does not stay behind."""
    with serving(NOOP) as server:
        notebook.run(f"%load_ext ipyreconnect\n%connect {server.address}")
        static = notebook.page.locator(".ipyreconnect-static")
        expect(static).to_contain_text("connected · ")
        expect(static).to_contain_text("* OK hello")
        assert "* OK hello" in str(notebook.save())


def test_what_a_notebook_stores_is_brought_up_to_date_unseen(notebook: Notebook) -> None:
    """A later state and its lines are in the file too; the page shows the live panel until it is closed."""
    with serving(NOOP) as server:
        notebook.run(f"from ipyreconnect import Client\nclient = Client({server.address!r}).connect()")
        notebook.run("from ipyreconnect.jupyter.panel import copies, panel; copies.STORE_STATE = 0.0")
        shown = notebook.run("panel.panel_for(client).show()")
        panel = PanelPage(shown.locator(".ipyreconnect-panel"))
        panel.state("connected")
        static = shown.locator(".ipyreconnect-static")
        expect(static).to_be_hidden()
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        panel.button("Stop").click()
        expect(static).to_contain_text("a1 OK done")
        expect(static).to_be_hidden()
        assert "a1 OK done" in str(notebook.save())
        notebook.run("panel.close_panel(client)")
        expect(static).to_be_visible()
        expect(shown.locator(".ipyreconnect-panel")).to_have_count(0)


def test_the_widgets_state_has_no_line_of_the_log(notebook: Notebook) -> None:
    """What Jupyter stores of widgets, where it does, knows nothing of what was sent or received."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.line.fill("a1 NOOP with a secret word")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        stored = notebook.value(
            "__import__('json').dumps(__import__('ipywidgets').Widget.get_manager_state())"
        )
        assert "connected" not in json.dumps(
            [widget["state"].get("children") for widget in json.loads(stored)["state"].values()]
        )
        for text in ("OK done", "OK hello", "secret word"):
            assert text not in stored


def test_the_log_is_usable_without_a_mouse_and_by_ear(notebook: Notebook) -> None:
    """It has a role, a name and the focus; its rows are not read out one by one, a summary is."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("* OK hello")).to_be_visible()
        expect(panel.log).to_have_attribute("aria-live", "off")
        expect(panel.log).to_have_attribute("aria-label", "log of 127.0.0.1")
        panel.log.focus()
        expect(panel.log).to_be_focused()
        panel.page.keyboard.press("w")
        expect(panel.button("wrap")).to_have_attribute("aria-pressed", "true")
        server.peer(0).send(b"".join(b"%d lines\r\n" % number for number in range(5)))
        summary = panel.root.locator(".ipr-log > .ipr-hidden[role=status]")
        expect(summary).to_have_text(re.compile(r"^\d new lines?, the last: 4 lines$"), timeout=20_000)


def test_each_try_is_not_read_out_but_a_loss_and_its_end_are(notebook: Notebook) -> None:
    """One sentence for a loss with its reason, however many tries follow, and one when it is back."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "name='tour', retry=0.3")
        spoken = panel.root.locator(".ipr-header .ipr-hidden[role=status]")
        expect(spoken).to_have_text("tour connected")
        expect(panel.badge).not_to_have_attribute("role", "status")
        server.refuse()
        server.peer(0).close()
        expect(spoken).to_have_text(re.compile(r"^tour not connected: closed by 127\.0\.0\.1:\d+$"))
        expect(panel.detail).to_contain_text("refused by")
        expect(panel.detail).to_contain_text("(try 4)")
        expect(spoken).to_contain_text("closed by")
        panel.button("Stop").click()
        expect(spoken).to_have_text("tour stopped")


THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', {theme}).then(() => null)"
CONTRAST = """root => {
    const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const over = (colors) => {
        context.clearRect(0, 0, 1, 1);
        for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
        const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [x, y, z] = [r, g, b].map(v => linear(v / 255));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const poor = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility({visibilityProperty: true})) continue;
        if (element.closest('[disabled], .ipr-hidden')) continue;
        const backgrounds = [];
        for (let at = element; at; at = at.parentElement) {
            backgrounds.unshift(getComputedStyle(at).backgroundColor);
        }
        const below = over(['white', ...backgrounds]);
        const above = over(['white', ...backgrounds, getComputedStyle(element).color]);
        const [high, low] = [luminance(below), luminance(above)].sort((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className} ${text.slice(0, 30)}`);
    }
    return poor;
}"""


def test_every_text_is_readable_in_light_and_dark(notebook: Notebook) -> None:
    """WCAG AA: at least 4.5 : 1 between each text and what is behind it, in each state, in both themes."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=600.0")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        panel.button("search").click()
        needle = panel.root.get_by_role("textbox", name="search all lines")
        needle.fill("connected")
        needle.press("Enter")
        expect(panel.root.locator(".ipr-current")).to_be_visible()
        try:
            for theme in ("JupyterLab Light", "JupyterLab Dark"):
                notebook.page.evaluate(THEME, theme)
                light = str(theme == "JupyterLab Light").lower()
                expect(notebook.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
                assert panel.root.evaluate(CONTRAST) == []
            server.peer(0).close()
            panel.state("waiting")
            assert panel.root.evaluate(CONTRAST) == []
        finally:
            notebook.page.evaluate(THEME, "JupyterLab Light")


def test_an_answer_under_a_cell_is_readable_in_light_and_dark(notebook: Notebook) -> None:
    """The same holds for what was sent and what came, where the cell's output shows it."""
    with serving(NOOP) as server:
        notebook.run(f"%load_ext ipyreconnect\n%connect {server.address} --no-panel")
        answer = notebook.run("%send a1 NOOP").locator(".ipyreconnect-answer")
        expect(answer).to_contain_text("acknowledged")
        try:
            for theme in ("JupyterLab Light", "JupyterLab Dark"):
                notebook.page.evaluate(THEME, theme)
                light = str(theme == "JupyterLab Light").lower()
                expect(notebook.page.locator("body")).to_have_attribute("data-jp-theme-light", light)
                assert answer.evaluate(CONTRAST) == []
        finally:
            notebook.page.evaluate(THEME, "JupyterLab Light")


def test_no_motion_for_who_wants_none(notebook: Notebook) -> None:
    """With prefers-reduced-motion the waiting badge does not pulse."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=600.0")
        server.peer(0).close()
        panel.state("waiting")
        dot = panel.root.locator(".ipr-dot")
        expect(dot).to_have_css("animation-name", "ipr-pulse")
        notebook.page.emulate_media(reduced_motion="reduce")
        try:
            expect(dot).to_have_css("animation-name", "none")
        finally:
            notebook.page.emulate_media(reduced_motion="no-preference")


def test_the_systems_own_colours_leave_every_sign_visible(notebook: Notebook) -> None:
    """With forced colours (high contrast) a delivery's mark and a pressed button still tell."""
    background = "(element, part) => getComputedStyle(element, part).backgroundColor"
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        mark = panel.row("a1 NOOP").locator(".ipr-acknowledged")
        expect(mark).to_be_visible()
        notebook.page.emulate_media(forced_colors="active")
        try:
            assert mark.evaluate(background, "::before") != panel.root.locator(".ipr-log").evaluate(
                background
            )
            pressed, other = panel.button("follow"), panel.button("wrap")
            assert pressed.evaluate(background) != other.evaluate(background)
        finally:
            notebook.page.emulate_media(forced_colors="none")
