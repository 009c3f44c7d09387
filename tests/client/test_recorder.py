"""Read again what was recorded of clients, whatever else happened while a record began or ended."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ipyreconnect import Client, ReconnectError, SettingsError, Transcript
from ipyreconnect.client import recorder as recorder_module
from ipyreconnect.client.record_file import RecordFile
from ipyreconnect.client.recorder import Recorder
from ipyreconnect.lines.files import from_json
from ipyreconnect.lines.store import LEAST_BYTES
from ipyreconnect.network import flow_control
from tests.servers.line_server import LineServer, echo, say
from tests.watching import PATIENCE, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


class SlowDisk:
    """Have what is written after a stop take as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client: Client | None = None
        self.asked, self.done = threading.Event(), threading.Event()
        real = RecordFile.write

        def write_slowly(file: RecordFile, data: bytes) -> int:
            if self.client is not None and self.client.state == "stopped":
                self.asked.set()
                self.done.wait(PATIENCE)
            return real(file, data)

        monkeypatch.setattr(RecordFile, "write", write_slowly)


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

    def meet(recorder: Recorder) -> RecordFile:
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


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "there is no memory for its thread"),
    ],
)
def test_without_a_thread_for_the_record_nothing_is_begun(
    record: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    """Where the system has no thread left, connect says so and connects nothing; the next one records."""
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "ipyreconnect-record":
            raise error
        real(thread)

    with LineServer(echo) as server:
        client = Client(server.address, record=record)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(ReconnectError, match=rf"cannot write the record .*: {why}"):
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


SLOW = """
import sys, time
from ipyreconnect import Client
from ipyreconnect.client import recorder
from ipyreconnect.client.record_file import RecordFile
recorder.PATIENCE, recorder.AT_ONCE = 0.5, 1  # a row at a time
write = RecordFile.write
def write_slowly(file, data):
    time.sleep(0.03)
    return write(file, data)
RecordFile.write = write_slowly
client = Client(sys.argv[1], record=sys.argv[2]).connect()
client.expect("^end", timeout=10)
"""


def test_the_interpreters_end_waits_for_a_slow_disk_while_it_takes_something(record: Path) -> None:
    """However long it is, all of the record is written; nothing else would write the rest later."""
    lines = [f"line {number}" for number in range(50)]
    with LineServer(say("\r\n".join([*lines, "end\r\n"]).encode())) as server:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SLOW, server.address, str(record)]
        done = subprocess.run(command, check=True, env=environment, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
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


# -- a disk that takes nothing -------------------------------------------------------------------------------


def texts(record: Path) -> list[str]:
    return [line.text for line in Transcript.load(record)]


def told(client: Client) -> list[str]:
    return [line.text for line in client.transcript if line.direction == "*" and "record" in line.text]


class Disk:
    """A disk that takes so many bytes more, in the middle of a row too, and then is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._room: float = float("inf")
        self._lock = threading.Lock()
        self.refused, self._written = threading.Event(), threading.Event()
        real = RecordFile.write

        def write(file: RecordFile, data: bytes) -> int:
            with self._lock:
                size = int(min(self._room, len(data)))
                if not size:
                    self.refused.set()
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written = real(file, data[:size])
                self._room -= written
            self._written.set()
            return written

        monkeypatch.setattr(RecordFile, "write", write)

    def take(self, room: float) -> None:
        """Take so many bytes from now on."""
        with self._lock:
            self._room = room

    def wait_for(self, record: Path, text: str) -> None:
        """Return when the answer with this text is what was written last."""
        ends = time.monotonic() + PATIENCE
        while True:
            self._written.clear()
            rows = record.read_text().splitlines() if record.exists() else []
            if rows and from_json(rows[-1]).text == text and from_json(rows[-1]).direction == "<":
                return
            assert self._written.wait(ends - time.monotonic()), rows[-1:]

    def wait_until_full(self) -> None:
        """Return when it has refused something from now on."""
        self.refused.clear()
        assert self.refused.wait(PATIENCE)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize("room", [0, 1, 100, 1000])
@pytest.mark.parametrize("calm", [0.0, 60.0])
def test_what_comes_while_the_disk_is_full_is_written_when_it_is_not(
    record: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
    calm: float,
) -> None:
    """Each line once, wherever in a row the disk was full; it is said once that it is full, and once that it
    is over, with what is missing: nothing.
    """
    monkeypatch.setattr(recorder_module, "TRY_AGAIN", 0.01)
    monkeypatch.setattr(recorder_module, "CALM", calm)
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send("before", expect="^before")
        disk.wait_for(record, "before")
        disk.take(room)
        for number in range(50):
            client.send(f"full {number}", expect=f"^full {number}")
        until(client, lambda: bool(told(client)))
        disk.wait_until_full()  # again
        disk.take(float("inf"))
        if not calm:
            until(client, lambda: len(told(client)) == 2)
        client.send("after", expect="^after")
    *numbered, last = [line for line in client.transcript if line.direction == "*" and "record" in line.text]
    (full,) = numbered
    assert full.text == (
        f"the record {record} cannot be written: No space left on device; it is tried again every 0.01 s, "
        "and what the transcript keeps until then is not lost"
    )
    how = "has ended" if calm else "is up to date again"
    assert last.text == f"the record {record} {how}; nothing is missing from it"
    assert [each.getMessage() for each in caplog.records if "record" in each.getMessage()] == told(client)
    assert list(Transcript.load(record)) == list(client.transcript)[: len(Transcript.load(record))]
    assert len(client.transcript) - len(Transcript.load(record)) == (1 if calm else 0)


def test_what_the_transcript_had_to_forget_meanwhile_is_said(
    record: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the record, with the numbers, and in the log, with how many; what is kept is written."""
    monkeypatch.setattr(recorder_module, "TRY_AGAIN", 0.01)
    monkeypatch.setattr(recorder_module, "CALM", 0.0)
    monkeypatch.setattr(flow_control, "RECORD_PATIENCE", 0.05)
    disk.take(0)
    kept = Transcript(lines=100, bytes=LEAST_BYTES)
    flood = say((b"x" * 1000 + b"\r\n") * 20_000 + b"done\r\n")
    with LineServer(flood) as server, Client(server.address, record=record, transcript=kept) as client:
        client.expect("^done", timeout=PATIENCE)
        assert disk.refused.wait(PATIENCE)
        disk.take(float("inf"))
        until(client, lambda: any("up to date again" in line.text for line in kept))
    written = list(Transcript.load(record))
    # One gap as a rule; several where the record's thread had its first turn in the middle of the flood.
    gaps = [line for line in written if "were forgotten before" in line.text]
    assert gaps
    forgotten: list[range] = []
    for gap in gaps:
        found = re.fullmatch(r"lines (\d+) to (\d+) were forgotten before they could be written", gap.text)
        assert found is not None
        assert gap.number == int(found[2])
        forgotten.append(range(int(found[1]), gap.number + 1))
    missing = sum(map(len, forgotten))
    assert missing > 1000
    lacking = {number for gap in forgotten for number in gap[:-1]}  # the last one has the gap's own line
    assert [line.number for line in written] == [
        number for number in range(written[-1].number + 1) if number not in lacking
    ]
    assert any(f"{missing} lines are missing from it" in line.text for line in written)


def test_what_was_left_at_the_stop_is_said_and_written_by_the_next_connect(record: Path, disk: Disk) -> None:
    """A stop does not wait for a full disk; what is left is told from which line on, and not lost."""
    with LineServer(echo) as server:
        client = Client(server.address, record=record).connect()
        client.send("before", expect="^before")
        disk.wait_for(record, "before")
        have = len(record.read_text().splitlines())
        disk.take(0)
        client.send("full", expect="^full")
        began = time.monotonic()
        client.stop()
        assert time.monotonic() - began < recorder_module.PATIENCE
        until(client, lambda: len(told(client)) == 2)
        assert told(client)[-1] == (
            f"the record {record} lacks the lines from {have} on (No space left on device): the next connect "
            "tries to write them, transcript.save(FILE) writes them elsewhere"
        )
        disk.take(float("inf"))
        client.connect().stop()
    assert_whole(record, client)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_device_that_is_always_full_is_told_and_holds_nothing_up() -> None:
    """The connection goes on as if nothing was recorded."""
    with LineServer(echo) as server, Client(server.address, record="/dev/full") as client:
        until(client, lambda: bool(told(client)))
        client.send("x", expect="x")
    until(client, lambda: len(told(client)) == 2)
    first, last = told(client)
    assert "the record /dev/full cannot be written: No space left on device" in first
    assert "the record /dev/full lacks the lines from 0 on" in last


# -- a file that was moved away ------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_file_that_was_moved_away_leaves_no_descriptor_where_its_heir_is_full(record: Path) -> None:
    """The file that took its name is closed as any other that cannot be written."""
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send("the first", expect="^the first")
        record.rename(record.with_name("moved"))
        record.symlink_to("/dev/full")
        client.send("the second", expect="^the second")
        until(client, lambda: any("No space left on device" in each for each in told(client)))
    links = (os.readlink(each.path) for each in os.scandir("/proc/self/fd") if os.path.islink(each.path))
    assert "/dev/full" not in links


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced", "with its folder", "emptied"])
def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path, disk: Disk, how: str) -> None:
    """What comes later is in a file of that name; what came before stays where it went."""
    folder = tmp_path / "folder"
    folder.mkdir()
    record, moved = folder / "record.jsonl", folder / "record.jsonl.1"
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send("one", expect="^one")
        disk.wait_for(record, "one")
        if how == "removed":
            record.unlink()
        elif how == "emptied":
            moved.write_bytes(record.read_bytes())
            os.truncate(record, 0)
        elif how == "with its folder":
            folder.rename(tmp_path / "other")
            folder.mkdir()
            moved = tmp_path / "other" / "record.jsonl"
        else:
            record.rename(moved)
            if how == "replaced":
                record.touch()
        client.send("two", expect="^two")
    assert texts(record) == ["two", "two", "stopped"]
    if how != "removed":
        assert texts(moved)[1:] == ["one", "one"]
    assert not told(client)


def test_a_file_whose_folder_is_gone_is_begun_anew_when_that_is_back(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a disk is not mounted; nothing is lost."""
    monkeypatch.setattr(recorder_module, "TRY_AGAIN", 0.01)
    monkeypatch.setattr(recorder_module, "CALM", 0.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    record = folder / "record.jsonl"
    with LineServer(echo) as server, Client(server.address, record=record) as client:
        client.send("one", expect="^one")
        disk.wait_for(record, "one")
        folder.rename(tmp_path / "gone")
        client.send("two", expect="^two")
        until(client, lambda: any("No such file or directory" in text for text in told(client)))
        folder.mkdir()
        client.send("three", expect="^three")
        until(client, lambda: len(told(client)) == 2)
    assert texts(record)[:2] == ["two", "two"]
    assert {"three", "stopped"} <= set(texts(record))
    assert told(client)[1].endswith("nothing is missing from it")


# -- records that are stuck ----------------------------------------------------------------------------------


STUCK = """
import os, sys, time
from ipyreconnect import Client
clients = []
for number in range(4):
    pipe = f"{sys.argv[2]}/{number}"
    os.mkfifo(pipe)
    os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    clients.append(Client(sys.argv[1], record=pipe).connect())
for client in clients:
    client.expect("^end", timeout=30)
began = time.monotonic()
if sys.argv[3] != "exit":
    for client in clients:
        client.stop()
print(time.monotonic() - began, flush=True)
"""


@pytest.mark.parametrize("mode", ["stop", "exit"])
def test_stuck_records_are_waited_for_together(tmp_path: Path, mode: str) -> None:
    """Four that take nothing cost a stop, or the exit, about 2 s in all, and not both."""
    fill = (b"x" * 70 + b"\r\n") * 3000 + b"end\r\n"
    with LineServer(say(fill)) as server:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", STUCK, server.address, str(tmp_path), mode]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        stops = float(process.stdout.readline())
        began = time.monotonic()
        _, said = process.communicate(timeout=PATIENCE)
        exits = time.monotonic() - began
    assert process.returncode == 0
    assert said.count("takes nothing") + said.count("has taken nothing") == 4
    assert (stops > 1.9) is (mode == "stop")
    assert stops < 3.5
    assert exits < (1.5 if mode == "stop" else 3.5)
