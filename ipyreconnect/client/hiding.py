"""Finds the forms in which secrets may appear, and removes them from messages; keeps no secrets itself."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator

from ..errors import SettingsError
from ..lines.masking import Masking
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..mask import encode_behind
from ..secret import Secret

__all__ = ["forms_of", "redaction_of", "refusing"]


def forms_of(secrets: Iterable[Secret], encoding: str | None) -> set[bytes]:
    """Return the bytes in which secrets may appear: sent, as text, in a regular expression, a repr or JSON.

    Args:
        secrets: The secrets.
        encoding: The client's encoding.

    Raises:
        SettingsError: They are not secrets.
    """
    if not isinstance(secrets, Iterable):
        raise SettingsError(f"secrets are several, such as [Secret(…)], not {type(secrets).__name__}")
    forms: set[bytes] = set()
    for secret in secrets:
        if not isinstance(secret, Secret):
            raise SettingsError(f"secrets are made with Secret(…), not {type(secret).__name__}")
        data = secret.reveal()
        forms.add(data)
        for text in _texts_of(data, encoding):
            forms.update(_encoded(text, encoding))
    return forms - {b""}


def _texts_of(data: bytes, encoding: str | None) -> set[str]:
    """Return the texts in which the bytes of a secret may appear."""
    texts: set[str] = set()
    for text in {decode(data, encoding), decode(data, None)}:
        shown = repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1]
        # A repr escapes single quotes only where it contains a double quote, too.
        quoted = (form.replace("'", "\\'") for form in shown)
        as_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
        texts.update((text, re.escape(text), *shown, *quoted, *as_json))
    return texts


def _encoded(text: str, encoding: str | None) -> Iterator[bytes]:
    """Yield the ways in which a text may be encoded, as far as the encoding knows it."""
    yield text.encode("utf-8", "surrogatepass")
    with contextlib.suppress(UnicodeError):
        yield text.encode(encoding or "utf-8")
    if encoding is None:  # in other encodings, the bytes may depend on the text before
        return
    for before in "", "a", text[:1], text[-1:]:
        with contextlib.suppress(UnicodeError):
            yield encode_behind(before, text, encoding)


def redaction_of(forms: Iterable[bytes], transcript: Transcript) -> Callable[[str], str]:
    """Return a function that masks these forms, and what `transcript` hides, in a text.

    The transcript itself does not hide them yet: a client that is refused must not change it.
    """
    hiding = Masking()
    for form in forms:
        hiding.hide(form)
    return lambda text: transcript.redacted_text(hiding.masked_text(text))


@contextlib.contextmanager
def refusing(redact: Callable[[str], str]) -> Iterator[None]:
    """Replace the message of a SettingsError by what `redact` returns for it."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(redact(str(error))) from None
