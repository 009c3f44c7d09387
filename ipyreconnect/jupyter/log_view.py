"""The live log as a widget: the browser shows a window of the transcript and asks only for it; no line of it
is kept here or in a trait.

What goes over the wire (custom messages only; static/log_view.js is the other side):

browser → kernel
    hello  {view, want}                 a fresh view; want = {follow, rows, unseen}
    ack    {view, seq, want}            tick `seq` is painted; also a sign of life, and tells another want
    bye    {view}
    rows   {view, id, a, b}             the lines a ≤ number < b; the newest request of a view wins
    line   {view, id, n}                one whole line, up to `WHOLE_LINE` characters

kernel → browser
    tick   {seq, late, first, end, tail}    what there is, and while a view follows the newest lines
    beat   {late}                           nothing has changed
    rows   {view, id, first, end, rows}
    line   {view, id, n, text}

`rows` and `tail` are {a, n, dir, mark, cut, before} and two buffers: the texts as UTF-8, joined by line
feeds, and the times as float64. Control characters never travel raw: each is written out between U+0001 and
U+0002 (see `visible`).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from ipyreconnect.jupyter.part import Part, static_text
from ipyreconnect.jupyter.publisher import Tick, View
from ipyreconnect.protocol.transcript import Line

if TYPE_CHECKING:
    from ipyreconnect.client import Client

__all__ = ["LogView", "encode_rows", "visible"]

WINDOW_LINES = 512
"""Two pages of the browser's cache: one answer is decoded and drawn within a frame."""
WINDOW_BYTES = 512 * 1024
"""A window of long lines is clipped to about this: a larger message would hold up the kernel's others."""
TAIL_LINES = 200
"""More rows than a tall screen shows."""
TAIL_BYTES = 64 * 1024
"""15 ticks a second of this size are 1 MiB/s, which a browser takes without a dropped frame."""
ROW_CHARS = 1000
"""A row has this many characters of a longer line; the rest is fetched when the user asks for all of it."""
WHOLE_LINE = 1024 * 1024
"""Characters of a whole line; beyond that `client.transcript[n]` is the tool."""

# Characters that draw nothing, move the writing point, or turn the direction of what follows: a peer could
# hide text with them. The joiners U+200C and U+200D stay: scripts and emoji need them.
_INVISIBLE = (
    *range(0x80, 0xA0),
    0xAD,
    0x061C,
    0x180E,
    0x200B,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
)
# By their ASCII names: the signs that Unicode has for them (U+2400 …) are missing in most fonts.
_NAMES = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI"),
    *(
        "DLE",
        "DC1",
        "DC2",
        "DC3",
        "DC4",
        "NAK",
        "SYN",
        "ETB",
        "CAN",
        "EM",
        "SUB",
        "ESC",
        "FS",
        "GS",
        "RS",
        "US",
    ),
)
_VISIBLE = {
    **{code: f"\x01{name}\x02" for code, name in enumerate(_NAMES)},
    0x09: "\x01⇥\x02\t",
    0x7F: "\x01DEL\x02",
    **{code: f"\x01{code:02X}\x02" if code < 0x100 else f"\x01U+{code:04X}\x02" for code in _INVISIBLE},
}


def visible(text: str) -> str:
    """Return `text` with each control or invisible character written out between U+0001 and U+0002; a tab
    stays behind its sign.
    """
    # Printable lines are the rule, and this question costs 30 ns where a translation costs 5 µs.
    return text if text.isprintable() else text.translate(_VISIBLE)


def mark_of(line: Line) -> str:
    """Return the fate of a sent line as one letter: q(ueued), s(ent), a(cknowledged), u(nconfirmed); "-" for
    every other line.
    """
    status = getattr(line.delivery, "status", None)
    return str(getattr(status, "value", status))[0] if status else "-"


def encode_rows(
    lines: Sequence[Line], budget: int, before: float | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the JSON part and the two buffers of some consecutive lines.

    budget: characters for all the texts together; where they are more, each is cut to an equal share, and the
    row says how much is missing.
    before: the time of the line that precedes the first one.
    """
    texts = [line.text for line in lines]
    share = ROW_CHARS
    if sum(min(len(text), share) for text in texts) > budget:
        share = max(64, budget // len(texts))
    cut = {index: len(text) - share for index, text in enumerate(texts) if len(text) > share}
    content = {
        "a": lines[0].number if lines else 0,
        "n": len(lines),
        "dir": "".join(line.direction for line in lines),
        "mark": "".join(map(mark_of, lines)),
        "part": [index for index, line in enumerate(lines) if line.truncated],
        "cut": cut,
        "before": before,
    }
    return content, [
        "\n".join(visible(text[:share]) for text in texts).encode("utf-8", "replace"),
        array("d", [line.time for line in lines]).tobytes(),
    ]


class LogView(Part):
    """The transcript of a client as a log with as many rows as there are lines."""

    _esm = Unicode(static_text("link.js", "log_view.js")).tag(sync=True)
    _css = Unicode(static_text("theme.css", "log_view.css")).tag(sync=True)
    height = Unicode("22em", help="How tall the rows' pane is, in CSS units; the user can drag it.").tag(
        sync=True
    )
    label = Unicode("", help="What a screen reader calls the log.").tag(sync=True)

    def __init__(self, client: Client, **traits: Any) -> None:
        self._client = client
        self._requests: dict[str, Mapping[str, Any]] = {}
        super().__init__(**traits)
        client.add_watcher(self.channel.poke)

    def close(self) -> None:
        """Close the log; the transcript stays with the client."""
        self._client.remove_watcher(self.channel.poke)
        super().close()

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what there is and, while a view follows, the newest lines."""
        transcript = self._client.transcript
        end, first = transcript.end, transcript.first
        content: dict[str, Any] = {"first": first, "end": end, "tail": None}
        rows = max(
            (int(view.wants.get("rows", 0)) for view in views.values() if view.wants.get("follow")), default=0
        )
        if not rows or end == first:
            return Tick(content)
        content["tail"], buffers = self._window(max(first, end - min(rows, TAIL_LINES)), end, TAIL_BYTES)
        return Tick(content, buffers)

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

    def _send_rows(self, request: Mapping[str, Any]) -> None:
        a, b = int(request["a"]), int(request["b"])
        transcript = self._client.transcript
        rows, buffers = self._window(a, min(b, a + WINDOW_LINES), WINDOW_BYTES)
        content = {
            "m": "rows",
            "view": request["view"],
            "id": request["id"],
            "first": transcript.first,
            "end": transcript.end,
            "rows": rows,
        }
        self.send(content, buffers)

    def _send_line(self, request: Mapping[str, Any]) -> None:
        number = int(request["n"])
        lines = self._client.transcript[number : number + 1]
        text = lines[0].text if lines else ""
        content = {
            "m": "line",
            "view": request["view"],
            "id": request["id"],
            "n": number,
            "forgotten": not lines,
            "cut": max(0, len(text) - WHOLE_LINE),
        }
        self.send(content, [visible(text[:WHOLE_LINE]).encode("utf-8", "replace")])

    def _window(self, a: int, b: int, budget: int) -> tuple[dict[str, Any], list[bytes]]:
        """Return the lines a ≤ number < b that are still kept; the one before them tells its time."""
        transcript = self._client.transcript
        lines = transcript[max(a - 1, transcript.first, 0) : b]
        before = None
        if lines and lines[0].number < a:
            before, lines = lines[0].time, lines[1:]
        return encode_rows(lines, budget, before)
