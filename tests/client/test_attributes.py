"""Prove that a client names the right call where another library's is tried."""

from __future__ import annotations

import re

import pytest

from ipyreconnect import (
    Client,
)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("close", "client.stop()"),
        ("disconnect", "client.stop()"),
        ("recv", "client.expect(REGEX)"),
        ("read", "client.expect(REGEX)"),
        ("readline", "client.follow()"),
        ("write", "client.send(TEXT)"),
        ("sendline", "client.send(TEXT)"),
        ("sendall", "client.send(BYTES)"),
        ("settimeout", "timeout=SECONDS"),
        ("is_connected", "client.state"),
        ("reconnect", "client.reconnect_now()"),
        ("open", "client.connect()"),
    ],
)
def test_what_other_libraries_call_otherwise_names_the_right_call(name: str, call: str) -> None:
    """Somebody who knows sockets, files or pexpect is told how it is done here."""
    client = Client("127.0.0.1:4000")
    with pytest.raises(AttributeError) as caught:
        getattr(client, name)()
    assert f"no attribute '{name}': " in str(caught.value)
    assert call in str(caught.value)
    method = re.match(r"client\.(\w+)", call)
    assert method is None or hasattr(client, method[1])
    assert not hasattr(client, name)
    assert name not in dir(client)


def test_any_other_name_is_missing_as_ever() -> None:
    """A slip is told as for any object, with Python's own hint."""
    with pytest.raises(AttributeError) as caught:
        Client("127.0.0.1:4000").sennd()  # type: ignore[attr-defined]
    assert str(caught.value) == "'Client' object has no attribute 'sennd'"
    assert caught.value.name == "sennd"
