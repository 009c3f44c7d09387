"""What a user sees of a panel, by the names of what is on the screen; for tests and screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.lab import Notebook
from tests.servers.line_server import Behaviour, LineServer


@contextmanager
def serving(behaviour: Behaviour, **options: Any) -> Iterator[LineServer]:
    """Run a line server; started and ended on another thread, as playwright holds this one's event loop."""
    server = LineServer(behaviour, **options)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(server.start).result()
        try:
            yield server
        finally:
            thread.submit(server.stop).result()


class PanelPage:
    """One view of a panel in the page."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.page = root.page
        self.badge = root.locator(".ipr-badge")
        self.detail = root.locator(".ipr-detail")
        self.log = root.get_by_role("log")
        self.rows = root.locator(".ipr-row:not([hidden])")
        self.texts = root.locator(".ipr-row:not([hidden]) .ipr-text")
        self.count = root.locator(".ipr-count")
        self.life = root.locator(".ipr-log .ipr-life")
        self.line = root.get_by_role("textbox", name="line to send")
        self.send_error = root.locator(".ipr-error")
        self.keepalive = root.get_by_role("group", name="keepalive")
        self.outcome = self.keepalive.locator(".ipr-outcome")
        self.retry = root.get_by_role("group", name="retry")
        self.health = root.locator(".ipr-health")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def row(self, text: str) -> Locator:
        """The rows in sight that have this text in them."""
        return self.rows.filter(has_text=text)

    def state(self, word: str) -> None:
        """Wait until the badge says this word."""
        expect(self.badge).to_have_text(word)

    def shown(self) -> list[str]:
        """The texts of the rows in sight, from top to bottom, in one look."""
        texts: list[str] = self.texts.evaluate_all("all => all.map(one => one.textContent)")
        return texts

    def first_number(self) -> int:
        """The number at the beginning of the first row in sight."""
        return int(self.shown()[0].split()[0])

    def settled(self) -> None:
        """Wait until every row in sight has its text, and no more frames change them."""
        expect(self.rows.first).to_be_visible()
        self.log.evaluate(
            """async log => {
                let before = null;
                for (let same = 0; same < 5; ) {
                    await new Promise(requestAnimationFrame);
                    const rows = [...log.querySelectorAll('.ipr-row:not([hidden])')];
                    const now = rows.map(row => row.textContent).join('\\n');
                    const loading = rows.some(row => row.classList.contains('ipr-loading'));
                    same = !loading && now === before ? same + 1 : 0;
                    before = now;
                }
            }"""
        )

    def wheel(self, pixels: float) -> None:
        """Turn the wheel over the log."""
        self.log.scroll_into_view_if_needed()
        self.log.hover()
        self.page.mouse.wheel(0, pixels)


def show(notebook: Notebook, code: str = "client") -> PanelPage:
    """Show a panel as a cell's result and wait until it is alive."""
    panel = PanelPage(notebook.run(code).locator(".ipyreconnect-panel"))
    expect(panel.badge).not_to_have_text("…")
    return panel


def connect(notebook: Notebook, address: str, options: str = "") -> PanelPage:
    """Connect a client named `client` in the kernel and show its panel."""
    notebook.run(
        f"from ipyreconnect import Client\nclient = Client({address!r}, {options})\nclient.connect();"
    )
    return show(notebook)
