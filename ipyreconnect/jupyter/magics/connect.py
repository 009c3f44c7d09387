"""Make the client that a line of %connect, and the script below it, ask for. It starts none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError

from ...address import Address, parse_address
from ...client.arguments import own_heartbeat
from ...client.client import Client
from ...errors import SettingsError
from ...lines.text import EOLS
from ...profile.base import TLSMode
from ...secret import Secret
from ...settings import DEFAULT_HEARTBEAT_EVERY, TLS, Heartbeat, KeepAlive, Retry
from .defaults import Reconnect
from .escapes import unescape
from .fill import Filler, script_line_of, secrets_of, text_of
from .options import Parsed, value_in_need_of_quotes

__all__ = ["ConnectRequest", "changed_heartbeat", "parse_eol", "parse_reply"]

_TLS_MODES = {"--tls": TLSMode.IMPLICIT, "--no-tls": TLSMode.NONE, "--starttls": TLSMode.STARTTLS}
_ABOUT_TLS = ("--no-verify", "--cafile", "--cert", "--key", "--server-name")


class ConnectRequest:
    """What a line of %connect asks for, with the defaults for what it leaves open.

    Args:
        parsed: the line.
        script: the lines of the cell below it, or None for a line magic.
        defaults: what holds for options that are not given.
        namespace: the user's variables, for --fill.

    Raises:
        UsageError, SettingsError: the address, or what --fill is to put in, is no good.

    """

    def __init__(
        self, parsed: Parsed, script: Sequence[str] | None, defaults: Reconnect, namespace: Mapping[str, Any]
    ) -> None:
        self._defaults = defaults
        self._filler = Filler(namespace) if parsed.flag("--fill") else None
        self._template = None if script is None else "\n".join(script)
        self._encoding = parsed.get("--encoding") or defaults.encoding or None
        self._line, self._secrets = self._filled(parsed)
        address = _address(self._line)
        wait = self._line.seconds("--wait")
        self.wait: float = defaults.wait if wait is None else wait
        """Seconds to wait for the first outcome."""
        self.ticks: bool = defaults.ticks or self._line.flag("--ticks")
        """Whether to print a dot a second, in a terminal."""
        self.panel: bool = defaults.panel and not self._line.flag("--no-panel")
        """Whether to show a panel, in a notebook."""
        self.address, self._tls = self._with_tls(address)

    def name(self) -> str | None:
        """Return what the connection is to be called, or None where the user leaves that open.

        Raises:
            UsageError: two names are given, or one that no other magic could take.

        """
        name, other = self._line.get("--name"), self._line.get("-c")
        if name is not None and other is not None and name != other:
            raise UsageError(f"--name {name!r} and -c {other!r}: give one name")
        name = other if name is None else name
        if name is not None and (not name or name.startswith("-") or not name.isprintable() or " " in name):
            raise UsageError(f"--name {name!r}: give a name without blanks that does not begin with -")
        return name

    def client(self, name: str) -> Client:
        """Make the client.

        Raises:
            UsageError, SettingsError: anything about it is wrong.

        """
        given = self._line.all("--reply")
        replies = [parse_reply(reply) for reply in given if reply.lower() != "off"]
        only_these = len(replies) < len(given)
        script, of_script = self._script()
        eol = self._line.get("--eol")
        client = Client(
            self.address,
            name=name,
            tls=self._tls,
            keepalive=KeepAlive.parse(self._given("--keepalive", self._defaults.keepalive)),
            retry=self._retry(),
            encoding=self._encoding,
            eol=None if eol is None else parse_eol(eol),
            framing=self._line.get("--framing"),
            longest_line=self._line.get("--longest-line"),
            heartbeat=self._heartbeat(),
            silence=self._silence(),
            replies={} if only_these else replies or None,
            on_connect=script,
            transcript=self._defaults.lines,
            record=self._line.get("--record"),
            secrets=[*self._secrets, *of_script],
        )
        for rule in reversed(replies) if only_these else ():  # each comes before those that are there
            client.add_reply(*rule)
        if of_script:
            client.show_as_script(self._template or "")  # what a user may look at is the template
        return client

    def _given(self, option: str, default: str) -> str:
        value = self._line.get(option)
        return default if value is None else value

    def _filled(self, parsed: Parsed) -> tuple[Parsed, list[Secret]]:
        """Put variables into the address and into the options' values; return the secrets in these, too.

        An address and most options are shown again and again: no secret may stand in one. In --reply a value
        would become part of an expression, and of a template.
        """
        if self._filler is None:
            return parsed, []
        filler, secrets = self._filler, list[Secret]()

        def fill(what: str, template: str) -> str:
            pieces = filler.fill(template)
            if what == "--reply" and any(piece.value for piece in pieces):
                raise UsageError("--fill does not reach into --reply: use client.add_reply(REGEX, LINE)")
            found = secrets_of(pieces, self._encoding or "utf-8")
            if found and what != "--heartbeat":
                raise UsageError(f"{what} is shown again and again: no secret belongs in it")
            secrets.extend(found)
            return text_of(pieces)

        values = {
            name: tuple(fill(name, value) if value else value for value in given)
            for name, given in parsed.values.items()
        }
        return replace(parsed, rest=fill("an address", parsed.rest), values=values), secrets

    def _script(self) -> tuple[str | None, list[Secret]]:
        """Return the on-connect script and the secrets in it."""
        if self._template is None or self._filler is None:
            return self._template, []
        filled = self._filler.fill_script(self._template)
        secrets = [secret for one in filled for secret in secrets_of(one, self._encoding or "utf-8")]
        return "\n".join(script_line_of(one) for one in filled), secrets

    def _with_tls(self, address: Address) -> tuple[Address, TLS | None]:
        """Return the address with the TLS mode that is wanted, and the details of that TLS."""
        modes = [name for name in _TLS_MODES if self._line.flag(name)]
        if len(modes) > 1:
            raise UsageError(f"{' and '.join(modes)} exclude each other: give one")
        if modes:
            address = address.with_tls(_TLS_MODES[modes[0]])
        if address.tls is TLSMode.NONE:
            if idle := next(filter(self._line.flag, _ABOUT_TLS), None):
                advice = "leave --no-tls out" if modes else "give --tls or --starttls too, or a URL with TLS"
                raise UsageError(f"{idle} is about TLS, and {address} uses none: {advice}")
            return address, None
        return address, TLS(
            verify=not self._line.flag("--no-verify"),
            cafile=self._line.get("--cafile") or self._defaults.cafile or None,
            cert=self._line.get("--cert"),
            key=self._line.get("--key"),
            server_name=self._line.get("--server-name"),
            starttls=address.tls is TLSMode.STARTTLS,
        )

    def _retry(self) -> Retry:
        line, defaults = self._line, self._defaults
        delay, factor = line.seconds("--retry"), line.number("--retry-factor")
        longest, attempts = line.seconds("--retry-max"), line.count("--attempts")
        delay = defaults.retry if delay is None else delay
        # A long --retry alone must not clash with a default that the user does not see.
        longest = max(defaults.retry_max, delay) if longest is None else longest
        return Retry(
            delay=delay,
            factor=defaults.retry_factor if factor is None else factor,
            max=longest,
            attempts=(defaults.attempts or None) if attempts is None else attempts,
        )

    def _silence(self) -> float | None:
        text = self._line.get("--silence")
        if text is None:
            return self._defaults.silence or None
        return None if text.lower() == "off" else self._line.number("--silence")

    def _heartbeat(self) -> Heartbeat | None:
        line, every = self._line.get("--heartbeat"), self._line.seconds("--heartbeat-every")
        unanswered = self._line.flag("--heartbeat-unanswered")
        if line is None and every is None:
            if unanswered:
                raise UsageError("--heartbeat-unanswered is about a heartbeat: give --heartbeat LINE too")
            return None
        if line is not None and line.lower() == "off":
            if every is not None or unanswered:
                option = "--heartbeat-unanswered" if every is None else "--heartbeat-every"
                raise UsageError(f"--heartbeat off sends none: leave {option} out")
            return None
        if line is None:
            line = own_heartbeat(self.address.profile)
        return Heartbeat(line, DEFAULT_HEARTBEAT_EVERY if every is None else every, answered=not unanswered)


def changed_heartbeat(client: Client, parsed: Parsed) -> Heartbeat | None:
    """Return what a line of %heartbeat asks for.

    What it leaves open stays as it is, or becomes the protocol's own.
    """
    line, every, unanswered = parsed.rest, parsed.seconds("--every"), parsed.flag("--unanswered")
    before: Heartbeat | None = client.heartbeat
    if line.strip().lower() == "off":
        if every is not None or unanswered:
            raise UsageError("%heartbeat off sends none: leave the options out")
        return None
    if line or before is None:
        line = line or own_heartbeat(client.address.profile)
        usual = DEFAULT_HEARTBEAT_EVERY if before is None else before.every
        return Heartbeat(line, usual if every is None else every, answered=not unanswered)
    return replace(
        before,
        every=before.every if every is None else every,
        answered=False if unanswered else before.answered,
    )


def _address(parsed: Parsed) -> Address:
    """Read the address of %connect; where it is none, the words of an option's value may stand in it."""
    try:
        return parse_address(parsed.rest)
    except SettingsError:
        if (advice := value_in_need_of_quotes(parsed, _is_address)) is not None:
            raise UsageError(advice) from None
        raise


def _is_address(text: str) -> bool:
    with suppress(SettingsError):
        parse_address(text)
        return True
    return False


def parse_eol(text: str) -> bytes:
    r"""Read a line end: crlf, lf, cr, none, or escapes such as \r\n; UsageError for anything else."""
    known = EOLS.get(text.lower())
    if known is not None:
        return known
    if "\\" in text:
        return unescape(text)
    raise UsageError(f"--eol {text!r}: give crlf, lf, cr, none or escapes such as \\r\\n")


def parse_reply(text: str) -> tuple[str, str]:
    r"""Read REGEX=LINE, split at the first = without a backslash in front; UsageError when it is none.

    In REGEX, \= becomes =, which has a meaning of its own behind (?.
    """
    found = re.match(r"((?:[^\\=]|\\.)+)=(.*)\Z", text, re.DOTALL)
    if found is None:
        raise UsageError(f"--reply {text!r}: give REGEX=LINE, such as --reply '^PING (.*)=PONG \\1', or off")
    pattern = re.sub(r"\\(.)", lambda pair: "=" if pair[1] == "=" else pair[0], found[1], flags=re.DOTALL)
    return pattern, found[2]
