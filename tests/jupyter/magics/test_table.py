"""The table that help, parser, completion and reference page read."""

from __future__ import annotations

from ipyreconnect.jupyter.magics.table import MAGICS, Kind


def test_every_option_of_the_contract_exists() -> None:
    """The table that users rely on is complete."""
    names = {magic.name: {option.name for option in magic.options} for magic in MAGICS.values()}
    contract = """--name --tls --no-tls --starttls --no-verify --cafile --cert --key --server-name --keepalive
        --retry --retry-factor --retry-max --attempts --encoding --eol --framing --heartbeat --heartbeat-every
        --heartbeat-unanswered --silence --longest-line --reply --record --ticks --wait --no-panel --fill"""
    assert names["connect"] >= set(contract.split())
    assert names["send"] == {"-c", "--expect", "--whole", "--timeout", "--queue", "--bytes", "--fill"}
    assert names["expect"] == {"-c", "--whole", "--timeout"}
    assert names["stop"] == {"-c", "--all"}
    assert names["heartbeat"] == {"-c", "--every", "--unanswered"}
    assert all("-c" in options for options in names.values())
    for magic in MAGICS.values():
        for option in magic.options:
            assert (option.metavar is None) == (option.kind is Kind.FLAG)
