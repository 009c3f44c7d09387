"""Hold the user's choices as frozen, validated values; reads files and the keyring, touches no network."""

from __future__ import annotations

import errno
import math
import operator
import os
import re
import ssl
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Final, NoReturn

from .errors import SettingsError

__all__ = ["NO_KEEPALIVE", "TLS", "Heartbeat", "KeepAlive", "Retry", "path_from", "silence_from"]


NO_KEEPALIVE: Final = "a Unix socket has no keepalive; the end of its peer shows at once"

MAX_KEEPALIVE_SECONDS: Final = 32767
"""Linux refuses more for TCP_KEEPIDLE and TCP_KEEPINTVL (MAX_TCP_KEEPIDLE in its net/tcp.h)."""

MAX_KEEPALIVE_COUNT: Final = 127
"""Linux refuses more for TCP_KEEPCNT (MAX_TCP_KEEPCNT in its net/tcp.h)."""

MIN_PERIOD: Final = 0.01
"""Seconds; the least wait between two tries or two heartbeats, so that neither becomes a busy loop."""

MAX_PERIOD: Final = 86_400.0
"""Seconds; a day. Longer is a slip of the pen, and far longer overflows what the system's timers take."""

DEFAULT_RETRY_MAX: Final = 60.0
"""Seconds; where a growing wait stops growing unless the user says otherwise: someone is watching."""

DEFAULT_HEARTBEAT_EVERY: Final = 60.0
"""Seconds; below the idle time-outs of home routers and of nearly every server."""

_KEEPALIVE_FORM: Final = (
    "IDLE/INTERVAL/COUNT, for example 5/3/3 "
    f"(IDLE and INTERVAL in whole seconds from 1 to {MAX_KEEPALIVE_SECONDS}, "
    f"COUNT from 1 to {MAX_KEEPALIVE_COUNT}), or 'off'"
)


def _whole(name: str, value: object, low: int, high: int | None, unit: str = "") -> int:
    """Return `value` as an int of that range, or say in the user's words why it is none."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = operator.index(value)
        if low <= number and (high is None or number <= high):
            return number
    reach = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise SettingsError(f"{name} must be a whole number{unit} {reach}, not {value!r}")


def _real(name: str, value: object, low: float, high: float, unit: str = "") -> float:
    """Return `value` as a float of that range, or say in the user's words why it is none."""
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an int beyond the largest float
            number = math.inf
        if low <= number <= high:  # false for NaN
            return number
    raise SettingsError(f"{name} must be a number{unit} from {low:g} to {high:g}, not {value!r}")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{name} must be True or False, not {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Say how soon TCP asks an idle peer whether it is still there, and when it gives the peer up.

    Attributes:
        idle: whole seconds of silence before the first probe, 1 to 32767.
        interval: whole seconds between probes, 1 to 32767.
        count: unanswered probes after which the peer counts as dead, 1 to 127.
        enabled: false leaves a silent peer alone for ever.

    Raises:
        SettingsError: for a value outside of what Linux accepts Source: tcp(7), TCP_KEEPIDLE, TCP_KEEPINTVL,
            TCP_KEEPCNT.
    """

    idle: int = 5
    interval: int = 3
    count: int = 3
    enabled: bool = True

    def __post_init__(self) -> None:
        seconds = " of seconds"
        _set(self, "idle", _whole("keepalive idle", self.idle, 1, MAX_KEEPALIVE_SECONDS, seconds))
        _set(self, "interval", _whole("keepalive interval", self.interval, 1, MAX_KEEPALIVE_SECONDS, seconds))
        _set(self, "count", _whole("keepalive count", self.count, 1, MAX_KEEPALIVE_COUNT))
        _flag("keepalive enabled", self.enabled)

    @property
    def bound(self) -> int:
        """Tell within how many seconds a dead peer is noticed; 0 when off, which means no bound at all.

        These are also the seconds for TCP_USER_TIMEOUT, where 0 asks for the system's own rule.
        """
        return self.idle + self.interval * self.count if self.enabled else 0

    @classmethod
    def off(cls) -> KeepAlive:
        """Return the setting that never probes."""
        return cls(enabled=False)

    @classmethod
    def parse(cls, text: str) -> KeepAlive:
        """Read `IDLE/INTERVAL/COUNT` (whole seconds, whole seconds, probes) or `off`.

        Raises:
            SettingsError: with the form and the ranges, for anything else.
        """
        if not isinstance(text, str):
            raise SettingsError(f"keepalive must be text of the form {_KEEPALIVE_FORM}, not {text!r}")
        words = text.strip()
        if words.lower() == "off":
            return cls.off()
        parts = [part.strip() for part in words.split("/")]
        # At most 9 digits: Python itself refuses to read numbers of thousands of digits.
        if len(parts) == 3 and all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
            try:
                idle, interval, count = map(int, parts)
                return cls(idle, interval, count)
            except SettingsError:
                pass
        raise SettingsError(f"keepalive {text!r} is not of the form {_KEEPALIVE_FORM}")

    def __str__(self) -> str:
        return f"{self.idle}/{self.interval}/{self.count}" if self.enabled else "off"


@dataclass(frozen=True, slots=True)
class Retry:
    """Say how long to wait between attempts at connecting, and for how many attempts.

    Attributes:
        delay: seconds before the second attempt, 0.01 to 86400.
        factor: what the wait is multiplied with after each further failure, 1 to 100; 1 keeps it constant.
        max: seconds that the wait never grows beyond, at least `delay`; None: 60, or `delay` if longer.
        jitter: the share of the wait that chance adds or takes away, 0 to 1, so that many clients of a
            restarted server do not return in step.
        attempts: attempts in a row that may fail before the client gives up; None: as many as it takes.
        stable: seconds that a connection must have lasted before its loss starts the count anew.

    Raises:
        SettingsError: for a value out of range.
    """

    delay: float = 2.0
    factor: float = 1.0
    max: float | None = None
    jitter: float = 0.1
    attempts: int | None = None
    stable: float = 10.0

    def __post_init__(self) -> None:
        seconds = " of seconds"
        _set(self, "delay", _real("retry delay", self.delay, MIN_PERIOD, MAX_PERIOD, seconds))
        _set(self, "factor", _real("retry factor", self.factor, 1.0, 100.0))
        _set(self, "jitter", _real("retry jitter", self.jitter, 0.0, 1.0))
        _set(self, "stable", _real("retry stable", self.stable, 0.0, MAX_PERIOD, seconds))
        if self.max is not None:
            _set(self, "max", _real("retry max", self.max, MIN_PERIOD, MAX_PERIOD, seconds))
            if self.max < self.delay:
                raise SettingsError(
                    f"retry max ({self.max:g} s) must not be below the delay ({self.delay:g} s)"
                )
        if self.attempts is not None:
            _set(self, "attempts", _whole("retry attempts", self.attempts, 1, None))

    @property
    def ceiling(self) -> float:
        """Tell the seconds that a wait never grows beyond, before jitter."""
        return max(DEFAULT_RETRY_MAX, self.delay) if self.max is None else self.max

    def wait(self, failures: int, u: float) -> float:
        """Return the seconds to wait after that many failures in a row.

        Args:
            failures: 1 after the first failure.
            u: the caller's randomness, from 0 up to but not including 1; 0.5 adds and takes nothing.
        """
        try:
            base = min(self.delay * self.factor ** (failures - 1), self.ceiling)
        except OverflowError:  # a factor at work for a thousand failures is past any ceiling
            base = self.ceiling
        return base * (1.0 + self.jitter * (2.0 * u - 1.0))


@dataclass(frozen=True, slots=True)
class TLS:
    """Say whom to trust and as whom to appear when a connection is encrypted.

    Attributes:
        verify: false accepts any certificate: nobody knows then who listens in.
        cafile: PEM file of the certificate authorities to trust; None: the system's.
        cert: PEM file with the client's certificate (and, without `key`, its private key).
        key: PEM file with the private key of `cert`, not encrypted.
        server_name: the name to ask for and to verify, where it is not the address's host.
        starttls: true begins in plain text and upgrades with the protocol's own command.
        strict: whether certificates must keep to every rule of form (RFC 5280), which home-made authorities
            rarely do; None: as Python has it with the system's authorities (strict since 3.13), not strict
            with one's own `cafile`.

    Raises:
        SettingsError: for a value of the wrong type, or a key without its certificate.
    """

    verify: bool = True
    cafile: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    server_name: str | None = None
    starttls: bool = False
    strict: bool | None = None

    def __post_init__(self) -> None:
        _flag("tls verify", self.verify)
        _flag("tls starttls", self.starttls)
        if self.strict is not None:
            _flag("tls strict", self.strict)
        for name in ("cafile", "cert", "key"):
            _set(self, name, path_from(f"tls {name}", getattr(self, name)))
        if self.key is not None and self.cert is None:
            raise SettingsError(f"a private key ({self.key}) needs its certificate: give cert too")
        if self.server_name is not None:
            _set(self, "server_name", _server_name(self.server_name))

    def context(self) -> ssl.SSLContext:
        """Read the files and return a client's context: TLS 1.2 or newer, verified unless told otherwise.

        Reads the disk: not for the I/O thread.

        Raises:
            SettingsError: naming the file, for one that is missing, unreadable or not what it should be.
        """
        if self.cafile is None:
            # Before and after: where it can open no file, OpenSSL finds no authorities, and says nothing.
            _check_files()
            context = ssl.create_default_context()
            _check_files()
        else:
            _readable("CA file", self.cafile)
            try:
                context = ssl.create_default_context(cafile=self.cafile)
            except ssl.SSLError as error:
                raise SettingsError(
                    f"CA file {self.cafile} holds no usable certificate ({_explain(error)}): "
                    "it must be PEM text with -----BEGIN CERTIFICATE-----"
                ) from error
            except OSError as error:
                raise _unreadable("CA file", self.cafile, error) from error
        if self.strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        elif self.strict is not None or self.cafile is not None:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # a system-wide OpenSSL setting may allow less
        if not self.verify:
            context.check_hostname = False  # first: ssl refuses CERT_NONE while it is on
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            self._identify(context, self.cert)
        return context

    def _identify(self, context: ssl.SSLContext, cert: str | os.PathLike[str]) -> None:
        """Load the client's certificate and key, telling apart what OpenSSL throws together."""
        _readable("certificate file", cert)
        keyfile = cert if self.key is None else self.key
        if self.key is not None:
            _readable("key file", self.key)

        def ask() -> NoReturn:
            # Without this, OpenSSL itself would ask on the terminal and wait there.
            raise SettingsError(
                f"key file {keyfile} is encrypted: "
                f"write an unencrypted copy with 'openssl pkey -in {keyfile} -out COPY'"
            )

        try:
            context.load_cert_chain(cert, self.key, password=ask)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SettingsError(
                    f"key file {keyfile} does not belong to certificate file {cert}: "
                    "give the key that the certificate was made with"
                ) from error
            raise SettingsError(
                f"certificate file {cert}"
                + (" " if self.key is None else f" with key file {self.key} ")
                + f"cannot be used ({_explain(error)}): PEM text with -----BEGIN CERTIFICATE----- and its "
                "-----BEGIN PRIVATE KEY----- is needed"
            ) from error
        except OSError as error:  # it was there a moment ago
            raise _unreadable("certificate file", cert, error) from error


_TOO_MANY_FILES: Final = "too many files are open; close some, and try again"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Send a line again and again while connected, so that nobody on the way forgets the connection, and that
    a server program that hangs is noticed: after two periods without anything from it, once it has answered
    one at this address.

    Attributes:
        line: text (one line; the line end is added), which is not sent within a period after any other line;
            or bytes, sent as they are and in each period, whatever else is sent: their writer knows.
        every: seconds, 0.01 to 86400.
        answered: whether the server answers it; false: its silence is no verdict. Or a regular expression for
            the answer, where others may send lines as well; true: it is the profile's for the profile's own
            heartbeat, else the next thing that is received.

    Raises:
        SettingsError: for a text with a line break, no bytes at all, a period out of range, or what is no
            regular expression.
    """

    line: bytes | str
    every: float = DEFAULT_HEARTBEAT_EVERY
    answered: bool | str | bytes | re.Pattern[str] | re.Pattern[bytes] = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.line, str):
            if "\r" in self.line or "\n" in self.line:
                raise SettingsError(f"a heartbeat is one line, without a line break: {self.line!r}")
        elif not isinstance(self.line, bytes):
            raise SettingsError(f"a heartbeat's line must be text or bytes, not {self.line!r}")
        elif not self.line:
            raise SettingsError("a heartbeat of no bytes sends nothing: give a line")
        _set(self, "every", _real("heartbeat every", self.every, MIN_PERIOD, MAX_PERIOD, " of seconds"))
        _check_answered(self.answered)


def _check_answered(answered: object) -> None:
    if isinstance(answered, (bool, re.Pattern)):
        return
    if not isinstance(answered, (str, bytes)) or not answered:
        raise SettingsError(
            f"heartbeat answered must be True, False or a regular expression for its answer, not {answered!r}"
        )
    try:
        re.compile(answered)
    except (re.error, RecursionError, OverflowError) as error:
        raise SettingsError(
            f"heartbeat answered is not a regular expression: {answered!r} ({error})"
        ) from None


def silence_from(silence: object) -> float | None:
    """Return after how many seconds without anything received a connection is lost; None: never.

    Raises:
        SettingsError: for anything but a number of seconds, 0.01 to 86400, or None.
    """
    return None if silence is None else _real("silence", silence, MIN_PERIOD, MAX_PERIOD, " of seconds")


def _set(value: object, name: str, field: object) -> None:
    """Store a normalised field in a frozen dataclass that is still being made."""
    object.__setattr__(value, name, field)


def path_from(name: str, value: object) -> str | None:
    """Return the path of a file, `~` and all, or None for None; `name` is what the refusal is about."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if isinstance(path, str) and path and "\0" not in path:
            return os.path.expanduser(path)
    raise SettingsError(f"{name} must be the path of a file, not {value!r}")


def _server_name(name: object) -> str:
    """Return a name that TLS can ask for; the ssl module would refuse others much later, and less clearly."""
    if isinstance(name, str) and name and not name.startswith(".") and "\0" not in name:
        try:
            name.encode("idna")
        except UnicodeError:
            pass
        else:
            return name
    raise SettingsError(f"tls server_name must be a host name such as mail.example.org, not {name!r}")


def _readable(what: str, path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be read, with its name: ssl's own errors leave the name out."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise _unreadable(what, path, error) from error


def _unreadable(what: str, path: str | os.PathLike[str], error: OSError) -> SettingsError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            advice = "does not exist: check the path"
        case errno.EACCES | errno.EPERM:
            advice = "may not be read by you: check its permissions"
        case errno.EISDIR:
            advice = "is a folder: name a PEM file in it"
        case errno.EMFILE | errno.ENFILE:
            advice = f"cannot be read now: {_TOO_MANY_FILES}"
        case _:
            advice = f"cannot be read: {error.strerror}"
    return SettingsError(f"{what} {os.fspath(path)} {advice}")


def _check_files() -> None:
    """Refuse to go on where this process can open no file."""
    try:
        with open(os.devnull, "rb"):
            pass
    except OSError as error:
        problem = _TOO_MANY_FILES if error.errno in (errno.EMFILE, errno.ENFILE) else error.strerror
        raise SettingsError(f"the system's certificate authorities cannot be read now: {problem}") from error


def _explain(error: ssl.SSLError) -> str:
    """Put OpenSSL's symbol into words: NO_CERTIFICATE_OR_CRL_FOUND becomes 'no certificate or crl found'."""
    return (error.reason or str(error)).replace("_", " ").lower()
