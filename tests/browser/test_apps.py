"""The site's apps for Voila and marimo, served as it says, and the site itself, looked at in a browser."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.panels import serving
from tests.docs import pages
from tests.docs.servers import gps
from tests.servers.line_server import LineServer, end_process, free_port, wait_until_accepting

STARTS = 60.0
"""Seconds that a program may take until it listens: some ten on a loaded machine."""
SHOWS = 60_000
"""Milliseconds until an app shows what it is to show: its kernel has to start first."""


@contextmanager
def run(command: str, folder: Path, *options: str) -> Iterator[str]:
    """Run a page's own command for a shell, on a free port of loopback; give the address."""
    port = free_port()
    program, *words = shlex.split(command)
    homes = {
        name: str(folder / "home") for name in ("HOME", "IPYTHONDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", program, *words, *(option.format(port=port) for option in options)],
            cwd=folder,
            env={**os.environ, **homes, "PYTHONPATH": str(pages.ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_accepting("127.0.0.1", port, process, STARTS)
            yield f"http://127.0.0.1:{port}"
        except BaseException:
            print((folder / "log").read_text(errors="replace")[-4000:])  # noqa: T201 - for a failure's report
            raise
        finally:
            process.terminate()  # its kernels end with it
            process.wait(STARTS)
            end_process(process)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Give a page of a window of its own."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def moved_cells(name: str, server: LineServer) -> list[str]:
    addresses = {"nmea://gps.example.org": f"nmea://{server.address}"}
    return [pages.moved(cell.source, addresses) for cell in pages.cells((pages.DOCS / name).read_text())]


def test_the_app_with_voila(page: Page, tmp_path: Path) -> None:
    """The page's notebook is an app with a living panel, the position below it follows the feed, and whoever
    leaves the page ends the connection.
    """
    untyped: Any = nbformat
    with serving(gps(0.2)) as server:
        cells = [untyped.v4.new_code_cell(source) for source in moved_cells("howto/voila.md", server)]
        untyped.write(untyped.v4.new_notebook(cells=cells), tmp_path / "app.ipynb")
        options = ("--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", "--VoilaConfiguration.theme=dark")
        command = pages.commands((pages.DOCS / "howto/voila.md").read_text())[1]
        with run(command, tmp_path, *options) as address:
            page.goto(address, timeout=SHOWS)
            expect(page.get_by_text("connected", exact=True)).to_be_visible(timeout=SHOWS)
            expect(page.get_by_text(re.compile(r"\$GPGGA,12"))).not_to_have_count(0, timeout=SHOWS)
            position = page.get_by_text(re.compile(r"^528?.* N, .* E, \d+\.0 m$"))
            expect(position).to_be_visible(timeout=SHOWS)
            before = position.inner_text()
            expect(position).not_to_have_text(before, timeout=SHOWS)
            page.goto("about:blank")
            server.peer(0).wait_closed(STARTS)


def test_the_notebook_of_marimo(page: Page, tmp_path: Path) -> None:
    """The page's notebook runs as an app: the state is there, and the last lines go on."""
    with serving(gps(0.2)) as server:
        (source,) = moved_cells("howto/marimo.md", server)
        (tmp_path / "feed.py").write_text(source)
        command = pages.commands((pages.DOCS / "howto/marimo.md").read_text())[2]
        options = ("--headless", "--no-token", "--host=127.0.0.1", "--port={port}")
        with run(command, tmp_path, *options) as address:
            page.goto(address, timeout=SHOWS)
            expect(page.get_by_text("connected", exact=True)).to_be_visible(timeout=SHOWS)
            line = page.get_by_text(re.compile(r"\$GPRMC,12")).first
            expect(line).to_be_visible(timeout=SHOWS)
            before = line.inner_text()
            expect(line).not_to_have_text(before, timeout=SHOWS)


SITE_PAGES = ("index", "start", "tour", "reference/protocols", "reference/python", "liveness", "architecture")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(pages.DOCS), str(folder)]
    subprocess.run(command, cwd=pages.ROOT, check=True)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_site_fits_its_window(browser: Browser, site: Path, scheme: Any, width: int) -> None:
    """By day and by night, on a screen and on a phone: nothing hangs out at the side, text can be read on its
    ground, and each picture is there, once.
    """
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    for name in SITE_PAGES:
        page.goto((site / f"{name}.html").as_uri())
        root = page.locator("html")
        assert root.evaluate("html => html.scrollWidth <= html.clientWidth"), (name, width)
        ground, ink = page.locator("article p").first.evaluate(
            "p => [getComputedStyle(document.body).backgroundColor, getComputedStyle(p).color]"
        )
        assert (brightness(ground) > brightness(ink)) is (scheme == "light"), name
        assert abs(brightness(ground) - brightness(ink)) > 120, name
    page.goto((site / "index.html").as_uri())
    pictures = page.locator("article img:visible")
    assert pictures.count() == 1
    assert f"panel-{scheme}" in (pictures.get_attribute("src") or "")
    assert pictures.evaluate("img => img.naturalWidth") > 0
    page.goto((site / "architecture.html").as_uri())
    drawing = page.locator("svg.drawing")
    expect(drawing).to_be_visible()
    ink = drawing.locator("text").first.evaluate("text => getComputedStyle(text).fill")
    assert (brightness(ink) < 128) is (scheme == "light")
    context.close()
    assert complaints == []


def brightness(colour: str) -> float:
    """How bright a computed colour is, 0 to 255."""
    red, green, blue = map(float, re.findall(r"[\d.]+", colour)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue
