"""What the settings accept, what they refuse and in which words, and what they keep to themselves."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import math
import os
import pickle
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

import ipyreconnect
from ipyreconnect import errors, settings
from ipyreconnect.errors import AttemptFailed, SettingsError
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.mask import MASK
from ipyreconnect.secret import Secret
from ipyreconnect.settings import TLS, Heartbeat, KeepAlive, Retry, silence_from
from tests.scarcity import no_files_left

NEVER_NUMBERS: list[Any] = [True, False, None, "5", b"5", math.nan, math.inf, -math.inf, -1, 1j, [5], 10**400]


def refused(text: str, make: Any, *args: Any, **kwargs: Any) -> str:
    """Call, and return the one line with which it is refused."""
    with pytest.raises(SettingsError, match=text) as caught:
        make(*args, **kwargs)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# KeepAlive


def test_keepalive_defaults_to_the_weblogs_values() -> None:
    """Without a word, a dead network shows within 14 s."""
    assert KeepAlive() == KeepAlive(idle=5, interval=3, count=3, enabled=True)
    assert KeepAlive().bound == 14


@pytest.mark.parametrize(
    ("text", "keepalive"),
    [
        ("5/3/3", KeepAlive(5, 3, 3)),
        (" 60 / 10 / 6 ", KeepAlive(60, 10, 6)),
        ("1/1/1", KeepAlive(1, 1, 1)),
        ("32767/32767/127", KeepAlive(32767, 32767, 127)),
        ("005/03/3", KeepAlive(5, 3, 3)),
        ("off", KeepAlive.off()),
        (" OFF ", KeepAlive.off()),
    ],
)
def test_keepalive_is_read_from_text(text: str, keepalive: KeepAlive) -> None:
    """IDLE/INTERVAL/COUNT and off are understood as people type them."""
    assert KeepAlive.parse(text) == keepalive


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/3",
        "5/3/3/3",
        "5,3,3",
        "5/3/",
        "/3/3",
        "a/b/c",
        "5/3/x",
        "-5/3/3",
        "+5/3/3",
        "5.0/3/3",
        "5s/3s/3",
        "0/3/3",
        "5/0/3",
        "5/3/0",
        "32768/3/3",
        "5/32768/3",
        "5/3/128",
        "1_0/3/3",
        "٥/3/3",
        "on",
        "none",
        "9" * 5000 + "/3/3",
        None,
        5,
        b"5/3/3",
        (5, 3, 3),
    ],
)
def test_bad_keepalive_text_is_refused_with_the_form_and_the_ranges(text: Any) -> None:
    """Whatever else is typed, the answer shows the form IDLE/INTERVAL/COUNT and how far each may go."""
    message = refused("IDLE/INTERVAL/COUNT", KeepAlive.parse, text)
    for part in ("5/3/3", "from 1 to 32767", "from 1 to 127", "'off'"):
        assert part in message


@pytest.mark.parametrize("name", ["idle", "interval", "count"])
@pytest.mark.parametrize("value", [*NEVER_NUMBERS, 0, 5.0, 2.5, Fraction(5), Decimal(5), 32768])
def test_keepalive_refuses_what_the_kernel_would(name: str, value: object) -> None:
    """Each of the three is a whole number within Linux's limits; the message names it and shows the value."""
    message = refused(f"^keepalive {name} must be a whole number", KeepAlive, **{name: value})
    assert f"from 1 to {127 if name == 'count' else 32767}, not " in message


@pytest.mark.parametrize("value", [0, 1, None, "off"])
def test_keepalive_enabled_is_a_flag(value: object) -> None:
    """Only True and False turn probing on and off."""
    refused("keepalive enabled must be True or False", KeepAlive, enabled=value)


def test_keepalive_off_has_no_bound() -> None:
    """Without probes nothing promises when a dead peer is noticed; 0 says so, as for TCP_USER_TIMEOUT."""
    assert KeepAlive.off().bound == 0
    assert str(KeepAlive(7, 7, 7, enabled=False)) == "off"


@given(st.integers(1, 32767), st.integers(1, 32767), st.integers(1, 127))
def test_keepalive_round_trips(idle: int, interval: int, count: int) -> None:
    """What is shown can be typed again; the bound is idle + interval * count."""
    keepalive = KeepAlive(idle, interval, count)
    assert KeepAlive.parse(str(keepalive)) == keepalive
    assert keepalive.bound == idle + interval * count


# Retry


def test_retry_defaults_to_the_weblogs_two_seconds() -> None:
    """Without a word, every wait is 2 s, give or take 10 %, for ever."""
    retry = Retry()
    assert [retry.wait(failures, 0.5) for failures in (1, 2, 10_000)] == [2.0, 2.0, 2.0]
    assert retry.wait(1, 0.0) == pytest.approx(1.8)
    assert retry.wait(1, 1.0) == pytest.approx(2.2)
    assert retry.attempts is None


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (Retry(delay=2, factor=2, max=10), [2, 4, 8, 10, 10]),
        (Retry(delay=1, factor=1.5), [1, 1.5, 2.25, 3.375]),
        (Retry(delay=10, factor=10), [10, 60, 60]),
        (Retry(delay=120), [120, 120]),
        (Retry(delay=120, factor=3), [120, 120]),
        (Retry(delay=3, factor=7, max=3), [3, 3]),
    ],
)
def test_retry_grows_up_to_its_max(retry: Retry, waits: list[float]) -> None:
    """Each failure multiplies the wait, and never beyond the maximum."""
    assert [retry.wait(failures, 0.5) for failures in range(1, len(waits) + 1)] == waits


def test_a_long_delay_needs_no_max() -> None:
    """A delay beyond the default maximum raises that maximum instead of being refused."""
    assert Retry(delay=120).ceiling == 120
    assert Retry(delay=2).ceiling == 60
    assert dataclasses.replace(Retry(), delay=300).ceiling == 300


def test_retry_never_overflows() -> None:
    """A client that has failed for weeks still waits its maximum."""
    assert Retry(factor=100).wait(1_000_000, 0.5) == 60


@given(
    st.floats(0.01, 1000),
    st.floats(1, 100),
    st.floats(0, 1),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_stays_within_its_jitter(
    delay: float, factor: float, jitter: float, failures: int, u: float
) -> None:
    """No wait leaves delay .. max by more than the jitter's share."""
    retry = Retry(delay=delay, factor=factor, jitter=jitter)
    wait = retry.wait(failures, u)
    assert delay * (1 - jitter) * 0.999 <= wait <= retry.ceiling * (1 + jitter) * 1.001


@pytest.mark.parametrize("name", ["delay", "factor", "max", "jitter", "stable"])
@pytest.mark.parametrize("value", [value for value in NEVER_NUMBERS if value is not None])
def test_retry_refuses_what_is_no_number(name: str, value: object) -> None:
    """Bools, text, NaN, infinities and negative numbers are refused by name."""
    refused(f"^retry {name} must be a number .*from .* to .*, not ", Retry, **{name: value})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"delay": 0}, "retry delay must be a number of seconds from 0.01 to 86400, not 0"),
        ({"delay": 86401}, "retry delay must be a number of seconds from 0.01 to 86400, not 86401"),
        ({"delay": None}, "retry delay must be a number of seconds from 0.01 to 86400, not None"),
        ({"factor": 0.5}, "retry factor must be a number from 1 to 100, not 0.5"),
        ({"factor": 101}, "retry factor must be a number from 1 to 100, not 101"),
        ({"jitter": 1.1}, "retry jitter must be a number from 0 to 1, not 1.1"),
        ({"delay": 5, "max": 4}, r"retry max \(4 s\) must not be below the delay \(5 s\)"),
        ({"attempts": 0}, "retry attempts must be a whole number of at least 1, not 0"),
        ({"attempts": 1.0}, "retry attempts must be a whole number of at least 1, not 1.0"),
        ({"attempts": True}, "retry attempts must be a whole number of at least 1, not True"),
        ({"stable": 86401}, "retry stable must be a number of seconds from 0 to 86400, not 86401"),
    ],
)
def test_retry_refuses_what_makes_no_sense(kwargs: dict[str, Any], message: str) -> None:
    """Each refusal names the setting, its range and the value."""
    refused(f"^{message}$", Retry, **kwargs)


@pytest.mark.parametrize("value", [3, 3.0, Fraction(3)])
def test_any_real_number_will_do(value: Any) -> None:
    """Whole numbers and fractions count as numbers of seconds, and are kept as floats."""
    assert isinstance(Retry(delay=value).delay, float)
    assert Retry(delay=value) == Retry(delay=3.0)
    assert Heartbeat("NOOP", every=value).every == 3.0


# TLS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an authority, two client certificates, and files that are something else."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    one, two = authority.issue_cert("one@example.org"), authority.issue_cert("two@example.org")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    one.cert_chain_pems[0].write_to_path(str(folder / "one.pem"))
    one.private_key_pem.write_to_path(str(folder / "one.key"))
    one.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    two.private_key_pem.write_to_path(str(folder / "two.key"))
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("this is no certificate\n")
    (folder / "cut.pem").write_bytes(authority.cert_pem.bytes()[:300])
    (folder / "binary").write_bytes(bytes(range(256)) * 8)
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            folder / "one.key",
            "-aes256",
            "-passout",
            "pass:x",
            "-out",
            folder / "locked.key",
        ],
        check=True,
    )
    return folder


def test_tls_verifies_by_default() -> None:
    """Without a word, a server must prove its name to the system's authorities, with TLS 1.2 or newer."""
    context = TLS().context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_verify_false_turns_verification_off() -> None:
    """Whoever asks for no verification gets none; nothing else does that."""
    context = TLS(verify=False).context()
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_NONE
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for value in (0, None, "", "no"):
        refused("^tls verify must be True or False, not ", TLS, verify=value)


def test_an_own_authority_replaces_the_systems(folder: Path) -> None:
    """With a CA file, that authority is trusted, and no other."""
    context = TLS(cafile=folder / "ca.pem").context()
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_client_certificate_is_loaded(folder: Path) -> None:
    """Certificate and key may be two files or one, given as text or as a Path."""
    TLS(cert=folder / "one.pem", key=str(folder / "one.key")).context()
    TLS(cert=folder / "both.pem").context()


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` works as in a shell: no shell reads the line of a magic."""
    monkeypatch.setenv("HOME", str(folder))
    assert TLS(cafile="~/ca.pem").cafile == str(folder / "ca.pem")
    TLS(cafile="~/ca.pem").context()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cafile": "absent.pem"}, r"CA file \S*absent.pem does not exist: check the path"),
        ({"cafile": "ca.pem/x"}, r"CA file \S*ca.pem/x does not exist: check the path"),
        ({"cafile": "."}, r"CA file \S* is a folder: name a PEM file in it"),
        (
            {"cafile": "empty"},
            r"CA file \S*empty holds no usable certificate .*PEM text with -----BEGIN CERTIFICATE",
        ),
        ({"cafile": "text"}, r"CA file \S*text holds no usable certificate"),
        ({"cafile": "cut.pem"}, r"CA file \S*cut.pem holds no usable certificate"),
        ({"cafile": "binary"}, r"CA file \S*binary holds no usable certificate"),
        ({"cafile": "one.key"}, r"CA file \S*one.key holds no usable certificate"),
        ({"cert": "absent.pem"}, r"certificate file \S*absent.pem does not exist: check the path"),
        ({"cert": "one.pem", "key": "absent.key"}, r"key file \S*absent.key does not exist: check the path"),
        ({"cert": "one.pem", "key": "."}, r"key file \S* is a folder"),
        (
            {"cert": "text", "key": "one.key"},
            r"certificate file \S*text with key file \S*one.key cannot be used",
        ),
        (
            {"cert": "one.pem", "key": "text"},
            r"certificate file \S*one.pem with key file \S*text cannot be used",
        ),
        ({"cert": "one.pem"}, r"certificate file \S*one.pem cannot be used .*BEGIN PRIVATE KEY"),
        (
            {"cert": "one.pem", "key": "two.key"},
            r"key file \S*two.key does not belong to certificate file \S*one.pem",
        ),
        ({"cert": "one.pem", "key": "locked.key"}, r"key file \S*locked.key is encrypted: .*openssl pkey"),
    ],
)
def test_a_bad_file_is_named_with_what_to_do(folder: Path, files: dict[str, str], message: str) -> None:
    """A file that is missing, is something else or does not fit is refused by name, with one line."""
    settings = TLS(**{name: folder / file for name, file in files.items()})  # type: ignore[arg-type]
    refused(f"^{message}", settings.context)


@pytest.mark.parametrize("name", ["cafile", "cert", "key"])
def test_an_unreadable_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    """A file that may not be read says so; run in a process that gave up its right to read everything."""
    secret = tmp_path / "private.pem"
    secret.write_bytes((folder / "both.pem").read_bytes())
    secret.chmod(0)
    files = {"cert": str(folder / "one.pem"), name: str(secret)} if name == "key" else {name: str(secret)}
    program = (
        "import os, sys\n"
        "from ipyreconnect.settings import TLS\n"
        "from ipyreconnect.errors import SettingsError\n"
        "if os.getuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "try: TLS(**eval(sys.argv[1])).context()\n"
        "except SettingsError as error: print(error)\n"
    )
    for parent in [*folder.parents[:2], *tmp_path.parents[:3], tmp_path, folder]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, repr(files)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path.cwd(),
    )
    what = {"cafile": "CA file", "cert": "certificate file", "key": "key file"}[name]
    assert done.stdout == f"{what} {secret} may not be read by you: check its permissions\n"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"cafile": 5}, "tls cafile must be the path of a file, not 5"),
        ({"cafile": ""}, "tls cafile must be the path of a file, not ''"),
        ({"cafile": b"x"}, "tls cafile must be the path of a file, not b'x'"),
        ({"cert": "a\0b"}, "tls cert must be the path of a file"),
        ({"key": "x.key"}, r"a private key \(x.key\) needs its certificate: give cert too"),
        ({"starttls": "yes"}, "tls starttls must be True or False, not 'yes'"),
        ({"server_name": ""}, "tls server_name must be a host name such as mail.example.org, not ''"),
        ({"server_name": 5}, "tls server_name must be a host name"),
        ({"server_name": "a..b"}, "tls server_name must be a host name"),
        ({"server_name": ".example.org"}, "tls server_name must be a host name"),
        ({"server_name": "a" * 64}, "tls server_name must be a host name"),
    ],
)
def test_bad_tls_settings_are_refused_at_once(kwargs: dict[str, Any], message: str) -> None:
    """What is of the wrong type or contradicts itself is refused before any file is read."""
    refused(f"^{message}", TLS, **kwargs)


# Secret


@pytest.mark.parametrize("secret", [Secret("hunter2"), Secret(b"hunter2")])
def test_a_secret_is_masked_wherever_it_is_shown(secret: Secret) -> None:
    """No way of printing shows it, nor how long it is; only reveal() does."""
    assert secret.reveal() == b"hunter2"
    assert str(secret) == MASK
    assert repr(secret) == f"Secret('{MASK}')"
    shown = [
        f"{secret}",
        f"{secret!r}",
        f"{secret:>20}",
        f"{secret!s:.1}",
        "%s %r" % (secret, secret),  # noqa: UP031 (this way of formatting is the point)
        f"{[secret]}",
    ]
    shown += [str(vars(Holder(secret))), repr(Holder(secret)), ascii(secret), format(secret, "x<9")]
    assert not any("hunter2" in text for text in shown)
    assert f"{secret:.2}" == MASK


@dataclasses.dataclass
class Holder:
    """Hold a secret, as a user's own dataclass would."""

    value: Secret


class Ring(keyring.backend.KeyringBackend):
    """A keyring as any other, whose passwords are in memory."""

    priority = 1

    def __init__(self, locked: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # keyring types only what one calls
        self._kept: dict[tuple[str, str], str] = {}
        self._locked = locked

    def get_password(self, service: str, username: str) -> str | None:
        if self._locked:
            raise keyring.errors.KeyringLocked("the user did not unlock it")
        return self._kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._kept[service, username] = password


@contextlib.contextmanager
def the_keyring(ring: keyring.backend.KeyringBackend) -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(ring)
    try:
        yield
    finally:
        keyring.set_keyring(before)


def test_a_secret_comes_from_the_keyring() -> None:
    """What the system's keyring keeps for a user of a service is a secret; what it does not is said so."""
    with the_keyring(Ring()):
        keyring.set_password("imap.example.org", "me", "hunter2")
        assert Secret.from_keyring("imap.example.org", "me") == Secret("hunter2")
        advice = refused("has no password", Secret.from_keyring, "imap.example.org", "you and me")
        assert "'keyring set imap.example.org 'you and me''" in advice


def test_a_keyring_that_cannot_be_asked_says_why() -> None:
    """A locked keyring, and a system without one, are refused with the reason."""
    with the_keyring(Ring(locked=True)):
        refused("the user did not unlock it", Secret.from_keyring, "imap.example.org", "me")
    with the_keyring(keyring.backends.fail.Keyring()):
        refused("cannot be asked", Secret.from_keyring, "imap.example.org", "me")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package keyring is optional: the refusal says how to install it."""
    monkeypatch.setitem(sys.modules, "keyring", None)  # what makes an import fail as if it were not installed
    assert "ipyreconnect[keyring]" in refused(
        "package keyring", Secret.from_keyring, "imap.example.org", "me"
    )


NETRC = """\
machine imap.example.org login me password hunter2
machine nobody.example.org login me
default login anonymous password guest@
"""


def test_login_and_password_come_from_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file that is named, or from ~/.netrc; a host that is not in it gets the default entry."""
    file = tmp_path / ".netrc"
    file.write_text(NETRC)
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for user, password in (
        Secret.from_netrc("imap.example.org"),
        Secret.from_netrc("imap.example.org", file=file),
    ):
        assert (user, password) == ("me", Secret("hunter2"))
    assert Secret.from_netrc("ftp.example.org")[0] == "anonymous"
    refused("~/.netrc has no password for 'nobody.example.org'", Secret.from_netrc, "nobody.example.org")
    file.chmod(0o644)
    refused("~/.netrc is refused: .*permissive", Secret.from_netrc, "imap.example.org")
    file.unlink()
    refused("~/.netrc cannot be read: No such file", Secret.from_netrc, "imap.example.org")


def test_a_broken_netrc_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    """The error tells where, and not what stands there, which may be a password with a blank in it."""
    file = tmp_path / "netrc"
    file.write_text("machine imap.example.org login me password\nhunter2 tr0ub4dor\n")
    with pytest.raises(SettingsError, match=r"is no netrc file: look near line [23]$") as caught:
        Secret.from_netrc("imap.example.org", file=file)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "tr0ub" not in str(caught.value)
    file.write_bytes(b"machine \xff\xfe")
    refused("netrc", Secret.from_netrc, "imap.example.org", file=file)


def test_secrets_compare_by_value_and_only_with_secrets() -> None:
    """Text and bytes of one value are one secret; a plain value never equals one."""
    assert Secret("ä") == Secret("ä".encode())
    assert hash(Secret("ä")) == hash(Secret("ä".encode()))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a") != b"a"


def test_a_secret_does_not_leave_the_process() -> None:
    """It cannot be pickled, and a copy is the secret itself."""
    secret = Secret("hunter2")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_a_secret_cannot_be_changed() -> None:
    """What was masked once stays what it was."""
    secret = Secret("hunter2")
    with pytest.raises(AttributeError):
        secret._value = b"x"
    with pytest.raises(AttributeError):
        del secret._value
    with pytest.raises(AttributeError):
        secret.other = 1


@pytest.mark.parametrize("value", [None, 5, bytearray(b"x"), ["hunter2"], "", b"", "hunter2\ud800"])
def test_what_is_no_secret_is_refused_without_showing_it(value: Any) -> None:
    """Even the refusal of a bad secret does not repeat it, and neither does its cause."""
    with pytest.raises(SettingsError, match="secret") as caught:
        Secret(value)
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__cause__ is None


# Heartbeat


def test_a_heartbeat_is_text_or_bytes() -> None:
    """Both are kept as given; the period defaults to a minute."""
    assert Heartbeat("NOOP").every == 60.0
    assert Heartbeat(b"\0", every=0.5) == Heartbeat(b"\0", 0.5)
    assert Heartbeat("").line == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("NOOP\r\n", "a heartbeat is one line, without a line break: 'NOOP\\\\r\\\\n'"),
        ("A\rB", "a heartbeat is one line"),
        (b"", "a heartbeat of no bytes sends nothing: give a line"),
        (None, "a heartbeat's line must be text or bytes, not None"),
        (5, "a heartbeat's line must be text or bytes, not 5"),
    ],
)
def test_a_bad_heartbeat_is_refused(line: Any, message: str) -> None:
    """What is not one line is refused before it is ever sent."""
    refused(f"^{message}", Heartbeat, line)


@pytest.mark.parametrize("every", [*NEVER_NUMBERS, 0, 86_401])
def test_a_bad_heartbeat_period_is_refused(every: Any) -> None:
    """The period is a sensible number of seconds."""
    refused("^heartbeat every must be a number of seconds from 0.01 to 86400, not ", Heartbeat, "NOOP", every)


def test_what_answers_a_heartbeat_is_known_or_looked_for() -> None:
    """It is answered unless it is said otherwise; an expression stays as it was given."""
    assert Heartbeat("NOOP").answered is True
    assert (
        Heartbeat("NOOP", 5, answered=False) == Heartbeat("NOOP", 5.0, answered=False) != Heartbeat("NOOP", 5)
    )
    for answered in ("^PONG", b"^PONG", re.compile("^PONG"), re.compile(b"^PONG")):
        assert Heartbeat("PING", answered=answered).answered == answered
    with pytest.raises(TypeError):
        Heartbeat("NOOP", 5, False)  # type: ignore[call-arg]  # which nobody could read


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        ("(", "heartbeat answered is not a regular expression: '\\(' \\(missing \\)"),
        (b"*", "heartbeat answered is not a regular expression: b'\\*'"),
        ("", "heartbeat answered must be True, False or a regular expression for its answer, not ''"),
        (b"", "heartbeat answered must be True, False or a regular expression"),
        (None, "heartbeat answered must be True, False or a regular expression for its answer, not None"),
        (1, "heartbeat answered must be True, False or a regular expression for its answer, not 1"),
    ],
)
def test_what_cannot_answer_a_heartbeat_is_refused(answered: Any, message: str) -> None:
    """Before a heartbeat is ever sent it is known what answers it."""
    refused(f"^{message}", lambda: Heartbeat("NOOP", answered=answered))


# silence


def test_silence_is_a_number_of_seconds() -> None:
    """Any that a timer takes, or none at all."""
    assert silence_from(None) is None
    assert silence_from(30) == 30.0
    assert silence_from(0.01) == 0.01


@pytest.mark.parametrize("silence", [*filter(None, NEVER_NUMBERS), False, 0, 86_401])
def test_a_bad_silence_is_refused(silence: Any) -> None:
    """No loss after no time, and none that nobody lives to see."""
    refused("^silence must be a number of seconds from 0.01 to 86400, not ", silence_from, silence)


# all of them


@pytest.mark.parametrize(
    "value", [KeepAlive(), Retry(), TLS(), Heartbeat("NOOP"), Heartbeat("x", answered="^y")]
)
def test_settings_are_values(value: Any) -> None:
    """They compare, hash, copy and pickle as values, and nobody changes one behind the client's back."""
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(dataclasses.replace(value)) == hash(value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 1)


# errors, and the package's door


def test_every_error_is_the_callers_or_the_peers() -> None:
    """One base catches all; of the rest, each is either the caller's fault or the peer's, or an overrun."""
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.ReconnectError)
        assert inspect.getdoc(error)
        if error not in (errors.ReconnectError, errors.Overrun):
            assert issubclass(error, errors.CallerError) != issubclass(error, errors.PeerError)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.SettingsError, ValueError),
        (errors.NotConnected, ConnectionError),
        (errors.ConnectionLost, ConnectionError),
        (errors.ExpectTimeout, TimeoutError),
    ],
)
def test_errors_are_what_pythons_own_handlers_catch(error: type[Exception], builtin: type[Exception]) -> None:
    """Code that knows only Python's errors still catches ours, and reads the same text."""
    with pytest.raises(builtin, match=r"^reset by h:1$"):
        raise error("reset by h:1")


def test_a_failed_attempt_tells_its_reason_and_whether_it_is_final() -> None:
    """The reason is all that is shown; a pickled copy is whole."""
    error = AttemptFailed("refused by h:1", final=True)
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert (str(each), each.reason, each.final) == ("refused by h:1", "refused by h:1", True)
    assert AttemptFailed("refused by h:1").final is False


def test_an_overrun_tells_how_many_lines_are_lost() -> None:
    """The number is beside the text; a pickled copy is whole."""
    error = errors.Overrun("too slow", 3)
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert (str(each), each.lost) == ("too slow", 3)


def test_importing_the_package_imports_neither_ipython_nor_its_own_rooms() -> None:
    """`import ipyreconnect` is free, and the settings need no IPython."""
    program = (
        "import sys, ipyreconnect\n"
        "loaded = [name for name in sys.modules if name.startswith('ipyreconnect.')]\n"
        "assert not loaded, loaded\n"
        "ipyreconnect.KeepAlive, ipyreconnect.SettingsError\n"
        "loaded = {'IPython', 'ipywidgets', 'traitlets', 'anywidget', 'asyncio'} & sys.modules.keys()\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path.cwd())


def test_public_names_are_listed() -> None:
    """Completion offers every public name before its first use, and an unknown one is an AttributeError."""
    assert set(ipyreconnect.__all__) <= set(dir(ipyreconnect))
    assert ipyreconnect.KeepAlive is settings.KeepAlive
    with pytest.raises(AttributeError, match="has no attribute 'KeepaLive'"):
        ipyreconnect.KeepaLive  # type: ignore[attr-defined]  # noqa: B018


# Strictness, and a process that can open nothing


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_how_strictly_is_looked_can_be_said(folder: Path, strict: bool, own: bool) -> None:
    """Whoever says it gets it, with an authority of his own and with the system's."""
    context = TLS(cafile=folder / "ca.pem" if own else None, strict=strict).context()
    assert bool(context.verify_flags & ssl.VERIFY_X509_STRICT) is strict


def test_without_a_word_python_decides_for_the_systems_authorities_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home-made authority works on Python 3.13, too, which looks strictly."""
    made = ssl.create_default_context

    def as_in_3_13(**options: Any) -> ssl.SSLContext:
        context = made(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    assert TLS().context().verify_flags == made().verify_flags
    monkeypatch.setattr(ssl, "create_default_context", as_in_3_13)
    assert TLS().context().verify_flags & ssl.VERIFY_X509_STRICT
    assert not TLS(cafile=folder / "ca.pem").context().verify_flags & ssl.VERIFY_X509_STRICT
    assert TLS(cafile=folder / "ca.pem", strict=True).context().verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize("value", [0, 1, "yes", ""])
def test_strict_is_true_false_or_left_open(value: object) -> None:
    """A slip is refused at once."""
    refused("^tls strict must be True or False", TLS, strict=value)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, r"the system's certificate authorities cannot be read now"),
        ({"cafile": "ca.pem"}, r"CA file \S*ca.pem cannot be read now"),
    ],
)
def test_without_a_file_to_open_nothing_is_trusted_by_mistake(
    folder: Path, files: dict[str, str], what: str
) -> None:
    """OpenSSL would find no authorities, and say nothing, for as long as the context lives: it is refused,
    and works a moment later.
    """
    settings = TLS(**{name: folder / file for name, file in files.items()})  # type: ignore[arg-type]
    with no_files_left():
        refused(f"^{what}: too many files are open; close some, and try again$", settings.context)
    assert settings.context().verify_mode is ssl.CERT_REQUIRED


def test_a_path_begins_at_home_wherever_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is the user's home: in what is saved and loaded, of TLS, and of a Unix socket, as text or a Path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    transcript = Transcript()
    transcript.append_note("kept", 1.0)
    for path in "~/as-text.jsonl", Path("~/as-path.jsonl"):
        transcript.save(path)
        assert [line.text for line in Transcript.load(path)] == ["kept"]
    transcript.save("~/kept.txt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["as-path.jsonl", "as-text.jsonl", "kept.txt"]
    tls = TLS(cafile="~/ca.pem", cert="~/cert.pem", key=Path("~/key.pem"))
    assert (tls.cafile, tls.cert, tls.key) == tuple(
        f"{tmp_path}/{name}" for name in ("ca.pem", "cert.pem", "key.pem")
    )
