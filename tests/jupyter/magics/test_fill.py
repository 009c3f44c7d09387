"""What --fill puts in, and what it keeps secret."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import StdinNotImplementedError, UsageError

from ipyreconnect.jupyter.magics.fill import Filler, bytes_of, script_line_of, secrets_of, text_of
from ipyreconnect.secret import Secret

SPACE = {"user": "me", "port": 993, "pw": Secret("hunter2"), "two": "a\nb", "raw": Secret(b"\xff"), "obj": []}


def nobody(prompt: str) -> str:
    raise AssertionError(f"asked for {prompt}")


def filled(template: str) -> str:
    return text_of(Filler(SPACE, nobody).fill(template))


def test_variables_are_put_in() -> None:
    """`{{name}}` is the variable's value; everything else stays as it is."""
    assert filled("1 LOGIN {{user}} {{ pw }}") == "1 LOGIN me hunter2"
    assert filled("{{port}}") == "993"
    assert filled("a {310} $user {user} }} {{") == "a {310} $user {user} }} {{"
    assert filled("") == ""


@given(st.text().filter(lambda text: "{{" not in text))
def test_a_text_without_fields_is_untouched(text: str) -> None:
    """--fill changes nothing but its fields."""
    assert filled(text) == text


def test_any_number_is_put_in() -> None:
    """What is registered as a number, as numpy's are too, is as good as an int."""
    space = {"price": Decimal("1.50"), "part": Fraction(1, 3)}
    assert text_of(Filler(space, nobody).fill("{{price}} {{part}}")) == "1.50 1/3"


def test_a_prompt_is_asked_once_and_is_secret() -> None:
    """`{{?Prompt}}` asks without echo; the same prompt in one cell is one question."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return f"answer {len(asked)}"

    filler = Filler(SPACE, ask)
    first, second = filler.fill("a {{?Password}} b"), filler.fill("{{?Password}} {{?}}")
    assert text_of(first) == "a answer 1 b"
    assert text_of(second) == "answer 1 answer 2"
    assert asked == ["Password", "Secret"]
    assert secrets_of(first, "utf-8") == [Secret("answer 1")]
    assert "answer" not in repr(first)


def test_only_secrets_are_secret() -> None:
    """A plain variable shows; a Secret does not, in whatever encoding it is sent."""
    pieces = Filler({"user": "me", "pw": Secret("pässword")}, nobody).fill("{{user}} {{pw}}")
    assert secrets_of(pieces, "iso-8859-1") == [Secret("pässword".encode("iso-8859-1"))]
    assert "ssword" not in repr(pieces)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{nobody}}", "no variable named 'nobody'"),
        ("{{usr}}", "did you mean user?"),
        ("{{a b}}", "takes {{name}} and {{?Prompt}}, not {{a b}}"),
        ("{{}}", "not {{}}"),
        ("{{two}}", "'two' has a line break"),
        ("{{raw}}", "not text in UTF-8"),
        ("{{obj}}", "'obj' is list"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(template: str, words: str) -> None:
    """Each mistake says what to do, and never shows a value."""
    with pytest.raises(UsageError) as caught:
        filled(template)
    assert words in str(caught.value)


def test_nothing_typed_is_nothing_sent() -> None:
    """An empty answer is no password."""
    with pytest.raises(UsageError, match="nothing was typed for 'Password'"):
        Filler({}, lambda prompt: "").fill("{{?Password}}")


def test_values_are_not_unescaped() -> None:
    r"""With --bytes, escapes of the template count; a backslash in a password is a backslash."""
    pieces = Filler({"pw": Secret(r"a\x00b")}, nobody).fill(r"\x00{{pw}}\r\n")
    assert bytes_of(pieces, "utf-8") == b"\x00a\\x00b\r\n"


def test_a_value_cannot_change_what_a_script_line_does() -> None:
    """In a script, a value that begins with < is sent, and one in a pattern is matched as it is."""
    filler = Filler({"pw": Secret("< .*"), "user": "a.b"}, nobody)
    assert script_line_of(filler.fill("{{pw}}")) == "> < .*"
    assert script_line_of(filler.fill("1 LOGIN {{user}} {{pw}}")) == "1 LOGIN a.b < .*"
    assert script_line_of(filler.fill("< ^{{user}} OK")) == r"< ^a\.b OK"
    assert script_line_of(filler.fill("# {{user}}")) == "# a.b"


def test_a_scripts_comments_are_not_filled() -> None:
    """What only a comment mentions is neither asked for nor missed."""
    filled = Filler(SPACE, nobody).fill_script("# {{?Password}}\n  # {{unknown}}\na {{user}} # {{port}}")
    lines = [script_line_of(line) for line in filled]
    assert lines == ["# {{?Password}}", "  # {{unknown}}", "a me # 993"]


def test_what_cannot_be_encoded_is_not_shown() -> None:
    """An error about a secret does not tell it."""
    with pytest.raises(UsageError) as caught:
        secrets_of(Filler({"pw": Secret("kyrillisch: ж")}, nobody).fill("{{pw}}"), "iso-8859-1")
    assert "a secret cannot be encoded" in str(caught.value)
    assert "ж" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [StdinNotImplementedError(), EOFError(), OSError()])
def test_where_nobody_can_be_asked_it_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A headless run gets a clear line that names the way out."""

    def getpass(prompt: str) -> str:
        raise error

    monkeypatch.setattr("getpass.getpass", getpass)
    with pytest.raises(UsageError, match="nobody can be asked for 'Password' here"):
        Filler({}).fill("{{?Password}}")
