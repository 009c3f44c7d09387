"""README, CHANGELOG, CONTRIBUTING and their kin agree with each other, and lead nowhere that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import ipyreconnect

ROOT: Final = Path(__file__).resolve().parents[1]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAPERS: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "findings/README.md")

LINK: Final = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def linked(text: str) -> list[str]:
    """Find the places beside a paper that it leads to."""
    return [target for target in LINK.findall(text) if not re.match(r"https?:|mailto:", target)]


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_paper_links_to_is_there_and_is_shipped(paper: str) -> None:
    """Each link beside it leads to a file of the repository, which is in the source distribution, too."""
    shipped = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for target in linked(read(paper)):
        there = (ROOT / paper).parent / target
        assert there.exists(), target
        top = "/" + there.resolve().relative_to(ROOT).parts[0]
        assert top in shipped, f"{top} is not in the source distribution"
    assert f"/{Path(paper).parts[0]}" in shipped


def test_on_pypi_the_readme_has_no_dead_link() -> None:
    """There it has nothing beside it: what is made of it there leads to full addresses, and is whole."""
    text = read("README.md")
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert linked(text) == []
    assert "![" not in text
    headings = [line for line in read("README.md").splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == headings
    assert len(text) > 0.95 * len(read("README.md"))
    assert "\n\n\n" not in text


def test_the_version_is_the_changelog_s_newest() -> None:
    """What `__version__` says has a dated heading, the first one below what is not released yet."""
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(ipyreconnect.__version__)}\] - \d{{4}}-\d\d-\d\d", headings[1])


def test_the_pythons_named_are_the_pythons_tested() -> None:
    """The classifiers, the workflow and the oldest one that pip takes name the same versions."""
    named = [
        classifier.rpartition(" ")[2]
        for classifier in PROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", classifier)
    ]
    (matrix,) = re.findall(r"python: \[(.*)\]", read(".github/workflows/test.yml"))
    assert re.findall(r'"([\d.]+)"', matrix) == named
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


def test_every_action_is_pinned() -> None:
    """A workflow runs what was looked at: a commit, with its version beside it, and no branch or tag."""
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
        assert used
        assert [action for action in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", action)] == []


@pytest.mark.parametrize("paper", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_every_target_that_a_paper_names_can_be_made(paper: str) -> None:
    """`make x` in a paper is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([a-z]+)", read(paper), re.MULTILINE)
    assert set(named) <= targets


def test_addresses_of_the_project_exist() -> None:
    """There is no public address yet, and none is made up."""
    assert "urls" not in PROJECT["project"]
