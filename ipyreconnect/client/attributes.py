"""Which attributes of a client completion offers, which cannot be set, and what there is instead; knows no
connection.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable

import traitlets

__all__ = ["CALLED_OTHERWISE", "OfferingType", "instead_of_setting", "is_settable", "offered"]

CALLED_OTHERWISE = {
    **dict.fromkeys(
        ("close", "disconnect", "shutdown", "terminate", "quit", "end", "aclose"), "client.stop() ends it"
    ),
    **dict.fromkeys(("open", "start", "dial", "run"), "client.connect() starts it"),
    **dict.fromkeys(
        ("recv", "read", "receive", "read_until", "recvuntil", "expect_exact", "read_very_eager", "query"),
        "client.expect(REGEX) waits for a line, client.send(TEXT, expect=REGEX) asks for one",
    ),
    **dict.fromkeys(
        ("readline", "readlines", "recvline", "recvlines", "lines", "makefile"),
        "`for line in client.follow()` reads them as they come, client.expect(REGEX) waits for one, and "
        "client.transcript has all",
    ),
    **dict.fromkeys(
        ("write", "writelines", "sendall", "sendline", "sendlines", "send_line", "println", "writeline"),
        "client.send(TEXT) sends one line, client.send(BYTES) bytes as they are",
    ),
    "reconnect": "client.reconnect_now() connects anew at once",
    **dict.fromkeys(
        ("settimeout", "set_timeout"), "each call has its own: client.expect(REGEX, timeout=SECONDS)"
    ),
    "setsockopt": "client.set_keepalive('5/3/3') sets the keepalive; the other options are the client's own",
    **dict.fromkeys(
        ("connected", "is_connected", "is_open", "closed", "is_alive", "isalive", "alive"),
        "client.state == 'connected' says it, and client.health how the peer is",
    ),
    **dict.fromkeys(
        ("on_message", "on_data", "add_listener", "subscribe"),
        "client.on_line(FUNCTION) has it called for each line",
    ),
}
"""How other libraries (sockets, files, telnetlib, pexpect, pwntools, pyserial, PyVISA) call what a client
does, and how it is called here. These are no attributes: `hasattr` and completion know nothing of them."""

_AT_THE_BEGINNING = "it is fixed when a client is made: make another one, with Client(ADDRESS, {name}=…)"
_FIXED = {
    **dict.fromkeys(
        ("tls", "encoding", "eol", "framing", "name", "on_connect", "transcript", "record", "queue_limit"),
        _AT_THE_BEGINNING,
    ),
    "address": "it is fixed when a client is made: make another one, with Client(ADDRESS, …)",
    "replies": "client.add_reply(REGEX, LINE) adds one, and the others are fixed when a client is made",
    "secrets": "client.hide(SECRET) hides one from now on",
    "keepalive_in_force": "client.keepalive sets it, and the system says what of that is in force",
}
"""What a client was given that it cannot change, and what there is instead."""

_OF_TRAITLETS = frozenset(dir(traitlets.HasTraits)) - {"observe", "unobserve", "unobserve_all"}
_FOR_THE_SKINS = frozenset(
    ("add_watcher", "compiled", "encode", "last_asked", "remove_watcher", "show_as_script")
)
"""Names of the client's that are for this package, and not offered by completion."""


def offered(names: Iterable[str]) -> list[str]:
    """Return those names that are for users: what completion offers."""
    return [name for name in names if _is_offered(name) and not (name[:1] == "_" and name[:2] != "__")]


def _is_offered(name: str) -> bool:
    # Traits whose names begin with _ have to stay: traitlets finds a class's by what `dir` says.
    return name[:1] == "_" or (name not in _FOR_THE_SKINS and name not in _OF_TRAITLETS)


class OfferingType(traitlets.MetaHasTraits):
    """The type of clients: it has completion offer nothing internal. IPython looks into the class too."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if _is_offered(name)]


def is_settable(client: traitlets.HasTraits, base: type, name: str) -> bool:
    """Say whether setting that attribute takes effect; `base` is the class of clients, of which `client` may
    be of a subclass.
    """
    if name in _OF_TRAITLETS:
        return True
    here, own = (inspect.getattr_static(kind, name, None) for kind in (type(client), base))
    if isinstance(here, traitlets.TraitType) or here is not own:  # which says itself what it takes
        return True
    return here is None and type(client) is not base and name not in _FIXED


def instead_of_setting(base: type[traitlets.HasTraits], name: str) -> str:
    """Return what there is instead of setting an attribute that cannot be set, or why it cannot."""
    if name in _FIXED:
        return _FIXED[name].format(name=name)
    if name in CALLED_OTHERWISE:
        return CALLED_OTHERWISE[name]
    there = inspect.getattr_static(base, name, None)
    if isinstance(there, property):
        return "it follows the connection, and is only read"
    if there is not None:
        return "it is a method; a class of your own, class Mine(Client), may have another"
    able = sorted(each for each, trait in base.class_traits().items() if not trait.read_only)
    near = difflib.get_close_matches(name, able, 1) or difflib.get_close_matches(name, _FIXED, 1)
    guess = f"did you mean {near[0]}?" if near else "all else is given to Client(…)"
    return f"it has no such attribute; {', '.join(able[:-1])} and {able[-1]} can be set; {guess}"
