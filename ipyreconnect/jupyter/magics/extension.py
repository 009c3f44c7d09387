"""Put the magics into an IPython shell, and take everything out of it again."""

from __future__ import annotations

import atexit
import weakref
from contextlib import ExitStack
from functools import partial
from typing import Any

from IPython.core.error import UsageError
from traitlets import TraitError

from .completion import make_matcher
from .magics import ReconnectMagics
from .typed import TypedLines

__all__ = ["load", "unload"]

_instances: weakref.WeakSet[ReconnectMagics] = weakref.WeakSet()
"""Those of all shells of the process."""


def load(shell: Any) -> None:
    """Register the magics in an IPython shell; a second time changes nothing.

    Raises:
        UsageError: the profile sets `c.Reconnect.…` to something impossible.

    """
    for other in _registered(shell):
        if type(other) is ReconnectMagics:
            return
        other.unregister()  # left by a module that was reloaded
    try:
        magics = ReconnectMagics(shell)
        _register(shell, magics)
    except TraitError as error:
        raise UsageError(
            f"ipyreconnect is not loaded, because of a setting in the profile: {error}"
        ) from None
    _take_over_from_ended_shells(magics)


def unload(shell: Any) -> None:
    """Leave the shell as it was before `load`: no magic, no connection, no thread, no panel."""
    for magics in _registered(shell):
        magics.unregister()


def _registered(shell: Any) -> list[Any]:
    # By name: after a reload of its module the class of an older instance is another one.
    return [
        one
        for one in shell.configurables
        if type(one).__name__ == ReconnectMagics.__name__
        and type(one).__module__ == ReconnectMagics.__module__
    ]


def _register(shell: Any, magics: ReconnectMagics) -> None:
    """Put the magics, their settings and their completion into the shell; each step says how it is undone."""
    undo = magics.undo
    _instances.add(magics)
    _put_magics(shell, magics, undo)
    _append(shell.configurables, magics.defaults, undo)
    _append(shell.input_transformers_cleanup, magics.cells.take_apart, undo, first=True)
    typed = TypedLines(shell, partial(magics.is_ours, "line"), partial(magics.is_ours, "cell"))
    typed.register()
    undo.callback(typed.unregister)
    for event, hear in (("pre_run_cell", magics.cell_began), ("post_run_cell", magics.cell_ended)):
        shell.events.register(event, hear)
        undo.callback(_remove, shell.events.callbacks[event], hear)
    if getattr(shell, "Completer", None) is not None:
        _append(shell.Completer.custom_matchers, make_matcher(shell, magics.known), undo)
    magics.defaults.observe(magics.configure_output, ["rate", "answers"])
    # The engine stops the connections at exit; printing has to end before the streams are closed.
    atexit.register(magics.output.exit)
    undo.callback(atexit.unregister, magics.output.exit)
    undo.callback(magics.cells.show_again)
    undo.callback(magics.close)  # comes first


def _put_magics(shell: Any, magics: ReconnectMagics, undo: ExitStack) -> None:
    manager = shell.magics_manager
    before = {
        (kind, name): known[name]
        for kind, known in manager.magics.items()
        for name in magics.magics[kind]
        if name in known
    }
    shell.register_magics(magics)  # which puts them among the configurables, too
    undo.callback(_remove, shell.configurables, magics)
    undo.callback(_take_magics, manager, magics, before)


def _take_magics(manager: Any, magics: ReconnectMagics, before: dict[tuple[str, str], Any]) -> None:
    """Put back what stood there before; what others have put there since stays."""
    for kind, own in magics.magics.items():
        for name, magic in own.items():
            if manager.magics[kind].get(name) is magic:
                del manager.magics[kind][name]
                earlier = before.get((kind, name))
                if earlier is not None and type(earlier).__name__ != "LazyMagic":
                    manager.magics[kind][name] = earlier
    if manager.registry.get(type(magics).__name__) is magics:
        del manager.registry[type(magics).__name__]


def _take_over_from_ended_shells(magics: ReconnectMagics) -> None:
    """Go on with what runs of shells that have ended: no cell could stop it there any more.

    IPython.embed() makes a new shell each time. A kernel's shell ends with its process.
    """
    for other in list(_instances):
        if other is not magics and not getattr(other.shell, "keep_running", True):
            magics.take_over(other)


def _append(entries: list[Any], entry: object, undo: ExitStack, *, first: bool = False) -> None:
    entries.insert(0 if first else len(entries), entry)
    undo.callback(_remove, entries, entry)


def _remove(entries: list[Any], entry: object) -> None:
    entries[:] = [other for other in entries if other is not entry and other != entry]
