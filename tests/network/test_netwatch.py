"""A change of network and a sleep are noticed, once each, and whether this end's address is still there."""

from __future__ import annotations

import queue
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ipyreconnect.network import changes, netwatch
from ipyreconnect.network.loop import Loop
from ipyreconnect.network.netwatch import NetWatch, SleepClock, WakeWatch, address_gone, read_clocks
from tests.namespaces import NamespacePair, unavailable

PATIENCE = 10.0
"""Seconds after which a test gives up waiting for what should come at once."""

T = TypeVar("T")


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.end()
        loop.thread.join(PATIENCE)


def on_io(loop: Loop, call: Callable[[], T]) -> T:
    """Run `call` on the I/O thread, after all that is queued there, and return its result."""
    results: queue.SimpleQueue[T] = queue.SimpleQueue()
    loop.call_soon(lambda: results.put(call()))
    return results.get(timeout=PATIENCE)


class Watched:
    """A watch over the left end of a pair, and the threads on which it called."""

    def __init__(self, loop: Loop, pair: NamespacePair) -> None:
        self.loop = loop
        self.calls: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
        on_io(loop, pair.left.enter)
        self.watch = on_io(loop, self._begin)
        assert self.watch.missing is None

    def _begin(self) -> NetWatch:
        return NetWatch(self.loop, lambda: self.calls.put(threading.current_thread()))

    def wait(self) -> threading.Thread:
        return self.calls.get(timeout=PATIENCE)

    def close(self) -> None:
        on_io(self.loop, self.watch.close)


@pytest.fixture
def watched(loop: Loop, pair: NamespacePair) -> Iterator[Watched]:
    watched = Watched(loop, pair)
    yield watched
    watched.close()


@pytest.mark.faults
def test_every_kind_of_change_is_noticed(watched: Watched, loop: Loop, pair: NamespacePair) -> None:
    """A link, an address or a route that comes or goes is acted upon at once, on the I/O thread."""
    changes: list[Callable[[], None]] = [
        pair.right.link_down,  # somebody else pulled the plug: only the carrier goes
        pair.right.link_up,
        pair.left.link_down,
        pair.left.link_up,
        pair.left.remove_address,
        pair.left.add_address,
        lambda: pair.left.remove_address(socket.AF_INET6),
        lambda: pair.left.add_address(socket.AF_INET6),
        lambda: pair.left.ip("route add 192.0.2.0/24 via 10.77.0.2"),
        lambda: pair.left.ip("route del 192.0.2.0/24"),
        lambda: pair.left.ip("route add 2001:db8::/64 via fd77::2"),
    ]
    for change in changes:
        change()
        assert watched.wait() is loop.thread


@pytest.mark.faults
def test_a_burst_of_changes_is_one(
    watched: Watched, pair: NamespacePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugging a cable in makes a dozen messages and one try."""
    monkeypatch.setattr(netwatch, "SETTLE", 1.0)  # longer than the burst on a busy machine
    pair.left.ip(*(f"addr add 10.77.1.{number}/24 dev cable" for number in range(1, 50)))
    watched.wait()
    on_io(watched.loop, lambda: None)
    assert watched.calls.empty()


@pytest.mark.faults
def test_more_changes_than_the_kernel_can_keep_are_still_noticed(
    watched: Watched, loop: Loop, pair: NamespacePair
) -> None:
    """A storm of changes while the I/O thread is busy overruns the watch, and is a change like any other."""
    sock = watched.watch._sock
    assert sock is not None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it the least there is
    entered, release = threading.Event(), threading.Event()

    def busy() -> None:
        entered.set()
        release.wait(PATIENCE)

    loop.call_soon(busy)
    assert entered.wait(PATIENCE)
    pair.left.ip(*(f"addr add 10.77.1.{number}/24 dev cable" for number in range(1, 50)))
    release.set()
    watched.wait()
    pair.left.remove_address()
    watched.wait()


@pytest.mark.faults
def test_a_closed_watch_is_silent(watched: Watched, pair: NamespacePair) -> None:
    """%stop leaves no socket, no timer, and nothing is called any more, not even for a change before it."""
    pair.left.remove_address()
    assert_eventually_heard(watched)
    watched.close()
    watched.close()
    on_io(watched.loop, lambda: None)
    assert watched.calls.empty()
    assert on_io(watched.loop, lambda: len(watched.loop._selector.get_map())) == 1  # the loop's own


def assert_eventually_heard(watched: Watched) -> None:
    """Wait until a change has come in; the call for it comes a little later."""
    seen = threading.Event()

    def look() -> None:
        if watched.watch._timer is not None or not watched.calls.empty():
            seen.set()
        else:
            watched.loop.call_soon(look)

    watched.loop.call_soon(look)
    assert seen.wait(PATIENCE)
    while not watched.calls.empty():
        watched.calls.get()


def test_a_system_without_a_watch_says_so(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows the user is told that changes of network are not seen; the rest works."""
    monkeypatch.setattr(sys, "platform", "darwin")
    watch = NetWatch(loop, lambda: None)
    assert watch.missing is not None
    assert watch.missing.startswith("a watch for changes of network (")
    watch.close()


def test_what_a_system_does_not_tell_is_named_while_clients_run(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """%keepalive says what goes unseen; on Linux that is nothing."""

    class Subscriber:
        def is_to_dial(self) -> bool:
            raise AssertionError("nothing has changed")

        def network_changed(self, spread: float) -> None:
            raise AssertionError("nothing has changed")

    monkeypatch.setattr(sys, "platform", "win32")
    for clock in ("CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW"):
        monkeypatch.delattr(f"time.{clock}", raising=False)
    subscriber = Subscriber()
    changes.subscribe(subscriber, loop)
    on_io(loop, lambda: None)
    assert [text.partition(" (")[0] for text in changes.missing()] == [
        "a watch for changes of network",
        "clocks that tell of a sleep",
    ]
    changes.unsubscribe(subscriber, loop)
    monkeypatch.undo()
    changes.subscribe(subscriber, loop)
    on_io(loop, lambda: None)
    assert changes.missing() == ()
    changes.unsubscribe(subscriber, loop)
    on_io(loop, lambda: None)


@pytest.mark.faults
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_an_address_that_went_is_gone(pair: NamespacePair, family: int) -> None:
    """A connection whose own address was taken away is lost, and known to be at once."""
    with pair.right.listen(family) as server, pair.left.socket(family) as sock, pair.left.entered():
        sock.connect(server.getsockname())
        own = sock.getsockname()
        assert not address_gone(own)
        pair.left.remove_address(family)
        assert address_gone(own)
        pair.left.add_address(family)
        assert not address_gone(own)


@pytest.mark.faults
def test_a_link_that_is_down_keeps_its_ipv4_address(pair: NamespacePair) -> None:
    """Half a second without a link is no reason to give a connection up."""
    with pair.left.entered():
        assert not address_gone((pair.left.ipv4, 1))
        pair.left.link_down()
        assert not address_gone((pair.left.ipv4, 1))


@pytest.mark.faults
def test_a_link_local_address_goes_with_its_interface(pair: NamespacePair) -> None:
    """An address that needs its interface is gone when that is."""
    with pair.left.entered():
        index = socket.if_nametoindex("cable")
        pair.left.ip("addr add fe80::77/64 dev cable nodad")
        assert not address_gone(("fe80::77%cable", 1, 0, index))
        pair.left.ip("link del cable")
        assert address_gone(("fe80::77%cable", 1, 0, index))
        assert address_gone(("fe80::77", 1, 0, index))


@pytest.mark.parametrize(
    "sockaddr", [("127.0.0.1", 5), ("::1", 5, 0, 0), ("::ffff:127.0.0.1", 5, 0, 0), "", "/run/x"]
)
def test_a_local_connection_never_loses_its_address(sockaddr: object) -> None:
    """Loopback and Unix sockets outlive every change of network."""
    assert not address_gone(sockaddr)


def test_a_sleep_is_told_once_and_in_seconds() -> None:
    """After the lid is opened the connection is probed, once."""
    clock = SleepClock(1000.0, 1000.0)
    assert clock.slept(1005.0, 1005.0) == 0.0
    assert clock.slept(4610.0, 1010.0) == 3600.0
    assert clock.slept(4615.0, 1015.0) == 0.0
    assert clock.slept(4625.0, 1020.0) == 5.0


def test_clocks_that_differ_a_little_are_no_sleep() -> None:
    """A busy computer between two readings did not sleep, however often that happens."""
    clock = SleepClock(50.0, 20.0)
    assert [clock.slept(50.0 + step * 1.9, 20.0 + step) for step in range(1, 9)] == [0.0] * 8
    assert clock.slept(60.0, 100.0) == 0.0


def test_the_computer_has_the_clocks() -> None:
    """On Linux a sleep can be seen: one clock went on at least as far as the other."""
    clocks = read_clocks()
    assert clocks is not None
    going_on, stopping = clocks
    assert going_on >= stopping - 1


def test_a_system_without_the_clocks_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no such clocks there is no guess."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_UPTIME_RAW"):
        monkeypatch.delattr(f"time.{name}", raising=False)
    assert read_clocks() is None


SLEEP = """
import ctypes, os, sys
from ipyreconnect.network import changes

CLONE_NEWTIME = 0x80
libc = ctypes.CDLL(None, use_errno=True)

def checked(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

class Loop:
    # For a thread of its own would keep the process from changing its time.
    call_soon = staticmethod(lambda call: call())
    register = unregister = staticmethod(lambda *arguments: None)

class Subscriber:
    is_to_dial = staticmethod(lambda: True)
    network_changed = staticmethod(lambda spread: print("told", flush=True))

loop, subscriber = Loop(), Subscriber()
changes.subscribe(subscriber, loop)
changes.look_for_sleep(loop)
print("sleep", flush=True)
checked(libc.unshare(CLONE_NEWTIME))
with open("/proc/self/timens_offsets", "w") as offsets:
    offsets.write(f"boottime {sys.argv[1]} 0\\n")
checked(libc.setns(os.open("/proc/self/ns/time_for_children", os.O_RDONLY), CLONE_NEWTIME))
changes.look_for_sleep(loop)
changes.look_for_sleep(loop)
print("end", flush=True)
changes.unsubscribe(subscriber, loop)
"""
"""In a time namespace the clock that goes on while the computer sleeps can jump, as it does in a sleep."""


@pytest.mark.faults
@pytest.mark.parametrize(("seconds", "told"), [(3600, ["told"]), (0, [])])
def test_the_computers_own_clocks_tell_of_a_sleep(seconds: int, told: list[str]) -> None:
    """Every connection is told once that the computer has slept, and not when it has not."""
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SLEEP, str(seconds)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["sleep", *told, "end"]


def test_waking_up_wakes_the_io_thread(loop: Loop) -> None:
    """After a sleep nobody waits for the next timer: the kernel is asked to tell, and is let go again."""
    watch = on_io(loop, lambda: WakeWatch(loop, lambda: None))
    assert watch._fd is not None
    told = Path(f"/proc/self/fdinfo/{watch._fd}").read_text()
    assert re.search(r"clockid: 0\n.*settime flags: 03\n", told, re.DOTALL)
    assert on_io(loop, lambda: len(loop._selector.get_map())) == 2
    on_io(loop, watch.close)
    on_io(loop, watch.close)
    assert on_io(loop, lambda: len(loop._selector.get_map())) == 1
