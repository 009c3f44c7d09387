"""Makes the texts of the page: one script of a widget's modules, and its styles.

anywidget loads the text of one module from a blob: URL, which is no base for a relative import. Import maps
belong to the whole page, which is the notebook's; modules as data: URLs would be loaded anew by each
importer, and many content policies forbid them. So the modules are put into one, as a bundler would do, but
here: users need no Node, and what they install is what was written.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["bundle", "script", "style"]

_IMPORT = re.compile(
    r'^import \{(?P<names>\s*\w+(?:,\s*\w+)*,?\s*)\} from "\./(?P<file>\w+\.mjs)";$', re.MULTILINE
)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (?P<name>\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"^export default (?=\{)", re.MULTILINE)
_UNKNOWN = re.compile(r"^(?:import|export)\b.*|\bimport\s*[(.].*", re.MULTILINE)


def script(entry: str) -> str:
    """Return web/`entry`.mjs and all that it imports as the text of one module."""
    return bundle(files(__package__) / "web", f"{entry}.mjs")


def style(*names: str) -> str:
    """Return some style sheets of web/, one after the other."""
    folder = files(__package__) / "web"
    return "\n".join((folder / f"{name}.css").read_text(encoding="utf-8") for name in names)


def bundle(folder: Traversable, entry: str) -> str:
    """Return a module and all that it imports, from one folder, as the text of one module.

    Each module becomes a function that runs once, so that its names stay its own; the entry comes last, as it
    is. What can be imported and exported:

        import { name, other } from "./module.mjs";     at the beginning of a line
        export const name …                             or function, async function, function*, class
        export default { …                              the entry only

    Raises:
        ValueError: for any other form, for a name that a module does not export, and for modules that import
            each other in a circle.

    """
    return "\n".join(_Bundler(folder).add(entry, is_entry=True))


class _Bundler:
    def __init__(self, folder: Traversable) -> None:
        self._folder = folder
        self._exports: dict[str, set[str] | None] = {}
        """The names that a module exports; None while its imports are followed."""

    def add(self, file: str, *, is_entry: bool = False) -> list[str]:
        """Return the texts of the modules that a module needs, unless they are there, and then its own."""
        text = (self._folder / file).read_text(encoding="utf-8")
        self._exports[file] = None
        texts = []
        for match in _IMPORT.finditer(text):
            needed = match["file"]
            if needed not in self._exports:
                texts += self.add(needed)
            exported = self._exports[needed]
            if exported is None:
                raise ValueError(f"{file} and {needed} import each other")
            if unknown := set(_names(match["names"])) - exported:
                raise ValueError(
                    f"{file} imports {', '.join(sorted(unknown))}, which {needed} does not export"
                )
        exports = [match["name"] for match in _EXPORT.finditer(text)]
        self._exports[file] = set(exports)
        body = _EXPORT.sub("", _IMPORT.sub(_binding, text))
        rest = _DEFAULT.sub("", body) if is_entry else body
        if unknown_form := _UNKNOWN.search(rest):
            raise ValueError(f"{file}: cannot be bundled: {unknown_form[0]}")
        if not is_entry:
            body = f"const {_variable(file)} = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"
        return [*texts, f"// {file}\n{body}"]


def _binding(match: re.Match[str]) -> str:
    """Return what an import becomes, with as many lines."""
    lines = "\n" * match[0].count("\n")
    return f"const {{ {', '.join(_names(match['names']))} }} = {_variable(match['file'])};{lines}"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _variable(file: str) -> str:
    return f"${file.removesuffix('.mjs')}"
