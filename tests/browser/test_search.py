"""Searching, filtering, copying and saving what is in the log, however long it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Locator, expect

from ipyreconnect.lines.text import visible
from tests.browser.lab import Notebook
from tests.browser.panels import PanelPage, connect, serving, show
from tests.browser.test_log import FIVE_MILLION, many
from tests.servers.line_server import answering, say

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")


def search(panel: PanelPage, text: str) -> Locator:
    """Type into the search field and give what it says about it."""
    if panel.button("search").get_attribute("aria-expanded") == "false":
        panel.button("search").click()
    panel.root.get_by_role("textbox", name="search all lines").fill(text)
    return panel.root.locator(".ipr-verdict")


def test_all_of_five_million_lines_are_searched_and_stepped_through(notebook: Notebook) -> None:
    """Every hit is counted; Enter goes to the next one wherever it is, and round the corner at the end."""
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    verdict = search(panel, "34567")
    expect(verdict).to_have_text("200 hits")
    needle = panel.root.get_by_role("textbox", name="search all lines")
    panel.log.focus()
    panel.page.keyboard.press("Home")
    needle.focus()
    needle.press("Enter")
    expect(verdict).to_have_text("1 of 200 hits")
    here = panel.root.locator(".ipr-current .ipr-text")
    expect(here).to_have_text("0034567 of five million")
    expect(here.locator("mark")).to_have_text("34567")
    needle.press("Enter")
    expect(here).to_have_text("0134567 of five million")
    needle.press("Shift+Enter")
    needle.press("Shift+Enter")
    expect(verdict).to_have_text("200 of 200 hits")


def test_only_the_hits_are_shown_and_then_all_lines_around_one(notebook: Notebook) -> None:
    """The filter makes a log of the hits; without it the line that one was at stays in sight."""
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    panel.log.focus()
    panel.page.keyboard.press("Home")
    verdict = search(panel, r"^[1-4]0+\d of")
    panel.button("Regular expression").click()
    expect(verdict).to_have_text("40 hits", timeout=60_000)
    panel.button("Show only the lines that have it").click()
    expect(panel.texts.nth(1)).to_have_text("1000001 of five million")
    panel.log.focus()
    panel.page.keyboard.press("End")
    expect(panel.row("4000009 of five million")).to_be_visible()
    panel.page.keyboard.press("Home")
    expect(panel.texts.first).to_have_text("1000000 of five million")
    panel.button("Show only the lines that have it").click()
    expect(panel.row("1000000 of five million")).to_be_visible()
    expect(panel.row("0999995 of five million")).to_be_visible()


def test_an_expression_that_takes_for_ever_holds_up_nothing(notebook: Notebook) -> None:
    """The log goes on meanwhile, in the kernel and in the page; then the search says that it gave up."""
    with serving(say(b"a" * 40 + b"b\r\n")) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("aaab")).to_be_visible()
        verdict = search(panel, "(a+)+$")
        panel.button("Regular expression").click()
        server.peer(0).send(b"still here\r\n")
        expect(panel.row("still here")).to_be_visible()
        expect(verdict).to_have_text("searching …")
        assert notebook.value("client.state") == "connected"
        expect(verdict).to_have_text(re.compile(r"^given up: .* more than 5 s .*; make it simpler$"))
        search(panel, "a{40}b$")
        expect(verdict).to_have_text("1 hit")


def test_hits_are_counted_as_lines_come(notebook: Notebook) -> None:
    """A search stays true while the server goes on talking, and a filter follows."""
    with serving(say(b"apple\r\nbanana\r\n")) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("banana")).to_be_visible()
        verdict = search(panel, "APPLE")
        expect(verdict).to_have_text("1 hit")
        panel.button("Show only the lines that have it").click()
        server.peer(0).send(b"cherry\r\npineapple\r\n")
        expect(verdict).to_have_text("2 hits")
        expect(panel.texts).to_have_text(["apple", "pineapple"])
        panel.button("Capital letters matter").click()
        expect(verdict).to_have_text("0 hits")


def test_a_log_that_runs_is_not_left_for_a_hit_that_comes_later(notebook: Notebook) -> None:
    """Who pressed Enter where nothing was found follows the newest line, and goes on doing so."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        verdict = search(panel, "later")
        expect(verdict).to_have_text("0 hits")
        panel.root.get_by_role("textbox", name="search all lines").press("Enter")
        server.peer(0).send(b"much later\r\n" + many(5))
        expect(verdict).to_have_text("1 hit")
        expect(panel.row("000004 of many")).to_be_visible()
        expect(panel.root.locator(".ipr-current")).to_have_count(0)
        expect(panel.button("follow")).to_have_attribute("aria-pressed", "true")


def test_a_search_that_goes_round_says_so(notebook: Notebook) -> None:
    """Past the last hit comes the first, and before the first the last; else there is nothing to say."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Home")
        verdict = search(panel, "00002")
        expect(verdict).to_have_text("11 hits")
        needle = panel.root.get_by_role("textbox", name="search all lines")
        round_the_end = panel.root.get_by_role("search").locator(".ipr-round")
        for key, place, said in (
            ("Enter", 1, ""),
            ("Shift+Enter", 11, "↻wrapped"),
            ("Shift+Enter", 10, ""),
            ("Enter", 11, ""),
            ("Enter", 1, "↻wrapped"),
        ):
            needle.press(key)
            expect(verdict).to_have_text(f"{place} of 11 hits")
            expect(round_the_end).to_have_text(said)
        search(panel, "00003")
        expect(verdict).to_have_text("11 hits")
        panel.button("Show only the lines that have it").click()
        expect(panel.texts).to_have_count(11)
        expect(round_the_end).to_have_text("")


def test_a_search_goes_on_from_what_is_in_sight(notebook: Notebook) -> None:
    """Also where lines wrap, and some are laid out above the first one in sight."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        panel.button("wrap").click()
        panel.log.focus()
        panel.page.keyboard.press("Home")
        panel.wheel(18 * 51)
        expect(search(panel, "of many")).to_have_text("100 hits")
        panel.root.get_by_role("textbox", name="search all lines").press("Enter")
        expect(panel.root.locator(".ipr-current")).to_contain_text("000050 of many")


def test_what_was_found_is_in_sight_also_in_a_long_line(notebook: Notebook) -> None:
    """Beyond the edge the text moves, until one goes on; what the row does not have is behind its button."""
    far = b"A" * 300 + b" needle " + b"B" * 300 + b"\r\n"
    cut = b"C" * 3000 + b" needle END\r\n"
    with serving(say(many(50) + far + cut + many(3))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000002 of many").last).to_be_visible()
        verdict = search(panel, "needle")
        expect(verdict).to_have_text("2 hits")
        needle = panel.root.get_by_role("textbox", name="search all lines")
        needle.press("Enter")
        expect(panel.root.locator(".ipr-current")).to_contain_text("AAA")
        visible_marks = """row => [...row.querySelectorAll('mark')].filter(mark => {
            const [one, text] = [mark, mark.closest('.ipr-text')].map(e => e.getBoundingClientRect());
            return one.left >= text.left && one.right <= text.right;
        }).length"""
        expect(panel.root.locator(".ipr-current mark")).to_have_count(1)
        assert panel.root.locator(".ipr-current").evaluate(visible_marks) == 1
        expect(panel.root.locator(".ipr-current .ipr-text")).to_have_css("text-overflow", "clip")
        needle.press("Enter")
        current = panel.root.locator(".ipr-current")
        expect(current).to_contain_text("CCC")
        assert panel.root.locator(".ipr-current").evaluate(visible_marks) == 0
        more = current.get_by_role("button", name="more characters")
        expect(more).to_have_css("background-color", "rgb(255, 216, 77)")
        more.click()
        whole = panel.page.locator("dialog pre")
        expect(whole.locator("mark")).to_have_text("needle")
        expect(whole.locator("mark")).to_be_in_viewport()
        panel.page.keyboard.press("Control+a")
        assert copied(panel) == [cut.decode().strip()]
        panel.page.keyboard.press("Escape")
        expect(whole).to_have_count(0)
        panel.log.focus()
        panel.page.keyboard.press("Home")
        panel.page.keyboard.press("End")
        moved = "texts => texts.filter(text => text.scrollLeft).length"
        assert panel.texts.evaluate_all(moved) == 0


def test_a_filter_keeps_what_is_in_sight(notebook: Notebook) -> None:
    """Who has scrolled on from the hit that was stepped to is not taken back to it."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Home")
        verdict = search(panel, "5 of")
        expect(verdict).to_have_text("300 hits")
        panel.root.get_by_role("textbox", name="search all lines").press("Enter")
        expect(verdict).to_have_text("1 of 300 hits")
        panel.wheel(18 * 1001)
        expect(panel.texts.first).to_have_text("001000 of many")
        panel.button("Show only the lines that have it").click()
        expect(panel.row("001005 of many")).to_be_visible()
        panel.wheel(18 * 100)
        expect(panel.row("002005 of many")).to_be_visible()
        panel.settled()
        first = panel.first_number()
        panel.button("Show only the lines that have it").click()
        expect(panel.texts.first).to_have_text(f"{first:06d} of many")


def test_whoever_finds_nothing_is_back_where_he_was(notebook: Notebook) -> None:
    """A filter without a hit has nothing that could stay in sight; the line that one read is shown again."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        verdict = search(panel, "00100")
        expect(verdict).to_have_text("11 hits")
        panel.log.focus()
        panel.page.keyboard.press("Home")
        panel.wheel(18 * 1001)
        expect(panel.texts.first).to_have_text("001000 of many")
        panel.button("Show only the lines that have it").click()
        expect(panel.texts).to_have_count(11)
        search(panel, "nowhere")
        expect(verdict).to_have_text("0 hits")
        panel.root.get_by_role("textbox", name="search all lines").press("Escape")
        expect(panel.texts.first).to_have_text("001000 of many")


def test_hits_in_old_lines_are_no_new_hits(notebook: Notebook) -> None:
    """Another search in a filtered log finds more; that is no news of the server."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        expect(search(panel, "00001")).to_have_text("11 hits")
        panel.log.focus()
        panel.page.keyboard.press("Home")
        panel.button("Show only the lines that have it").click()
        expect(panel.texts).to_have_count(11)
        expect(search(panel, "of many")).to_have_text("3,000 hits")
        news = panel.root.locator(".ipr-news")
        panel.log.focus()
        panel.page.keyboard.press("Home")
        expect(news).to_have_text("↓ newest")
        server.peer(0).send(many(2))
        expect(news).to_have_text("↓ 2 new hits")


def test_a_search_in_a_tab_that_nobody_sees_waits_until_somebody_does(notebook: Notebook) -> None:
    """A browser wakes it once a minute, when the kernel has forgotten it: no reason to search all anew."""
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    forget = """
from ipyreconnect.jupyter.panel.panel import panel_for
log = panel_for(client).log
log.publisher.post(lambda: [log.channel.leave(view) for view in list(log.channel.views)])
"""
    with serving(say(b"one\r\n")) as server:
        panel = connect(notebook, server.address)
        verdict = search(panel, "o")
        expect(verdict).to_have_text("2 hits")
        panel.page.evaluate(hide, True)
        try:
            notebook.run(forget)
            server.peer(0).send(b"two\r\n")
            expect(panel.count).to_have_text("3 lines")
            assert notebook.value("len(log.searches)") == 0
        finally:
            panel.page.evaluate(hide, False)
        expect(verdict).to_have_text("3 hits")


def test_escape_closes_the_save_menu(notebook: Notebook) -> None:
    """And the focus is where it was."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        summary = panel.root.locator("summary", has_text="save")
        summary.click()
        panel.button("as text").focus()
        panel.page.keyboard.press("Escape")
        expect(panel.button("as text")).to_be_hidden()
        expect(summary).to_be_focused()


def test_a_bad_regular_expression_says_what_is_wrong(notebook: Notebook) -> None:
    """In place, and the log stays as it is."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        verdict = search(panel, "(")
        panel.button("Regular expression").click()
        expect(verdict).to_contain_text("not a regular expression: missing )")
        expect(panel.row("* OK hello")).to_be_visible()


def test_a_bad_regular_expression_moves_nothing(notebook: Notebook) -> None:
    """However long what is wrong takes to say, the bar keeps its height; a filtered log says it too."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.root.evaluate("panel => { panel.style.width = '500px' }")
        verdict = search(panel, "hello")
        expect(verdict).to_have_text("1 hit")
        panel.button("Show only the lines that have it").click()
        bar = panel.root.get_by_role("search")
        before = bar.bounding_box()
        panel.button("Regular expression").click()
        search(panel, "([a-z]+)(?<=[a-z]*[0-9]+[a-z]*)")
        expect(verdict).to_contain_text("not a regular expression")
        assert bar.bounding_box() == before
        arrows = [panel.button(name).bounding_box() for name in ("previous hit", "next hit")]
        assert arrows[0] is not None
        assert arrows[1] is not None
        assert arrows[0]["y"] == arrows[1]["y"]
        assert verdict.get_attribute("title") == verdict.inner_text()
        expect(panel.root.locator(".ipr-empty")).to_contain_text("not a regular expression")


def test_the_keys_search_without_a_mouse(notebook: Notebook) -> None:
    """In the log: / opens the search, n goes on; Escape ends it and returns to the log."""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("/")
        expect(panel.root.get_by_role("textbox", name="search all lines")).to_be_focused()
        panel.page.keyboard.type("00005")
        panel.page.keyboard.press("Enter")
        expect(panel.root.locator(".ipr-current")).to_contain_text("000005 of many")
        panel.page.keyboard.press("Escape")
        expect(panel.log).to_be_focused()
        expect(panel.root.get_by_role("search")).to_be_hidden()
        expect(panel.root.locator("mark")).to_have_count(0)


def test_the_keys_of_an_input_method_are_not_the_searchs(notebook: Notebook) -> None:
    """Enter and Escape while it composes end what it composes, and not the search."""
    compose = """(input, key) => input.dispatchEvent(
        new KeyboardEvent('keydown', {key, isComposing: true, bubbles: true})
    )"""
    with serving(say(many(100))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("000099 of many")).to_be_visible()
        expect(search(panel, "00005")).to_have_text("11 hits")
        needle = panel.root.get_by_role("textbox", name="search all lines")
        needle.evaluate(compose, "Enter")
        needle.evaluate(compose, "Escape")
        expect(panel.root.get_by_role("search")).to_be_visible()
        expect(panel.root.locator(".ipr-verdict")).to_have_text("11 hits")


def test_what_is_copied_says_who_said_what_and_when(notebook: Notebook) -> None:
    """All that is in sight with Ctrl+A, as it stands there; a part of one line is only that."""
    copied = "navigator.clipboard.readText()"
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        server.peer(0).send(b"two <b>\r\n")
        expect(panel.row("two <b>")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Control+a")
        panel.page.keyboard.press("Control+c")
        stamp = r"\d\d:\d\d:\d\d\.\d{3}"
        lines = (r"\* connected to .*", r"< \* OK hello", "> a1 NOOP", "< a1 OK done", "< two <b>")
        assert re.fullmatch("\n".join(f"{stamp} {line}" for line in lines), panel.page.evaluate(copied))
        panel.row("a1 NOOP").locator(".ipr-text").dblclick()
        panel.page.keyboard.press("Control+c")
        assert panel.page.evaluate(copied).strip() in ("a1", "NOOP")


def drag(panel: PanelPage, first: str, last: str) -> None:
    """Select with the mouse from the beginning of one row's text to the end of another's."""
    begin, end = (panel.row(text).locator(".ipr-text").bounding_box() for text in (first, last))
    assert begin is not None
    assert end is not None
    mouse = panel.page.mouse
    mouse.move(begin["x"] + 1, begin["y"] + 9)
    mouse.down()
    mouse.move(end["x"] + end["width"] - 1, end["y"] + 9, steps=5)
    mouse.up()


def copied(panel: PanelPage) -> list[str]:
    """Copy what is selected; give its lines without who and when."""
    panel.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.page.evaluate("navigator.clipboard.writeText('nothing was copied')")
    panel.page.keyboard.press("Control+c")
    text: str = panel.page.evaluate(
        """async () => {
            for (let frame = 0; frame < 300; frame++) {
                const text = await navigator.clipboard.readText();
                if (text !== 'nothing was copied') return text;
                await new Promise(requestAnimationFrame);
            }
            return 'nothing was copied';
        }"""
    )
    return [re.sub(r"^\d\d:\d\d:\d\d\.\d{3} [<>*] ", "", line) for line in text.split("\n")]


def test_what_is_copied_is_what_was_selected_wherever_the_log_has_moved(notebook: Notebook) -> None:
    """A row that is out of sight has another line's text meanwhile; what is back is selected again."""
    three = [f"{number:06d} of many" for number in (2995, 2996, 2997)]
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        for rows in (1, 5, 12, 40, 500):
            panel.log.focus()
            panel.page.keyboard.press("End")
            panel.settled()
            drag(panel, three[0], three[2])
            assert copied(panel) == three
            panel.wheel(-18 * rows)
            panel.settled()
            assert copied(panel) == three, rows
            panel.wheel(18 * rows)
            expect(panel.row("002998 of many")).to_be_visible()
            panel.settled()
            selected = panel.page.evaluate("getSelection().toString()")
            assert re.findall(r"\d{6} of many", selected) == three
            panel.row(three[1]).locator(".ipr-text").click()


def test_the_wheel_may_turn_while_the_mouse_selects(notebook: Notebook) -> None:
    """The selection begins where the button went down, however far that line has moved away."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        panel.settled()
        begin = panel.row("002995 of many").locator(".ipr-text").bounding_box()
        assert begin is not None
        mouse = panel.page.mouse
        mouse.move(begin["x"] + begin["width"] - 1, begin["y"] + 9)
        mouse.down()
        mouse.move(begin["x"] + 1, begin["y"] - 9, steps=3)
        for _ in range(4):
            mouse.wheel(0, -18 * 10)
            panel.settled()
            mouse.move(begin["x"] + 1, begin["y"] - 10)
            mouse.move(begin["x"] + 1, begin["y"] - 9)
        mouse.up()
        lines = copied(panel)
        assert lines == [f"{number:06d} of many" for number in range(2954, 2996)]


def test_what_is_copied_can_be_read_by_a_program_and_says_what_is_missing(notebook: Notebook) -> None:
    """A control character as its escape, a tab as one, and of a line that is cut how much there is more."""
    harm = "a\tb\x1b[1m\x00\x01\x7f\x9b\u202e\ufeff\U000e0041c"
    with serving(say(harm.encode() + b"\r\n" + b"x" * 30_000 + b"\r\nthe last\r\n")) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("the last")).to_be_visible()
        panel.settled()
        drag(panel, "[1m", "the last")
        written = "a\tb" + visible(harm[3:])
        assert copied(panel) == [written, "x" * 1000 + " … 29,000 more characters", "the last"]
        panel.row("xxx").locator(".ipr-text").click(click_count=3)
        assert copied(panel) == ["x" * 1000 + " … 29,000 more characters"]
        panel.row("[1m").locator(".ipr-text").click(click_count=3)
        assert copied(panel) == [written]


def test_a_selection_goes_on_to_where_one_clicks_with_shift(notebook: Notebook) -> None:
    """From a line that is out of sight meanwhile, over all that the browser has not seen yet."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        panel.settled()
        drag(panel, "002995", "002997")
        for first in (1990, 2950):
            panel.log.focus()
            panel.page.keyboard.press("Home")
            panel.wheel(18 * first)
            panel.settled()
            row = panel.row(f"{first:06d} of many").locator(".ipr-text")
            row.click(modifiers=["Shift"], position={"x": 1, "y": 9})
            assert copied(panel) == [f"{number:06d} of many" for number in range(first, 2995)]


def test_all_lines_are_copied_with_two_keys_and_of_too_many_none(notebook: Notebook) -> None:
    """Also those that the browser has not seen yet; of millions it says where they can be had."""
    with serving(say(many(3000))) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("002999 of many")).to_be_visible()
        panel.log.focus()
        panel.page.keyboard.press("Control+a")
        lines = copied(panel)
        assert lines[0].startswith("connected to ")
        assert lines[1:] == [f"{number:06d} of many" for number in range(3000)]
        told = panel.root.locator(".ipr-notice")
        expect(told).to_contain_text("3,001 lines copied")
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    expect(panel.row("4999999 of five million")).to_be_visible()
    panel.log.focus()
    panel.page.keyboard.press("Control+a")
    panel.page.keyboard.press("Control+c")
    told = panel.root.locator(".ipr-notice")
    expect(told).to_contain_text("5,000,000 lines are too many to copy; save writes them to a file")
    assert panel.page.evaluate("navigator.clipboard.readText()").endswith(lines[-1])


def saved_file(panel: PanelPage, choice: str) -> Path:
    panel.root.locator("summary", has_text="save").click()
    panel.button(choice).click()
    told = panel.root.locator(".ipr-notice")
    expect(told).to_contain_text("saved to")
    path = Path(told.inner_text().split("saved to ")[1].split("\n")[0].removesuffix("dismiss").strip())
    panel.button("dismiss").last.click()
    expect(told).to_be_hidden()
    return path


def test_the_log_is_saved_beside_the_notebook_as_text_or_json_lines(notebook: Notebook) -> None:
    """The panel says where; the text is what one sees, the JSON lines have all that is known."""
    with serving(say(many(3))) as server:
        panel = connect(notebook, server.address, "name='a feed'")
        expect(panel.row("000002 of many")).to_be_visible()
        text = saved_file(panel, "as text")
        assert text.parent == notebook.jupyter.root
        assert re.fullmatch(r"a-feed-\d{8}-\d{6}\.txt", text.name)
        assert text.read_text().splitlines()[1:] == [f"< {number:06d} of many" for number in range(3)]
        rows = [json.loads(row) for row in saved_file(panel, "as JSON lines").read_text().splitlines()]
        assert [row["text"] for row in rows if row["direction"] == "<"] == [
            f"{n:06d} of many" for n in range(3)
        ]


def test_with_a_filter_only_the_hits_are_saved(notebook: Notebook) -> None:
    """What one sees is what one gets."""
    with serving(say(many(30))) as server:
        panel = connect(notebook, server.address)
        expect(search(panel, "00002")).to_have_text("11 hits")
        panel.button("Show only the lines that have it").click()
        expect(panel.texts).to_have_count(11)
        saved = saved_file(panel, "as text").read_text().splitlines()
        assert saved == [f"< {number:06d} of many" for number in (2, *range(20, 30))]
