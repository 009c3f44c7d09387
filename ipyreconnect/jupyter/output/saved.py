"""A connection's last lines as HTML for a saved notebook: no script, no password that was typed in clear."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator

from ...client.client import Client
from ...lines.line import Line
from ...lines.text import visible
from ...lines.transcript import Transcript
from ...mask import MASK
from .text import count_of_lines

__all__ = ["redacted", "static_html"]

STATIC_CLASS = "ipyreconnect-static"
"""Where the panel is alive, its style sheet hides what has this class."""
SAVED_CHARS = 300
"""Characters of each saved line."""
ASKED_WITHIN = 16
"""Lines within which a server asked for the password that comes next: only events may be between."""

# What users type to log in, by protocol; the rest of such a line has no place in a file that is passed on.
_LOGIN = re.compile(
    r"""^(
        \S+\s+(?:LOGIN|AUTHENTICATE)                      # IMAP, with its tag
      | AUTH | PASS | USER | AUTHINFO\s+\w+ | OPER | CONNECT  # SMTP, Redis, POP3, NNTP, IRC, NATS
      | AUTHENTICATE | HELLO\s+\d\s+AUTH
      | (?:PRIVMSG\s+\S+|NICKSERV|NS)\s+:?(?:IDENTIFY|ID|AUTH|REGISTER)  # each IRC network has its own
    )\s.+$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# After these a server is given a password, or something of that kind, on a line of its own.
_CHALLENGE = re.compile(r"334|\+(\s|$)")


def redacted(transcript: Transcript, start: int, stop: int) -> Iterator[tuple[Line, str]]:
    """Yield each kept line start ≤ number < stop with its text, but for what looks like a password that was
    typed in clear: that is masked.
    """
    challenged = False
    # The lines just before are not shown, but one of them may ask for what the first line has.
    for line in transcript.lines(max(0, start - ASKED_WITHIN), stop):
        text = line.text
        if line.direction == ">":
            text = MASK if challenged else _LOGIN.sub(rf"\1 {MASK}", text)
            challenged = False
        elif line.direction == "<":
            challenged = _CHALLENGE.match(text) is not None
        if line.number >= start:
            yield line, text


def static_html(client: Client, lines: int) -> str:
    """Return a client's state and its last lines as HTML that needs no script, style sheet or network."""
    transcript = client.transcript
    rows = []
    for line, text in redacted(transcript, max(0, transcript.end - lines), transcript.end):
        shown = text[:SAVED_CHARS] + ("…" if len(text) > SAVED_CHARS else "")
        shown = "\t".join(map(visible, shown.split("\t")))
        rows.append(f"{time.strftime('%H:%M:%S', time.localtime(line.time))} {line.direction} {shown}")
    status = client.status
    said = f"{client.name}: {client.address}, {status.state.value}"
    if status.reason and status.connected_since is None and status.stopped_at is None:
        said += f" ({status.reason})"  # not where it is connected again, or was stopped by the user
    count = count_of_lines(transcript.end)
    if transcript.end > len(rows) > 0:
        count = f"the last {f'{len(rows)} of' if len(rows) > 1 else 'of'} {count}"
    return (
        f'<div class="{STATIC_CLASS}" style="font:13px system-ui,sans-serif">'
        f"<div><b>{html.escape(said)}</b> · {count}, as saved at {time.strftime('%Y-%m-%d %H:%M:%S')}</div>"
        '<pre style="margin:4px 0 0;font:12px/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere">'
        f"{html.escape(chr(10).join(rows))}</pre></div>"
    )
