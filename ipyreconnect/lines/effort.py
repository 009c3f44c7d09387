r"""Tell beforehand whether a regular expression is surely quick to search in a text; searches nothing.

Python's engine keeps the interpreter lock while it looks at a line, and an innocent expression can take for
ever over one: `(a+)+$` over forty letters, `\w+@` over a megabyte without an @. So each expression is read
beforehand, and what a search may cost at most is estimated from above, as factor × length ** power. What may
be slow is searched in a process of its own; all else where the line comes.

How the power comes about: a repeat of one character costs the length once. Where what follows it cannot begin
with such a character (`\S+ `), there is one place only at which it can end, and what follows is tried once;
else it is tried at each (`.*b`), which multiplies. A search that is not bound to the beginning is tried from
each place, which multiplies once more.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

__all__ = ["SHORT", "TooSlow", "is_quick", "quick_up_to"]

STEPS = 4_000_000
"""Steps that a search may take where others wait for it: some 10 to 40 ms, of a few ns each (measured)."""
SHORT = 20
"""Characters of a line over which no expression takes long."""
FEW = 16
"""A repeat of at most so many times is no loop over the line: it is taken as so many copies of its body."""
MOST_FACTOR = 1e12


class TooSlow(Exception):
    """An expression takes too long over some line, or the search was ended meanwhile."""


@dataclass(frozen=True, slots=True)
class Characters:
    """A set of characters: those of ASCII one by one, all others together."""

    ascii: frozenset[int]
    others: bool

    def __or__(self, more: Characters) -> Characters:
        return Characters(self.ascii | more.ascii, self.others or more.others)

    def overlaps(self, more: Characters) -> bool:
        """Say whether a character may be in both."""
        return bool(self.ascii & more.ascii) or (self.others and more.others)


_ASCII = frozenset(range(128))
ANY = Characters(_ASCII, True)
NONE = Characters(frozenset(), False)


@dataclass(frozen=True, slots=True)
class Cost:
    """What it takes to match an expression, or the rest of one, from one place.

    Attributes:
        factor: of the steps that it may take: factor × length ** power at most.
        power: as above.
        first: the characters with which it may begin.
        may_fail: whether it may be tried in vain.
        ambiguous: whether it may match the same text in several ways.
    """

    factor: float = 1.0
    power: float = 0.0
    first: Characters = NONE
    may_fail: bool = False
    ambiguous: bool = False


_END = Cost()
"""Behind an expression nothing fails any more."""
_FOR_EVER = Cost(power=math.inf, first=ANY, may_fail=True, ambiguous=True)


def is_quick(pattern: re.Pattern[Any], text: str | bytes) -> bool:
    """Say whether a search for `pattern` in `text` takes STEPS at most. Any thread."""
    least, power, factor, prefix = _estimate(pattern)
    size = len(text)
    if size <= least:
        return True
    if not prefix or not math.isfinite(power):
        return False
    starts = text.count(prefix)  # type: ignore[arg-type]  # of the same kind as the pattern
    return bool(starts * factor * size**power <= STEPS)


def quick_up_to(pattern: re.Pattern[Any]) -> int:
    """Return up to which length `is_quick` says yes for any text. Any thread."""
    return _estimate(pattern)[0]


@lru_cache(maxsize=256)
def _estimate(pattern: re.Pattern[Any]) -> tuple[int, float, float, str | bytes]:
    """Return up to which length any text is quick; the power and the factor of one try; and with what each
    match begins, nothing where that is not certain.
    """
    try:
        # No public part of `re`: if it is not there, or not as we know it, everything may be slow.
        parser: Any = importlib.import_module("re._parser")
        parsed = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        items = list(parsed)
        cost = _Reader(pattern).sequence(items, _END)
        prefix = _prefix(items, pattern)
        once = _is_bound(items, pattern.flags)
    except (ImportError, AttributeError, TypeError, ValueError, KeyError, RecursionError, re.error):
        return 0, math.inf, 1.0, ""
    if not math.isfinite(cost.power) or cost.factor > STEPS:
        return 0, math.inf, 1.0, ""
    # What cannot fail is found where it is tried first.
    power = cost.power if once or not cost.may_fail else cost.power + 1
    least = int((STEPS / cost.factor) ** (1 / power)) if power else 1 << 62
    return least, cost.power, cost.factor, prefix


def _is_bound(items: list[Any], flags: int) -> bool:
    """Whether it is tried at the beginning only."""
    for operation, argument in items[:1]:
        name = str(operation)
        if name == "AT":
            where = str(argument)
            return where == "AT_BEGINNING_STRING" or (where == "AT_BEGINNING" and not flags & re.MULTILINE)
        if name == "SUBPATTERN" and not argument[1] and not argument[2]:
            return _is_bound(list(argument[3]), flags)
        if name == "BRANCH":
            return all(_is_bound(list(branch), flags) for branch in argument[1])
    return False


def _prefix(items: list[Any], pattern: re.Pattern[Any]) -> str | bytes:
    """Return the literal characters with which each match begins."""
    codes: list[int] = []
    if not pattern.flags & re.IGNORECASE:
        for operation, argument in items:
            if str(operation) != "LITERAL":
                break
            codes.append(argument)
    return bytes(codes) if isinstance(pattern.pattern, bytes) else "".join(map(chr, codes))


class _Reader:
    """Reads a parsed expression from its end to its beginning: what a part costs depends on what follows."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._folds = bool(pattern.flags & re.IGNORECASE)
        # In bytes, and with re.ASCII, the categories know ASCII only.
        self._wide = isinstance(pattern.pattern, str) and not pattern.flags & re.ASCII

    def sequence(self, items: Iterable[Any], rest: Cost) -> Cost:
        """Return the cost of these items and what follows them."""
        for operation, argument in reversed(list(items)):
            rest = self._item(str(operation), argument, rest)
            if rest.factor > MOST_FACTOR or not math.isfinite(rest.power):
                return _FOR_EVER
        return rest

    def _item(self, name: str, argument: Any, rest: Cost) -> Cost:
        characters = self._characters(name, argument)
        if characters is not None:
            return replace(rest, first=characters, may_fail=True)
        if name == "AT":
            at_end = str(argument) in ("AT_END", "AT_END_STRING")
            first = Characters(frozenset(b"\n"), False) if at_end else rest.first
            return replace(rest, first=first, may_fail=True)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = argument
            return self._repeat(int(least), most, list(body), rest)
        if name == "SUBPATTERN":
            return self.sequence(argument[3], rest)
        if name == "ATOMIC_GROUP":
            return self.sequence(argument, rest)
        if name == "BRANCH":
            return self._branch([self.sequence(branch, rest) for branch in argument[1]])
        if name in ("ASSERT", "ASSERT_NOT"):
            inside = self.sequence(argument[1], _END)
            power = max(rest.power, inside.power)
            # It is looked into before it is known with which character the rest begins.
            return replace(rest, factor=rest.factor + inside.factor, power=power, first=ANY, may_fail=True)
        if name == "GROUPREF":  # which may be as long as the line
            return replace(rest, power=rest.power + 1, first=ANY, may_fail=True, ambiguous=True)
        return _FOR_EVER

    def _branch(self, costs: list[Cost]) -> Cost:
        first, ambiguous = NONE, False
        for cost in costs:
            ambiguous = ambiguous or cost.ambiguous or not cost.may_fail or first.overlaps(cost.first)
            first |= cost.first
        return Cost(
            sum(cost.factor for cost in costs),
            max(cost.power for cost in costs),
            first,
            all(cost.may_fail for cost in costs),
            ambiguous,
        )

    def _repeat(self, least: int, most: Any, body: list[Any], rest: Cost) -> Cost:
        times = int(most)  # MAXREPEAT is a number, too
        if times <= FEW:
            for done in range(times):
                once = self.sequence(body, rest)
                rest = once if times - done <= least else self._branch([once, rest])
                if rest.factor > MOST_FACTOR:
                    return _FOR_EVER
            return rest
        characters = self._one_character(body)
        if characters is None:
            # A loop over more than one character is one way only if each time around is, and if it is plain
            # at each end whether it goes on.
            first = self.sequence(body, replace(_FOR_EVER, power=0.0)).first
            around = self.sequence(body, Cost(first=first | rest.first, may_fail=True))
            if around.ambiguous or around.power > 1 or not _takes_something(body):
                return _FOR_EVER
            characters = first
        # Where nothing fails behind it, or what follows begins otherwise, it ends at one place only.
        one_end = not rest.may_fail or not characters.overlaps(rest.first)
        power = max(1.0, rest.power) if one_end else 1.0 + rest.power
        first = characters if least else characters | rest.first
        return Cost(
            rest.factor + 1 if one_end else rest.factor,
            power,
            first,
            least > 0 or rest.may_fail,
            rest.ambiguous or not one_end,
        )

    def _one_character(self, body: list[Any]) -> Characters | None:
        if len(body) != 1:
            return None
        name, argument = str(body[0][0]), body[0][1]
        if name == "SUBPATTERN":
            return self._one_character(list(argument[3]))
        return self._characters(name, argument)

    def _characters(self, name: str, argument: Any) -> Characters | None:
        """Return which characters an item takes that takes one; None for all others."""
        if name == "LITERAL":
            return self._folded(_range(argument, argument))
        if name == "NOT_LITERAL":
            return Characters(_ASCII - {argument} if not self._folds else _ASCII, True)
        if name == "ANY":
            return ANY
        if name != "IN":
            return None
        found, negated = NONE, False
        for kind, value in argument:
            which = str(kind)
            if which == "NEGATE":
                negated = True
            elif which == "LITERAL":
                found |= _range(value, value)
            elif which == "RANGE":
                found |= _range(*value)
            else:
                found |= self._category(str(value))
        if negated:
            return Characters(_ASCII - found.ascii if not self._folds else _ASCII, True)
        return self._folded(found)

    def _category(self, name: str) -> Characters:
        members = _CATEGORIES.get(name.removeprefix("CATEGORY_").removeprefix("UNI_").removeprefix("NOT_"))
        if members is None:
            return ANY
        if "NOT_" in name:
            return Characters(_ASCII - members, True)
        return Characters(members, self._wide)

    def _folded(self, characters: Characters) -> Characters:
        if not self._folds:
            return characters
        text = "".join(map(chr, characters.ascii))
        folded = frozenset(map(ord, (text + text.lower() + text.upper()))) & _ASCII
        # U+212A is a K where case does not count, and U+017F an s.
        return Characters(folded, characters.others or bool(folded & frozenset(b"kKsS")))


_CATEGORIES = {
    "DIGIT": frozenset(code for code in range(128) if chr(code).isdigit()),
    "SPACE": frozenset(code for code in range(128) if chr(code).isspace()),
    "WORD": frozenset(code for code in range(128) if chr(code).isalnum() or chr(code) == "_"),
}


def _range(low: int, high: int) -> Characters:
    return Characters(frozenset(range(low, min(high, 127) + 1)), high > 127)


def _takes_something(body: list[Any]) -> bool:
    """Whether a body takes one character at least, so that a loop over it goes on."""
    for operation, argument in body:
        name = str(operation)
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY"):
            return True
        if name.endswith("REPEAT") and argument[0] > 0 and _takes_something(list(argument[2])):
            return True
        if name == "SUBPATTERN" and _takes_something(list(argument[3])):
            return True
        if name == "BRANCH" and all(_takes_something(list(branch)) for branch in argument[1]):
            return True
    return False
