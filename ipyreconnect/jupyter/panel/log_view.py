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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from traitlets import Unicode

from ...client.client import Client
from ...lines.transcript import Transcript
from .channel import Tick, View
from .commands import Commands, explain
from .finder import Finder, Query
from .page import script, style
from .part import Part
from .rows import encode_rows, spell_out
from .saving import save_beside_notebook
from .searches import Searches

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
        self._saving = Commands()
        self._requests: dict[str, Mapping[str, Any]] = {}
        self.searches = Searches(client.transcript, self.poke)
        super().__init__(**traits)
        client.add_watcher(self.poke)

    def close(self) -> None:
        """Close the log; the transcript stays with the client."""
        self._client.remove_watcher(self.poke)
        super().close()
        self.searches.end_all()  # now that no message comes any more, no other one begins

    def poke(self) -> None:
        """Note that something may have changed. Any thread; called with the client's lock, so no more."""
        self.channel.poke()

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what there is and, while a view follows, the newest lines."""
        transcript = self._client.transcript
        end, first = transcript.end, transcript.first
        found = self.searches.progress()
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
        """Answer a request of a view."""
        answers: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "rows": self._answer_rows,
            "line": self._send_line,
            "find": self._find,
            "near": self._send_near,
            "save": self._answer_save,
        }
        if kind in answers:
            answers[kind](content)

    def left(self, view: str) -> None:
        """End the search of a view that is gone."""
        self.searches.end(view)

    def _reply(
        self, request: Mapping[str, Any], kind: str, buffers: Sequence[bytes] = (), **content: Any
    ) -> None:
        """Answer one view's request. Any thread: the publisher sends it."""
        message = {"m": kind, "view": request["view"], "id": request["id"], **content}
        self.publisher.post(lambda: self.send(message, list(buffers)))

    def _answer_rows(self, request: Mapping[str, Any]) -> None:
        """Answer soon: a user who drags the thumb asks faster than we answer, and of the requests that wait,
        only a view's newest counts.
        """
        view = str(request["view"])
        if view not in self._requests:
            self.publisher.post(lambda: self._send_rows(self._requests.pop(view)))
        self._requests[view] = request

    def _send_rows(self, request: Mapping[str, Any]) -> None:
        a = max(0, int(request["a"]))
        b = min(max(a, int(request["b"])), a + WINDOW_LINES)
        hits = bool(request.get("hits"))
        bounds: Transcript | Finder = self._client.transcript
        if hits:
            finder = self.searches.finder(str(request["view"]))
            if finder is None:
                return  # the search was given up meanwhile
            bounds = finder
            rows, buffers = _hits(finder, a, b)
        else:
            rows, buffers = self._window(a, b, WINDOW_BYTES)
        self._reply(request, "rows", buffers, hits=hits, first=bounds.first, end=bounds.end, rows=rows)

    def _find(self, request: Mapping[str, Any]) -> None:
        view, text = str(request["view"]), str(request.get("text", ""))[:LONGEST_QUERY]
        self.searches.end(view)
        if text and view in self.channel.views:  # one that was forgotten asks again when it is back
            query = Query(text, bool(request.get("regex")), bool(request.get("case")))
            self.searches.begin(view, int(request["id"]), query)
        self.channel.poke()

    def _send_near(self, request: Mapping[str, Any]) -> None:
        finder = self.searches.finder(str(request["view"]))
        at = None if finder is None else finder.near(int(request["n"]), int(request["direction"]))
        self._reply(request, "near", at=at)

    def _answer_save(self, request: Mapping[str, Any]) -> None:
        finder = self.searches.finder(str(request["view"])) if request.get("hits") else None
        lines = self._client.transcript if finder is None else finder.lines()
        ending = "jsonl" if request.get("format") == "jsonl" else "txt"

        def save() -> None:
            self._reply(
                request, "saved", text=save_beside_notebook(lines, self._client.name, ending), error=""
            )

        self._saving.submit(save, lambda error: self._reply(request, "saved", error=explain(error)))

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


def _hits(finder: Finder, a: int, b: int) -> tuple[dict[str, Any], list[bytes]]:
    """Return the kept lines of the hits a ≤ ordinal < b; the hit before them tells its time."""
    ordinal, lines = finder.window(max(0, a - 1), b)
    before = lines.pop(0).time if lines and ordinal < a else None
    rows, buffers = encode_rows(lines, WINDOW_BYTES, before)
    return {**rows, "a": max(a, ordinal), "numbers": [line.number for line in lines]}, buffers
