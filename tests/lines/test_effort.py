"""Tell expressions that are quick for sure from those that may take for ever. Nothing is timed: what is said
to be quick was measured when the rules were written, and is listed here.
"""

from __future__ import annotations

import re

import pytest

from ipyreconnect.lines.effort import is_quick

LINE = "1 OK " + "x" * 75
LONG = "x" * 65_536
HUGE = "x" * 262_144


@pytest.mark.parametrize(
    "pattern",
    [
        "^1 (OK|NO|BAD)",
        "^[2-5][0-9][0-9]( |$)",
        r"^\* (OK|PREAUTH|BYE)\b",
        r"^(\S+) (\d+) (.*)$",
        r"^(?:@\S+ +)?(?::\S+ +)?PING (.*)",
        r"^:\S+ 376 ",
        "PONG",
        "^$",
        "",
        "^.*$",
        "x",
        r"^\$GP(\w+),(\d+\.\d+),([NS])",
        '^{"class":"(TPV|SKY)"',
    ],
)
def test_everyday_expressions_are_quick_for_a_very_long_line(pattern: str) -> None:
    """Those are looked for where the line comes, without a process: in 256 KiB too."""
    assert is_quick(re.compile(pattern), HUGE)
    assert is_quick(re.compile(pattern.encode()), HUGE.encode())


@pytest.mark.parametrize(
    "pattern", [r"\w+@\w+", "ready.*done", r"(\d+)\.(\d+)", "(?i)error.*", r"v\d=1[0-4]\.\d+ ", r"\bOK\b.*\d"]
)
def test_a_line_of_usual_length_is_quick_for_nearly_all(pattern: str) -> None:
    """What takes the square of the length takes a moment for a line, and for ever for a value."""
    assert is_quick(re.compile(pattern), LINE)


@pytest.mark.parametrize("pattern", [r"\w+@\w+", r"(\w+)\s*=\s*\w+;", "a.*b.*c", "(x|y)*z", ".*foo"])
def test_the_square_of_a_long_line_is_too_much(pattern: str) -> None:
    """They are tried from each place, and go on to the end from there."""
    assert not is_quick(re.compile(pattern), "a" + LONG)


def test_what_begins_with_a_text_is_tried_where_that_stands() -> None:
    """So that it is quick in a long line in which the text stands a few times."""
    pattern = re.compile(r'"temperature": (\d+)')
    assert is_quick(pattern, LONG + '"temperature": 12')
    assert not is_quick(pattern, '"temperature": 1' * 10_000)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", r"(\w+ ?)+:", "(a|ab)*(b|ab)*c", r"(?:a?){30}x", r"(.*)(.*)\1\2!", r"(\s*\w*)*;"]
)
def test_what_may_take_for_ever_is_quick_nowhere(pattern: str) -> None:
    """Forty letters are enough for some."""
    assert not is_quick(re.compile(pattern), "a" * 4000)


@pytest.mark.parametrize(
    "pattern", [r"^(?:[^,]*,)*x", r"^(?:\S+ )*OK", r"^(?:\d{1,3}\.){3}\d{1,3}$", r"^(?:[a-z]+=\d+;)+$"]
)
def test_a_loop_in_a_loop_is_quick_where_there_is_one_way_only(pattern: str) -> None:
    """Each time around ends at one place, which its separator shows."""
    assert is_quick(re.compile(pattern), LONG)


def test_case_is_no_difference_where_it_does_not_count() -> None:
    """`(?i)k` is found in the Kelvin sign too, so that a repeat of what is not ASCII may meet it."""
    assert is_quick(re.compile(r"^[^a-z]*a"), LONG)
    assert is_quick(re.compile(r"^[0-9]*k"), LONG)
    assert is_quick(re.compile(r"(?i)^[0-9]*k"), LONG)
