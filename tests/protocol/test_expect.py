"""Expectations look at each line once and in order; a match behaves like one of `re`."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.lines.line import Line
from ipyreconnect.lines.search import Pattern, compile_pattern
from ipyreconnect.lines.text import decode
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.mask import MASK
from ipyreconnect.protocol.expect import MANY, Expectation
from ipyreconnect.protocol.match import Match


def receive(transcript: Transcript, data: bytes) -> None:
    room = transcript.room()
    room[: len(data)] = data
    transcript.commit(len(data), 0.0)


def expectation(pattern: Pattern, origin: int = 0) -> Expectation:
    return Expectation(compile_pattern(pattern), origin)


def found(result: tuple[int, bytes, re.Match[Any]] | None) -> tuple[int, Any] | None:
    return None if result is None else (result[0], result[2][0])


def test_it_finds_the_first_line_that_matches() -> None:
    """By number, with the match; what comes behind it is not looked at."""
    waiting = expectation("^1 (OK|NO)")
    assert found(waiting.look(7, [b"* 1 OK", b"1 OK done", b"1 NO"], None)) == (8, "1 OK")
    assert waiting.cursor == 9
    assert waiting.outcome is None


def test_no_line_is_looked_at_twice() -> None:
    """What was passed over stays passed over, also when it is shown again together with what is new."""
    waiting = expectation("OK")
    assert waiting.look(0, [b"a", b"b"], None) is None
    assert waiting.cursor == 2
    assert waiting.look(0, [b"OK", b"OK"], None) is None
    assert found(waiting.look(1, [b"OK", b"OK"], None)) == (2, "OK")
    assert waiting.look(0, [], None) is None
    assert waiting.cursor == 3


def test_it_looks_only_from_where_it_was_armed() -> None:
    """An answer to an earlier question is no answer to this one."""
    waiting = expectation("OK")
    waiting.arm(5)
    assert (waiting.origin, waiting.cursor) == (5, 5)
    assert waiting.look(3, [b"OK", b"OK"], None) is None
    assert waiting.cursor == 5
    assert found(waiting.look(3, [b"OK", b"OK", b"late OK"], None)) == (5, "OK")
    assert expectation("OK", 5).look(4, [b"OK"], None) is None


def test_text_patterns_see_text_and_bytes_patterns_see_bytes() -> None:
    """Text by the encoding, and as ISO-8859-1 where it does not fit."""
    assert found(expectation("é").look(0, ["é".encode()], None)) == (0, "é")
    assert found(expectation("é").look(0, [b"\xe9"], None)) == (0, "é")
    assert expectation("é").look(0, ["é".encode()], "iso-8859-1") is None
    assert found(expectation(b"\xe9").look(0, [b"\xe9"], "utf-8")) == (0, b"\xe9")
    assert found(expectation(re.compile("ok", re.IGNORECASE)).look(0, [b"OK"], None)) == (0, "OK")


@given(
    st.lists(
        st.sampled_from(
            [[b"* 1 FETCH"] * MANY, [b"x"] * 3, [b"1 OK"], [b""], ["1 \u212aO".encode()], [b"\xff"]]
        ),
        max_size=5,
    ),
    st.sampled_from(["^1 OK", "(?i)^1 ko", "FETCH|BYE", "^$", "nothing", "\xff"]),
    st.integers(0, 3 * MANY),
)
def test_a_flood_is_searched_like_single_lines(parts: list[list[bytes]], source: str, start: int) -> None:
    """Passing over many lines at once finds what looking at each finds."""
    lines = [line for part in parts for line in part]
    many, single = expectation(source), expectation(source)
    many.arm(start)
    single.arm(start)
    at_once = found(many.look(0, lines, None))
    one_by_one = None
    for number, line in enumerate(lines):
        one_by_one = found(single.look(number, [line], None))
        if one_by_one:
            break
    assert at_once == one_by_one
    assert many.cursor == single.cursor
    pattern = re.compile(source)
    numbers = [
        number for number, line in enumerate(lines) if number >= start and pattern.search(decode(line, None))
    ]
    assert (at_once and at_once[0]) == (numbers[0] if numbers else None)


def matched(pattern: str | bytes, data: bytes) -> tuple[Match, re.Match[Any]]:
    line = Line(data, number=0)
    inner = compile_pattern(pattern).search(data if isinstance(pattern, bytes) else line.text)
    assert inner is not None
    return Match(line, inner, Transcript(), 0), inner


@pytest.mark.parametrize("pattern", [r"(?P<tag>\w+) (OK|NO)( x)?", rb"(?P<tag>\w+) (OK|NO)( x)?"])
def test_a_match_does_what_a_match_of_re_does(pattern: str | bytes) -> None:
    """Groups by number and name, places, templates: code written for `re` goes on working."""
    match, inner = matched(pattern, "é a1 OK done".encode())
    for group in (0, 1, 2, 3, "tag"):
        assert match[group] == match.group(group) == inner[group]
        assert match.start(group) == inner.start(group)
        assert match.end(group) == inner.end(group)
        assert match.span(group) == inner.span(group)
    assert match.group() == inner.group()
    assert match.group(1, "tag") == inner.group(1, "tag")
    assert match.groups() == inner.groups()
    assert match.groups("none") == inner.groups("none")
    assert match.groupdict(1) == inner.groupdict(1)
    template = r"\g<tag>-\2" if isinstance(pattern, str) else rb"\g<tag>-\2"
    assert match.expand(template) == inner.expand(template)
    for name in ("string", "re", "pos", "endpos", "lastindex", "lastgroup", "regs"):
        assert getattr(match, name) == getattr(inner, name)
    # All of its public face is there.
    assert {name for name in dir(inner) if not name.startswith("_")} <= set(dir(match))
    with pytest.raises(IndexError):
        match[4]


def test_a_match_masks_what_is_hidden() -> None:
    """Groups, templates and the whole text show no secret that the server repeats."""
    transcript = Transcript()
    inner = re.search(r"(?P<who>\w+):(\w+)", "user:hunter2")
    of_bytes = re.search(rb"(\w+)$", b"user:hunter2")
    assert inner is not None
    assert of_bytes is not None
    match = Match(Line(b"user:hunter2"), inner, transcript, 0)
    transcript.hide(b"hunter2")
    assert (match[2], match.group(1, 2)) == ("••••", ("user", "••••"))
    assert match.groups() == ("user", "••••")
    assert match.groupdict() == {"who": "user"}
    assert match.expand(r"\2") == "••••"
    assert match.string == "user:••••"
    assert match.span(2) == (5, 12)
    assert Match(match.line, of_bytes, transcript, 0)[1] == "••••".encode()


def test_a_match_tells_its_line_and_all_lines_since_the_last_send() -> None:
    """The answer and what came before it, without what was sent or noted meanwhile, and no line behind it."""
    transcript = Transcript()
    receive(transcript, b"before\r\n")
    transcript.append_sent(b"1 fetch", 0.0)
    receive(transcript, b"* 1 FETCH\r\n* 2 FETCH\r\n")
    transcript.append_note("the network changed", 0.0)
    receive(transcript, b"1 OK\r\nbehind\r\n")
    inner = re.search("OK", "1 OK")
    assert inner is not None
    match = Match(transcript[5], inner, transcript, 2)
    receive(transcript, b"later\r\n")
    assert match.line == transcript[5]
    assert match.text == "1 OK"
    assert [line.text for line in match.lines] == ["* 1 FETCH", "* 2 FETCH", "1 OK"]
    assert list(match) == match.lines
    assert repr(match) == "<Match '1 OK'>"


def test_lines_of_a_match_that_are_forgotten_are_left_out() -> None:
    """Asked for late, a match gives what is still there, and goes on giving the same."""
    transcript = Transcript(lines=2)
    receive(transcript, b"a\nb\nOK\n")
    inner = re.search("OK", "OK")
    assert inner is not None
    match = Match(transcript[2], inner, transcript, 0)
    assert [line.text for line in match.lines] == ["b", "OK"]
    receive(transcript, b"c\nd\n")
    assert [line.text for line in match.lines] == ["b", "OK"]
    assert Match(match.line, inner, transcript, 0).lines == []


def answered(pattern: Pattern, line: bytes, hide: bytes = b"") -> Match:
    """Return the match of an answer of two lines, the second of which is `line`."""
    transcript = Transcript()
    if hide:
        transcript.hide(hide)
    receive(transcript, b"first\r\n" + line + b"\r\n")
    waiting = expectation(pattern)
    result = waiting.look(0, [b"first", line], None)
    assert result is not None
    number, data, match = result
    return Match((number, data, 1.5), match, transcript, 0)


def everything(match: Match) -> tuple[Any, ...]:
    groups = range(match.re.groups + 1)
    return (
        *(match.line, match.lines, match.text, match.string, match.groups(), match.groups("x")),
        *(match.groupdict(), match.lastindex, match.lastgroup, match.pos, match.endpos, match.regs),
        *([match[number] for number in groups], [match.span(number) for number in groups], list(match)),
        *(match.start(), match.end(), match.group(), match.group(0, 0), repr(match)),
    )


def pickled(match: Match) -> Match:
    again: Match = pickle.loads(pickle.dumps(match))
    return again


@pytest.mark.parametrize("copying", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    ("pattern", "line", "template"),
    [
        (r"^1 (OK|NO) (?P<why>\w+)", "1 OK dóne ever".encode(), r"\1-\g<why>-\g<0>"),
        (rb"(a)(b)?(?P<c>)(.)", b"xac\xff", rb"\1\3\g<c>\4\g<0>"),
        (r"(?<=(x))y(?=(z))", b"xyz", r"[\1\2]"),
        (re.compile("(?i)OK"), b"ok", r"\g<0>!"),
        ("(?P<é>.)", b"a", r"\1"),
    ],
)
def test_a_match_is_copied_as_plain_values(
    copying: Callable[[Match], Match], pattern: Pattern, line: bytes, template: Any
) -> None:
    """In another process, too, it says what it said, when nothing of its transcript is there."""
    match = answered(pattern, line)
    again = copying(match)
    assert everything(again) == everything(match)
    assert again.expand(template) == match.expand(template)
    assert again.re == match.re
    assert pickled(again).lines == match.lines
    for wrong in (again.re.groups + 1, -1, "nothing"):
        with pytest.raises(IndexError, match="no such group"):
            again[wrong]


@pytest.mark.parametrize("pattern", [r"pass (\w+) (?P<x>.)", rb"pass (\w+) (?P<x>.)", r"(.)cre(t)( b)"])
def test_a_copied_match_holds_no_secret(pattern: Pattern) -> None:
    """What is hidden is masked in the pickle, also where a group is a part of it."""
    match = answered(pattern, b"pass secret b", hide=b"secret")
    written = pickle.dumps(match)
    assert b"secret" not in written
    again = pickle.loads(written)
    assert everything(again) == everything(match)
    assert again.expand(r"<\1>" if isinstance(pattern, str) else rb"<\1>") == match.expand(
        r"<\1>" if isinstance(pattern, str) else rb"<\1>"
    )


def test_an_expression_with_a_secret_in_it_stays_behind() -> None:
    """Its groups are kept, with their names, and nothing else of it."""
    match = answered("pass (?P<word>secret)( .)(q)?", b"pass secret b", hide=b"secret")
    written = pickle.dumps(match)
    assert b"secret" not in written
    again = pickle.loads(written)
    assert again.groups() == match.groups() == (MASK, " b", None)
    assert again.groupdict() == {"word": MASK}
    assert "secret" not in again.re.pattern
    assert again.re.groupindex == {"word": 1}
