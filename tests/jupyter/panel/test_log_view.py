"""What the log answers its views, and what it leaves behind when they go; tests/browser has how it looks."""

from __future__ import annotations

import queue
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from ipyreconnect.client.client import Client
from ipyreconnect.jupyter.panel.log_view import LogView
from ipyreconnect.lines.transcript import Transcript

PATIENCE = 10.0
"""Seconds that an answer is waited for; it comes within a tenth of one."""


class Log(LogView):
    """A log whose words to the browser are kept."""

    def __init__(self, client: Client) -> None:
        self.said: queue.Queue[tuple[dict[str, Any], Sequence[bytes]]] = queue.Queue()
        super().__init__(client)

    def send(self, content: Any, buffers: Sequence[bytes] | None = None) -> None:
        self.said.put((content, buffers or []))
        if content["m"] == "tick":  # as a browser does once it has painted it
            self.tell(m="ack", view="v", seq=content["seq"])

    def tell(self, **content: Any) -> None:
        """Take a message as the browser's comes."""
        self._handle_custom_msg(content, [])

    def wait(self, kind: str, fits: Callable[[dict[str, Any]], object] = bool) -> dict[str, Any]:
        """Give the next message of a kind that fits."""
        while True:
            content, _ = self.said.get(timeout=PATIENCE)
            if content["m"] == kind and fits(content):
                return content


@pytest.fixture
def client() -> Client:
    """Give a client that was never connected, with three lines."""
    client = Client("127.0.0.1:9")
    client.transcript.append_received([b"one", b"two", b"three"], 0.0)
    return client


@pytest.fixture
def log(client: Client) -> Iterator[Log]:
    """Give its log, with one view."""
    log = Log(client)
    log.tell(m="hello", view="v", want={})
    yield log
    log.close()


def searching() -> list[psutil.Process]:
    """Give the processes that look for regular expressions."""
    return [child for child in psutil.Process().children() if "-I" in child.cmdline()]


def test_a_view_that_goes_ends_its_search(log: Log) -> None:
    """No process is left that looked for its regular expression."""
    log.tell(m="find", view="v", id=1, text="^t", regex=True)
    log.wait("tick", lambda tick: tick["found"].get("v", {}).get("end") == 2)
    (process,) = searching()
    log.tell(m="bye", view="v")
    process.wait(PATIENCE)


def test_a_view_that_has_gone_begins_no_search(log: Log) -> None:
    """What it asked for last, as it went, is not looked for behind the next one's back."""
    log.tell(m="bye", view="v")
    log.tell(m="find", view="v", id=1, text="^t", regex=True)
    log.tell(m="hello", view="w", want={})
    assert log.wait("tick", lambda tick: tick["seq"] > 1)["found"] == {}
    assert not searching()


def test_a_search_that_fails_is_over_and_says_why(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody foresaw it, such as a Python inside another program, which has no file of its own."""
    monkeypatch.setattr("sys.executable", None)
    log.tell(m="find", view="v", id=1, text="^t", regex=True)
    log.wait("tick", lambda tick: "TypeError" in tick["found"].get("v", {}).get("error", ""))


def test_each_hit_tells_the_time_of_the_one_before(client: Client, log: Log) -> None:
    """The times since the hit before stand in every row, also in the first one of a window."""
    client.transcript.append_received([b"ten"], 10.0)
    log.tell(m="find", view="v", id=1, text="t")
    log.wait("tick", lambda tick: tick["found"].get("v", {}).get("end") == 3)
    log.tell(m="rows", view="v", id=1, a=2, b=5, hits=True)
    rows = log.wait("rows")["rows"]
    assert (rows["a"], rows["n"], rows["numbers"], rows["before"]) == (2, 1, [3], 0.0)
    log.tell(m="rows", view="v", id=2, a=0, b=5, hits=True)
    rows = log.wait("rows")["rows"]
    assert (rows["a"], rows["n"], rows["numbers"], rows["before"]) == (0, 3, [1, 2, 3], None)


def saved(log: Log, **request: Any) -> tuple[str, str]:
    """Have it save; give what it says, and what is wrong."""
    log.tell(m="save", view="v", id=0, **request)
    answer = log.wait("saved")
    return answer.get("text", ""), answer["error"]


def test_saving_twice_in_a_moment_makes_two_files(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines, or only the hits, as text or as JSON lines; no file is lost to the next one."""
    monkeypatch.chdir(tmp_path)
    log.tell(m="find", view="v", id=1, text="t")
    log.wait("tick", lambda tick: tick["found"].get("v", {}).get("end") == 2)
    said = [saved(log, format="txt", hits=hits) for hits in (False, True, False)]
    assert [error for _, error in said] == ["", "", ""]
    paths = [Path(text.partition(" saved to ")[2]) for text, _ in said]
    assert [text.partition(" saved")[0] for text, _ in said] == ["3 lines", "2 lines", "3 lines"]
    everything, only_hits = "< one\n< two\n< three\n", "< two\n< three\n"
    assert [path.read_text() for path in paths] == [everything, only_hits, everything]
    assert set(paths) == set(tmp_path.iterdir())
    text, _ = saved(log, format="jsonl", hits=True)
    loaded = Transcript.load(text.partition(" saved to ")[2])
    assert [(line.number, line.text) for line in loaded] == [(1, "two"), (2, "three")]


def test_where_nothing_can_be_saved_it_says_why_and_what_to_do(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, with the place: here the file's name would be too long."""
    monkeypatch.chdir(tmp_path)
    with closing(Log(Client(client.address, name="x" * 300))) as log:
        _, error = saved(log, format="txt")
    assert re.fullmatch(rf"cannot write {tmp_path}/x+-\S+\.txt: File name too long; %cd .*", error)
