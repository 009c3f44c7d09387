"""Read what a line of %send, or the cell below it, asks to be sent. It sends nothing by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

from ...client.client import Client
from ...lines.delivery import Delivery
from ...protocol.match import Match
from ...secret import Secret
from .escapes import unescape
from .fill import Filler, bytes_of, pattern_of, secrets_of, text_of
from .options import Parsed

__all__ = ["SendRequest", "lines_to_send"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One line to send, and the secrets in it."""

    data: str | bytes = field(repr=False)
    secrets: Sequence[Secret] = ()


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What a %send asks of a client.

    Attributes:
        client: the client.
        lines: what to send, in order.
        expect: what to wait for behind the last line, or None.
        whole: whether `expect` is looked for in all of a logical line.
        timeout: seconds to wait for it.
        queue: whether the lines are kept while the client is not connected.

    """

    client: Client
    lines: tuple[Outgoing, ...]
    expect: re.Pattern[Any] | None = field(repr=False)
    whole: bool
    timeout: float
    queue: bool

    @classmethod
    def read(
        cls,
        parsed: Parsed,
        body: Sequence[str] | None,
        client: Client,
        namespace: Mapping[str, Any],
        timeout: float,
    ) -> SendRequest:
        """Read a request.

        Args:
            parsed: the line.
            body: the lines of the cell below it, or None for a line magic.
            client: the client that is to send.
            namespace: the user's variables, for --fill.
            timeout: seconds to wait where the line does not say.

        Raises:
            UsageError, SettingsError: anything about it is wrong; nothing is sent then.

        """
        pattern = parsed.get("--expect")
        whole = parsed.flag("--whole")
        if pattern is None and parsed.flag("--timeout"):
            raise UsageError("--timeout goes with --expect REGEX: without it nothing is waited for")
        if pattern is None and whole:
            raise UsageError("--whole goes with --expect REGEX: it says what of a line is compared with it")
        filler = Filler(namespace) if parsed.flag("--fill") else None
        lines = lines_to_send(parsed, body, client.encoding or "utf-8", filler)
        if pattern is not None and filler is not None:
            pieces = filler.fill(pattern)
            pattern = pattern_of(pieces)
            client.hide(*secrets_of(pieces, client.encoding or "utf-8"))
        given = parsed.seconds("--timeout")
        expect = None if pattern is None else client.compiled(pattern)
        for each in lines[1:]:
            client.encode(each.data, each.secrets)  # before the first line leaves, of which `send` does that
        return cls(client, lines, expect, whole, timeout if given is None else given, parsed.flag("--queue"))

    def send(self) -> list[Delivery] | Match:
        """Send the lines; return their deliveries, or what was awaited.

        Raises:
            CallerError, PeerError: what `Client.send` raises.

        """
        *first, last = self.lines
        deliveries = [self._send(line) for line in first]
        if self.expect is None:
            return [*deliveries, self._send(last)]
        return self.client.send(
            last.data,
            expect=self.expect,
            whole=self.whole,
            timeout=self.timeout,
            queue=self.queue,
            secrets=last.secrets,
        )

    def _send(self, line: Outgoing) -> Delivery:
        return self.client.send(line.data, queue=self.queue, secrets=line.secrets)


def lines_to_send(
    parsed: Parsed, body: Sequence[str] | None, encoding: str, filler: Filler | None
) -> tuple[Outgoing, ...]:
    """Return what is to be sent, filled in and with escapes resolved.

    Args:
        parsed: the line of %send.
        body: the lines of the cell below it, or None for a line magic.
        encoding: the connection's.
        filler: fills in variables and secrets, or None without --fill.

    """
    if body is not None and parsed.rest.strip():
        raise UsageError(
            f"%%send takes its lines from the cell: move {parsed.rest.strip()!r} below, or use %send"
        )
    texts = [parsed.rest] if body is None else body
    for text in texts:
        if "\r" in text or "\n" in text:
            raise UsageError(
                f"a line break in {text!r} would send more than one command; write it as \\r with --bytes"
            )
    as_bytes = parsed.flag("--bytes")
    if filler is None:
        return tuple(Outgoing(unescape(text, encoding) if as_bytes else text) for text in texts)
    filled = [filler.fill(text) for text in texts]
    return tuple(
        Outgoing(bytes_of(one, encoding) if as_bytes else text_of(one), secrets_of(one, encoding))
        for one in filled
    )
