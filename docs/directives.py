"""Sphinx's side of the site: a directive for the tables made from the code, and one for the tour."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from docs import catalogue, tour

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class Catalogue(SphinxDirective):
    """Show one of the tables of `docs/catalogue.py`, such as `{catalogue} protocols`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table's Markdown, and have it parsed as if it stood in the page."""
        return _parsed(self, catalogue.PARTS[self.arguments[0]](), f"<{self.arguments[0]}>")


class Tour(SphinxDirective):
    """Show the guided tour's cells, each with what it showed when it was last recorded."""

    def run(self) -> list[nodes.Node]:
        """Make Markdown of the notebook; the page is built anew when that or the recording changes."""
        for path in (tour.NOTEBOOK, tour.RECORDING):
            self.env.note_dependency(str(path))
        return _parsed(self, tour.page(), "<tour>")


def _parsed(directive: SphinxDirective, lines: list[str], source: str) -> list[nodes.Node]:
    holder = nodes.Element()
    directive.state.nested_parse(
        StringList(lines, source=source), directive.content_offset, holder, match_titles=True
    )
    return holder.children


def _let_plurals_be(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Let a docstring write `Line`s: reST wants something between the quote and the letter behind it."""
    lines[:] = [re.sub(r"(?<![`\\])(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives, and what docstrings need."""
    app.connect("autodoc-process-docstring", _let_plurals_be)
    app.add_directive("catalogue", Catalogue)
    app.add_directive("tour", Tour)
    return {"parallel_read_safe": True}
