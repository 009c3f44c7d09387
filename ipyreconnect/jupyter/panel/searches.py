"""What the views of a log search for, each on its own; the searching is done on a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import SettingsError
from ...lines.transcript import Transcript
from .commands import Commands, explain
from .finder import Finder, Query

__all__ = ["Searches"]


@dataclass
class Search:
    """What one view searches for.

    Attributes:
        id: the number that the view gave it.
        finder: its hits; None where the query is none.
        error: what is wrong with the query, or kept the search from going on.
        running: whether the thread works on it, or will.

    """

    id: int
    finder: Finder | None
    error: str = ""
    running: bool = False

    @property
    def is_behind(self) -> bool:
        """Whether there are lines to be searched, and nothing is wrong."""
        return self.finder is not None and not self.error and bool(self.finder.behind)

    def progress(self) -> dict[str, Any]:
        """Return what the view is told of it."""
        finder = self.finder
        return {
            "id": self.id,
            "first": finder.first if finder is not None else 0,
            "end": finder.end if finder is not None else 0,
            "behind": finder.behind if finder is not None else 0,
            "error": self.error,
        }


class Searches:
    """The searches of one transcript, by view. Called on the publisher's thread.

    Args:
        transcript: what is searched.
        changed: called, on any thread, when there is something new to tell.

    """

    def __init__(self, transcript: Transcript, changed: Callable[[], None]) -> None:
        self._transcript = transcript
        self._changed = changed
        self._thread = Commands()  # of its own: a search may take seconds
        self._searches: dict[str, Search] = {}

    def __len__(self) -> int:
        """Return how many views search."""
        return len(self._searches)

    def begin(self, view: str, number: int, query: Query) -> None:
        """Begin a search in the place of the view's last one."""
        self.end(view)
        search = self._searches[view] = Search(number, None)
        try:
            search.finder = Finder(self._transcript, query)
        except SettingsError as error:
            search.error = explain(error)

    def end(self, view: str) -> None:
        """End the view's search, if it has one."""
        search = self._searches.pop(view, None)
        if search is not None and search.finder is not None:
            search.finder.close()

    def end_all(self) -> None:
        """End them all."""
        for view in list(self._searches):
            self.end(view)

    def finder(self, view: str) -> Finder | None:
        """Return the hits of the view's search; None where it has none."""
        search = self._searches.get(view)
        return None if search is None else search.finder

    def progress(self) -> dict[str, dict[str, Any]]:
        """Return how far each view's search is, and have each go on if it is behind."""
        for view, search in self._searches.items():
            if search.is_behind and not search.running:
                search.running = True
                self._thread.submit(partial(self._advance, view, search), partial(self._fail, search))
        return {view: search.progress() for view, search in self._searches.items()}

    def _advance(self, view: str, search: Search) -> None:
        """Search what is there, on the thread."""
        finder = search.finder
        assert finder is not None
        while self._searches.get(view) is search and finder.advance():
            self._changed()
        search.running = False
        self._changed()

    def _fail(self, search: Search, error: BaseException) -> None:
        """Say what is wrong, and go on no more: it would be wrong again."""
        search.error = explain(error)
        self._changed()
