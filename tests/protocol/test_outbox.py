"""Play connections as values: what is sent, acknowledged, queued and refused."""

from __future__ import annotations

import pytest

from ipyreconnect.errors import (
    NotConnected,
    OutboxFull,
)
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.protocol.script import parse_script
from ipyreconnect.settings import Retry
from tests.playing import Play, awaited, found, lost
from tests.playing_tls import handshake, in_every_state, tls_settings
from tests.servers.certificates import Certificates

# -- sending


def test_a_line_is_queued_sent_and_acknowledged_in_turn() -> None:
    """A line is sent when its last byte is with the kernel, and acknowledged when the peer has that byte."""
    play = Play().up()
    one, two = play.send(b"one", takes=0), play.send(b"two", takes=0)
    assert (one.status, two.status) == ("queued", "queued")
    play.settle(0.0, takes=5)
    assert (one.status, two.status) == ("sent", "queued")
    play.acknowledged = 4
    play.until(1.0)
    assert one.status == "sent"
    play.acknowledged = 5
    play.until(2.0)
    assert (one.status, two.status) == ("acknowledged", "sent")
    assert play.wire == b"one\r\ntwo\r\n"


def test_a_line_that_leaves_late_is_acknowledged_all_the_same() -> None:
    """A line that the kernel takes long after it was sent, as the peer was slow, is still looked after."""
    play = Play().up()
    delivery = play.send(b"x" * 1_000_000, takes=1000)
    play.stuck = True
    play.until(60.0)
    assert delivery.status == "queued"
    play.stuck = False
    play.settle(60.0)
    assert delivery.status == "sent"
    play.acknowledged = 1_000_002
    play.until(60.6)
    assert delivery.status == "acknowledged"


def test_looks_at_acknowledgements_get_rarer_and_end() -> None:
    """A line that nobody acknowledges is looked at twice a second at most; nothing is, once all is
    acknowledged.
    """
    play = Play().up()
    play.until(100.0)
    quiet = play.connection.deadline
    play.send(b"x", 100.0)
    looks = []
    while (deadline := play.connection.deadline) < 110.0:
        looks.append(deadline)
        play.at(deadline)
    assert 10 < len(looks) < 40
    play.acknowledged = 3
    play.until(120.0)
    later = play.connection.deadline
    assert later - 120.0 >= quiet - 100.0 - 1.0


def test_where_nobody_tells_of_acknowledgements_memory_stays_bounded() -> None:
    """On a system that does not tell what was acknowledged, sent lines are forgotten but for the last."""
    play = Play().up()
    play.acknowledged = None
    for number in range(25_000):
        play.send(b"%d" % number)
        if number % 1000 == 0:
            play.until(number / 1000)
    play.until(30.0)
    play.lost(31.0)
    assert len(play.connection.unconfirmed) == 10_000
    assert play.connection.unconfirmed[-1].data == b"24999"
    said = "10000 lines (50000 bytes) of which this system does not tell what was acknowledged"
    assert play.log[-1] == f"* reset by server:1; {said}; try 1 in 2.0 s"


def test_what_was_not_acknowledged_is_unconfirmed_after_a_loss() -> None:
    """After a loss the lines that the peer never acknowledged are known and counted, and nothing is sent
    twice.
    """
    play = Play().up()
    lines = [play.send(line) for line in (b"one", b"two")] + [play.send(b"three", takes=0)]
    play.acknowledged = 5
    play.lost(3.0)
    assert [line.status for line in lines] == ["acknowledged", "unconfirmed", "unconfirmed"]
    assert play.connection.unconfirmed == tuple(lines[1:])
    assert play.log[-1] == "* reset by server:1; 2 lines (8 bytes) never acknowledged; try 2 in 2.0 s"
    play.until(5.5)
    play.dialed(5.5)
    assert play.wire == b""


def test_empty_bytes_are_sent_at_once(certificates: Certificates) -> None:
    """Bytes that are none leave nothing behind that would wait for ever, neither plain nor in TLS."""
    secure = Play(**tls_settings(certificates))
    handshake(secure, certificates.good())
    for play in (Play().up(), secure):
        delivery = Delivery(b"")
        play.connection.send(b"", b"", delivery, 1.0)
        play.settle(1.0)
        assert delivery.status == "sent"


def test_a_full_outbox_says_so() -> None:
    """Beyond 4 MiB or 10 000 lines towards a peer that does not read, nothing more is taken, and
    it says why.
    """
    by_size, by_lines = Play().up(), Play().up()
    by_size.send(b"x" * ((4 << 20) - 2), takes=0)
    with pytest.raises(
        OutboxFull, match=r"^1 line \(4194304 bytes\) waits to be sent to server:1; the peer "
    ):
        by_size.send(b"y", takes=0)
    for _ in range(10_000):
        by_lines.send(b"y", takes=0)
    with pytest.raises(OutboxFull, match=r"^10000 lines \(30000 bytes\) wait"):
        by_lines.send(b"y", takes=0)
    end = by_lines.connection.transcript.end
    by_lines.settle(0.0)
    by_lines.send(b"again")
    assert by_lines.connection.transcript.end == end + 1


@pytest.mark.parametrize(("size", "shown"), [(400, b"****"), (40, b"*" * 400)])
def test_however_a_line_is_masked_it_waits_as_it_is_sent(size: int, shown: bytes) -> None:
    """The outbox holds as many bytes as it says, also of lines that the log shows shorter or longer."""
    play, wire = Play(queue_bytes=1000).up(), b"x" * size
    for _ in range(1000 // size):
        play.connection.send(wire, shown, Delivery(shown), 0.0)
    with pytest.raises(OutboxFull, match=rf"\({1000 // size * size} bytes\) wait to be sent"):
        play.connection.send(wire, shown, Delivery(shown), 0.0)
    assert play.connection.outbox.backlog == (1000 // size, 1000 // size * size)
    play.settle(0.0)
    assert play.connection.outbox.backlog == (0, 0)


def test_a_line_that_is_longer_than_the_outbox_is_refused_whole() -> None:
    """Of what may never wait as a whole nothing is sent, and the user is told what to do."""
    play = Play().up()
    with pytest.raises(OutboxFull, match=r"^4194305 bytes at once .* in pieces, or .* queue_limit$"):
        play.send(b"x" * ((4 << 20) - 1))
    play.send(b"x" * ((4 << 20) - 2))
    assert len(play.wire) == 4 << 20


def test_small_lines_leave_together_and_in_order() -> None:
    """Many small lines are joined for the kernel, and whatever it takes at a time, they stay whole and in
    order.
    """
    play = Play().up()
    for number in range(1000):
        play.send(b"%d" % number, takes=0)
    play.send(b"x" * 50_000, takes=0)
    play.send(b"end", takes=0)
    while play.connection.outbox.outgoing:
        play.settle(0.0, takes=777)
    expected = b"".join(b"%d\r\n" % number for number in range(1000)) + b"x" * 50_000 + b"\r\nend\r\n"
    assert play.wire == expected


def not_connected(certificates: Certificates) -> dict[str, str]:
    texts = {}
    for name, play in in_every_state(certificates).items():
        if name in ("connected", "full"):
            continue
        with pytest.raises(NotConnected) as raised:
            play.send(b"x", 0.5)
        texts[name] = str(raised.value)
    return texts


def test_sending_while_not_connected_says_what_it_is_doing(certificates: Certificates) -> None:
    """Not connected: the message names the state, the phase and when the next try is."""
    assert not_connected(certificates) == {
        "stopped": "not connected to server:1: stopped; connect first",
        "resolving": "not connected to server:1 yet: connecting (resolving), try 1",
        "dialing": "not connected to server:1 yet: connecting (dialing), try 1",
        "tls": "not connected to server:1 yet: connecting (tls), try 1",
        "starttls": "not connected to server:1 yet: connecting (starttls), try 1",
        "script": "not connected to server:1 yet: connecting (script), try 1",
        "function": "not connected to server:1 yet: connecting (script), try 1",
        "waiting": "not connected to server:1: refused by server:1; waiting for try 2 in 1.5 s",
        "stopping": "not connected to server:1: stopping",
    }


def test_a_connection_that_is_lost_is_not_one_that_never_was() -> None:
    """While it is dialed again, a send says nothing of "yet"."""
    play = Play().up()
    play.lost(20.0)
    play.until(22.0)
    with pytest.raises(NotConnected, match=r"^not connected to server:1: connecting \(resolving\), try 1$"):
        play.send(b"x")


# -- the queue


def test_a_queued_line_leaves_when_the_connection_is_back() -> None:
    """A line queued while offline is sent after the next connection is made, in order, with its
    expectation.
    """
    play = Play()
    play.start()
    play.refused()
    expectation = awaited("^answer")
    first, second = play.send(b"one", queue=True), play.send(b"two", queue=True, expect=expectation)
    assert (first.status, first.number) == ("queued", None)
    play.until(2.2)
    play.dialed(2.2)
    assert play.wire == b"one\r\ntwo\r\n"
    assert (first.status, second.status) == ("sent", "sent")
    assert play.log[-2:] == ["> one", "> two"]
    play.receive(b"answer\r\n")
    assert found(expectation).line.data == b"answer"


def test_queued_lines_wait_for_the_script() -> None:
    """A queued line leaves only when the on-connect script has run."""
    play = Play(script=parse_script("login\n< ^ok"))
    play.start()
    play.send(b"queued", queue=True)
    play.dialed()
    assert play.wire == b"login\r\n"
    play.receive(b"ok\r\n")
    assert play.wire == b"login\r\nqueued\r\n"


def test_a_queued_line_expires_loudly() -> None:
    """After 60 s offline a queued line is given up: unconfirmed, in the log, and whoever awaits its answer is
    told.
    """
    play = Play(retry=Retry(delay=100, jitter=0))
    play.start()
    play.refused(1.0)
    expectation = awaited("x")
    delivery = play.send(b"old", 2.0, queue=True, expect=expectation)
    young = play.send(b"young", 30.0, queue=True)
    play.until(61.999)
    assert delivery.status == "queued"
    play.until(62.0)
    assert (delivery.status, young.status) == ("unconfirmed", "queued")
    assert lost(expectation) == "not sent: waited 60 s for a connection"
    assert play.log[-1] == "* not sent, waited 60 s for a connection: old"


def test_a_stop_gives_the_queue_up() -> None:
    """What was queued when the client is stopped is never sent, and reported."""
    play = Play()
    play.start()
    delivery = play.send(b"queued", queue=True)
    play.stop(1.0)
    assert delivery.status == "unconfirmed"
    assert play.log[-1] == "* not sent, the client was stopped: queued"
    play.up(2.0)
    assert play.wire == b""


def test_a_forgotten_expectation_of_a_queued_line_is_never_met() -> None:
    """Whose time is over before the queued line leaves takes no line away from those who come later."""
    play = Play()
    play.start()
    expectation = awaited("answer")
    play.send(b"queued", queue=True, expect=expectation)
    play.connection.forget(expectation)
    play.dialed()
    assert play.wire == b"queued\r\n"
    play.receive(b"answer\r\n")
    assert expectation.outcome is None
    assert found(play.expect("answer")).line.data == b"answer"


def test_the_queue_is_bounded() -> None:
    """Offline, 10 000 lines or 4 MiB are kept; one more is refused."""
    play = Play()
    play.start()
    for _ in range(10_000):
        play.send(b"x", queue=True)
    with pytest.raises(OutboxFull, match="no connection yet"):
        play.send(b"x", queue=True)


@pytest.mark.parametrize("state", ["stopped", "stopping"])
def test_nothing_is_queued_for_a_client_that_is_stopped(certificates: Certificates, state: str) -> None:
    """There is no connection to wait for when nobody wants one."""
    play = in_every_state(certificates)[state]
    with pytest.raises(NotConnected):
        play.send(b"x", queue=True)
