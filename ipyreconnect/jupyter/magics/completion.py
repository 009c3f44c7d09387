"""Complete the magics' options, their values, connection names and addresses; it connects to nothing.

IPython does not complete a magic's own options (after `%connect --` it offers every builtin). A matcher of
its second API that recommends to suppress the others works in the terminal and in JupyterLab alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError

from ...address import parse_address
from ...errors import SettingsError
from ...profile.base import PROFILES
from .options import (
    BLANKS,
    CONNECT,
    HEARTBEAT,
    KEEPALIVE,
    KEEPALIVES,
    MAGICS,
    PANEL,
    QUOTES,
    STOP,
    Kind,
    Layout,
    Magic,
    Option,
    parse,
)

MOST_ADDRESSES = 50
"""Addresses of earlier sessions that are offered: more would be a list to search, not to choose from."""
MOST_FILES = 200
"""Files that are offered: a directory with more needs another letter typed first."""


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to complete beside the options: connection names, and addresses with the latest first."""

    names: Sequence[str] = ()
    addresses: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What can stand instead of `fragment`, the text before the cursor."""

    fragment: str
    texts: tuple[str, ...]
    kind: str


_TARGET = r"[\w.,*\[\]'\" ]+"
_LINE = re.compile(
    rf"\s*(?:{_TARGET}=\s*)?(?P<escape>%%?)(?P<magic>{'|'.join(MAGICS)})(?P<rest>[ \t].*)\Z", re.DOTALL
)
_AUTOMAGIC = re.compile(rf"(?P<magic>{'|'.join(MAGICS)})(?P<rest>[ \t]+(?:[^=(.,\s].*)?)\Z", re.DOTALL)


def offer(before: str, known: Known, *, automagic: bool = False) -> Offer | None:
    """Say what can be completed at the end of `before`, the line up to the cursor, or None.

    automagic: a magic may stand without its %.
    """
    found = _LINE.match(before) or (automagic and _AUTOMAGIC.match(before)) or None
    if found is None:
        return None
    magic, rest = MAGICS[found["magic"]], found["rest"]
    position, given, ended = 1, set[str](), False
    while True:
        begin = _skip_blanks(rest, position)
        end = _word_end(rest, begin)
        word = rest[begin:end]
        name, equals, _ = word.partition("=")
        option = None if ended else magic.option(name)
        if option is not None and option.metavar is not None and (equals or end < len(rest)):
            value_begin = begin + len(name) + 1 if equals else _skip_blanks(rest, end)
            value_end = _value_end(rest, value_begin)
            if value_end >= len(rest):
                return _value_offer(option, rest[value_begin:], f"{name}=" if equals else "", known)
            end = value_end
        elif end >= len(rest):
            return _word_offer(magic, word, known, given, ended)
        elif option is None:
            if word == "--":
                ended = True
            elif magic.layout is not Layout.ANYWHERE:
                return None
        if option is not None and not option.repeats:
            given.add(option.name)
        position = end


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in BLANKS:
        position += 1
    return position


def _word_end(text: str, position: int) -> int:
    while position < len(text) and text[position] not in BLANKS:
        position += 1
    return position


def _value_end(text: str, begin: int) -> int:
    if begin < len(text) and text[begin] in QUOTES:
        end = text.find(text[begin], begin + 1)
        return len(text) if end == -1 else end + 1
    return _word_end(text, begin)


def _value_offer(option: Option, typed: str, prefix: str, known: Known) -> Offer | None:
    match option.kind:
        case Kind.CONNECTION:
            texts, kind = known.names, "connection"
        case Kind.CHOICE:
            texts, kind = option.values, "value"
        case Kind.FILE:
            texts, kind = files(typed), "path"
        case _:
            return None
    return _matching(prefix + typed, (prefix + text for text in texts), kind)


def _word_offer(magic: Magic, word: str, known: Known, given: set[str], ended: bool) -> Offer | None:
    texts: list[str] = []
    if not ended:
        texts = [option.name for option in magic.options if option.name not in given]
    if word.startswith("-"):
        return _matching(word, texts, "option")
    operands: Iterable[str] = ()
    if magic is CONNECT:
        operands = (*known.addresses, *(f"{scheme}://" for scheme in PROFILES))
    elif magic in (STOP, PANEL):
        operands = known.names
    elif magic is KEEPALIVE:
        operands = KEEPALIVES
    elif magic is HEARTBEAT and not ended:
        operands = ("off",)
    elif ended:
        return None
    return _matching(word, (*operands, *texts), "address" if magic is CONNECT else "value")


def _matching(fragment: str, texts: Iterable[str], kind: str) -> Offer | None:
    matching = tuple(dict.fromkeys(text for text in texts if text.startswith(fragment)))
    return Offer(fragment, matching, kind) if matching else None


def files(typed: str) -> list[str]:
    """Give the files and, with a / behind them, the directories that `typed` may become."""
    quote = typed[:1] if typed[:1] in QUOTES else ""
    directory, slash, name = typed.removeprefix(quote).rpartition("/")
    folder = os.path.expanduser(directory + slash) or "."
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                shown = entry.name.startswith(name) and entry.name.startswith(".") == name.startswith(".")
                # Between quotes a name may hold blanks, without it ends there.
                if shown and (quote or not set(entry.name) & set(BLANKS + QUOTES)):
                    found.append(f"{quote}{directory}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
                if len(found) == MOST_FILES:
                    break
    except OSError:
        return []
    return sorted(found)


_CONNECT_LINE = re.compile(rf"^\s*(?:{_TARGET}=\s*)?%%?connect[ \t](.*)$", re.MULTILINE)


def addresses_in(sources: Iterable[str]) -> list[str]:
    """Give the addresses that these cells connected to, as they were typed, in order of first use."""
    found: dict[str, None] = {}
    for source in sources:
        for rest in _CONNECT_LINE.findall(source):
            try:
                address = parse(CONNECT, rest).rest
                parse_address(address)
            except (UsageError, SettingsError):
                continue
            found[address] = None
    return list(found)


def addresses_in_history(shell: Any) -> list[str]:
    """Give the addresses of earlier sessions from IPython's history, the latest first."""
    history = getattr(shell, "history_manager", None)
    if history is None or not history.enabled:
        return []
    try:
        cells = list(history.search("*%connect *", raw=True, search_raw=True, n=4 * MOST_ADDRESSES))
    except Exception:  # noqa: BLE001 - a history that cannot be read must not take the completion away
        return []
    return addresses_in(str(cell) for _, _, cell in reversed(cells))[:MOST_ADDRESSES]


def make_matcher(
    shell: Any, known: Callable[[], Known]
) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Make the matcher to append to `shell.Completer.custom_matchers`; `known` is asked each time."""

    @context_matcher(identifier="ipyreconnect")
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = context.text_until_cursor
        # In a cell magic's body stands its own text, not ours.
        in_body = context.cursor_line > 0 and context.full_text.lstrip().startswith("%%")
        cell_magic_below = context.cursor_line > 0 and line.lstrip().startswith("%%")
        found = None
        if not in_body and not cell_magic_below:
            found = offer(line, known(), automagic=bool(getattr(shell, "automagic", False)))
        if found is None:
            return {"completions": [], "suppress": False}
        return {
            "completions": [SimpleCompletion(text=text, type=found.kind) for text in found.texts],
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": True,
        }

    made: Callable[[CompletionContext], SimpleMatcherResult] = matcher
    return made
