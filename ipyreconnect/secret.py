"""A secret: text that shows nowhere."""

from __future__ import annotations

import contextlib
import hmac
import netrc
import os
import shlex
from typing import NoReturn, SupportsIndex

from .errors import SettingsError
from .mask import MASK
from .settings import path_from

__all__ = ["Secret"]


class Secret:
    """Carry a value that is sent but never shown: every way to print it gives `••••`.

    Args:
        value: text (sent as UTF-8) or bytes; not empty.

    Raises:
        SettingsError: for any other value.
    """

    __slots__ = ("_value",)
    _value: bytes

    def __init__(self, value: str | bytes) -> None:
        if isinstance(value, str):
            # Refused afterwards: an exception keeps the one during which it was raised, which holds the text.
            with contextlib.suppress(UnicodeEncodeError):
                value = value.encode()
        if isinstance(value, str):
            raise SettingsError("a secret's text must be encodable as UTF-8: give bytes instead")
        if not isinstance(value, bytes):
            raise SettingsError(f"a secret must be text or bytes, not {type(value).__name__}")
        if not value:
            raise SettingsError("a secret must not be empty: there would be nothing to hide")
        object.__setattr__(self, "_value", value)

    @classmethod
    def from_keyring(cls, service: str, user: str) -> Secret:
        """Return the password that the system's keyring has for `user` of `service`.

        `keyring set SERVICE USER` in a shell puts it there. This needs the package keyring, which comes with
        `pip install "ipyreconnect[keyring]"`. The system may ask the user to unlock the keyring, so it can
        take long; any thread.

        Args:
            service: under which name it was stored, such as the host.
            user: whose password.

        Raises:
            SettingsError: when nothing is stored, the package is missing, or there is no keyring to ask.
        """
        try:
            import keyring
            import keyring.errors
        except ImportError:
            raise SettingsError(
                'Secret.from_keyring needs the package keyring: pip install "ipyreconnect[keyring]"'
            ) from None
        try:
            found = keyring.get_password(service, user)
        except keyring.errors.KeyringError as error:  # locked, or none at all, as on many a server
            raise SettingsError(
                f"the keyring cannot be asked for the password of {user!r} at {service!r}: "
                f"{str(error).strip() or type(error).__name__}"
            ) from None
        if not found:
            raise SettingsError(
                f"the keyring has no password of {user!r} at {service!r}: "
                f"store it with 'keyring set {shlex.quote(service)} {shlex.quote(user)}' in a shell"
            )
        return cls(found)

    @classmethod
    def from_netrc(cls, host: str, *, file: str | os.PathLike[str] | None = None) -> tuple[str, Secret]:
        """Return the login and the password that a netrc file has for `host`.

        ::

            user, password = Secret.from_netrc("imap.example.org")

        Reads the disk; any thread.

        Args:
            host: the name behind `machine`; without one, the file's `default` entry counts.
            file: None: `~/.netrc`, which others must not be able to read.

        Raises:
            SettingsError: when the file is missing, may be read by others or is none, or has no password for
                `host` Source: netrc(5), Python's netrc module.
        """
        path = path_from("netrc file", file)
        shown = "~/.netrc" if path is None else path
        entry, problem = None, ""
        try:
            entry = netrc.netrc(path).authenticators(host)
        except netrc.NetrcParseError as error:
            # Its text may quote a piece of a password; it has no line number where the file's owner or
            # permissions are what is wrong.
            problem = (
                f"is no netrc file: look near line {error.lineno}"
                if error.lineno
                else f"is refused: {error.msg}"
            )
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            problem = "is not text in UTF-8"
        if problem:  # here, as an exception keeps the one during which it was raised
            raise SettingsError(f"the netrc file {shown} {problem}")
        if entry is None or not entry[2]:
            raise SettingsError(
                f"the netrc file {shown} has no password for {host!r}: "
                f"add the line 'machine {host} login USER password PASSWORD'"
            )
        return entry[0], cls(entry[2])

    def reveal(self) -> bytes:
        """Return the bytes that are to be sent."""
        return self._value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __format__(self, spec: str) -> str:
        return MASK  # whatever the width: a padded mask would only invite one that is cut

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)  # the time taken tells nothing about the value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: it would be readable in the file")
