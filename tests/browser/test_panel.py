"""What the panel promises to somebody who looks at it, in a real JupyterLab with real connections."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import connect, serving, show
from tests.servers.certificates import Certificates
from tests.servers.line_server import RUBBISH, answering, greet, mute

NOOP = answering({rb"(\S+) NOOP": rb"\1 OK done"}, b"* OK hello\r\n")
BUSY = "import time\nend = time.monotonic() + 6\nwhile time.monotonic() < end: sum(range(1000))"


def test_the_panel_shows_the_state_and_every_line_as_it_comes(notebook: Notebook) -> None:
    """The badge says connected; what the server says appears by itself, with its time and direction."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.state("connected")
        expect(panel.row("* OK hello")).to_be_visible()
        expect(panel.root.locator(".ipr-lock")).to_have_text("not encrypted")
        server.peer(0).send(b"* 1 EXISTS\r\n")
        expect(panel.row("* 1 EXISTS")).to_have_class(re.compile("ipr-in"))
        expect(panel.row("* 1 EXISTS").locator(".ipr-time")).to_have_text(
            re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$")
        )
        expect(panel.count).to_have_text("3 lines")


def test_a_loss_is_shown_with_its_reason_and_a_countdown_to_the_next_try(notebook: Notebook) -> None:
    """The reason, "next try in 1.9 s (try 2)" counting down by itself; then it is back, and says what was."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        server.peer(0).close()
        panel.state("waiting")
        countdown = re.compile(r"closed by 127\.0\.0\.1:\d+: next try in (\d\.\d) s \(try (\d)\)")
        expect(panel.detail).to_have_text(countdown)
        first = countdown.search(panel.detail.inner_text())
        assert first is not None
        expect(panel.detail).not_to_have_text(first[0])
        expect(panel.row(f"try {first[2]} in ")).to_be_visible()
        server.peer(1)
        panel.state("connected")
        expect(panel.detail).to_contain_text("last loss: closed by 127.0.0.1")
        expect(panel.row("closed by")).to_have_class(re.compile("ipr-note-down"))
        panel.button("Stop").click()
        panel.state("stopped")
        expect(panel.detail).to_have_text(re.compile(r"^at \d\d:\d\d:\d\d$"))


def test_the_last_loss_is_no_try_that_failed_since(notebook: Notebook) -> None:
    """Back again, it says why the connection was lost, though the tries after that were refused."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=0.3")
        panel.state("connected")
        server.peer(0).close()
        port = server.port
    expect(panel.detail).to_contain_text("refused by 127.0.0.1")
    with serving(NOOP, port=port):
        panel.state("connected")
        expect(panel.detail).to_contain_text("last loss: closed by 127.0.0.1")


def test_the_log_stays_where_it_is_from_try_to_try(notebook: Notebook) -> None:
    """Also in a panel that is so narrow that what it does needs a line more than the countdown."""
    top = "panel => panel.querySelector('.ipr-scroll').getBoundingClientRect().top"
    with serving(mute) as server:
        panel = connect(notebook, server.address, "on_connect='< ^OK', retry=1.0")
        server.peer(0).close()
        panel.state("waiting")
        panel.detail.evaluate(
            "detail => { detail.parentNode.style.width = `${detail.getBoundingClientRect().width + 2}px` }"
        )
        short = panel.root.evaluate(top)
        expect(panel.detail).to_contain_text("running the on-connect script")
        long = panel.root.evaluate(top)
        assert long > short
        server.peer(1).close()
        panel.state("waiting")
        assert panel.root.evaluate(top) == long


def test_a_client_that_gave_up_says_why(notebook: Notebook) -> None:
    """What no other try can mend is the reason that stands there, and not that somebody stopped it."""
    notebook.run(
        "from ipyreconnect import Client, Retry\n"
        "client = Client('127.0.0.1:9', retry=Retry(0.05, attempts=2))\n"
        "client.connect();"
    )
    panel = show(notebook)
    panel.state("stopped")
    expect(panel.detail).to_have_text("refused by 127.0.0.1:9; gave up after 2 tries")


def test_reconnect_now_cuts_the_wait_short(notebook: Notebook) -> None:
    """One click, and the next try is made at once however long the wait would have been."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=600.0")
        server.peer(0).close()
        panel.state("waiting")
        panel.button("Reconnect now").click()
        panel.state("connected")


def test_a_click_on_stop_is_answered_while_a_cell_runs(notebook: Notebook) -> None:
    """Stop works at once during a busy cell, with lines pouring in; and Connect brings it back."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        notebook.run(
            "import threading\n"
            "def pour():\n"
            "    while client.state == 'connected':\n"
            "        client.send('1 NOOP'); time.sleep(0.02)\n"
            "import time; threading.Thread(target=pour, daemon=True).start()"
        )
        notebook.run(BUSY, wait=False)
        panel.button("Stop").click()
        panel.state("stopped")
        panel.button("Connect").click()
        panel.state("connected")
        prompt = notebook.cell(-1).locator(".jp-InputPrompt")
        assert prompt.inner_text() == "[*]:", "the cell ended too soon for this to prove anything"


def test_a_button_that_goes_hands_the_focus_on(notebook: Notebook) -> None:
    """Without a mouse: Enter on Stop, and Enter again connects; the focus is never lost."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.button("Stop").press("Enter")
        panel.state("stopped")
        expect(panel.button("Stop")).to_be_disabled()
        expect(panel.button("Connect")).to_be_focused()
        panel.page.keyboard.press("Enter")
        panel.state("connected")
        expect(panel.button("Connect")).to_be_hidden()
        expect(panel.button("Reconnect now")).to_be_focused()


def test_a_key_that_is_held_down_presses_one_button(notebook: Notebook) -> None:
    """Enter held on Stop does not connect again, where Connect takes the focus."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.button("Stop").focus()
        panel.page.keyboard.down("Enter")
        expect(panel.button("Connect")).to_be_focused()
        panel.page.keyboard.down("Enter")  # which repeats it
        panel.state("stopped")
        panel.page.keyboard.up("Enter")
        panel.state("stopped")
        expect(panel.row("connected to")).to_have_count(1)


def test_a_key_pressed_on_the_panel_is_none_of_the_notebooks(notebook: Notebook) -> None:
    """Neither x, which cuts a cell, nor an arrow, which leaves it, wherever in the panel the focus is."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        cells = notebook.page.locator(".jp-CodeCell")
        count = cells.count()
        lock = panel.root.locator(".ipr-lock")
        # The log's own button too: its keys are the log's.
        buttons = [panel.button(name) for name in ("Stop", "weblog", "mask", "wrap")]
        for place in (lock, *buttons):
            for key in ("x", "ArrowUp", "Enter" if place is lock else "b"):
                place.press(key)
            expect(place).to_be_focused()
            assert cells.count() == count
            expect(panel.root).to_be_visible()


def test_the_notebook_is_saved_from_anywhere_in_the_panel(notebook: Notebook) -> None:
    """Ctrl+S is the notebook's also where a line is typed or a value."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        idle = panel.keepalive.get_by_role("spinbutton", name="idle")
        for place in (panel.line, idle, panel.button("Stop")):
            notebook.run("pass")
            dirty = "jupyterapp.shell.currentWidget.context.model.dirty"
            assert notebook.page.evaluate(dirty)
            place.press("Control+s")
            notebook.page.wait_for_function(f"!{dirty}")


def test_keepalive_fields_change_the_live_socket_and_show_what_is_in_force(notebook: Notebook) -> None:
    """A preset and a typed value are applied at once; the sentence tells the bound that was read back."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        expect(panel.outcome).to_have_text("in force: a dead peer is noticed within 14 s")
        panel.button("gentle").click()
        expect(panel.outcome).to_have_text("in force: a dead peer is noticed within 45 s")
        assert notebook.value("str(client.keepalive_in_force)") == "30/5/3"
        panel.root.get_by_role("spinbutton", name="idle").fill("7")
        expect(panel.outcome).to_have_text("Enter applies: a dead peer is noticed within 22 s")
        panel.root.get_by_role("spinbutton", name="idle").press("Enter")
        expect(panel.outcome).to_have_text("in force: a dead peer is noticed within 22 s")
        assert notebook.value("str(client.keepalive_in_force)") == "7/5/3"


def test_a_refused_keepalive_says_why_and_changes_nothing(notebook: Notebook) -> None:
    """99999 is more than Linux takes: the reason stands there, and the old values stay in force."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        count = panel.root.get_by_role("spinbutton", name="count")
        count.fill("99999")
        count.press("Enter")
        expect(panel.outcome).to_have_text("keepalive count must be a whole number from 1 to 127, not 99999")
        assert notebook.value("str(client.keepalive_in_force)") == "5/3/3"
        count.press("Escape")
        expect(count).to_have_value("3")


def test_only_enter_changes_the_live_socket(notebook: Notebook) -> None:
    """Neither the wheel, which scrolls the page, nor leaving the field with a value that is half typed."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        idle = panel.keepalive.get_by_role("spinbutton", name="idle")
        idle.click()
        panel.page.mouse.wheel(0, 100)
        expect(idle).not_to_be_focused()
        expect(idle).to_have_value("5")
        idle.fill("20")
        idle.press("Tab")
        expect(panel.outcome).to_have_text("Enter applies: a dead peer is noticed within 29 s")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        assert notebook.value("str(client.keepalive_in_force)") == "5/3/3"
        panel.keepalive.get_by_role("spinbutton", name="count").press("Enter")
        expect(panel.outcome).to_have_text("in force: a dead peer is noticed within 29 s")
        assert notebook.value("str(client.keepalive_in_force)") == "20/3/3"


def test_a_preview_promises_nothing_that_would_be_refused(notebook: Notebook) -> None:
    """While it is typed, what is wrong stands where the promise would; 1e2 is a number like any other."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        idle = panel.keepalive.get_by_role("spinbutton", name="idle")
        told = "idle must be a whole number from 1 to 32767"
        for text in ("99999", "1.5", ""):
            idle.fill(text)
            expect(panel.outcome).to_have_text(told)
        idle.press("Enter")
        expect(panel.outcome).to_have_text(told)
        idle.fill("1e2")
        expect(panel.outcome).to_have_text("Enter applies: a dead peer is noticed within 1 min 49 s")
        idle.press("Enter")
        expect(panel.outcome).to_have_text("in force: a dead peer is noticed within 1 min 49 s")
        panel.retry.get_by_role("spinbutton", name="up to").fill("1")
        expect(panel.retry.locator(".ipr-outcome")).to_have_text("up to 1 s is below the first wait, 2 s")


def test_a_client_that_will_give_up_says_after_how_many_failures(notebook: Notebook) -> None:
    """And promises no tries until it is back."""
    notebook.run("from ipyreconnect import Client, Retry")
    panel = show(notebook, "Client('127.0.0.1:9', retry=Retry(3, attempts=4))")
    outcome = panel.retry.locator(".ipr-outcome")
    expect(outcome).to_have_text("after a loss a try every 3 s, given up after 4 failures in a row")
    panel.retry.get_by_role("spinbutton", name="times").fill("2")
    expect(outcome).to_have_text(
        "Enter applies: after a loss tries after 3 s, 6 s, 12 s …, then every 60 s,"
        " given up after 4 failures in a row"
    )


def test_a_field_shows_all_digits_of_its_largest_value(notebook: Notebook) -> None:
    """A day in seconds is 86400 and does not look like 400."""
    notebook.run("from ipyreconnect import Client")
    panel = show(notebook, "Client('127.0.0.1:9')")
    field = panel.retry.get_by_role("spinbutton", name="up to")
    field.fill("86400")
    text = """field => {
        const context = document.createElement('canvas').getContext('2d');
        context.font = getComputedStyle(field).font;
        const padding = 2 * parseFloat(getComputedStyle(field).paddingLeft);
        return [context.measureText(field.value).width, field.clientWidth - padding];
    }"""
    width, room = field.evaluate(text)
    assert width <= room


def test_a_unix_socket_has_no_keepalive_to_set(notebook: Notebook) -> None:
    """The panel says so instead of promising when a dead peer is noticed."""
    notebook.run("from ipyreconnect import Client\nclient = Client('unix:///nowhere/at-all')")
    panel = show(notebook)
    expect(panel.outcome).to_have_text("a Unix socket has no keepalive; the end of its peer shows at once")
    expect(panel.root.get_by_role("spinbutton", name="idle")).to_be_disabled()
    expect(panel.button("weblog")).to_be_disabled()
    expect(panel.retry.get_by_role("spinbutton").first).to_be_enabled()


def test_a_name_that_the_user_gave_is_shown(notebook: Notebook) -> None:
    """Also where it happens to be a part of the address; the host, which is the name by default, is not."""
    notebook.run("from ipyreconnect import Client")
    panel = show(notebook, "Client('imap.example:143', name='imap')")
    expect(panel.root.locator(".ipr-name").get_by_text("imap")).to_be_visible()
    panel = show(notebook, "Client('imap.example:143')")
    expect(panel.root.locator(".ipr-name")).to_be_hidden()


def test_a_long_name_or_reason_stays_inside(notebook: Notebook) -> None:
    """Where there is no blank to break at, it breaks anywhere, and nothing of it is cut off."""
    notebook.run("from ipyreconnect import Client")
    panel = show(notebook, "Client('127.0.0.1:9', name='x' * 300)")
    name = panel.root.locator(".ipr-name")
    expect(name).to_be_visible()
    beyond = "(name, panel) => name.getBoundingClientRect().right > panel.getBoundingClientRect().right"
    assert not name.evaluate(beyond, panel.root.element_handle())
    assert name.evaluate("name => name.getClientRects().length && name.offsetHeight > 30")


def test_enter_sends_a_line_and_its_delivery_is_marked(notebook: Notebook) -> None:
    """The line leaves, its answer appears, and the mark says that the server's machine has it."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.row("a1 OK done")).to_be_visible()
        expect(panel.row("a1 NOOP")).to_have_class(re.compile("ipr-out"))
        expect(panel.row("a1 NOOP").locator(".ipr-acknowledged")).to_have_attribute(
            "title", re.compile("acknowledged")
        )
        expect(panel.line).to_have_value("")
        assert server.peer(0).lines == [b"a1 NOOP"]


def test_the_arrow_keys_bring_back_earlier_lines(notebook: Notebook) -> None:
    """Up goes back, down goes forth again to what was being typed."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        for text in ("a1 NOOP", "a2 NOOP"):
            panel.line.fill(text)
            panel.line.press("Enter")
        panel.line.fill("a3 ")
        panel.line.press("ArrowUp")
        panel.line.press("ArrowUp")
        expect(panel.line).to_have_value("a1 NOOP")
        panel.line.press("ArrowDown")
        expect(panel.line).to_have_value("a2 NOOP")
        panel.line.press("ArrowDown")
        expect(panel.line).to_have_value("a3 ")


def test_a_masked_line_is_nowhere_to_be_seen(notebook: Notebook) -> None:
    """It leaves as typed; the log, the history, the page and the stored notebook never have it."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.button("mask").click()
        panel.line.fill("wonderland")
        expect(panel.line).to_have_css("-webkit-text-security", "disc")
        panel.line.press("Enter")
        server.peer(0).wait_line(rb"^wonderland$")
        expect(panel.row("••••")).to_have_class(re.compile("ipr-out"))
        expect(panel.button("mask")).to_have_attribute("aria-pressed", "false")
        panel.line.press("ArrowUp")
        expect(panel.line).to_have_value("")
        notebook.run("client")
        assert "wonderland" not in panel.page.content()
        assert "wonderland" not in str(notebook.save())


def test_a_line_that_cannot_be_sent_says_why_where_it_was_typed_and_stays(notebook: Notebook) -> None:
    """Stopped: the reason appears below the box, the text is back in it, and nothing is sent later."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address)
        panel.button("Stop").click()
        panel.state("stopped")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.send_error).to_contain_text("not connected")
        expect(panel.line).to_have_value("a1 NOOP")
        panel.button("Connect").click()
        panel.state("connected")
        expect(panel.send_error).to_be_hidden()
        assert server.peer(1).lines == []


def test_what_was_wrong_with_one_line_is_not_said_of_the_next(notebook: Notebook) -> None:
    """It goes as soon as something else is typed; and no countdown in it stands still."""
    with serving(NOOP) as server:
        panel = connect(notebook, server.address, "retry=600.0")
        server.peer(0).close()
        panel.state("waiting")
        panel.line.fill("a1 NOOP")
        panel.line.press("Enter")
        expect(panel.send_error).to_have_text("not connected: waiting for the next try")
        expect(panel.line).to_have_value("a1 NOOP")
        panel.line.press("End")
        panel.line.press_sequentially(" 2")
        expect(panel.send_error).to_be_hidden()


def test_what_a_server_sends_is_only_ever_text(notebook: Notebook) -> None:
    """Markup, escapes, NULs and invalid UTF-8 are shown as characters; nothing of it runs or draws."""
    with serving(greet(RUBBISH)) as server:
        panel = connect(notebook, server.address)
        expect(panel.row("end of the rubbish").first).to_be_visible()
        panel.settled()
        shown = "\n".join(panel.shown())
        assert "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>" in shown
        assert "a NUL NUL inside" in shown
        assert "ESC[2JESC[Hthe screen is cleared" in shown
        assert panel.root.locator("img, script, iframe, a").count() == 0
        assert notebook.page.title() != "owned"


def test_without_verification_the_header_says_so_loudly(notebook: Notebook, tmp_path: Path) -> None:
    """No green lock: "NOT VERIFIED", in red."""
    with serving(greet(b"* OK hello\r\n"), tls=Certificates(tmp_path).good().server_context()) as server:
        notebook.run("from ipyreconnect import TLS")
        panel = connect(notebook, server.address, "tls=TLS(verify=False)")
        panel.state("connected")
        lock = panel.root.locator(".ipr-lock")
        expect(lock).to_have_text("TLS 1.3, NOT VERIFIED")
        expect(
            panel.root.get_by_role("img", name="Nobody has checked the server's certificate")
        ).to_be_visible()
        expect(lock).to_have_css("background-color", "rgb(179, 32, 44)")


def test_the_lock_is_closed_only_where_tls_is_in_force(notebook: Notebook, tmp_path: Path) -> None:
    """With an expired certificate nothing is encrypted, and nothing is green; with a good one it is."""
    certificates = Certificates(tmp_path)
    notebook.run(f"from ipyreconnect import TLS; tls = TLS(cafile={str(certificates.cafile)!r})")
    with serving(greet(b"* OK hello\r\n"), tls=certificates.expired().server_context()) as server:
        panel = connect(notebook, f"localhost:{server.port}", "tls=tls")
        panel.state("stopped")
        lock = panel.root.locator(".ipr-lock")
        expect(lock).to_have_text("TLS once connected")
        expect(lock).to_have_class("ipr-lock ipr-lock-wanted")
    with serving(greet(b"* OK hello\r\n"), tls=certificates.good().server_context()) as server:
        panel = connect(notebook, f"localhost:{server.port}", "tls=tls")
        lock = panel.root.locator(".ipr-lock")
        expect(lock).to_have_text("TLS 1.3")
        expect(lock).to_have_class("ipr-lock ipr-lock-secure")
        expect(lock).to_have_attribute("title", re.compile(r"valid until .* \(\d+ y( \d+ d)?\)"))


def test_two_views_of_one_panel_live_side_by_side(notebook: Notebook) -> None:
    """Both show the lines, each scrolls for itself, and one goes on when the other is taken away."""
    with serving(NOOP) as server:
        one = connect(notebook, server.address)
        two = show(notebook)
        server.peer(0).send(b"".join(b"%d of many\r\n" % number for number in range(200)))
        expect(one.row("199 of many")).to_be_visible()
        expect(two.row("199 of many")).to_be_visible()
        one.wheel(-600)
        expect(one.row("199 of many")).to_be_hidden()
        expect(two.row("199 of many")).to_be_visible()
        notebook.page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.deleteCell(1)")
        expect(notebook.page.locator(".ipyreconnect-panel")).to_have_count(1)
        left = type(two)(notebook.page.locator(".ipyreconnect-panel"))
        server.peer(0).send(b"still here\r\n")
        expect(left.row("still here")).to_be_visible()


def test_closing_the_panel_leaves_nothing_behind_in_the_kernel(notebook: Notebook) -> None:
    """After close: no widget, no publisher's thread; the client is still connected."""
    with serving(NOOP) as server:
        notebook.run("import threading, ipywidgets\nfrom ipywidgets.widgets.widget import _instances")
        connect(notebook, server.address)
        assert notebook.value("len(_instances)") == 10
        notebook.run("from ipyreconnect.jupyter.panel.panel import panel_for; panel_for(client).close()")
        assert notebook.value("len(_instances)") == 0
        threads = notebook.value("[thread.name for thread in threading.enumerate()]")
        assert {"ipyreconnect-publisher", "ipyreconnect-commands"}.isdisjoint(threads)
        assert notebook.value("client.state") == "connected"


def test_nothing_is_loaded_from_elsewhere(notebook: Notebook, requests: list[str]) -> None:
    """Every request of the page went to the notebook server, or was data in the page itself."""
    with serving(NOOP) as server:
        connect(notebook, server.address)
    foreign = [url for url in requests if not url.startswith((notebook.jupyter.origin, "data:", "blob:"))]
    assert foreign == []
