"""What is typed behind one of our line magics is its text, whatever IPython would read into it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

import ipyreconnect
from tests.jupyter.shells import new_shell


@pytest.fixture(scope="module")
def shell() -> Iterator[Any]:
    with new_shell() as shell:
        ipyreconnect.load_ipython_extension(shell)
        yield shell
        ipyreconnect.unload_ipython_extension(shell)


def calls(shell: Any, cell: str) -> list[tuple[str, ...]]:
    """Give the calls of magics that IPython makes of a cell: each one's name and its text."""
    tree = ast.parse(shell.transform_cell(cell))
    made = [
        (node.lineno, *(ast.literal_eval(argument) for argument in node.args))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    return [tuple(rest) for _, *rest in sorted(made)]


TEXTS = [
    "*IDN?",
    "MEAS:VOLT:DC?",
    ":SYST:ERR?",
    "?",
    "??",
    "what??",
    "a \\",
    "a\\\\",
    "\\",
    "--expect ACME *IDN?",
    "--expect 'A C' -- x?",
    "it's here?",
    'say "hello?',
    "f(x?",
    "[1, {?",
    "0123?",
    "$x?",
    "# comment?",
    '""" a?',
    "é ü?",
    "a = b?",
    "%send x?",
    "print()?",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("m = ", ""),
        ("a.b[0] = ", "\n"),
        ("x: int = ", ""),
        ("", "\nprint('more')"),
        ("print('before')\n", "\n%send following?\n"),
        ("if True:\n    ", "\n    print('more')"),
        ("for i in range(3):\n    m = ", "\n"),
        (">>> ", ""),
        ("In [1]: ", ""),
        ("\n\n  ", ""),
    ],
)
@pytest.mark.parametrize("name", ["send", "expect"])
def test_a_text_is_kept_to_its_last_character(
    shell: Any, name: str, text: str, before: str, after: str
) -> None:
    """A ? or a backslash at its end belongs to it, in front of other lines and in an assignment too."""
    found = calls(shell, f"{before}%{name} {text}{after}")
    assert (name, text) in found
    assert (("send", "following?") in found) == ("following" in after)
    assert [call[0] for call in found if call and call[0] in ("pinfo", "pinfo2", "psearch")] == []


def test_every_line_magic_of_ours_is_meant(shell: Any) -> None:
    """One rule for all that there are and will be."""
    magics = next(one for one in shell.configurables if type(one).__name__ == "ReconnectMagics")
    names = set(magics.magics["line"])
    assert {"connect", "send", "expect", "keepalive", "panel", "stop"} <= names
    for name in names:
        assert calls(shell, f"%{name} x?") == [(name, "x?")]
        assert calls(shell, f"%{name}?") == [("pinfo", f"%{name}")]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("%send?", ("pinfo", "%send")),
        ("%send??", ("pinfo2", "%send")),
        ("?%send", ("pinfo", "%send")),
        ("??%send", ("pinfo2", "%send")),
        ("%%send?", ("pinfo", "%%send")),
        ("print(1)\n%send?", ("pinfo", "%send")),
        ("send?", ("pinfo", "send")),
    ],
)
def test_the_name_alone_with_its_question_mark_is_the_help(
    shell: Any, cell: str, wanted: tuple[str, str]
) -> None:
    """%send? and %send?? show the help, as everywhere in IPython."""
    assert wanted in calls(shell, cell)


@pytest.mark.parametrize(
    "cell",
    [
        "%time x?",
        "%theirs *IDN?",
        "%theirs a \\\nb",
        "x?",
        "m = %theirs x \\\ny",
        "!ls \\\n-l",
        "%matplotlib inline",
        "%sendx a?",
        "%send.x?",
        "%timeit -n 1 x?",
        "x = 7 %send \\\n+ 1",
        "text = '''\n%send *IDN?\n'''",
        "(7\n%send\n)",
        "%%theirs\n%send *IDN?",
        "send = 'x'  # what?",
    ],
)
def test_all_other_lines_are_as_they_would_be_without_us(shell: Any, cell: str) -> None:
    """IPython's own magics and those of others keep their help and their continued lines."""
    with new_shell() as plain:
        expected = plain.transform_cell(cell)
    assert shell.transform_cell(cell) == expected


def test_what_is_measured_keeps_its_question_mark_too(shell: Any) -> None:
    """`%time %send *IDN?` measures the sending; IPython transforms what it measures by itself."""
    assert calls(shell, "%time %send *IDN?") == [("time", "%send *IDN?")]
    assert calls(shell, "%timeit -n1 -r1 %send --expect PONG PING?") == [
        ("timeit", "-n1 -r1 %send --expect PONG PING?")
    ]
    assert calls(shell, "%send *IDN?") == [("send", "*IDN?")]


def test_a_magic_without_its_percent_sign_keeps_it_as_well(shell: Any) -> None:
    """Where IPython takes `send x` for %send, `send x?` is no question, unless there is a variable `send`."""
    assert calls(shell, "send *IDN?") == [("send", "*IDN?")]
    assert calls(shell, "send a \\") == [("send", "a \\")]
    assert calls(shell, "send *IDN?\nprint()")[0][0] == "psearch"
    shell.user_ns["send"] = 1
    try:
        assert calls(shell, "send *IDN?")[0][0] == "psearch"
    finally:
        del shell.user_ns["send"]
    shell.automagic = False
    try:
        assert calls(shell, "send *IDN?")[0][0] == "psearch"
    finally:
        shell.automagic = True


@pytest.mark.parametrize(
    ("cell", "complete"),
    [
        ("%send a \\", "complete"),
        ("m = %send --expect x a\\", "complete"),
        ("print(1)\n%send a \\\n", "complete"),
        ("%send *IDN?", "complete"),
        ("x = 1 + \\", "incomplete"),
        ("!ls \\", "incomplete"),
        ("%theirs a \\", "incomplete"),
        ("text = '''\n%send a \\", "incomplete"),
        ("%%send\na \\", "incomplete"),
        ("%%send\na \\\n", "incomplete"),
        ("%%send\na \\\n\n", "complete"),
        ("%%theirs\na \\\n\n", "incomplete"),
    ],
)
def test_a_backslash_of_ours_does_not_ask_for_another_line(shell: Any, cell: str, complete: str) -> None:
    """At a prompt Enter sends the line; all else is continued as ever."""
    assert shell.check_complete(cell)[0] == complete


def test_a_name_that_another_took_is_read_as_ipython_reads_it(shell: Any) -> None:
    """The rule holds for our magics, not for their names."""
    table = shell.magics_manager.magics["line"]
    own = table["panel"]
    try:
        table["panel"] = lambda line: line
        assert calls(shell, "%panel x?") == [("pinfo", "x")]
        assert shell.check_complete("%panel x \\")[0] == "incomplete"
    finally:
        table["panel"] = own


def test_after_the_unload_nothing_of_it_is_left() -> None:
    """IPython's own transformers and its check are as they were, also where others put theirs around."""
    with new_shell() as shell:
        manager = shell.input_transformer_manager
        before = list(manager.token_transformers)
        for _ in range(3):
            ipyreconnect.load_ipython_extension(shell)
            ipyreconnect.unload_ipython_extension(shell)
        assert manager.token_transformers == before
        assert "check_complete" not in vars(manager)
        assert shell.check_complete("%send a \\")[0] == "incomplete"
        ipyreconnect.load_ipython_extension(shell)
        ours = manager.check_complete

        def around(cell: str) -> object:
            return ours(cell)

        manager.check_complete = around
        ipyreconnect.unload_ipython_extension(shell)
        assert shell.check_complete("%send a \\")[0] == "incomplete"
        assert calls(shell, "%send x?") == [("pinfo", "x")]
