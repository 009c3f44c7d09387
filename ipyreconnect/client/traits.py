"""Traits whose values are looked up when they are read, and whose observers run on a thread of their own;
knows no connection.
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
"""Of which trait, the value before, and the value now."""

log = logging.getLogger("ipyreconnect")


class Live(traitlets.TraitType[Any, Any]):
    """A trait whose value is looked up when it is read; its owner tells who observes it.

    read, write: called with the owner, on the thread that reads or sets it. Without `write` it is only read.
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
        """Look the value up."""
        return self._read(obj)

    def set(self, obj: Any, value: Any) -> None:
        """Have the owner change it. Raises TraitError where it is only read."""
        if self._write is None:
            raise traitlets.TraitError(f"{self.name} follows the connection; it can be observed, not set")
        self._write(obj, value)


class Observed(traitlets.HasTraits):
    """Has traits whose observers are called on the notifier's thread, each where it was given.

    `_origin` is where those are called of which that is not known.
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
        # Those that a subclass declares are registered before `__init__`.
        self.__dict__.setdefault("_origins", {})[key_of(handler)] = Origin()

    def unobserve(
        self,
        handler: Callable[..., Any],
        names: Any = traitlets.All,
        type: Any = "change",  # noqa: A002 - traitlets' name for it
    ) -> None:
        """Call `handler` no more; see `HasTraits.unobserve`."""
        super().unobserve(handler, names, type)
        # Where it still observes another trait, it is called where its owner was made.
        self._origins.pop(key_of(handler), None)

    def unobserve_all(self, name: Any = traitlets.All) -> None:
        """Call no handler of that trait any more; see `HasTraits.unobserve_all`."""
        super().unobserve_all(name)
        if name is traitlets.All:
            self._origins.clear()

    @property
    def _notifier(self) -> Notifier:
        """Who calls the observers: most have none, and need none. One thread at a time, the first time."""
        if self._calls is None:
            self._calls = Notifier()
        return self._calls

    def _notify(self, changes: list[Change]) -> None:
        """Have the observers told, in order. One thread at a time; waits for none of them."""
        if changes and self._trait_notifiers:
            self._notifier.post(lambda: self._tell(changes))

    def _tell(self, changes: list[Change]) -> None:
        for name, old, new in changes:
            change = Bunch(name=name, old=old, new=new, owner=self, type="change")
            # Not by `notify_change`: there, one that raises would rob the others.
            for observer in self._observers(name):
                try:
                    self._origins.get(key_of(observer), self._origin).call(observer, change)
                except BaseException:  # a SystemExit of one must not end the others
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
