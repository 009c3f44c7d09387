"""Measure the panel's log in JupyterLab beside ipywidgets.Output and ipywidgets.HTML; asserts nothing.

python -m tests.browser.bench

Frame times are of the page while the wheel turns, or while lines pour in; "jump" is from a pull at the
scrollbar's thumb to painted lines; bytes and messages are what the page receives from the server; "kernel" is
the kernel's CPU beyond what making the lines takes.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from playwright.sync_api import Page, sync_playwright

from tests.browser.lab import Jupyter, Notebook, chromium, flags
from tests.browser.panels import PanelPage, show
from tests.browser.test_log import FIVE_MILLION

SECONDS = 5.0
EVERY = 0.05
JUMPS = 21

COUNT_FRAMES = """() => {
    const times = [];
    let last = performance.now(), going = true;
    const tick = now => { times.push(now - last); last = now; if (going) requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    window.endFrames = () => { going = false; return times.slice(2); };
}"""
JUMP = """async ([log, share]) => {
    const start = performance.now();
    log.scrollTop = share * (log.scrollHeight - log.clientHeight);
    await new Promise(requestAnimationFrame);
    for (;;) {
        await new Promise(requestAnimationFrame);
        const rows = [...log.querySelectorAll('.ipr-row:not([hidden])')];
        if (rows.length > 3 && rows.every(row => !row.classList.contains('ipr-loading'))) break;
    }
    return performance.now() - start;
}"""
BUSY = "import time\nend = time.monotonic() + 12\nwhile time.monotonic() < end: sum(range(1000))"

POUR = """
import threading, time
running, cost = True, 0.0
def pour(write, lines, every):
    def work():
        global cost
        start, turn = time.monotonic(), 0
        while running:
            write(lines, turn)
            turn += 1
            time.sleep(max(0.0, start + turn * every - time.monotonic()))
        cost = time.thread_time()
    threading.Thread(target=work, daemon=True).start()
"""
OURS = """
from ipyreconnect import Client
client = Client("127.0.0.1:9")
line = b"%06d a line of a flood, of about eighty characters, as such lines are, so, yes\\r\\n"
block = b"".join(line % number for number in range(10_000))
def write(lines, turn):
    data = block
    while data:
        room = client.transcript.room(time.time())
        size = min(len(room), len(data))
        room[:size] = data[:size]
        client.transcript.commit(size, time.time())
        data = data[size:]
    client.poke()
"""
OUTPUT = """
import ipywidgets
widget = ipywidgets.Output(layout={"height": "22em", "overflow": "auto"})
def write(lines, turn):
    for number in range(lines):
        widget.append_stdout(f"{turn * lines + number:06d} a line of a flood, of about eighty characters\\n")
"""
HTML = """
import ipywidgets
widget = ipywidgets.HTML(layout={"height": "22em", "overflow": "auto"})
def write(lines, turn):
    widget.value += "".join(
        f"<div>{turn * lines + number:06d} a line of a flood, of about eighty characters</div>"
        for number in range(lines)
    )
"""


@dataclass(frozen=True)
class Case:
    """A flood: `lines` every `EVERY` seconds, written by the code's `write`, and what is `shown` of it."""

    title: str
    code: str
    lines: int
    shown: str


CASES = (
    Case("ours", OURS, 10_000, "client"),
    Case("ours, as few as below", OURS.replace("10_000", "20"), 20, "client"),
    # More than this, and it does not end.
    Case("ipywidgets.Output", OUTPUT, 3, "widget"),
    Case("ipywidgets.HTML", HTML, 20, "widget"),
)


def frames(page: Page, act: Callable[[], None]) -> tuple[float, float]:
    """Return the median and the 95th percentile of the frame times while `act` runs, ms."""
    page.evaluate(COUNT_FRAMES)
    act()
    times = sorted(page.evaluate("endFrames()"))
    return statistics.median(times), times[int(len(times) * 0.95)]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def scrolling(notebook: Notebook) -> None:
    """Measure the wheel and the thumb on five million lines."""
    page = notebook.page
    notebook.run(FIVE_MILLION)
    panel = show(notebook)
    panel.settled()
    panel.log.hover()

    def wheel() -> None:
        for turn in range(240):
            page.mouse.wheel(0, -120 if turn < 160 else 100)

    median, most = frames(page, wheel)
    say(f"5 000 000 lines, wheel      frames p50 {median:5.1f} ms  p95 {most:5.1f} ms")
    for name, code in (("kernel idle", ""), ("a busy cell", BUSY)):
        if code:
            notebook.run(code, wait=False)
        times = sorted(jump(panel) for _ in range(JUMPS))
        say(f"5 000 000 lines, {name}  jump   p50 {times[JUMPS // 2]:5.0f} ms  max {times[-1]:5.0f} ms")


def jump(panel: PanelPage) -> float:
    took: float = panel.page.evaluate(JUMP, [panel.log.element_handle(), random.random() * 0.98])
    panel.settled()
    return took


def flood(notebook: Notebook, case: Case) -> None:
    """Measure a flood that is looked at."""
    page = notebook.page
    sizes: list[int] = []
    session = page.context.new_cdp_session(page)
    session.on(
        "Network.webSocketFrameReceived", lambda event: sizes.append(len(event["response"]["payloadData"]))
    )
    notebook.run(POUR + case.code)
    notebook.run(case.shown)
    notebook.run(f"before, start = time.process_time(), time.monotonic(); pour(write, {case.lines}, {EVERY})")
    session.send("Network.enable")
    begin = time.monotonic()
    median, most = frames(page, lambda: page.wait_for_timeout(SECONDS * 1000))
    took = time.monotonic() - begin
    count, size = len(sizes), sum(sizes)
    session.detach()
    notebook.run("running = False; time.sleep(0.3)")
    cpu = notebook.value("(time.process_time() - before - cost) / (time.monotonic() - start)")
    say(
        f"{case.title:28s}{case.lines / EVERY:9,.0f} lines/s  "
        f"frames p50 {median:5.1f} ms  p95 {most:6.1f} ms  "
        f"{count / took:5.0f} messages/s  {size / took / 1024:8.0f} KiB/s  kernel {100 * cpu:4.0f} %"
    )


def main() -> None:
    """Run everything once."""
    with Jupyter() as jupyter, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=flags(), ignore_default_args=["--hide-scrollbars"]
        )
        works: list[Callable[[Notebook], None]] = [scrolling]
        works += [partial(flood, case=case) for case in CASES]
        page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
        page.goto(jupyter.url(), timeout=60_000)
        page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
        page.evaluate("window.jupyterapp.started.then(() => null)")
        for number, work in enumerate(works):
            notebook = Notebook(page, jupyter, jupyter.write(f"bench-{number}.ipynb", "")).open()
            work(notebook)
            notebook.close()
        browser.close()


if __name__ == "__main__":
    main()
