"""Read an address as users write it, and know the protocols behind the schemes; looks up no names."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote

from .errors import SettingsError
from .profile.base import PROFILES, Profile, TLSMode

__all__ = ["Address", "parse_address"]


MAX_UNIX_PATH: Final = 107
"""Bytes; Linux's sun_path holds 108 with its closing NUL (unix(7))."""

MAX_HOST: Final = 253
"""Characters; the longest name that fits into a DNS message (RFC 1035, 2.3.4)."""

MAX_SHOWN: Final = 80
"""Characters of a bad address that its message repeats; a longer one was pasted by mistake."""

_EXAMPLES: Final = "write host:port, or a URL such as imaps://imap.example.org"


_TLS_PORTS: Final = {993: "imaps", 995: "pop3s", 465: "smtps", 563: "nntps", 6697: "ircs"}
"""A bare address on one of these uses TLS from the first byte: nothing else is spoken there (RFC 8314, 3)."""

_PLAIN_OF: Final = {
    "tls": "tcp",
    "imaps": "imap",
    "smtps": "smtp",
    "pop3s": "pop3",
    "nntps": "nntp",
    "ircs": "irc",
    "rediss": "redis",
}
_TLS_OF: Final = {plain: encrypted for encrypted, plain in _PLAIN_OF.items()} | {"submission": "smtps"}


@dataclass(frozen=True, slots=True)
class Address:
    """Say where a server is and which protocol it speaks; made by `parse_address`.

    Attributes:
        scheme: the name of the profile.
        host: name or IP address, an IPv6 one without brackets; empty for a Unix socket.
        port: 1 to 65535; 0 for a Unix socket.
        path: the Unix socket's absolute path; empty otherwise.
        profile: what the scheme knows of its protocol.
        tls: when the connection becomes encrypted.
        port_given: whether the user named the port, or the profile did.
    """

    scheme: str
    host: str
    port: int
    path: str
    profile: Profile
    tls: TLSMode
    port_given: bool = field(default=True, compare=False)

    @property
    def display(self) -> str:
        """Return what messages call the server: ``host:port``, ``[v6]:port`` or the socket's path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    def with_tls(self, mode: TLSMode) -> Address:
        """Return this address with another answer to when the connection becomes encrypted.

        The protocol stays, and so does a port that the user named; one that the profile chose follows, as
        from `imap` (143) to `imaps` (993).

        Raises:
            SettingsError: for STARTTLS in a protocol that has no such command.
        """
        if mode is TLSMode.STARTTLS and self.profile.dialect is None:
            dialects = ", ".join(name for name, profile in PROFILES.items() if profile.dialect == name)
            raise SettingsError(
                f"{self.scheme} knows no STARTTLS: use a URL of a protocol that does ({dialects}), or --tls"
            )
        sibling = (_TLS_OF if mode is TLSMode.IMPLICIT else _PLAIN_OF).get(self.scheme, self.scheme)
        profile = PROFILES[sibling]
        port = self.port if self.port_given else profile.port
        return replace(self, scheme=sibling, port=port, profile=profile, tls=mode)

    def __str__(self) -> str:
        if self.path:
            return f"unix://{quote(os.fsencode(self.path), safe='/')}"
        host = f"[{self.host.replace('%', '%25', 1)}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port_given else "")


def parse_address(text: str) -> Address:
    """Read `host:port`, `host port`, `[v6]:port`, a URL, `unix:///path` or `unix://~/path`.

    A bare address on a port that is known for TLS from the first byte (993, 995, 465, 563, 6697) uses it.

    Raises:
        SettingsError: for anything else; it never repeats what may be a password.
    """
    if not isinstance(text, str):
        wanted = _EXAMPLES
        if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str | int) for part in text):
            wanted = f"write {_shown(f'{text[0]}:{text[1]}')}"
        raise SettingsError(f"an address is text, not {type(text).__name__}: {wanted}")
    text = text.strip()
    if not text:
        raise SettingsError(f"no address: {_EXAMPLES}")
    scheme, separator, rest = text.partition("://")
    if separator:
        scheme = scheme.lower()
        if scheme == "unix":
            return _unix(rest)
        _refuse_password(rest)  # before any message that would show a part of the text
        _refuse_unfilled(text)
        return _url(scheme, rest)
    if text.lower().startswith("unix:"):
        return _unix(text[len("unix:") :])
    _refuse_password(text)
    _refuse_unfilled(text)
    _refuse_slips(text)
    return _bare(text)


_PATH: Final = re.compile(r"(?!//)~?\.{0,2}/|COM[0-9]+:?\Z", re.IGNORECASE)
"""What begins as a path does, or is a serial port on Windows."""

_SLASHES: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)(?P<between>:/|//|:)(?P<rest>[^/:\s].*)", re.DOTALL
)
"""A URL whose scheme is followed by something else than ``://``."""

_TO_BE_FILLED: Final = re.compile(r"\{[^{}]*\}|\$\{?[A-Za-z_]")
"""What a program would have put in: ``{host}``, ``{{host}}``, ``$host``, ``${host}``."""


def _refuse_unfilled(text: str) -> None:
    if _TO_BE_FILLED.search(text):
        raise SettingsError(
            f"{_shown(text)} has a name in it that was not filled in: in Python write an f-string, "
            "f'{host}:{port}', and behind %connect {{host}}:{{port}} --fill"
        )


def _refuse_slips(text: str) -> None:
    """Say what is nearly an address, and what to write instead."""
    if _PATH.match(text):
        name = os.path.basename(text)
        if re.match(r"COM[0-9]|/dev/(?:tty|cu\.|serial)", text, re.IGNORECASE):
            raise SettingsError(
                f"{_shown(text)} is a serial port, not a server: have a program such as socat or ser2net "
                "serve it on a TCP port, and give that as host:port"
            )
        path = os.path.abspath(os.path.expanduser(text)) if name else text
        raise SettingsError(
            f"{_shown(text)} is a path: for a Unix socket write {_shown(f'unix://{path}')[1:-1]}"
        )
    found = _SLASHES.fullmatch(text)
    if found is None:
        return
    scheme, between, rest = found["scheme"].lower(), found["between"], found["rest"]
    if between == ":" and re.match(r"[0-9]+\Z", rest):
        return  # a host that is called as a scheme is, and its port
    near = [scheme] if scheme in PROFILES else []
    if between == ":/":
        near = near or difflib.get_close_matches(scheme, PROFILES, n=1)
    if near:
        url = _shown(f"{near[0]}://{rest}")[1:-1]
        raise SettingsError(f"{_shown(text)} is no URL, which has :// behind its scheme: write {url}")


def _refuse_password(text: str) -> None:
    # Anywhere in the text: a password may hold any character, even those that end a host.
    if "@" in text:
        raise SettingsError(
            "a user name or password does not belong in an address, it would end up in the history: "
            "leave out everything up to the '@', and log in with a line or an on-connect script"
        )


def _url(scheme: str, rest: str) -> Address:
    profile = PROFILES.get(scheme)
    if profile is None:
        near = difflib.get_close_matches(scheme, PROFILES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise SettingsError(f"unknown scheme {_shown(scheme)}{hint}: known are {', '.join(PROFILES)}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    host, port = _split(authority, zone_escaped=True)
    number = profile.port if port is None else _port(port, host)
    if rest[len(authority) :] not in ("", "/"):
        # Not repeated: a query may hold a token.
        raise SettingsError(f"an address ends after the port: leave out what follows {scheme}://{authority}")
    if not number:
        url = f"{scheme}://{authority.removesuffix(':')}"
        raise SettingsError(f"no port in {url!r}: write {url}:PORT")
    return Address(scheme, host, number, "", profile, profile.tls, port_given=port is not None)


def _bare(text: str) -> Address:
    words = text.split()
    if len(words) == 2:
        bracketed = words[0].startswith("[") and words[0].endswith("]")
        host, port = _host(words[0][1:-1] if bracketed else words[0], zone_escaped=False), words[1]
    elif len(words) == 1:
        host, found = _split(text, zone_escaped=False)
        if found is None:
            place = text.removesuffix(":")
            raise SettingsError(
                f"no port in {_shown(text)}: write {place}:PORT, or a URL such as imaps://{place}"
            )
        port = found
    else:
        raise SettingsError(
            f"an address has no spaces but the one between host and port, not {_shown(text)}: {_EXAMPLES}"
        )
    number = _port(port, host)
    profile = PROFILES[_TLS_PORTS.get(number, "tcp")]
    return Address(profile.name, host, number, "", profile, profile.tls)


def _unix(rest: str) -> Address:
    if rest.startswith("~"):
        home, slash, below = rest.partition("/")
        rest = quote(os.fsencode(os.path.expanduser(home)), safe="/~") + slash + below
    if not rest.startswith("/"):
        raise SettingsError("a Unix socket's address needs an absolute path: write unix:///path/to/socket")
    path = "/" + unquote(rest, errors="surrogateescape").lstrip("/")
    if "\0" in path:
        raise SettingsError("a Unix socket's path cannot hold a NUL")
    if path == "/":
        raise SettingsError("no path in the address: write unix:///path/to/socket")
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise SettingsError(
            f"a Unix socket's path has at most {MAX_UNIX_PATH} bytes, this one has {len(os.fsencode(path))}"
        )
    profile = PROFILES["unix"]
    return Address("unix", "", 0, path, profile, profile.tls, port_given=False)


def _split(authority: str, *, zone_escaped: bool) -> tuple[str, str | None]:
    """Part a host from its port; None where there is no port."""
    if authority.startswith("["):
        inside, bracket, behind = authority[1:].partition("]")
        if not bracket or (behind and not behind.startswith(":")):
            raise SettingsError(
                f"brackets hold an IPv6 address, the port follows, as in [::1]:993, not {_shown(authority)}"
            )
        if ":" not in inside:
            raise SettingsError(
                f"only an IPv6 address stands in brackets, as in [::1]:993, not {_shown(inside)}"
            )
        return _host(inside, zone_escaped=zone_escaped), behind[1:] or None
    if authority.count(":") > 1:
        raise SettingsError(f"an IPv6 address needs brackets, as in [::1]:993, not {_shown(authority)}")
    host, _, port = authority.partition(":")
    return _host(host, zone_escaped=zone_escaped), port or None


def _port(text: str, host: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        place = f"[{host}]" if ":" in host else host
        hint = f"write {text}://{place}" if text in PROFILES else "write a number from 1 to 65535"
        raise SettingsError(f"port {_shown(text)} is not a number: {hint}")
    digits = text.lstrip("0")
    if not digits or len(digits) > 5 or int(digits) > 65535:
        raise SettingsError(f"port {_shown(text)} is out of range: write a number from 1 to 65535")
    return int(digits)


def _host(text: str, *, zone_escaped: bool) -> str:
    """Return a host's canonical spelling; `zone_escaped`: a URL writes a zone's % as %25 (RFC 6874)."""
    if not text:
        raise SettingsError(f"no host in the address: {_EXAMPLES}")
    if ":" in text:
        return _ipv6(text, zone_escaped=zone_escaped)
    # What no name holds, and what would make a message or a log ambiguous.
    if re.search(r"[\s\x00-\x20\x7f/\\?#%\[\]<>\"'`{}|^,;()]", text) or not text.isprintable():
        raise SettingsError(f"{_shown(text)} is not a host name: {_EXAMPLES}")
    name = text.lower()
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise SettingsError(
                f"{_shown(text)} is not an IPv4 address: each part is a number from 0 to 255"
            ) from None
    try:
        ascii_name = name.encode("idna")  # as the resolver and the ssl module will
    except UnicodeError:
        raise SettingsError(
            f"{_shown(text)} is not a host name: each part between dots has 1 to 63 characters"
        ) from None
    if len(ascii_name.rstrip(b".")) > MAX_HOST:
        raise SettingsError(f"a host name has at most {MAX_HOST} characters, this one has {len(ascii_name)}")
    return name


def _ipv6(text: str, *, zone_escaped: bool) -> str:
    number, percent, zone = text.partition("%")
    if percent and zone_escaped and re.match("25.", zone):
        zone = zone[2:]
    try:
        canonical = ipaddress.IPv6Address(number).compressed
    except ValueError:
        raise SettingsError(f"{_shown(text)} is not an IPv6 address: {_EXAMPLES}") from None
    if percent and not re.fullmatch(r"[A-Za-z0-9_.~@-]+", zone):
        raise SettingsError(f"the zone behind the % of {_shown(text)} is not the name of a network interface")
    return canonical + percent + zone


def _shown(text: str) -> str:
    """Quote what the user wrote for a message of one line, whatever it holds and however long it is."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")
