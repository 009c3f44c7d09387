"""What becomes of sent lines: their statuses only move on, and exactly at the offsets of their stream."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.lines.delivery import STATUSES, Delivery
from ipyreconnect.protocol.ledger import Ledger

ORDER: Final = {"queued": 0, "sent": 1, "acknowledged": 2, "unconfirmed": 2}


class Clock:
    """Somebody who waits for a delivery: notes what for, and lets a status come meanwhile."""

    def __init__(self, then: str, encoding: str | None = None) -> None:
        self.then = then
        self.encoding = encoding
        self.asked: list[tuple[str, float]] = []

    def wait_for_delivery(self, delivery: Delivery, status: str, timeout: float) -> bool:
        self.asked.append((status, timeout))
        delivery.status = self.then
        return delivery.reached(status)


def entered(ledger: Ledger, *ends: int) -> list[Delivery]:
    deliveries = [Delivery(b"%d" % end) for end in ends]
    for end, delivery in zip(ends, deliveries, strict=True):
        ledger.add(end, len(delivery.data), delivery)
    return deliveries


def statuses(deliveries: list[Delivery]) -> str:
    """Return their initials."""
    return "".join(delivery.status[0] for delivery in deliveries)


def test_a_line_moves_exactly_at_its_last_byte() -> None:
    """One byte short of its end, in the kernel or with the peer, is not there yet."""
    ledger = Ledger()
    lines = entered(ledger, 10, 11, 30)
    seen = []
    for size in (9, 1, 1, 18, 1):
        ledger.hand_over(size)
        seen.append((statuses(lines), ledger.lines_queued, ledger.size_unsent, ledger.awaiting))
    assert seen == [
        ("qqq", 3, 6, False),
        ("sqq", 2, 4, True),
        ("ssq", 1, 2, True),
        ("ssq", 1, 2, True),
        ("sss", 0, 0, True),
    ]
    moved = [(ledger.acknowledge(offset), statuses(lines)) for offset in (9, 10, 10, 29, 30)]
    assert moved == [(False, "sss"), (True, "ass"), (False, "ass"), (True, "aas"), (True, "aaa")]
    assert ledger.settled
    assert not ledger.awaiting


def test_what_is_not_acknowledged_at_the_end_is_unconfirmed_in_order() -> None:
    """Also what was never handed to the kernel; what comes late changes nothing any more."""
    ledger = Ledger()
    lines = entered(ledger, 5, 10, 15, 20)
    ledger.hand_over(15)
    ledger.acknowledge(5)
    assert ledger.close() == tuple(lines[1:])
    assert statuses(lines) == "auuu"
    assert ledger.close() == ()
    ledger.hand_over(5)
    assert not ledger.acknowledge(20)
    assert statuses(lines) == "auuu"
    assert (ledger.lines_queued, ledger.size_unsent, ledger.awaiting, ledger.settled) == (0, 0, False, True)


def test_several_lines_may_end_at_the_same_offset() -> None:
    """A line of no bytes, without a line end, is sent as soon as what stands before it is."""
    ledger = Ledger()
    lines = entered(ledger, 0, 4, 4)
    ledger.hand_over(0)
    assert statuses(lines) == "sqq"
    ledger.hand_over(4)
    assert ledger.acknowledge(4)
    assert statuses(lines) == "aaa"


@given(st.data())
def test_a_status_never_goes_back_and_is_always_the_right_one(data: st.DataObject) -> None:
    """Whatever the kernel takes and the peer acknowledges, in whatever steps: each line is where its offset
    says, and a later line never overtakes an earlier one.
    """
    ledger = Ledger()
    lines: list[Delivery] = []
    ends: list[int] = []
    written = sent = acknowledged = 0
    for _ in range(data.draw(st.integers(0, 30))):
        before = [ORDER[line.status] for line in lines]
        match data.draw(st.sampled_from(["write", "other", "hand over", "acknowledge"])):
            case "write":
                written += data.draw(st.integers(0, 20))
                ends.append(written)
                lines += entered(ledger, written)
                before.append(0)
            case "other":  # a handshake's bytes, an alert: nobody's line
                written += data.draw(st.integers(1, 20))
            case "hand over":
                size = data.draw(st.integers(0, written - sent))
                sent += size
                ledger.hand_over(size)
            case "acknowledge":
                acknowledged = max(acknowledged, offset := data.draw(st.integers(0, sent)))
                ledger.acknowledge(offset)
        after = [ORDER[line.status] for line in lines]
        assert all(new >= old for old, new in zip(before, after, strict=True))
        assert after == sorted(after, reverse=True)
        for end, line in zip(ends, lines, strict=True):
            if line.status == "acknowledged":
                assert end <= acknowledged
            elif line.status == "sent":
                assert end <= sent
        queued = [line for line in lines if line.status == "queued"]
        assert ledger.lines_queued == len(queued)
        assert ledger.size_unsent == sum(len(line.data) for line in queued)
        assert ledger.awaiting == ("sent" in [line.status for line in lines])
        assert ledger.sent == sent
    lost = ledger.close()
    assert lost == tuple(line for line in lines if line.status != "acknowledged")
    assert all(line.status == "unconfirmed" for line in lost)


def test_where_nothing_is_ever_acknowledged_sent_lines_are_forgotten() -> None:
    """Without the kernel's account the ledger does not grow for ever; what is unsent is never forgotten."""
    ledger = Ledger()
    lines = entered(ledger, 1, 2, 3, 4)
    ledger.hand_over(3)
    ledger.forget_sent(1)
    assert ledger.close() == tuple(lines[2:])
    assert statuses(lines) == "ssuu"


@pytest.mark.parametrize(
    ("status", "reached"),
    [
        ("queued", {"queued"}),
        ("sent", {"queued", "sent"}),
        ("acknowledged", {"queued", "sent", "acknowledged"}),
        ("unconfirmed", {"unconfirmed"}),
    ],
)
def test_what_a_line_has_reached(status: str, reached: set[str]) -> None:
    """An acknowledged line was sent before; of an unconfirmed one nothing is certain."""
    delivery = Delivery(b"x")
    delivery.status = status
    assert {each for each in STATUSES if delivery.reached(each)} == reached


def test_waiting_is_left_to_the_client() -> None:
    """It is asked for what was asked, and what it says is returned."""
    clock = Clock("acknowledged")
    assert Delivery(b"x", lambda: clock).wait("sent", 3.0)
    assert Delivery(b"x", lambda: clock).wait()
    assert clock.asked == [("sent", 3.0), ("acknowledged", 10.0)]
    assert not Delivery(b"x", lambda: Clock("unconfirmed")).wait()
    assert not Delivery(b"x", lambda: Clock("sent")).wait(timeout=0.0)


@pytest.mark.parametrize(("status", "wanted"), [("unconfirmed", "sent"), ("acknowledged", "unconfirmed")])
def test_what_cannot_come_any_more_is_not_waited_for(status: str, wanted: str) -> None:
    """A status that is final answers at once; so does one that was reached already."""
    clock = Clock("queued")
    delivery = Delivery(b"x", lambda: clock)
    delivery.status = status
    assert not delivery.wait(wanted)
    assert delivery.wait(status)
    assert clock.asked == []
    assert not Delivery(b"of a record").wait()


def test_an_unknown_status_is_refused() -> None:
    """A typing error does not wait for ten seconds."""
    with pytest.raises(ValueError, match="queued, sent, acknowledged, unconfirmed, not 'received'"):
        Delivery(b"x", lambda: Clock("sent")).wait("received")


def test_a_delivery_shows_what_became_of_it() -> None:
    """In a notebook's output, in its connection's encoding, or else like any line, whatever its bytes are."""
    delivery, russian = Delivery(b"1 \xff"), Clock("sent", "koi8-r")
    delivery.status = "sent"
    assert repr(delivery) == "<Delivery '1 ÿ' sent>"
    assert (delivery.number, delivery.data) == (None, b"1 \xff")
    assert repr(Delivery(b"1 \xff", lambda: russian)) == "<Delivery '1 Ъ' queued>"
