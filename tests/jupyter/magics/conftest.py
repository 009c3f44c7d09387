"""A shell with the magics, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ipyreconnect
from tests.jupyter.shells import IMAP, new_shell, run
from tests.servers.line_server import LineServer, mute


@pytest.fixture
def shell() -> Iterator[Any]:
    with new_shell() as shell:
        ipyreconnect.load_ipython_extension(shell)
        yield shell
        ipyreconnect.unload_ipython_extension(shell)


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer(IMAP) as server:
        yield server


@pytest.fixture
def echoing(shell: Any) -> Iterator[tuple[Any, LineServer]]:
    with LineServer(mute) as server:
        run(shell, f"%connect {server.address}")
        yield shell, server
