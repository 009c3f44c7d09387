"""Lines as rows of JSON, and files of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

from ..errors import SettingsError
from .delivery import STATUSES, Delivery
from .line import DIRECTIONS, Line
from .text import one_line

__all__ = ["BEGINNING", "LARGEST_NUMBER", "from_json", "is_torn", "load_lines", "save_lines", "to_json"]

LARGEST_NUMBER = 2**53
"""The largest number of a line in a record: beyond it, JSON's numbers are not exact."""
BEGINNING = '{"number": '
"""What each row of a record begins with."""


def to_json(line: Line) -> str:
    """Return `line` as one JSON object in ASCII; bytes that are not UTF-8 stand as ISO-8859-1 under
    "latin1". Any thread.
    """
    row: dict[str, object] = {"number": line.number, "time": line.time, "direction": line.direction}
    try:
        row["text"] = line.data.decode()
    except UnicodeDecodeError:
        row["latin1"] = line.data.decode("iso-8859-1")
    if line.truncated:
        row["truncated"] = True
    if line.delivery is not None:
        row["delivery"] = line.delivery.status
    return json.dumps(row)


def from_json(text: str, encoding: str | None = None) -> Line:
    """Return the line that `to_json` wrote; `encoding` is for its text. Any thread.

    Raises:
        ValueError: it wrote no such thing.
    """
    try:
        row = json.loads(text)
        data = row["text"].encode() if "text" in row else row["latin1"].encode("iso-8859-1")
        number, time, direction = int(row["number"]), float(row["time"]), row["direction"]
        status = row.get("delivery")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("not a line of a record") from None
    if not 0 <= number <= LARGEST_NUMBER or direction not in DIRECTIONS or status not in (None, *STATUSES):
        raise ValueError("not a line of a record")
    delivery = None
    if status is not None and direction == ">":
        delivery = Delivery(data)
        delivery.status = status
        delivery.number = number
    return Line(data, time, direction, number, bool(row.get("truncated")), encoding, delivery)


def is_torn(text: str) -> bool:
    """Say whether `text` is no more than the beginning of what `to_json` writes. Any thread."""
    begun = text.removesuffix("\n")[: len(BEGINNING)]
    if not begun or not BEGINNING.startswith(begun):
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def save_lines(lines: Iterable[Line], path: str | os.PathLike[str], mode: str = "w") -> int:
    """Write lines to a file as `Transcript.save` does, and return how many there were. Any thread.

    Args:
        lines: in their order.
        path: ends with .txt or .log for text; in it, `~` is the user's home.
        mode: as of `open`.

    Raises:
        OSError: the file can't be written.
    """
    as_text = os.fspath(path).endswith((".txt", ".log"))
    count = 0
    with open(
        os.path.expanduser(path), mode, encoding="utf-8", errors="backslashreplace", newline="\n"
    ) as file:
        for line in lines:
            file.write((f"{line.direction} {one_line(line.text)}" if as_text else to_json(line)) + "\n")
            count += 1
    return count


def load_lines(file: Iterable[str], name: str, encoding: str | None) -> Iterator[Line]:
    """Yield the lines that stand in a file of rows; what was torn off by its writer's end is left out.

    Args:
        file: its rows.
        name: what an error calls it.
        encoding: of the lines' text.

    Raises:
        SettingsError: a row is no line of a record.
    """
    for row, text in enumerate(file, 1):
        try:
            line = from_json(text, encoding)
        except ValueError:
            if (row > 1 and not text.endswith("\n")) or is_torn(text):
                continue  # by the end of its writer
            raise SettingsError(f"{name}, line {row}: not a line of a record") from None
        yield line
