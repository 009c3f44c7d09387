"""The magics' defaults as traits, for `%config Reconnect.…` and `c.Reconnect.…`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Float, Int, TraitError, Unicode, validate
from traitlets.config import Configurable

from ...client.arguments import seconds_from
from ...errors import SettingsError
from ...lines.transcript import DEFAULT_LINES
from ...mask import check_encoding
from ...settings import KeepAlive, Retry, silence_from
from ..output.terminal import RATE

if TYPE_CHECKING:
    from traitlets.config import Config
    from traitlets.utils.bunch import Bunch


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "keepalive": KeepAlive.parse,
    "retry": lambda value: Retry(delay=value),
    "retry_factor": lambda value: Retry(factor=value),
    "retry_max": lambda value: Retry(delay=min(2.0, value), max=value),
    "attempts": lambda value: Retry(attempts=value or None),
    "silence": lambda value: silence_from(value or None),
    "wait": seconds_from,
    "timeout": seconds_from,
    "encoding": lambda value: check_encoding(value or "utf-8"),
}


class Reconnect(Configurable):
    """What ipyreconnect's magics do when an option is not given."""

    keepalive = Unicode("5/3/3", help="%connect --keepalive: IDLE/INTERVAL/COUNT, or off").tag(config=True)
    retry = Float(2.0, help="%connect --retry: seconds to wait before connecting again").tag(config=True)
    retry_factor = Float(
        1.0, help="%connect --retry-factor: what the wait is multiplied with after each failure"
    )
    retry_factor.tag(config=True)
    retry_max = Float(60.0, help="%connect --retry-max: the longest wait in seconds").tag(config=True)
    attempts = Int(0, help="%connect --attempts: give up after so many failures in a row; 0: never").tag(
        config=True
    )
    encoding = Unicode("", help="%connect --encoding; empty: UTF-8, else ISO-8859-1").tag(config=True)
    silence = Float(
        0.0, help="%connect --silence: seconds without anything received that make a loss; 0: none do"
    )
    silence.tag(config=True)
    cafile = Unicode("", help="%connect --cafile: certificates to trust; empty: the system's").tag(
        config=True
    )
    wait = Float(10.0, help="%connect --wait: seconds to wait for the first outcome").tag(config=True)
    timeout = Float(10.0, help="--timeout of %expect and %send --expect, in seconds").tag(config=True)
    ticks = Bool(False, help="%connect --ticks: print a dot a second (in terminals)").tag(config=True)
    panel = Bool(True, help="show a panel at %connect (in notebooks)").tag(config=True)
    lines = Int(DEFAULT_LINES, min=1, help="lines that a connection's transcript keeps").tag(config=True)
    answers = Int(200, min=1, help="lines of an answer that are shown under the cell (in notebooks)").tag(
        config=True
    )
    rate = Float(RATE, min=1.0, help="lines a second of a lasting flood that are shown (in terminals)")
    rate.tag(config=True)

    @validate(*_CHECKS)
    def _check(self, proposal: Bunch) -> Any:
        """Refuse what the connection's settings would refuse, with their reason."""
        try:
            _CHECKS[proposal.trait.name](proposal.value)
        except SettingsError as error:
            raise TraitError(f"Reconnect.{proposal.trait.name}: {error}") from None
        return proposal.value

    def update_config(self, config: Config) -> None:
        """Take new values; if one is refused, put the old ones into the shell's config: a load reads it."""
        try:
            super().update_config(config)
        except TraitError:
            shell: Any = self.parent
            theirs = shell.config[type(self).__name__]
            theirs.update({name: getattr(self, name) for name in config[type(self).__name__]})
            raise
