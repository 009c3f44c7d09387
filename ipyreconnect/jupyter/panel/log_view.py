"""The live log as a widget: the browser shows a window of the transcript and asks only for it; no line of it
is kept here or in a trait.

What goes over the wire (custom messages only; web/log.mjs is the other side):

browser → kernel
    hello  {view, want}                 a fresh view; want = {follow, rows, unseen}
    ack    {view, seq, want}            tick `seq`, which asked, is painted; also a sign of life, and tells
                                        another want
    bye    {view}
    rows   {view, id, a, b}             the lines a ≤ number < b; the newest request of a view wins
                                        with `hits`: the hits with ordinals a ≤ ordinal < b
    line   {view, id, n}                one whole line, up to `WHOLE_LINE` characters
    find   {view, id, text, regex, case}    search all lines, and go on as they come; no text: no more
    near   {view, id, n, direction}     the next hit after (1), or the last before (-1), line n
    save   {view, id, format, hits}     write the lines, or the hits, to a file beside the notebook

kernel → browser
    tick   {seq, asks, late, first, end, tail, found}     what there is, the newest lines while a view
                                        follows, and of each view's search {view: {id, first, end, behind,
                                        error}}; asks: to be acknowledged
    beat   {late}                           nothing has changed
    rows   {view, id, first, end, rows}
    line   {view, id, n, text}
    near   {view, id, at}               [ordinal, line number], or null
    saved  {view, id, text, error}

`rows` and `tail` are {a, n, dir, mark, part, cut, before, numbers} and two buffers: the texts as UTF-8,
joined by line feeds, and the times as float64. Control characters never travel raw: each is written out
between U+0001 and U+0002 (see `spell_out` in rows.py).
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from traitlets import Unicode

from ...client.client import Client
from ...errors import SettingsError
from ...lines.files import save_lines
from ...lines.line import Line
from ..output.text import count_of_lines
from .channel import Tick, View
from .commands import Commands, explain
from .finder import Finder, Query
from .page import script, style
from .part import Part
from .rows import encode_rows, spell_out

__all__ = ["LogView"]

WINDOW_LINES = 512
"""Two pages of the browser's cache: one answer is decoded and drawn within a frame."""
WINDOW_BYTES = 512 * 1024
"""A window of long lines is clipped to about this: a larger message would hold up the kernel's others."""
TAIL_LINES = 200
"""More rows than a tall screen shows."""
TAIL_BYTES = 64 * 1024
"""15 ticks a second of this size are 1 MiB/s, which a browser takes without a dropped frame."""
WHOLE_LINE = 1024 * 1024
"""Characters of a whole line; beyond that `client.transcript[n]` is the tool."""
LONGEST_QUERY = 1000
"""Characters of what is searched for."""


@dataclass
class Search:
    """What one view looks for: its number there, the finder (None for a bad query) and what is wrong."""

    id: int
    finder: Finder | None
    error: str = ""
    running: bool = False

    def close(self) -> None:
        """End it at once. Any thread."""
        if self.finder is not None:
            self.finder.close()

    def news(self) -> dict[str, Any]:
        """Return how far it is."""
        finder = self.finder
        if finder is None:
            return {"id": self.id, "first": 0, "end": 0, "behind": 0, "error": self.error}
        return {
            "id": self.id,
            "first": finder.first,
            "end": finder.end,
            "behind": finder.behind,
            "error": self.error,
        }


class LogView(Part):
    """The transcript of a client as a log with as many rows as there are lines."""

    _esm = Unicode(script("log")).tag(sync=True)
    _css = Unicode(style("theme", "log")).tag(sync=True)
    height = Unicode("288px", help="How tall the rows' pane is, in CSS units; the user can drag it.").tag(
        sync=True
    )
    label = Unicode("", help="What a screen reader calls the log.").tag(sync=True)

    def __init__(self, client: Client, **traits: Any) -> None:
        self._client = client
        self._searching = Commands()  # apart from all others: it may take seconds
        self._saving = Commands()
        self._requests: dict[str, Mapping[str, Any]] = {}
        self._searches: dict[str, Search] = {}
        super().__init__(**traits)
        client.add_watcher(self.channel.poke)

    def close(self) -> None:
        """Close the log; the transcript stays with the client."""
        self._client.remove_watcher(self.channel.poke)
        super().close()
        # Now that nothing is heard any more, no other one begins.
        for view in list(self._searches):
            self.left(view)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what there is and, while a view follows, the newest lines."""
        transcript = self._client.transcript
        end, first = transcript.end, transcript.first
        found = {view: search.news() for view, search in self._pursued()}
        content: dict[str, Any] = {"first": first, "end": end, "tail": None, "found": found}
        rows = max(
            (int(view.wants.get("rows", 0)) for view in views.values() if view.wants.get("follow")), default=0
        )
        buffers: list[bytes] = []
        if rows and end > first:
            content["tail"], buffers = self._window(max(first, end - min(rows, TAIL_LINES)), end, TAIL_BYTES)
        # Lines that are there already change in nothing but their marks.
        marks = content["tail"] and (content["tail"]["a"], content["tail"]["mark"])
        return Tick(content, buffers, key=(first, end, marks, repr(found)))

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Answer a request of a view for lines."""
        if kind == "rows":
            # A user who drags the thumb asks faster than we answer: of the requests that wait, only a view's
            # newest counts.
            view = str(content["view"])
            if view not in self._requests:
                self.publisher.post(lambda: self._send_rows(self._requests.pop(view)))
            self._requests[view] = content
        elif kind == "line":
            self._send_line(content)
        elif kind == "find":
            self._find(content)
        elif kind == "near":
            search = self._searches.get(str(content["view"]))
            at = search and search.finder and search.finder.near(int(content["n"]), int(content["direction"]))
            self._reply(content, "near", at=at)
        elif kind == "save":
            self._saving.submit(
                lambda: self._save(content), lambda error: self._reply(content, "saved", error=explain(error))
            )

    def _reply(
        self, request: Mapping[str, Any], kind: str, buffers: Sequence[bytes] = (), **content: Any
    ) -> None:
        """Answer one view's request. Any thread: the publisher sends it."""
        message = {"m": kind, "view": request["view"], "id": request["id"], **content}
        self.publisher.post(lambda: self.send(message, list(buffers)))

    def _send_rows(self, request: Mapping[str, Any]) -> None:
        a = max(0, int(request["a"]))
        b = min(max(a, int(request["b"])), a + WINDOW_LINES)
        bounds: Any = self._client.transcript
        search = self._searches.get(str(request["view"]))
        if not request.get("hits"):
            rows, buffers = self._window(a, b, WINDOW_BYTES)
        elif search is not None and search.finder is not None:
            bounds = search.finder
            ordinal, lines = bounds.window(max(0, a - 1), b)
            before = lines.pop(0).time if lines and ordinal < a else None
            rows, buffers = encode_rows(lines, WINDOW_BYTES, before)
            rows["a"], rows["numbers"] = max(a, ordinal), [line.number for line in lines]
        else:
            return  # the search was given up meanwhile
        self._reply(
            request,
            "rows",
            buffers,
            hits=bool(request.get("hits")),
            first=bounds.first,
            end=bounds.end,
            rows=rows,
        )

    # -- searching and saving -------------------------------------------------------------------------

    def _find(self, request: Mapping[str, Any]) -> None:
        view, text = str(request["view"]), str(request.get("text", ""))[:LONGEST_QUERY]
        self.left(view)
        if text and view in self.channel.views:  # one that was forgotten asks again when it is back
            search = Search(int(request["id"]), None)
            try:
                query = Query(text, bool(request.get("regex")), bool(request.get("case")))
                search.finder = Finder(self._client.transcript, query)
            except SettingsError as error:
                search.error = explain(error)
            self._searches[view] = search
        self.channel.poke()

    def left(self, view: str) -> None:
        """End the search of a view that is not there any more, or looks for something else."""
        search = self._searches.pop(view, None)
        if search is not None:
            search.close()

    def _pursued(self) -> Iterable[tuple[str, Search]]:
        """Yield the views' searches, having had each go on if there is more."""
        for view, search in self._searches.items():
            if not search.running and not search.error and search.finder is not None and search.finder.behind:
                search.running = True
                self._searching.submit(partial(self._go_on, view, search), partial(self._give_up, search))
            yield view, search

    def _go_on(self, view: str, search: Search) -> None:
        """Look through what there is, on the commands' thread; the next tick tells."""
        finder = search.finder
        assert finder is not None
        while self._searches.get(view) is search and finder.advance():
            self.channel.poke()
        search.running = False
        self.channel.poke()

    def _give_up(self, search: Search, error: BaseException) -> None:
        """Say what is wrong, and look no further: it would be wrong again."""
        search.error = explain(error)
        self.channel.poke()

    def _save(self, request: Mapping[str, Any]) -> None:
        """Write a file where the kernel runs, which is where the notebook is."""
        search = self._searches.get(str(request["view"]))
        ending = "jsonl" if request.get("format") == "jsonl" else "txt"
        name = re.sub(r"[^\w.-]+", "-", self._client.name).strip("-.") or "connection"
        moment = time.strftime("%Y%m%d-%H%M%S")
        path = Path(f"{name}-{moment}.{ending}").absolute()
        for number in itertools.count(2):
            if not os.path.lexists(path):
                break
            path = path.with_name(f"{name}-{moment}-{number}.{ending}")
        lines: Iterable[Line] = self._client.transcript
        if request.get("hits") and search is not None and search.finder is not None:
            lines = search.finder.lines()
        try:
            count = save_lines(lines, path, "x")
        except OSError as error:
            raise SettingsError(
                f"cannot write {path}: {error.strerror}; %cd FOLDER has it written elsewhere"
            ) from None
        said = f"{count_of_lines(count)} saved to {path}"
        self._reply(request, "saved", text=said, error="")

    def _send_line(self, request: Mapping[str, Any]) -> None:
        number = int(request["n"])
        lines = self._client.transcript[number : number + 1]
        text = lines[0].text if lines else ""
        shown = spell_out(text[:WHOLE_LINE]).encode("utf-8", "replace")
        self._reply(
            request, "line", [shown], n=number, forgotten=not lines, cut=max(0, len(text) - WHOLE_LINE)
        )

    def _window(self, a: int, b: int, budget: int) -> tuple[dict[str, Any], list[bytes]]:
        """Return the lines a ≤ number < b that are still kept; the one before them tells its time."""
        transcript = self._client.transcript
        lines = transcript[max(a - 1, transcript.first, 0) : b]
        before = None
        if lines and lines[0].number < a:
            before, lines = lines[0].time, lines[1:]
        return encode_rows(lines, budget, before)
