"""At a glance the truth about the connection: whether the peer lives, how it was, what comes next."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import connect, serving, show
from tests.servers.line_server import answering, never_read

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")


def test_a_live_peer_is_alive_with_its_round_trip(notebook: Notebook) -> None:
    """The verdict in a word, and what it rests on; the plot of the round-trip times appears by itself."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.health).to_contain_text("alive")
        expect(panel.health).to_contain_text(re.compile(r"round trip [\d.]+ ms · data (just now|\d+ s ago)"))
        plot = panel.health.get_by_role("img")
        expect(plot).to_have_attribute("aria-label", re.compile("round trip over the last .* ms to .* ms"))


def test_data_that_flows_came_just_now(notebook: Notebook) -> None:
    """Not "1 s ago" every other second: that is the age of the kernel's word, and not of the data."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        notebook.run(
            "import threading, time\n"
            "def pour():\n"
            "    while client.state == 'connected': client.send('1 NOOP'); time.sleep(0.05)\n"
            "threading.Thread(target=pour, daemon=True).start()"
        )
        expect(panel.health).to_contain_text("data just now")
        told = panel.health.evaluate(
            """async health => {
                const told = new Set();
                const end = performance.now() + 5000;
                while (performance.now() < end) {
                    await new Promise(requestAnimationFrame);
                    told.add(/data [^·]*/.exec(health.textContent)?.[0].trim());
                }
                return [...told];
            }"""
        )
        assert told == ["data just now"]


def test_a_pulled_cable_shows_when_the_peer_will_count_as_dead(notebook: Notebook) -> None:
    """No answer: "silent, dead in 4 s" counts down, with the bytes that are not acknowledged."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "keepalive='2/1/3'")
        expect(panel.row("* OK hello")).to_be_visible()
        server.pull_cable()
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.health).to_contain_text(re.compile(r"silent, dead in \d s"))
        expect(panel.health).to_contain_text("9 bytes unacknowledged")
        expect(panel.row("a1 NOOP").locator(".ipr-sent")).to_be_visible()
        panel.state("waiting")
        expect(panel.row("a1 NOOP").locator(".ipr-unconfirmed")).to_be_visible()
        expect(panel.health).to_be_hidden()


def test_a_narrow_panel_keeps_its_shape_while_its_peer_is_dying(notebook: Notebook) -> None:
    """The facts have the whole width, so that the log below them hardly moves."""
    size = notebook.page.viewport_size
    assert size is not None
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "keepalive='2/1/9'")
        notebook.page.set_viewport_size({"width": 544, "height": size["height"]})
        try:
            plot = panel.health.get_by_role("img")
            expect(plot).to_be_visible()
            server.pull_cable()
            panel.line.fill("a1 NOOP")
            panel.line.press("Enter")
            expect(panel.health).to_contain_text("dead in")
            expect(panel.health).to_contain_text("unacknowledged")
            facts = panel.health.locator(".ipr-facts").bounding_box()
            whole = panel.health.bounding_box()
            assert facts is not None
            assert whole is not None
            assert facts["width"] == whole["width"] < 540
            assert facts["height"] <= 3 * 18
        finally:
            notebook.page.set_viewport_size(size)


def test_a_peer_that_does_not_read_is_alive_and_said_to_be_so(notebook: Notebook) -> None:
    """Its window is closed, its machine answers: "alive but not reading", and nothing is cut."""
    with serving(never_read) as server:
        panel = connect(notebook, server.address, "keepalive='2/1/3'")
        notebook.run("for _ in range(300): client.send('x' * 10_000);")
        expect(panel.health).to_contain_text("alive but not reading")
        panel.state("connected")


def test_the_ribbon_tells_the_last_ten_minutes(notebook: Notebook) -> None:
    """One thin line of colours, and in words on hover and for screen readers; the same in a later view."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=600.0")
        ribbon = panel.root.locator(".ipr-ribbon")
        expect(ribbon).to_have_attribute("title", re.compile(r"^the last \d+ s: connected \d+ s$"))
        server.peer(0).close()
        panel.state("waiting")
        expect(ribbon).to_have_attribute("title", re.compile(r": connected \d+ s, waiting \d+ s$"))
        again = show(notebook)
        words = re.compile(r": connected \d+ s, waiting \d+ s$")
        expect(again.root.locator(".ipr-ribbon")).to_have_attribute("title", words)


def test_the_retry_fields_change_when_the_next_try_is_made(notebook: Notebook) -> None:
    """Applied with Enter and told as a plan; a refused value says why and changes nothing."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        told = panel.retry.locator(".ipr-outcome")
        expect(told).to_have_text("after a loss a try every 2 s until it is back")
        panel.retry.get_by_role("spinbutton", name="times").fill("2")
        plan = "after a loss tries after 2 s, 4 s, 8 s …, then every 60 s"
        expect(told).to_have_text(f"Enter applies: {plan}")
        panel.retry.get_by_role("spinbutton", name="times").press("Enter")
        expect(told).to_have_text(plan)
        assert notebook.value("client.retry.factor") == 2
        delay = panel.retry.get_by_role("spinbutton", name=re.compile("^after"))
        delay.fill("0")
        delay.press("Enter")
        expect(told).to_have_text("retry delay must be a number of seconds from 0.01 to 86400, not 0")
        assert notebook.value("client.retry.delay") == 2.0
