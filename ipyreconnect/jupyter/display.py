"""Has a notebook show a client as its panel; the panel itself is imported when the first one is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..client.client import Client

__all__ = ["register"]

HOME = "ipyreconnect.client.client"
"""The module of `Client`: by its name, as a shell that shows none imports none."""


def register(shell: InteractiveShell) -> None:
    """Have this shell show a client, or one of a subclass, as its panel, where the front end can show one.

    Imports nothing else of the package; may be repeated.
    """
    formatter: Any = getattr(shell, "display_formatter", None)
    if formatter is not None:
        formatter.mimebundle_formatter.for_type_by_name(HOME, "Client", bundle_of)


def bundle_of(client: Client) -> Any:
    """Return what a front end shows of a client; None: its repr, as of any object."""
    own = getattr(client, "_repr_mimebundle_", None)
    if own is not None:  # of a subclass, which the formatter does not ask where something is registered
        return own(include=None, exclude=None)
    if not _in_notebook():
        return None
    from .panel.panel import panel_for

    return panel_for(client)._repr_mimebundle_(include=None, exclude=None)


def _in_notebook() -> bool:
    """Say whether a front end that can show widgets is there."""
    from IPython.core.getipython import get_ipython

    from .output.front import Front, front_of

    return front_of(get_ipython()) is Front.NOTEBOOK
