"""The site is built without a warning, names all that is public, and leads nowhere that is not there."""

from __future__ import annotations

import html.parser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ipyreconnect
from docs import catalogue
from ipyreconnect.jupyter.magics.table import MAGICS
from ipyreconnect.profile.base import PROFILES
from tests.docs.pages import DOCS, ROOT

pytestmark = pytest.mark.docs

ELSEWHERE = (
    "https://voila.readthedocs.io",
    "https://github.com/voila-dashboards/voila/issues/1458",
    "https://marimo.io",
    "https://github.com/pradyunsg/furo",  # the theme says who made it
)
"""The only sites that ours links to; nothing is loaded from anywhere else."""


class Links(html.parser.HTMLParser):
    """What a page leads to and loads, and what it can be entered at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if anchor := values.get("id"):
            self.anchors.add(anchor)
        if tag == "a" and (target := values.get("href")):
            self.targets.append(target)
        if tag in ("img", "script", "iframe", "source") and (source := values.get("src")):
            self.loaded.append(source)
        if tag == "link" and (source := values.get("href")):
            self.loaded.append(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def linked(site: Path) -> dict[Path, Links]:
    """The links of each of its pages."""
    return {path: Links(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_no_link_inside_is_dead(site: Path, linked: dict[Path, Links]) -> None:
    """Each link leads to a page and a place in it that are there; those outside are known by name."""
    dead = []
    for path, links in linked.items():
        for target in [*links.targets, *links.loaded]:
            parts = urlsplit(target)
            if parts.scheme:
                if not target.startswith(ELSEWHERE):
                    dead.append(f"{path.name}: {target} leads out")
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                dead.append(f"{path.name}: {target}")
            elif there in linked and parts.fragment and unquote(parts.fragment) not in linked[there].anchors:
                dead.append(f"{path.name}: {target} has no such place")
    assert dead == []


def test_a_reader_without_a_network_misses_nothing(linked: dict[Path, Links]) -> None:
    """No script, font, style or picture comes from elsewhere: the site can be read from the disk."""
    assert [source for links in linked.values() for source in links.loaded if urlsplit(source).netloc] == []


def test_all_that_is_public_is_on_the_page_of_the_interface(linked: dict[Path, Links], site: Path) -> None:
    """Each name in `__all__` has an entry, and so has each method of a client that completion offers."""
    anchors = linked[site / "reference" / "python.html"].anchors
    assert {f"ipyreconnect.{name}" for name in ipyreconnect.__all__} <= anchors
    inherited = set(dir(ipyreconnect.Client.__base__)) - {"observe", "unobserve", "unobserve_all"}
    traits = set(ipyreconnect.Client.class_traits())
    offered = {name for name in dir(ipyreconnect.Client) if name[0] != "_"} - inherited - traits
    assert {f"ipyreconnect.Client.{name}" for name in offered} <= anchors


def test_the_tables_have_all_that_the_code_has(site: Path) -> None:
    """Each scheme, each option of each magic, each default and each trait is in its table."""
    protocols = (site / "reference" / "protocols.html").read_text(encoding="utf-8")
    magics = (site / "reference" / "magics.html").read_text(encoding="utf-8")
    for scheme in PROFILES:
        assert f">{scheme}<" in protocols
    for name, magic in MAGICS.items():
        (section,) = (part for part in magics.split("<h2>") if f">%{name}<" in part.partition("</h2>")[0])
        for option in magic.options:
            assert f">{option.name}<" in section, (name, option.name)


def test_a_table_escapes_what_would_be_markup() -> None:
    """Bars, stars and angle brackets of an expression or a help text are shown, not obeyed."""
    assert catalogue.code("a|b") == "`a\\|b`"
    assert catalogue.code("a`b") == "`` a`b ``"
    assert catalogue.prose("``x`` and --name, not *this* or <that>") == (
        "`x` and `--name`, not \\*this\\* or \\<that\\>"
    )
    assert catalogue.table(("a", "b"), [("1", ""), ("2\n3", "")]) == [
        "| a |",
        "|---|",
        "| 1 |",
        "| 2 3 |",
        "",
    ]


def test_files_that_a_page_names_exist() -> None:
    """What the page on the architecture sends its reader to is there."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "ipyreconnect"
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|mjs))?|[a-z_]+\.py)`", text)
    assert len(named) > 30
    places = (ROOT, package, package / "jupyter")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
