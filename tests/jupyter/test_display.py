"""Prove that a client shows itself as what the front end can show, whoever was there first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ipyreconnect import Client
from ipyreconnect.jupyter import display
from tests.jupyter.shells import new_shell


class Own(Client):
    """Of a user's, which shows itself."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": "mine"}


@pytest.mark.parametrize("times", [1, 2])
def test_a_terminal_shows_one_line(times: int) -> None:
    """Where no widget can be shown, a client is its repr."""
    with new_shell() as shell:
        for _ in range(times):
            display.register(shell)
        client = Client("127.0.0.1:9")
        data, _ = shell.display_formatter.format(client)
        assert data == {"text/plain": repr(client)}


def test_a_subclass_may_show_itself() -> None:
    """What a user's class says of itself is shown, and not the panel."""
    with new_shell() as shell:
        display.register(shell)
        assert shell.display_formatter.format(Own("127.0.0.1:9"))[0] == {"text/plain": "mine"}


@pytest.mark.parametrize(
    "first",
    [
        "InteractiveShell.instance()\nfrom ipyreconnect import Client",
        "import ipyreconnect\nInteractiveShell.instance()\nipyreconnect.Client",
        "import ipyreconnect\nInteractiveShell.instance().run_line_magic('load_ext', 'ipyreconnect')",
    ],
)
def test_a_shell_knows_clients_without_our_magics(first: str, tmp_path: Path) -> None:
    """Whichever is there first, a shell or the package: a client can show its panel; and nothing of ours is
    imported for that before one is shown.
    """
    program = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.ipython_dir = sys.argv[1]\n"
        f"{first}\n"
        "formatter = InteractiveShell.instance().display_formatter.mimebundle_formatter\n"
        "assert formatter.for_type_by_name('ipyreconnect.client.client', 'Client') is not None\n"
        "assert 'load_ext' in sys.argv[2] or 'ipyreconnect.jupyter.panel' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), first],
        check=True,
        cwd=Path.cwd(),
        env={"IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin"},
    )
