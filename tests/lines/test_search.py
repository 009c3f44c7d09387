"""The search against the plain one that it must equal, whatever the pattern, the bytes and the encoding."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipyreconnect.errors import SettingsError
from ipyreconnect.lines.framing import split_lines
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.search import Found, LineSearch, compile_pattern, needles_of
from ipyreconnect.lines.text import decode
from ipyreconnect.lines.transcript import Transcript

# Words and letters that patterns and lines share, with those that case folding and encodings make awkward:
# the Kelvin sign and the long s match ASCII letters when case is ignored.
WORDS = [
    "OK",
    "ok",
    "NO",
    "bad",
    "login",
    "k",
    "K",
    "s",
    "i",
    " ",
    "é",
    "É",
    "\u212a",
    "ſ",
    "İ",
    "ı",
    "ß",
    "1",
    "\x1c",
]

atoms = st.one_of(
    st.sampled_from(WORDS).map(re.escape),
    st.sampled_from(
        [r"\d", r"\w+", r"\s", r"\S", ".", "[a-z]", "[^a-z]", "[^x]*", r"\b", "^", "$", r"\A", r"\Z"]
    ),
    st.sampled_from(
        ["(?i:ok)", "(?-i:OK)", "(?=ok)", "(?!ok)", "(?<=O)K", "(?<!O)K", "(?>OK)", "(?:)", "a{0}", "\r"]
    ),
    st.sampled_from(
        ["O{2,3}", "(?:OK){2}", "O+K", "O*+K", "(O)K|N\\1", "(?P<n>o)k(?P=n)?", "(O)?(?(1)K|ok)", "\n"]
    ),
)


def _joined(parts: list[str]) -> str:
    return "".join(parts)


patterns = st.recursive(
    st.lists(atoms, min_size=1, max_size=4).map(_joined),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda choices: "(?:" + "|".join(choices) + ")"),
        inner.map(lambda part: f"(?:{part})?"),
        inner.map(lambda part: f"(?:{part})+"),
        st.lists(inner, min_size=2, max_size=3).map(_joined),
    ),
    max_leaves=6,
)
flags = st.sampled_from(
    [0, 0, re.IGNORECASE, re.IGNORECASE, re.MULTILINE, re.DOTALL, re.ASCII, re.IGNORECASE | re.ASCII]
)
texts = st.lists(st.sampled_from([*WORDS, "x", "\r"]), max_size=8).map("".join)
encodings = st.sampled_from(
    [
        None,
        None,
        "utf-8",
        "iso-8859-1",
        "ascii",
        "cp1252",
        "koi8-r",
        "utf-16",
        "utf-7",
        "shift_jis",
        "cp037",
        "utf-8-sig",
    ]
)
datas = st.builds(
    lambda text, encoding: text.encode(encoding, "replace"),
    texts,
    st.sampled_from(["utf-8", "utf-8", "iso-8859-1", "utf-16-le", "shift_jis", "cp037"]),
)


def compiled(source: str, number: int) -> re.Pattern[str]:
    """Compile a pattern that is made by chance; those that are none are left out."""
    try:
        return re.compile(source, number)
    except re.error:
        assume(False)
        raise


def filled(lines: list[tuple[str, bytes]], encoding: str | None) -> Transcript:
    """Make a transcript of lines that came in runs, one by one, by a framer, were sent, or are notes."""
    transcript = Transcript(encoding=encoding)
    for kind, data in lines:
        if kind == "run":
            room = transcript.room()
            run = data.replace(b"\n", b"") + b"\r\n" + data.replace(b"\n", b"\r\n") + b"\n"
            room[: len(run)] = run
            transcript.commit(len(run), 0.0)
        elif kind == "framed":
            transcript.append_received([data, b"plain"], 0.0)
        elif kind == "sent":
            transcript.append_sent(data, 0.0)
        else:
            transcript.append_note(decode(data, None), 0.0)
    return transcript


def plainly(pattern: re.Pattern[Any], lines: list[Line]) -> list[Line]:
    """Search as the contract says, with no thought of speed."""
    of_bytes = isinstance(pattern.pattern, bytes)
    return [line for line in lines if pattern.search(line.data if of_bytes else line.text)]


kinds = st.sampled_from(["run", "run", "run", "framed", "sent", "note"])


@given(patterns, flags, st.lists(st.tuples(kinds, datas), max_size=30), encodings, st.booleans(), st.data())
def test_it_finds_what_the_plain_search_finds(
    source: str,
    number: int,
    lines: list[tuple[str, bytes]],
    encoding: str | None,
    of_bytes: bool,
    data: st.DataObject,
) -> None:
    """Forwards and backwards, as lines, as numbers and counted, in all of it or a part, masked or not."""
    pattern: re.Pattern[Any] = compiled(source, number)
    if of_bytes:
        try:
            pattern = re.compile(source.encode("iso-8859-1", "ignore"), number)
        except re.error:
            assume(False)
    transcript = filled(lines, encoding)
    if data.draw(st.booleans()):
        transcript.hide(data.draw(st.sampled_from([b"OK", b"k\r\n", "é".encode(), b"x"])))
    everything = list(transcript)
    found = plainly(pattern, everything)
    assert list(transcript.search(pattern)) == found
    assert list(transcript.search(pattern, reverse=True)) == found[::-1]
    assert list(transcript.hits(pattern)) == [line.number for line in found]
    assert list(transcript.hits(pattern, reverse=True)) == [line.number for line in reversed(found)]
    assert transcript.count_hits(pattern) == len(found)
    start, stop = sorted(data.draw(st.integers(0, len(everything) + 2)) for _ in range(2))
    part = plainly(pattern, everything[start:stop])
    assert list(transcript.search(pattern, start=start, stop=stop)) == part
    assert list(transcript.search(pattern, start=start, stop=stop, reverse=True)) == part[::-1]
    assert transcript.count_hits(pattern, start=start, stop=stop) == len(part)


@given(
    st.dictionaries(
        st.integers(0, 200), st.lists(st.sampled_from(["OK", "ok", "É", "\r", " ", "K"]), max_size=6)
    ),
    st.sampled_from(
        ["OK", "(?i)ok", "K OK", r"OK\r", "^OK", "OK$", r"\rK$", "OK.*OK", "É|OK", "OK|NO", "x$"]
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from(["utf-8", "iso-8859-1"]),
)
def test_the_few_lines_that_can_match_are_found_among_many(
    special: dict[int, list[str]], source: str, end: bytes, encoding: str
) -> None:
    """With a needle in few lines or in many, several times in one, and at a line's ends."""
    lines = ["".join(special.get(number, ["xx"])).encode(encoding) for number in range(200)]
    data = end.join((*lines, b""))
    pattern = re.compile(source)
    # Where lines end with LF, a CR before it belongs to the line end, too.
    expected = [number for number, line in enumerate(split_lines(data)) if pattern.search(decode(line, None))]
    assert LineSearch(pattern, None).among(data) == expected


def test_a_note_is_searched_as_the_text_that_it_shows() -> None:
    """Our own text is UTF-8 whatever the encoding of the connection is."""
    transcript = filled([("note", "é".encode()), ("sent", "é".encode())], "iso-8859-1")
    assert list(transcript.hits("é")) == [0]
    assert list(transcript.hits("Ã©")) == [1]


@given(patterns, flags, texts)
def test_every_match_holds_a_needle(source: str, number: int, text: str) -> None:
    """Where the needles are not, no match is: of ASCII text in any case, of other text where case counts."""
    pattern = compiled(source, number)
    needles = needles_of(pattern)
    if needles and pattern.search(text) and (text.isascii() or not number & re.IGNORECASE):
        data = text.encode().lower() if number & re.IGNORECASE else text.encode()
        assert any(needle in data for needle in needles)


@pytest.mark.parametrize(
    ("pattern", "needles"),
    [
        ("login", {b"login"}),
        (r"^\d+ (OK|NO|BAD)\b", {b"OK", b"NO", b"BAD"}),
        (r"^42 (OK|NO|BAD)", {b"42 "}),
        ("error|warning|failed", {b"error", b"warning", b"failed"}),
        (r"\* \d+ FETCH", {b" FETCH"}),
        ("(?i)Login", {b"login"}),
        ("(?i:Login)", set()),
        ("(?:abc)+d", {b"abc"}),
        ("(?:abc)?d", {b"d"}),
        ("(?>abc)d", {b"abcd"}),
        ("ab(?=xy)x", {b"abx"}),
        ("straße", {b"stra"}),
        (b"stra\xdfe", {b"stra\xdfe"}),
        (r"\d+|abc", set()),
        ("[a-z]*", set()),
        ("", set()),
    ],
)
def test_it_knows_what_a_match_must_hold(pattern: str | bytes, needles: set[bytes]) -> None:
    """The longest certain literal, or one of each alternative; nothing where nothing is certain."""
    assert set(needles_of(re.compile(pattern))) == needles


def test_a_needle_is_looked_for_before_lines_are_cut() -> None:
    """A chunk is ruled out as a whole; what is not ASCII is never ruled out where case is ignored."""
    search = LineSearch(re.compile("kelvin", re.IGNORECASE), None)
    assert search.rules_out(b"nothing here\n")
    assert not search.rules_out(b"300 KELVIN\n")
    assert not search.rules_out("300 \u212aelvin\n".encode())
    assert search.among("a\n300 \u212aelvin\r\nkelvi\n".encode()) == [1]
    assert not LineSearch(re.compile("[0-9]"), None).rules_out(b"abc\n")
    assert not LineSearch(re.compile("abc"), "utf-16").rules_out(b"")


def test_where_letters_depend_on_the_system_nothing_is_certain() -> None:
    """A pattern that ignores case by the locale has no needles, and is searched all the same."""
    pattern = re.compile(b"abc", re.LOCALE | re.IGNORECASE)
    assert needles_of(pattern) == ()
    assert LineSearch(pattern, None).among(b"x\nABC\n") == [1]


def test_hits_come_as_they_are_found() -> None:
    """The first hit is there before the rest has been looked at, from either end."""
    transcript = Transcript()
    run = b"needle\r\n" + b"hay\r\n" * 5000
    for _ in range(10):
        view = memoryview(run)
        while view:
            room = transcript.room()
            size = min(len(room), len(view))
            room[:size] = view[:size]
            transcript.commit(size, 0.0)
            view = view[size:]
    forwards = transcript.search("needle")
    assert next(forwards).number == 0
    transcript.append_sent(b"needle", 0.0)
    assert next(forwards).number == 5001
    assert next(transcript.search("needle", reverse=True)).number == 50010
    assert transcript.count_hits("needle", start=5001, stop=5002) == 1


@pytest.mark.parametrize("pattern", ["(", b"[", "a{999999999999}", "(" * 3000 + ")" * 3000, "(?P<1>)"])
def test_what_is_no_regular_expression_is_refused_at_once(pattern: str | bytes) -> None:
    """The error comes when the search is asked for, not when its first hit is."""
    with pytest.raises(SettingsError, match="regular expression"):
        Transcript().search(pattern)
    with pytest.raises(SettingsError):
        Transcript().hits(pattern)
    with pytest.raises(SettingsError):
        Transcript().count_hits(pattern)


def test_only_patterns_are_compiled() -> None:
    """A number is no pattern; what is compiled already stays as it is."""
    with pytest.raises(
        SettingsError, match="a pattern is str, bytes or a compiled regular expression, not int"
    ):
        compile_pattern(3)  # type: ignore[arg-type]
    pattern = re.compile("a", re.IGNORECASE)
    assert compile_pattern(pattern) is pattern
    assert compile_pattern(b"a").pattern == b"a"


def test_what_was_found_can_be_seen_counted_and_indexed() -> None:
    """At a prompt a search shows its lines; it has a length, places and a truth like a list."""
    transcript = Transcript()
    for number in range(30):
        transcript.append_note(f"{number} noted", 0.0)
    found = transcript.search("9 noted")
    assert repr(found) == "<Line 9 * '9 noted'>\n<Line 19 * '19 noted'>\n<Line 29 * '29 noted'>"
    assert (len(found), found[0].number, found[-1].number, bool(found)) == (3, 9, 29, True)
    assert [line.number for line in found[1:]] == [line.number for line in list(found)[1:]] == [19, 29]
    assert next(found).number == 9
    assert next(found).number == 19
    with pytest.raises(IndexError, match="fewer than 4 lines were found"):
        found[3]
    assert repr(transcript.search("noted")).endswith("<Line 19 * '19 noted'>\n…")
    nothing = transcript.search("absent")
    assert (repr(nothing), len(nothing), bool(nothing), list(nothing)) == ("no line was found", 0, False, [])


def test_going_through_what_is_found_keeps_nothing_and_counting_searches_once() -> None:
    """Millions of lines can be gone through without being held; to make a list of them costs one search."""
    searches = []

    def find() -> Iterator[Line]:
        searches.append(1)
        return iter([Line(b"one")])

    found = Found(find)
    assert [line.data for line in found] == [line.data for line in found] == [b"one"]
    assert len(searches) == 2
    assert list(found) == list(found)
    assert len(searches) == 3


@pytest.mark.parametrize("source", ["[[a]b", "[^[a]b", "[--a]b", "[a&&b]", "[a~~b]", "[a||b]", r"[]\]||b]"])
def test_what_compiling_has_warned_of_is_not_warned_of_again(source: str) -> None:
    """Nothing is printed later on, by a thread of ours, about an expression that somebody has compiled."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patterns = [re.compile(source), re.compile(source.encode())]
        caught.clear()
        assert [needles_of(pattern) for pattern in patterns] == [(), ()]
    assert not caught
