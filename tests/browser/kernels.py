"""Try the panel's controls during a busy cell on other versions of ipykernel; the wider run beside the tests.

python -m tests.browser.kernels 7.3 6.31     # each is fetched into a temporary folder; `make kernels` does it

With subshells (7.1 and later) Stop must be answered at once; without them the log must go on, the panel must
say "kernel busy, controls wait", and Stop must be answered after the cell.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import expect, sync_playwright

from tests.browser.lab import REPOSITORY, Jupyter, Notebook, chromium, flags
from tests.browser.panels import PanelPage, connect, serving
from tests.servers.line_server import answering

OTHER = "other"
NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")
BUSY = """
import time
end = time.monotonic() + 8
number = 0
while time.monotonic() < end:
    if client.state == "connected": client.send(f"{number} NOOP"); number += 1
    time.sleep(0.2)
"""


def install(jupyter: Jupyter, version: str, folder: str) -> None:
    """Fetch that ipykernel, and offer it as the kernel `OTHER`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*pip, f"ipykernel=={version}.*"], check=True)
    spec = jupyter.folder / "data" / "kernels" / OTHER
    spec.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {"PYTHONPATH": f"{folder}:{REPOSITORY}"}
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": OTHER, "language": "python", "env": environment})
    )


def attempt(notebook: Notebook, panel: PanelPage) -> str:
    """Click on Stop during a busy cell, and say what came of it."""
    notebook.run(BUSY, wait=False)
    expect(panel.row("3 OK done")).to_be_visible()
    panel.button("Stop").click()
    start = time.monotonic()
    late = panel.life.filter(has_text="kernel busy, controls wait")
    stopped = panel.badge.filter(has_text="stopped")
    expect(late.or_(stopped)).to_be_visible()
    waited = late.is_visible()
    expect(stopped).to_be_visible()
    expect(panel.life).to_have_text("")
    said = "said that the controls wait, and " if waited else ""
    return f"{said}stopped after {time.monotonic() - start:.1f} s"


def main() -> None:
    """Try each version that is named."""
    expect.set_options(timeout=30_000)
    for version in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder, Jupyter() as jupyter, sync_playwright() as playwright:
            install(jupyter, version, folder)
            browser = playwright.chromium.launch(executable_path=chromium(), args=flags())
            page = browser.new_page()
            page.goto(jupyter.url(), timeout=60_000)
            page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
            page.evaluate("window.jupyterapp.started.then(() => null)")
            notebook = Notebook(page, jupyter, jupyter.write("test.ipynb", "", kernel=OTHER)).open()
            found = notebook.value("__import__('ipykernel').__version__")
            assert found.startswith(f"{version}."), found
            with serving(NOOP) as server:
                sys.stdout.write(
                    f"ipykernel {version}: {attempt(notebook, connect(notebook, server.address))}\n"
                )
            browser.close()


if __name__ == "__main__":
    main()
