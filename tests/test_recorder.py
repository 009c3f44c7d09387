"""Read again what was recorded of clients, whatever else happened while a record began or ended."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from ipyreconnect import Client, ReconnectError, SettingsError, Transcript
from ipyreconnect import recorder as recorder_module
from ipyreconnect.protocol.line import from_json
from ipyreconnect.recorder import Recorder
from tests.servers.line_server import LineServer, echo, say
from tests.watching import PATIENCE

ROOT = Path(__file__).parent.parent


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


class SlowDisk:
    """Have what is written after a stop take as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client: Client | None = None
        self.asked, self.done = threading.Event(), threading.Event()
        real = Recorder._open

        def open_slowly(recorder: Recorder) -> IO[str]:
            file: Any = real(recorder)
            return SlowFile(self, file.detach(), encoding=file.encoding, newline="\n")

        monkeypatch.setattr(Recorder, "_open", open_slowly)


class SlowFile(io.TextIOWrapper):
    """A file on it."""

    def __init__(self, disk: SlowDisk, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._disk = disk

    def flush(self) -> None:
        if self._disk.client is not None and self._disk.client.state == "stopped":
            self._disk.asked.set()
            self._disk.done.wait(PATIENCE)
        super().flush()


def assert_whole(record: Path, client: Client) -> None:
    """See that each line of the client's transcript was written once."""
    assert [line.number for line in Transcript.load(record)] == list(range(client.transcript.end))


def test_what_is_connected_anew_while_the_disk_is_slow_is_recorded(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is begun while the last lines of an earlier one are being written is recorded too."""
    disk = SlowDisk(monkeypatch)
    with LineServer(echo) as server:
        disk.client = client = Client(server.address, record=record).connect()
        client.send("the first", expect="^the first")
        thread = threading.Thread(target=client.stop)
        thread.start()
        assert disk.asked.wait(PATIENCE)
        client.connect()
        disk.done.set()
        thread.join(PATIENCE)
        client.send("the second", expect="^the second")
        client.stop()
    assert "< the second\n" in Transcript.load(record).text()
    assert_whole(record, client)


def test_two_that_connect_at_once_have_each_line_recorded_once(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that connect one client at the same moment begin one record."""
    client = Client("127.0.0.1:1", record=record, retry=60)
    both = threading.Barrier(2)
    real = Recorder._open

    def meet(recorder: Recorder) -> IO[str]:
        both.wait(PATIENCE)
        return real(recorder)

    monkeypatch.setattr(Recorder, "_open", meet)
    thread = threading.Thread(target=client.connect)
    thread.start()
    client.connect()
    thread.join(PATIENCE)
    names = [thread.name for thread in threading.enumerate()]
    client.stop()
    assert names.count("ipyreconnect-record") == 1
    assert_whole(record, client)


def test_without_a_thread_for_the_record_nothing_is_begun(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no thread left, connect says so and connects nothing; the next one records."""
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "ipyreconnect-record":
            raise RuntimeError("can't start new thread")
        real(thread)

    with LineServer(echo) as server:
        client = Client(server.address, record=record)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(ReconnectError, match=r"cannot write the record .*: can't start new thread"):
                client.connect()
        assert client.state == "stopped"
        client.stop()
        client.connect().stop()
    assert client.transcript.end
    assert_whole(record, client)


def test_what_the_interpreters_end_finds_unwritten_is_recorded(record: Path) -> None:
    """A program that just ends has every line that it received in the record, and that it stopped."""
    lines = [f"line {number}" for number in range(100_000)]
    with LineServer(say("\r\n".join([*lines, "end\r\n"]).encode())) as server:
        program = (
            "from ipyreconnect import Client\n"
            f"client = Client({server.address!r}, record={str(record)!r}).connect()\n"
            f"client.expect('end', timeout={PATIENCE})\n"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=PATIENCE)
    assert [line.text for line in Transcript.load(record)][1:] == [*lines, "end", "stopped"]


def test_a_record_that_was_torn_off_is_gone_on_with(record: Path) -> None:
    """What is appended after a writer that was killed begins a line of its own."""
    record.write_text('{"number": 0, "time": 1.0, "dir')
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send("again", expect="^again")
    assert [line.text for line in Transcript.load(record)][1:] == ["again", "again", "stopped"]


def test_a_record_may_be_named_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~ is the user's home, and who changes folders later records to the same file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with LineServer(echo) as server:
        home = Client(server.address, record="~/home.jsonl")
        here = Client(server.address, record="here.jsonl")
        monkeypatch.chdir("/")
        for client in (home, here):
            client.connect().stop()
    assert_whole(tmp_path / "home.jsonl", home)
    assert_whole(tmp_path / "here.jsonl", here)


def test_a_pipe_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    """Whoever names one as the record is told so, before anything starts."""
    os.mkfifo(tmp_path / "pipe")
    client = Client("127.0.0.1:1", record=tmp_path / "pipe")
    with pytest.raises(SettingsError, match=r"cannot write the record .*pipe: nobody reads it$"):
        client.connect()
    assert client.state == "stopped"


def test_a_pipe_that_somebody_reads_is_a_record(tmp_path: Path) -> None:
    """Another program may read along: it gets each line, and the end with the client's stop, not before."""
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)) as reader, LineServer(echo) as server:
        client = Client(server.address, record=tmp_path / "pipe")
        poll = select.poll()
        poll.register(reader)
        assert poll.poll(0) == []
        with client:
            client.send("x", expect="x")
        assert [from_json(row) for row in reader] == list(client.transcript)


def test_ctrl_c_at_the_beginning_of_a_record_leaves_no_run_behind(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt just when a start was counted comes when that is over; a later stop ends the record."""
    real = recorder_module._lock

    class Interrupting:
        def __enter__(self) -> None:
            real.acquire()

        def __exit__(self, *_: object) -> None:
            real.release()
            monkeypatch.undo()
            os.kill(os.getpid(), signal.SIGINT)

    with LineServer(echo) as server:
        client = Client(server.address, record=record)
        recorder = client._recorder
        assert recorder is not None
        monkeypatch.setattr(recorder_module, "_lock", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            client.connect()
        assert client.connect().state == "connected"
        client.stop()
        assert recorder._starts == 0
        assert not recorder._is_running
