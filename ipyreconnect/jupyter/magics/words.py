"""What the magics print: outcomes, settings in force, and what was lost, as lines for a person."""

from __future__ import annotations

from collections.abc import Sequence

from ...client.capabilities import missing
from ...client.client import Client
from ...lines.line import Line
from ...lines.text import visible
from ...protocol.outbox import QUEUE_PATIENCE
from ...protocol.state import State
from ...settings import NO_KEEPALIVE, Heartbeat, KeepAlive
from ..output.text import count_of_lines, rendered, shortened

__all__ = ["bound_words", "heartbeat_words", "keepalive_words", "outcome", "queued_words", "stopped_words"]

UNCONFIRMED_SHOWN = 20
"""Lines that %stop shows of those never acknowledged, and of those never sent; the client keeps them all."""
LONGEST_SHOWN = 200
"""Characters of each of them."""


def outcome(client: Client, took: float, now: float) -> str:
    """Return in one line how the first attempt ended.

    Args:
        client: the client.
        took: seconds that it took.
        now: Unix time, s.

    """
    status = client.status
    where = client.address.display
    match status.state:
        case State.CONNECTED:
            details = []
            if status.tls is not None:
                details += [status.tls.version, status.tls.cipher]
                if not status.tls.verified:
                    details.append(
                        "CERTIFICATE NOT VERIFIED: anybody in between can read and change everything"
                    )
            shown = f" ({', '.join(details)})" if details else ""
            return f"connected to {where}{shown} in {took:.2f} s"
        case State.WAITING if status.retry_at is not None:
            wait = max(0.0, status.retry_at - now)
            return f"{visible(status.reason)}; try {status.attempt + 1} in {wait:.1f} s"
        case State.CONNECTING:
            phase = status.phase.value if status.phase is not None else "dialing"
            return (
                f"still connecting to {where} ({phase}, try {status.attempt}); it goes on in the background"
            )
        case _:
            return f"{visible(status.reason) or f'not connected to {where}'}; stopped"


def keepalive_words(client: Client, name: str) -> list[str]:
    """Return which keepalive is in force, what it means, and what this system lacks for it."""
    wanted, force = client.keepalive, client.keepalive_in_force
    if client.address.path:
        return [f"{name}: {NO_KEEPALIVE}"]
    if force is None:
        return [
            f"{name}: keepalive {wanted} is set, and will be in force once connected ({client.state} now)"
        ]
    rows = [f"{name}: keepalive {force} is in force", f"  {bound_words(force)}"]
    if force != wanted:
        rows.append(f"  (the system gave this instead of {wanted})")
    rows += [f"  this system lacks {option}" for option in missing()]
    return rows


def bound_words(keepalive: KeepAlive) -> str:
    """Return what a keepalive promises."""
    if not keepalive.enabled:
        return "no probes: a peer that vanishes while nothing is sent goes unnoticed"
    idle, interval, count = keepalive.idle, keepalive.interval, keepalive.count
    return (
        f"a probe after {idle} s of silence, then every {interval} s, {count} in all; "
        f"a dead peer is noticed within {keepalive.bound} s (+ 1 s)"
    )


def queued_words(client: Client, count: int) -> str:
    """Return that so many lines are kept until the connection is back."""
    what = "the line is" if count == 1 else f"{count} lines are"
    return (
        f"not connected to {client.address.display}: {what} kept for up to {QUEUE_PATIENCE:.0f} s "
        "and sent once connected"
    )


def stopped_words(client: Client, name: str, ends: Sequence[Line], *, has_log: bool) -> list[str]:
    """Return that a client was stopped, and which lines its peer did not acknowledge or never got.

    Args:
        client: the client.
        name: what it is called, as it is shown.
        ends: the lines of its transcript from the stop on.
        has_log: whether a panel would still show its log.

    """
    told = f"stopped {name}"
    rows = []
    if unconfirmed := client.unconfirmed:
        were = "were" if len(unconfirmed) > 1 else "was"
        told += (
            f"; {count_of_lines(len(unconfirmed))} {were} never acknowledged by {client.address.display} "
            "(it may have them, or not):"
        )
        rows += _first_rows(unconfirmed, "client.unconfirmed")
    never_sent = [line for line in ends if line.direction == "*" and line.text.startswith("not sent")]
    rows += _first_rows(never_sent, "client.transcript")
    if has_log:
        kept = client.transcript.end - client.transcript.first
        where = f"%panel {name} shows its {count_of_lines(kept)}"
        if rows:
            rows.append(where)
        else:
            told += f"; {where}"
    return [told, *rows]


def _first_rows(lines: list[Line], where: str) -> list[str]:
    """Return rows that show the first of these lines, and where the others are."""
    rows = [
        f"  {row}"
        for line in lines[:UNCONFIRMED_SHOWN]
        for row in rendered(line, shortened(line.text, LONGEST_SHOWN))
    ]
    more = len(lines) - UNCONFIRMED_SHOWN
    return [*rows, f"  … {more} more ({where})"] if more > 0 else rows


def heartbeat_words(client: Client, name: str) -> list[str]:
    """Return which heartbeat is in force, and what follows from it."""
    beat: Heartbeat | None = client.heartbeat
    silence = client.silence
    told = [] if silence is None else [f"  a loss after {silence:g} s without anything received (silence)"]
    if beat is None:
        own = client.address.profile.heartbeat
        advice = "LINE" if own is None else f"--every S sends {own}"
        return [f"{name}: no heartbeat is sent (%heartbeat {advice})", *told]
    if isinstance(beat.line, bytes):
        how = f"heartbeat {beat.line!r} each {beat.every:g} s, whatever else is sent"
    else:
        how = f"heartbeat {beat.line!r}, {beat.every:g} s after whatever was sent last"
    if client.status.state is State.CONNECTED:
        rows = [f"{name}: {how}"]
    else:
        rows = [f"{name}: {how}, once connected ({client.state} now)"]
    if not beat.answered:
        rows.append("  nothing follows from it when nothing answers")
    elif client.heartbeat_answered:
        rows.append(f"  it is answered: {2 * beat.every:g} s without anything received are a loss")
    else:
        rows.append(
            f"  none was answered yet; once one is, {2 * beat.every:g} s without anything received are a loss"
        )
    return [*rows, *told]
