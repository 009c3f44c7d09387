"""A secret shows nowhere, whatever stands around it and whoever adds others meanwhile."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from ipyreconnect.lines.transcript import Transcript
from tests.lines.histories import flat, numbers, receive

if TYPE_CHECKING:
    import pytest


def test_hiding_two_secrets_at_once_hides_both() -> None:
    """Two threads that hide something at the same moment do not undo each other's."""
    transcript = Transcript()
    secrets = [[b"secret-%d-%d." % (thread, number) for number in range(60)] for thread in range(4)]

    def hide(mine: list[bytes]) -> None:
        for secret in mine:
            transcript.hide(secret)

    threads = [threading.Thread(target=hide, args=(mine,)) for mine in secrets]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for secret in itertools.chain(*secrets):
        assert transcript.redacted(secret) == "••••".encode()


def test_what_is_hidden_shows_nowhere() -> None:
    """A secret that the server repeats, that was sent or that stands in a note is masked in every reading."""
    transcript = Transcript()
    receive(transcript, b"password is hunter2, yes hunter2\r\nhunter2")
    assert not transcript.hides
    transcript.hide(b"hunter2")
    transcript.hide(b"hunter2")
    transcript.hide(b"")
    assert transcript.hides
    receive(transcript, b" it is\r\n")
    transcript.append_sent(b"a login me hunter2", 0.0)
    transcript.append_note("login of hunter2 failed", 0.0)
    transcript.append_received([b"framed\nhunter2"], 0.0)
    assert transcript.text().count("••••") == 6
    for lines in (transcript, transcript[:], reversed(transcript), map(transcript.__getitem__, range(5))):
        assert not any(b"hunter2" in line.data for line in lines)
    assert not list(transcript.search("hunter2"))
    assert numbers(transcript.search("••••$")) == [0, 2, 4]
    assert transcript.count_hits("••••") == 5
    assert flat(transcript.received(0, 2))[0][1] == b"password is hunter2, yes hunter2"


@example([b"abc", b"cde"], "abcde")
@example([b"aa"], "aaa")
@given(st.lists(st.text("ab", min_size=1, max_size=3).map(str.encode), min_size=1), st.text("abc"))
def test_whatever_is_hidden_first_no_piece_of_a_secret_shows(secrets: list[bytes], text: str) -> None:
    """Secrets that overlap or hold one another are hidden whole, in whichever order they become known."""
    transcript = Transcript()
    for secret in secrets:
        transcript.hide(secret)
    hidden = {
        place
        for secret in secrets
        for start in range(len(text))
        if text.encode().startswith(secret, start)
        for place in range(start, start + len(secret))
    }
    shown = transcript.redacted(text.encode())
    left = "".join(letter for place, letter in enumerate(text) if place not in hidden)
    assert shown.replace("••••".encode(), b"") == left.encode()
    assert bool(hidden) == (shown != text.encode())


def test_the_whole_of_a_secret_is_hidden_that_holds_another() -> None:
    """A longer secret that becomes known later leaves nothing of itself beside a shorter one's mask."""
    transcript = Transcript()
    for secret in (*(b"secret-%d." % number for number in range(9)), b"hunter", b"hunter2+x", b"x my"):
        transcript.hide(secret)
    assert transcript.redacted_text("is hunter2+x my hunter, hunterhunter") == "is •••• ••••, ••••••••"


def test_what_is_hidden_already_makes_hiding_no_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token a line, hidden with each, stays quick: not all of them are looked at anew for each."""
    looked_at = 0
    real = re.compile

    def count(pattern: bytes) -> re.Pattern[bytes]:
        nonlocal looked_at
        looked_at += pattern.count(b"|") + 1
        return real(pattern)

    monkeypatch.setattr("ipyreconnect.lines.masking.re.compile", count)
    transcript = Transcript()
    for number in range(1000):
        transcript.hide(b"token%06d" % number)
    monkeypatch.undo()
    assert looked_at < 1000 * 10
    assert transcript.redacted(b"token000000 token000999 token001000").count(b"token") == 1


def test_a_mask_is_text_in_every_encoding() -> None:
    """In an encoding without dots it is stars; in our own notes it is always dots."""
    transcript = Transcript(encoding="iso-8859-1")
    transcript.append_note("é hunter2", 0.0)
    transcript.hide(b"hunter2")
    receive(transcript, b"\xe9 hunter2\n")
    transcript.append_note("é hunter2", 0.0)
    assert [line.text for line in transcript] == ["é ••••", "é ****", "é ••••"]
    assert transcript.redacted_text("\udcff hunter2") == "\udcff ••••"
    assert Transcript().redacted_text("hunter2") == "hunter2"


def test_a_secret_that_is_half_a_character_spoils_no_text() -> None:
    """Bytes that are hidden may be a part of a character of some text: that is shown as well as it can be."""
    transcript = Transcript()
    transcript.hide(b"\xa9")
    assert transcript.redacted_text("café au lait") == "caf\ufffd•••• au lait"


def test_a_signal_s_handler_may_connect_in_the_middle_of_hiding(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes between two steps of hiding a secret, on the same thread, is not waited for."""
    transcript = Transcript()
    real = re.compile

    def interrupted(pattern: bytes) -> re.Pattern[bytes]:
        transcript.begin_writing(transcript, None)
        return real(pattern)

    monkeypatch.setattr("ipyreconnect.lines.masking.re.compile", interrupted)
    thread = threading.Thread(target=transcript.hide, args=(b"hunter2",), daemon=True)
    thread.start()
    thread.join(10)
    monkeypatch.undo()
    assert transcript.redacted(b"hunter2") == "••••".encode()


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    """Each line of a key is masked where it comes by itself, and lines are never joined by masking."""
    transcript = Transcript()
    transcript.hide(b"BEGIN\r\nMIIE\r\nEND")
    receive(transcript, b"x BEGIN\r\nMIIE\r\nEND y\r\nplain\r\n")
    assert [line.text for line in transcript] == ["x ••••", "••••", "•••• y", "plain"]
    assert numbers(transcript.search("y")) == [2]
