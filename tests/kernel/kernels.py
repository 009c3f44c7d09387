"""A kernel as a front end sees it: cells, what they show, and panels that are looked at; draws nothing.

It is the ipykernel of the environment that runs the tests; KERNEL_PYTHON names another one's Python, whose
environment needs no more than ipyreconnect and ipykernel (`make kernels`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from tests.servers.line_server import answering

__all__ = ["SERVER", "Kernel", "new_kernel"]

ROOT = Path(__file__).parent.parent.parent

WAIT = 20.0
"""Seconds; a test that waits for longer has failed."""

SERVER = answering({rb"^(\d+) (\S+)": rb"\1 OK \2 done"}, b"* OK ready\r\n")
"""A server that answers whatever begins with a number."""

# ipykernel 7.0 to 7.3 leave a request lying after about a hundred cells, with no extension at all: they send
# past the stream that reads the same socket, which then misses an event. So that is told to look.
LOOK_FOR_REQUESTS = """
def look(kernel):
    import ipykernel
    from tornado.ioloop import PeriodicCallback
    if (7,) <= ipykernel.version_info[:2] < (7, 4):
        each = PeriodicCallback(lambda: kernel.shell_stream.flush(), 50)
        kernel.shell_channel_thread.io_loop.add_callback(each.start)

look(get_ipython().kernel)
del look
"""


class Kernel:
    """A kernel, and what a front end would show of its cells."""

    def __init__(self, client: Any, manager: Any) -> None:
        self.client = client
        self.manager = manager
        self.idle = ""
        self.displays: dict[str, dict[str, str]] = {}
        self.cell_of: dict[str, str] = {}
        self.streams: dict[str, str] = {}
        self.results: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self.parts: dict[str, str] = {}
        self.ticks: dict[str, int] = {}

    def begin(self, code: str, **options: bool) -> str:
        """Ask for a cell to be run, and give its id."""
        # After an error the kernel drops what was asked before it notices, idle or not: unless told not to.
        cell: str = self.client.execute(code, stop_on_error=False, **options)
        return cell

    def run(self, code: str) -> str:
        """Run a cell to its end, and give its id."""
        cell = self.begin(code)
        self.wait(lambda: self.idle == cell)
        return cell

    def say(self, code: str) -> str:
        """Run a cell, and give what it prints."""
        cell = self.run(code)
        return self.streams.get(cell, "") + self.errors.get(cell, "")

    def wait(self, done: Callable[[], bool]) -> None:
        """Take messages over until `done()`."""
        deadline = time.monotonic() + WAIT
        while not done():
            try:
                self._take(self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(
                    f"it does not come: {self.displays} {self.streams} {self.errors}"
                ) from None

    def _take(self, message: dict[str, Any]) -> None:
        parent = message["parent_header"].get("msg_id", "")
        content = message["content"]
        match message["msg_type"]:
            case "status" if content["execution_state"] == "idle":
                self.idle = parent
            case "display_data" | "update_display_data":
                name = content.get("transient", {}).get("display_id", "")
                if message["msg_type"] == "display_data":
                    self.cell_of[name] = parent
                self.displays[name] = content["data"]
            case "stream":
                self.streams[parent] = self.streams.get(parent, "") + content["text"]
            case "execute_result":
                self.results[parent] = content["data"]["text/plain"]
            case "error":
                self.errors[parent] = "\n".join(content["traceback"])
            case "comm_open" if "_esm" in (state := content["data"].get("state", {})):
                self.parts[str(state.get("kind", "log"))] = content["comm_id"]
                self.tell(content["comm_id"], m="hello")
            case "comm_msg" if (said := content["data"].get("content", {})).get("m") == "tick":
                self.ticks[content["comm_id"]] = said["seq"]
                self.tell(content["comm_id"], m="ack", seq=said["seq"])

    def tell(self, comm: str, **content: Any) -> str:
        """Send what a view in a browser would send to its part of a panel; give the message's id."""
        content |= {"view": "a view", "want": {"follow": True, "rows": 40, "unseen": False}}
        data = {"comm_id": comm, "data": {"method": "custom", "content": content}}
        message = self.client.session.msg("comm_msg", data)
        self.client.shell_channel.send(message)
        name: str = message["header"]["msg_id"]
        return name

    def panels(self, cell: str) -> int:
        """Count the live widgets that stand under a cell."""
        shown = [self.displays[name] for name, parent in self.cell_of.items() if parent == cell]
        return sum("application/vnd.jupyter.widget-view+json" in data for data in shown)

    def under(self, cell: str) -> str:
        """Give the text of the answer that stands under a cell."""
        names = [name for name, parent in self.cell_of.items() if parent == cell]
        return "\n".join(self.displays[name].get("text/plain", "") for name in names)


@contextlib.contextmanager
def new_kernel(directory: Path) -> Iterator[Kernel]:
    """Start a kernel whose profile and history are in `directory`; end it at last."""
    untyped: Any = KernelManager
    manager = untyped()
    python = os.environ.get("KERNEL_PYTHON")
    if python is not None:
        manager.kernel_spec.argv[0] = python
    environment = os.environ | {"IPYTHONDIR": str(directory), "PYTHONPATH": str(ROOT)}
    manager.start_kernel(env=environment)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        kernel = Kernel(client, manager)
        kernel.run(LOOK_FOR_REQUESTS)
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
