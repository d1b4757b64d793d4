"""CSV tables whose columns are found by name, and the place of a cell in words.

Every table of a dataset is untrusted text: it is parsed strictly and never evaluated, and messages quote it
with `repr`, so that they stay one line and control characters stay visible.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .errors import InputError

Reporter = Callable[[str], None]
"""What to do about one wrong cell or row: `fail`, or the `append` of a list of problems."""


def fail(message: str) -> NoReturn:
    """Raise the message as an `InputError`: the reporter of those who stop at the first problem."""
    raise InputError(message)


def at(path: Path, line: int, column: str | None = None) -> str:
    """Name a row, or one cell of it; `line` is that of the file, counted from 1."""
    return f"{path}, line {line}" if column is None else f"{path}, line {line}, column {column!r}"


def whole_number(text: str, low: int, high: int) -> int | None:
    """Read a plain decimal number from `low` to `high`, or return None.

    Stricter than `int`, which takes signs, spaces, underscores and the digits of every script.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    number = int(text)
    return number if low <= number <= high else None


class Table:
    """One CSV file, read whole.

    UTF-8 with or without a byte-order mark, any line ends; blank lines are skipped.

    Attributes:
        path: of the file.
        header: the names of the columns.
        lines: `(line, fields)` of every row, with as many fields as the header has.

    Args:
        path: of the file.
        report: told of every row with too few or too many fields; such rows are left out.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is not CSV, or is empty.
    """

    def __init__(self, path: Path, report: Reporter = fail) -> None:
        self.path = path
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            byte = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
            raise InputError(f"{path}: expected UTF-8 text, found {byte}") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            rows = [(reader.line_num, fields) for fields in reader if fields]
        except csv.Error as error:
            raise InputError(f"{at(path, reader.line_num)}: expected CSV, found {error}") from None
        if not rows:
            raise InputError(f"{path}: expected a line of column names, found an empty file")
        self.header: list[str] = rows[0][1]
        self.lines: list[tuple[int, list[str]]] = []
        width = len(self.header)
        for line, fields in rows[1:]:
            if len(fields) == width:
                self.lines.append((line, fields))
            else:
                report(f"{at(path, line)}: expected {width} fields, as in the header, found {len(fields)}")

    def __contains__(self, name: str) -> bool:
        return name in self.header

    def column(self, name: str) -> int:
        """Find the place of the column `name` in each row.

        Raises:
            InputError: the table has no such column, or two of them.
        """
        found = self.header.count(name)
        if found == 0:
            columns = ", ".join(map(repr, self.header))
            raise InputError(f"{self.path}: expected a column {name!r}, found only {columns}")
        if found > 1:
            raise InputError(f"{self.path}: expected one column {name!r}, found {found}")
        return self.header.index(name)
