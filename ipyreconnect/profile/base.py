"""What the client knows of each protocol, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal

from .chat import IRC
from .control import MPD, NUT, Tor
from .conversation import Conversation
from .devices import LIRC, SCPI, GPSd, LCDproc, Rigctl
from .mail import IMAP, LMTP, POP3, SMTP, Sieve
from .news import FTP, NNTP
from .stores import NATS, Beanstalk, Memcached, Redis, RRDCached

__all__ = ["PROFILES", "Dialect", "Framing", "Profile", "TLSMode"]

Framing = Literal["lines", "announced", "raw"]
Dialect = Literal["imap", "smtp", "pop3", "nntp"]


class TLSMode(Enum):
    """When a connection becomes encrypted: never, from its first byte, or after a command."""

    NONE = "none"
    IMPLICIT = "implicit"
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the client knows of a protocol, so that users need not say it; each item can be overridden.

    Attributes:
        name: the scheme.
        port: the default port; 0: the address must name one.
        tls: when the connection becomes encrypted.
        eol: the line end added to each line sent.
        framing: how the received bytes are cut into lines.
        announce: with the framing `announced`: finds, in a line without its end, the count of raw bytes that
            follow (group 1).
        heartbeat: the protocol's harmless line, without line end, or None; only sent when the user asks for a
            heartbeat and says how often: a line that nobody typed is noise in a session of exploring. It does
            no harm in any state of the conversation, before and after a login.
        heartbeat_answer: finds what answers that line, in a received line; None: any line does.
        no_heartbeat: why it has none, where one might look for it.
        replies: pairs of a pattern and a template (as for `re.Match.expand`, without line end) to answer what
            the server asks every client, or it closes.
        dialect: how STARTTLS is spoken; None: not at all.
        goodbye: what a line begins with in which the server says why it ends the connection; None: no such
            line is known.
        conversation: what answers what in it; made anew for each connection. None: nothing is known, so that
            a question must say itself what its answer looks like.
    """

    name: str
    port: int
    tls: TLSMode = TLSMode.NONE
    eol: bytes = b"\r\n"
    framing: Framing = "lines"
    announce: re.Pattern[bytes] | None = None
    heartbeat: str | None = None
    heartbeat_answer: re.Pattern[bytes] | None = None
    no_heartbeat: str = ""
    replies: tuple[tuple[bytes, bytes], ...] = ()
    dialect: Dialect | None = None
    goodbye: re.Pattern[bytes] | None = None
    conversation: type[Conversation] | None = None


# RFC 9051, 4.3: a literal's {n} (or {n+} of RFC 7888, or ~{n} of RFC 3516) ends its line, and stands after a
# space or an opening parenthesis; a response's rest after a literal may consist of the next one's {n} alone.
_IMAP_LITERAL: Final = re.compile(rb"(?<![^ (])~?\{([0-9]{1,19})\+?\}\Z")

# RESP2 and RESP3: bulk string, bulk error, verbatim string. The null string $-1 announces nothing.
_RESP_BULK: Final = re.compile(rb"\A[$!=]([0-9]{1,19})\Z")

# NATS client protocol: the last field is the count of payload (HMSG: of headers and payload) bytes.
_NATS_MESSAGE: Final = re.compile(rb"\AH?MSG[ \t].*[ \t]([0-9]{1,19})[ \t]*\Z", re.IGNORECASE | re.DOTALL)


# memcached's protocol.txt (VA of the meta commands), beanstalkd's protocol.txt, MPD's protocol.
_MEMCACHED: Final = re.compile(rb"\A(?:VALUE \S+ \d+ (\d{1,18})(?: \d+)?|VA (\d{1,18})(?: .*)?)\Z")
_BEANSTALK: Final = re.compile(rb"\A(?:OK|FOUND \d+|RESERVED \d+) (\d{1,18})\Z")
_MPD: Final = re.compile(rb"\Abinary: (\d{1,18})\Z")

# RFC 2812, 3.7.2, behind the tags and the source that a server may put in front (RFC 1459, 2.3.1; IRCv3).
_IRC_PING: Final = (rb"^(?:@\S+ +)?(?::\S+ +)?PING (.*)", rb"PONG \1")
_NATS_PING: Final = (rb"^PING[ \t]*$", rb"PONG")

# Exim 4.96 closes at the tenth NOOP (smtp_accept_max_nonmail), Postfix 3.7 at the 121st (measured).
_NO_NOOP: Final = "Exim bears nine NOOPs, and closes at the next"

# What answers a heartbeat, and not something else that the server says at about that time. IRC's 451, before
# the registration, is none: ngircd takes 2 s for each, and would be judged by a pace that it keeps later.
_STATUS: Final = re.compile(rb"\A[1-5][0-9][0-9] ")
_POP3_STATUS: Final = re.compile(rb"\A(?:\+OK|-ERR)")
_IRC_PONG: Final = re.compile(rb"\A(?:@\S+ +)?(?::\S+ +)?PONG(?: |\Z)", re.IGNORECASE)
_RESP_PONG: Final = re.compile(rb"\A(?:\+PONG|-NOAUTH)")
_NATS_PONG: Final = re.compile(rb"\APONG[ \t]*\Z", re.IGNORECASE)
_SIEVE_OK: Final = re.compile(rb"\A(?:OK|NO)\b", re.IGNORECASE)
_MPD_OK: Final = re.compile(rb"\A(?:OK\Z|ACK )")
_NUT_VERSION: Final = re.compile(rb"\A(?:Network UPS|ERR )")
_LIRC_BEGIN: Final = re.compile(rb"\ABEGIN\Z")
_RRD_PONG: Final = re.compile(rb"\A0 PONG")
_GPSD_VERSION: Final = re.compile(rb'"class" *: *"VERSION"')

# Measured on real servers; of Redis, whose other errors end nothing, from its networking.c.
_IMAP_BYE: Final = re.compile(rb"\* BYE\b", re.IGNORECASE)
_SMTP_BYE: Final = re.compile(rb"(?:421|221|554)[ -]")
_POP3_BYE: Final = re.compile(rb"-ERR .*(?:inactivity|shutting down|too many|time-?out)", re.IGNORECASE)
_NNTP_BYE: Final = re.compile(rb"(?:400|205|502|503)(?: |\Z)")
_IRC_BYE: Final = re.compile(rb"ERROR\b")
_NATS_BYE: Final = re.compile(rb"-ERR\b", re.IGNORECASE)
_REDIS_BYE: Final = re.compile(rb"-(?:ERR (?:max number of clients|Protocol error)|DENIED\b)")


def _with_tls(plain: Profile, name: str, port: int) -> tuple[Profile, Profile]:
    """Return a protocol's profile, and the same one for TLS from the first byte under its own name."""
    return plain, replace(plain, name=name, port=port, tls=TLSMode.IMPLICIT)


_CATALOGUE: Final = (
    Profile("tcp", 0),
    Profile("tls", 0, TLSMode.IMPLICIT),
    # A bare line feed: local services often take a carriage return for a part of the line.
    Profile("unix", 0, eol=b"\n"),
    *_with_tls(
        Profile(
            "imap",
            143,
            framing="announced",
            announce=_IMAP_LITERAL,
            dialect="imap",
            goodbye=_IMAP_BYE,
            conversation=IMAP,
        ),
        "imaps",
        993,
    ),
    *_with_tls(
        Profile("smtp", 25, no_heartbeat=_NO_NOOP, dialect="smtp", goodbye=_SMTP_BYE, conversation=SMTP),
        "smtps",
        465,
    ),
    Profile(
        "submission",
        587,
        TLSMode.STARTTLS,
        no_heartbeat=_NO_NOOP,
        dialect="smtp",
        goodbye=_SMTP_BYE,
        conversation=SMTP,
    ),
    # NOOP is no command before the login, where Dovecot closes at the fourth that it does not know.
    *_with_tls(
        Profile(
            "pop3",
            110,
            heartbeat="CAPA",
            heartbeat_answer=_POP3_STATUS,
            dialect="pop3",
            goodbye=_POP3_BYE,
            conversation=POP3,
        ),
        "pop3s",
        995,
    ),
    *_with_tls(
        Profile(
            "nntp",
            119,
            heartbeat="DATE",
            heartbeat_answer=_STATUS,
            dialect="nntp",
            goodbye=_NNTP_BYE,
            conversation=NNTP,
        ),
        "nntps",
        563,
    ),
    *_with_tls(
        Profile(
            "irc",
            6667,
            heartbeat="PING :ipyreconnect",
            heartbeat_answer=_IRC_PONG,
            replies=(_IRC_PING,),
            goodbye=_IRC_BYE,
            conversation=IRC,
        ),
        "ircs",
        6697,
    ),
    *_with_tls(
        Profile(
            "redis",
            6379,
            framing="announced",
            announce=_RESP_BULK,
            heartbeat="PING",
            heartbeat_answer=_RESP_PONG,
            goodbye=_REDIS_BYE,
            conversation=Redis,
        ),
        "rediss",
        6379,
    ),
    Profile(
        "nats",
        4222,
        framing="announced",
        announce=_NATS_MESSAGE,
        heartbeat="PING",
        heartbeat_answer=_NATS_PONG,
        replies=(_NATS_PING,),
        goodbye=_NATS_BYE,
        conversation=NATS,
    ),
    Profile("scpi", 5025, eol=b"\n", conversation=SCPI),
    Profile(
        "gpsd", 2947, eol=b"\n", heartbeat="?VERSION;", heartbeat_answer=_GPSD_VERSION, conversation=GPSd
    ),
    Profile("nmea", 10110),
    # Measured on the servers of Debian 12, 2026-11: ports, ends of answers, heartbeats.
    Profile("lmtp", 24, conversation=LMTP, goodbye=_SMTP_BYE),
    Profile(
        "sieve",
        4190,
        framing="announced",
        announce=_IMAP_LITERAL,
        heartbeat="NOOP",
        heartbeat_answer=_SIEVE_OK,
        conversation=Sieve,
    ),
    Profile("ftp", 21, heartbeat="NOOP", heartbeat_answer=_STATUS, conversation=FTP, goodbye=_SMTP_BYE),
    Profile(
        "memcached",
        11211,
        framing="announced",
        announce=_MEMCACHED,
        heartbeat="version",
        heartbeat_answer=re.compile(rb"\AVERSION "),
        conversation=Memcached,
    ),
    Profile(
        "beanstalk",
        11300,
        framing="announced",
        announce=_BEANSTALK,
        heartbeat="list-tube-used",
        heartbeat_answer=re.compile(rb"\AUSING "),
        conversation=Beanstalk,
    ),
    Profile(
        "mpd",
        6600,
        eol=b"\n",
        framing="announced",
        announce=_MPD,
        heartbeat="ping",
        heartbeat_answer=_MPD_OK,
        conversation=MPD,
    ),
    Profile("nut", 3493, eol=b"\n", heartbeat="VER", heartbeat_answer=_NUT_VERSION, conversation=NUT),
    Profile("rigctl", 4532, eol=b"\n", conversation=Rigctl),
    Profile("tor", 9051, conversation=Tor),
    Profile("lirc", 8765, eol=b"\n", heartbeat="VERSION", heartbeat_answer=_LIRC_BEGIN, conversation=LIRC),
    Profile(
        "rrdcached", 42217, eol=b"\n", heartbeat="PING", heartbeat_answer=_RRD_PONG, conversation=RRDCached
    ),
    Profile("lcdproc", 13666, eol=b"\n", conversation=LCDproc),
)

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({profile.name: profile for profile in _CATALOGUE})
"""Every scheme that an address may begin with."""
