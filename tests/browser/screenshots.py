"""Take the README's pictures from a real run: JupyterLab, the panel, a real IMAP server, its cable pulled.

python -m tests.browser.screenshots          # writes notebooks/pictures/panel-*.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from tests.browser.lab import REPOSITORY, Jupyter, Notebook, chromium, flags
from tests.browser.panels import PanelPage, show

PICTURES: Final = REPOSITORY / "notebooks" / "pictures"
SIZE: Final = ViewportSize(width=1000, height=1000)
DYING: Final = 15_000
"""Milliseconds until a pulled cable shows as dying, and again until it is noticed."""

SETUP: Final = (
    f"import sys; sys.path.insert(0, {str(REPOSITORY / 'notebooks')!r})\n"
    "from imap_server import ImapServer\n"
    "server = ImapServer(port=0, cafile='ca.pem').start()\n"
    "%load_ext ipyreconnect"
)
LOGIN: Final = """\
from ipyreconnect import Secret
password = Secret('demopass')
_ = client.send('2 login demouser demopass', secrets=[password], expect='^2 OK')"""
SESSION: Final = (
    "client = %connect --no-panel --cafile ca.pem --name mail ADDRESS",
    "_ = client.send('1 capability', expect='^1 OK')",
    LOGIN,
    "_ = client.send('3 select INBOX', expect='^3 OK')",
    "_ = client.send('4 noop', expect='^4 OK')",
)


def take(page: Page, panel: PanelPage, name: str) -> None:
    """Take the picture of the panel, as it is now."""
    panel.root.scroll_into_view_if_needed()
    panel.settled()
    page.mouse.move(0, 0)
    PICTURES.mkdir(exist_ok=True)
    panel.root.screenshot(path=PICTURES / f"panel-{name}.png")
    sys.stdout.write(f"{Path('notebooks/pictures') / f'panel-{name}.png'}\n")


def theme(page: Page, name: str) -> None:
    """Change JupyterLab's theme, and wait for it."""
    page.evaluate(
        "name => jupyterapp.commands.execute('apputils:change-theme', {theme: name}).then(() => null)", name
    )
    light = "true" if "Light" in name else "false"
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)


def main() -> None:
    """Take all pictures."""
    with Jupyter() as jupyter, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=flags(), ignore_default_args=["--hide-scrollbars"]
        )
        page = browser.new_context(viewport=SIZE, device_scale_factor=2).new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(jupyter.url(), timeout=60_000)
        page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
        page.evaluate("window.jupyterapp.started.then(() => null)")
        page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        notebook = Notebook(page, jupyter, jupyter.write("pictures.ipynb", "")).open()
        notebook.run(SETUP)
        address = notebook.value("server.address")
        for cell in SESSION:
            notebook.run(cell.replace("ADDRESS", address))
        panel = show(notebook, "%panel mail")
        panel.state("connected")
        take(page, panel, "light")
        theme(page, "JupyterLab Dark")
        take(page, panel, "dark")
        theme(page, "JupyterLab Light")
        notebook.run("server.pull_cable()\n_ = client.send('5 noop')")
        expect(panel.root.get_by_text("dead in").first).to_be_visible(timeout=DYING)
        take(page, panel, "dying")
        expect(panel.badge).to_have_text("waiting", timeout=DYING)
        take(page, panel, "waiting")
        notebook.run("server.plug_cable()")
        panel.state("connected")
        notebook.run("%stop --all")
        notebook.run("server.stop()")
        notebook.close()
        browser.close()


if __name__ == "__main__":
    main()
