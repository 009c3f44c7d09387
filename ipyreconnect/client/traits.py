"""Traits that are computed when they are read, and whose observers run on a thread of their own; knows no
connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import traitlets
from traitlets.traitlets import EventHandler
from traitlets.utils.bunch import Bunch

from .notifier import Notifier
from .origin import Origin, key_of

__all__ = ["Change", "Live", "Observed"]

Change = tuple[str, Any, Any]
"""The name of a trait, its old value and its new value."""

log = logging.getLogger("ipyreconnect")


class Live(traitlets.TraitType[Any, Any]):
    """A trait that is computed when it is read; its owner notifies the observers.

    Args:
        read: Called with the owner, on the thread that reads the trait; returns the value.
        write: Called with the owner and a new value, on the thread that sets the trait; None: read-only.
        about: What the trait means.
    """

    def __init__(
        self,
        read: Callable[[Any], Any],
        write: Callable[[Any, Any], None] | None = None,
        about: str = "",
    ) -> None:
        super().__init__(help=about, read_only=write is None, allow_none=True)
        self._read = read
        self._write = write

    def get(self, obj: Any, cls: Any = None) -> Any:
        """Compute the value."""
        return self._read(obj)

    def set(self, obj: Any, value: Any) -> None:
        """Pass a new value to the owner.

        Raises:
            TraitError: The trait is read-only.
        """
        if self._write is None:
            raise traitlets.TraitError(f"{self.name} follows the connection; it can be observed, not set")
        self._write(obj, value)


class Observed(traitlets.HasTraits):
    """Has traits whose observers run on the notifier's thread, in the context that registered them.

    `_origin` is the context for observers that were registered by other means than `observe`.
    """

    _origin: Origin
    _origins: dict[object, Origin]

    def __init__(self) -> None:
        super().__init__()
        self._calls: Notifier | None = None
        self._origin = Origin()
        self.__dict__.setdefault("_origins", {})

    def observe(
        self,
        handler: Callable[..., Any],
        names: Any = traitlets.All,
        type: Any = "change",  # noqa: A002 - traitlets' name for it
    ) -> None:
        """Call `handler(change)` when a trait changes, on the observers' thread; see `HasTraits.observe`."""
        super().observe(handler, names, type)
        # traitlets registers the observers that a subclass declares before `__init__` runs.
        self.__dict__.setdefault("_origins", {})[key_of(handler)] = Origin()

    def unobserve(
        self,
        handler: Callable[..., Any],
        names: Any = traitlets.All,
        type: Any = "change",  # noqa: A002 - traitlets' name for it
    ) -> None:
        """Stop calling `handler`; see `HasTraits.unobserve`."""
        super().unobserve(handler, names, type)
        # If it still observes another trait, it is called in the owner's context from now on.
        self._origins.pop(key_of(handler), None)

    def unobserve_all(self, name: Any = traitlets.All) -> None:
        """Stop calling all handlers of a trait; see `HasTraits.unobserve_all`."""
        super().unobserve_all(name)
        if name is traitlets.All:
            self._origins.clear()

    @property
    def _notifier(self) -> Notifier:
        """Runs the observers; made when it is first needed. One thread at a time may make it."""
        if self._calls is None:
            self._calls = Notifier()
        return self._calls

    def _notify(self, changes: list[Change]) -> None:
        """Notify the observers, in order, without waiting for them. One thread at a time may call it."""
        if changes and self._trait_notifiers:
            self._notifier.post(lambda: self._run_observers(changes))

    def _run_observers(self, changes: list[Change]) -> None:
        for name, old, new in changes:
            change = Bunch(name=name, old=old, new=new, owner=self, type="change")
            # `notify_change` would skip the other observers where one raises.
            for observer in self._observers(name):
                try:
                    self._origins.get(key_of(observer), self._origin).call(observer, change)
                except BaseException:  # a SystemExit of one must not stop the others
                    log.exception("an observer of %s failed; the connection and the others go on", name)

    def _observers(self, name: str) -> list[Callable[[Bunch], object]]:
        found = [
            observer
            for trait in (name, traitlets.All)
            for kind in ("change", traitlets.All)
            for observer in self._trait_notifiers.get(trait, {}).get(kind, ())
        ]
        return [
            getattr(self, each.name) if isinstance(each, EventHandler) and each.name else each
            for each in found
        ]
