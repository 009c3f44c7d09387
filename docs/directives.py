"""Sphinx's side of the site: a directive for the tables made from the code, and one for the tour."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective

from docs import catalogue, tour
from ipyreconnect import Client

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


def _read_google_style(
    app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]
) -> None:
    """Make reST of a docstring in Google's style.

    Sphinx's own extension for that takes what stands before the first colon of a property's docstring for its
    type. And `Line`s is what a docstring may write: reST wants something between the quote and the letter.
    """
    spaced = [re.sub(r"(?<![`\\])(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]
    kind = "function" if what in ("property", "attribute", "data") else what
    lines[:] = GoogleDocstring(spaced, Config(), app, kind, name, of, options).lines()


def _show_the_client_s_arguments(
    app: Sphinx, what: str, name: str, of: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Show what a client is made from, where autodoc sees what all classes of traitlets are: anything."""
    if of is not Client:
        return None
    # Behind the address all goes by name; `more` is there to refuse what does not.
    made = inspect.signature(Client.__init__)
    shown = [
        part for part in made.parameters.values() if part.name != "self" and part.kind != part.VAR_POSITIONAL
    ]
    address, *named = (part.replace(annotation=part.empty) for part in shown)
    return f"({', '.join(map(str, [address, '*', *named]))})", returns


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives, and what docstrings need."""
    app.connect("autodoc-process-docstring", _read_google_style)
    app.connect("autodoc-process-signature", _show_the_client_s_arguments)
    app.add_directive("catalogue", Catalogue)
    app.add_directive("tour", Tour)
    return {"parallel_read_safe": True}
