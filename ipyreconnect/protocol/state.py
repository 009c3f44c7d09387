"""The states of a client and the one table of all transitions between them; decides nothing about bytes.

The table is total: each input is legal in each state, because a stop, a late echo of a cancelled dial and a
timer can come at any time. What has no meaning in a state leaves it as it is, without effects.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

__all__ = ["NEVER", "TABLE", "Effect", "Input", "Phase", "State", "Transition", "transition"]

NEVER = math.inf
"""The time of what is not waited for."""


class State(Enum):
    """What a client is doing; the value is what users see."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    STOPPING = "stopping"


class Phase(Enum):
    """How far connecting has come; the value is what users see."""

    RESOLVING = "resolving"
    DIALING = "dialing"
    TLS = "tls"
    STARTTLS = "starttls"
    SCRIPT = "script"


class Input(Enum):
    """What can happen to a client."""

    START = "the user connects"
    UP = "the connection is made, encrypted, and its script has run"
    FAIL = "an attempt failed, or the connection was lost; another try may mend it"
    GIVE_UP = "an attempt failed, and no other is to be made"
    RETRY = "the wait is over, the network came back, or the user wants it now"
    STOP = "the user stops"
    CLOSED = "the orderly end is done, or took too long"


class Effect(Enum):
    """What has to be done about it, in this order."""

    DROP = "give up the socket or the dial at once, with a reset"
    FINISH = "say goodbye: close_notify, FIN, then a moment for the acknowledgement"
    CLOSE = "close what is left of the socket: with a reset, if something is not acknowledged"
    DIAL = "begin an attempt"
    WAIT = "wait for the next attempt: its time is the next deadline"
    END = "nothing is left: the loop is no longer needed"


class Transition(NamedTuple):
    """Where an input leads, and what it asks for."""

    state: State
    effects: tuple[Effect, ...] = ()


_S, _I, _E, _T = State, Input, Effect, Transition

TABLE: dict[tuple[State, Input], Transition] = {
    # Stopped: only a start has a meaning; the rest are late echoes.
    (_S.STOPPED, _I.START): _T(_S.CONNECTING, (_E.DIAL,)),
    # Connecting: an attempt is under way.
    (_S.CONNECTING, _I.UP): _T(_S.CONNECTED),
    (_S.CONNECTING, _I.FAIL): _T(_S.WAITING, (_E.DROP, _E.WAIT)),
    (_S.CONNECTING, _I.GIVE_UP): _T(_S.STOPPED, (_E.DROP, _E.END)),
    # The peer has nothing of ours that would be worth an orderly end.
    (_S.CONNECTING, _I.STOP): _T(_S.STOPPED, (_E.DROP, _E.END)),
    # Connected.
    (_S.CONNECTED, _I.FAIL): _T(_S.WAITING, (_E.DROP, _E.WAIT)),
    (_S.CONNECTED, _I.GIVE_UP): _T(_S.STOPPED, (_E.DROP, _E.END)),
    # "Reconnect now" on a live connection: drop it and dial without a wait.
    (_S.CONNECTED, _I.RETRY): _T(_S.CONNECTING, (_E.DROP, _E.DIAL)),
    (_S.CONNECTED, _I.STOP): _T(_S.STOPPING, (_E.FINISH,)),
    # Waiting for the next try: there is no socket.
    (_S.WAITING, _I.RETRY): _T(_S.CONNECTING, (_E.DIAL,)),
    (_S.WAITING, _I.START): _T(_S.CONNECTING, (_E.DIAL,)),
    (_S.WAITING, _I.STOP): _T(_S.STOPPED, (_E.END,)),
    # Stopping: whatever ends the connection now is the end that was asked for.
    (_S.STOPPING, _I.CLOSED): _T(_S.STOPPED, (_E.CLOSE, _E.END)),
    (_S.STOPPING, _I.FAIL): _T(_S.STOPPED, (_E.CLOSE, _E.END)),
    (_S.STOPPING, _I.GIVE_UP): _T(_S.STOPPED, (_E.CLOSE, _E.END)),
}


def transition(state: State, happened: Input) -> Transition:
    """Return where `happened` leads from `state`, and the effects; the same state without effects when it has
    no meaning there.
    """
    return TABLE.get((state, happened)) or Transition(state)
