"""When a panel sends something and when it is silent, with times as literal numbers."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from ipyreconnect.jupyter.panel.channel import (
    HEARTBEAT,
    LAG,
    LATE,
    LEASE,
    OVERDUE,
    REST,
    TICK,
    UNSEEN,
    WINDOW_BYTES,
    WINDOWS,
    Position,
)
from tests.jupyter.stage import Stage


def with_view() -> Stage:
    """A stage whose one view has said hello at 100 and painted the first tick."""
    stage = Stage()
    stage.channel.hear("v", 100.0)
    stage.channel.step(100.0, False)
    stage.channel.hear("v", 100.01, acknowledged=1)
    return stage


def test_without_a_view_nothing_is_sent_and_nobody_woken() -> None:
    """A client that nobody looks at costs nothing."""
    stage = Stage()
    stage.change(1)
    assert stage.channel.step(100.0, False) is None
    assert (stage.sent, stage.woken) == ([], 0)


def test_a_fresh_view_gets_the_present_state_at_once() -> None:
    """Hello is answered with everything, whoever else is behind."""
    stage = with_view()
    stage.change(7)
    stage.channel.step(100.1, False)  # not acknowledged
    stage.channel.hear("w", 100.2)
    stage.channel.step(100.2, False)
    assert stage.ticks() == [0, 7, 7]


def test_changes_between_two_ticks_are_told_once() -> None:
    """A thousand changes make one tick, with the last state."""
    stage = with_view()
    for state in range(1000):
        stage.change(state)
    due = stage.channel.step(100.02, False)
    assert due is not None
    assert abs(due - (100.0 + TICK)) < 1e-9
    stage.channel.step(due, False)
    assert stage.ticks() == [0, 999]


def test_a_state_that_is_the_same_again_is_not_sent() -> None:
    """Pokes about something else cost no message."""
    stage = with_view()
    stage.keyed = True
    stage.change("a")
    stage.channel.step(101.0, False)
    stage.channel.hear("v", 101.0, acknowledged=2)
    stage.change("a")
    stage.channel.step(102.0, False)
    assert stage.ticks() == [0, "a"]


def test_an_unacknowledged_tick_holds_the_next_one_back() -> None:
    """One tick under way until it is known how soon the browser paints: a slow one is never sent more."""
    stage = with_view()
    stage.change(1)
    stage.channel.step(101.0, False)
    stage.change(2)
    stage.channel.step(105.0, False)
    assert stage.ticks() == [0, 1]
    stage.channel.hear("v", 105.1, acknowledged=2)
    stage.channel.step(105.1, False)
    assert stage.ticks() == [0, 1, 2]


def run_on(stage: Stage, begin: float, end: float, every: float, delay: float | None) -> list[float]:
    """Change the state every so often, and acknowledge `delay` s after a tick that asks; None: never.

    Returns when the ticks that asked were sent.
    """
    asked: list[tuple[float, int]] = []
    now, open_ = begin, deque[tuple[float, int]]()
    while now < end:
        now = round(now + 0.01, 2)
        if round(now % every, 2) in (0.0, every):
            stage.change(now)
        while open_ and delay is not None and open_[0][0] + delay <= now:
            stage.channel.hear("v", now, acknowledged=open_.popleft()[1])
        sent = len(stage.sent)
        stage.channel.step(now, False)
        for content in stage.sent[sent:]:
            if content["m"] == "tick" and content["asks"]:
                asked.append((now, content["seq"]))
                open_.append(asked[-1])
    return [when for when, _ in asked]


def test_a_browser_that_keeps_up_is_seldom_asked() -> None:
    """Each acknowledgement makes the kernel's indicator busy: of ten ticks a second one in ten seconds is."""
    stage = with_view()
    asked = run_on(stage, 100.1, 160.0, every=0.1, delay=0.05)
    assert len(stage.ticks()) > 580
    assert len(asked) <= 8
    assert min(after - before for before, after in pairwise(asked[2:])) > 10


def test_a_view_that_says_a_word_by_itself_need_not_be_asked() -> None:
    """Every eight seconds it tells what it has painted: then no tick has to ask."""
    stage = with_view()
    run_on(stage, 100.1, 104.0, every=0.1, delay=0.05)
    for word in range(104, 160, 8):
        stage.channel.hear("v", float(word), acknowledged=stage.channel.number)
        assert not run_on(stage, float(word), word + 8.0, every=0.1, delay=0.05)


def test_a_browser_that_stops_painting_is_sent_no_more_than_its_window() -> None:
    """After the acknowledgement that is overdue nothing leaves, and later it is asked for each tick again."""
    stage = with_view()
    run_on(stage, 100.1, 130.0, every=0.1, delay=0.05)
    before = len(stage.ticks())
    stage.channel.views["v"].asked.clear()
    asked = run_on(stage, 130.0, 155.0, every=0.1, delay=None)
    assert asked
    assert len(stage.ticks()) - before <= max(WINDOWS)
    assert stage.ticks()[-1] <= asked[-1] + OVERDUE + 0.2
    sent = len(stage.sent)
    stage.channel.hear("v", 155.0, acknowledged=stage.channel.number)
    stage.change("x")
    stage.channel.step(156.0, False)
    assert stage.sent[sent:][-1]["asks"]
    stage.change("y")
    stage.channel.step(156.5, False)
    assert stage.ticks()[-1] == "x"


def test_a_slow_browser_is_sent_one_tick_at_a_time() -> None:
    """Who takes two seconds for a tick gets one in two seconds, however long it goes on."""
    stage = with_view()
    asked = run_on(stage, 100.1, 140.0, every=0.1, delay=2.0)
    assert len(stage.ticks()) == len(asked) + 1 <= 21


def test_large_ticks_are_bounded_by_their_bytes() -> None:
    """A quick browser in a flood has at most a megabyte under way."""
    stage = with_view()
    stage.buffers = [bytes(64 * 1024)]
    asked = run_on(stage, 100.1, 110.0, every=0.05, delay=0.1)
    sent = len(stage.ticks())
    assert sent > 120
    assert 10 < len(asked) < sent / 4
    run_on(stage, 110.0, 115.0, every=0.05, delay=None)
    assert len(stage.ticks()) - sent <= WINDOW_BYTES // (64 * 1024) + 1


def test_while_a_cell_runs_every_tick_asks() -> None:
    """The indicator is busy anyway, and it must be noticed that nothing is heard."""
    stage = with_view()
    run_on(stage, 100.1, 130.0, every=0.1, delay=0.05)
    for view in stage.channel.views.values():
        view.acknowledge(Position(stage.channel.number), 130.0)
    stage.change("busy")
    stage.channel.step(131.0, True)
    assert stage.sent[-1]["asks"]
    stage.change("more")
    stage.channel.step(131.1, True)
    assert stage.ticks()[-1] == "busy"


def test_a_view_that_is_not_heard_for_a_while_is_forgotten() -> None:
    """A closed tab says no goodbye; after its lease nothing more is sent."""
    stage = with_view()
    now, due = 0.0, stage.channel.step(100.02, False)
    while due is not None:
        now = due
        stage.change(now)
        due = stage.channel.step(now, False)
    assert 100.0 + LEASE <= now <= 100.02 + LEASE
    assert len(stage.ticks()) == 2


def test_one_view_that_lags_slows_the_others_and_cannot_stop_them() -> None:
    """The one that paints is served once in `LAG` seconds."""
    stage = with_view()
    stage.channel.hear("slow", 100.02)
    stage.channel.step(100.0 + TICK, False)
    stage.channel.hear("v", 100.1, acknowledged=2)
    stage.change(1)
    assert stage.channel.step(100.2, False) == 100.0 + TICK + LAG
    stage.channel.step(100.0 + TICK + LAG, False)
    assert stage.ticks() == [0, 0, 1]


def test_views_out_of_sight_are_served_once_a_second() -> None:
    """A log in another browser tab costs next to nothing."""
    stage = with_view()
    stage.channel.hear("v", 100.02, acknowledged=1, wants={"unseen": True})
    stage.change(1)
    assert stage.channel.step(100.5, False) == 100.0 + UNSEEN


def test_a_tick_that_took_long_to_make_is_followed_by_a_rest() -> None:
    """Lines of megabytes in sight do not take the interpreter from the user's cells."""
    stage = with_view()
    stage.channel.rest(100.2, 0.1)
    stage.change(1)
    assert stage.channel.step(100.3, False) == 100.2 + REST * 0.1
    stage.channel.step(100.2 + REST * 0.1, False)
    assert stage.ticks() == [0, 1]


def test_a_quiet_connection_still_shows_that_the_kernel_lives() -> None:
    """A beat every few seconds, small and without a number to acknowledge."""
    stage = with_view()
    stage.channel.step(100.0 + TICK, False)
    due = stage.channel.step(100.2, False)
    assert due == 100.0 + HEARTBEAT
    stage.channel.step(due, False)
    assert stage.sent[-1] == {"m": "beat", "late": False}


def test_during_a_cell_that_keeps_the_kernel_deaf_the_ticks_go_on_and_say_so() -> None:
    """On kernels without subshells the tail still moves while a cell runs, ever slower, marked as late."""
    stage = with_view()
    now: float | None = 101.0
    times = []
    while now is not None and now < 100.0 + 3600:
        stage.change(now)
        before = len(stage.sent)
        step, now = now, stage.channel.step(now, True)
        if len(stage.sent) > before:
            times.append(step)
            now = step + 0.01
    assert stage.sent[-1]["late"]
    assert abs(times[2] - times[1] - LATE) < 0.02
    assert len(times) < 1500, "an endless cell of a closed notebook must not fill the server's buffers"


def test_a_view_that_is_only_being_made_gets_everything_until_it_says_hello() -> None:
    """On a deaf kernel its hello waits for the cell; until then it is told of all, changed or not."""
    stage = Stage()
    stage.keyed = True
    stage.channel.expect(100.0)
    now: float | None = 100.0
    while now is not None and now < 105.0:
        step, now = now, stage.channel.step(now, True)
        assert now is None or now > step
    assert stage.ticks() == [0, 0, 0]
    stage.channel.hear("v", 105.0)
    stage.channel.step(105.0, True)
    stage.channel.hear("v", 105.0, acknowledged=4)
    stage.channel.step(107.5, True)
    assert [content["m"] for content in stage.sent] == ["tick", "tick", "tick", "tick", "beat"]


def test_a_view_that_says_goodbye_is_not_served() -> None:
    """A cell that was cleared needs nothing any more."""
    stage = with_view()
    stage.channel.leave("v")
    stage.change(1)
    assert stage.channel.step(101.0, False) is None


def test_a_channel_that_ends_has_its_views_say_goodbye() -> None:
    """Nothing else is sent; who closes learns when all have left, also one that was only being made."""
    stage = with_view()
    stage.channel.hear("w", 100.02)
    stage.channel.expect(100.02)
    ended: list[bool] = []
    stage.channel.end(lambda: ended.append(True))
    stage.change(1)
    assert stage.channel.step(105.0, True) is None
    assert stage.sent[-1] == {"m": "end"}
    stage.channel.leave("v")
    assert not ended
    stage.channel.leave("w")
    stage.channel.hear("new", 105.0)
    assert stage.sent[-2:] == [{"m": "end"}] * 2
    assert not ended
    stage.channel.leave("new")
    assert ended
