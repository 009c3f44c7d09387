"""What a panel sends when it is shown, and what it keeps up to date in a saved notebook."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from ipyreconnect.client.client import Client
from ipyreconnect.jupyter.panel.channel import EXPECTED
from ipyreconnect.jupyter.panel.copies import SavedCopies
from ipyreconnect.jupyter.panel.panel import Panel


def test_what_is_stored_never_says_for_ever_what_takes_a_moment() -> None:
    """A kernel that is shut down while it stops leaves no notebook that says "stopping"."""

    class Shown:
        def __init__(self) -> None:
            self.updates = 0

        def update(self, obj: object, **kwargs: object) -> None:
            self.updates += 1

    client, shown = Client("127.0.0.1:9"), Shown()
    copies = SavedCopies(client.transcript, dict)
    copies.add(shown, "waiting")
    for state in ("connecting", "stopping"):
        copies.poll(state, 100.0)
    assert shown.updates == 0
    copies.poll("stopped", 100.0)
    assert shown.updates == 1


@pytest.mark.parametrize("saved_lines", [0, 5])
def test_a_panel_that_is_shown_reckons_with_its_view_at_once(saved_lines: int) -> None:
    """On a deaf kernel it is alive during the cell that shows it, also where nothing of it is stored."""
    with closing(Panel(Client("127.0.0.1:9"), saved_lines=saved_lines)) as panel:
        panel.show()
        passed = threading.Event()
        panel.log.publisher.post(passed.set)
        assert passed.wait(5)
        assert EXPECTED in panel.log.channel.views
