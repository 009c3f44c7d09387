"""A JupyterLab or Notebook 7 for the tests, and notebooks in it, driven through the page; knows no panel."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from tests.servers.line_server import end_process, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "for-the-tests-only"
START: Final = 60.0
"""Seconds that the server may take to start: it takes 3, on a loaded machine 20."""
KERNEL: Final = 60_000
"""Milliseconds that a kernel may take to be ready."""

# Nothing may pop up over the page or change under the tests, and a cell out of sight stays in the page.
CALM: Final = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
# What takes a kernel the longest when a panel is first shown, and is none of ours.
WARM: Final = "c.IPKernelApp.exec_lines = ['import ipywidgets, anywidget; del ipywidgets, anywidget']\n"


class Jupyter:
    """A server on a free port of loopback, with folders of its own, so that nobody's settings count."""

    def __init__(self, app: Literal["lab", "notebook"] = "lab") -> None:
        self.app = app
        self._folder = tempfile.TemporaryDirectory(prefix="ipyreconnect-")
        self.folder = Path(self._folder.name)
        self.root = self.folder / "notebooks"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = contextlib.ExitStack()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        for name in ("notebooks", "config/labconfig", "ipython/profile_default"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "config/labconfig/default_setting_overrides.json").write_text(json.dumps(CALM))
        (self.folder / "ipython/profile_default/ipython_kernel_config.py").write_text(WARM)
        homes = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        environment = {
            **os.environ,
            **{name: str(self.folder / home) for name, home in homes.items()},
            "PYTHONPATH": str(REPOSITORY),
        }
        expose = "LabApp" if self.app == "lab" else "JupyterNotebookApp"
        command = [
            *(sys.executable, "-m", "jupyter", self.app, "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"),
            *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.root}"),
            f"--{expose}.expose_app_in_browser=True",
        ]
        log = self._log.enter_context((self.folder / "log").open("wb"))
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
        )
        deadline = time.monotonic() + START
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = self.said()
                self.stop()
                raise RuntimeError(f"Jupyter does not start:\n{said}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        try:
            with urllib.request.urlopen(f"{self.origin}/api/status?token={TOKEN}", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
            return False

    def said(self) -> str:
        """What the server and its kernels wrote, for a failure's report."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def write(self, name: str, *cells: str, kernel: str = "python3") -> str:
        """Write a notebook; the cells' sources as given."""
        empty: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        notebook = {
            "cells": [{**empty, "id": f"cell-{n}", "source": cell} for n, cell in enumerate(cells)],
            "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.root / name).write_text(json.dumps(notebook))
        return name

    def start_kernel(self, name: str, kernel: str = "python3") -> None:
        """Start the kernel of a notebook that is opened later, and don't wait for it to be ready."""
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": kernel}}
        request = urllib.request.Request(
            f"{self.origin}/api/sessions?token={TOKEN}",
            json.dumps(session).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=START):
            pass

    def url(self, name: str = "") -> str:
        path = ("lab/tree/" if self.app == "lab" else "notebooks/") + name if name else self.app
        return f"{self.origin}/{path}?token={TOKEN}" + ("&reset" if self.app == "lab" else "")

    def stop(self) -> None:
        end_process(self._process)  # it ends its kernels itself
        self._process = None
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Notebook:
    """One notebook in the page; its cells are added as they are run."""

    def __init__(self, page: Page, jupyter: Jupyter, name: str) -> None:
        self.page = page
        self.jupyter = jupyter
        self.name = name

    def open(self) -> Self:
        """Open it in the page's Lab, which is there already, and wait for its kernel."""
        self.page.evaluate(
            "name => jupyterapp.commands.execute('docmanager:open', {path: name}).then(() => null)", self.name
        )
        self.ready()
        return self

    def ready(self) -> None:
        """Wait until it is the notebook in front and its kernel is ready."""
        self.page.wait_for_function(
            """name => {
                const panel = window.jupyterapp?.shell?.currentWidget;
                const kernel = panel?.sessionContext?.session?.kernel;
                return panel?.context?.path === name && panel.context.isReady
                    && panel.sessionContext.isReady && kernel?.connectionStatus === 'connected'
                    && kernel.status === 'idle';
            }""",
            arg=self.name,
            timeout=KERNEL,
        )

    def run(self, code: str, *, wait: bool = True) -> Locator:
        """Run a new cell at the end; return its output area, or fail as it failed. wait: for its end."""
        number, failed = self.page.evaluate(
            """async ([code, wait]) => {
                const notebook = jupyterapp.shell.currentWidget.content;
                const shared = notebook.model.sharedModel;
                // The empty cell that a new notebook begins with is used.
                const last = shared.cells.length - 1;
                if (last >= 0 && !shared.cells[last].getSource()) shared.cells[last].setSource(code);
                else shared.insertCell(last + 1, {cell_type: 'code', source: code});
                notebook.activeCellIndex = shared.cells.length - 1;
                notebook.deselectAll();
                const number = shared.cells.length - 1;
                const done = jupyterapp.commands.execute('notebook:run-cell');
                if (!wait) return [number, null];
                await done;
                const outputs = notebook.activeCell.model.outputs.toJSON();
                const error = outputs.find(output => output.output_type === 'error');
                return [number, error ? error.traceback.join('\\n') : null];
            }""",
            [code, wait],
        )
        assert failed is None, failed
        return self.cell(number).locator(".jp-OutputArea").first

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell").nth(number)

    def value(self, expression: str) -> Any:
        """Return the value of a Python expression in the kernel; it must be a literal."""
        text = self.run(f"print(repr({expression}))").locator(".jp-RenderedText").inner_text()
        return ast.literal_eval(text.strip())

    def save(self) -> dict[str, Any]:
        """Save it, and return what is in the file."""
        self.page.evaluate("jupyterapp.commands.execute('docmanager:save').then(() => null)")
        content: dict[str, Any] = json.loads((self.jupyter.root / self.name).read_text())
        return content

    def close(self) -> None:
        """Have the kernel end, and take the notebook out of the page, unsaved."""
        self.page.evaluate(
            """async () => {
                const panel = jupyterapp.shell.currentWidget;
                if (!panel?.sessionContext) return;
                panel.sessionContext.shutdown().catch(() => null); // which takes a second
                panel.context.model.dirty = false;
                panel.dispose();
            }"""
        )


def chromium() -> str:
    """Return where the system's Chromium is. Raises FileNotFoundError where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        raise FileNotFoundError("there is no Chromium here (apt install chromium)")
    return found


def flags() -> list[str]:
    """Return what Chromium is started with: no traffic of its own, and no sandbox where root has none."""
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    return [*quiet, "--no-sandbox"] if os.geteuid() == 0 else quiet
