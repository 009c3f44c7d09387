"""The one thread that sends for all panels: how it begins and ends, and what it survives."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ipyreconnect.jupyter.panel.channel import Channel, Tick, View
from ipyreconnect.jupyter.panel.publisher import Publisher
from tests.jupyter.stage import Stage


def test_closing_waits_for_a_goodbye_but_not_for_a_view_that_is_gone() -> None:
    """The kernel would complain of a word that comes after the last widget is closed."""

    class Polite(Stage):
        def send(self, content: Any, buffers: Sequence[bytes] | None = None) -> None:
            super().send(content, buffers)
            if content["m"] == "end":
                threading.Timer(0.05, lambda: publisher.post(lambda: self.channel.leave("v"))).start()

    publisher = Publisher()
    polite, gone = Polite(), Stage()
    for stage in (polite, gone):
        stage.channel.hear("v", time.monotonic())
        publisher.add(stage.channel)
    publisher.remove([polite.channel])
    assert not polite.channel.views
    publisher.remove([gone.channel])
    assert gone.sent[-1] == {"m": "end"}


def test_the_thread_starts_with_the_first_panel_and_ends_with_the_last() -> None:
    """Nothing runs while there is no panel; what was posted before the end is still done."""
    publisher = Publisher()
    stages = [Stage(), Stage()]
    done = threading.Event()
    for stage in stages:
        publisher.add(stage.channel)
    publisher.post(done.set)
    assert done.wait(5)
    publisher.remove([stages[0].channel])
    names = [thread.name for thread in threading.enumerate()]
    assert "ipyreconnect-publisher" in names
    publisher.remove([stages[1].channel])
    names = [thread.name for thread in threading.enumerate()]
    assert "ipyreconnect-publisher" not in names


def test_what_comes_too_late_for_the_last_panel_is_dropped() -> None:
    """An answer to a panel that was closed meanwhile keeps nothing of it alive."""
    publisher, stage = Publisher(), Stage()
    publisher.add(stage.channel)
    publisher.remove([stage.channel])
    late = weakref.ref(stage)
    publisher.post(partial(stage.change, 1))
    del stage
    gc.collect()
    assert late() is None


def test_an_error_in_one_panel_does_not_silence_the_others() -> None:
    """What goes wrong is logged, and the thread goes on."""
    publisher = Publisher()
    bad, good = Stage(), Stage()
    told = threading.Event()

    def fail(views: Mapping[str, View]) -> Tick:
        raise RuntimeError("no state today")

    def tell(views: Mapping[str, View]) -> Tick:
        told.set()
        return Tick({"state": 1})

    bad.channel = Channel(bad, fail, publisher.wake)
    good.channel = Channel(good, tell, publisher.wake)
    for stage in (bad, good):
        publisher.add(stage.channel)
    for stage in (bad, good):
        publisher.post(lambda channel=stage.channel: channel.hear("v", time.monotonic()))  # type: ignore[misc]
    assert told.wait(5)
    publisher.remove([bad.channel, good.channel])
