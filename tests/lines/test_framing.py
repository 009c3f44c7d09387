"""Prove that the framings cut a stream the same way however it was split in transit, within bounds."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.client.client import Client
from ipyreconnect.errors import CallerError, SettingsError
from ipyreconnect.lines.framing import (
    ANNOUNCEMENT,
    LINE_LIMIT,
    SMALL,
    Announced,
    Framer,
    Raw,
    check_framing,
    make_framer,
    split_lines,
)
from ipyreconnect.logical import Continuation, Fragment
from ipyreconnect.profile.base import PROFILES

IMAP = re.compile(rb"\{(\d+)\+?\}$")
REDIS = re.compile(rb"^\$(\d+)$")
NATS = re.compile(rb"^H?MSG[ \t].*[ \t](\d+)$")


def announced(pattern: re.Pattern[bytes], stream: bytes, limit: int = 1000) -> list[bytes]:
    """Cut the stream in one step."""
    return Announced(pattern, limit=limit).feed(stream)


def marked(lines: Iterable[bytes]) -> list[tuple[bool, bytes]]:
    """Make fragments and lines comparable."""
    return [(isinstance(line, Fragment), bytes(line)) for line in lines]


def reference(pattern: re.Pattern[bytes], stream: bytes, limit: int) -> list[tuple[bool, bytes]]:
    """Cut the stream as the definition says, with no thought of speed; only for short first lines."""
    lines: list[tuple[bool, bytes]] = []
    at = 0
    while at < len(stream):
        begin, where, over = at, at, False
        line = b""
        while True:
            stop = stream.find(b"\n", where)
            if stop < 0:
                line, at = stream[begin:], len(stream)
                over = True
                break
            text = stream[where:stop].removesuffix(b"\r")
            found = pattern.search(text) if where == at else pattern.search(b" " + text, 1)
            if not found:
                line, at = stream[begin:stop].removesuffix(b"\r"), stop + 1
                break
            where = stop + 1 + int(found[1])
            if int(found[1]) > limit:
                over = True
                head = stream[begin : stop + 1]
                lines += [(True, head[i : i + limit]) for i in range(0, len(head), limit)]
                begin = stop + 1
        if over or len(line) > limit:
            lines += [(True, line[i : i + limit]) for i in range(0, len(line), limit)]
        else:
            lines.append((False, line))
    return lines


STREAMS = {
    "plain lines": (IMAP, b"* OK ready\r\n\n\r\nbare LF\n\r\r\na\rb\r\n"),
    "an IMAP literal": (IMAP, b"* 1 FETCH (BODY[] {12}\r\nFrom: a\r\n\r\nb FLAGS ())\r\n1 OK done\r\n"),
    "two IMAP literals": (IMAP, b"* LIST {3}\r\na\nb {2}\r\n\r\n tail\r\n{0}\r\n\r\n* X\r\n"),
    "LITERAL+ and binary": (IMAP, b'* 2 FETCH (BINARY[1] ~{4+}\r\n\x00\xff\r\n "{x}")\r\n{}\r\n{a}\r\n'),
    "Redis": (REDIS, b"*3\r\n$3\r\nfoo\r\n$0\r\n\r\n$-1\r\n:5\r\n$4\r\na\r\nb\r\n+OK\r\n"),
    "NATS": (
        NATS,
        b'INFO {"a":1}\r\nMSG s 9 5\r\nhello\r\nHMSG s 9 r 12 14\r\nNATS/1.0\r\n\r\n\r\n\r\nPING\r\n',
    ),
    "all three": (
        ANNOUNCEMENT,
        b"* A {2}\r\nxy z\r\n$3\r\na\nb\r\nMSG a 1 2\r\n\r\n\r\nHMSG {1}\r\n-\r\n=5\r\ntxt:a\r\n",
    ),
    "unfinished line": (IMAP, b"* OK\r\n* BYE"),
    "unfinished literal": (IMAP, b"* X {9}\r\nabc\r"),
    "lines over the limit": (
        IMAP,
        b"x" * 700 + b"\r\nshort\r\n" + b"y" * 256 + b"\n" + b"z" * 257 + b"\r\nshort\n",
    ),
    "literal at the limit": (
        IMAP,
        b"{252}\n" + b"a" * 246 + b"\r\n" + b"{252}\r\n" + b"a" * 300 + b"\r\n* OK\r\n",
    ),
    "literal over the limit": (IMAP, b"* X {600}\r\n" + b"a\r\n" * 200 + b" {2}\r\n\r\n y\r\n* OK\r\n"),
    "many literals": (IMAP, b"* X {90}\r\n" + (b"a" * 90 + b" {90}\r\n") * 5 + b"b" * 90 + b")\r\n* OK\r\n"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_cut_alike_at_every_split_point(name: str) -> None:
    """A logical line does not depend on where the network split it: in two anywhere, in bytes, in sevens."""
    pattern, stream = STREAMS[name]
    whole = reference(pattern, stream, 256)
    splits: list[list[bytes]] = [[stream[:at], stream[at:]] for at in range(len(stream) + 1)]
    splits += [[stream[at : at + size] for at in range(0, len(stream), size)] for size in (1, 2, 3, 7, 100)]
    for parts in splits:
        framer = Announced(pattern, limit=256)
        lines = [line for part in parts for line in framer.feed(part)]
        assert marked(lines + framer.finish()) == whole, parts


TOKENS = st.sampled_from(
    [
        b"a",
        b"{",
        b"}",
        b"{3}",
        b"{0}\r\n",
        b"{700}",
        b"$4",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n",
        b"MSG a 1 ",
        b"12",
        b" ",
        b"x" * 90,
    ]
)


@given(
    stream=st.lists(TOKENS, max_size=60).map(b"".join),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    limit=st.sampled_from([100, 600, 10000]),
    pattern=st.sampled_from(
        [IMAP, REDIS, NATS, ANNOUNCEMENT, *(PROFILES[p].announce for p in ("imap", "redis", "nats"))]
    ),
)
def test_any_stream_is_cut_alike_however_it_is_split(
    stream: bytes, cuts: list[int], limit: int, pattern: re.Pattern[bytes]
) -> None:
    """Any stream, split anywhere, gives what the whole gives, and loses nothing but final line ends."""
    whole = Announced(pattern, limit=limit)
    expected = marked(whole.feed(stream) + whole.finish())
    framer = Announced(pattern, limit=limit)
    places = [0, *sorted(cuts), len(stream)]
    parts = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    assert marked([line for part in parts for line in framer.feed(part)] + framer.finish()) == expected
    kept = b"".join(line for _, line in expected)
    assert len(stream) - len(kept) <= stream.count(b"\r") + stream.count(b"\n")
    assert all(len(line) <= limit for _, line in expected)


def test_imap_literals_stay_in_their_line() -> None:
    """A response with literals is one line, ready to parse, with its inner line ends."""
    lines = announced(IMAP, b"* 1 FETCH (BODY[] {7}\r\na\r\nb\r\n\r X {2}\r\nhi)\r\n1 OK\r\n")
    assert lines == [b"* 1 FETCH (BODY[] {7}\r\na\r\nb\r\n\r X {2}\r\nhi)", b"1 OK"]


def test_redis_values_stay_in_their_line() -> None:
    """A bulk string is one line with its length; the null string is a line by itself."""
    assert announced(REDIS, b"*2\r\n$5\r\na\r\nbc\r\n$-1\r\n") == [b"*2", b"$5\r\na\r\nbc", b"$-1"]


def test_nats_messages_stay_in_their_line() -> None:
    """A NATS message, with headers or without, is one line with its payload."""
    lines = announced(NATS, b"MSG a.b 9 3\r\n1\n2\r\nHMSG a 9 12 13\r\nNATS/1.0\r\n\r\nx\r\nPING\r\n")
    assert lines == [b"MSG a.b 9 3\r\n1\n2", b"HMSG a 9 12 13\r\nNATS/1.0\r\n\r\nx", b"PING"]


def test_a_rest_is_no_beginning() -> None:
    """What follows raw bytes is no beginning of a line: a pattern bound to it does not match there."""
    assert announced(REDIS, b"$1\r\na$9\r\n+OK\r\n") == [b"$1\r\na$9", b"+OK"]


def test_a_huge_announcement_is_counted_and_never_held() -> None:
    """A literal far over the limit is given out as it comes, and the next line is found where it ends."""
    framer = Announced(IMAP, limit=1 << 16)
    chunk = bytes(1 << 24)
    head = b"* X {%d}\r\n" % (16 << 24)
    assert marked(framer.feed(head)) == [(True, head)]
    total = 0
    for _ in range(16):
        pieces = framer.feed(chunk)
        assert {(type(piece), len(piece)) for piece in pieces} == {(Continuation, 1 << 16)}
        total += sum(map(len, pieces))
        assert framer.buffered < (1 << 16) + 256
    *pieces, line = framer.feed(b" y)\r\n1 OK\r\n")
    assert total + sum(map(len, pieces)) == (16 << 24) + 3
    assert marked([line]) == [(False, b"1 OK")]


def test_an_announcement_that_never_arrives_is_seen_at_once() -> None:
    """Who announces a hundred gigabytes is shown doing so; what came is shown when the connection ends."""
    framer = Announced(IMAP)
    assert marked(framer.feed(b"{99999999999}\r\nabc\r\n")) == [(True, b"{99999999999}\r\n")]
    assert framer.feed(b"* OK\r\n") == []
    assert marked(framer.finish()) == [(True, b"abc\r\n* OK\r\n")]


def test_a_line_without_end_is_never_held() -> None:
    """200 MiB without a line end: memory stays at the limit, and every byte is given out in order."""
    framer = Announced(IMAP)
    total = 0
    for _ in range(200):
        total += sum(map(len, framer.feed(b"x" * (1 << 20))))
        assert framer.buffered <= 2 * LINE_LIMIT
    assert total + sum(map(len, framer.finish())) == 200 << 20


@pytest.mark.parametrize("count", [b"9" * 19, b"9" * 10_000])
def test_an_absurd_number_announces_nothing(count: bytes) -> None:
    """A number that no machine could send is text, and does no harm."""
    assert announced(IMAP, b"* X {%b}\r\n* Y\r\n" % count, limit=1 << 20) == [b"* X {%b}" % count, b"* Y"]


def test_an_announcement_at_the_end_of_an_overlong_line_counts() -> None:
    """The framing stays in step when the line that announces is itself given out in fragments."""
    for padding in range(120, 140):
        stream = b"x" * padding + b" {6}\r\na\r\nb\r\n tail\r\n1 OK\r\n"
        framer = Announced(IMAP, limit=10)
        lines = [line for at in range(len(stream)) for line in framer.feed(stream[at : at + 1])]
        assert b"".join(lines[:-1]) == stream[: -len(b"\r\n1 OK\r\n")]
        assert marked(lines) == marked(announced(IMAP, stream, limit=10))
        assert marked(lines[-1:]) == [(False, b"1 OK")]


def test_the_middle_of_an_overlong_line_is_no_beginning() -> None:
    """Where a fragment of a line ends, no line begins that could announce."""
    for padding in range(1, 400):
        stream = b"x" * padding + b"$6\r\na\r\n"
        framer = Announced(REDIS, limit=10)
        lines = [line for at in range(len(stream)) for line in framer.feed(stream[at : at + 1])]
        assert marked(lines[-1:]) == [(False, b"a")]
        assert marked(lines) == marked(announced(REDIS, stream, limit=10))


def test_what_is_incomplete_at_the_end_is_a_fragment_and_the_next_connection_starts_anew() -> None:
    """Nothing received is lost at the end of a connection, nor glued to what the next one brings."""
    framer = Announced(IMAP)
    assert framer.feed(b"* X {10}\r\nabc") == []
    assert marked(framer.finish()) == [(True, b"* X {10}\r\nabc")]
    assert framer.finish() == []
    assert framer.feed(b"* OK\r\n") == [b"* OK"]


def test_raw_gives_what_each_read_brought() -> None:
    """The raw framing changes nothing and holds nothing back."""
    framer = Raw()
    assert framer.feed(b"a\r\n\x00b") == [b"a\r\n\x00b"]
    assert framer.feed(b"") == []
    assert framer.finish() == []


@given(st.lists(st.sampled_from([b"\r", b"a", b"\n", b"\r\n", b"\x0b\x0c\x85"])).map(b"".join), st.booleans())
@pytest.mark.parametrize("first", [b"", b"long" * SMALL], ids=["short lines", "long lines"])
def test_only_lf_and_crlf_end_a_line(first: bytes, data: bytes, counted: bool) -> None:
    """A lone CR, a form feed and the like belong to the line, whichever way is quicker to cut it."""
    data = first + data + b"\n"
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
    assert split_lines(data, len(lines) if counted else None) == lines


@pytest.mark.parametrize(
    ("pattern", "limit", "text"),
    [
        (re.compile(r"(\d+)"), 10, "pattern of bytes"),
        (rb"(\d+)", 10, "compiled pattern of bytes"),
        (re.compile(rb"\d+"), 10, "group for the number"),
        (IMAP, 0, "at least 1 byte"),
    ],
)
def test_an_announcement_that_cannot_work_is_refused(
    pattern: re.Pattern[bytes], limit: int, text: str
) -> None:
    """A pattern or limit that cannot work is refused with one line that says why."""
    with pytest.raises(SettingsError, match=text):
        Announced(pattern, limit=limit)


def test_a_pattern_whose_group_is_no_number_announces_nothing() -> None:
    """A pattern that matches something else than digits does no harm."""
    assert announced(re.compile(rb"\[(.*)\]|(-)|x$"), b"[a]\r\n-\r\n[]\nx\nb\r\n") == [
        b"[a]",
        b"-",
        b"[]",
        b"x",
        b"b",
    ]


class Pairs:
    """A user's framing: two bytes are a line."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self.held + data
        even = len(data) & ~1
        self.held = data[even:]
        return [data[at : at + 2] for at in range(0, even, 2)]


class Broken:
    """A user's framing that fails as its one argument says."""

    def __init__(self, result: object = None) -> None:
        self.result = result

    def feed(self, data: bytes) -> list[bytes]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[return-value]  # the point of the test


def test_the_names_choose_the_framings() -> None:
    """A profile's own framing is taken unless another is asked for by name; plain lines need no framer."""
    imap, tcp = PROFILES["imap"], PROFILES["tcp"]
    assert make_framer("lines", imap) is None
    assert make_framer(None, tcp) is None
    assert isinstance(make_framer("raw", imap), Raw)
    for framer, stream in (
        (make_framer(None, imap), b"* X {2}\r\n\r\n y\r\n"),
        (make_framer("announced", tcp), b"$2\r\n\r\n\r\n"),
    ):
        assert framer is not None
        assert framer.feed(stream) == [stream[:-2]]


def test_a_user_may_bring_an_object_or_a_class() -> None:
    """A class is made anew for each connection, an object is copied; neither needs finish()."""
    profile = PROFILES["tcp"]
    first, second = make_framer(Pairs, profile), make_framer(Pairs, profile)
    assert first is not None
    assert second is not None
    assert first.feed(b"abc") == [b"ab"]
    assert second.feed(b"xy") == [b"xy"]
    assert second.finish() == []
    own: Framer = Announced(IMAP)
    framer = make_framer(own, profile)
    assert isinstance(framer, Announced)
    assert framer is not own
    assert framer.feed(b"a {3}\r\nb") == []
    again = make_framer(own, profile)
    assert again is not None
    assert again.feed(b"c\r\n") == [b"c"]


def test_what_an_object_keeps_ends_with_its_connection() -> None:
    """Two connections, or two clients, that are given one object never see each other's bytes."""
    profile, own = PROFILES["tcp"], Pairs()
    first = make_framer(own, profile)
    assert first is not None
    assert first.feed(b"abc") == [b"ab"]
    second = make_framer(own, profile)
    assert second is not None
    assert second.feed(b"xy") == [b"xy"]
    assert first.feed(b"d") == [b"cd"]
    assert own.feed(b"12") == [b"12"]


class Locked(Pairs):
    """A framing that holds what nobody can copy."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Lost(Pairs):
    """A framing whose copy is none."""

    def __deepcopy__(self, memo: object) -> object:
        return object()


@pytest.mark.parametrize(
    ("framing", "why"),
    [
        (Locked(), r"Locked cannot be copied for each connection \(TypeError: .*\): give the class"),
        (Lost(), r"a copy of Lost has none"),
    ],
)
def test_an_object_that_cannot_be_copied_is_refused(framing: Pairs, why: str) -> None:
    """It is refused before anything starts, with what to give instead; the class itself works."""
    with pytest.raises(SettingsError, match=why):
        check_framing(framing, PROFILES["tcp"])
    with pytest.raises(SettingsError, match=why):
        Client("127.0.0.1:4000", framing=framing)
    if isinstance(framing, Locked):
        assert make_framer(Locked, PROFILES["tcp"]) is not None


@pytest.mark.parametrize("framing", ["line", "", 7, object(), int, lambda: 1, lambda: 1 / 0])
def test_what_is_no_framing_is_refused(framing: object) -> None:
    """An unknown name or an object without feed is refused before anything starts."""
    with pytest.raises(SettingsError, match="framing"):
        check_framing(framing, PROFILES["tcp"])


@pytest.mark.parametrize("result", [ValueError("no"), None, ["text"], 5])
def test_a_failing_users_framing_is_named(result: object) -> None:
    """What a user's framing raises, or returns wrongly, becomes one error that names it."""
    framer = make_framer(Broken(result), PROFILES["tcp"])
    assert framer is not None
    with pytest.raises(CallerError, match="framing Broken"):
        framer.feed(b"a")
