"""The whole answer to a question: its lines, what they mean, and whether it is a good one. A value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import Refused
from ..lines.line import Line
from ..lines.text import decode
from ..profile.conversation import Reader, Verdict
from ..profile.kinds import RespError

__all__ = ["Answer"]

MOST_IN_REPR = 60
"""Characters of an answer's text that its repr shows."""


class Answer:
    """What the server said to one question: a value. Any thread.

    Iterating gives its lines.

    Attributes:
        ok: whether it is a good answer: True, False, or None where the protocol does not say.
        status: the word or number that says so, such as ``OK``, ``250`` or ``ACK``; None where there is none.
        lines: the received lines that it consists of.

    """

    __slots__ = ("_data", "_encoding", "_question", "_reader", "lines", "ok", "prompt", "status")

    def __init__(
        self,
        lines: Sequence[Line],
        verdict: Verdict,
        reader: Reader | None = None,
        *,
        encoding: str | None = None,
        question: str = "",
        data: Sequence[bytes] | None = None,
    ) -> None:
        self.ok = verdict.ok
        self.status = verdict.status
        self.lines = tuple(lines)
        self.prompt: Line | None = None
        self._reader = reader
        self._encoding = encoding
        self._question = question
        # As the framing cut them: it knows what was announced, and a kept line does not.
        self._data = tuple(line.data for line in lines) if data is None else tuple(data)

    @property
    def text(self) -> str:
        """The lines as text, with a line feed between them."""
        return "\n".join(line.text for line in self.lines)

    @property
    def data(self) -> bytes | None:
        """The payload as the peer meant it: counted bytes, or a body without its dots; None: it has none."""
        return None if self._reader is None else self._reader.data(self._data)

    @property
    def raw(self) -> Any:
        """What the answer means, with its texts as bytes; None where the protocol's values are not parsed."""
        return self._meant(None)

    @property
    def value(self) -> Any:
        """What the answer means: str, int, float, bool, None, list, dict or set; nested errors are `Refused`.

        Texts are decoded as lines are; None where the protocol's values are not parsed.
        """
        return self._meant(lambda data: decode(data, self._encoding))

    def _meant(self, text: Any) -> Any:
        found = None if self._reader is None else self._reader.value(self._data)
        return _converted(found, text, self._encoding)

    def check(self) -> Answer:
        """Return itself.

        Raises:
            Refused: the answer is a refusal.

        """
        if self.ok is False:
            raise Refused(self.text, self)
        return self

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __repr__(self) -> str:
        said = {True: "ok", False: "refused", None: "answered"}[self.ok]
        status = f" {self.status}" if self.status else ""
        text = self.text
        shown = text if len(text) <= MOST_IN_REPR else text[: MOST_IN_REPR - 1] + "…"
        return f"<Answer {said}{status}: {shown!r}>"


def _converted(value: Any, text: Any, encoding: str | None) -> Any:
    """Return a parsed value with errors as `Refused`, and its texts decoded where `text` does that.

    Values are nested as deeply as the peer likes: beyond some hundred levels they are left as they are.
    """
    return _convert(value, text, encoding, 200)


def _convert(value: Any, text: Any, encoding: str | None, depth: int) -> Any:
    if isinstance(value, RespError):
        return Refused(decode(bytes(value), encoding))
    if isinstance(value, bytes):
        return value if text is None else text(value)
    if not depth:
        return value
    if isinstance(value, list):
        return [_convert(each, text, encoding, depth - 1) for each in value]
    if isinstance(value, set):
        return {_convert(each, text, encoding, depth - 1) for each in value}
    if isinstance(value, dict):
        return {
            _convert(key, text, encoding, depth - 1): _convert(each, text, encoding, depth - 1)
            for key, each in value.items()
        }
    return value
