"""Take a magic's own options off its line and leave the rest byte for byte.

A shell-like splitter would lose runs of blanks and take a `-x` inside the text for an option, so the line is
read from the left: options, then the text as it was typed. table.py has the options that there are.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from IPython.core.error import UsageError

from .table import Kind, Layout, Magic, Option

__all__ = [
    "Parsed",
    "closing_quote",
    "parse",
    "suggest",
    "unquoted",
    "value_in_need_of_quotes",
    "word_at",
    "word_end",
]

BLANKS = " \t"
QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Unquoted:
    """An option's value that was given without quotes.

    Attributes:
        option: the option's name.
        value: its value: one word.
        following: the words behind it, up to the next option.

    """

    option: str
    value: str
    following: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A magic's line taken apart.

    Attributes:
        magic: which magic it was parsed for.
        rest: the text that is left when the options are taken off.
        values: by option, the values that it was given, in order; of one that takes none, the empty text.
        unquoted: where words of a value may have been taken for text.

    """

    magic: Magic
    rest: str
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unquoted: tuple[Unquoted, ...] = ()

    def flag(self, name: str) -> bool:
        """Return whether the option was given."""
        return name in self.values

    def get(self, name: str) -> str | None:
        """Return the option's value, or None where it was not given."""
        found = self.values.get(name)
        return None if found is None else found[-1]

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of an option that can be given again, in their order."""
        return self.values.get(name, ())

    def seconds(self, name: str) -> float | None:
        """Return the option's value as seconds, at least 0, or None where it was not given.

        Raises:
            UsageError: it is no number, or one that no lock can wait for.

        """
        text = self.get(name)
        if text is None:
            return None
        number = _number(text.removesuffix("s"))
        if number is None or not 0 <= number <= threading.TIMEOUT_MAX:
            raise UsageError(f"{name} {text!r}: give a number of seconds, such as 10 or 0.5")
        return number

    def number(self, name: str) -> float | None:
        """Return the option's value as a number above 0, or None where it was not given.

        Raises:
            UsageError: it is no such number.

        """
        text = self.get(name)
        if text is None:
            return None
        number = _number(text)
        if number is None or number <= 0:
            raise UsageError(f"{name} {text!r}: give a number above 0, such as 1.5")
        return number

    def count(self, name: str) -> int | None:
        """Return the option's value as a whole number from 1 on, or None where it was not given.

        Raises:
            UsageError: it is no such number.

        """
        text = self.get(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
            raise UsageError(f"{name} {text!r}: give a whole number from 1 on")
        return int(text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse(magic: Magic, line: str) -> Parsed:
    """Take a magic's options off its line.

    Args:
        magic: which options there are, and where they may stand.
        line: what IPython hands over: everything after the one blank behind the magic's name.

    Raises:
        UsageError: says in one line what is wrong with them.

    """
    match magic.layout:
        case Layout.ANYWHERE:
            return _parse_anywhere(magic, line)
        case Layout.ENDS:
            return _parse_ends(magic, line)
        case Layout.FRONT:
            rest, values, _ = _parse_front(magic, line)
            return Parsed(magic, rest, values)


def _parse_front(magic: Magic, line: str) -> tuple[str, dict[str, tuple[str, ...]], bool]:
    """Return the text behind the options, their values, and whether a -- ended them."""
    values: dict[str, tuple[str, ...]] = {}
    position = 0
    while (word := word_at(line, position)).text:
        if word.text == "--":
            return line[_after_one_blank(line, word.end) :], values, True
        end = _take_option(magic, line, word, values)
        if end is None:
            break
        position = _after_one_blank(line, end)
    return line[position:], values, False


def _parse_ends(magic: Magic, line: str) -> Parsed:
    rest, values, ended = _parse_front(magic, line)
    if not ended:
        rest = _text_before_options(magic, rest, values)
    return Parsed(magic, rest, values)


def _parse_anywhere(magic: Magic, line: str) -> Parsed:
    values: dict[str, tuple[str, ...]] = {}
    pieces: list[str] = []
    unquoted: list[tuple[str, str, list[str]]] = []
    following: list[str] = []
    position = piece_begin = 0
    while (word := word_at(line, position)).text:
        if word.text == "--":
            pieces.append(line[piece_begin : word.begin])
            piece_begin = word.end
            break
        end = _take_option(magic, line, word, values)
        if end is None:
            following.append(word.text)
            position = word.end
            continue
        pieces.append(line[piece_begin : word.begin])
        position = piece_begin = end
        following = []
        name = word.text.partition("=")[0]
        if (value := values[name][-1]) and line[end - 1] not in QUOTES:
            unquoted.append((name, value, following))
    pieces.append(line[piece_begin:])
    rest = " ".join(piece.strip() for piece in pieces if piece.strip())
    return Parsed(
        magic,
        rest,
        values,
        tuple(Unquoted(name, value, tuple(words)) for name, value, words in unquoted if words),
    )


def value_in_need_of_quotes(parsed: Parsed, fits: Callable[[str], bool]) -> str | None:
    """Say how to quote an option's value that has blanks in it, where words of it were taken for the text.

    Args:
        parsed: the line, whose text makes no sense.
        fits: whether a text would make sense.

    Returns:
        The advice, or None where the text makes no more sense without the words behind an option.

    """
    for each in parsed.unquoted:
        for count in range(1, len(each.following) + 1):
            if any(map(fits, _without(parsed.rest.split(), each.following[:count]))):
                value = " ".join([each.value, *each.following[:count]])
                quote = "'" if "'" not in value else '"'
                quoted = f"{each.option} {quote}{value}{quote}"
                return f"{each.option} {value}: a value with blanks is quoted as a whole: {quoted}"
    return None


def _without(words: Sequence[str], part: Sequence[str]) -> Iterator[str]:
    """Yield the text without `part` wherever that stands in it, as long as something is left."""
    count = len(part)
    for begin in range(len(words) - count + 1):
        left = [*words[:begin], *words[begin + count :]]
        if list(words[begin : begin + count]) == list(part) and left:
            yield " ".join(left)


class Word(NamedTuple):
    """A word of a line and where it stands; at the end of the line its text is empty."""

    begin: int
    text: str

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.begin + len(self.text)


def word_at(line: str, position: int) -> Word:
    """Return the next word from `position` on."""
    begin = position
    while begin < len(line) and line[begin] in BLANKS:
        begin += 1
    return Word(begin, line[begin : word_end(line, begin)])


def word_end(line: str, position: int) -> int:
    """Return where the word at `position` ends: at once, where a blank stands there."""
    while position < len(line) and line[position] not in BLANKS:
        position += 1
    return position


def _after_one_blank(line: str, position: int) -> int:
    """Skip the one blank that separates; further blanks belong to the text."""
    return position + 1 if position < len(line) and line[position] in BLANKS else position


def _take_option(magic: Magic, line: str, word: Word, values: dict[str, tuple[str, ...]]) -> int | None:
    """Put the option at `word` into `values`; return the position behind it, or None where text begins."""
    if not _looks_like_option(magic, word.text):
        return None
    name, equals, inline = word.text.partition("=")
    option = magic.option(name)
    if option is None:
        raise UsageError(unknown_option(magic, name))
    value, end = "", word.end
    if option.metavar is not None:
        value, end = _value_of(magic, option, line, word.begin + len(name), bool(equals))
    elif equals:
        raise UsageError(f"{name} takes no value: leave {equals + inline!r} out")
    if name in values and not option.repeats:
        raise UsageError(f"{name} is given twice; give it once")
    values[name] = (*values.get(name, ()), value)
    return end


def _value_of(magic: Magic, option: Option, line: str, end: int, equals: bool) -> tuple[str, int]:
    """Read the value of an option whose name ends at `end`; return it and the position behind it."""
    missing = UsageError(f"{option.name} needs a value: {option.name} {option.metavar}")
    begin = end + 1
    if not equals:
        begin, following = word_at(line, end)
        if not following or following == "--" or magic.option(following.partition("=")[0]) is not None:
            raise missing
    value, end = _value_at(option.name, line, begin)
    if not value and option.kind is not Kind.FREE:
        raise missing
    return value, end


def _looks_like_option(magic: Magic, word: str) -> bool:
    if not word.startswith("-") or len(word) < 2:
        return False
    if magic.option(word.partition("=")[0]) is not None:
        return True
    if magic.layout is Layout.ANYWHERE:
        return True
    # In front of a text a word is an option only where it cannot well be anything else: "-1", "-ERR" and
    # "--- a" are texts that protocols have, "--exepct" is a slip that must not reach the server.
    return re.match(r"--[A-Za-z]", word) is not None


def _value_at(name: str, line: str, begin: int) -> tuple[str, int]:
    """Read one value: up to the next blank, or between quotes when it begins with one."""
    if begin < len(line) and line[begin] in QUOTES:
        closing = closing_quote(line, begin)
        if closing is None:
            raise UsageError(f"{name}: the quote {line[begin]} is not closed")
        return line[begin + 1 : closing], closing + 1
    end = word_end(line, begin)
    return line[begin:end], end


def closing_quote(line: str, begin: int) -> int | None:
    """Return where the quote at `begin` is closed: by one with a blank or nothing behind it."""
    end = line.find(line[begin], begin + 1)
    while end != -1 and end + 1 < len(line) and line[end + 1] not in BLANKS:
        end = line.find(line[begin], end + 1)
    return None if end == -1 else end


def unquoted(text: str) -> str:
    """Return `text` without the quotes that it stands between, if it does."""
    return text[1:-1] if len(text) > 1 and text[0] in QUOTES and text[-1] == text[0] else text


def _text_before_options(magic: Magic, rest: str, values: dict[str, tuple[str, ...]]) -> str:
    """Return a free text, bare or quoted as a whole, without the options behind it, which go into `values`.

    A bare text is kept as typed. A `--word` in it is an option, known or not, as a slip must not be awaited.
    """
    begin = word_at(rest, 0).begin
    if rest[begin : begin + 1] and rest[begin] in QUOTES:
        end = closing_quote(rest, begin)
        if end is not None and _only_options(magic, rest, end + 1, values):
            return rest[begin + 1 : end]
    position = begin
    while (word := word_at(rest, position)).text:
        if _looks_like_option(magic, word.text):
            if _only_options(magic, rest, word.begin, values):
                return rest[: word.begin - 1] if word.begin else ""
            if word.text.startswith("--"):
                raise UsageError(
                    f"{word.text} stands in the middle of the text: put it at either end, or quote a text "
                    "that has it in it"
                )
        position = word.end
    return rest


def _only_options(magic: Magic, line: str, position: int, values: dict[str, tuple[str, ...]]) -> bool:
    """Put all that follows into `values`, if it is options only; UsageError for an unknown one."""
    taken = dict(values)
    while (word := word_at(line, position)).text:
        end = _take_option(magic, line, word, taken)
        if end is None:
            return False
        position = end
    values.update(taken)
    return True


def unknown_option(magic: Magic, name: str) -> str:
    """Say that `magic` has no such option, which one may be meant, and how to give it as text."""
    if name in ("--help", "-h"):
        return f"%{magic.name}? shows its help"
    known = [option.name for option in magic.options]
    near = suggest(name, known)
    advice = f"; did you mean {near}?" if near else f"; it has {', '.join(sorted(known))}."
    if magic.layout is not Layout.ANYWHERE:
        advice += f" To {magic.verb} it as text: %{magic.name} -- {name}"
    return f"%{magic.name} has no option {name}{advice}"


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` may be a misspelling of, or None."""
    near = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return near[0] if near else None
