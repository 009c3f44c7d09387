"""What the guard around every test notices; it is tested on a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKS = """
import asyncio, select, socket, threading, time
import conftest
conftest.GRACE = 0.1  # what these leave behind never ends
kept = []

def test_thread():
    threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()

def test_timer():
    timer = threading.Timer(60, print)
    timer.daemon = True
    timer.start()

def test_socket():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_selector():
    kept.append(select.epoll())

def test_task():
    loop = asyncio.new_event_loop()
    kept.extend([loop, loop.create_task(asyncio.sleep(60), name="forgotten")])

def test_clean_what_ends_a_little_later():
    conftest.GRACE = 2.0
    sock = socket.create_server(("127.0.0.1", 0))
    def end():
        time.sleep(0.2)
        sock.close()
    threading.Thread(target=end).start()

def test_clean_asyncio():
    asyncio.run(asyncio.sleep(0))
"""

SKIPS = """
import pytest

@pytest.mark.skip(reason="no such server")
def test_a(): pass

def test_b(): pytest.skip("not today")

@pytest.mark.xfail
def test_c(): assert False
"""

SKIPPED_MODULE = """
import pytest
pytest.importorskip("no_such_module")
def test_d(): pass
"""


def run(folder: Path, *texts: str, ci: bool = False) -> str:
    """Run test files under a copy of the conftest and return what pytest printed."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    for number, text in enumerate(texts):
        (folder / f"test_{number}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = quick\n")
    environment = {**os.environ, "CI": "true" if ci else "", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--continue-on-collection-errors"],
        check=False,  # a failing run is what is looked for
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ).stdout


def test_what_a_test_leaves_behind_fails_it(tmp_path: Path) -> None:
    """A thread, timer, socket, selector or task that outlives its test is named; what ends in time is not."""
    out = run(tmp_path, LEAKS)
    assert "7 passed, 5 errors" in out
    for name in ("thread", "timer", "socket", "selector", "task"):
        assert f"ERROR test_0.py::test_{name} - Failed: the test has left behind:" in out
    assert "thread left" in out
    assert "AF_INET SOCK_STREAM, ('127.0.0.1', " in out
    assert "1 epoll selector" in out
    assert "asyncio task <Task pending name='forgotten'" in out


def test_ci_skips_nothing(tmp_path: Path) -> None:
    """Where CI=true, a skip of a test or a module fails with its reason; an expected failure does not."""
    out = run(tmp_path, SKIPS, SKIPPED_MODULE, ci=True)
    assert "1 failed, 1 xfailed, 2 errors" in out
    assert "nothing is skipped in CI, but this was: Skipped: no such server" in out
    assert "nothing is skipped in CI, but this was: Skipped: not today" in out
    assert "nothing is skipped in CI, but this was: Skipped: could not import 'no_such_module'" in out


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    """On a developer's machine that lacks a server, its tests are skipped as usual."""
    assert "3 skipped, 1 xfailed" in run(tmp_path, SKIPS, SKIPPED_MODULE)
