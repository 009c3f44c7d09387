"""Prove what an on-connect script means, and how it goes on, ends and fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.errors import ScriptFailed, SettingsError
from ipyreconnect.mask import MASK
from ipyreconnect.protocol.script import Expect, ScriptRun, Send, parse_script


def told(text: str) -> list[tuple[int, bytes] | tuple[int, str]]:
    """Return the steps as numbers with bytes to send or patterns to wait for."""
    return [
        (step.number, step.data) if isinstance(step, Send) else (step.number, step.pattern.pattern)
        for step in parse_script(text)
    ]


def test_each_kind_of_line_means_what_the_contract_says() -> None:
    """Lines are sent, ``<`` waits, ``>`` sends verbatim, ``#`` and blank lines mean nothing."""
    script = "# log in\n< ^\\* OK\n\n1 login a b\n   \n> # < >\n<^1 (OK|NO)\n> \n>x\n>  y \n"
    assert told(script) == [
        (2, r"^\* OK"),
        (4, b"1 login a b"),
        (6, b"# < >"),
        (7, "^1 (OK|NO)"),
        (8, b""),
        (9, b"x"),
        (10, b" y "),
    ]


def test_a_line_is_sent_as_it_stands() -> None:
    """Quotes, braces, backslashes and blanks are the user's; any system's line breaks part lines."""
    assert told("a {b} $c \\d 'e'  \r\nf\rg\th\u2028i\n") == [
        (1, b"a {b} $c \\d 'e'  "),
        (2, b"f"),
        (3, "g\th\u2028i".encode()),
    ]


def test_the_indentation_of_the_whole_is_not_sent() -> None:
    """A script may be indented as a whole, as in a function; deeper indentation of a line to send is kept."""
    assert told("""
        < OK
        a
          b
          < c
          # d
    """) == [(2, "OK"), (3, b"a"), (4, b"  b"), (5, "c")]


def test_a_blank_at_an_end_of_a_pattern_is_no_trap() -> None:
    """Blanks that nobody sees are dropped from a pattern, one that is written as such is kept."""
    assert told("< OK  \n< \\+\\ \n<\t^OK\n<   ^OK\n< \\ OK") == [
        (1, "OK"),
        (2, r"\+\ "),
        (3, "^OK"),
        (4, "^OK"),
        (5, r"\ OK"),
    ]


@pytest.mark.parametrize("script", ["", "\n\n", "# nothing\n  # at all"])
def test_a_script_may_be_empty(script: str) -> None:
    """Nothing to do is done at once."""
    assert parse_script(script) == ()
    run = ScriptRun((), 10.0)
    assert run.start(0.0) == []
    assert run.done
    assert run.deadline is None
    assert run.awaiting is None


@pytest.mark.parametrize(
    ("script", "encoding", "words"),
    [
        ("a\n< (OK", None, ["line 2", "'(OK'", "no regular expression", "> <"]),
        ("\n\n<", None, ["line 3", "'> <'"]),
        ("a\n< ", None, ["line 2"]),
        ("zażółć", "iso-8859-1", ["line 1", "cannot be sent as iso-8859-1"]),
        ("a\n> \ud800", None, ["line 2", "cannot be sent as utf-8"]),
        (b"a", None, ["must be text, not bytes"]),
    ],
)
def test_a_wrong_script_is_refused_with_its_line(script: str, encoding: str | None, words: list[str]) -> None:
    """What cannot work is refused before anything starts, in one line that says where."""
    with pytest.raises(SettingsError) as caught:
        parse_script(script, encoding=encoding)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_lines_are_encoded() -> None:
    """The encoding of the connection is that of its script."""
    (step,) = parse_script("größe", encoding="iso-8859-1")
    assert isinstance(step, Send)
    assert step.data == step.shown == b"gr\xf6\xdfe"


def filled(text: str) -> tuple[str, str]:
    """Fill in a password that looks like another kind of step."""
    return text.replace("{{p}}", "< s3cret #"), text.replace("{{p}}", MASK)


def test_what_is_filled_in_is_sent_and_never_shown() -> None:
    """A secret makes neither another step nor another line, and no repr shows it."""
    login, late = parse_script("{{p}}\n< {{p}}", fill=filled)
    assert isinstance(login, Send)
    assert isinstance(late, Expect)
    assert (login.data, login.shown) == (b"< s3cret #", MASK.encode())
    run = ScriptRun((login, late), 1.0)
    run.start(0.0)
    run.due(1.0)
    for text in (repr(login), repr(late), str(run.error)):
        assert "s3cret" not in text
    with pytest.raises(SettingsError, match=r"line 2: .* line break") as caught:
        parse_script("# a\nb", fill=lambda text: (text + "\r\nDELE 1", text))
    assert "DELE" not in str(caught.value)


def lines(steps: list[Send]) -> list[bytes]:
    return [step.data for step in steps]


LOGIN = parse_script("< ^\\* OK\n1 login a b\n2 select inbox\n< ^1 OK\n< ^2 OK\n3 idle")


def test_a_script_goes_on_as_lines_come() -> None:
    """Each awaited line brings what follows it, up to the next one that is awaited."""
    run = ScriptRun(LOGIN, 30.0)
    assert run.start(100.0) == []
    assert (run.deadline, run.done) == (130.0, False)
    assert run.line("something else", 101.0) == []
    assert run.deadline == 130.0
    assert lines(run.line("* OK ready", 102.0)) == [b"1 login a b", b"2 select inbox"]
    assert run.deadline == 132.0
    assert run.line("1 OK logged in", 103.0) == []
    assert run.awaiting is not None
    assert run.awaiting.number == 5
    assert run.due(132.9) == []
    assert run.error is None
    assert lines(run.line("2 OK selected", 104.0)) == [b"3 idle"]
    assert run.done
    assert run.deadline is None
    assert run.error is None
    assert run.line("more", 105.0) == []
    assert run.due(1000.0) == []
    assert run.done


def test_a_late_line_fails_the_script() -> None:
    """At the deadline the script has failed, not before, and says where, for what, and what came."""
    run = ScriptRun(LOGIN, 30.0)
    run.start(0.0)
    run.line("* OK ready", 1.0)
    for text in ("* a", "* b", "1 NO " + "x" * 200, "\x1b[2J"):
        run.line(text, 2.0)
    run.due(30.999)
    assert run.error is None
    run.due(31.0)
    assert isinstance(run.error, ScriptFailed)
    text = str(run.error)
    assert text.startswith("on-connect script, line 4, waiting for '^1 OK': no such line came within 30 s; ")
    assert text.endswith(r"the last lines were '* b', '1 NO " + "x" * 75 + r"', '\x1b[2J'")
    assert text.isprintable()
    assert not run.done
    assert run.line("1 OK", 32.0) == []
    assert (run.done, run.deadline) == (False, None)


def test_silence_is_told_as_such() -> None:
    """Where nothing came, that is what the error says."""
    run = ScriptRun(LOGIN, 5.0)
    run.start(0.0)
    run.due(5.0)
    assert str(run.error).endswith("within 5 s; no line came at all")


def test_a_lost_connection_fails_the_script_with_its_reason() -> None:
    """What ends the connection in the middle is told together with where the script was."""
    run = ScriptRun(LOGIN, 5.0)
    run.start(0.0)
    run.line("* BYE", 1.0)
    error = run.fail("closed by 127.0.0.1:143")
    assert error is run.error
    assert str(error).endswith(
        r"line 1, waiting for '^\\* OK': closed by 127.0.0.1:143; the last line was '* BYE'"
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # what re says about "[[" is for the author of a pattern
@given(st.text(), st.lists(st.text()))
def test_any_text_is_a_script_or_refused(text: str, received: list[str]) -> None:
    """No script and no line breaks anything; what is to be sent never holds a line break."""
    try:
        steps = parse_script(text)
    except SettingsError:
        return
    run = ScriptRun(steps, 1.0)
    sent = run.start(0.0)
    for number, line in enumerate(received):
        sent += run.line(line, float(number))
    assert [step.number for step in sent] == sorted(step.number for step in sent)
    assert not any(b"\n" in step.data or b"\r" in step.data for step in sent)
    assert run.done == (run.awaiting is None)
