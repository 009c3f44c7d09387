"""Has IPython's formatter show a client as its panel; the panel is imported when the first one is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..client.client import Client

__all__ = ["register"]

HOME = "ipyreconnect.client.client"
"""The module of `Client`; the formatter knows the class by name, so that it need not be imported."""


def register(shell: InteractiveShell) -> None:
    """Register the panel as the rich display of clients in this shell.

    May be called repeatedly, and imports nothing else of the package.
    """
    formatter: Any = getattr(shell, "display_formatter", None)
    if formatter is not None:
        formatter.mimebundle_formatter.for_type_by_name(HOME, "Client", bundle_of)


def bundle_of(client: Client) -> Any:
    """Return the MIME bundle of a client's panel; None where no widget can be shown: then its repr is."""
    own = getattr(client, "_repr_mimebundle_", None)
    if own is not None:  # defined by a subclass: the formatter does not call it once a function is registered
        return own(include=None, exclude=None)
    if not _in_notebook():
        return None
    from .panel.panel import panel_for

    return panel_for(client)._repr_mimebundle_(include=None, exclude=None)


def _in_notebook() -> bool:
    """Return whether the front end can show widgets."""
    from IPython.core.getipython import get_ipython

    from .output.front import Front, front_of

    return front_of(get_ipython()) is Front.NOTEBOOK
