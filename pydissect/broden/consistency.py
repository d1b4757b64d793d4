"""Whether the counts that a dataset's CSV files state agree with each other and with its pictures.

Nothing is computed from these counts (only coverage decides primary categories), but where they disagree, the
files were edited or belong to different copies of the dataset. Columns and cells may be left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .files import Files
from .labels import MAX_LABEL, Concept, split_categories
from .tables import Reporter, Table, at, whole_number

_Line = tuple[int, Mapping[str, str]]


def check_counts(
    files: Files,
    categories: Iterable[str],
    concepts: Sequence[Concept],
    images: Mapping[int, int],
    report: Reporter,
) -> None:
    """Compare the counts of label.csv, category.csv and the c_<category>.csv files.

    Args:
        files: of the dataset, whose tables have been read before: what is wrong in them is known.
        categories: of category.csv.
        concepts: of label.csv.
        images: how many images carry each label number, as found in the pictures.
        report: told of each count that does not agree.
    """
    stated = _check_labels(files, images, report)
    for category in categories:
        if files.has(f"c_{category}.csv"):
            _check_category_labels(files, category, concepts, stated, report)
    _check_categories(files, concepts, report)


def _check_labels(files: Files, images: Mapping[int, int], report: Reporter) -> dict[int, dict[str, int | None]]:
    """Check the frequencies of label.csv; return the count of each label in each category."""
    path = files.table("label.csv")
    stated: dict[int, dict[str, int | None]] = {}
    for line, cells in _lines(files, "label.csv"):
        number = whole_number(cells["number"], 1, MAX_LABEL)
        if number is None or number in stated:
            continue
        stated[number] = split_categories(cells["category"])
        if not (text := cells.get("frequency")):
            continue
        where = at(path, line, "frequency")
        frequency = whole_number(text, 0, 10**18)
        counts = list(stated[number].values())
        known = [count for count in counts if count is not None]
        if frequency is None:
            report(f"{where}: expected a whole number, found {text!r}")
        elif len(known) == len(counts) and sum(known) != frequency:
            report(f"{where}: expected {sum(known)}, the sum over its categories, found {frequency}")
        elif frequency < images.get(number, 0):
            # It may be larger: small labels are lost when annotations are scaled down.
            found = f"{images[number]} images with label {number}"
            report(f"{where}: expected as many as the images or more, found {frequency}, but {found}")
    return stated


def _check_category_labels(
    files: Files,
    category: str,
    concepts: Sequence[Concept],
    stated: Mapping[int, Mapping[str, int | None]],
    report: Reporter,
) -> None:
    name = f"c_{category}.csv"
    path = files.table(name)
    own = {concept.number: concept for concept in concepts if category in concept.categories}
    seen: set[int] = set()
    for line, cells in _lines(files, name):
        number = whole_number(cells["number"], 1, MAX_LABEL)
        if number is None:
            continue
        where = at(path, line, "number")
        if number in seen:
            report(f"{where}: expected each label once, found {number} again")
        elif number not in own:
            report(f"{where}: expected a label that label.csv puts in {category!r}, found {number}")
        else:
            label, count = own[number].name, stated[number].get(category)
            if cells.get("name") not in (None, "", label):
                where = at(path, line, "name")
                report(f"{where}: expected {label!r}, as in label.csv, found {cells['name']!r}")
            if count is not None and cells.get("frequency") not in (None, "", str(count)):
                where = at(path, line, "frequency")
                report(f"{where}: expected {count}, as in label.csv, found {cells['frequency']!r}")
        seen.add(number)
    for number in sorted(own.keys() - seen):
        report(f"{path}: expected a row for label {number} ({own[number].name!r}) of label.csv, found none")


def _check_categories(files: Files, concepts: Sequence[Concept], report: Reporter) -> None:
    path = files.table("category.csv")
    for line, cells in _lines(files, "category.csv"):
        numbers = [concept.number for concept in concepts if cells["name"] in concept.categories]
        expected = {"count": len(numbers)}
        if numbers:
            expected |= {"first": min(numbers), "last": max(numbers)}
        for column, value in expected.items():
            if cells.get(column) not in (None, "", str(value)):
                where = at(path, line, column)
                report(f"{where}: expected {value}, by the labels of label.csv, found {cells[column]!r}")


def _lines(files: Files, name: str) -> Iterator[_Line]:
    table = Table(files.table(name), report=lambda message: None)
    for line, fields in table.lines:
        yield line, dict(zip(table.header, fields, strict=True))
