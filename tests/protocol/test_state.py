"""The table of states, over every state and input: what each means to the user, and what holds for all."""

from __future__ import annotations

import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.protocol.state import TABLE, Effect, Input, Phase, State, Transition, transition

NOTHING: Final = ""
"""The input has no meaning in this state."""

# For each state and input: where it leads and what is done, or nothing, and why that is right for the user.
PROMISES: Final = {
    # stopped: only a start begins anything; what else comes is late, or too early.
    (State.STOPPED, Input.START): ("connecting", "DIAL", "connect begins at once"),
    (State.STOPPED, Input.UP): (NOTHING, "", "a dial that was cancelled connects nobody"),
    (State.STOPPED, Input.FAIL): (NOTHING, "", "and its failure is nobody's"),
    (State.STOPPED, Input.GIVE_UP): (NOTHING, "", "nothing is left to give up"),
    (State.STOPPED, Input.RETRY): (NOTHING, "", "reconnect-now does not start what the user has stopped"),
    (State.STOPPED, Input.STOP): (NOTHING, "", "stop twice is stop once"),
    (State.STOPPED, Input.CLOSED): (NOTHING, "", "the socket is gone already"),
    # connecting
    (State.CONNECTING, Input.START): (NOTHING, "", "connect twice makes one attempt"),
    (State.CONNECTING, Input.UP): ("connected", "", "connected only when all of it has succeeded"),
    (State.CONNECTING, Input.FAIL): ("waiting", "DROP WAIT", "a failed attempt is followed by another"),
    (State.CONNECTING, Input.GIVE_UP): ("stopped", "DROP END", "what another try cannot mend is not retried"),
    (State.CONNECTING, Input.RETRY): (NOTHING, "", "an attempt is under way already"),
    (State.CONNECTING, Input.STOP): ("stopped", "DROP END", "stop is at once"),
    (State.CONNECTING, Input.CLOSED): (
        NOTHING,
        "",
        "a farewell that was cut short by a new start says nothing",
    ),
    # connected
    (State.CONNECTED, Input.START): (NOTHING, "", "connect on a live connection leaves it alone"),
    (State.CONNECTED, Input.UP): (NOTHING, "", "it is up"),
    (State.CONNECTED, Input.FAIL): ("waiting", "DROP WAIT", "a lost connection comes back"),
    (State.CONNECTED, Input.GIVE_UP): ("stopped", "DROP END", "unless it must not"),
    (State.CONNECTED, Input.RETRY): (
        "connecting",
        "DROP DIAL",
        "reconnect-now drops the live connection first",
    ),
    (State.CONNECTED, Input.STOP): (
        "stopping",
        "FINISH",
        "an orderly goodbye, so that what was sent arrives",
    ),
    (State.CONNECTED, Input.CLOSED): (NOTHING, "", "nobody said goodbye yet"),
    # waiting
    (State.WAITING, Input.START): ("connecting", "DIAL", "connect cuts the wait short"),
    (State.WAITING, Input.UP): (NOTHING, "", "there is no attempt that could succeed"),
    (State.WAITING, Input.FAIL): (NOTHING, "", "nor one that could fail: the wait is not begun anew"),
    (State.WAITING, Input.GIVE_UP): (NOTHING, "", "the wait goes on"),
    (State.WAITING, Input.RETRY): ("connecting", "DIAL", "the wait is over"),
    (State.WAITING, Input.STOP): ("stopped", "END", "stop is at once, and there is no socket to close"),
    (State.WAITING, Input.CLOSED): (NOTHING, "", "there is no socket"),
    # stopping: whatever happens, it ends, and never begins again by itself.
    (State.STOPPING, Input.START): (NOTHING, "", "the goodbye is finished first"),
    (State.STOPPING, Input.UP): (NOTHING, "", "it was up"),
    (State.STOPPING, Input.FAIL): ("stopped", "CLOSE END", "a peer that hangs up ends it too"),
    (State.STOPPING, Input.GIVE_UP): ("stopped", "CLOSE END", "and so does any other failure"),
    (State.STOPPING, Input.RETRY): (NOTHING, "", "what is being stopped is not retried"),
    (State.STOPPING, Input.STOP): (NOTHING, "", "stop twice is stop once, the goodbye goes on"),
    (State.STOPPING, Input.CLOSED): ("stopped", "CLOSE END", "the goodbye is over"),
}
PAIRS: Final = list(itertools.product(State, Input))


@pytest.mark.parametrize(("state", "happened"), PAIRS, ids=lambda value: value.name)
def test_each_input_does_in_each_state_what_is_promised(state: State, happened: Input) -> None:
    """The promise stands beside each line above."""
    to, effects, _ = PROMISES[state, happened]
    wanted = Transition(State(to) if to else state, tuple(Effect[name] for name in effects.split()))
    assert transition(state, happened) == wanted


def test_a_promise_is_made_for_everything_that_can_happen() -> None:
    """No state and no input was added without one, and nothing stands in the table twice."""
    assert set(PROMISES) == set(PAIRS)
    assert set(TABLE) == {pair for pair in PAIRS if PROMISES[pair][0]}


@pytest.mark.parametrize(("state", "happened"), PAIRS, ids=lambda value: value.name)
def test_the_end_comes_exactly_when_stopped_is_entered(state: State, happened: Input) -> None:
    """The loop is let go of once per stop: never while something is left to do, and never twice."""
    after, effects = transition(state, happened)
    assert (Effect.END in effects) == (after is State.STOPPED and state is not State.STOPPED)
    assert effects.count(Effect.END) <= 1
    assert Effect.END not in effects[:-1]


@pytest.mark.parametrize("state", State)
def test_stop_is_legal_everywhere_and_needs_no_second_stop(state: State) -> None:
    """After a stop it is stopped, or will be, whatever happens then but a new start."""
    after, effects = transition(state, Input.STOP)
    assert after in (State.STOPPED, State.STOPPING)
    assert Effect.DIAL not in effects
    assert Effect.WAIT not in effects
    for happened in set(Input) - {Input.START}:
        later, more = transition(after, happened)
        assert later in (State.STOPPED, State.STOPPING)
        assert not {Effect.DIAL, Effect.WAIT} & set(more)
    assert transition(State.STOPPING, Input.CLOSED).state is State.STOPPED


@pytest.mark.parametrize(("state", "happened"), PAIRS, ids=lambda value: value.name)
def test_an_attempt_begins_exactly_when_connecting_is_entered(state: State, happened: Input) -> None:
    """No attempt without the state that says so, and no state without the attempt."""
    after, effects = transition(state, happened)
    assert (Effect.DIAL in effects) == (after is State.CONNECTING and state is not State.CONNECTING)
    assert (Effect.WAIT in effects) == (after is State.WAITING and state is not State.WAITING)


@given(st.lists(st.sampled_from(Input), max_size=60))
def test_there_is_never_a_second_socket_nor_one_that_is_left(inputs: list[Input]) -> None:
    """Whatever comes in whatever order: what was begun is dropped or closed before anything else begins, and
    when it is stopped nothing is open, no timer armed and the loop let go of.
    """
    state, opened, armed, serving = State.STOPPED, False, False, False
    for happened in inputs:
        before = state
        state, effects = transition(state, happened)
        if before is State.WAITING and state is not State.WAITING:
            armed = False
        for effect in effects:
            if effect in (Effect.DROP, Effect.CLOSE):
                assert opened
                opened = False
            elif effect is Effect.FINISH:
                assert opened
            elif effect is Effect.DIAL:
                assert not opened
                assert not armed
                opened = serving = True
            elif effect is Effect.WAIT:
                assert not opened
                armed = True
            elif effect is Effect.END:
                assert serving
                serving = False
        assert opened == (state in (State.CONNECTING, State.CONNECTED, State.STOPPING))
        assert armed == (state is State.WAITING)
        assert serving == (state is not State.STOPPED)


def test_states_and_phases_are_called_what_the_contract_calls_them() -> None:
    """Users compare with these words."""
    assert [state.value for state in State] == ["stopped", "connecting", "connected", "waiting", "stopping"]
    assert [phase.value for phase in Phase] == ["resolving", "dialing", "tls", "starttls", "script"]


def test_effects_are_done_in_the_order_in_which_they_are_defined() -> None:
    """First what closes, then what opens, then the end."""
    order = list(Effect)
    for _, effects in TABLE.values():
        assert [*effects] == sorted(effects, key=order.index)
