"""The settings fields of a panel: keepalive and retry delay of the live connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from traitlets import Unicode

from ...settings import NO_KEEPALIVE, KeepAlive
from .channel import Tick, View
from .controls import Control

__all__ = ["SettingsFields"]


class SettingsFields(Control):
    """The keepalive, and the delays between tries after a loss.

    The keepalive changes the live socket, and is shown as the system gave it back.
    """

    kind = Unicode("settings").tag(sync=True)

    def compose(self, views: Mapping[str, View]) -> Tick:
        """Return what is wanted and what is in force."""
        state = self._state()
        return Tick(state, key=repr(state))

    def _state(self) -> dict[str, Any]:
        retry, in_force = self._client.retry, self._client.keepalive_in_force
        return {
            "keepalive": asdict(self._client.keepalive),
            "in_force": in_force and asdict(in_force),
            "without": NO_KEEPALIVE if self._client.address.path else "",
            "retry": {
                "delay": retry.delay,
                "factor": retry.factor,
                "max": retry.ceiling,
                "attempts": retry.attempts,
            },
        }

    def answer(self, kind: str, content: Mapping[str, Any]) -> None:
        """Apply what the user typed or chose; what is refused changes nothing."""
        if kind == "keepalive":
            self.command(content, "applied", lambda: self._set_keepalive(content))
        elif kind == "retry":
            self.command(content, "applied", lambda: self._set_retry(content))

    def _set_keepalive(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        if wish.get("enabled"):
            keepalive = KeepAlive(*(_number(wish.get(name)) for name in ("idle", "interval", "count")))
        else:
            keepalive = replace(self._client.keepalive, enabled=False)
        self._client.set_keepalive(keepalive)
        return self._state()

    def _set_retry(self, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        values = {name: _number(wish.get(name)) for name in ("delay", "factor", "max")}
        self._client.retry = replace(self._client.retry, **values)
        return self._state()


def _number(value: object) -> Any:
    """Return a field's text as a number if it is one; the settings refuse anything else with a reason."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text or "nothing"
    return int(number) if number.is_integer() else number
