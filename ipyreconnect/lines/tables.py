"""Lines as a table of pandas, which is imported only then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .line import Line

__all__ = ["dataframe_of"]

_COLUMNS = ["number", "time", "direction", "text", "data", "truncated"]


def dataframe_of(lines: Iterable[Line]) -> Any:
    """Return a pandas DataFrame with a row for each line, indexed by number; times are in UTC. Any thread.

    Raises:
        ImportError: pandas is missing; the message names the extra to install.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError('to_dataframe needs pandas: pip install "ipyreconnect[dataframe]"') from None
    rows = [(line.number, line.time, line.direction, line.text, line.data, line.truncated) for line in lines]
    frame = pandas.DataFrame(rows, columns=_COLUMNS).set_index("number")
    frame["time"] = pandas.to_datetime(frame["time"].astype("float64"), unit="s", utc=True)
    return frame
