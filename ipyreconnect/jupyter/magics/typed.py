r"""Keep the text of our line magics as it was typed; all other lines are left to IPython.

IPython takes a line that ends with ``?`` for a request for help, whatever is in front (``%send *IDN?`` asks
about ``*IDN``), and joins a line that ends with a backslash with the next one. The lines of a protocol may
end with either, so for our magics only ``%name?`` and ``%name??`` alone are left to IPython.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from IPython.core.inputtransformer2 import HelpEnd, MagicAssign

__all__ = ["TypedLines"]

Tokens = Sequence[tokenize.TokenInfo]

_INDENTATION = {tokenize.INDENT, tokenize.DEDENT}

# These run the statement behind them: `%time %send *IDN?`, `%timeit -n1 %send --expect PONG PING?`.
_RUNNERS = {"time", "timeit"}
_RUN = re.compile(r"%(?P<runner>\w+)(?:[ \t]+-\S+)*[ \t]+%(?P<name>\w+)[ \t]")


class TypedLines:
    """A token transformer and a check of completeness for the lines of our magics, of one IPython shell.

    Args:
        shell: the IPython shell.
        is_ours: whether a line magic of that name is one of ours now.
        is_ours_in_a_cell: the same for a cell magic.

    """

    def __init__(
        self, shell: Any, is_ours: Callable[[str], bool], is_ours_in_a_cell: Callable[[str], bool]
    ) -> None:
        self._shell = shell
        self._is_ours = is_ours
        self._is_ours_in_a_cell = is_ours_in_a_cell
        self._check_of_ipython: Callable[[str], Any] | None = None

    def register(self) -> None:
        """Have IPython call `find` and `check_complete` for each line."""
        manager = self._shell.input_transformer_manager
        manager.token_transformers.insert(0, self)
        # It looks for a backslash before it calls any transformer, so its method itself has to be replaced.
        self._check_of_ipython = manager.check_complete
        manager.check_complete = self.check_complete

    def unregister(self) -> None:
        """Take both away from IPython again."""
        manager = self._shell.input_transformer_manager
        manager.token_transformers[:] = [each for each in manager.token_transformers if each is not self]
        if manager.__dict__.get("check_complete") == self.check_complete:
            del manager.check_complete
        # Else another extension has put its own around ours, which from now on only passes on: no magic is
        # ours any more.

    # -- what IPython calls ----------------------------------------------------------------------------------

    def find(self, tokens_by_line: Sequence[Tokens]) -> TypedLine | None:
        """Find the first line of one of our magics; IPython calls it until none is left."""
        for tokens in tokens_by_line:
            found = self._escaped(tokens) or self._assigned(tokens) or self._run_by_another(tokens)
            if found is not None:
                return found
        lines = [tokens for tokens in tokens_by_line if any(token.string.strip() for token in tokens)]
        return self._without_escape(lines[0]) if len(lines) == 1 else None

    def check_complete(self, cell: str) -> Any:
        r"""Return IPython's verdict on a cell: a ``\`` at the end of our text asks for no further line."""
        assert self._check_of_ipython is not None
        text = cell.rstrip()
        if text.endswith("\\") and self._is_text_of_ours(text):
            cell = text.rstrip("\\") + cell[len(text) :]
        return self._check_of_ipython(cell)

    # -- which lines are ours --------------------------------------------------------------------------------

    def _escaped(self, tokens: Tokens) -> TypedLine | None:
        """Find `%send TEXT`."""
        begin = _begin(tokens)
        return self._at(tokens, begin, begin)

    def _assigned(self, tokens: Tokens) -> TypedLine | None:
        """Find `name = %send TEXT`."""
        assigned: Any = MagicAssign
        found = assigned.find([tokens])
        if found is None:
            return None
        place = (found.start_line + 1, found.start_col)
        index = next(index for index, token in enumerate(tokens) if token.start == place)
        return self._at(tokens, _begin(tokens), index)

    def _run_by_another(self, tokens: Tokens) -> TypedLine | None:
        """Find `%time %send TEXT`, of which IPython transforms the rest by itself."""
        begin = _begin(tokens)
        if not (_is(tokens, begin, "%") and _is(tokens, begin + 1, *_RUNNERS)):
            return None
        row, column = tokens[begin].start
        found = _RUN.match(tokens[begin].line[column:])
        if found is None or found["runner"] not in _RUNNERS or not self._is_ours(found["name"]):
            return None
        return TypedLine(row - 1, column, row - 1, column, found["runner"])

    def _without_escape(self, tokens: Tokens) -> TypedLine | None:
        """Find `send TEXT?`, where IPython takes a magic without its %; all else of that is IPython's."""
        begin = _begin(tokens)
        name = tokens[begin] if begin < len(tokens) else None
        if name is None or name.type != tokenize.NAME or not self._is_ours(name.string):
            return None
        line = name.line[name.start[1] :].rstrip()
        text = line[len(name.string) :]
        if not text.startswith((" ", "\t")) or not text.endswith(("?", "\\")) or not self._shell.automagic:
            return None
        if text.lstrip().startswith("=") or name.string in self._shell.user_ns:
            return None
        row, column = name.start
        return TypedLine(row - 1, column, row - 1, column, name.string, escape="")

    def _at(self, tokens: Tokens, begin: int, index: int) -> TypedLine | None:
        """Return what begins at a %, if it is one of our magics and not a request for its help."""
        if not _is(tokens, index, "%") or index + 1 >= len(tokens):
            return None
        name = tokens[index + 1]
        if name.type != tokenize.NAME or name.start != tokens[index].end or not self._is_ours(name.string):
            return None
        if index + 2 < len(tokens):
            following = tokens[index + 2]
            # %send? and %send??, and what is no text of ours either, such as %send.x
            if following.start == name.end and following.string.strip():
                return None
        (start_row, start_column), (row, column) = tokens[begin].start, tokens[index].start
        return TypedLine(start_row - 1, start_column, row - 1, column, name.string)

    def _is_text_of_ours(self, text: str) -> bool:
        """Return whether the last line of a cell that is not blank belongs to one of our magics."""
        cell_magic = re.match(r"\s*%%(\w+)", text)
        if cell_magic is not None and self._is_ours_in_a_cell(cell_magic[1]):
            return True
        last = text.rpartition("\n")[2]
        found = re.match(r"\s*(?:>>> |\.\.\. |In \[\d+\]: )?(?:[^=%'\"#]*=\s*)?%(\w+)[ \t]", last)
        return found is not None and self._is_ours(found[1])


@dataclass(frozen=True)
class TypedLine:
    """One line of a magic, as IPython's transformers describe it; rows and columns are counted from 0.

    Attributes:
        start_line: the row where the statement begins.
        start_col: its column.
        row: the row where the magic begins.
        column: its column.
        name: the magic's.
        escape: what is in front of the name.

    """

    start_line: int
    start_col: int
    row: int
    column: int
    name: str
    escape: str = "%"
    priority: ClassVar[int] = HelpEnd.priority - 1
    """IPython sorts by place and this: ours come before what it finds at the same place."""

    def transform(self, lines: list[str]) -> list[str]:
        """Return the lines with a call instead of the magic; IPython strips blanks at its end, as always."""
        line = lines[self.row]
        text = line[self.column + len(self.escape) + len(self.name) :].rstrip()
        call = f"get_ipython().run_line_magic({self.name!r}, {text[1:]!r})\n"
        return [*lines[: self.row], line[: self.column] + call, *lines[self.row + 1 :]]


def _begin(tokens: Tokens) -> int:
    """Return the index of the first token that is not indentation."""
    for index, token in enumerate(tokens):
        if token.type not in _INDENTATION:
            return index
    return len(tokens)


def _is(tokens: Tokens, index: int, *strings: str) -> bool:
    return index < len(tokens) and tokens[index].string in strings
