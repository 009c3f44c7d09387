"""What a panel keeps up to date in a saved notebook, and when."""

from __future__ import annotations

from contextlib import closing

from ipyreconnect.client.client import Client
from ipyreconnect.jupyter.panel.panel import Panel


def test_what_is_stored_never_says_for_ever_what_takes_a_moment() -> None:
    """A kernel that is shut down while it stops leaves no notebook that says "stopping"."""

    class Shown:
        def __init__(self) -> None:
            self.updates = 0

        def update(self, obj: object, **kwargs: object) -> None:
            self.updates += 1

    with closing(Panel(Client("127.0.0.1:9"))) as panel:
        shown = Shown()
        panel._stored.append(shown)  # type: ignore[arg-type]  # all that it needs of a display
        for state in ("connecting", "stopping"):
            panel._look(state)
        assert shown.updates == 0
        panel._look("stopped")
        assert shown.updates == 1
