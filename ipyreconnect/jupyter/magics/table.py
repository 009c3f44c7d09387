"""Every magic and option as data: help, parser, completion and the reference page all read this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ...lines.text import EOLS

__all__ = [
    "CONNECT",
    "EXPECT",
    "HEARTBEAT",
    "KEEPALIVE",
    "MAGICS",
    "PANEL",
    "SEND",
    "STOP",
    "Kind",
    "Layout",
    "Magic",
    "Option",
]

ENCODINGS = ("utf-8", "iso-8859-1", "iso-8859-15", "windows-1252", "us-ascii", "koi8-r", "shift_jis")
"""Offered by the completion; any that Python knows is taken."""
KEEPALIVES = ("5/3/3", "1/1/2", "30/5/3", "60/10/6", "off")
"""Offered by the completion; any numbers of seconds are taken."""


class Kind(Enum):
    """What a value is, for the completion."""

    FLAG = "flag"
    ADDRESS = "address"
    CONNECTION = "connection"
    FILE = "file"
    CHOICE = "choice"
    FREE = "free"


class Layout(Enum):
    """Where a magic's options may stand."""

    FRONT = "front"
    """In front of a text that is kept as typed (`%send`)."""
    ENDS = "ends"
    """In front of the text or behind it (`%expect REGEX --timeout 5`)."""
    ANYWHERE = "anywhere"
    """Among words, in any order (`%connect ADDRESS --name x`)."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a magic.

    Attributes:
        name: with its dashes.
        help: what it does.
        metavar: what its value is called in the help; None: it takes no value.
        kind: what its value is; FLAG where it takes none.
        values: those to choose from, for CHOICE.
        repeats: whether it can be given more than once.

    """

    name: str
    help: str
    metavar: str | None = None
    kind: Kind = Kind.FLAG
    values: tuple[str, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic.

    Attributes:
        name: without its %.
        layout: where its options may stand.
        options: those that it has.
        operand: what the text beside the options is called in the help.
        operand_help: what that text is.
        operand_kind: the same for the completion.
        operand_values: those to choose from, for CHOICE.
        verb: what it does with its text, as a word of a message.

    """

    name: str
    layout: Layout
    options: tuple[Option, ...]
    operand: str = ""
    operand_help: str = ""
    operand_kind: Kind = Kind.FREE
    operand_values: tuple[str, ...] = ()
    verb: str = "send"

    def option(self, name: str) -> Option | None:
        """Return the option of that exact name, or None."""
        return next((option for option in self.options if option.name == name), None)


CONNECTION = Option("-c", "the connection meant, when it is not the latest", "NAME", Kind.CONNECTION)
FILL = Option(
    "--fill",
    "put variables and secrets in, also in what is awaited: {{name}} is a variable's value, {{?Prompt}} is "
    "asked for without echo; what was asked for, and values of type Secret, are masked wherever they would "
    "show; Secret.from_keyring and Secret.from_netrc fetch one from where it is kept",
)
EVERY_HELP = "how often, in seconds (default 60); alone, with the protocol's own line, where it has one"
UNANSWERED_HELP = (
    "nothing answers it, so that no silence follows from it: else a server that has answered one and then "
    "sends nothing for two periods counts as hanging"
)
WHOLE = Option(
    "--whole",
    "look into all of a logical line, also into a mail or a value that it has announced: else its beginning "
    "alone is compared",
)
TIMEOUT_HELP = "how long to wait for it, in seconds (default: Reconnect.timeout, 10)"

CONNECT = Magic(
    "connect",
    Layout.ANYWHERE,
    (
        Option("--name", "what to call the connection (default: its host)", "NAME", Kind.FREE),
        Option("--tls", "speak TLS from the first byte"),
        Option("--no-tls", "speak no TLS, also on a port that is known for it"),
        Option("--starttls", "begin in the clear and change to TLS (imap, smtp, submission, pop3, nntp)"),
        Option("--no-verify", "accept any certificate: whoever sits in between reads and changes all"),
        Option("--cafile", "trust the certificates in FILE (PEM) instead of the system's", "FILE", Kind.FILE),
        Option("--cert", "show this client certificate (PEM)", "FILE", Kind.FILE),
        Option("--key", "the client certificate's private key (PEM)", "FILE", Kind.FILE),
        Option(
            "--server-name", "the name that its certificate must have (default: the host)", "NAME", Kind.FREE
        ),
        Option(
            "--keepalive",
            "probe a silent peer after IDLE s, every INTERVAL s, COUNT times; or off (default 5/3/3)",
            "I/I/C|off",
            Kind.CHOICE,
            KEEPALIVES,
        ),
        Option("--retry", "seconds to wait before connecting again, ± 10 %% (default 2)", "S", Kind.FREE),
        Option("--retry-factor", "multiply that wait by F after each failure (default 1)", "F", Kind.FREE),
        Option("--retry-max", "the longest such wait in seconds (default 60)", "S", Kind.FREE),
        Option("--attempts", "give up after N failures in a row (default: never)", "N", Kind.FREE),
        Option(
            "--encoding",
            "the text's encoding (default: UTF-8, and ISO-8859-1 for a line that is not UTF-8)",
            "NAME",
            Kind.CHOICE,
            ENCODINGS,
        ),
        Option(
            "--eol",
            "what ends a line that is sent: crlf, lf, cr, none, or escapes such as \\r",
            "EOL",
            Kind.CHOICE,
            tuple(EOLS),
        ),
        Option(
            "--framing",
            "what one line is: lines, announced (a line and the raw bytes it announces), raw (whatever came)",
            "KIND",
            Kind.CHOICE,
            ("lines", "announced", "raw"),
        ),
        Option(
            "--longest-line",
            "bytes of a received line that is kept in one piece, such as 8MiB (default 1MiB); a longer one "
            "comes in fragments",
            "SIZE",
            Kind.FREE,
        ),
        Option(
            "--heartbeat",
            "a line to send again and again while connected and nothing else is sent, or off",
            "LINE",
            Kind.FREE,
        ),
        Option("--heartbeat-every", EVERY_HELP, "S", Kind.FREE),
        Option("--heartbeat-unanswered", UNANSWERED_HELP),
        Option(
            "--silence",
            "connect anew when nothing was received for so many seconds; nothing is sent to ask (default: "
            "Reconnect.silence, off)",
            "S|off",
            Kind.FREE,
        ),
        Option(
            "--reply",
            "answer a line that matches REGEX with LINE, \\1 being its first group; can be given again "
            "(write \\= for an = in REGEX). off: none but those that are given, not the protocol's own",
            "REGEX=LINE|off",
            Kind.FREE,
            repeats=True,
        ),
        Option("--record", "append every event to FILE as JSON lines", "FILE", Kind.FILE),
        Option("--ticks", "print a dot a second, 70 a line (in terminals)"),
        Option("--wait", "how long to wait for the first outcome, in seconds (default 10)", "S", Kind.FREE),
        Option("--no-panel", "show no panel (notebooks)"),
        FILL,
        CONNECTION,
    ),
    "ADDRESS",
    "host:port, 'host port', [v6]:port, a URL such as imaps://imap.example.org or redis://127.0.0.1:6379, "
    "or unix:///path. Without one, the connections are listed",
    Kind.ADDRESS,
)

SEND = Magic(
    "send",
    Layout.FRONT,
    (
        CONNECTION,
        Option("--expect", "wait for a line that matches REGEX and return the Match", "REGEX", Kind.FREE),
        WHOLE,
        Option("--timeout", TIMEOUT_HELP, "S", Kind.FREE),
        Option("--queue", "when not connected, keep the line for up to 60 s and send it once connected"),
        Option("--bytes", "TEXT has the escapes of a bytes literal (\\x00, \\r\\n); no line end is added"),
        FILL,
    ),
    "TEXT",
    "the line, sent byte for byte as typed after one blank, also a ? or a backslash at its end. Put -- in "
    "front of a TEXT that begins with --. IPython strips blanks at the end of a line, which %%send keeps",
)

EXPECT = Magic(
    "expect",
    Layout.ENDS,
    (CONNECTION, WHOLE, Option("--timeout", TIMEOUT_HELP, "S", Kind.FREE)),
    "REGEX",
    "a Python regular expression, searched for in the beginning of every line since the last send or the "
    "last match; bare, or quoted as a whole. Put -- in front of one that begins with --, or with a quote of "
    "its own",
    verb="expect",
)

KEEPALIVE = Magic(
    "keepalive",
    Layout.ANYWHERE,
    (CONNECTION,),
    "IDLE/INTERVAL/COUNT",
    "seconds of silence before the first probe / seconds between probes / unanswered probes that end the "
    "connection, or off. Without it, what is in force is shown",
    Kind.CHOICE,
    KEEPALIVES,
)

HEARTBEAT = Magic(
    "heartbeat",
    Layout.FRONT,
    (
        CONNECTION,
        Option("--every", EVERY_HELP, "S", Kind.FREE),
        Option("--unanswered", UNANSWERED_HELP),
    ),
    "LINE",
    "the line, byte for byte as typed after one blank, or off. It is sent while connected, a period after "
    "whatever was sent last. Without it and the options, what is in force is shown. Put -- in front of a "
    "LINE that begins with --",
    Kind.CHOICE,
    ("off",),
)

PANEL = Magic(
    "panel",
    Layout.ANYWHERE,
    (CONNECTION,),
    "NAME",
    "the connection (default: the latest)",
    Kind.CONNECTION,
)

STOP = Magic(
    "stop",
    Layout.ANYWHERE,
    (Option("--all", "stop every connection"), CONNECTION),
    "NAME",
    "the connection (default: the latest)",
    Kind.CONNECTION,
)

MAGICS: Mapping[str, Magic] = {
    magic.name: magic for magic in (CONNECT, SEND, EXPECT, KEEPALIVE, HEARTBEAT, PANEL, STOP)
}
