"""What the live log promises: any line of millions at once, a tail that follows, no surprise for the page."""

from __future__ import annotations

import re
import time

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import PanelPage, connect, serving, show
from tests.servers.line_server import answering, greet, mute, say

# A transcript of five million lines, made in the kernel: over a socket it would only take longer.
FIVE_MILLION = """
from ipyreconnect import Client, Transcript
transcript = Transcript(lines=10_000_000, bytes=512 << 20)
client = Client("127.0.0.1:9", transcript=transcript)
M = 1_000_000
for million in range(5):
    numbers = range(million * M, (million + 1) * M)
    block = b"".join(b"%07d of five million\\r\\n" % number for number in numbers)
    while block:
        room = transcript.room()
        size = min(len(room), len(block))
        room[:size] = block[:size]
        transcript.commit(size, 1e9)
        block = block[size:]
"""


def many(count: int) -> bytes:
    return b"".join(b"%06d of many\r\n" % number for number in range(count))


def tall(panel: PanelPage) -> int:
    """How many rows are in sight."""
    return len(panel.shown())


def test_any_of_five_million_lines_is_a_moment_away(notebook: Notebook) -> None:
    """The thumb jumps to any place, the wheel and the keys move exactly, and the page holds some 30 rows."""
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    expect(panel.count).to_have_text("5,000,000 lines")
    expect(panel.row("4999999 of five million")).to_be_visible()
    middle = "scroller => { scroller.scrollTop = (scroller.scrollHeight - scroller.clientHeight) / 2 }"
    panel.log.evaluate(middle)
    expect(panel.row("4999999 of five million")).to_be_hidden()
    panel.settled()
    first = panel.first_number()
    assert abs(first - 2_500_000) < 1000
    panel.log.focus()
    panel.page.keyboard.press("ArrowDown")
    expect(panel.texts.first).to_have_text(f"{first + 1:07d} of five million")
    panel.wheel(18 * 10)
    expect(panel.texts.first).to_have_text(f"{first + 11:07d} of five million")
    panel.page.keyboard.press("Home")
    expect(panel.texts.first).to_have_text("0000000 of five million")
    panel.page.keyboard.press("End")
    expect(panel.row("4999999 of five million")).to_be_visible()
    assert panel.root.locator(".ipr-row").count() < 60
    assert panel.log.evaluate("scroller => scroller.scrollHeight") <= 8_000_000


def test_rows_are_consecutive_however_one_scrolls(notebook: Notebook) -> None:
    """After any mixture of wheel, keys and thumb each row is the successor of the one above it."""
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    panel.log.focus()
    for act in (
        lambda: panel.wheel(-5000),
        lambda: panel.page.keyboard.press("PageUp"),
        lambda: panel.log.evaluate("s => { s.scrollTop = s.scrollHeight / 3 }"),
        lambda: panel.wheel(333),
        lambda: panel.wheel(-2222),
        lambda: panel.page.keyboard.press("PageDown"),
    ):
        act()
        panel.settled()
        numbers = [int(text.split()[0]) for text in panel.shown()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_following_lets_go_when_one_scrolls_up_and_returns_at_the_end(notebook: Notebook) -> None:
    """Scrolled up, the rows stand still and a button counts what is new; at the end it follows again."""
    with serving(say(many(200))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000199 of many")).to_be_visible()
        panel.wheel(-18 * 20)
        expect(panel.button("follow")).to_have_attribute("aria-pressed", "false")
        panel.settled()
        before = panel.shown()
        server.peer(0).send(b"one more\r\nand one more\r\n")
        news = panel.root.locator(".ipr-news")
        expect(news).to_have_text("↓ 2 new lines")
        assert panel.shown() == before
        panel.wheel(18 * 100)
        expect(panel.row("and one more")).to_be_visible()
        expect(panel.button("follow")).to_have_attribute("aria-pressed", "true")
        expect(news).to_be_hidden()
        server.peer(0).send(b"the newest\r\n")
        expect(panel.row("the newest")).to_be_visible()


def test_selecting_text_holds_the_log_still(notebook: Notebook) -> None:
    """Who selects text in a log that runs keeps what is selected."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        panel.row("000095 of many").locator(".ipr-text").dblclick()
        expect(panel.button("follow")).to_have_attribute("aria-pressed", "false")
        server.peer(0).send(many(50))
        expect(panel.root.locator(".ipr-news")).to_have_text("↓ 50 new lines")
        assert panel.page.evaluate("getSelection().toString().trim()") in ("000095", "of", "many")


def test_the_log_goes_on_once_nothing_is_selected_any_more(notebook: Notebook) -> None:
    """It held still for what was selected only; who has scrolled away meanwhile stays there."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        follow = panel.button("follow")
        word = panel.row("000095 of many").locator(".ipr-text")
        word.dblclick()
        expect(follow).to_have_attribute("aria-pressed", "false")
        server.peer(0).send(many(50))
        expect(panel.root.locator(".ipr-news")).to_have_text("↓ 50 new lines")
        # The other word is double-clicked where it stands: nothing moves away before the second click.
        other = panel.row("000097 of many").locator(".ipr-text")
        other.dblclick()
        assert panel.page.evaluate("getSelection().toString().trim()") in ("000097", "of", "many")
        expect(follow).to_have_attribute("aria-pressed", "false")
        word.click()
        expect(panel.row("000049 of many")).to_be_visible()
        expect(follow).to_have_attribute("aria-pressed", "true")
        panel.row("000045 of many").locator(".ipr-text").dblclick()
        expect(follow).to_have_attribute("aria-pressed", "false")
        panel.wheel(-18 * 100)
        panel.settled()
        panel.texts.nth(3).click()
        panel.page.wait_for_function("getSelection().isCollapsed")
        server.peer(0).send(b"the newest\r\n")
        expect(panel.root.locator(".ipr-news")).to_have_text("↓ 1 new line")
        expect(follow).to_have_attribute("aria-pressed", "false")


def test_at_its_end_the_log_lets_the_wheel_scroll_the_page(notebook: Notebook) -> None:
    """A log in the middle of a notebook is no trap for who scrolls past it."""
    with serving(greet(b"* OK hello\r\n")) as server:
        panel = connect(notebook, server.address)
        notebook.run("print('\\n' * 200)")
        expect(panel.row("* OK hello")).to_be_visible()
        window = notebook.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
        panel.log.scroll_into_view_if_needed()
        before = window.evaluate("element => element.scrollTop")
        panel.wheel(300)
        notebook.page.wait_for_function(
            "([element, before]) => element.scrollTop > before", arg=[window.element_handle(), before]
        )


def test_a_flood_is_followed_with_few_small_messages(notebook: Notebook) -> None:
    """200 000 lines a second: the tail moves, with at most 15 small ticks a second from the kernel."""
    flood = """
import threading, time
from ipyreconnect import Client
from ipyreconnect.jupyter.panel.panel import panel_for
client = Client("127.0.0.1:9")
log = panel_for(client).log
line = b"%06d a line of a flood, of about eighty characters, as such lines are, so, yes\\r\\n"
block = b"".join(line % number for number in range(10_000))
running = True
def pour():
    start, poured = time.monotonic(), 0
    while running:
        data = block
        while data:
            room = client.transcript.room()
            size = min(len(room), len(data))
            room[:size] = data[:size]
            client.transcript.commit(size, time.time())
            data = data[size:]
        log.channel.poke()
        poured += 1
        time.sleep(max(0.0, start + poured * 0.05 - time.monotonic()))
threading.Thread(target=pour, daemon=True).start()
"""
    sizes: list[int] = []
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("Network.enable")
    try:
        notebook.run(flood)
        panel = show(notebook)
        expect(panel.row("a line of a flood").first).to_be_visible()
        # Both numbers in one look: on a busy machine the answer takes its time.
        sent = "(log.channel.number, time.monotonic())"
        ticks_before, moment_before = notebook.value(sent)
        begin = time.monotonic()
        session.on(
            "Network.webSocketFrameReceived",
            lambda event: sizes.append(len(event["response"]["payloadData"])),
        )
        seen = set()
        while time.monotonic() < begin + 3:
            seen.add(panel.count.inner_text())
            panel.page.wait_for_function(
                "before => document.querySelector('.ipr-count').textContent !== before",
                arg=panel.count.inner_text(),
            )
        took = time.monotonic() - begin
        ticks, moment = notebook.value(sent)
        assert len(seen) > 10, "the tail hardly moved"
        assert (ticks - ticks_before) / (moment - moment_before) <= 16
        assert sum(sizes) / took < 300_000
    finally:
        session.detach()
        notebook.run("running = False")


def test_long_lines_are_clipped_or_wrapped_at_a_switch(notebook: Notebook) -> None:
    """Clipped at the edge; wrapped over several rows' height, at the end the last line stays in sight."""
    with serving(say(many(50) + b"long " + b"word " * 150 + b"end\r\n")) as server:
        panel = connect(notebook, server.address)
        row = panel.row("long word")
        expect(row).to_be_visible()
        assert row.evaluate("element => element.offsetHeight") == 18
        panel.button("wrap").click()
        expect(panel.button("wrap")).to_have_attribute("aria-pressed", "true")
        panel.page.wait_for_function("element => element.offsetHeight > 100", arg=row.element_handle())
        pane = panel.root.locator(".ipr-pane").bounding_box()
        box = row.bounding_box()
        assert pane is not None
        assert box is not None
        assert abs(pane["y"] + pane["height"] - box["y"] - box["height"]) < 20
        panel.wheel(-18 * 60)
        expect(panel.row("000000 of many")).to_be_visible()
        panel.wheel(18 * 200)
        expect(row).to_be_visible()
        expect(panel.button("follow")).to_have_attribute("aria-pressed", "true")


def test_all_of_a_very_long_line_is_shown_on_demand(notebook: Notebook) -> None:
    """A row shows a part and says how much is missing; a click shows the whole line."""
    with serving(say(b"x" * 30_000 + b"END\r\n")) as server:
        panel = connect(notebook, server.address)
        panel.root.get_by_role("button", name="more characters").dblclick()
        whole = panel.page.locator("dialog pre")
        expect(whole).to_have_text("x" * 30_000 + "END")
        panel.page.keyboard.press("Escape")
        expect(whole).to_have_count(0)


def test_a_double_click_opens_a_line_once(notebook: Notebook) -> None:
    """Closed as soon as it shows, it stays closed, though the kernel was asked twice."""
    with serving(say(b"x" * 30_000 + b"END\r\n")) as server:
        panel = connect(notebook, server.address)
        opened = panel.page.evaluate_handle(
            """() => {
                const log = document.querySelector(".jp-NotebookPanel:not(.lm-mod-hidden) .ipr-log");
                const opened = [];
                const observer = new MutationObserver(() => {
                    const dialog = log.querySelector("dialog[open]");
                    if (dialog && opened.push(dialog.ariaLabel)) dialog.close();
                });
                observer.observe(log, { subtree: true, childList: true });
                return opened;
            }"""
        )
        panel.root.get_by_role("button", name="more characters").dblclick()
        # What the kernel answers afterwards shows that both its answers about the line are there.
        panel.button("search").click()
        panel.root.get_by_label("search all lines").fill("END")
        expect(panel.root.locator(".ipr-verdict")).to_have_text("1 hit")
        assert opened.json_value() == ["line 1"]
        expect(panel.page.locator("dialog")).to_have_count(0)


def test_a_line_that_is_cut_can_be_read_with_the_keys_alone(notebook: Notebook) -> None:
    """The button in its row is a tab key away; once it is out of sight, the keys still move the log."""
    with serving(say(many(50) + b"x" * 30_000 + b"END\r\n")) as server:
        panel = connect(notebook, server.address)
        more = panel.root.get_by_role("button", name="more characters")
        expect(more).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Tab")
        expect(more).to_be_focused()
        panel.page.keyboard.press("Space")
        expect(panel.page.locator("dialog pre")).to_contain_text("END")
        panel.page.keyboard.press("Escape")
        expect(more).to_be_focused()
        panel.page.keyboard.press("Home")
        expect(panel.row("000000 of many")).to_be_visible()
        panel.page.keyboard.press("End")
        expect(more).to_be_visible()


def test_the_log_is_as_large_as_the_users_code(notebook: Notebook) -> None:
    """Also once that is changed: the rows stay one below the other, and the last one in sight."""
    with serving(say(many(300))) as server:
        panel = connect(notebook, server.address)
        last = panel.row("000299 of many")
        expect(last).to_be_visible()
        before = tall(panel)
        style = panel.page.evaluate_handle("document.documentElement.style")
        style.evaluate("style => style.setProperty('--jp-code-font-size', '20px')")
        try:
            panel.page.wait_for_function("row => row.offsetHeight === 28", arg=last.element_handle())
            expect(panel.texts).to_have_count(before * 18 // 28 + 1)
            pane = panel.root.locator(".ipr-pane").bounding_box()
            box = last.bounding_box()
            assert pane is not None
            assert box is not None
            assert abs(pane["y"] + pane["height"] - box["y"] - box["height"]) < 1
            panel.wheel(-28 * 100)
            panel.settled()
            first = panel.first_number()
            panel.wheel(-28 * 3)
            expect(panel.texts.first).to_have_text(f"{first - 3:06d} of many")
        finally:
            style.evaluate("style => style.removeProperty('--jp-code-font-size')")
        expect(panel.rows.first).to_have_css("height", "18px")


def inside(panel: PanelPage, selector: str) -> bool:
    """Whether all of an element of a row is within its row."""
    within: bool = panel.root.locator(selector).first.evaluate(
        """element => {
            const [one, row] = [element, element.closest('.ipr-row')].map(e => e.getBoundingClientRect());
            return one.width >= 7 && one.left >= row.left && one.right <= row.right;
        }"""
    )
    return within


def test_a_part_of_a_line_says_that_it_is_one(notebook: Notebook) -> None:
    """In sight, where the line is clipped at the edge, and where it wraps."""
    with serving(say(b"x" * 100_000 + b"\r\nshort\r\n")) as server:
        panel = connect(notebook, server.address, "longest_line=65536")
        expect(panel.row("short")).to_be_visible()
        sign = panel.rows.get_by_role("img", name="a part of a longer line")
        expect(sign).to_have_count(2)
        assert inside(panel, ".ipr-part:not([hidden])")
        panel.button("wrap").click()
        expect(sign).to_have_count(2)
        assert inside(panel, ".ipr-part:not([hidden])")


def test_a_cut_line_shows_some_of_its_text_in_a_narrow_panel(notebook: Notebook) -> None:
    """And its button, whole; where it wraps, the button takes no room from the text's lines."""
    with serving(say(b"x" * 30_000 + b"\r\nshort\r\n")) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("short")).to_be_visible()
        more = panel.root.get_by_role("button", name="29,000 more characters")
        for width in (300, 500, 800):
            panel.root.evaluate("(panel, width) => { panel.style.width = `${width}px` }", width)
            panel.settled()
            expect(more).to_be_visible()
            assert inside(panel, ".ipr-more:not([hidden])")
            assert inside(panel, ".ipr-text:has(+ .ipr-more:not([hidden]))")
        panel.button("wrap").click()
        panel.settled()
        room = """row => row.querySelector('.ipr-text').getBoundingClientRect().width
            / (row.querySelector('.ipr-mark').getBoundingClientRect().left
            - row.querySelector('.ipr-arrow').getBoundingClientRect().right)"""
        panel.page.wait_for_function(f"row => ({room})(row) > 0.95", arg=panel.row("xxx").element_handle())


def test_a_row_that_is_told_anew_keeps_its_elements(notebook: Notebook) -> None:
    """What is selected in a row stays selected when another line comes, or a mark changes."""
    with serving(answering({rb"NOOP": b"OK"}, b"\x1b[1mbold\r\n")) as server:
        panel = connect(notebook, server.address)
        escape = panel.row("bold").locator(".ipr-control").element_handle()
        panel.line.fill("NOOP")
        panel.line.press("Enter")
        expect(panel.row("NOOP").locator(".ipr-acknowledged")).to_be_visible()
        expect(panel.row("OK")).to_be_visible()
        assert escape.evaluate("element => element.isConnected")


def test_a_screen_reader_is_told_how_many_lines_came(notebook: Notebook) -> None:
    """With the newest where it is in sight, and in a whole sentence where it is not."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        told = panel.root.locator(".ipr-log .ipr-hidden")
        expect(panel.row("002999 of many")).to_be_visible()
        server.peer(0).send(b"the newest\r\n")
        expect(told).to_have_text(re.compile(r"^[\d,]+ new lines?, the last: the newest$"))
        panel.log.focus()
        panel.page.keyboard.press("Home")
        server.peer(0).send(many(2))
        expect(told).to_have_text("2 new lines")


def test_times_are_of_the_day_or_since_the_line_before_or_none(notebook: Notebook) -> None:
    """One switch goes round the three."""
    with serving(mute) as server:
        panel = connect(notebook, server.address)
        server.peer(0).send(b"one\r\n")
        expect(panel.row("one")).to_be_visible()
        server.peer(0).send(b"two\r\n")
        stamp = panel.row("two").locator(".ipr-time")
        expect(stamp).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
        panel.button("time").click()
        expect(stamp).to_have_text(re.compile(r"^\+\d+(\.\d+)? m?s$"))
        panel.button("Δ time").click()
        expect(stamp).to_be_hidden()
        panel.button("time").click()
        expect(stamp).to_be_visible()
