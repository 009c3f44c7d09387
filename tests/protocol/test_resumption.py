"""Take a TLS session up again where that costs no memory, and for as long as its certificate counts."""

from __future__ import annotations

import ctypes
import gc
from typing import ClassVar

import pytest

from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.protocol.resumption import VERIFIED_FOR, leaks_sessions
from tests.playing import WALL, Play
from tests.playing_tls import TLSServer, handshake, tls_settings
from tests.servers.certificates import Certificates


@pytest.mark.parametrize(
    ("implementation", "version", "leaks"),
    [
        ("cpython", (3, 11, 2), True),
        ("cpython", (3, 11, 7), True),
        ("cpython", (3, 11, 14), True),
        ("cpython", (3, 12, 1), True),
        ("cpython", (3, 12, 7), True),
        ("cpython", (3, 12, 8), False),
        ("cpython", (3, 12, 10), False),
        ("cpython", (3, 13, 0), True),
        ("cpython", (3, 13, 1), False),
        ("cpython", (3, 14, 0), False),
        ("pypy", (3, 13, 1), True),
    ],
)
def test_sessions_are_left_where_python_leaks_them(
    implementation: str, version: tuple[int, int, int], leaks: bool
) -> None:
    """A client that reconnects for months must not grow by a session each time."""
    assert leaks_sessions(implementation, version) is leaks


def reconnected(play: Play, server: TLSServer, now: float) -> bool:
    """Lose the connection and make the next one at `now`; return whether its session was resumed."""
    server.say(play, b"hello\r\n", now - 3.0)
    play.lost(now - 3.0)
    play.until(now)
    server.begin()
    play.dialed(now)
    while server.turn(play, now):
        pass
    assert play.state == "connected"
    assert play.status.tls is not None
    assert play.status.tls.verified
    return play.status.tls.resumed


@pytest.mark.parametrize("tls12", [False, True], ids=["TLSv1.3", "TLSv1.2"])
def test_no_session_outlives_its_certificate(certificates: Certificates, tls12: bool) -> None:
    """A certificate that has expired meanwhile is looked at again, and refused as by a new client."""
    play = Play(resumes=True, **tls_settings(certificates))
    handshake(play, certificates.good())
    assert play.status.tls is not None
    assert play.status.tls.not_after is not None
    late = Play(resumes=True, **tls_settings(certificates))
    late.connection.wall_offset = play.status.tls.not_after - 200.0
    server = handshake(late, certificates.good(), tls12=tls12)
    assert reconnected(late, server, 100.0)
    assert reconnected(late, server, 190.0)
    assert not reconnected(late, server, 210.0)


def test_a_certificate_is_verified_anew_once_a_day(certificates: Certificates) -> None:
    """Sessions that follow each other for ever would hide that a certificate was revoked."""
    play = Play(resumes=True, **tls_settings(certificates))
    server = handshake(play, certificates.good(), 10.0)
    half = VERIFIED_FOR / 2
    assert reconnected(play, server, half)
    assert reconnected(play, server, 2 * half)
    assert not reconnected(play, server, 2 * half + 15.0)
    assert reconnected(play, server, 3 * half)
    assert play.connection.wall_offset == WALL


def test_where_sessions_leak_each_handshake_is_a_whole_one(certificates: Certificates) -> None:
    """Nothing is resumed then, and all of it is verified."""
    play = Play(resumes=False, **tls_settings(certificates))
    server = handshake(play, certificates.good())
    assert [reconnected(play, server, now) for now in (100.0, 200.0)] == [False, False]


class Mallinfo2(ctypes.Structure):
    """What glibc tells of its heap (mallinfo(3))."""

    # arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks; fordblks and keepcost follow
    _fields_: ClassVar = [
        ("others", ctypes.c_size_t * 7),
        ("uordblks", ctypes.c_size_t),
        ("rest", ctypes.c_size_t * 2),
    ]


mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)


@pytest.mark.skipif(mallinfo2 is None, reason="only glibc from 2.33 on tells what its heap holds")
@pytest.mark.parametrize("tls12", [False, True], ids=["TLSv1.3", "TLSv1.2"])
def test_a_hundred_reconnections_leave_nothing_behind(certificates: Certificates, tls12: bool) -> None:
    """OpenSSL's memory is as it was, to within 20 KiB; a session that leaks each time takes 570."""
    assert mallinfo2 is not None
    mallinfo2.restype = Mallinfo2
    play = Play(transcript=Transcript(lines=10, bytes=64 * 1024), **tls_settings(certificates))
    server = handshake(play, certificates.good(), tls12=tls12)
    used = 0
    for number in range(1, 161):
        reconnected(play, server, 100.0 * number)
        play.statuses.clear()
        play.effects.clear()
        if number == 60:
            gc.collect()
            used = mallinfo2().uordblks
    gc.collect()
    assert mallinfo2().uordblks - used < 20 * 1024
