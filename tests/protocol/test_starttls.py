"""Prove the STARTTLS dialogues, line by line as the RFCs have them, and with servers that mean no good."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.errors import AttemptFailed
from ipyreconnect.profile.base import Dialect
from ipyreconnect.protocol.starttls import MAX_LINES, StartTLS

GOOD: dict[str, tuple[Dialect, list[tuple[bytes, list[bytes]]]]] = {
    "IMAP, capabilities asked for": (
        "imap",
        [
            (b"* OK IMAP4rev2 Service Ready", [b"s1 CAPABILITY\r\n"]),
            (b"* CAPABILITY IMAP4rev2 STARTTLS LOGINDISABLED", []),
            (b"s1 OK CAPABILITY completed", [b"s2 STARTTLS\r\n"]),
            (b"* OK something untagged in between", []),
            (b"s2 OK Begin TLS negotiation now", []),
        ],
    ),
    "IMAP, capabilities in the greeting": (
        "imap",
        [
            (b"* ok [capability IMAP4rev1 starttls LOGINDISABLED] ready", [b"s2 STARTTLS\r\n"]),
            (b"s2 ok", []),
        ],
    ),
    "SMTP, several lines": (
        "smtp",
        [
            (b"220-mail.example.org ESMTP", []),
            (b"220 no spam", [b"EHLO [127.0.0.1]\r\n"]),
            (b"250-mail.example.org greets you", []),
            (b"250-8BITMIME", []),
            (b"250-starttls", []),
            (b"250 SIZE 1000", [b"STARTTLS\r\n"]),
            (b"220 2.0.0 Ready to start TLS", []),
        ],
    ),
    "SMTP, bare codes": (
        "smtp",
        [
            (b"220", [b"EHLO [127.0.0.1]\r\n"]),
            (b"250-x", []),
            (b"250 STARTTLS", [b"STARTTLS\r\n"]),
            (b"220", []),
        ],
    ),
    "POP3": (
        "pop3",
        [
            (b"+OK POP3 ready <1@example.org>", [b"CAPA\r\n"]),
            (b"+OK Capability list follows", []),
            (b"TOP", []),
            (b"STLS", []),
            (b".", [b"STLS\r\n"]),
            (b"+OK Begin TLS negotiation", []),
        ],
    ),
    "POP3 without CAPA": (
        "pop3",
        [
            (b"+OK", [b"CAPA\r\n"]),
            (b"-ERR unknown command", [b"STLS\r\n"]),
            (b"+OK", []),
        ],
    ),
    "NNTP": (
        "nntp",
        [
            (b"200 InterNetNews ready", [b"CAPABILITIES\r\n"]),
            (b"101 Capability list:", []),
            (b"VERSION 2", []),
            (b"STARTTLS", []),
            (b"READER", []),
            (b".", [b"STARTTLS\r\n"]),
            (b"382 Continue with TLS negotiation", []),
        ],
    ),
    "NNTP without CAPABILITIES": (
        "nntp",
        [
            (b"201 no posting", [b"CAPABILITIES\r\n"]),
            (b"500 What?", [b"STARTTLS\r\n"]),
            (b"382", []),
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_consent_is_reached(name: str) -> None:
    """Each line is answered as the RFC says, and only the last one is the consent."""
    dialect, steps = GOOD[name]
    dialogue = StartTLS(dialect)
    for line, answer in steps:
        assert not dialogue.done
        assert dialogue.receive_line(line) == answer
    assert dialogue.done
    dialogue.check_nothing_follows(b"")


BAD: list[tuple[Dialect, list[bytes], str]] = [
    ("imap", [b"* BYE too busy"], "refuses the connection: it says '* BYE too busy'"),
    ("imap", [b"* PREAUTH welcome"], "before STARTTLS"),
    ("imap", [b"220 mail.example.org ESMTP"], "does not speak IMAP in plain text: it says '220"),
    ("imap", [b"\x15\x03\x01\x1b[2J"], r"it says '\x15\x03\x01\x1b"),
    (
        "imap",
        [b"* OK [CAPABILITY IMAP4rev1 XSTARTTLS] hi"],
        "offer STARTTLS (it offers 'IMAP4REV1 XSTARTTLS'",
    ),
    ("imap", [b"* OK", b"* CAPABILITY IMAP4rev1", b"s1 OK"], "does not offer STARTTLS"),
    ("imap", [b"* OK", b"s1 OK"], "it offers nothing"),
    ("imap", [b"* OK", b"s1 BAD what"], "does not say what it offers: it says 's1 BAD what'"),
    ("imap", [b"* OK [CAPABILITY STARTTLS]", b"s2 NO busy"], "refuses STARTTLS: it says 's2 NO busy'"),
    ("imap", [b"* OK [CAPABILITY STARTTLS]", b"s2 OKAY"], "refuses STARTTLS"),
    ("smtp", [b"554 go away"], "refuses the connection: it says '554 go away'"),
    ("smtp", [b"220 x", b"502 what"], "refuses EHLO"),
    ("smtp", [b"220 x", b"250 STARTTLS"], "it offers nothing"),
    ("smtp", [b"220 x", b"250-x", b"250 PIPELINING"], "it offers 'PIPELINING'"),
    (
        "smtp",
        [b"220 x", b"250-x", b"250 STARTTLS", b"454 not now"],
        "refuses STARTTLS: it says '454 not now'",
    ),
    ("smtp", [b"220-x", b"250 y"], "does not speak SMTP"),
    ("smtp", [b"* OK ready"], "does not speak SMTP"),
    ("smtp", [b"220x"], "does not speak SMTP"),
    ("pop3", [b"-ERR no"], "refuses the connection"),
    ("pop3", [b"* OK ready"], "does not speak POP3"),
    ("pop3", [b"+OK", b"+OK", b"TOP", b"."], "does not offer STLS (it offers 'TOP'"),
    ("pop3", [b"+OK", b"+OK", b"."], "it offers nothing"),
    ("pop3", [b"+OK", b"* OK"], "does not speak POP3"),
    ("pop3", [b"+OK", b"-ERR", b"-ERR no TLS here"], "refuses STLS: it says '-ERR no TLS here'"),
    ("nntp", [b"400 out of order"], "refuses the connection"),
    ("nntp", [b"hello"], "does not speak NNTP"),
    ("nntp", [b"200 hi", b"101", b"READER", b"."], "it offers 'READER'"),
    ("nntp", [b"200 hi", b"480 log in"], "does not say what it offers"),
    ("nntp", [b"200 hi", b"500", b"580 can not"], "refuses STARTTLS: it says '580 can not'"),
]


@pytest.mark.parametrize(("dialect", "lines", "reason"), BAD)
def test_a_refusal_says_what_the_server_answered(dialect: Dialect, lines: list[bytes], reason: str) -> None:
    """Who does not offer TLS, or refuses it, is quoted; the dialogue never ends well after that."""
    dialogue = StartTLS(dialect, "mail.example.org:143")
    for line in lines[:-1]:
        dialogue.receive_line(line)
    for line in (lines[-1], b"s2 OK", b"220 yes", b"+OK", b"382 yes"):
        with pytest.raises(AttemptFailed, match=re.escape(reason)) as caught:
            dialogue.receive_line(line)
        assert not caught.value.final
        assert caught.value.reason.startswith("mail.example.org:143 ")
        assert caught.value.reason.isprintable()
        assert not dialogue.done


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("extra", [b"", b"* OK injected", b"\x16\x03\x03"])
def test_what_follows_the_consent_in_plain_text_is_an_attack(name: str, extra: bytes) -> None:
    """A line, or a piece of one, between the consent and TLS is refused."""
    dialect, steps = GOOD[name]
    dialogue = StartTLS(dialect)
    for line, _ in steps:
        dialogue.receive_line(line)
    with pytest.raises(AttemptFailed, match="injected"):
        dialogue.receive_line(extra)
    with pytest.raises(AttemptFailed, match="injected"):
        dialogue.check_nothing_follows(extra + b"\r\n")


def test_a_server_that_never_comes_to_the_point_is_given_up() -> None:
    """An endless list of capabilities ends the attempt; nothing of it piles up for ever."""
    dialogue = StartTLS("pop3")
    dialogue.receive_line(b"+OK")
    dialogue.receive_line(b"+OK")
    for _ in range(MAX_LINES - 2):
        dialogue.receive_line(b"X")
    with pytest.raises(AttemptFailed, match="1000 lines"):
        dialogue.receive_line(b"X")


LINES = st.lists(
    st.one_of(
        st.sampled_from([line for _, steps in GOOD.values() for line, _ in steps]),
        st.sampled_from([line for _, lines, _ in BAD for line in lines]),
        st.binary(max_size=20),
    ),
    max_size=12,
)


@given(dialect=st.sampled_from(["imap", "smtp", "pop3", "nntp"]), lines=LINES)
def test_no_answer_whatever_breaks_the_dialogue(dialect: Dialect, lines: list[bytes]) -> None:
    """Any lines end in a consent or in AttemptFailed, and all that is ever sent are the few known lines."""
    dialogue = StartTLS(dialect)
    sent = []
    try:
        for line in lines:
            if dialogue.done:
                break
            sent += dialogue.receive_line(line)
    except AttemptFailed:
        pass
    known = [
        line for steps in GOOD.values() if steps[0] == dialect for _, lines in steps[1] for line in lines
    ]
    assert set(sent) <= set(known)
    if dialogue.done:
        assert sent[-1].split()[-1] in (b"STARTTLS", b"STLS")
