"""How a client shows itself in a real kernel's notebook."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import Kernel

pytestmark = pytest.mark.kernel


def test_a_client_shows_its_panel_without_our_magics(kernel: Kernel) -> None:
    """A cell that ends with a client, or with one of a subclass, shows the panel: before, while and after the
    extension is loaded.
    """
    kernel.run("from ipyreconnect import Client\nclass Mine(Client): pass\nclient = Client('127.0.0.1:9')")
    for loading in ("", "%load_ext ipyreconnect\n", "%unload_ext ipyreconnect\n"):
        cell = kernel.run(f"{loading}client")
        assert kernel.results[cell].startswith("<Panel of <Client 127.0.0.1 "), kernel.results[cell]
    cell = kernel.run("Mine('127.0.0.1:9')")
    assert kernel.results[cell].startswith("<Panel of <Client 127.0.0.1 ")
    cell = kernel.run("display(client)")
    assert kernel.panels(cell) == 1
    assert not kernel.errors
