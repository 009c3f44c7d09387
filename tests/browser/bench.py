"""Measure the panel's log in JupyterLab beside ipywidgets.Output and ipywidgets.HTML; asserts nothing.

python -m tests.browser.bench [--quick]      # `make bench` prints this too

Frame times are of the page while the wheel turns, or while lines pour in; a "jump" is from a pull at the
scrollbar's thumb to painted lines; messages and KiB are what the page receives from the server; "kernel" is
the kernel's CPU beyond what making the lines takes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from playwright.sync_api import Locator, Page, sync_playwright

from tests.browser.lab import Jupyter, Notebook, chromium, flags
from tests.browser.test_log import FIVE_MILLION

EVERY = 0.05
"""Seconds between two blocks of a flood."""
FRAMES_GOAL = 20.0
JUMP_GOAL = 100.0

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
    do await new Promise(requestAnimationFrame);
    while (log.querySelector('.ipr-loading:not([hidden])'));
    return performance.now() - start;
}"""
SETTLE = """async log => {
    let height = -1;
    for (let same = 0; same < 5; ) {
        await new Promise(requestAnimationFrame);
        const still = height === log.scrollHeight && !log.querySelector('.ipr-loading:not([hidden])');
        same = still && height > log.clientHeight ? same + 1 : 0;
        height = log.scrollHeight;
    }
}"""
BUSY = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(range(1000))"

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
from ipyreconnect.jupyter.panel.panel import panel_for
client = Client("127.0.0.1:9")
log = panel_for(client).log
line = b"%06d a line of a flood, of about eighty characters, as such lines are, so, yes\\r\\n"
block = b"".join(line % number for number in range(10_000))
def write(lines, turn):
    data = block
    while data:
        room = client.transcript.room()
        size = min(len(room), len(data))
        room[:size] = data[:size]
        client.transcript.commit(size, time.time())
        data = data[size:]
    log.channel.poke()
"""
OUTPUT = """
import ipywidgets
widget = ipywidgets.Output(layout={"height": "22em", "overflow": "auto"}).add_class("bench")
def write(lines, turn):
    for number in range(lines):
        widget.append_stdout(f"{turn * lines + number:06d} a line of a flood, of about eighty characters\\n")
"""
HTML = """
import ipywidgets
widget = ipywidgets.HTML(layout={"height": "22em", "overflow": "auto"}).add_class("bench")
def write(lines, turn):
    widget.value += "".join(
        f"<div>{turn * lines + number:06d} a line of a flood, of about eighty characters</div>"
        for number in range(lines)
    )
"""
MANY_LINES = (
    "lines = [f'{number:06d} a line of many, of about eighty characters' for number in range(50_000)]\n"
)


@dataclass(frozen=True)
class Many:
    """Very many lines at once: what makes them, what is `shown` of them, and what scrolls there."""

    title: str
    lines: int
    code: str
    shown: str
    scrolls: str


MANY = (
    Many("ours", 5_000_000, FIVE_MILLION, "client", ".ipr-scroll"),
    # The others take longer with more than this, and much longer where the lines come one by one.
    Many(
        "ipywidgets.Output",
        50_000,
        OUTPUT + MANY_LINES + "text = '\\n'.join(lines)\n"
        "widget.outputs = ({'output_type': 'stream', 'name': 'stdout', 'text': text},)",
        "widget",
        ".bench",
    ),
    Many(
        "ipywidgets.HTML",
        50_000,
        HTML + MANY_LINES + "widget.value = ''.join(f'<div>{line}</div>' for line in lines)",
        "widget",
        ".bench",
    ),
)


@dataclass(frozen=True)
class Flood:
    """Lines that pour in, `lines` every `EVERY` seconds by the code's `write`, and what is `shown` of it."""

    title: str
    code: str
    lines: int
    shown: str


FLOODS = (
    Flood("ours", OURS, 10_000, "client"),
    Flood("ours, as few as below", OURS.replace("10_000", "20"), 20, "client"),
    # More than this, and it does not end.
    Flood("ipywidgets.Output", OUTPUT, 3, "widget"),
    Flood("ipywidgets.HTML", HTML, 20, "widget"),
)


def frames(page: Page, act: Callable[[], None]) -> tuple[float, float]:
    """Return the median and the 95th percentile of the frame times while `act` runs, ms."""
    page.evaluate(COUNT_FRAMES)
    act()
    times = sorted(page.evaluate("endFrames()"))
    return statistics.median(times), times[int(len(times) * 0.95)]


def scrolling(notebook: Notebook, many: Many, *, jumps: int) -> str:
    """Measure how soon very many lines are shown, and how they move by the wheel and the thumb."""
    page = notebook.page
    notebook.run(many.code)
    start = time.monotonic()
    log = notebook.run(many.shown).locator(many.scrolls)
    log.evaluate(SETTLE)
    shown = time.monotonic() - start
    log.hover()

    def wheel() -> None:
        for turn in range(240):
            page.mouse.wheel(0, -120 if turn < 160 else 100)

    log.evaluate("log => { log.scrollTop = log.scrollHeight }")
    median, most = frames(page, wheel)
    idle = statistics.median(jump(log) for _ in range(jumps))
    notebook.run(BUSY.format(60), wait=False)
    busy = statistics.median(jump(log) for _ in range(jumps))
    return (
        f"{many.lines:>11,}{shown:>9.1f} s{median:>11.1f}{most:>7.1f} ms{idle:>10.0f}{busy:>7.0f} ms"
        + wish(many.title, (most, FRAMES_GOAL), (max(idle, busy), JUMP_GOAL))
    )


def jump(log: Locator) -> float:
    """Pull the thumb to some place; return the milliseconds until the lines there are painted."""
    took: float = log.page.evaluate(JUMP, [log.element_handle(), random.random() * 0.98])
    log.evaluate(SETTLE)
    return took


def wish(title: str, *goals: tuple[float, float]) -> str:
    """Say whether our figures are within their goals."""
    if not title.startswith("ours"):
        return ""
    return "   " + ", ".join(f"< {goal:.0f}  {'met' if value < goal else 'MISSED'}" for value, goal in goals)


def flood(notebook: Notebook, case: Flood, *, seconds: float) -> str:
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
    median, most = frames(page, lambda: page.wait_for_timeout(seconds * 1000))
    took = time.monotonic() - begin
    count, size = len(sizes), sum(sizes)
    session.detach()
    notebook.run("running = False; time.sleep(0.3)")
    cpu = notebook.value("(time.process_time() - before - cost) / (time.monotonic() - start)")
    return (
        f"{case.lines / EVERY:>9,.0f}/s{median:>11.1f}{most:>7.1f} ms{count / took:>11.0f}/s"
        f"{size / took / 1024:>11,.0f} KiB/s{100 * cpu:>7.0f} %"
    )


def heading(*columns: tuple[str, int]) -> str:
    """Return the line above a table: what stands in each column, and how wide it is."""
    return " " * 26 + "".join(f"{name:>{width}}" for name, width in columns)


def print_figures(*, quick: bool = False) -> None:
    """Measure everything once, in a JupyterLab and a Chromium of its own, and print two tables."""
    jumps, seconds = (11, 3.0) if quick else (31, 8.0)
    try:
        path = chromium()
    except FileNotFoundError as error:
        print(f"\nthe panel is left out: {error}")
        return
    with Jupyter() as jupyter, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=flags(), ignore_default_args=["--hide-scrollbars"]
        )
        page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
        page.goto(jupyter.url(), timeout=60_000)
        page.wait_for_function("window.jupyterapp?.started", timeout=60_000)
        page.evaluate("window.jupyterapp.started.then(() => null)")

        def rows(works: Sequence[tuple[str, Callable[[Notebook], str]]]) -> None:
            for title, work in works:
                name = f"{time.monotonic_ns()}.ipynb"
                notebook = Notebook(page, jupyter, jupyter.write(name, "")).open()
                print(f"  {title:24}{work(notebook)}", flush=True)
                notebook.close()

        print(f"\nthe panel's log in JupyterLab, Chromium {browser.version}: very many lines")
        columns = (
            ("lines", 11),
            ("shown in", 11),
            ("wheel p50", 11),
            ("p95", 10),
            ("jump p50", 10),
            ("busy", 10),
        )
        print(heading(*columns), "  goal")
        rows([(many.title, partial(scrolling, many=many, jumps=jumps)) for many in MANY])
        print("\nthe panel's log in JupyterLab: following a flood")
        columns = (
            ("lines", 11),
            ("frames p50", 11),
            ("p95", 10),
            ("messages", 13),
            ("received", 17),
            ("kernel", 9),
        )
        print(heading(*columns))
        rows([(case.title, partial(flood, case=case, seconds=seconds)) for case in FLOODS])
        browser.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jumps, shorter floods")
    print_figures(quick=parser.parse_args().quick)


if __name__ == "__main__":
    main()
