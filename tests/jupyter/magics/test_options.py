"""What a magic takes off its line, and what it leaves byte for byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from ipyreconnect.jupyter.magics.options import parse, suggest, value_in_need_of_quotes
from ipyreconnect.jupyter.magics.table import (
    CONNECT,
    EXPECT,
    HEARTBEAT,
    KEEPALIVE,
    PANEL,
    SEND,
    STOP,
    Magic,
)


def refusal(magic: Magic, line: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(magic, line)
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- texts kept as typed --


@pytest.mark.parametrize(
    "text",
    [
        "1 capability",
        "a1 LOGIN  two  blanks",
        "a {310}",
        "a $HOME {x} {{y}}",
        "-1",
        "-ERR no",
        "- dash",
        "-",
        "---",
        "--- a/file",
        "--1",
        "x --expect OK",
        "x -c name",
        "\"quoted\" 'text'",
        "tab\tinside\t",
        " begins with a blank",
        "   ",
        "",
        "-x",
        "-C NAME",
        "back\\slash \\n",
        "ends with a blank ",
        "Grüße 🦆 \x1b[2J \x00",
    ],
)
def test_a_text_is_kept_byte_for_byte(text: str) -> None:
    """What is typed after `%send ` is the text, whatever it looks like."""
    parsed = parse(SEND, text)
    assert parsed.rest == text
    assert parsed.values == {}


@given(st.text(alphabet=st.characters(exclude_characters="\r\n")))
def test_any_text_behind_two_dashes_is_kept(text: str) -> None:
    """`--` ends the options: everything after the one blank behind it is the text."""
    assert parse(SEND, "-- " + text).rest == text
    assert parse(SEND, "--queue -c imap --timeout=5 -- " + text).rest == text


@given(st.text(alphabet=st.characters(exclude_characters="\r\n")))
def test_any_text_behind_options_is_kept(text: str) -> None:
    """Options in front take nothing away from a text that does not itself begin like one."""
    if text.lstrip(" \t").startswith("-"):
        text = "x" + text
    assert parse(SEND, "--queue -c imap " + text).rest == text


def test_one_blank_separates_and_further_blanks_are_text() -> None:
    """Runs of blanks are payload: only one belongs to the magic."""
    assert parse(SEND, "--queue   x").rest == "  x"
    assert parse(SEND, "--   x").rest == "  x"
    assert parse(SEND, "--").rest == ""
    assert parse(SEND, "--queue").rest == ""
    assert parse(SEND, "--queue --").rest == ""


# -- values --


@pytest.mark.parametrize(
    ("line", "value", "rest"),
    [
        ("--expect ^1 x", "^1", "x"),
        ("--expect=^1 x", "^1", "x"),
        ('--expect "^1 (OK|NO)" 1 noop', "^1 (OK|NO)", "1 noop"),
        ("--expect '^1 (OK|NO)' 1 noop", "^1 (OK|NO)", "1 noop"),
        ('--expect="^1 OK" 1 noop', "^1 OK", "1 noop"),
        ("--expect '\"' x", '"', "x"),
        ('--expect "a"b c" x', 'a"b c', "x"),
        ('--expect a"b x', 'a"b', "x"),
        (r"--expect \d+\s x", r"\d+\s", "x"),
        (r"--expect '\d+ \"' x", r"\d+ \"", "x"),
        ("--expect a=b x", "a=b", "x"),
        ("--expect -5 x", "-5", "x"),
        ("--expect=--queue x", "--queue", "x"),
        ("--expect '' x", "", "x"),
        ("\t--expect\t^1\tx", "^1", "x"),
    ],
)
def test_values_are_plain_or_quoted(line: str, value: str, rest: str) -> None:
    """A value ends at a blank, or at its closing quote; backslashes mean nothing special."""
    parsed = parse(SEND, line)
    assert parsed.get("--expect") == value
    assert parsed.rest == rest


def test_numbers_are_read_or_refused() -> None:
    """Seconds, factors and counts say what they accept."""
    parsed = parse(CONNECT, "h:1 --wait 0.5 --retry 3s --retry-factor 1.5 --attempts 7")
    assert parsed.seconds("--wait") == 0.5
    assert parsed.seconds("--retry") == 3.0
    assert parsed.number("--retry-factor") == 1.5
    assert parsed.count("--attempts") == 7
    assert parsed.seconds("--retry-max") is None
    for bad in ("soon", "-1", "nan", "inf", "1e999", ""):
        with pytest.raises(UsageError, match="give a number of seconds"):
            parse(CONNECT, f"h:1 --wait='{bad}'").seconds("--wait")
    for bad in ("0", "-2", "x"):
        with pytest.raises(UsageError, match="above 0"):
            parse(CONNECT, f"h:1 --retry-factor {bad}").number("--retry-factor")
    for bad in ("0", "1.5", "many", "9" * 5000):
        with pytest.raises(UsageError, match="whole number from 1"):
            parse(CONNECT, f"h:1 --attempts {bad}").count("--attempts")


# -- options anywhere --


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("imaps://host", "imaps://host"),
        ("  host:993  ", "host:993"),
        ("host 993", "host 993"),
        ("host 993 --ticks", "host 993"),
        ("--ticks host 993", "host 993"),
        ("host --ticks 993", "host 993"),
        ("--name x host:993 --ticks", "host:993"),
        ("host:993 --reply 'a b=c d'", "host:993"),
        ("--ticks -- unix:///a  b", "unix:///a  b"),
        ("unix:///a  b --ticks", "unix:///a  b"),
        ("", ""),
        ("--ticks", ""),
    ],
)
def test_an_address_may_stand_before_or_behind_its_options(line: str, rest: str) -> None:
    """`%connect`'s options stand on either side of the address."""
    assert parse(CONNECT, line).rest == rest


def test_replies_can_be_given_again_and_keep_their_order() -> None:
    """--reply adds up; nothing else does."""
    parsed = parse(CONNECT, "h:1 --reply a=b --reply 'c d=e f'")
    assert parsed.all("--reply") == ("a=b", "c d=e f")
    assert parse(CONNECT, "h:1").all("--reply") == ()


def test_expect_takes_options_in_front_and_behind() -> None:
    """`%expect REGEX --timeout S`, as the help shows it, and the other way round."""
    for line in ("^1 OK --timeout 5", "--timeout 5 ^1 OK", "^1 OK --timeout=5", "^1 OK --timeout '5'"):
        parsed = parse(EXPECT, line)
        assert (parsed.rest, parsed.seconds("--timeout")) == ("^1 OK", 5.0)
    parsed = parse(EXPECT, "a  b -c imap --timeout 5")
    assert (parsed.rest, parsed.get("-c"), parsed.get("--timeout")) == ("a  b", "imap", "5")
    assert parse(EXPECT, "-- a --timeout 5").rest == "a --timeout 5"
    assert parse(EXPECT, "a -x").rest == "a -x"
    assert parse(EXPECT, "a - b").rest == "a - b"


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ('"^211 "', "^211 "),
        ("'^211 '", "^211 "),
        ('"^211 " --timeout 5', "^211 "),
        ('--timeout 5 "^211 "', "^211 "),
        ('-c x "a  b" --timeout=5', "a  b"),
        ("'say \"a\"'", 'say "a"'),
        ('"--timeout 5"', "--timeout 5"),
        ('"id": 5', '"id": 5'),
        ('"a" "b"', '"a" "b"'),
        ('"OK" or "NO" --timeout 5', '"OK" or "NO"'),
        ('"^211', '"^211'),
        ("it's", "it's"),
        ('-- "a"', '"a"'),
        ("a -- b", "a -- b"),
        ("x -c y z", "x -c y z"),
        ('""', ""),
    ],
)
def test_a_pattern_stands_bare_or_in_quotes_as_a_whole(line: str, pattern: str) -> None:
    """`%expect "…"` is read as `%send --expect "…"` is; quotes within a pattern belong to it."""
    assert parse(EXPECT, line).rest == pattern


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "localhost:4000 --heartbeat a noop",
            "--heartbeat a noop: .* quoted as a whole: --heartbeat 'a noop'",
        ),
        ("--heartbeat a noop localhost:4000", "--heartbeat 'a noop'"),
        ("--heartbeat a noop twice imap://h --ticks", "--heartbeat 'a noop twice'"),
        ("h 4000 --heartbeat it's me", '--heartbeat "it\'s me"'),
        ("h:1 --server-name=my box --ticks", "--server-name 'my box'"),
    ],
)
def test_a_value_with_blanks_that_was_not_quoted_is_told(line: str, words: str) -> None:
    """The words behind it, which were taken for a part of the address, are shown where they belong."""
    parsed = parse(CONNECT, line)
    assert not fits(parsed.rest)
    advice = value_in_need_of_quotes(parsed, fits)
    assert advice is not None
    assert re.search(words, advice)


@pytest.mark.parametrize(
    "line", ["bad/host --ticks", "bad host x", "--name x bad/host", "--name 'x' bad y z"]
)
def test_no_quotes_are_advised_where_they_would_not_help(line: str) -> None:
    """What is wrong with the address itself is told instead."""
    assert value_in_need_of_quotes(parse(CONNECT, line), fits) is None


def fits(text: str) -> bool:
    """Whether a text is an address, roughly."""
    return re.fullmatch(r"\w+:\d+|\w+ \d+|\w+://\w+", text) is not None


# -- mistakes --


@pytest.mark.parametrize(
    ("magic", "line", "words"),
    [
        (SEND, "--exepct OK x", ["no option --exepct", "did you mean --expect?", "%send -- --exepct"]),
        (SEND, "--frob x", ["no option --frob", "it has", "--queue"]),
        (SEND, "--expect", ["--expect needs a value", "REGEX"]),
        (SEND, "--expect --queue x", ["--expect needs a value"]),
        (SEND, "--expect --queue=1 x", ["--expect needs a value"]),
        (SEND, "-c", ["-c needs a value", "NAME"]),
        (SEND, "-c= x", ["-c needs a value"]),
        (SEND, '--expect "OK x', ["--expect: the quote", "not closed"]),
        (SEND, "--queue=yes x", ["--queue takes no value", "'=yes'"]),
        (SEND, "--queue --queue x", ["--queue is given twice"]),
        (CONNECT, "h:1 --keepaliv 5/3/3", ["%connect has no option --keepaliv", "--keepalive"]),
        (CONNECT, "--help", ["%connect? shows its help"]),
        (SEND, "--help", ["%send? shows its help"]),
        (CONNECT, "h:1 -v", ["%connect has no option -v"]),
        (CONNECT, "h:1 --keepalive --ticks", ["--keepalive needs a value", "I/I/C|off"]),
        (EXPECT, "OK --timout 5", ["no option --timout", "did you mean --timeout?", "%expect -- --timout"]),
        (EXPECT, "OK --timeout", ["--timeout needs a value"]),
        (EXPECT, "OK --nonsense", ["no option --nonsense"]),
        (EXPECT, "OK --nonsense at all", ["no option --nonsense"]),
        (EXPECT, '"OK" --nonsense', ["no option --nonsense"]),
        (EXPECT, '"OK" --timeout', ["--timeout needs a value"]),
        (EXPECT, "OK --timeout 5 NO", ["--timeout stands in the middle of the text", "quote"]),
        (EXPECT, "--timeout 3 OK --timeout 5", ["--timeout is given twice"]),
        (STOP, "--al", ["no option --al", "did you mean --all?"]),
        (KEEPALIVE, "--name x", ["%keepalive has no option --name"]),
        (
            HEARTBEAT,
            "--evry 5 x",
            ["no option --evry", "did you mean --every?", "send it as text: %heartbeat --"],
        ),
        (HEARTBEAT, "--every --unanswered x", ["--every needs a value"]),
        (HEARTBEAT, "--unanswered=no x", ["--unanswered takes no value"]),
        (PANEL, "--name x", ["%panel has no option --name", "it has -c"]),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(magic: Magic, line: str, words: list[str]) -> None:
    """Unknown, misspelt, unfinished and doubled options are refused, and the near one is suggested."""
    text = refusal(magic, line)
    for word in words:
        assert word in text


def test_only_near_words_are_suggested() -> None:
    """A suggestion that has nothing to do with the word would only mislead."""
    assert suggest("imap.exmple", ["imap.example", "smtp"]) == "imap.example"
    assert suggest("zzz", ["imap.example", "smtp"]) is None
