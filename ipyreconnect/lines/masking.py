"""Shows secrets as •••• wherever they stand in a line or a text. Knows no transcript."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..mask import MASK, mask_in
from .lock import exclusive

__all__ = ["Masking"]

_OWN_MASK = MASK.encode()
"""The mask in our own text, which is UTF-8 whatever the peer's encoding is."""
_TIER_RATIO = 2
"""Each pattern is for more than so many times the secrets of the next: one pattern for all, compiled anew for
each of many secrets, such as a token a line, would take longer each time."""


class Masking:
    """The secrets of one transcript, and the mask that is shown for them.

    Secrets are only ever added. Looking needs no lock: the patterns are swapped as a whole.

    Attributes:
        active: whether there is any secret, so that callers can skip the search.
    """

    __slots__ = ("_mask", "_patterns", "_secrets", "_tiers", "active")

    def __init__(self, encoding: str | None = None) -> None:
        """Begin without secrets.

        Args:
            encoding: of the peer's lines; None means UTF-8.
        """
        self.active = False
        self._mask = mask_in(encoding)
        self._secrets: set[bytes] = set()
        self._patterns: tuple[re.Pattern[bytes], ...] = ()
        self._tiers: tuple[list[bytes], ...] = ()  # the secrets of each pattern

    def set_encoding(self, encoding: str | None) -> None:
        """Write the mask in this encoding (None: UTF-8) from now on. Any thread."""
        self._mask = mask_in(encoding)

    def hide(self, secret: bytes) -> None:
        """Mask `secret` from now on, and each of its lines by itself. Any thread but the I/O thread."""
        pieces = {piece for piece in (secret, *secret.splitlines()) if piece}
        with exclusive():  # two at once must not lose one of them
            new = [*(pieces - self._secrets)]
            if not new:
                return
            tiers = self._tiers
            while tiers and len(tiers[-1]) <= _TIER_RATIO * len(new):
                new += tiers[-1]
                tiers = tiers[:-1]
            # The longest first, where one is a part of another.
            pattern = b"|".join(map(re.escape, sorted(new, key=len, reverse=True)))
            self._patterns = (*self._patterns[: len(tiers)], re.compile(pattern))
            self._tiers = (*tiers, new)
            self._secrets |= pieces
            self.active = True

    def found_in(self, data: bytes) -> bool:
        """Return whether any secret stands in `data`. Any thread."""
        return any(pattern.search(data) for pattern in self._patterns)

    def stretches(self, data: bytes) -> list[tuple[int, int]]:
        """Return where in `data` each masked stretch begins and ends, in order. Any thread.

        Secrets that overlap are one stretch.
        """
        found: list[tuple[int, int]] = []
        for start, end in sorted(span for pattern in self._patterns for span in _overlapping(pattern, data)):
            if found and start < found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def masked(self, data: bytes) -> bytes:
        """Return bytes of the peer's, or bytes for the peer, with each secret masked. Any thread."""
        return self._replaced(data, self._mask) if self.active else data

    def masked_note(self, data: bytes) -> bytes:
        """Return a text of our own, encoded as UTF-8, with each secret masked. Any thread."""
        return self._replaced(data, _OWN_MASK) if self.active else data

    def masked_text(self, text: str) -> str:
        """Return `text` with each secret masked. Any thread."""
        if not self.active:
            return text
        masked = self._replaced(text.encode("utf-8", "surrogatepass"), _OWN_MASK)
        try:
            return masked.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a secret of bytes was a part of a character
            return masked.decode("utf-8", "replace")

    def _replaced(self, data: bytes, mask: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for start, end in self.stretches(data):
            pieces += data[at:start], mask
            at = end
        pieces.append(data[at:])
        return b"".join(pieces)


def _overlapping(pattern: re.Pattern[bytes], data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where `pattern` is found, also where that begins within what was found before."""
    found = pattern.search(data)
    while found:
        yield found.span()
        found = pattern.search(data, found.start() + 1)
