"""What is left of ipyreconnect in a kernel after it was used and unloaded: nothing."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import SERVER, Kernel
from tests.servers.line_server import LineServer

pytestmark = pytest.mark.kernel

LOOK = """
import comm, gc, ipywidgets, random, sys, threading
import ipyreconnect
ip = get_ipython()
of_one_use = ("Client", "Driver", "Recorder", "ReconnectMagics", "Answers", "TerminalLog", "Panel", "LogView")

def look():
    gc.collect()
    return {
        "magics": {kind: dict(table) for kind, table in ip.magics_manager.magics.items()},
        "registry": list(ip.magics_manager.registry),
        "configurables": [id(one) for one in ip.configurables],
        "matchers": list(ip.Completer.custom_matchers),
        "events": {name: list(calls) for name, calls in ip.events.callbacks.items()},
        "threads": sorted(thread.name for thread in threading.enumerate() if "reconnect" in thread.name),
        "widgets": len(ipywidgets.widgets.widget._instances),
        "comms": len(comm.get_comm_manager().comms),
        "hook": sys.displayhook,
        # What atexit, an observer or a registry would still hold would still be there.
        "objects": [type(one).__name__ for one in gc.get_objects() if type(one).__name__ in of_one_use
                    and type(one).__module__.startswith("ipyreconnect")],
    }

def differences(before, after):
    return {what: (before[what], after[what]) for what in before if before[what] != after[what]}
"""

# One cell, so that what runs at the end of each is what it always is.
HUNDRED = """
steps = ["%load_ext ipyreconnect", "%reload_ext ipyreconnect", "%unload_ext ipyreconnect",
         "%connect ADDRESS --wait 5", "%connect ADDRESS --name other --wait 5", "%send 1 noop", "%send 2",
         "%panel", "%keepalive 9/1/1", "%stop", "%connect"]
chance = random.Random(5)

def do(step):
    name, _, rest = step[1:].partition(" ")
    if ip.find_line_magic(name) is None:
        return
    try:
        ip.run_line_magic(name, rest)
    except (UsageError, ipyreconnect.NotConnected):
        pass

for n in range(100):
    do("%load_ext ipyreconnect")
    for step in chance.choices(steps, k=chance.randrange(6)):
        do(step)
    do("%unload_ext ipyreconnect")
print(differences(before, look()))
"""


def test_a_hundred_uses_in_any_order_leave_the_kernel_as_it_was(kernel: Kernel) -> None:
    """Load, use, reload, stop, unload as it comes: no magic, hook, thread, widget, comm or object stays."""
    with LineServer(SERVER) as server:
        kernel.run("%reload_ext storemagic")  # IPython itself loads what these magics need at their first use
        kernel.run("import ipyreconnect.jupyter.panel.panel\nfrom IPython.core.error import UsageError")
        assert kernel.say(LOOK + "\nbefore = look()\nprint(differences(before, look()))") == "{}\n"
        said = kernel.say(HUNDRED.replace("ADDRESS", server.address))
        assert said.splitlines()[-1] == "{}", said[-2000:]
        assert len(server.peers) > 50


def test_unloading_ends_what_runs(kernel: Kernel) -> None:
    """%unload_ext and %reload_ext with a live connection, a busy panel and an open answer end all of it."""
    with LineServer(SERVER) as server:
        kernel.run("%reload_ext storemagic")
        kernel.run("import ipyreconnect.jupyter.panel.panel")
        kernel.run(LOOK + "\nbefore = look()")
        for _ in range(3):
            kernel.run(f"%load_ext ipyreconnect\n%connect {server.address}")
            kernel.run("%send 1 noop")
            kernel.run("%reload_ext ipyreconnect")
            kernel.run(f"c = %connect {server.address}")
            kernel.run("%send --expect '^2 OK' 2 noop")
            kernel.run("%unload_ext ipyreconnect")
        # What the user has, in a name or in Out, is the user's to keep.
        said = kernel.say("print(c.state, differences(before, look() | {'objects': []}))")
        assert said == "stopped {}\n"
