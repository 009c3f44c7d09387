"""JupyterLab's kernel indicator tells of the user's cells, not of a panel that is looked at."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from playwright.sync_api import expect

from tests.browser.lab import Notebook
from tests.browser.panels import connect, serving
from tests.servers.line_server import Peer

SAMPLES = 60
"""Looks at the indicator …"""
EVERY = 100
"""… and the milliseconds between two of them: six seconds in all."""
BUSY_AT_MOST = 1
"""Of these looks, how many may find it busy; each acknowledgement makes it busy for some 40 ms."""

WATCH = """async ([samples, every]) => {
    const context = jupyterapp.shell.currentWidget.sessionContext;
    const seen = [];
    for (let n = 0; n < samples; n++) {
        await new Promise(then => setTimeout(then, every));
        seen.push(context.kernelDisplayStatus);
    }
    return seen;
}"""


async def feed(peer: Peer) -> None:
    """Send ten lines a second, as a receiver of positions does."""
    gone = asyncio.ensure_future(peer.until_closed())
    number = 0
    while not gone.done():
        peer.send(b"%06d $GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n" % number)
        number += 1
        await asyncio.wait({gone}, timeout=0.1)


def test_a_feed_in_view_leaves_the_kernels_indicator_alone(notebook: Notebook) -> None:
    """While ten lines a second come and are drawn, the kernel shows as idle: nobody runs anything."""
    with serving(feed) as server:
        panel = connect(notebook, server.address)
        # The first ticks ask one by one, until it is known that the browser keeps up.
        expect(panel.rows.last).to_contain_text(re.compile(r"0000[3-9]\d \$GPGGA"))
        first = panel.count.inner_text()
        seen: list[Any] = notebook.page.evaluate(WATCH, [SAMPLES, EVERY])
        expect(panel.count).not_to_have_text(first)
        assert len(seen) == SAMPLES
        busy = sum(status != "idle" for status in seen)
        assert busy <= BUSY_AT_MOST, f"busy in {busy} of {SAMPLES} looks"
