"""The panels as the magics use them. The first one that is shown imports ipywidgets; a terminal, which shows
none, does not wait for that.
"""

from __future__ import annotations

import sys
from types import ModuleType

from ...client.client import Client

__all__ = ["close_all_panels", "close_panel", "show_panel", "store_panel"]

_PANEL = "ipyreconnect.jupyter.panel.panel"


def show_panel(client: Client) -> None:
    """Show the client's panel under the running cell."""
    from ..panel.panel import panel_for

    panel_for(client).show()


def store_panel(client: Client) -> None:
    """Bring up to date what a saved notebook shows of the client's panel; without a panel do nothing."""
    if (panels := _imported()) is not None:
        panels.panel_for(client).store()


def close_panel(client: Client) -> bool:
    """Close the client's panel; return whether it had one."""
    panels = _imported()
    return panels is not None and bool(panels.close_panel(client))


def close_all_panels() -> None:
    """Close every panel of the process, also those that no magic made."""
    if (panels := _imported()) is not None:
        panels.close_all_panels()


def _imported() -> ModuleType | None:
    """Return the module of the panels, or None where no panel was ever shown."""
    return sys.modules.get(_PANEL)
