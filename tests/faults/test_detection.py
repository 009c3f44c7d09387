"""Hold every connection of the matrix to the promise: noticed in time, no live one cut, no line in doubt."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from tests import weather
from tests.faults.conftest import Stage
from tests.faults.matrix import BEAT_EVERY, BULK, DOING, FAULTS, KEEPALIVE, SECURITY, Outcome
from tests.namespaces import unavailable

pytestmark = pytest.mark.faults

T = KEEPALIVE.bound
AT_ONCE = 1.0


@dataclass(frozen=True)
class Promise:
    """When a loss is to be noticed, in seconds after the fault, and which words tell it.

    earliest: before it the peer could not have been known to be dead. words: a pattern. unheard: no line of
    the time after the fault reached the peer. unconfirmed_arrive: lines reach it whose acknowledgement does
    not come back.
    """

    earliest: float
    latest: float
    words: str
    unheard: bool = True
    unconfirmed_arrive: bool = False


SILENT = Promise(T - 1.5, T + 1, r"has not answered for 1[34]\.\d s \(")
"""The silence may have begun while the others still exchanged a line; the kernel may be the first to tell."""

PROBED = Promise(1.0, 3.0, "since the network changed")

PROMISES = {
    "packets dropped": SILENT,
    "socket deaf": SILENT,
    "only our packets lost": SILENT,
    "only the peer's packets lost": replace(SILENT, unconfirmed_arrive=True),
    "peer's address removed": SILENT,
    # The last answer was the one to the last question, at most 3 s before.
    "window closed, then packets dropped": Promise(T - 4.5, T + 1, "has not answered for 14.0 s"),
    "peer's link down": PROBED,
    "own link down": PROBED,
    "own address removed": Promise(0.0, AT_ONCE, "our address 10.77.0.1:"),
    "peer resets (RST)": Promise(0.0, AT_ONCE, "reset by", unheard=False),
    # Where the peer has not read everything, its kernel says so with a reset.
    "peer closes (FIN)": Promise(0.0, AT_ONCE, "(closed|reset) by", unheard=False),
    "program hangs, with heartbeats": Promise(
        2 * BEAT_EVERY - 1.5, 2 * BEAT_EVERY + 1, "its program hangs", unheard=False
    ),
}

every_case = pytest.mark.parametrize(
    ("fault", "security", "doing"),
    [
        pytest.param(fault, security, doing, id=f"{fault}, {security}, {doing}")
        for fault in FAULTS
        for security in SECURITY
        for doing in DOING
    ],
)


def outcome_of(stage: Stage, fault: str, security: str, doing: str) -> Outcome:
    if (reason := weather.unavailable() if FAULTS[fault].wireless else unavailable()) is not None:
        pytest.skip(reason)
    return stage.outcome(fault, security, doing)


@every_case
def test_a_loss_is_noticed_in_time_and_nothing_else(
    stage: Stage, fault: str, security: str, doing: str
) -> None:
    """A dead peer is noticed within T, whatever the user was doing, at once where that can be; a live one is
    kept, however slowly it reads. The reason says what happened, and the connection comes back by itself.
    """
    outcome = outcome_of(stage, fault, security, doing)
    promise = PROMISES.get(fault)
    if promise is None:
        assert FAULTS[fault].kept
        assert (outcome.noticed, outcome.connections, outcome.refused) == (None, 1, False), outcome.reason
        return
    assert outcome.noticed is not None, "not noticed at all"
    written = DOING[doing]
    latest = promise.latest
    if FAULTS[fault].heartbeat and written is not None and written < BEAT_EVERY:
        latest += written  # the heartbeat comes a period after that line, and the answer has one more
    assert promise.earliest <= outcome.noticed <= latest, outcome.reason
    assert re.search(promise.words, outcome.reason)
    assert outcome.connections >= 2
    # The kernel of a program that hangs goes on accepting, so that lines can soon be sent again.
    if written is not None and abs(written - outcome.noticed) > 0.2 and not FAULTS[fault].in_process:
        # What is known to be lost takes no line that nobody would get.
        assert outcome.refused == (written > outcome.noticed)


@pytest.mark.parametrize("security", SECURITY)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_line_is_in_doubt(stage: Stage, fault: str, security: str) -> None:
    """What is acknowledged has arrived, what is unconfirmed arrives no more, and nothing comes twice."""
    promise = PROMISES.get(fault)
    for doing in DOING:
        outcome = outcome_of(stage, fault, security, doing)
        lines = sum(outcome.statuses.values())
        assert lines == (BULK if FAULTS[fault].stalls else 0) + (doing != "idle" and not outcome.refused)
        assert set(outcome.statuses) <= {"acknowledged", "unconfirmed"}
        assert outcome.twice == 0
        if promise is None or not promise.unconfirmed_arrive:
            assert outcome.ghosts == 0
        if promise is None:
            assert outcome.statuses.get("acknowledged", 0) == lines
        if promise is None or promise.unheard:
            # A peer that has closed may have lines that its program never reads.
            assert outcome.missing == 0
        if promise is not None and promise.unheard and not FAULTS[fault].stalls:
            assert "acknowledged" not in outcome.statuses
