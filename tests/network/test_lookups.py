"""A name is looked up once at a time, on a thread that nobody waits for, and whatever comes of it is told."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ipyreconnect.address import Address, parse_address
from ipyreconnect.network import lookups as lookups_module
from ipyreconnect.network.lookups import Candidate, resolve
from ipyreconnect.network.loop import Loop
from tests.dialing import (
    PATIENCE,
    Attempt,
    Mute,
    answering,
    ipv4,
    join_lookups,
    listener,
    lookup_threads,
    on_io,
    port_of,
)

if TYPE_CHECKING:
    import pytest


def test_a_name_without_address_says_so(loop: Loop) -> None:
    """A slip in the name reads like one."""

    def no_such_name(host: str, port: int) -> Sequence[Candidate]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolver in (no_such_name, answering()):
        failure = Attempt(loop, "imap.example.invalid:993", resolver=resolver).failure()
        assert failure.reason == "no address found for 'imap.example.invalid'"
        assert not failure.final
    join_lookups()


def test_a_resolver_that_breaks_fails_the_attempt_only(loop: Loop) -> None:
    """Whatever a look-up raises, the attempt ends with a reason."""

    def broken(host: str, port: int) -> Sequence[Candidate]:
        raise RuntimeError("the cat sat on it")

    assert Attempt(loop, "name:1", resolver=broken).failure().reason == (
        "cannot look up 'name': the cat sat on it"
    )
    join_lookups()


def test_what_cannot_be_a_name_is_final(loop: Loop) -> None:
    """Another try mends no name with an empty part."""
    address = parse_address("name:1")
    broken = Address(address.scheme, "a..b", 1, "", address.profile, address.tls)
    failure = Attempt(loop, broken).failure()
    assert failure.final
    assert failure.reason.startswith("'a..b' is not a host name: ")

    def refusing(host: str, port: int) -> Sequence[Candidate]:
        return resolve("a..b", port)

    assert Attempt(loop, "name:1", resolver=refusing).failure().final
    join_lookups()


def test_a_hanging_name_service_times_out_and_blocks_nobody(loop: Loop, stack: ExitStack, mute: Mute) -> None:
    """While one name hangs, other connections are made, and the attempt ends in time with a clear reason."""
    server = listener(stack)
    hanging = Attempt(loop, "imap.example.org:993", timeout=0.2, resolver=mute)
    with Attempt(loop, f"localhost:{port_of(server)}").socket():
        pass
    assert hanging.failure().reason == (
        "timed out looking up 'imap.example.org': no answer from the name service for 0.2 s"
    )
    assert hanging.phases == ["resolving"]


def test_attempts_at_a_hanging_name_share_one_thread(loop: Loop, mute: Mute) -> None:
    """A mute name service does not gather threads, nor memory, however often it is tried."""
    assert lookup_threads() == []
    for _ in range(50):
        assert "timed out" in Attempt(loop, "name:1", timeout=0.001, resolver=mute).failure().reason
        assert len(lookup_threads()) <= 1
    assert mute.asked == 1
    assert sum(map(len, lookups_module._lookups._waiting.values())) == 1


def test_all_who_wait_for_a_name_get_the_answer(loop: Loop, stack: ExitStack) -> None:
    """Ten connections to one server ask once."""
    server = listener(stack)
    mute = Mute(ipv4(port_of(server)))
    attempts = [Attempt(loop, "name:1", resolver=mute) for _ in range(10)]
    on_io(loop, lambda: None)  # now all of them wait
    mute.released.set()
    for attempt in attempts:
        attempt.socket().close()
    join_lookups()
    assert mute.asked == 1


def test_an_answer_that_comes_too_late_serves_the_next_try(loop: Loop, stack: ExitStack) -> None:
    """A name service that always takes longer than the time-out still leads to a connection."""
    server = listener(stack)
    mute = Mute(ipv4(port_of(server)))
    assert "timed out" in Attempt(loop, "name:1", timeout=0.01, resolver=mute).failure().reason
    mute.released.set()
    join_lookups()
    Attempt(loop, "name:1", resolver=mute).socket().close()
    assert mute.asked == 1
    Attempt(loop, "name:1", resolver=mute).socket().close()
    assert mute.asked == 2, "an answer is used once"
    join_lookups()


def test_a_late_answer_does_not_wait_for_ever(
    loop: Loop, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has moved since is looked up anew."""
    monkeypatch.setattr(lookups_module, "LATE_ANSWER_KEPT", 0.0)
    server = listener(stack)
    mute = Mute(ipv4(port_of(server)))
    assert "timed out" in Attempt(loop, "name:1", timeout=0.01, resolver=mute).failure().reason
    mute.released.set()
    join_lookups()
    Attempt(loop, "name:1", resolver=mute).socket().close()
    assert mute.asked == 2
    join_lookups()


def test_many_hanging_names_share_few_threads(
    loop: Loop, mute: Mute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand names on a mute name service cost no thousand threads, and each gets its turn in the end."""
    monkeypatch.setattr(lookups_module, "MAX_LOOKUPS", 2)
    attempts = [Attempt(loop, f"name{number}:1", resolver=mute) for number in range(5)]
    for _ in range(2):
        assert mute.entered.acquire(timeout=PATIENCE)
    on_io(loop, lambda: None)
    assert len(lookup_threads()) == 2
    attempts.pop().cancel()
    mute.released.set()
    for attempt in attempts:
        assert "refused" in attempt.failure().reason
    join_lookups()
    assert mute.asked == 4, "a name that nobody waits for any more is not looked up"


def test_a_process_without_threads_to_spare_says_so(
    loop: Loop, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started the attempt fails, and the next one works."""
    server = listener(stack)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        failure = Attempt(loop, "name:1").failure()
    assert failure.reason == "cannot look up 'name': can't start new thread"
    Attempt(loop, f"localhost:{port_of(server)}").socket().close()
    join_lookups()


def test_a_hanging_look_up_does_not_keep_the_interpreter_from_ending() -> None:
    """Leaving IPython takes no eight seconds because a name service is mute."""
    program = """
import threading
from ipyreconnect.address import parse_address
from ipyreconnect.network.dial import Dial
from ipyreconnect.network.loop import Loop

asked = threading.Event()
def mute(host, port):
    asked.set()
    threading.Event().wait()
Dial(Loop(), parse_address("name:1"), print, lambda phase: None, resolver=mute)
assert asked.wait(10)
"""
    began = time.monotonic()
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=3 * PATIENCE, cwd=root)
    assert time.monotonic() - began < PATIENCE
