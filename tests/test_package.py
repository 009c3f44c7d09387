"""What `import ipyreconnect` offers: each public name at run time, for type checkers and in `__all__`."""

from __future__ import annotations

import ast
from pathlib import Path

import ipyreconnect


def typed() -> dict[str, str]:
    """Return which names a type checker is told of, and from which module each comes."""
    tree = ast.parse(Path(ipyreconnect.__file__).read_text(encoding="utf-8"))
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.asname: f"ipyreconnect.{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname is not None
    }


def test_each_public_name_is_where_type_checkers_look_for_it() -> None:
    """A name that was moved or added in one of the three places, and not in the others, shows here."""
    extension = {"load_ipython_extension", "unload_ipython_extension"}
    homes = typed()
    assert set(ipyreconnect.__all__) == homes.keys() | extension
    assert set(ipyreconnect.__all__) <= set(dir(ipyreconnect))
    for name, home in homes.items():
        assert getattr(ipyreconnect, name).__module__ == home
