"""What answers what, in the conversations of real servers: who is refused, where an answer ends, what answers
nobody, and when a heartbeat may be sent. The bytes are those that the servers wrote.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipyreconnect.errors import SettingsError
from ipyreconnect.logical import Announcing
from ipyreconnect.profile.base import PROFILES
from ipyreconnect.profile.chat import IRC
from ipyreconnect.profile.control import BIRD, MPD, NUT, QMP, MPVIpc, Tor, simple
from ipyreconnect.profile.conversation import Conversation
from ipyreconnect.profile.devices import LIRC, SCPI, GPSd, LCDproc, Rigctl
from ipyreconnect.profile.kinds import until
from ipyreconnect.profile.mail import IMAP, LMTP, POP3, SMTP, Sieve
from ipyreconnect.profile.news import FTP, NNTP
from ipyreconnect.profile.stores import NATS, Beanstalk, Memcached, Redis, RRDCached
from tests.profile.talking import NEVER, Talk

MEMCACHED = re.compile(rb"^VALUE \S+ \d+ (\d+)(?: \d+)?$|^VA (\d+)")
BEANSTALK = re.compile(rb"^(?:OK|FOUND \d+|RESERVED \d+) (\d+)$")
MPD_BINARY = re.compile(rb"^binary: (\d+)$")
ANNOUNCE = {
    IMAP: PROFILES["imap"].announce,
    Sieve: PROFILES["imap"].announce,
    Redis: PROFILES["redis"].announce,
    NATS: PROFILES["nats"].announce,
    Memcached: MEMCACHED,
    Beanstalk: BEANSTALK,
    MPD: MPD_BINARY,
}
ALL: list[type[Conversation]] = [
    SMTP,
    LMTP,
    POP3,
    Sieve,
    IMAP,
    NNTP,
    FTP,
    Redis,
    Memcached,
    Beanstalk,
    NATS,
    RRDCached,
    IRC,
    MPD,
    NUT,
    Tor,
    BIRD,
    QMP,
    MPVIpc,
    SCPI,
    GPSd,
    Rigctl,
    LIRC,
    LCDproc,
]


def talk(kind: type[Conversation]) -> Talk:
    return Talk(kind(), ANNOUNCE.get(kind) or NEVER)


# Each: the protocol; its greeting; then in turn what is asked, what is answered, the answer's ok, status and
# number of lines.
RECORDED: list[tuple[type[Conversation], bytes, list[tuple[bytes, bytes, bool | None, str | None, int]]]] = [
    (
        SMTP,
        b"220 vm.test ESMTP Exim 4.96\r\n",
        [
            (b"EHLO me", b"250-vm.test Hello me\r\n250-SIZE 52428800\r\n250 HELP\r\n", True, "250", 3),
            (b"VRFY", b"252 Administrative prohibition\r\n", True, "252", 1),
            (b"RCPT TO:<x>", b"503 sender not yet given\r\n", False, "503", 1),
        ],
    ),
    (
        POP3,
        b"+OK Dovecot ready.\r\n",
        [
            (b"CAPA", b"+OK\r\nCAPA\r\nUIDL\r\n.\r\n", True, "+OK", 4),
            (b"NOOP", b"-ERR Unknown command.\r\n", False, "-ERR", 1),
            (b"USER a", b"+OK\r\n", True, "+OK", 1),
            (b"LIST", b"+OK 0 messages:\r\n.\r\n", True, "+OK", 2),
            (b"LIST 1", b"-ERR There's no message 1.\r\n", False, "-ERR", 1),
            (b"RETR 1", b"-ERR There's no message 1.\r\n", False, "-ERR", 1),
        ],
    ),
    (
        Sieve,
        b'"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n"SASL" "PLAIN"\r\nOK "Dovecot ready."\r\n',
        [
            (b"NOOP", b'OK "NOOP Completed"\r\n', True, "OK", 1),
            (b'GETSCRIPT "a"', b"{6}\r\nOK no\n\r\nOK\r\n", True, "OK", 2),
            (b'GETSCRIPT "b"', b'NO (NONEXISTENT) "Script does not exist."\r\n', False, "NO", 1),
        ],
    ),
    (
        NNTP,
        b"200 vm.test InterNetNews NNRP server INN 2.7.1 ready (posting ok)\r\n",
        [
            (b"DATE", b"111 20261130205255\r\n", True, "111", 1),
            (b"GROUP a.b", b"211 2 1 2 a.b\r\n", True, "211", 1),
            (b"LISTGROUP a.b", b"211 2 1 2 a.b\r\n1\r\n2\r\n.\r\n", True, "211", 4),
            (b"HELP", b"100 Legal commands\r\n  ARTICLE\r\n..\r\n.\r\n", True, "100", 4),
            (b"FOO", b"500 What?\r\n", False, "500", 1),
            (b"AUTHINFO USER a", b"381 Enter password\r\n", True, "381", 1),
        ],
    ),
    (
        FTP,
        b"220---------- Welcome to Pure-FTPd ----------\r\n220 You will be disconnected.\r\n",
        [
            (b"FEAT", b"211-Features:\r\n MDTM\r\n 220 no end\r\n211 End\r\n", True, "211", 4),
            (b"NOOP", b"530 Please login with USER and PASS.\r\n", False, "530", 1),
            (b"LIST", b"150 Here comes the listing.\r\n226 Directory send OK.\r\n", True, "226", 2),
        ],
    ),
    (
        Redis,
        b"",
        [
            (b"PING", b"+PONG\r\n", True, "PONG", 1),
            (b"GET a", b"$8\r\n-ERR\r\nno\r\n", True, None, 1),
            (b"GET none", b"$-1\r\n", True, None, 1),
            (b"LRANGE l 0 -1", b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", True, None, 4),
            (b"LRANGE none 0 -1", b"*0\r\n", True, None, 1),
            (b"FOO", b"-ERR unknown command 'FOO'\r\n", False, "ERR", 1),
            (b"HELLO 3", b"|1\r\n+ttl\r\n:3\r\n%1\r\n$5\r\nproto\r\n:3\r\n", True, None, 6),
        ],
    ),
    (
        Memcached,
        b"",
        [
            (b"get a b", b"VALUE a 0 3\r\nEND\r\nVALUE b 0 1\r\nx\r\nEND\r\n", True, "END", 3),
            (b"get none", b"END\r\n", True, "END", 1),
            (b"delete none", b"NOT_FOUND\r\n", False, "NOT_FOUND", 1),
            (b"incr n 1", b"6\r\n", True, None, 1),
            (b"foo", b"ERROR\r\n", False, "ERROR", 1),
            (b"version", b"VERSION 1.6.18\r\n", True, "VERSION", 1),
            (b"mg k v", b"VA 2\r\nhi\r\n", True, "VA", 1),
        ],
    ),
    (
        Beanstalk,
        b"",
        [
            (b"list-tube-used", b"USING default\r\n", True, "USING", 1),
            (b"reserve", b"RESERVED 1 11\r\nNOT_FOUND\r\n\r\n", True, "RESERVED", 1),
            (b"delete 9", b"NOT_FOUND\r\n", False, "NOT_FOUND", 1),
        ],
    ),
    (
        RRDCached,
        b"",
        [
            (b"PING", b"0 PONG\n", True, "0", 1),
            (b"STATS", b"2 Statistics follow\nQueueLength: 0\nUpdates: 1\n", True, "2", 3),
            (b"FETCH x", b"-1 No such file\n", False, "-1", 1),
        ],
    ),
    (
        MPD,
        b"OK MPD 0.23.5\n",
        [
            (b"status", b"volume: 5\nstate: stop\nOK\n", True, "OK", 3),
            (b"foo", b'ACK [5@0] {} unknown command "foo"\n', False, "ACK", 1),
            (b"albumart x 0", b"size: 3\nbinary: 3\nOK\n\nOK\n", True, "OK", 3),
            (b"ping", b"OK\n", True, "OK", 1),
        ],
    ),
    (
        NUT,
        b"",
        [
            (b"VER", b"Network UPS Tools upsd 2.8.0 - http://www.networkupstools.org/\n", True, None, 1),
            (b"LIST UPS", b'BEGIN LIST UPS\nUPS a "b"\nEND LIST UPS\n', True, "END", 3),
            (b"FOO", b"ERR UNKNOWN-COMMAND\n", False, "ERR", 1),
        ],
    ),
    (
        Tor,
        b"",
        [
            (b"PROTOCOLINFO 1", b"250-PROTOCOLINFO 1\r\n250-VERSION\r\n250 OK\r\n", True, "250", 3),
            (b"GETINFO version", b"250-version=0.4.9.11\r\n650 NOTICE x\r\n250 OK\r\n", True, "250", 2),
            (b"FOO", b'510 Unrecognized command "FOO"\r\n', False, "510", 1),
        ],
    ),
    (
        BIRD,
        b"0001 BIRD 2.0.12 ready.\n",
        [
            (b"show status", b"1000-BIRD 2.0.12\n1011-Router ID\n Up\n0013 Daemon is up\n", True, "0013", 4),
            (b"foo", b"9001 syntax error, unexpected CF_SYM_UNDEFINED\n", False, "9001", 1),
        ],
    ),
    (
        SCPI,
        b"",
        [
            (b"*IDN?", b"RIGOL TECHNOLOGIES,DS1104Z\n", None, None, 1),
            (b":MEAS? 'a'", b"1.0E0\n", None, None, 1),
        ],
    ),
    (
        Rigctl,
        b"",
        [
            (b"f", b"get_freq:\nFrequency: 145000000\nRPRT 0\n", True, "0", 3),
            (b"\\foo", b"RPRT -1\n", False, "-1", 1),
        ],
    ),
    (
        LCDproc,
        b"",
        [
            (
                b"hello",
                b"connect LCDproc 0.5.9 protocol 0.3 lcd wid 20 hgt 4 cellwid 5\n",
                True,
                "connect",
                1,
            ),
            (b"foo", b'huh? Invalid command "foo"\n', False, "huh?", 1),
        ],
    ),
    (
        LIRC,
        b"",
        [
            (b"VERSION", b"BEGIN\nVERSION\nSUCCESS\nDATA\n1\n0.10.1\nEND\n", True, "SUCCESS", 7),
            (b"LIST x", b"BEGIN\nLIST x\nERROR\nDATA\n1\nunknown remote\nEND\n", False, "ERROR", 7),
        ],
    ),
]


@pytest.mark.parametrize(
    ("kind", "greeting", "turns"), RECORDED, ids=lambda part: getattr(part, "__name__", "")
)
def test_each_question_gets_its_whole_answer(
    kind: type[Conversation],
    greeting: bytes,
    turns: list[tuple[bytes, bytes, bool | None, str | None, int]],
) -> None:
    """Wherever what the server says is split; the greeting is nobody's answer but its own."""
    for part in range(0, 120, 7):
        it = talk(kind)
        if greeting:
            assert not it.conversation.may_beat
            it.hear(greeting, part)
            assert it.last.question == b""
            assert it.last.ok is True
        for question, answer, ok, status, lines in turns:
            it.ask(question)
            assert not it.conversation.may_beat
            it.hear(answer, part)
            assert (it.last.ok, it.last.status, len(it.last.lines)) == (ok, status, lines), question
            assert it.conversation.may_beat
        assert len(it.answers) == len(turns) + bool(greeting)


def test_an_imap_answer_is_found_by_its_tag() -> None:
    """Whatever a mail says; what is untagged belongs to it."""
    it = talk(IMAP)
    it.hear(b"* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n")
    it.ask(b"FETCH 1 BODY[1]")
    assert it.wire.endswith(b"r1 FETCH 1 BODY[1]\r\n")
    mail = b"a\r\nr1 OK forged\r\n"
    it.hear(b"* 2 EXISTS\r\n* 1 FETCH (BODY[1] {%d}\r\n%s)\r\nr1 OK done\r\n" % (len(mail), mail))
    assert (it.last.ok, it.last.status, it.last.data) == (True, "OK", mail)
    it.ask(b"x7 NOOP")
    with pytest.raises(SettingsError, match="the tag 'x7' is still in use"):
        it.ask(b"x7 NOOP")
    it.hear(b"x7 BAD what\r\n")
    assert (it.last.ok, it.last.status) == (False, "BAD")
    it.hear(b"* BYE Disconnected for inactivity.\r\n")
    assert it.unsolicited == [b"* BYE Disconnected for inactivity."]


def test_idle_is_a_mode_and_done_gets_its_end() -> None:
    """IDLE is answered by ``+``; what comes then answers nobody, until DONE is answered under IDLE's tag."""
    it = talk(IMAP)
    it.hear(b"* PREAUTH hi\r\n")
    it.ask(b"IDLE")
    it.hear(b"+ idling\r\n")
    assert (it.last.ok, it.conversation.mode, it.conversation.may_beat) == (None, "IDLE", False)
    it.hear(b"* 3 EXISTS\r\n")
    assert it.unsolicited == [b"* 3 EXISTS"]
    it.ask(b"DONE")
    assert it.wire.endswith(b"\r\nDONE\r\n")
    it.hear(b"* 4 EXISTS\r\nr1 OK Idle completed.\r\n")
    assert (it.last.question, it.last.ok, it.conversation.mode) == (b"DONE", True, "")
    assert it.conversation.may_beat


def test_imap_literals_are_counted_on_the_way_out() -> None:
    """A payload goes when the server is ready for it; typed by hand its lines are no questions."""
    it = talk(IMAP)
    it.hear(b"* PREAUTH hi\r\n")
    it.ask(b"APPEND INBOX", b"Subject: x\r\n\r\nr1 OK\r\n")
    assert it.wire == b"r1 APPEND INBOX {21}\r\n"
    it.hear(b"+ OK\r\n")
    assert it.wire.endswith(b"}\r\nSubject: x\r\n\r\nr1 OK\r\n\r\n")
    it.hear(b"r1 OK Append completed.\r\n")
    assert it.last.ok is True
    with pytest.raises(SettingsError, match="says 5 bytes, and payload= has 2"):
        it.ask(b"APPEND INBOX {5}", b"ab")
    it.say(b"a LOGIN {5}")
    it.hear(b"+ OK\r\n")
    it.say(b"alice {3}")
    it.hear(b"+ OK\r\n")
    it.say(b"abc")
    it.hear(b"a NO [AUTHENTICATIONFAILED] no\r\n")
    assert (it.last.ok, it.last.status) == (False, "NO")
    assert it.conversation.may_beat
    it.say(b"b LOGIN {5+}")
    it.say(b"alice {3+}")
    it.say(b"abc")
    it.hear(b"b OK in\r\n")
    assert (it.last.ok, len(it.answers)) == (True, 6)
    assert not it.conversation.pending


def test_a_mail_is_typed_and_no_heartbeat_gets_into_it() -> None:
    """Between DATA and the dot; lines of the mail are no questions, the dot is one."""
    it = talk(SMTP)
    it.hear(b"220 mx\r\n")
    it.ask(b"DATA")
    it.hear(b"354 Enter message\r\n")
    assert (it.last.ok, it.conversation.mode, it.conversation.may_beat) == (True, "in DATA", False)
    assert not it.say(b"NOOP")
    assert len(it.say(b".")) == 1
    assert not it.conversation.may_beat
    it.hear(b"250 OK id=1\r\n")
    assert (it.last.question, it.last.status, it.conversation.may_beat) == (b".", "250", True)


@pytest.mark.parametrize(
    ("kind", "command", "ready", "done"),
    [
        (SMTP, b"DATA", b"354 go\r\n", b"250 queued\r\n"),
        (NNTP, b"POST", b"340 send it\r\n", b"240 posted\r\n"),
    ],
)
def test_a_message_is_sent_when_the_server_is_ready(
    kind: type[Conversation], command: bytes, ready: bytes, done: bytes
) -> None:
    """Dot-stuffed, and with its dot; a refusal leaves it unsent."""
    it = talk(kind)
    it.hear(b"220 mx\r\n")
    it.ask(command, b".\r\n..two\r\nlast")
    assert it.wire == command + b"\r\n"
    it.hear(ready)
    assert it.wire.endswith(b"\r\n..\r\n...two\r\nlast\r\n.\r\n")
    it.hear(done)
    assert it.last.ok is True
    assert it.conversation.may_beat
    sent = len(it.wire)
    it.ask(command, b"never")
    it.hear(b"503 bad sequence\r\n")
    assert it.last.ok is False
    assert b"never" not in it.wire[sent:]


def test_a_login_by_challenges_is_a_mode() -> None:
    it = talk(SMTP)
    it.hear(b"220 mx\r\n")
    it.ask(b"AUTH LOGIN")
    it.hear(b"334 VXNlcm5hbWU6\r\n")
    assert (it.last.status, it.conversation.mode) == ("334", "in AUTH")
    it.ask(b"YWxpY2U=")
    it.hear(b"535 no\r\n")
    assert (it.last.ok, it.conversation.mode) == (False, "")


def test_lmtp_answers_once_for_each_recipient() -> None:
    it = talk(LMTP)
    it.hear(b"220 vm.test Dovecot ready.\r\n")
    for line, answer in (
        (b"LHLO x", b"250 vm.test\r\n"),
        (b"MAIL FROM:<>", b"250 2.1.0 OK\r\n"),
        (b"RCPT TO:<a>", b"250 2.1.5 OK\r\n"),
        (b"RCPT TO:<none>", b"550 5.1.1 no\r\n"),
        (b"RCPT TO:<b>", b"250 2.1.5 OK\r\n"),
    ):
        it.ask(line)
        it.hear(answer)
    it.ask(b"DATA", b"x\r\n")
    it.hear(b"354 OK\r\n250 2.0.0 <a> saved\r\n")
    assert it.last.question == b"RCPT TO:<b>"
    it.hear(b"452 4.2.2 <b> full\r\n")
    assert (it.last.ok, it.last.status, len(it.last.lines)) == (False, "452", 3)


def test_bodies_are_unstuffed() -> None:
    it = talk(POP3)
    it.hear(b"+OK\r\n")
    it.ask(b"RETR 1")
    it.hear(b"+OK 9 octets\r\n..\r\n...two\r\n\r\nlast\r\n.\r\n")
    assert it.last.data == b".\r\n..two\r\n\r\nlast\r\n"


def test_redis_values_are_parsed() -> None:
    it = talk(Redis)
    for answer, value in (
        (b":5\r\n", 5),
        (b"(3492890328409238509324850943850943825024385\r\n", 3492890328409238509324850943850943825024385),
        (b",1.5\r\n", 1.5),
        (b",inf\r\n", float("inf")),
        (b"#t\r\n", True),
        (b"_\r\n", None),
        (b"*-1\r\n", None),
        (b"=6\r\ntxt:ab\r\n", b"ab"),
        (b"~2\r\n+a\r\n+b\r\n", {b"a", b"b"}),
        (b"%1\r\n*0\r\n:1\r\n", [[[], 1]]),
        (b"*2\r\n:1\r\n*2\r\n$1\r\nb\r\n*0\r\n", [1, [b"b", []]]),
        (b"*1\r\n|1\r\n+k\r\n+v\r\n:7\r\n", [7]),
    ):
        it.ask(b"X")
        it.hear(answer)
        assert it.last.value == value, answer
    it.ask(b"EXEC")
    it.hear(b"*2\r\n-ERR no\r\n:1\r\n")
    assert it.last.ok is True
    assert it.last.value == [b"ERR no", 1]


@pytest.mark.parametrize("push", [b"*3", b">3"])
def test_messages_of_a_subscription_answer_nobody(push: bytes) -> None:
    """Each channel is confirmed, and they are one answer; a PING among messages gets its own."""
    it = talk(Redis)
    it.ask(b"SUBSCRIBE a b")
    it.hear(push + b"\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    it.hear(push + b"\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n")
    assert not it.answers
    it.hear(push + b"\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n")
    assert (len(it.last.lines), it.conversation.mode) == (8, "subscribed")
    assert len(it.unsolicited) == 4
    it.ask(b"PING")
    it.hear(push + b"\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n")
    it.hear(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    assert it.last.question == b"PING"


def test_a_redis_command_may_be_an_array() -> None:
    """It is one question, whatever its parts hold; a payload is sent so."""
    it = talk(Redis)
    it.ask(b"SET k", b"a\r\nb")
    assert it.wire == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n"
    it.hear(b"+OK\r\n")
    assert it.last.question.startswith(b"SET k")
    assert len(it.conversation.sent(b"*1\r\n$4\r\nPI")) == 0
    assert len(it.conversation.sent(b"NG\r\n")) == 1


def test_counts_of_payloads_are_added_or_checked() -> None:
    it = talk(Memcached)
    it.ask(b"set k 0 0", b"END\r\nEND")
    assert it.wire == b"set k 0 0 8\r\nEND\r\nEND\r\n"
    assert len(it.conversation.pending) == 1
    with pytest.raises(SettingsError, match="says 9 for the count of bytes, and payload= has 8"):
        it.ask(b"set k 0 0 9", b"END\r\nEND")
    with pytest.raises(SettingsError, match="only memcached's storage commands"):
        it.ask(b"get k", b"x")
    it.hear(b"STORED\r\n")
    assert (it.last.ok, it.last.status) == (True, "STORED")
    jobs = talk(Beanstalk)
    jobs.ask(b"put 0 0 60 5", b"hello")
    assert jobs.wire == b"put 0 0 60 5\r\nhello\r\n"
    jobs.hear(b"INSERTED 7\r\n")
    assert jobs.last.status == "INSERTED"


def test_noreply_is_no_question() -> None:
    it = talk(Memcached)
    assert not it.say(b"delete k noreply")
    assert not it.say(b"set k 0 0 4 noreply\r\nget ")
    assert it.conversation.may_beat


def test_nats_closes_a_question_with_a_ping() -> None:
    """Messages among it answer nobody, an error is the answer; the count of a message is added."""
    it = talk(NATS)
    it.hear(b'INFO {"server_id":"x"} \r\n')
    assert it.last.ok is True
    it.ask(b"PUB a", b"hi")
    assert it.wire == b"PUB a 2\r\nhi\r\nPING\r\n"
    it.hear(b"+OK\r\nMSG a 1 4\r\nPONG\r\nPING\r\nPONG\r\n")
    assert (it.last.ok, it.last.lines) == (True, [b"+OK", b"PONG"])
    assert it.unsolicited == [b"MSG a 1 4\r\nPONG", b"PING"]
    it.ask(b"FOO")
    it.hear(b"-ERR 'Unknown Protocol Operation'\r\nPONG\r\n")
    assert it.last.ok is False


def test_irc_closes_a_question_with_a_token() -> None:
    """Numerics and the command's echo belong to it; what others say does not."""
    it = talk(IRC)
    assert it.conversation.may_beat
    it.ask(b"JOIN #a")
    token = it.wire.split(b":")[-1].strip()
    it.hear(b":me!u@h JOIN #a\r\n:x!u@h PRIVMSG #a :353 366\r\n:s 353 me = #a :me\r\n:s 366 me #a :End\r\n")
    it.hear(b":s PONG s :other\r\n:s PONG s :" + token + b"\r\n")
    assert (it.last.question, it.last.ok, it.last.status) == (b"JOIN #a", True, "366")
    assert it.unsolicited == [b":x!u@h PRIVMSG #a :353 366"]
    it.ask(b"JOIN #none")
    token = it.wire.split(b":")[-1].strip()
    it.hear(b":s 403 me #none :No such channel\r\n:s PONG s " + token + b"\r\n")
    assert (it.last.ok, it.last.status) == (False, "403")
    with pytest.raises(SettingsError, match="before the registration"):
        it.ask(b"NICK me")


def test_json_answers_bear_their_questions_id() -> None:
    """Out of order, too; events answer nobody, before the greeting neither."""
    it = talk(QMP)
    it.hear(b'{"event": "SPICE_CONNECTED"}\r\n{"QMP": {"version": {}}}\r\n')
    assert it.last.question == b""
    it.ask(b'{"execute": "a"}')
    it.ask(b'{"execute": "b", "id": 7}')
    it.hear(b'{"event": "RESUME"}\r\n{"return": 2, "id": 7}\r\n')
    assert (it.last.ok, it.last.value) == (True, {"return": 2, "id": 7})
    it.hear(b'{"error": {"class": "CommandNotFound", "desc": "x"}, "id": "r1"}\r\n')
    assert (it.last.ok, it.last.status) == (False, "CommandNotFound")
    assert len(it.unsolicited) == 2
    player = talk(MPVIpc)
    player.ask(b'{"command": ["get_property", "x"]}')
    player.hear(b'{"event":"pause"}\n{"error":"property not found","request_id":1}\n')
    assert (player.last.ok, player.last.status) == (False, "property not found")


def test_gpsd_reports_answer_nobody() -> None:
    it = talk(GPSd)
    it.ask(b'?WATCH={"enable":true};')
    it.hear(b'{"class":"DEVICES","devices":[]}\n{"class":"TPV"}\n{"class":"WATCH","enable":true}\n')
    assert len(it.last.lines) == 2
    assert it.unsolicited == [b'{"class":"TPV"}']


def test_what_asks_nothing_waits_for_nothing() -> None:
    assert not talk(SCPI).say(b"*RST")
    assert not talk(SCPI).say(b"DISP:TEXT 'really?'")
    it = talk(MPD)
    it.hear(b"OK MPD 0.23.5\n")
    it.say(b"idle")
    assert not it.conversation.may_beat
    assert not it.say(b"noidle")
    it.hear(b"changed: mixer\nOK\n")
    assert it.conversation.may_beat
    assert not it.say(b"command_list_begin")
    assert not it.say(b"ping")
    assert len(it.say(b"command_list_end")) == 1


def test_a_profile_of_ones_own_is_a_few_lines() -> None:
    mine = simple("mine", until("^(ok|no)$", ok="^ok$"), eol=b"\n", unsolicited="event ")
    it = Talk(mine())
    it.ask(b"hello")
    it.hear(b"event x\nfirst\nno\n")
    assert (it.last.ok, it.last.status, it.last.lines) == (False, "no", [b"first", b"no"])


lines = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        b"*3|*-1|>2|%99999999999|+|250-x|250 |.|{}|END|r1 OK|* OK|+ go|BEGIN|RPRT 0|PONG|354 |12 x".split(
            b"|"
        )
    ),
    st.just(b'{"return":[]}'),
    st.binary(min_size=2, max_size=30).map(lambda data: Announcing(data, 1)),
)


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_peer_makes_it_raise(kind: type[Conversation], data: st.DataObject) -> None:
    """Whatever a server writes, and whatever is sent."""
    conversation = kind()
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            conversation.sent(data.draw(st.binary(max_size=40)) + b"\r\n")
        else:
            conversation.received(data.draw(lines))
        assert isinstance(conversation.may_beat, bool)
