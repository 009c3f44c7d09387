"""Name what users import from ipyreconnect; imports the parts, and IPython, only when they are asked for."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .client.client import Client as Client
    from .errors import AttemptFailed as AttemptFailed
    from .errors import CallerError as CallerError
    from .errors import ConnectionLost as ConnectionLost
    from .errors import ExpectTimeout as ExpectTimeout
    from .errors import NotConnected as NotConnected
    from .errors import OutboxFull as OutboxFull
    from .errors import Overrun as Overrun
    from .errors import PeerError as PeerError
    from .errors import ReconnectError as ReconnectError
    from .errors import Refused as Refused
    from .errors import ScriptFailed as ScriptFailed
    from .errors import SettingsError as SettingsError
    from .lines.delivery import Delivery as Delivery
    from .lines.line import Line as Line
    from .lines.transcript import Transcript as Transcript
    from .protocol.answer import Answer as Answer
    from .protocol.match import Match as Match
    from .secret import Secret as Secret
    from .settings import TLS as TLS
    from .settings import Heartbeat as Heartbeat
    from .settings import KeepAlive as KeepAlive
    from .settings import Retry as Retry

__version__ = "0.2.0"

__all__ = [
    "TLS",
    "Answer",
    "AttemptFailed",
    "CallerError",
    "Client",
    "ConnectionLost",
    "Delivery",
    "ExpectTimeout",
    "Heartbeat",
    "KeepAlive",
    "Line",
    "Match",
    "NotConnected",
    "OutboxFull",
    "Overrun",
    "PeerError",
    "ReconnectError",
    "Refused",
    "Retry",
    "ScriptFailed",
    "Secret",
    "SettingsError",
    "Transcript",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_HOMES: Final = {
    "ipyreconnect.client.client": ("Client",),
    "ipyreconnect.errors": (
        "AttemptFailed",
        "CallerError",
        "ConnectionLost",
        "ExpectTimeout",
        "NotConnected",
        "OutboxFull",
        "Overrun",
        "PeerError",
        "ReconnectError",
        "Refused",
        "ScriptFailed",
        "SettingsError",
    ),
    "ipyreconnect.lines.delivery": ("Delivery",),
    "ipyreconnect.lines.line": ("Line",),
    "ipyreconnect.lines.transcript": ("Transcript",),
    "ipyreconnect.protocol.answer": ("Answer",),
    "ipyreconnect.protocol.match": ("Match",),
    "ipyreconnect.secret": ("Secret",),
    "ipyreconnect.settings": ("TLS", "Heartbeat", "KeepAlive", "Retry"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker takes any name as good once it sees a module's __getattr__

    def __getattr__(name):
        """Import a public name on first use, so that `import ipyreconnect` costs next to nothing."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        if name == "Client":
            _have_clients_shown()  # where IPython began after the package was imported
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOME_OF.keys())


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics, on ``%load_ext ipyreconnect``."""
    from .jupyter.display import register
    from .jupyter.magics.extension import load

    register(shell)
    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Stop every connection of the process and take the magics away, on ``%unload_ext ipyreconnect``."""
    from .jupyter.magics.extension import unload

    unload(shell)


def _have_clients_shown() -> None:
    """Have IPython show clients as panels, if it runs in this process; nothing is imported else."""
    module = sys.modules.get("IPython.core.getipython")
    shell = None if module is None else module.get_ipython()
    if shell is not None:
        from .jupyter.display import register

        register(shell)


_have_clients_shown()
