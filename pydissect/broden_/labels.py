"""The vocabulary of a Broden dataset: its categories, and its labels as concepts."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .broden_csv import Reporter, Table, at, fail, whole_number
from .broden_files import Files
from .errors import InputError

MAX_LABEL = 65535
"""The largest label number that a PNG can hold (R + 256 G)."""

ROW_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")
"""The columns of index.csv that are no category."""


@dataclass(frozen=True, slots=True)
class Concept:
    """One label of the dataset.

    Attributes:
        index: its place on the concept axis of masks and counters, from 0, by rising number.
        number: its number in label.csv, 1 to 65535.
        name: as in label.csv; two labels may share it.
        category: its primary category, the one it covers most.
        categories: all its categories, as label.csv lists them.
    """

    index: int
    number: int
    name: str
    category: str
    categories: tuple[str, ...]


def known_labels(concepts: Iterable[Concept]) -> npt.NDArray[np.bool_]:
    """Look-up table `[65536]` of the numbers a label map may hold: 0 and those of `concepts`."""
    known = np.zeros(MAX_LABEL + 1, np.bool_)
    known[[0, *(concept.number for concept in concepts)]] = True
    return known


def split_categories(cell: str) -> dict[str, int | None]:
    """Read a cell such as `object(12);part`: each category with its count, None where none is given."""
    counts: dict[str, int | None] = {}
    for part in filter(None, cell.split(";")):
        match = re.fullmatch(r"(.*)\((\d+)\)", part, re.ASCII | re.DOTALL)
        name, count = match.groups() if match else (part, None)
        counts[name] = None if count is None else whole_number(count, 0, 10**18)
    return counts


def read_categories(files: Files, report: Reporter = fail) -> tuple[str, ...]:
    """Read the names of category.csv, in its order.

    Raises:
        InputError: the table is missing or unreadable, or names no category.
    """
    table = Table(files.table("category.csv"), report)
    column = table.column("name")
    names: list[str] = []
    for line, fields in table.lines:
        name, where = fields[column], at(table.path, line, "name")
        if not name or "/" in name or "\0" in name:
            # The name becomes a part of the file name c_<category>.csv.
            report(f"{where}: expected a name without '/', found {name!r}")
        elif name in ROW_COLUMNS:
            report(f"{where}: expected a category, found {name!r}, another column of index.csv")
        elif name in names:
            report(f"{where}: expected each category once, found {name!r} again")
        else:
            names.append(name)
    if not names:
        raise InputError(f"{table.path}: expected at least one category, found none")
    return tuple(names)


def read_concepts(files: Files, categories: Iterable[str], report: Reporter = fail) -> tuple[Concept, ...]:
    """Read the labels of label.csv by rising number, each with its primary category.

    The primary category is the one with the largest coverage in the c_<category>.csv files, 0 for a label or
    a file that is not there; ties go to the earlier of `categories`.

    Raises:
        InputError: a table is unreadable, label.csv is missing, or holds no label.
    """
    coverage = {category: _read_coverage(files, category, report) for category in categories}
    table = Table(files.table("label.csv"), report)
    number_column, name_column, category_column = map(table.column, ("number", "name", "category"))
    labels: dict[int, tuple[str, tuple[str, ...]]] = {}
    for line, fields in table.lines:
        number = whole_number(fields[number_column], 1, MAX_LABEL)
        where = at(table.path, line, "number")
        if number is None:
            report(f"{where}: expected a number from 1 to {MAX_LABEL}, found {fields[number_column]!r}")
            continue
        if number in labels:
            report(f"{where}: expected each number once, found {number} again")
            continue
        own = tuple(split_categories(fields[category_column]))
        labels[number] = fields[name_column], own
        where = at(table.path, line, "category")
        if not own:
            report(f"{where}: expected a category of category.csv, found {fields[category_column]!r}")
        for category in own:
            if category not in coverage:
                report(f"{where}: expected a category of category.csv, found {category!r}")
    if not labels:
        raise InputError(f"{table.path}: expected at least one label, found none")
    return tuple(
        Concept(index, number, name, _primary(number, own, coverage), own)
        for index, (number, (name, own)) in enumerate(sorted(labels.items()))
    )


def _primary(number: int, own: tuple[str, ...], coverage: Mapping[str, Mapping[int, float]]) -> str:
    # max() keeps the first of equals, and `coverage` is in the order of category.csv.
    candidates = (category for category in coverage if category in own)
    return max(candidates, key=lambda category: coverage[category].get(number, 0.0), default="")


def _read_coverage(files: Files, category: str, report: Reporter) -> dict[int, float]:
    name = f"c_{category}.csv"
    if not files.has(name):
        return {}
    table = Table(files.table(name), report)
    number_column, coverage_column = table.column("number"), table.column("coverage")
    coverage: dict[int, float] = {}
    for line, fields in table.lines:
        number = whole_number(fields[number_column], 1, MAX_LABEL)
        value = _real(fields[coverage_column])
        if number is None:
            where = at(table.path, line, "number")
            report(f"{where}: expected a number from 1 to {MAX_LABEL}, found {fields[number_column]!r}")
        elif value is None:
            where = at(table.path, line, "coverage")
            report(f"{where}: expected a finite number, found {fields[coverage_column]!r}")
        else:
            coverage[number] = value
    return coverage


def _real(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
