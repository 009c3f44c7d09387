"""Who may import whom: the package's storeys as one table; the source is read, and nothing of it is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = Path(__file__).resolve().parents[1] / "ipyreconnect"

VALUES: Final = ("errors", "logical", "mask", "settings", "secret", "profile", "address")
FACADE: Final = (*VALUES, "forking", "lines", "protocol", "client")

STOREYS: Final[Mapping[str, tuple[str, ...]]] = {
    "errors": (),
    "logical": (),
    "forking": (),
    "mask": ("errors",),
    "settings": ("errors",),
    "secret": ("errors", "mask", "settings"),
    "profile": ("errors", "logical"),
    "address": ("errors", "profile"),
    "lines": (*VALUES, "forking"),
    "protocol": (*VALUES, "lines"),
    "network": (*VALUES, "forking", "lines", "protocol"),
    "client": (*VALUES, "forking", "lines", "protocol", "network"),
    # The skins know the façade and the values that it hands out, and nothing of how it gets them.
    "jupyter": FACADE,
    "jupyter.output": (*FACADE, "jupyter"),
    "jupyter.panel": (*FACADE, "jupyter", "jupyter.output"),
    "jupyter.display": (*FACADE, "jupyter", "jupyter.output", "jupyter.panel"),
    "jupyter.magics": (*FACADE, "jupyter", "jupyter.output", "jupyter.panel"),
}
"""Each room, lowest first, and the rooms whose modules it may import; its own modules always."""

KNOWN: Final[Mapping[tuple[str, str], str]] = {}
"""Imports against the table or in a circle that are known, and how each came about. This list only shrinks:
one that is gone must leave it."""

RUNNING: Final = frozenset(("asyncio", "concurrent", "multiprocessing", "subprocess"))
SYSTEM: Final = RUNNING | {"ctypes", "fcntl", "select", "selectors", "signal", "socket"}
SKINS: Final = frozenset(("IPython", "anywidget", "ipywidgets", "ipykernel", "comm", "jupyter_client"))

FOREIGN: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((*VALUES, "lines"), SYSTEM | SKINS),
    # Bytes and `now` come in, bytes and events go out: the rules can be tested with literal numbers.
    "protocol": SYSTEM | SKINS | {"os", "random", "threading", "time"},
    "network": SKINS,
    "client": SKINS,
}
"""What no module of a room may import from outside the package."""


PRIVATE: Final = re.compile(r"_[^_].*(?<!_)")
"""A private name; `_repr_html_` and the like are others' protocols."""


class Import(NamedTuple):
    """One import statement's target: whose it is, what it names, and where it stands."""

    by: str
    of: str
    line: int
    names: tuple[str, ...] = ()


def modules() -> Mapping[str, Path]:
    """Name every module of the package, without the package's own name: its `__init__` is empty text."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES: Final = modules()


def room_of(module: str) -> str:
    """Find the room that a module stands in: the longest name of the table that it begins with."""
    fitting = [room for room in STOREYS if module == room or module.startswith(f"{room}.")]
    return max(fitting, key=len, default="")


def imports_of(name: str, tree: ast.Module) -> Iterator[Import]:
    """Read every import of a module, also in functions and for type checkers only.

    What is outside the package has a name with a colon in front. `from . import x` is an import of the
    module x where there is one, else of the package.
    """
    package = name if MODULES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, _inside(alias.name), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _inside(node.module or "")
            if node.level:
                parts = package.split(".") if package else []
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, *filter(None, [node.module])])
            targets = {f"{base}.{alias.name}".lstrip(".") for alias in node.names} & MODULES.keys()
            if len(targets) < len(node.names):
                targets.add(base)  # at least one of the names is no module, but stands in this one
            for target in targets:
                yield Import(name, target, node.lineno, tuple(alias.name for alias in node.names))


def _inside(name: str) -> str:
    """Take the package's own name away, or mark the name as one from outside."""
    top, _, rest = name.partition(".")
    return rest if top == PACKAGE.name else f":{top}"


TREES: Final = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
IMPORTS: Final = [found for name, tree in TREES.items() for found in imports_of(name, tree)]


def is_allowed(by: str, of: str) -> bool:
    """Say whether the table lets one module import the other; the package's own `__init__` may name all."""
    return not by or room_of(of) == room_of(by) or room_of(of) in STOREYS[room_of(by)]


def circles(edges: set[tuple[str, str]]) -> list[set[str]]:
    """Find the modules that import each other, directly or over others (Tarjan's components)."""
    following: dict[str, set[str]] = {}
    for by, of in edges:
        following.setdefault(by, set()).add(of)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in following.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            begin = stack.index(module)
            component = set(stack[begin:])
            del stack[begin:]
            if len(component) > 1:
                found.append(component)

    for module in sorted(following):
        if module not in index:
            visit(module)
    return found


INSIDE: Final = {(i.by, i.of) for i in IMPORTS if not i.of.startswith(":") and i.by != i.of}


def test_every_module_stands_in_a_room_of_the_table() -> None:
    """A new room is a decision: it is put into the table, at its height, before anything stands in it."""
    assert [name for name in MODULES if name and not room_of(name)] == []


def test_imports_go_down_only() -> None:
    """No module imports from a storey above its own, not even in a function or for its types."""
    up = [i for i in IMPORTS if not i.of.startswith(":") and not is_allowed(i.by, i.of)]
    assert [f"{i.by}:{i.line} imports {i.of}" for i in up if (i.by, i.of) not in KNOWN] == []


def test_nobody_imports_the_front_door() -> None:
    """What users import from `ipyreconnect` is for them: a module imports from where a thing really is."""
    assert [f"{i.by}:{i.line}" for i in IMPORTS if i.of == "" and i.by] == []


def test_no_modules_import_each_other() -> None:
    """There are no circles, not even over imports in functions or for types."""
    assert circles(INSIDE - KNOWN.keys()) == []


def test_what_is_known_still_occurs() -> None:
    """The list of exceptions only shrinks: one that is mended, or was never needed, leaves it."""
    in_circle = circles(INSIDE)
    needed = {
        (by, of)
        for by, of in INSIDE
        if not is_allowed(by, of) or any(by in circle and of in circle for circle in in_circle)
    }
    assert sorted(KNOWN.keys() - needed) == []


def test_no_room_imports_what_is_not_its_business() -> None:
    """The rules know no sockets, threads or clocks, and below the skins nobody knows IPython."""
    foreign = [
        f"{i.by}:{i.line} imports {i.of[1:]}"
        for i in IMPORTS
        if i.of.startswith(":") and i.of[1:] in FOREIGN.get(room_of(i.by), ())
    ]
    assert foreign == []


def test_only_the_front_door_imports_by_text() -> None:
    """A module of ours that is imported by its name in a text would escape this table."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if name and isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                target = node.args[0]
                assert isinstance(target, ast.Constant), f"{name}:{node.lineno}"
                assert not str(target.value).startswith((".", PACKAGE.name)), f"{name}:{node.lineno}"


def test_no_room_reads_the_private_fields_of_another() -> None:
    """A leading underscore is for the room alone: what others need has a name that can be relied upon."""
    private = {name: set(_private_names(tree)) for name, tree in TREES.items()}
    rooms: dict[str, set[str]] = {}
    for name, names in private.items():
        rooms.setdefault(room_of(name), set()).update(names)
    reads = [
        f"{name}:{node.lineno} reads {ast.unparse(node)}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and PRIVATE.fullmatch(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in rooms[room_of(name)]
        and any(node.attr in names for names in rooms.values())
    ]
    taken = [
        f"{found.by}:{found.line} imports {name} of {found.of}"
        for found in IMPORTS
        for name in found.names
        if PRIVATE.fullmatch(name) and room_of(found.of) != room_of(found.by) and found.of[:1] != ":"
    ]
    assert reads + taken == []


def _private_names(tree: ast.Module) -> Iterator[str]:
    """Find the private names that a module defines: functions, classes, fields, class attributes."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names = [node.attr] if isinstance(node.value, ast.Name) and node.value.id == "self" else []
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        yield from (name for name in names if PRIVATE.fullmatch(name))


@pytest.mark.parametrize(
    ("by", "source", "of"),
    [
        ("client.client", "from ..errors import X", ["errors"]),
        ("client.client", "from .. import errors", ["errors"]),
        ("client.client", "from . import follow, nothing", ["client", "client.follow"]),
        ("client", "from .client import Client", ["client.client"]),
        ("client.client", "from .. import __version__", [""]),
        ("errors", "def f():\n    from .jupyter.aside import x", ["jupyter.aside"]),
        ("errors", "if TYPE_CHECKING:\n    from .settings import TLS", ["settings"]),
        ("errors", "import ipyreconnect.settings as s, socket, os.path", ["settings", ":os", ":socket"]),
        ("errors", "from ipyreconnect import Client", [""]),
    ],
)
def test_the_reader_of_imports_sees_every_way_of_writing_one(by: str, source: str, of: list[str]) -> None:
    """A function, a block for type checkers, dots, absolute names: no way of importing escapes the table."""
    assert sorted(i.of for i in imports_of(by, ast.parse(source))) == sorted(of)


def test_a_circle_is_found_over_three_modules() -> None:
    """What imports in a line is no circle; what comes back to its beginning is one, whole."""
    line = {("a", "b"), ("b", "c"), ("a", "c")}
    assert circles(line) == []
    assert circles({*line, ("c", "a"), ("c", "d")}) == [{"a", "b", "c"}]
