"""One JupyterLab and one page for all tests of this folder, a notebook and its kernel for each; no tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.browser.lab import Jupyter, Notebook, chromium, flags

pytestmark = pytest.mark.browser

PATIENCE = 15_000
"""Milliseconds that an expectation of the page waits; what is expected comes within one second."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Give the system's Chromium, with scrollbars as users see them.

    For this folder only, unlike the plugin's fixture of this name: playwright keeps an event loop running in
    the main thread, and the tests after these have loops of their own.
    """
    try:
        path = chromium()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=flags(), ignore_default_args=["--hide-scrollbars"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def jupyter() -> Iterator[Jupyter]:
    """Give the JupyterLab of all tests."""
    with Jupyter() as server:
        yield server


@pytest.fixture(scope="package")
def requests() -> list[str]:
    """Give the addresses of all that the page has asked for so far."""
    return []


@pytest.fixture(scope="package")
def complaints() -> list[str]:
    """Give the uncaught errors of the page so far."""
    return []


@pytest.fixture(scope="package")
def lab(browser: Browser, jupyter: Jupyter, requests: list[str], complaints: list[str]) -> Iterator[Page]:
    """Give the page with JupyterLab in it."""
    expect.set_options(timeout=PATIENCE)

    def note(error: Error) -> None:
        # Ours come from a blob; what else goes wrong in the page is not ours to judge.
        if "blob:" in (error.stack or ""):
            complaints.append(str(error))

    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: requests.append(request.url))
    # "Leave this page?" is a question of the notebook's, not of ours.
    page.on("dialog", lambda dialog: dialog.accept())
    page.on("pageerror", note)
    page.goto(jupyter.url(), timeout=60_000)
    page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
    page.evaluate("window.jupyterapp.started.then(() => null)")
    # The file browser takes room and is of no use here.
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    yield page
    context.close()


@pytest.fixture(scope="package")
def warm_notebooks(jupyter: Jupyter) -> Iterator[Iterator[str]]:
    """Give names of empty notebooks; while a test has one, the kernel of the next one starts."""

    def write(number: int) -> str:
        name = jupyter.write(f"test-{number}.ipynb", "")
        jupyter.start_kernel(name)
        return name

    with ThreadPoolExecutor(1) as ahead:

        def names() -> Iterator[str]:
            following = ahead.submit(write, 0)
            for number in itertools.count(1):
                name = following.result()
                following = ahead.submit(write, number)
                yield name

        yield names()


@pytest.fixture
def notebook(
    lab: Page, jupyter: Jupyter, warm_notebooks: Iterator[str], complaints: list[str]
) -> Iterator[Notebook]:
    """Give an empty notebook with a fresh kernel."""
    complaints.clear()
    made = Notebook(lab, jupyter, next(warm_notebooks)).open()
    yield made
    with suppress(Error):  # a test that failed may leave the page in any state; the next one opens its own
        made.close()
    assert not complaints, complaints
