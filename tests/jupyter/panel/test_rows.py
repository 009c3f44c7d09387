"""What leaves the kernel of a line: bounded and harmless."""

from __future__ import annotations

import struct
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.jupyter.panel.rows import ROW_CHARS, encode_rows, spell_out
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.line import Line


def test_control_characters_are_written_out_and_a_tab_stays_a_tab_too() -> None:
    """ESC is three letters, so that no terminal, browser or reader is led astray."""
    assert spell_out("a\x1b[2J\x00b\tc\u202ed") == "a\x01ESC\x02[2J\x01NUL\x02b\x01⇥\x02\tc\x01U+202E\x02d"


def test_scripts_and_emoji_keep_their_joiners() -> None:
    """Only what hides or turns text is written out."""
    assert spell_out("नमस्ते क्‍ष 👩‍🔧 é") == "नमस्ते क्‍ष 👩‍🔧 é"


def test_every_format_character_is_written_out() -> None:
    """What draws nothing hides nothing, such as a text in tags, which are ASCII over again, unseen."""
    kept = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    formats = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    assert {code for code in formats if chr(code) in spell_out(chr(code))} <= kept
    assert spell_out("pay \U000e0041") == "pay \x01U+E0041\x02"


@given(st.text())
def test_no_text_gets_a_raw_control_character_or_a_second_line_into_a_row(text: str) -> None:
    """Whatever a server sends: the only controls that travel are our own brackets and the tab."""
    rest = spell_out(text).replace("\x01", "").replace("\x02", "").replace("\t", "")
    assert not any(unicodedata.category(character) == "Cc" for character in rest)
    assert not {"\u2028", "\u2029", "\u202e", "\ufeff"} & set(rest)


def test_rows_say_all_that_is_shown_of_a_line() -> None:
    """Number, time, direction, delivery, fragment, and the time of the line before."""
    lines = [
        Line(b"* OK", 10.5, "<", 7),
        Line(b"a1 NOOP", 11.0, ">", 8, delivery=Delivery(b"a1 NOOP")),
        Line(b"half a li", 12.0, "<", 9, truncated=True),
        Line(b"closed", 13.0, "*", 10),
    ]
    content, (texts, times) = encode_rows(lines, 1000, before=9.0)
    assert content == {
        "a": 7, "n": 4, "dir": "<><*", "mark": "-q--", "part": [2], "cut": {}, "before": 9.0
    }  # fmt: skip
    assert texts.decode().split("\n") == ["* OK", "a1 NOOP", "half a li", "closed"]
    assert struct.unpack("4d", times) == (10.5, 11.0, 12.0, 13.0)


def test_a_long_line_is_cut_and_says_how_much_is_missing() -> None:
    """One row of a line of a megabyte is no megabyte."""
    content, (texts, _) = encode_rows([Line(b"x" * 1_000_000)], 64 * 1024)
    assert content["cut"] == {0: 1_000_000 - ROW_CHARS}
    assert len(texts) == ROW_CHARS


def test_many_long_lines_share_what_one_message_may_have() -> None:
    """A window is bounded, however long its lines are."""
    _, (texts, _) = encode_rows([Line(b"x" * 5000) for _ in range(500)], 64 * 1024)
    assert len(texts) < 70_000


def test_no_lines_make_an_empty_window() -> None:
    """A window that was forgotten meanwhile is no error."""
    content, (texts, times) = encode_rows([], 1000)
    assert (content["n"], texts, times) == (0, b"", b"")
