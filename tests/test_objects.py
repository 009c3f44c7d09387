"""What runs can be found, what cannot be set says so, and completion offers what is for users."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import pytest
import traitlets
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets import TraitError

from ipyreconnect import Client, Retry, SettingsError, Transcript
from tests.servers.line_server import LineServer, echo
from tests.watching import PATIENCE

PUBLIC = {
    *("add_reply", "address", "all", "ask", "asend", "attempt", "connect", "connected_since", "encoding"),
    *("aask", "aexpect"),
    *("eol", "expect", "follow", "framing", "health", "heartbeat", "heartbeat_answered", "hide", "keepalive"),
    *("keepalive_in_force", "name", "observe", "off_line", "on_connect", "on_line", "phase", "reason"),
    *("reconnect_now", "retry", "retry_at", "send", "set_keepalive", "silence", "state", "status", "stop"),
    *("tls", "transcript", "unconfirmed", "unobserve", "unobserve_all"),
}
OF_TRANSCRIPTS = {
    *("byte_limit", "encoding", "end", "first", "forgotten", "hide", "line_limit", "lines", "load"),
    *("longest_line", "save", "search", "text", "to_dataframe"),
}
NOWHERE = "127.0.0.1:1"


class Mine(Client):
    """What a user makes of a client."""

    limit = traitlets.Int(3)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.before = 1
        super().__init__(*args, **kwargs)
        self.count = 0


# -- Client.all() --------------------------------------------------------------------------------------------


def test_what_runs_is_found_in_the_order_in_which_it_was_started() -> None:
    """From connect to stop, however often; one that was only made is not among them."""
    with LineServer(echo) as server:
        first, second, made = (Client(server.address, name=name) for name in ("first", "second", "made"))
        assert Client.all() == []
        second.connect()
        first.connect()
        assert Client.all() == [second, first]
        second.connect()  # it runs, and goes on
        assert Client.all() == [second, first]
        second.stop()
        assert Client.all() == [first]
        second.connect()
        assert Client.all() == [first, second]
        assert made.state == "stopped"
        first.stop()
        second.stop()
    assert Client.all() == []


def test_what_was_forgotten_by_its_variable_is_found_and_can_be_stopped() -> None:
    """A cell that was run three times leaves three connections, of which two have no name any more."""
    with LineServer(echo) as server:
        for _ in range(3):
            client = Client(server.address).connect()
        gc.collect()
        found = Client.all()
        assert len(found) == 3
        assert found[-1] is client
        for each in found:
            each.stop()
        gone = weakref.ref(found[0])
        del found, each
        gc.collect()
        assert gone() is None
    assert Client.all() == []


def test_one_that_waits_runs_and_one_that_gave_up_does_not() -> None:
    """It is there while another try is to come, and no longer."""
    waiting = Client(NOWHERE, retry=60).connect(wait=PATIENCE)
    assert waiting.state == "waiting"
    ended = Client(NOWHERE, retry=Retry(delay=0.01, attempts=1)).connect(wait=PATIENCE)
    assert ended.state == "stopped"
    assert Client.all() == [waiting]
    waiting.stop()
    assert Client.all() == []


def test_a_subclass_finds_its_own() -> None:
    """Those of a class and of what is made of it."""
    with LineServer(echo) as server, Client(server.address) as plain, Mine(server.address) as mine:
        assert Client.all() == [plain, mine]
        assert Mine.all() == [mine]


# -- what cannot be set --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        (
            "address",
            "127.0.0.1:2",
            r"fixed when a client is made: make another one, with Client\(ADDRESS, …\)",
        ),
        ("tls", True, r"make another one, with Client\(ADDRESS, tls=…\)"),
        ("encoding", "latin-1", "encoding=…"),
        ("eol", "lf", "eol=…"),
        ("framing", "raw", "framing=…"),
        ("name", "other", "name=…"),
        ("on_connect", "hello", "on_connect=…"),
        ("transcript", None, "transcript=…"),
        ("record", "x.jsonl", "record=…"),
        ("queue_limit", 7, "queue_limit=…"),
        ("replies", {"a": "b"}, r"client\.add_reply\(REGEX, LINE\)"),
        ("secrets", [], r"client\.hide\(SECRET\)"),
        ("keepalive_in_force", None, r"client\.keepalive sets it"),
        ("status", None, "follows the connection"),
        ("unconfirmed", [], "follows the connection"),
        ("send", print, "is a method"),
        ("all", print, "is a method"),
        ("connected", True, r"client\.state == 'connected' says it"),
        (
            "heartbaet",
            "NOOP",
            r"heartbeat, keepalive, retry and silence can be set; did you mean heartbeat\?",
        ),
        ("retries", 3, r"did you mean retry\?"),
        ("frameing", "raw", r"did you mean framing\?"),
        ("timeout", 3, r"can be set; all else is given to Client"),
        ("itself", None, "no such attribute|is only read|can be set"),
    ],
)
def test_what_cannot_take_effect_refuses_to_be_set(name: str, value: object, advice: str) -> None:
    """One line says what there is instead; nothing is changed, before a connect or after."""
    client = Client(NOWHERE)
    before = getattr(client, name, None)
    with pytest.raises(SettingsError, match=rf"^{name} of a client cannot be set: .*(?:{advice})"):
        setattr(client, name, value)
    assert getattr(client, name, None) == before
    assert name not in client.__dict__ or client.__dict__[name] is before


def test_what_is_there_cannot_be_taken_away() -> None:
    """Nor can a trait."""
    client = Client(NOWHERE)
    with pytest.raises(SettingsError, match="name of a client cannot be taken away"):
        del client.name
    with pytest.raises(AttributeError):
        del client.state
    assert (client.name, client.state) == ("127.0.0.1", "stopped")


def test_what_takes_effect_can_be_set() -> None:
    """These four, by attribute; what follows the connection is refused as traitlets does."""
    client = Client(NOWHERE)
    client.retry, client.keepalive, client.heartbeat, client.silence = 7, "9/3/3", "NOOP", 60
    assert client.retry == Retry(delay=7)
    assert str(client.keepalive) == "9/3/3"
    assert client.heartbeat.line == "NOOP"
    assert client.silence == 60
    for name in ("state", "phase", "reason", "attempt", "retry_at", "connected_since", "health"):
        with pytest.raises(TraitError):
            setattr(client, name, None)
    with client.hold_trait_notifications():
        client.retry = 8


def test_a_subclass_keeps_what_it_likes_under_names_of_its_own() -> None:
    """Traits, attributes and methods of its own are its own; the client's stay refused."""
    mine = Mine(NOWHERE)
    mine.count, mine.before, mine.limit = 1, 2, 4
    assert (mine.count, mine.before, mine.limit) == (1, 2, 4)
    setattr(mine, "other", 5)  # noqa: B010 - no type checker knows it
    assert mine.__dict__["other"] == 5
    delattr(mine, "other")
    for name in ("address", "replies", "send", "status"):
        with pytest.raises(SettingsError, match=f"{name} of a client cannot be set"):
            setattr(mine, name, None)


# -- completion ----------------------------------------------------------------------------------------------


def offered(shell: InteractiveShell, text: str) -> set[str]:
    with provisionalcompleter():
        found = {each.text.lstrip(".") for each in shell.Completer.completions(text, len(text))}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("jedi", [False, True])
def test_completion_offers_what_is_for_users(jedi: bool) -> None:
    """By jedi and without it, of clients, of their transcripts, and of what a user makes of a client."""
    shell = InteractiveShell()
    client, mine = Client(NOWHERE), Mine(NOWHERE)
    shell.user_ns.update(client=client, mine=mine, kept=client.transcript)
    shell.Completer.use_jedi = jedi
    assert offered(shell, "client.") == PUBLIC
    if jedi:  # IPython itself looks no further into what has a `__getattr__`
        assert offered(shell, "client.transcript.") == OF_TRANSCRIPTS
    assert offered(shell, "kept.") == OF_TRANSCRIPTS
    assert offered(shell, "mine.") == PUBLIC | {"before", "count", "limit"}


def test_what_is_not_offered_is_there_all_the_same() -> None:
    """Traits are found by dir, those of a subclass whose names begin with _ too."""

    class Hidden(Client):
        _level = traitlets.Int(1)

    hidden = Hidden(NOWHERE)
    hidden._level = 2
    with pytest.raises(TraitError):
        hidden.set_trait("_level", "text")
    assert hidden.traits().keys() >= {"state", "_level"}
    assert {name for name in dir(hidden) if name[:1] != "_"} == PUBLIC
    assert {name for name in dir(Transcript()) if name[:1] != "_"} == OF_TRANSCRIPTS
    assert inspect.ismethod(hidden.add_watcher)
    assert "__class__" in dir(hidden)
    assert "__len__" in dir(Transcript())
