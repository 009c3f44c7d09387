"""Prove what the list of connections says of each."""

from __future__ import annotations

import pytest

from ipyreconnect.jupyter.connections import last_loss
from ipyreconnect.protocol.events import Status
from ipyreconnect.protocol.state import State

REFUSED, CLOSED = "refused by 127.0.0.1:1", "closed by 127.0.0.1:1"


@pytest.mark.parametrize(
    ("state", "loss", "reason", "said"),
    [
        (State.CONNECTED, "", "", ""),
        (State.CONNECTED, "", REFUSED, ""),
        (State.CONNECTED, CLOSED, REFUSED, CLOSED),
        (State.WAITING, "", REFUSED, REFUSED),
        (State.WAITING, CLOSED, CLOSED, CLOSED),
        (State.CONNECTING, CLOSED, REFUSED, f"{CLOSED}; then {REFUSED}"),
    ],
)
def test_the_last_loss_is_the_loss_of_a_connection(state: State, loss: str, reason: str, said: str) -> None:
    """It says why a connection was lost; a try that failed is told only as long as none has succeeded."""
    assert last_loss(Status(state=state, loss=loss, reason=reason)) == said
