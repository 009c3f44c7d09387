"""Complete the magics' options, their values, connection names and addresses; it connects to nothing.

IPython does not complete a magic's own options (after `%connect --` it offers every builtin). A matcher of
its API's second version, which has the other matchers suppressed, works in the terminal and in JupyterLab.
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
from .options import BLANKS, QUOTES, closing_quote, parse, word_at, word_end
from .table import CONNECT, MAGICS, Kind, Layout, Magic, Option

MOST_ADDRESSES = 50
"""Addresses of earlier sessions that are offered: more would be a list to search, not to choose from."""
MOST_FILES = 200
"""Files that are offered: a directory with more needs another letter typed first."""


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to complete beside the options.

    Attributes:
        names: of connections.
        addresses: the latest first.

    """

    names: Sequence[str] = ()
    addresses: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What may replace `fragment`, the text before the cursor.

    Attributes:
        fragment: the text.
        texts: what may replace it.
        kind: what they are, as the front end shows it.

    """

    fragment: str
    texts: tuple[str, ...]
    kind: str


_TARGET = r"[\w.,*\[\]'\" ]+"
_LINE = re.compile(
    rf"\s*(?:{_TARGET}=\s*)?(?P<escape>%%?)(?P<magic>{'|'.join(MAGICS)})(?P<rest>[ \t].*)\Z", re.DOTALL
)
_AUTOMAGIC = re.compile(rf"(?P<magic>{'|'.join(MAGICS)})(?P<rest>[ \t]+(?:[^=(.,\s].*)?)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Item:
    """A word of a magic's line, or an option's value.

    Attributes:
        text: as it was typed.
        option: the option that this item names, or gives a value to.
        is_value: whether it gives a value.
        prefix: what stands in front of the value in the same word: `--name=`.

    """

    text: str
    option: Option | None = None
    is_value: bool = False
    prefix: str = ""


def offer(before: str, known: Known, *, automagic: bool = False) -> Offer | None:
    """Return what can be completed at the end of `before`, the line up to the cursor, or None.

    Args:
        before: the line up to the cursor.
        known: what there is to complete beside the options.
        automagic: whether a magic may stand without its %.

    """
    found = _LINE.match(before) or (automagic and _AUTOMAGIC.match(before)) or None
    if found is None:
        return None
    magic = MAGICS[found["magic"]]
    *finished, last = _items(magic, found["rest"])
    text_begun = any(item.option is None for item in finished)
    if text_begun and magic.layout is not Layout.ANYWHERE:
        return None
    if last.option is not None and last.is_value:
        texts = _values(last.option.kind, last.option.values, last.text, known)
        kind = _SHOWN_AS[last.option.kind]
        return _matching(last.prefix + last.text, (last.prefix + text for text in texts), kind)
    given = {item.option.name for item in finished if item.option is not None and not item.option.repeats}
    options_ended = any(item.option is None and item.text == "--" for item in finished)
    options = [] if options_ended else [option.name for option in magic.options if option.name not in given]
    if last.text.startswith("-"):
        return _matching(last.text, options, "option")
    texts = _values(magic.operand_kind, magic.operand_values, last.text, known)
    kind = "address" if magic.operand_kind is Kind.ADDRESS else "value"
    return _matching(last.text, (*texts, *options), kind)


def _items(magic: Magic, rest: str) -> list[_Item]:
    """Return the items of what follows a magic's name; the last one is being typed, and may be empty."""
    items: list[_Item] = []
    position, ended = 1, False
    while True:
        word = word_at(rest, position)
        position = word.end
        name, equals, _ = word.text.partition("=")
        option = None if ended else magic.option(name)
        if option is not None and option.metavar is not None and (equals or word.end < len(rest)):
            begin = word.begin + len(name) + 1 if equals else word_at(rest, word.end).begin
            position = _value_end(rest, begin)
            items.append(_Item(rest[begin:position], option, True, f"{name}=" if equals else ""))
        else:
            items.append(_Item(word.text, option))
        if position >= len(rest):
            return items
        ended = ended or word.text == "--"


def _value_end(text: str, begin: int) -> int:
    if begin < len(text) and text[begin] in QUOTES:
        end = closing_quote(text, begin)
        return len(text) if end is None else end + 1
    return word_end(text, begin)


_SHOWN_AS = {
    Kind.CONNECTION: "connection",
    Kind.CHOICE: "value",
    Kind.FILE: "path",
    Kind.ADDRESS: "address",
    Kind.FREE: "value",
}
"""What an offer's kind is called where the front end shows it."""


def _values(kind: Kind, choices: Sequence[str], typed: str, known: Known) -> Sequence[str]:
    """Return the values of this kind that there are."""
    match kind:
        case Kind.CONNECTION:
            return known.names
        case Kind.CHOICE:
            return choices
        case Kind.FILE:
            return files(typed)
        case Kind.ADDRESS:
            return (*known.addresses, *(f"{scheme}://" for scheme in PROFILES))
        case _:
            return ()


def _matching(fragment: str, texts: Iterable[str], kind: str) -> Offer | None:
    matching = tuple(dict.fromkeys(text for text in texts if text.startswith(fragment)))
    return Offer(fragment, matching, kind) if matching else None


def files(typed: str) -> list[str]:
    """Return the files and, with a / behind them, the directories that `typed` may become."""
    quote = typed[:1] if typed[:1] in QUOTES else ""
    directory, slash, name = typed.removeprefix(quote).rpartition("/")
    folder = os.path.expanduser(directory + slash) or "."
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                shown = entry.name.startswith(name) and entry.name.startswith(".") == name.startswith(".")
                # A name may hold blanks between quotes; without quotes it ends there.
                if shown and (quote or not set(entry.name) & set(BLANKS + QUOTES)):
                    found.append(f"{quote}{directory}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
                if len(found) == MOST_FILES:
                    break
    except OSError:
        return []
    return sorted(found)


_CONNECT_LINE = re.compile(rf"^\s*(?:{_TARGET}=\s*)?%%?connect[ \t](.*)$", re.MULTILINE)


def addresses_in(sources: Iterable[str]) -> list[str]:
    """Return the addresses that these cells connected to, as they were typed, in order of first use."""
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


class Addresses:
    """The addresses of this session and of earlier ones, to be offered."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._used: dict[str, None] = {}
        self._earlier: list[str] | None = None

    def use(self, address: str) -> None:
        """Note that this one was connected to, as it was typed."""
        self._used.pop(address, None)
        self._used[address] = None

    def latest_first(self) -> tuple[str, ...]:
        """Return them all; the history is read when they are asked for first."""
        if self._earlier is None:
            self._earlier = addresses_in_history(self._shell)
        return (*reversed(self._used), *self._earlier)


def addresses_in_history(shell: Any) -> list[str]:
    """Return the addresses of earlier sessions from IPython's history, the latest first."""
    history = getattr(shell, "history_manager", None)
    if history is None or not history.enabled:
        return []
    try:
        cells = list(history.search("*%connect *", raw=True, search_raw=True, n=4 * MOST_ADDRESSES))
    except Exception:  # noqa: BLE001 - without a readable history, the rest is completed all the same
        return []
    return addresses_in(str(cell) for _, _, cell in reversed(cells))[:MOST_ADDRESSES]


def make_matcher(
    shell: Any, known: Callable[[], Known]
) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher to append to `shell.Completer.custom_matchers`; it calls `known` each time."""

    @context_matcher(identifier="ipyreconnect")
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = context.text_until_cursor
        # The body of a cell magic is its own text, not ours.
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
