"""Validates a client's arguments and turns them into settings; connects nothing.

Every function may be called from any thread, and raises SettingsError, in one line that says what to do, for
what no retry could mend.
"""

from __future__ import annotations

import inspect
import operator
import os
import re
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from ..address import Address
from ..errors import SettingsError
from ..lines.search import Pattern
from ..lines.text import EOLS, encode_line, has_break, has_own_end, visible
from ..lines.transcript import DEFAULT_BYTES, Transcript
from ..lines.writing import WHOLE_SHARE
from ..profile.base import Profile, TLSMode
from ..protocol.script import Step, parse_script
from ..settings import TLS, Heartbeat, KeepAlive, Retry

LEAST_LINE = 64
"""Bytes. A shorter limit would cut a line within the part that announces the bytes that follow it."""
LARGEST_LINE = 1 << 30
"""Bytes. A transcript keeps eight of the longest lines."""
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?([kmg]i?b?|b?)", re.IGNORECASE)
_UNITS = {
    f"{letter}{binary}{byte}": (1024 if binary or not byte else 1000) ** power
    for power, letter in enumerate(("", "k", "m", "g"))
    for binary in (("", "i") if letter else ("",))
    for byte in ("", "b")
}

Replies = Mapping[Any, str | bytes] | Iterable[tuple[Pattern, str | bytes]]
"""Patterns and the lines that answer them. The keys are Any as Mapping is invariant in their type."""

_contexts: weakref.WeakValueDictionary[object, ssl.SSLContext] = weakref.WeakValueDictionary()


def check_one_address(address: object, more: tuple[object, ...]) -> None:
    """Refuse positional arguments after the address."""
    if more:
        port = str(more[0]) if len(more) == 1 else ""
        example = f"{address}:{port}" if re.fullmatch("[0-9]{1,5}", port) else "host:port"
        raise SettingsError(f"a Client takes one address, and all else by name: write Client({example!r}, …)")


def with_tls(address: Address, tls: TLS | bool | None) -> tuple[Address, TLS]:
    """Return the address with the TLS mode that the user wants, and the options of TLS."""
    if tls is None:
        return address, TLS()
    if isinstance(tls, TLS):
        if tls.starttls:
            return address.with_tls(TLSMode.STARTTLS), tls
        return (address.with_tls(TLSMode.IMPLICIT) if address.tls is TLSMode.NONE else address), tls
    if not isinstance(tls, bool):
        raise SettingsError(f"tls must be True, False or a TLS with the details, not {tls!r}")
    if tls and address.tls is not TLSMode.NONE:
        return address, TLS()
    return address.with_tls(TLSMode.IMPLICIT if tls else TLSMode.NONE), TLS()


def context_for(options: TLS) -> ssl.SSLContext:
    """Return the TLS context for these options; equal clients share it, as it takes 18 KiB and more."""
    files = [os.fspath(path) for path in (options.cafile, options.cert, options.key) if path is not None]
    try:
        key = (options, tuple((path, os.stat(path).st_mtime_ns) for path in files))
    except OSError:
        return options.context()  # which raises, and says what is wrong
    context = _contexts.get(key)
    if context is None:
        context = _contexts[key] = options.context()
    return context


def keepalive_from(keepalive: KeepAlive | str | None) -> KeepAlive:
    """Return a keepalive that is given as one, as text ("5/3/3", "off"), or as None: the default."""
    if keepalive is None:
        return KeepAlive()
    return keepalive if isinstance(keepalive, KeepAlive) else KeepAlive.parse(keepalive)


def retry_from(retry: Retry | float | None) -> Retry:
    """Return a retry that is given as one, as its delay in seconds, or as None: the default."""
    if retry is None:
        return Retry()
    return retry if isinstance(retry, Retry) else Retry(delay=retry)


def eol_from(eol: str | bytes | None, profile: Profile) -> bytes:
    """Return a line end that is given by its name, as bytes, or as None: the protocol's."""
    if eol is None:
        return profile.eol
    if isinstance(eol, bytes):
        return eol
    known = EOLS.get(eol.lower()) if isinstance(eol, str) else None
    if known is None and isinstance(eol, str) and eol and not eol.strip("\r\n"):
        known = eol.encode()
    if known is None:
        raise SettingsError(f"unknown line end {eol!r}: use crlf, lf, cr, none, or bytes")
    return known


def name_from(name: str | None, address: Address) -> str:
    """Return the connection's name: the user's, or else its host or the file name of its socket."""
    if name is None:
        return visible(address.host or os.path.basename(address.path))
    if not isinstance(name, str) or not name or not name.isprintable():
        raise SettingsError(f"a name is text of one line, and not empty, not {name!r}")
    return name


def whole_number(number: int, what: str, least: int) -> int:
    """Return a whole number that is at least `least`; `what` begins the message of the error."""
    if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
        raise SettingsError(f"{what} from {least} up, not {number!r}")
    return operator.index(
        number
    )  # a Python int, which never overflows, where it was of another library's type


def is_function(on_connect: str | Callable[..., object] | None) -> bool:
    """Return whether `on_connect` is a function; raise SettingsError if it cannot be called as one."""
    if on_connect is None or isinstance(on_connect, str):
        return False
    if not callable(on_connect):
        raise SettingsError(
            f"on_connect must be a script (text) or a function that takes a session, "
            f"not {type(on_connect).__name__}"
        )
    check_function(on_connect, "on_connect", "the session", "it has a thread of its own")
    return True


def check_function(function: object, what: str, argument: str, why: str) -> None:
    """Check that a function can be called with one argument on a thread without an event loop.

    Args:
        function: The user's function.
        what: What it is to be, for the message of the error.
        argument: What it is called with, for the message.
        why: Why it cannot be a coroutine or a generator, for the message.

    Raises:
        SettingsError: It cannot.
    """
    if not callable(function):
        raise SettingsError(f"{what} must be a function that takes {argument}, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise SettingsError(f"{what} must be a plain function, neither async nor a generator: {why}")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise SettingsError(f"{what} is called with one argument, {argument}, but: {error}") from None
    except ValueError:
        pass  # some functions written in C have no signature


def heartbeat_from(
    heartbeat: Heartbeat | str | bytes | None, encoding: str | None, eol: bytes
) -> Heartbeat | None:
    """Return a heartbeat that is given as one or as its line, which has the default period then."""
    if heartbeat is None:
        return None
    if not isinstance(heartbeat, Heartbeat):
        heartbeat = Heartbeat(heartbeat)
    line = heartbeat.line
    if not (line if isinstance(line, bytes) else encode_line(line, encoding, None, eol) + eol):
        # The peer could not answer it, and the connection would be dropped for that.
        raise SettingsError("a heartbeat of no bytes sends nothing: give a line, or an eol")
    return heartbeat


def unmasked(
    given: Heartbeat | str | bytes | None, shown: Heartbeat | None, real: Heartbeat | None
) -> Heartbeat | str | bytes | None:
    """Restore the secrets in a heartbeat that was derived from the one that is shown.

    A user who changes the period of `client.heartbeat`, say, works on a copy whose secrets are masked.

    Args:
        given: The new heartbeat.
        shown: The current one as it is shown, with secrets masked.
        real: The current one.

    Returns:
        `given`, with what is equal to `shown` taken from `real`.
    """
    if shown is None or real is None:
        return given
    if given == shown.line:
        return real.line
    if not isinstance(given, Heartbeat) or given.line != shown.line:
        return given
    answered = real.answered if given.answered == shown.answered else given.answered
    return replace(given, line=real.line, answered=answered)


def own_heartbeat(profile: Profile) -> str:
    """Return the heartbeat line of a protocol; raise SettingsError if it has none."""
    if profile.heartbeat is None:
        why = f" ({profile.no_heartbeat})" if profile.no_heartbeat else ""
        raise SettingsError(
            f"{profile.name} has no heartbeat of its own{why}: give one, with --heartbeat LINE or "
            "%heartbeat LINE"
        )
    return profile.heartbeat


def transcript_from(transcript: Transcript | int | None, longest: int | None = None) -> Transcript:
    """Return a transcript that is given as one, as a number of lines to keep, or as None: the default.

    It has room for lines of `longest` bytes.
    """
    size = max(DEFAULT_BYTES, WHOLE_SHARE * (longest or 0))
    if transcript is None:
        return Transcript(bytes=size)
    if isinstance(transcript, Integral):
        return Transcript(operator.index(transcript), size)
    if not isinstance(transcript, Transcript):
        raise SettingsError(f"transcript must be a Transcript or how many lines to keep, not {transcript!r}")
    if longest is not None and longest * WHOLE_SHARE > transcript.byte_limit:
        raise SettingsError(
            f"a transcript of {transcript.byte_limit} bytes has no room for lines of {longest}: "
            f"give it {WHOLE_SHARE * longest} or more, as in Transcript(bytes={WHOLE_SHARE * longest})"
        )
    return transcript


def size_from(size: int | str, what: str) -> int:
    """Return a number of bytes that is given as one, or as text such as "8MiB", "500 kB" or "65536"."""
    if isinstance(size, str):
        found = _SIZE.fullmatch(size.strip())
        if found is None:
            raise SettingsError(f"{what} is a number of bytes, such as 8388608 or 8MiB, not {size!r}")
        size = int(float(found[1]) * _UNITS[found[2].lower()])
    size = whole_number(size, f"{what} must be a number of bytes", LEAST_LINE)
    if size > LARGEST_LINE:
        raise SettingsError(f"{what} is at most {LARGEST_LINE // 2**20} MiB, not {size} bytes")
    return size


def server_name_for(address: Address, tls: TLS) -> str | None:
    """Return the name that the certificate must be valid for, without the zone of an IPv6 address."""
    name = tls.server_name or address.host.partition("%")[0] or None
    if name is None and tls.verify:
        raise SettingsError(
            f"TLS with {address.display} needs a host name to verify: give it as server_name (--server-name)"
        )
    return name


def script_from(
    on_connect: str | Callable[..., object] | None,
    redact: Callable[[str], str],
    encoding: str | None,
    eol: bytes,
) -> tuple[Step, ...]:
    """Return the steps of a script; errors and the log show it as `redact` returns it."""
    if not isinstance(on_connect, str):
        return ()
    return parse_script(on_connect, encoding=encoding, eol=eol, fill=lambda line: (line, redact(line)))


def seconds_from(timeout: float) -> float:
    """Return a time-out in seconds, from 0 to the longest that a lock can wait."""
    if (
        not isinstance(timeout, (int, float, Real))  # Real comes last: it takes five times as long
        or isinstance(timeout, bool)
        or not 0 <= timeout <= threading.TIMEOUT_MAX
    ):
        raise SettingsError(f"a timeout is a number of seconds from 0 up, not {timeout!r}")
    return float(timeout)


def replies_from(
    replies: Replies | None, profile: Profile, encoding: str | None, eol: bytes
) -> tuple[tuple[re.Pattern[bytes], bytes], ...]:
    """Return the user's reply rules, then the protocol's own; an empty mapping means no rules at all."""
    own = tuple((re.compile(pattern), line) for pattern, line in profile.replies)
    if replies is None:
        return own
    try:
        pairs = [
            (pattern, line)
            for pattern, line in (replies.items() if isinstance(replies, Mapping) else replies)
        ]
    except (TypeError, ValueError):
        raise SettingsError(f"replies are a mapping of regular expression to line, not {replies!r}") from None
    return (*(reply_from(pattern, line, encoding, eol) for pattern, line in pairs), *(own if pairs else ()))


def reply_from(
    pattern: Pattern, line: str | bytes, encoding: str | None, eol: bytes
) -> tuple[re.Pattern[bytes], bytes]:
    """Return the reply rule that answers lines in which `pattern` is found with `line`."""
    code = encoding or "utf-8"
    # The pattern's source is compiled again for bytes, for which there is no UNICODE flag.
    source, flags = (
        (pattern.pattern, pattern.flags & ~re.UNICODE) if isinstance(pattern, re.Pattern) else (pattern, 0)
    )
    try:
        raw = source.encode(code) if isinstance(source, str) else source
        template = line.encode(code) if isinstance(line, str) else line
        compiled = re.compile(raw, flags)
        memoryview(template)  # raises TypeError unless it is bytes
    except (re.error, UnicodeError, TypeError, OverflowError, RecursionError) as error:
        raise SettingsError(
            f"a reply is a regular expression and the line that answers it, "
            f"not {pattern!r} and {line!r} ({error})"
        ) from None
    try:
        written = _with_empty_groups(compiled).expand(template)
    except (re.error, IndexError) as error:
        raise SettingsError(f"the reply {line!r} does not fit {pattern!r} ({error})") from None
    if has_break(written):  # also written as an escape: \n, \015
        raise SettingsError(f"a reply is one line, without a line break: {line!r}")
    if has_break(written, eol):
        raise SettingsError(f"the reply {line!r}: {has_own_end(eol)}")
    return compiled, template


def _with_empty_groups(pattern: re.Pattern[bytes]) -> re.Match[bytes]:
    """Return a match with all the groups of `pattern`, each empty: to try a template on."""
    names = {number: name.encode() for name, number in pattern.groupindex.items()}
    groups = (b"(?P<%s>)" % names[i] if i in names else b"()" for i in range(1, pattern.groups + 1))
    match = re.match(b"".join(groups), b"")
    assert match is not None
    return match
