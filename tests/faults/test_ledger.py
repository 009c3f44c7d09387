"""Keep books while networks break under load: what is acknowledged is there, what is lost stays lost."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ipyreconnect import TLS, Client, Delivery, KeepAlive, NotConnected, OutboxFull, Retry
from tests.faults.watching import PATIENCE, client_on, deafen_client, received, server_on, wait_until
from tests.namespaces import NamespacePair
from tests.servers.certificates import Certificates
from tests.servers.line_server import LineServer, mute

pytestmark = pytest.mark.faults

QUICK: Final = KeepAlive(1, 1, 2)
"""Dead after 3 s, so that many cuts fit into the test."""

CUTS: Final = 4

PACE: Final = 0.002
"""Seconds between two bursts of lines."""


@dataclass
class Sender:
    """A client that sends numbered lines without end, and what it was told about each of them."""

    name: str
    server: LineServer
    client: Client
    deliveries: list[Delivery] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, chance: random.Random) -> None:
        while not self.stopping.wait(PACE):
            for _ in range(chance.randrange(1, 20)):
                number = len(self.deliveries)
                text = f"{self.name} {number} " + "x" * chance.choice((0, 10, 100, 5000))
                try:
                    self.deliveries.append(self.client.send(text))
                except (NotConnected, OutboxFull):
                    break

    def is_cut(self) -> bool:
        return bool(self.client.state != "connected")

    def is_back(self, connections: int) -> bool:
        return self.client.status.connection > connections

    def unconfirmed(self) -> set[bytes]:
        return {each.data for each in self.deliveries if each.status == "unconfirmed"}


def _deafen(senders: list[Sender]) -> None:
    for sender in senders:
        sender.server.pull_cable()
        if sender.client.state == "connected":
            deafen_client(sender.client)


def _hear(senders: list[Sender]) -> None:
    for sender in senders:
        sender.server.plug_cable()


def cuts_of(
    pair: NamespacePair, senders: list[Sender]
) -> list[tuple[Callable[[], object], Callable[[], object]]]:
    """Return each way to cut, and to mend: packets of both or either direction, links, sockets."""
    return [
        (pair.drop, pair.restore),
        (pair.right.drop, pair.right.restore),
        (pair.left.drop, pair.left.restore),
        (pair.left.link_down, pair.left.link_up),
        (pair.right.link_down, pair.right.link_up),
        (lambda: _deafen(senders), lambda: _hear(senders)),
    ]


async def _nothing() -> None:
    """Something to wait for: what is done is all that the server's loop had to do before."""


def settle(server: LineServer) -> None:
    """Wait until the server's program has read all that its kernel has: its loop turns and brings nothing."""
    assert server._loop is not None
    before = -1
    while (now := len(received(server))) != before:
        before = now
        for _ in range(3):
            asyncio.run_coroutine_threadsafe(_nothing(), server._loop).result(PATIENCE)


def test_the_books_agree(pair: NamespacePair, tmp_path: Path) -> None:
    """Of thousands of lines none that counts as acknowledged is missing at the server, none that counts as
    unconfirmed arrives later, and none arrives twice; plain, TLS 1.2 and TLS 1.3.
    """
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    certificates = Certificates(tmp_path)
    good = certificates.good()
    tls = TLS(cafile=certificates.cafile, server_name="localhost")
    with ExitStack() as stack:
        senders = []
        for name, context in (
            ("plain", None),
            ("TLS1.2", good.server_context(tls12=True)),
            ("TLS1.3", good.server_context()),
        ):
            server = stack.enter_context(server_on(pair, mute, tls=context))
            client = stack.enter_context(
                client_on(
                    pair,
                    server.address,
                    tls=False if context is None else tls,
                    keepalive=QUICK,
                    retry=Retry(0.1),
                    transcript=1000,
                )
            )
            senders.append(Sender(name, server, client))
        threads = [
            threading.Thread(target=sender.run, args=(random.Random(chance.random()),)) for sender in senders
        ]
        for thread in threads:
            thread.start()
        try:
            for cut, mend in chance.sample(cuts_of(pair, senders), CUTS):
                time.sleep(chance.uniform(0.2, 0.6))  # under load, at some moment
                before = [sender.client.status.connection for sender in senders]
                cut()
                for sender in senders:
                    wait_until(sender.client, sender.is_cut)
                for sender in senders:
                    settle(sender.server)
                lost = [(sender, sender.unconfirmed(), set(received(sender.server))) for sender in senders]
                mend()
                for sender, number in zip(senders, before, strict=True):
                    wait_until(sender.client, partial(sender.is_back, number))
                for sender, unconfirmed, there in lost:
                    settle(sender.server)
                    ghosts = (unconfirmed - there) & set(received(sender.server))
                    assert not ghosts, f"seed {seed}, {sender.name}"
        finally:
            for sender in senders:
                sender.stopping.set()
            for thread in threads:
                thread.join()
        for sender in senders:
            sender.client.send("the end").wait(timeout=PATIENCE)
            for delivery in sender.deliveries:
                delivery.wait(timeout=PATIENCE)
            sender.server.peers[-1].wait_line(b"the end")
        for sender in senders:
            counts = Counter(received(sender.server))
            fates = Counter(delivery.status for delivery in sender.deliveries)
            assert set(fates) == {"acknowledged", "unconfirmed"}, f"seed {seed}, {sender.name}: {fates}"
            assert fates["acknowledged"] > 1000
            for delivery in sender.deliveries:
                assert counts[delivery.data] <= 1, f"seed {seed}, {sender.name}: twice"
                if delivery.status == "acknowledged":
                    assert counts[delivery.data] == 1, f"seed {seed}, {sender.name}: missing"
            assert not set(counts) - {each.data for each in sender.deliveries} - {b"the end"}
