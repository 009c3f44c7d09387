"""What shows the cells is known by what started the kernel; real front ends are for tests/terminal."""

from __future__ import annotations

import pytest

from ipyreconnect.jupyter.output.front import Front, front_of, is_console
from tests.jupyter.shells import new_shell


@pytest.mark.parametrize(
    "command",
    [
        "/env/bin/python /env/bin/jupyter-console",
        "/env/bin/python3.12 /env/bin/jupyter-qtconsole --style=monokai",
        "python -m jupyter_console --existing",
        "python -m qtconsole",
        "/usr/bin/python3 -m jupyter console",
        r"C:\env\Scripts\jupyter.exe qtconsole",
        r"C:\env\pythonw.exe C:\env\Scripts\jupyter-qtconsole-script.pyw",
        r"C:\env\Scripts\jupyter-qtconsole.exe",
    ],
)
def test_a_console_is_known_by_its_program(command: str) -> None:
    """Whatever way a console is started, it gets text that needs no update."""
    assert is_console(command.split())


@pytest.mark.parametrize(
    "command",
    [
        "/env/bin/python /env/bin/jupyter-lab /home/me/qtconsole",
        "python -m jupyterlab --notebook-dir=jupyter-console",
        "jupyter-notebook qtconsole",
        "/opt/code/code --type=utility jupyter_console.py",
        "python -m pytest",
        "python",
        "-m",
        "",
    ],
)
def test_a_name_that_is_opened_makes_no_console(command: str) -> None:
    """A notebook stays one where its folder is called like a console."""
    assert not is_console(command.split())


def test_spyders_consoles_are_consoles() -> None:
    """Spyder's kernels are known by their shell, as another process may have started them."""
    shell = type("SpyderShell", (), {"kernel": object(), "__module__": "spyder_kernels.console.shell"})()
    assert front_of(shell) is Front.CONSOLE


def test_a_shell_without_a_kernel_is_a_terminals() -> None:
    """IPython itself, and a program that runs cells, print."""
    with new_shell() as shell:
        assert front_of(shell) is Front.TERMINAL
