"""What Tab offers behind our magics, as values and through a real IPython."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter

from ipyreconnect.jupyter.magics.completion import Known, addresses_in, files, make_matcher, offer
from tests.jupyter.shells import new_shell, run
from tests.servers.line_server import LineServer

KNOWN = Known(
    names=("imap.example.org", "redis", "relay"), addresses=("imaps://imap.example.org", "127.0.0.1:6379")
)


def texts(before: str, *, automagic: bool = False) -> tuple[str, ...]:
    found = offer(before, KNOWN, automagic=automagic)
    return found.texts if found else ()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("%connect --na", ("--name",)),
        ("r = %connect --na", ("--name",)),
        ("r.client, x[0] = %connect --na", ("--name",)),
        ("%%connect --na", ("--name",)),
        ("  %connect h:1 --na", ("--name",)),
        ("%connect --name x --n", ("--no-tls", "--no-verify", "--no-panel")),
        ("%connect --reply a=b --rep", ("--reply",)),
        ("%connect --keepalive ", ("5/3/3", "1/1/2", "30/5/3", "60/10/6", "off")),
        ("%connect --keepalive o", ("off",)),
        ("%connect --keepalive=5", ("--keepalive=5/3/3",)),
        ("%connect --eol cr", ("crlf", "cr")),
        ("%connect --framing ", ("lines", "announced", "raw")),
        ("%connect --encoding iso-8859-1", ("iso-8859-1", "iso-8859-15")),
        ("%connect --heartbeat 'NOOP x' --heartbeat-", ("--heartbeat-every", "--heartbeat-unanswered")),
        ("%connect h:1 --si", ("--silence",)),
        ("%connect ima", ("imaps://imap.example.org", "imap://", "imaps://")),
        ("%connect imaps://im", ("imaps://imap.example.org",)),
        ("%connect 127", ("127.0.0.1:6379",)),
        ("%connect --ticks redi", ("redis://", "rediss://")),
        ("%connect -- redi", ("redis://", "rediss://")),
        ("%send --ex", ("--expect",)),
        ("%send -c re", ("redis", "relay")),
        ("%send -c=re", ("-c=redis", "-c=relay")),
        ("%%send -c imap.example.org --q", ("--queue",)),
        ("m = %expect OK --ti", ()),
        ("m = %expect --ti", ("--timeout",)),
        ("%stop re", ("redis", "relay")),
        ("%stop --a", ("--all",)),
        ("%panel i", ("imap.example.org",)),
        ("%keepalive 3", ("30/5/3",)),
        ("%heartbeat ", ("off", "-c", "--every", "--unanswered")),
        ("%heartbeat --every 5 --", ("--unanswered",)),
        ("%heartbeat -c re", ("redis", "relay")),
        ("%heartbeat o", ("off",)),
    ],
)
def test_options_values_names_schemes_and_addresses_are_offered(
    before: str, expected: tuple[str, ...]
) -> None:
    """Tab offers what can stand there, and nothing that stands there already."""
    assert texts(before) == expected


@pytest.mark.parametrize(
    "before",
    [
        "%connect",
        "%connection --na",
        "%send 1 noop --ex",
        "%send --expect --",
        "%send --expect OK 1 no",
        "%send -- --ex",
        "%connect --heartbeat NO",
        "%heartbeat NOOP --ev",
        "%heartbeat -- o",
        "%connect --name i",
        "connect --na",
        "print(%connect --na",
        "x",
        "",
        "%timeit --na",
    ],
)
def test_nothing_is_offered_where_the_text_is_the_users(before: str) -> None:
    """In a payload, in a free value, and elsewhere IPython's own completion is left alone."""
    assert texts(before) == ()


def test_without_a_percent_sign_where_automagic_is_on() -> None:
    """`connect --na` completes like `%connect --na`; a variable of that name does not."""
    assert texts("connect --na", automagic=True) == ("--name",)
    assert texts("stop re", automagic=True) == ("redis", "relay")
    for before in ("connect = --na", "connect (--na", "stop .re", "send, --ex"):
        assert texts(before, automagic=True) == ()


@given(st.text())
def test_no_line_upsets_it(text: str) -> None:
    """Whatever is typed, what is offered begins with what stands before the cursor."""
    for magic in ("%connect ", "%send ", "%expect ", "%stop "):
        found = offer(magic + text, KNOWN)
        assert found is None or all(one.startswith(found.fragment) for one in found.texts)
        assert found is None or (magic + text).endswith(found.fragment)


def test_files_are_offered_with_their_directories(tmp_path: Path) -> None:
    """--cafile completes paths; a name with blanks only between quotes."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "certs").mkdir()
    (tmp_path / "c d.pem").touch()
    (tmp_path / ".hidden").touch()
    assert files(f"{tmp_path}/c") == [f"{tmp_path}/ca.pem", f"{tmp_path}/certs/"]
    assert files(f"'{tmp_path}/c d") == [f"'{tmp_path}/c d.pem"]
    assert files(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert files(f"{tmp_path}/none/") == []
    assert texts(f"%connect h:1 --cafile {tmp_path}/ca") == (f"{tmp_path}/ca.pem",)


def test_addresses_are_taken_from_what_was_typed() -> None:
    """Addresses used before are offered; what is no address, and a password in one, never is."""
    cells = [
        "%connect imaps://imap.example.org --name x",
        "x = 1\nc = %connect --ticks 127.0.0.1 6379",
        "%%connect tcp://h:1\n1 login",
        "%connect imaps://user:password@h",
        "%connect --nonsense h:1",
        "%connect",
        "print('%connect')",
        "%connect imaps://imap.example.org",
    ]
    assert addresses_in(cells) == ["imaps://imap.example.org", "127.0.0.1 6379", "tcp://h:1"]


@pytest.fixture
def offering() -> Iterator[Any]:
    with new_shell() as shell:
        matcher = make_matcher(shell, lambda: KNOWN)
        shell.Completer.custom_matchers.append(matcher)
        yield shell


def completions(shell: Any, text: str) -> list[tuple[int, str]]:
    with provisionalcompleter():
        return [(found.start, found.text) for found in shell.Completer.completions(text, len(text))]


def test_ipython_offers_ours_and_only_ours(offering: Any) -> None:
    """In IPython itself no builtin is offered beside our options, also behind an assignment."""
    for line in ("%connect --na", "r = %connect --na", "x = 1\nr = %connect --na"):
        assert completions(offering, line) == [(len(line) - len("--na"), "--name")]
    assert completions(offering, "%connect imaps://im") == [(9, "imaps://imap.example.org")]
    assert completions(offering, "%connect --keepalive=o") == [(9, "--keepalive=off")]
    found = completions(offering, "%connect --")
    assert len(found) == len(set(found))
    assert all(text.startswith("--") for _, text in found)


def test_ipythons_own_completion_stays(offering: Any) -> None:
    """Other code, and the body of a cell magic, complete as without us."""
    assert "print" in [text for _, text in completions(offering, "pri")]
    assert not [text for _, text in completions(offering, "%%send\n%connect --na") if text == "--name"]


def offered(shell: Any, text: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def test_addresses_of_this_and_earlier_sessions_are_offered(
    shell: Any, server: LineServer, tmp_path: Path
) -> None:
    """Tab behind %connect offers where one has been before."""
    run(shell, f"%connect {server.address} --name x")
    assert offered(shell, "%connect 127") == [server.address]
    assert offered(shell, "%send -c ") == ["x"]
