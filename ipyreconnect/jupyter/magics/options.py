"""Take a magic's own options off its line and leave the rest byte for byte; it runs nothing and asks nobody.

A shell-like splitter would lose runs of blanks and take a `-x` inside the payload for an option, so the
line is read from the left: options, then the text as it was typed. One table describes every magic; its help,
its parser and its completion all read that table.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Any, TypeVar

from IPython.core import magic_arguments as _untyped
from IPython.core.error import UsageError

BLANKS = " \t"
QUOTES = "\"'"

EOLS: Mapping[str, bytes] = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "none": b""}
ENCODINGS = ("utf-8", "iso-8859-1", "iso-8859-15", "windows-1252", "us-ascii", "koi8-r", "shift_jis")
KEEPALIVES = ("5/3/3", "1/1/2", "30/5/3", "60/10/6", "off")


class Kind(Enum):
    """What an option's value is, for the completion."""

    FLAG = "flag"
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
    """One option: its name, what its value is called, and what it does."""

    name: str
    help: str
    metavar: str | None = None
    kind: Kind = Kind.FLAG
    values: tuple[str, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Magic:
    """One magic: its name, what follows its options, where those may stand, and which it has."""

    name: str
    layout: Layout
    options: tuple[Option, ...]
    operand: str = ""
    operand_help: str = ""

    def option(self, name: str) -> Option | None:
        """Find the option of that exact name, or None."""
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
)

KEEPALIVE = Magic(
    "keepalive",
    Layout.ANYWHERE,
    (CONNECTION,),
    "IDLE/INTERVAL/COUNT",
    "seconds of silence before the first probe / seconds between probes / unanswered probes that end the "
    "connection, or off. Without it, what is in force is shown",
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
)

PANEL = Magic("panel", Layout.ANYWHERE, (CONNECTION,), "NAME", "the connection (default: the latest)")

STOP = Magic(
    "stop",
    Layout.ANYWHERE,
    (Option("--all", "stop every connection"), CONNECTION),
    "NAME",
    "the connection (default: the latest)",
)

MAGICS: Mapping[str, Magic] = {
    magic.name: magic for magic in (CONNECT, SEND, EXPECT, KEEPALIVE, HEARTBEAT, PANEL, STOP)
}

_F = TypeVar("_F", bound=Callable[..., Any])
_arguments: Any = _untyped


def documented(magic: Magic) -> Callable[[_F], _F]:
    """Give a magic's method the help that `%magic?` shows, made from the table.

    The parser that IPython's decorators attach is used for that help only.
    """

    def decorate(method: _F) -> _F:
        decorators = []
        for option in magic.options:
            if option.metavar is None:
                decorators.append(_arguments.argument(option.name, action="store_true", help=option.help))
            else:
                decorators.append(_arguments.argument(option.name, metavar=option.metavar, help=option.help))
        if magic.operand:
            operand_help = magic.operand_help.replace("%", "%%")
            decorators.append(_arguments.argument(magic.operand, nargs="?", help=operand_help))
        for decorator in reversed(decorators):
            method = decorator(method)
        documented_method: _F = _arguments.magic_arguments(magic.name)(method)
        return documented_method

    return decorate


@dataclass(frozen=True, slots=True)
class Parsed:
    """A magic's line taken apart: its options' values, and the text that was left."""

    magic: Magic
    rest: str
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    behind: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Of each option whose value was not quoted: its name, its value, and the words that follow those."""

    def flag(self, name: str) -> bool:
        """Say whether the option was given."""
        return name in self.values

    def get(self, name: str) -> str | None:
        """Give the option's value, or None where it was not given."""
        found = self.values.get(name)
        return None if found is None else found[-1]

    def all(self, name: str) -> tuple[str, ...]:
        """Give the values of an option that can be given again, in their order."""
        return self.values.get(name, ())

    def seconds(self, name: str) -> float | None:
        """Give the option's value as seconds, at least 0; UsageError when nothing can wait for so long."""
        text = self.get(name)
        if text is None:
            return None
        number = _number(text.removesuffix("s"))
        if number is None or not 0 <= number <= threading.TIMEOUT_MAX:
            raise UsageError(f"{name} {text!r}: give a number of seconds, such as 10 or 0.5")
        return number

    def number(self, name: str) -> float | None:
        """Give the option's value as a positive number; UsageError when it is none."""
        text = self.get(name)
        if text is None:
            return None
        number = _number(text)
        if number is None or number <= 0:
            raise UsageError(f"{name} {text!r}: give a number above 0, such as 1.5")
        return number

    def count(self, name: str) -> int | None:
        """Give the option's value as a whole number from 1 on; UsageError when it is none."""
        text = self.get(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
            raise UsageError(f"{name} {text!r}: give a whole number from 1 on")
        return int(text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse(magic: Magic, line: str) -> Parsed:
    """Take `magic`'s options off `line`; UsageError says in one line what is wrong with them.

    `line` is what IPython hands over: everything after the one blank behind the magic's name.
    """
    if magic.layout is Layout.ANYWHERE:
        return _parse_anywhere(magic, line)
    values: dict[str, tuple[str, ...]] = {}
    position, ended = 0, False
    while (word := _word_at(line, position))[1]:
        begin, text = word
        if text == "--":
            position, ended = _after_one_blank(line, begin + 2), True
            break
        taken = _take_option(magic, line, begin, text, values)
        if taken is None:
            break
        position = _after_one_blank(line, taken)
    rest = line[position:]
    if magic.layout is Layout.ENDS and not ended:
        rest = _text_and_options(magic, rest, values)
    return Parsed(magic, rest, values)


def _parse_anywhere(magic: Magic, line: str) -> Parsed:
    values: dict[str, tuple[str, ...]] = {}
    pieces: list[str] = []
    bare: list[tuple[str, str, list[str]]] = []
    following: list[str] = []
    position = piece_begin = 0
    while (word := _word_at(line, position))[1]:
        begin, text = word
        if text == "--":
            pieces.append(line[piece_begin:begin])
            piece_begin = begin + 2
            break
        taken = _take_option(magic, line, begin, text, values)
        if taken is None:
            following.append(text)
            position = begin + len(text)
        else:
            pieces.append(line[piece_begin:begin])
            position = piece_begin = taken
            following = []
            name = text.partition("=")[0]
            if (value := values[name][-1]) and line[taken - 1] not in QUOTES:
                bare.append((name, value, following))
    pieces.append(line[piece_begin:])
    rest = " ".join(piece.strip() for piece in pieces if piece.strip())
    behind = tuple((name, value, tuple(words)) for name, value, words in bare if words)
    return Parsed(magic, rest, values, behind)


def value_in_need_of_quotes(parsed: Parsed, fits: Callable[[str], bool]) -> str | None:
    """Say how to quote an option's value that has blanks in it, where words of it were taken for the text.

    Args:
        parsed: the line, whose text makes no sense.
        fits: whether a text would make sense.

    Returns:
        None where the text makes no more sense without the words behind an option.

    """
    for name, value, words in parsed.behind:
        for count in range(1, len(words) + 1):
            # The words stand together in the text, in front of what follows or behind what precedes.
            whole, part = parsed.rest.split(), list(words[:count])
            for begin in range(len(whole) - count + 1):
                left = whole[:begin] + whole[begin + count :]
                if whole[begin : begin + count] == part and left and fits(" ".join(left)):
                    value = " ".join([value, *part])
                    quote = "'" if "'" not in value else '"'
                    quoted = f"{name} {quote}{value}{quote}"
                    return f"{name} {value}: a value with blanks is quoted as a whole: {quoted}"
    return None


def _word_at(line: str, position: int) -> tuple[int, str]:
    """Give the begin and the text of the next word, '' at the end."""
    begin = position
    while begin < len(line) and line[begin] in BLANKS:
        begin += 1
    end = begin
    while end < len(line) and line[end] not in BLANKS:
        end += 1
    return begin, line[begin:end]


def _after_one_blank(line: str, position: int) -> int:
    """Skip the one blank that separates; further blanks belong to the text."""
    return position + 1 if position < len(line) and line[position] in BLANKS else position


def _take_option(
    magic: Magic, line: str, begin: int, word: str, values: dict[str, tuple[str, ...]]
) -> int | None:
    """Take the option that begins at `begin`, give the position behind it, or None where the text begins."""
    if not _looks_like_option(magic, word):
        return None
    name, equals, _ = word.partition("=")
    option = magic.option(name)
    if option is None:
        raise UsageError(unknown_option(magic, name))
    end = begin + len(name)
    if option.metavar is None:
        if equals:
            raise UsageError(f"{name} takes no value: leave {line[end : begin + len(word)]!r} out")
        value = ""
    else:
        if equals:
            value_begin = end + 1
        else:
            value_begin, following = _word_at(line, end)
            if not following or following == "--" or magic.option(following.partition("=")[0]) is not None:
                raise UsageError(f"{name} needs a value: {name} {option.metavar}")
        value, end = _value_at(name, line, value_begin)
        if not value and option.kind is not Kind.FREE:
            raise UsageError(f"{name} needs a value: {name} {option.metavar}")
    if name in values and not option.repeats:
        raise UsageError(f"{name} is given twice; give it once")
    values[name] = (*values.get(name, ()), value)
    return end


def _looks_like_option(magic: Magic, word: str) -> bool:
    if not word.startswith("-") or len(word) < 2:
        return False
    if magic.option(word.partition("=")[0]) is not None:
        return True
    if magic.layout is Layout.ANYWHERE:
        return True
    # In front of a text a word is an option only where it cannot well be anything else: "-1", "-ERR" and
    # "--- a" are texts that protocols have, "--exepct" is a slip that must not reach the server.
    return re.match(r"--[A-Za-z]", word) is not None


def _value_at(name: str, line: str, begin: int) -> tuple[str, int]:
    """Read one value: up to the next blank, or between quotes when it begins with one."""
    if begin < len(line) and line[begin] in QUOTES:
        closing = _closing_quote(line, begin)
        if closing is None:
            raise UsageError(f"{name}: the quote {line[begin]} is not closed")
        return line[begin + 1 : closing], closing + 1
    end = begin
    while end < len(line) and line[end] not in BLANKS:
        end += 1
    return line[begin:end], end


def _closing_quote(line: str, begin: int) -> int | None:
    """Find the quote that closes the one at `begin`: one with a blank or nothing behind it."""
    end = line.find(line[begin], begin + 1)
    while end != -1 and end + 1 < len(line) and line[end + 1] not in BLANKS:
        end = line.find(line[begin], end + 1)
    return None if end == -1 else end


def unquoted(text: str) -> str:
    """Return `text` without the quotes that it stands between, if it does."""
    return text[1:-1] if len(text) > 1 and text[0] in QUOTES and text[-1] == text[0] else text


def _text_and_options(magic: Magic, rest: str, values: dict[str, tuple[str, ...]]) -> str:
    """Take a free text, bare or quoted as a whole, and the options behind it.

    A bare text is kept as typed. A `--word` in it is an option, known or not, as a slip must not be awaited.
    """
    begin = _word_at(rest, 0)[0]
    if rest[begin : begin + 1] and rest[begin] in QUOTES:
        end = _closing_quote(rest, begin)
        if end is not None and _only_options(magic, rest, end + 1, values):
            return rest[begin + 1 : end]
    position = begin
    while (word := _word_at(rest, position))[1]:
        begin, text = word
        if _looks_like_option(magic, text):
            if _only_options(magic, rest, begin, values):
                return rest[: begin - 1] if begin else ""
            if text.startswith("--"):
                raise UsageError(
                    f"{text} stands in the middle of the text: put it at either end, or quote a text that "
                    "has it in it"
                )
        position = begin + len(text)
    return rest


def _only_options(magic: Magic, line: str, position: int, values: dict[str, tuple[str, ...]]) -> bool:
    """Take all that follows, if it is options and nothing else; UsageError for an unknown one."""
    taken = dict(values)
    while (word := _word_at(line, position))[1]:
        after = _take_option(magic, line, *word, taken)
        if after is None:
            return False
        position = after
    values.update(taken)
    return True


def unknown_option(magic: Magic, name: str) -> str:
    """Say that `magic` has no such option, which one may be meant, and how to send such a text."""
    if name in ("--help", "-h"):
        return f"%{magic.name}? shows its help"
    known = [option.name for option in magic.options]
    near = suggest(name, known)
    help_ = f"; did you mean {near}?" if near else f"; it has {', '.join(sorted(known))}."
    if magic.layout is not Layout.ANYWHERE:
        what = "expect" if magic is EXPECT else "send"
        help_ += f" To {what} it as text: %{magic.name} -- {name}"
    return f"%{magic.name} has no option {name}{help_}"


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that `word` may be a misspelling of, or None."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else None


_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([0-7]{1,3})|(.)|$)", re.DOTALL)
_SIMPLE = {
    "\\": b"\\",
    "'": b"'",
    '"': b'"',
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}


def unescape(text: str, encoding: str = "utf-8") -> bytes:
    r"""Turn a text with the escapes of a Python bytes literal into its bytes.

    The text between them is encoded with `encoding`. UsageError for an escape that Python does not know.
    """
    pieces = []
    position = 0
    for escape in _ESCAPE.finditer(text):
        pieces += [_encoded(text[position : escape.start()], encoding), _byte_of(escape)]
        position = escape.end()
    return b"".join([*pieces, _encoded(text[position:], encoding)])


def _byte_of(escape: re.Match[str]) -> bytes:
    if escape[1]:
        return bytes([int(escape[1], 16)])
    if escape[2]:
        value = int(escape[2], 8)
        if value > 255:
            raise UsageError(f"\\{escape[2]} is no byte: octal escapes go up to \\377")
        return bytes([value])
    if escape[3] in _SIMPLE:
        return _SIMPLE[escape[3]]
    raise UsageError(
        f"{escape[0]} is no escape: use \\xHH, \\r, \\n, \\t, \\0 and the like, and \\\\ for a backslash"
    )


def _encoded(text: str, encoding: str) -> bytes:
    try:
        # Nothing is nothing, also where an encoding begins every text with a mark.
        return text.encode(encoding) if text else b""
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{text[error.start : error.end]!r} cannot be encoded as {encoding}; write its bytes as \\xHH"
        ) from None


def parse_eol(text: str) -> bytes:
    r"""Read a line end: crlf, lf, cr, none, or escapes such as \r\n; UsageError for anything else."""
    known = EOLS.get(text.lower())
    if known is not None:
        return known
    if "\\" in text:
        return unescape(text)
    raise UsageError(f"--eol {text!r}: give crlf, lf, cr, none or escapes such as \\r\\n")


def parse_reply(text: str) -> tuple[str, str]:
    r"""Read REGEX=LINE, split at the first = without a backslash in front; UsageError when it is none.

    In REGEX, \= becomes =, which has a meaning of its own behind (?.
    """
    found = re.match(r"((?:[^\\=]|\\.)+)=(.*)\Z", text, re.DOTALL)
    if found is None:
        raise UsageError(f"--reply {text!r}: give REGEX=LINE, such as --reply '^PING (.*)=PONG \\1', or off")
    pattern = re.sub(r"\\(.)", lambda pair: "=" if pair[1] == "=" else pair[0], found[1], flags=re.DOTALL)
    return pattern, found[2]
