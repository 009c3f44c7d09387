"""The names of a client's attributes: which ones completion offers, which can be set, and what to use instead
of another library's. Knows no connection.
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
"""Names in other libraries (sockets, files, telnetlib, pexpect, pwntools, pyserial, PyVISA), and the advice
what to call here. They are not attributes: `hasattr` and completion do not know them."""

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
"""Arguments of a client that cannot be changed afterwards, and the advice what to do instead."""

_OF_TRAITLETS = frozenset(dir(traitlets.HasTraits)) - {"observe", "unobserve", "unobserve_all"}
_FOR_THE_SKINS = frozenset(
    ("add_watcher", "compiled", "encode", "last_asked", "remove_watcher", "show_as_script")
)
"""Public names of a client that are for this package only; completion does not offer them."""


def offered(names: Iterable[str]) -> list[str]:
    """Return the names for users among `names`, which completion is to offer."""
    return [name for name in names if _is_offered(name) and not (name[:1] == "_" and name[:2] != "__")]


def _is_offered(name: str) -> bool:
    # Names that begin with _ have to stay: traitlets finds the traits of a class by its `dir`.
    return name[:1] == "_" or (name not in _FOR_THE_SKINS and name not in _OF_TRAITLETS)


class OfferingType(traitlets.MetaHasTraits):
    """The metaclass of clients: completion, which also asks the class, is offered nothing internal."""

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if _is_offered(name)]


def is_settable(client: traitlets.HasTraits, base: type, name: str) -> bool:
    """Return whether an attribute may be set.

    Args:
        client: The client, possibly an instance of a subclass of `base`.
        base: The class of clients.
        name: The attribute's name.
    """
    if name in _OF_TRAITLETS:
        return True
    here, own = (inspect.getattr_static(kind, name, None) for kind in (type(client), base))
    if isinstance(here, traitlets.TraitType) or here is not own:  # which validates the value itself
        return True
    return here is None and type(client) is not base and name not in _FIXED


def instead_of_setting(base: type[traitlets.HasTraits], name: str) -> str:
    """Return the advice what to do instead of setting an attribute, or why it cannot be set."""
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
