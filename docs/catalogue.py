"""The site's tables as Markdown, made from the code: protocols, defaults, magics, traits; renders nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from ipyreconnect import TLS, Client, Heartbeat, KeepAlive, Retry
from ipyreconnect.jupyter.magics.table import MAGICS
from ipyreconnect.profile.base import PROFILES

if TYPE_CHECKING:
    import traitlets

EOLS: Final = {b"\r\n": "CRLF", b"\n": "LF", b"\r": "CR", b"\0": "NUL", b"": "none"}
ENCRYPTION: Final = {"none": "", "implicit": "at once", "starttls": "after STARTTLS"}


# -- writing Markdown


def code(text: str | bytes | None) -> str:
    """Quote a text as code, also one with backticks or bars in it; nothing for nothing."""
    if not text:
        return ""
    shown = text.decode("latin-1") if isinstance(text, bytes) else text
    return (
        "`` " + shown.replace("|", "\\|") + " ``" if "`" in shown else "`" + shown.replace("|", "\\|") + "`"
    )


def prose(text: str) -> str:
    """Quote a text that stands in a table: reST's literals become Markdown's, and nothing else is markup."""
    parts = re.split(r"``?([^`]+)``?|(?<!\w)(--[a-z][-a-z]*|\{\{[^}]*\}\}|%%?[a-z]+\b)", text)
    shown = []
    for number, part in enumerate(parts):
        if part:
            shown.append(code(part) if number % 3 else re.sub(r"([\\*_|<>\[\]{}$])", r"\\\1", part))
    return "".join(shown)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a table; a column in which all cells are empty is left out."""
    kept = [n for n in range(len(heads)) if any(row[n] for row in rows)]
    return [
        "| " + " | ".join(heads[n] for n in kept) + " |",
        "|" + "---|" * len(kept),
        *("| " + " | ".join(row[n].replace("\n", " ") for n in kept) + " |" for row in rows),
        "",
    ]


# -- protocols


def protocols() -> list[str]:
    """Write what each scheme stands for: how its lines are cut, when TLS begins, which port."""
    rows = []
    for name, profile in PROFILES.items():
        framing = code(profile.framing)
        if profile.announce is not None:
            framing += f" by {code(profile.announce.pattern)}"
        rows.append(
            (
                code(name),
                str(profile.port or ""),
                ENCRYPTION[profile.tls.value],
                code("--starttls") if profile.dialect else "",
                EOLS.get(profile.eol, repr(profile.eol)),
                framing,
            )
        )
    return table(("scheme", "port", "TLS", "STARTTLS", "line end", "framing"), rows)


def conversations() -> list[str]:
    """Write what the client knows of each protocol's conversation: heartbeats, replies, last words."""
    rows = []
    for name, profile in PROFILES.items():
        answer = profile.heartbeat_answer.pattern if profile.heartbeat_answer is not None else None
        replies = ", ".join(f"{code(pattern)} → {code(line)}" for pattern, line in profile.replies)
        heartbeat = code(profile.heartbeat) or (
            f"none: {profile.no_heartbeat}" if profile.no_heartbeat else ""
        )
        goodbye = code(profile.goodbye.pattern) if profile.goodbye is not None else ""
        answers = "yes" if profile.conversation is not None else ""
        if heartbeat or replies or goodbye or answers:
            rows.append((code(name), answers, heartbeat, code(answer), replies, goodbye))
    headings = ("scheme", "whole answers", "heartbeat", "answered by", "replies by itself", "last words")
    return table(headings, rows)


def settings() -> list[str]:
    """Write the defaults of the values that a client is made with, in Python."""
    rows = []
    for value in (KeepAlive, Retry, TLS, Heartbeat):
        rows += [
            (code(f"{value.__name__}({field.name}=…)"), code(repr(field.default)))
            for field in dataclasses.fields(value)
            if field.init and field.default is not dataclasses.MISSING
        ]
    for name, parameter in inspect.signature(Client.__init__).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not None:
            rows.append((code(f"Client({name}=…)"), code(repr(parameter.default))))
    return table(("setting", "default"), rows)


# -- the magics


@contextlib.contextmanager
def shell_with_magics() -> Iterator[Any]:
    """Make an IPython that has the extension loaded, and leaves nothing behind."""
    make: Any = InteractiveShell  # its __init__ is untyped
    with tempfile.TemporaryDirectory() as directory:
        shell = make(config=Config(HistoryManager={"enabled": False}), ipython_dir=directory)
        shell.run_line_magic("load_ext", "ipyreconnect")
        try:
            yield shell
        finally:
            shell.run_line_magic("unload_ext", "ipyreconnect")
            shell.restore_sys_module_state()


def reference() -> list[str]:
    """Write a section for each magic: what it says of itself, its examples, its options."""
    lines: list[str] = []
    with shell_with_magics() as shell:
        for name, magic in MAGICS.items():
            both = shell.find_cell_magic(name) is not None
            title = f"`%{name}` and `%%{name}`" if both else f"`%{name}`"
            lines += [f"## {title}", ""]
            lines += documentation(shell.find_line_magic(name).parser.description)
            usage = f"%{name}" + (" [options]" if magic.options else "")
            if magic.operand:
                usage += f" {magic.operand}" if name in ("send", "expect") else f" [{magic.operand}]"
                lines += [f"{code(usage)}", "", f"{code(magic.operand)}: {prose(magic.operand_help)}.", ""]
            lines += table(("option", "what it does"), [_option(option) for option in magic.options])
    return lines


def _option(option: Any) -> tuple[str, str]:
    told = prose(option.help.replace("%%", "%"))
    if option.values:
        told += f". Such as {', '.join(code(value) for value in option.values)}"
    if option.repeats:
        told += ". Can be given again"
    return code(f"{option.name} {option.metavar or ''}".strip()), told


def documentation(docstring: str) -> list[str]:
    """Turn a magic's docstring into Markdown: paragraphs, and the examples as a block of code."""
    told, *examples = re.split(
        r"^Examples?::?\n", inspect.cleandoc(docstring) + "\n", maxsplit=1, flags=re.MULTILINE
    )
    lines = [prose(line) for line in told.strip().splitlines()]
    for example in examples:
        for cell in re.split(r"\n+(?=%%)", inspect.cleandoc("\n" + example).strip()):
            lines += ["", "```ipython", *cell.splitlines(), "```"]
    return [*lines, ""]


def configuration() -> list[str]:
    """Write what `%config Reconnect` knows: each default that can be changed for a session or for good."""
    with shell_with_magics() as shell:
        (reconnect,) = (part for part in shell.configurables if type(part).__name__ == "Reconnect")
        rows = [
            (code(f"Reconnect.{name}"), code(repr(trait.default_value)), prose(trait.help))
            for name, trait in sorted(type(reconnect).class_traits(config=True).items())
            if name in vars(type(reconnect))
        ]
    return table(("setting", "default", "what it is"), rows)


# -- the client's traits


def traits() -> list[str]:
    """Write the client's traits: what can be observed, and which of them can be set."""
    own: Mapping[str, traitlets.TraitType[Any, Any]] = {
        name: trait for name, trait in Client.class_traits().items() if name in vars(Client)
    }
    rows = [
        (code(f"client.{name}"), prose(trait.help), "" if trait.read_only else "yes")
        for name, trait in own.items()
    ]
    return table(("trait", "what it is", "can be set"), rows)


PARTS: Final[Mapping[str, Callable[[], list[str]]]] = {
    part.__name__: part for part in (protocols, conversations, settings, reference, configuration, traits)
}
"""What the directive `catalogue` can show, by name."""
