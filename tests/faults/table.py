"""Write what the faults came to as a table, in Markdown; measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.faults.matrix import BEAT_EVERY, DOING, FAULTS, KEEPALIVE, SECURITY, WATCHED, Outcome

__all__ = ["render"]

ALONE = "… with keepalive alone"
KNOWN = "–"
KEPT = "kept"
NEVER = f"> {WATCHED:.0f}"


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the table as Markdown: for each fault one row of ours, and one of a socket with keepalive alone.

    Ours is the slowest of the connections in plain text, TLS 1.2 and TLS 1.3.
    """
    headings = [
        "what breaks, and seconds until it is noticed",
        *(doing.removesuffix(" after") for doing in DOING),
    ]
    rows = []
    for fault in dict.fromkeys(outcome.fault for outcome in outcomes):
        ours, alone = [fault], [ALONE]
        for doing, written in DOING.items():
            cells = [each for each in outcomes if (each.fault, each.doing) == (fault, doing)]
            never = KEPT if FAULTS[fault].kept else NEVER
            ours.append(_worst((each.noticed for each in cells), written, never))
            alone.append(_worst((each.bare for each in cells), written, never))
        rows += [ours, alone]
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = ["| " + " | ".join(_fit(row, widths)) + " |" for row in (headings, ruler, *rows)]
    legend = (
        f"Keepalive {KEEPALIVE}, heartbeats every {BEAT_EVERY:.0f} s; the slowest of {', '.join(SECURITY)}. "
        f"{KNOWN}: known before the line was to be written. {NEVER}: not noticed while it was watched. "
        f"{KEPT}: never given up, which is right."
    )
    return "\n".join([*lines, "", legend])


def _worst(times: Iterable[float | None], written: float | None, never: str) -> str:
    known = list(times)
    found = [time for time in known if time is not None]
    if not found or (never == NEVER and len(found) < len(known)):
        return never
    worst = max(found)
    return KNOWN if written and worst < written else f"{worst:.1f}"


def _fit(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    yield row[0].ljust(widths[0])
    for text, width in zip(row[1:], widths[1:], strict=True):
        yield text.rjust(width)
