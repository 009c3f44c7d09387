"""Searching a whole transcript: the same hits as looking at each line, also while it grows and forgets."""

from __future__ import annotations

import re
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.errors import SettingsError
from ipyreconnect.jupyter.panel.finder import PIECE, Finder, Query
from ipyreconnect.lines.transcript import Transcript


def receive(transcript: Transcript, data: bytes) -> None:
    while data:
        room = transcript.room()
        size = min(len(room), len(data))
        room[:size] = data[:size]
        transcript.commit(size, 0.0)
        data = data[size:]


def hits(finder: Finder) -> list[int]:
    while finder.advance():
        pass
    return [line.number for line in finder.window(0, finder.end)[1]]


def find(transcript: Transcript, query: Query) -> list[int]:
    with closing(Finder(transcript, query)) as finder:
        return hits(finder)


@given(
    st.lists(
        st.tuples(st.sampled_from("<>*"), st.text(st.sampled_from("aAbß é\u212a.*"), max_size=6)), max_size=30
    ),
    st.text(st.sampled_from("aAbß é\u212a.*"), min_size=1, max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_it_finds_what_a_look_at_each_line_finds(
    lines: list[tuple[str, str]], text: str, regex: bool, case: bool
) -> None:
    """Received, sent and noted, plain or by regular expression: the quick way and the plain way agree."""
    transcript = Transcript()
    for direction, line in lines:
        if direction == "<":
            receive(transcript, line.encode() + b"\r\n")
        elif direction == ">":
            transcript.append_sent(line.encode(), 0.0)
        else:
            transcript.append_note(line, 0.0)
    query = Query(text, regex, case)
    try:
        pattern = query.compile()
    except SettingsError:
        return
    assert find(transcript, query) == [line.number for line in transcript if pattern.search(line.text)]


def test_a_line_that_is_not_utf_8_is_searched_as_it_is_shown() -> None:
    """One such line among others hides none of them."""
    transcript = Transcript()
    receive(transcript, b"caf\xe9 one\r\ncaf\xc3\xa9 two\r\ntea\r\n")
    assert find(transcript, Query("café")) == [0, 1]


def test_a_hit_does_not_reach_over_the_end_of_its_line() -> None:
    """What stands in two lines is in neither."""
    transcript = Transcript()
    receive(transcript, b"one\r\ntwo\r\n")
    assert find(transcript, Query("one\ntwo")) == []
    assert find(transcript, Query(r"one\s+two", regex=True)) == []


def test_it_goes_on_where_it_was_when_lines_come() -> None:
    """Hits keep their ordinals; only what is new is looked at."""
    transcript = Transcript()
    receive(transcript, b"a\r\nb\r\na\r\n")
    finder = Finder(transcript, Query("a"))
    assert hits(finder) == [0, 2]
    receive(transcript, b"b\r\na\r\n")
    assert finder.behind == 2
    assert hits(finder) == [0, 2, 4]


def test_it_looks_at_a_piece_at_a_time() -> None:
    """Nobody waits long for the interpreter lock because somebody searches."""
    transcript = Transcript()
    receive(transcript, b"x\r\n" * (PIECE + 5))
    finder = Finder(transcript, Query("x"))
    assert finder.advance()
    assert finder.scanned == PIECE
    assert not finder.advance()
    assert finder.end == PIECE + 5


def test_hits_that_are_forgotten_lose_their_lines_and_not_their_ordinals() -> None:
    """A transcript that is full forgets; what is left keeps its place."""
    transcript = Transcript(lines=100)
    receive(transcript, b"".join(b"%d\r\n" % number for number in range(100)))
    with closing(Finder(transcript, Query("5$", regex=True))) as finder:
        assert hits(finder) == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
        receive(transcript, b"".join(b"%d\r\n" % number for number in range(100, 130)))
        assert hits(finder) == [35, 45, 55, 65, 75, 85, 95, 105, 115, 125]
        assert (finder.first, finder.end) == (3, 13)
        assert finder.window(0, 5) == (3, [transcript[35], transcript[45]])


def test_steps_go_to_the_neighbours_and_end_at_the_ends() -> None:
    """From any line to the next hit or the one before, with its ordinal."""
    transcript = Transcript()
    receive(transcript, b"a\r\nb\r\na\r\nb\r\na\r\n")
    finder = Finder(transcript, Query("a"))
    hits(finder)
    assert finder.near(-1, 1) == (0, 0)
    assert finder.near(0, 1) == (1, 2)
    assert finder.near(3, -1) == (1, 2)
    assert finder.near(4, 1) is None
    assert finder.near(0, -1) is None


def test_a_bad_regular_expression_says_what_is_wrong() -> None:
    """One line, for the user."""
    with pytest.raises(SettingsError, match="not a regular expression: missing \\), unterminated subpattern"):
        Finder(Transcript(), Query("(", regex=True))
    assert re.escape("(") == "\\("  # and as plain text it is none
    assert hits(Finder(Transcript(), Query("("))) == []


def test_an_expression_that_python_warns_of_is_searched_in_silence() -> None:
    """A warning would be printed into whatever cell ran last."""
    transcript = Transcript()
    receive(transcript, b"[b\r\nab\r\nb\r\n")
    assert find(transcript, Query("[[a]b", regex=True)) == [0, 1]


ENDLESS = Query("(a+)+$", regex=True)
"""Over one line of forty letters Python's engine would take some hours."""


def test_an_expression_that_would_take_for_ever_is_given_up() -> None:
    """It says where, and that it was the expression; the lines before have been searched."""
    transcript = Transcript()
    receive(transcript, b"a\r\n" * PIECE + b"a" * 40 + b"b\r\n")
    with closing(Finder(transcript, ENDLESS, patience=0.5)) as finder:
        assert finder.advance()
        with pytest.raises(SettingsError, match=r"^given up: .* more than 0\.5 s .* from 10,000 to 10,001;"):
            finder.advance()
        assert finder.end == PIECE


def test_a_search_can_be_ended_in_the_middle_of_a_line() -> None:
    """At once, from another thread: the interpreter is never held, whatever the expression does."""
    transcript = Transcript()
    receive(transcript, b"a" * 40 + b"b\r\n")
    finder = Finder(transcript, ENDLESS, patience=60.0)
    ended = threading.Event()

    def search() -> None:
        with pytest.raises(SettingsError):
            finder.advance()
        ended.set()

    thread = threading.Thread(target=search)
    thread.start()
    assert not ended.wait(0.3)
    finder.close()
    assert ended.wait(10)
    thread.join()
    with pytest.raises(SettingsError):
        finder.advance()


@pytest.mark.parametrize("regex", [False, True])
def test_what_is_hidden_is_not_found(regex: bool) -> None:
    """A search tells nothing that the log does not show."""
    transcript = Transcript()
    transcript.hide(b"wonderland")
    receive(transcript, b"* you said wonderland\r\n* you said hello\r\n")
    transcript.append_sent(b"login alice wonderland", 0.0)
    assert find(transcript, Query("wonder", regex)) == []
    assert find(transcript, Query("••••", regex)) == [0, 2]
