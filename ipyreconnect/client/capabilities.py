"""What the operating system cannot do for any connection of the process. Any thread."""

from __future__ import annotations

from ..network import changes
from ..network.sockets import missing_options

__all__ = ["missing"]


def missing() -> tuple[str, ...]:
    """Return what this system lacks, and what the user misses by it, a line each."""
    return (*missing_options(), *changes.missing())
