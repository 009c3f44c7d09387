"""What surrounds each magic: the help that `%magic?` shows, and one line for whatever goes wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from IPython.core import magic_arguments as _untyped
from IPython.core.error import UsageError

from ...errors import CallerError, PeerError
from .table import Magic

__all__ = ["Interrupted", "documented", "in_one_line"]

_F = TypeVar("_F", bound=Callable[..., Any])
_arguments: Any = _untyped


def documented(magic: Magic) -> Callable[[_F], _F]:
    """Return a decorator that gives a magic's method the help that `%magic?` shows, made from the table.

    The parser that IPython's decorators attach is used for that help only.
    """

    def decorate(method: _F) -> _F:
        decorators = []
        for option in magic.options:
            if option.metavar is None:
                decorators.append(_arguments.argument(option.name, action="store_true", help=option.help))
            else:
                decorators.append(_arguments.argument(option.name, metavar=option.metavar, help=option.help))
        if magic.operand:
            operand_help = magic.operand_help.replace("%", "%%")
            decorators.append(_arguments.argument(magic.operand, nargs="?", help=operand_help))
        for decorator in reversed(decorators):
            method = decorator(method)
        documented_method: _F = _arguments.magic_arguments(magic.name)(method)
        return documented_method

    return decorate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a magic's wait: shown as one line."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def in_one_line(method: _F) -> _F:
    """Decorate a magic: an error of the caller or of the peer shows as one message, not as a traceback."""

    @functools.wraps(method)
    def magic(self: Any, *args: Any) -> Any:
        try:
            return method(self, *args)
        except CallerError as error:
            raise UsageError(str(error)) from None
        except PeerError as error:
            text = f"{type(error).__name__}: {error}"
            # IPython shows what this gives instead of a traceback; the error's type stays.
            error._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]
            raise error from None
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the connection is as it was") from None

    return magic  # type: ignore[return-value]
