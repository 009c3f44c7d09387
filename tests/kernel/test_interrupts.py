"""The kernel's interrupt leaves whatever waits for a server, soon, and leaves the connection as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.kernel.kernels import SERVER, Kernel, new_kernel
from tests.servers.line_server import LineServer, flood, mute

pytestmark = pytest.mark.kernel

SOON = 0.5
"""Seconds within which the interrupted cell ends; of up to three times one, as the machine may be busy."""

# What is there besides the wait: nobody waits, nobody watches, and a line is answered.
AS_IT_WAS = (
    "print(c.state, len(c._connection.expectations.pending), len(c._callbacks._watchers), "
    "len(c._driver.waiters.waiting))"
)


# Tells from beside the cell that it waits.
TELL = """
import threading, time

def waits(name):
    c = get_ipython().magics_manager.registry["ReconnectMagics"].connections.get(name)
    if c is None:
        return False
    return bool(c._connection.expectations.pending or c._driver.waiters.waiting or c._driver.leader.thread)

def tell(name):
    while not waits(name):
        time.sleep(0.01)
    print("waiting", flush=True)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One for all: an interrupt leaves nothing behind, which the next test then sees."""
    with new_kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        kernel.run(f"{TELL}\n%load_ext ipyreconnect")
        yield kernel


def interrupted(kernel: Kernel, code: str, name: str = "near") -> tuple[float, str]:
    """Run a cell, interrupt it while it waits; give how long that took in seconds, and the error."""
    kernel.streams.clear()
    cell = kernel.begin(f"threading.Thread(target=tell, args=[{name!r}]).start()\n{code}")
    kernel.wait(lambda: "waiting" in "".join(kernel.streams.values()))
    begin = time.monotonic()
    kernel.manager.interrupt_kernel()
    kernel.wait(lambda: cell in kernel.errors)
    took = time.monotonic() - begin
    kernel.wait(lambda: kernel.idle == cell)
    return took, kernel.errors[cell]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("%expect ^never --timeout 60", "interrupted; the connection is as it was"),
        ("%send --expect ^never --timeout 60 mute", "interrupted; the connection is as it was"),
        ("c.expect('^never', timeout=60)", "KeyboardInterrupt"),
        ("await c.aexpect('^never', timeout=60)", "KeyboardInterrupt|CancelledError"),
        ("await c.asend('mute', expect='^never', timeout=60)", "KeyboardInterrupt|CancelledError"),
        ("async for line in c.follow():\n    pass", "KeyboardInterrupt|CancelledError"),
        ("for line in c.follow():\n    pass", "KeyboardInterrupt"),
    ],
)
def test_an_interrupt_ends_a_wait_and_nothing_else(kernel: Kernel, code: str, error: str) -> None:
    """Each way to wait ends within half a second; then the same connection answers as before."""
    with LineServer(SERVER) as server:
        kernel.run(f"c = %connect {server.address} --name near --no-panel")
        kernel.run("%send --expect '^0 OK' 0 noop")
        before = kernel.say(AS_IT_WAS)
        assert before.startswith("connected 0 ")
        times = []
        for _ in range(3):
            took, said = interrupted(kernel, code)
            assert any(words in said for words in error.split("|"))
            times.append(took)
            if took < SOON:
                break
        assert min(times) < SOON, times
        assert kernel.say(AS_IT_WAS) == before
        assert kernel.say("print(c.send('1 noop', expect='^1 OK').text)") == "1 OK noop done\n"
        assert len(server.peers) == 1
        kernel.run("%stop")


def test_an_interrupt_ends_an_async_for_in_a_flood(kernel: Kernel) -> None:
    """The kernel's event loop has its turn, though there is a next line at any time."""
    with LineServer(flood()) as server:
        kernel.run(f"c = %connect {server.address} --name near --no-panel")
        kernel.streams.clear()
        cell = kernel.begin(
            "said = False\n"
            "async for line in c.follow():\n"
            "    if not said:\n"
            "        print('waiting', flush=True)\n"
            "        said = True"
        )
        kernel.wait(lambda: "waiting" in "".join(kernel.streams.values()))
        begin = time.monotonic()
        kernel.manager.interrupt_kernel()
        kernel.wait(lambda: cell in kernel.errors)
        assert time.monotonic() - begin < 4 * SOON
        assert any(word in kernel.errors[cell] for word in ("KeyboardInterrupt", "CancelledError"))
        kernel.wait(lambda: kernel.idle == cell)
        kernel.run("%stop")


def test_an_interrupted_connect_goes_on(kernel: Kernel) -> None:
    """%connect that is interrupted goes on in the background, and says so; %stop ends it."""
    with LineServer(mute) as server:
        server.pull_cable()
        took, said = interrupted(kernel, f"%connect {server.address} --name far --no-panel --wait 60", "far")
        assert said == "interrupted; far goes on in the background, %stop ends it"
        assert took < 4 * SOON
        assert "connecting" in kernel.say("%connect")
        assert kernel.say("%stop") == "stopped far\n"
