"""Have peers write whatever they like into what is announced, and into lines that are too long: it is data,
and answers nobody. Values only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipyreconnect.lines.framing import cut_before
from ipyreconnect.logical import Announcing, Continuation, Fragment, beginning
from ipyreconnect.protocol.script import parse_script
from tests.playing import Play, found

LONGEST = 256
"""Bytes of the longest line here, so that fragments are quickly made."""
REAL = b"a NO the real answer"
FORGED = re.compile(rb"OK|PING|Password|WRONG|NO the forged")

# What somebody may write who knows what is waited for: everything that looks like an answer, with each end.
forgeries = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"a OK forged",
                b"\r\na OK forged\r\n",
                b"\na OK forged\n",
                b"\r\n\r\na OK\r\n",
                b"a NO the forged answer\r\n",
                b"Password: \r\n",
                b"PING x\r\n",
                b"\r",
                b"\n",
                b")\r\n",
                b"{7}\r\na OK it\r\n",
                b"$5\r\na OK!\r\n",
                b"MSG a 1 4\r\na OK\r\n",
                b"\xc3\xa9",
                b"\xff",
                b"x" * (LONGEST - 7),
                b"a OK " * 200,
            ]
        ),
        st.binary(max_size=20),
    ),
    min_size=1,
    max_size=6,
).map(b"".join)


def imap(payload: bytes) -> bytes:
    return b"* 1 FETCH (BODY[1] {%d}\r\n%b)\r\n" % (len(payload), payload)


def imap_twice(payload: bytes) -> bytes:
    return b"* 1 FETCH (A {%d}\r\n%b B {%d+}\r\n%b)\r\n" % (len(payload), payload, len(payload), payload)


def redis(payload: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(payload), payload)


def nats(payload: bytes) -> bytes:
    return b"MSG a.b 1 %d\r\n%b\r\n" % (len(payload), payload)


def plain(payload: bytes) -> bytes:
    """A line that is too long, and none of whose pieces but the first begins a line."""
    return b"x" * LONGEST + payload.replace(b"\n", b".").replace(b"\r", b".") + b"\r\n"


WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "imap": ("imap", imap),
    "imap twice": ("imap", imap_twice),
    "redis": ("redis", redis),
    "nats": ("nats", nats),
    "plain": ("tcp", plain),
    "plain, where bytes may be announced": ("imap", plain),
}


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = 0
    for cut in sorted({cut % len(data) for cut in cuts}):
        yield data[at:cut]
        at = cut
    yield data[at:]


splits = st.lists(st.integers(0, 1 << 16), max_size=5)


def hostile(way: str) -> tuple[str, Callable[[bytes], bytes]]:
    return WAYS[way]


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(payload=forgeries, cuts=splits)
@example(payload=b"\r\na OK forged\r\n", cuts=[])
def test_what_a_peer_sends_as_data_answers_nobody(way: str, payload: bytes, cuts: list[int]) -> None:
    """No expectation, and no automatic reply, is met by a byte of it, however it is split."""
    profile, wrap = hostile(way)
    play = Play(
        profile=profile, longest_line=LONGEST, replies=((rb"^a OK|Password:|^PING (.*)", rb"LEAKED \1"),)
    ).up()
    waits = [play.expect(pattern) for pattern in (r"^a (OK|NO|BAD)", rb"^a (?:OK|NO)", "forged|Password")]
    for piece in pieces(wrap(payload) + REAL + b"\r\n", cuts):
        play.receive(piece)
    assert [found(wait).line.data for wait in waits[:2]] == [REAL, REAL]
    assert waits[2].outcome is None
    assert play.wire == b""
    # And the same afterwards, when it is all there.
    again = play.expect("^a (OK|NO|BAD)|Password|forged")
    assert again.outcome is None


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(payload=forgeries, cuts=splits)
def test_what_a_peer_sends_as_data_meets_no_step_of_a_script(
    way: str, payload: bytes, cuts: list[int]
) -> None:
    """The script waits for its answer until that is there."""
    profile, wrap = hostile(way)
    script = parse_script("< ^(a OK|Password|a NO the real)\nlogin")
    play = Play(profile=profile, longest_line=LONGEST, script=script)
    play.start()
    play.dialed()
    for piece in pieces(wrap(payload), cuts):
        play.receive(piece)
    assert (play.state, play.wire) == ("connecting", b"")
    play.receive(REAL + b"\r\n")
    assert (play.state, play.wire) == ("connected", b"login\r\n")


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(payload=forgeries, cuts=splits)
def test_an_on_connect_function_reads_the_lines_that_everybody_sees(
    way: str, payload: bytes, cuts: list[int]
) -> None:
    """It is given the same logical lines as the transcript holds, and compares the same part of them."""
    profile, wrap = hostile(way)
    data = wrap(payload) + REAL + b"\r\n"
    play = Play(profile=profile, longest_line=LONGEST, has_function=True)
    play.start()
    play.dialed()
    read: list[bytes] = []
    for piece in pieces(data, cuts):
        play.receive(piece)
        while (line := play.connection.read_line(1, 0.0)) is not None:
            read.append(line[1])
    other = Play(profile=profile, longest_line=LONGEST).up()
    other.receive(data)
    assert read == [line.data for line in other.lines if line.direction == "<"]
    assert read == [line.data for line in play.lines if line.direction == "<"]
    assert [line for line in read if FORGED.match(beginning(line) or b"")] == []
    assert beginning(read[-1]) == REAL


@pytest.mark.parametrize("way", ["imap", "redis", "nats"])
@given(payload=forgeries, taken=st.integers(0, 400), cuts=splits)
@settings(deadline=None)
def test_bytes_that_a_function_reads_end_where_it_says(
    way: str, payload: bytes, taken: int, cuts: list[int]
) -> None:
    """It gets the very bytes, wherever they stand, and what follows begins a new line, for everybody."""
    profile, wrap = hostile(way)
    data = wrap(payload)
    taken = min(taken, len(data))
    play = Play(profile=profile, longest_line=1 << 16, has_function=True)
    play.start()
    play.dialed()
    for piece in pieces(data + REAL + b"\r\n", cuts):
        play.receive(piece)
    unread = play.connection.unread(1)
    assert unread.read(taken, 0.0, []) == data[:taken]
    rest = unread.read(len(data) - taken, 0.0, [])
    assert rest == data[taken:]
    line = play.connection.read_line(1, 0.0)
    assert line is not None
    assert line[1] == REAL
    play.connection.script_ended(1, None, 1.0)
    play.settle(1.0)
    play.receive(b"after\r\n")
    assert play.lines[-1].data == b"after"


def test_what_lies_unread_is_shown_and_read_all_the_same() -> None:
    """A function that does not read for a moment sees the log go on, and misses nothing, bytes or lines."""
    play = Play(has_function=True)
    play.start()
    play.dialed()
    play.receive(b"one\r\ntwo\r\nthr", 1.0)
    assert [line.text for line in play.lines] == []
    play.until(2.0)
    assert [line.text for line in play.lines] == ["one", "two"]
    unread = play.connection.unread(1)
    assert unread.read(6, 0.0, []) == b"one\r\nt"
    rest = play.connection.read_line(1, 2.0)
    assert rest is not None
    assert rest[1] == b"wo"
    play.receive(b"ee\r\n", 2.0)
    line = play.connection.read_line(1, 2.0)
    assert line is not None
    assert line[1] == b"three"


def test_whole_looks_into_what_was_announced() -> None:
    """Who wants to look into a payload says so: on a wait, and on what is there already."""
    play = Play(profile="redis").up()
    waiting = play.expect("^b$", whole=False)
    into = play.expect(r"(?m)^b\r?$", whole=True)
    play.receive(b"$6\r\na\r\nb\r\n\r\n")
    assert waiting.outcome is None
    assert found(into).line.data == b"$6\r\na\r\nb\r\n"
    assert found(into).string == "$6\r\na\r\nb\r\n"
    play.send(b"x")
    play.receive(b"$6\r\na\r\nb\r\n\r\n")
    assert found(play.expect(r"\nb", whole=True)).line.number == found(into).line.number + 2


def test_the_end_of_the_beginning_is_an_end() -> None:
    """`$` matches before the announced bytes, and the match shows the whole line."""
    play = Play(profile="imap").up()
    match = play.expect(r"BODY\[1\] \{(\d+)\}$")
    play.receive(imap(b"hello"))
    assert found(match)[1] == "5"
    assert found(match).line.data == b"* 1 FETCH (BODY[1] {5}\r\nhello)"


@pytest.mark.parametrize(
    ("line", "compared"),
    [
        (b"plain", b"plain"),
        (Announcing(b"$1\r\nx", 2), b"$1"),
        (Announcing(b"raw", 0), b""),
        (Fragment(b"begun"), b"begun"),
        (Fragment(b"$9\r\nxx", 2), b"$9"),
        (Continuation(b"a OK"), None),
    ],
)
def test_what_is_compared_of_a_line(line: bytes, compared: bytes | None) -> None:
    """Its bytes before the first announced one; nothing of a later piece."""
    assert beginning(line) == compared


@pytest.mark.parametrize("encoding", [None, "utf-8", "shift_jis", "gb18030", "big5", "euc_kr"])
def test_long_lines_are_cut_between_characters(encoding: str | None) -> None:
    """The texts of the fragments, one after the other, are the text."""
    words = {"euc_kr": "가나다라", "big5": "中文測試", None: "aé漢😀", "utf-8": "aé漢😀"}
    text = "x".join([words.get(encoding, "漢字かな")] * 400)
    for longest in range(200, 216):
        play = Play(encoding=encoding, longest_line=longest).up()
        play.receive(text.encode(encoding or "utf-8") + b"\r\n")
        received = [line for line in play.lines if line.direction == "<"]
        assert "".join(line.text for line in received) == text
        assert all(line.truncated and len(line.data) <= longest for line in received)
        assert len(received) > 5


@given(data=st.binary(min_size=2, max_size=40), at=st.integers(1, 39))
def test_a_cut_moves_by_less_than_a_character(data: bytes, at: int) -> None:
    """Also where the bytes are no text: what is cut off is never nothing."""
    at = min(at, len(data) - 1)
    assert max(0, at - 3) <= cut_before(data, at, None) <= at
