r"""The cell that runs: how its text was typed, and which of its results are shown already.

IPython takes a cell apart before a magic sees it. Here it is done so that a magic's body arrives as it was
written, and that the result of a magic which has said enough is not shown a second time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from IPython.core.inputtransformer2 import cell_magic

from ..output.front import Front
from .table import MAGICS

__all__ = ["Cells", "ends_with_magic", "lines_of"]

_CELL_MAGIC = re.compile(r"\s*(?:>>> |In \[\d+\]: )?%%\w")
_LAST_MAGIC = re.compile(rf"\s*(?:%time[ \t]+)?%?(?:{'|'.join(MAGICS)})(?:[ \t]+(?![=(.,]).*)?\Z")


def lines_of(body: str, *, typed_at_prompt: bool = False) -> list[str]:
    r"""Split a cell's body into lines: at \n and nowhere else; the last line end begins no line.

    Args:
        body: the text below the %%magic.
        typed_at_prompt: whether an empty line at the end only told a terminal that the cell is complete.

    """
    lines = (body.removesuffix("\n") if typed_at_prompt and body.endswith("\n\n") else body).split("\n")
    if not lines[-1]:
        lines.pop()
    return lines or [""]


def ends_with_magic(cell: str) -> bool:
    """Return whether the last expression of a cell is one of our magics, not assigned to anything."""
    stripped = cell.strip()
    if stripped.startswith("%%"):
        first, _, body = stripped.partition("\n")
        name = re.match(r"%%(\w+)", first)
        # What another cell magic gives, such as %%time, is what its body gives.
        return name is not None and (name[1] in MAGICS or (bool(body) and ends_with_magic(body)))
    return _LAST_MAGIC.match(stripped.rpartition("\n")[2]) is not None


class Cells:
    """What is known of the running cell of one shell.

    Args:
        shell: IPython's shell.
        front: what shows the cells.
        is_ours: whether a cell magic of that name is one of ours now.

    """

    def __init__(self, shell: Any, front: Front, is_ours: Callable[[str], bool]) -> None:
        self._shell = shell
        self._front = front
        self._is_ours = is_ours
        # The cell that loads the extension may go on with a magic; its beginning has passed.
        history: Any = shell.history_manager
        self._text: str = history.input_hist_raw[-1] if history is not None else ""
        self._typed_at_prompt = False

    def began(self, info: Any) -> None:
        """Take IPython's word that a cell begins to run; `info` is its ExecutionInfo."""
        self._text = info.raw_cell or ""
        # What %run or a program runs in a terminal was not typed there, and is not kept in the history.
        has_prompt = self._front is Front.CONSOLE or getattr(self._shell, "pt_app", None) is not None
        typed = has_prompt and bool(info.store_history)
        self._typed_at_prompt = typed and _CELL_MAGIC.match(self._text) is not None

    def ended(self) -> None:
        """Hear that it has ended."""
        self._typed_at_prompt = False

    def lines(self, body: str) -> list[str]:
        """Return the lines of a cell magic's body."""
        return lines_of(body, typed_at_prompt=self._typed_at_prompt)

    def take_apart(self, lines: list[str]) -> list[str]:
        """Transform the input before IPython does: take a cell of ours apart while its body is as written.

        Else IPython takes leading `>>> ` and `... ` off, and indentation that all lines share.
        """
        first, _, body = "".join(lines).lstrip().partition("\n")
        word = first.rstrip().partition(" ")[0]
        name = word.removeprefix("%%")
        if name != word and self._is_ours(name):
            lines = cell_magic([f"{first}\n", body])
        return lines

    # At a prompt IPython leaves it out when it asks whether a cell is complete, which the %% tells it.
    take_apart.has_side_effects = True  # type: ignore[attr-defined]

    def hide(self, result: object, *, shown: bool = False) -> None:
        """Keep IPython from showing `result`, of which enough was said, as the cell's last expression.

        It still becomes `_` and the cell's result, and shows where the user asks for it.

        Args:
            result: what the magic returns.
            shown: whether it stands under this cell already, so that not even a user who asks for it there
                wants it twice.

        """
        if not (shown or ends_with_magic(self._text)):
            return
        hook = sys.displayhook
        if isinstance(hook, _Hiding):
            hook.results.append(result)
        elif hook is getattr(self._shell, "displayhook", None):
            sys.displayhook = _Hiding(hook, result)

    def show_again(self) -> None:
        """Hide nothing more in the running cell."""
        if isinstance(sys.displayhook, _Hiding):
            sys.displayhook = sys.displayhook.hook


class _Hiding:
    """A display hook that shows some results not at all; at the end of the cell IPython takes it away."""

    def __init__(self, hook: Any, result: object) -> None:
        self.hook = hook
        self.results = [result]

    def __call__(self, value: object = None) -> None:
        if not any(value is result for result in self.results):
            self.hook(value)
            return
        self.hook.check_for_underscore()
        self.hook.update_user_ns(value)
        self.hook.fill_exec_result(value)
