"""index.csv: one row a photo, with its sizes and its annotations."""

from collections.abc import Sequence
from dataclasses import dataclass

from .files import Files, unsafe
from .labels import MAX_LABEL, ROW_COLUMNS, Concept
from .pictures import max_pixels
from .tables import Reporter, Table, at, fail, whole_number


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row of index.csv.

    Attributes:
        image: the photo, relative to `images`.
        split: the part of the dataset it belongs to.
        ih, iw: height and width at which the photo is to be read, in pixels.
        sh, sw: height and width of its label PNGs, in pixels.
        line: its line of index.csv, counted from 1.
        bitmaps: its label PNGs, relative to `images`; categories in the order of category.csv, in each the
            dominant layer first.
        columns: the column of each of `bitmaps`.
        whole: numbers of the labels that the whole photo carries, each once, without 0.
    """

    image: str
    split: str
    ih: int
    iw: int
    sh: int
    sw: int
    line: int
    bitmaps: tuple[str, ...]
    columns: tuple[str, ...]
    whole: tuple[int, ...]


def read_index(
    files: Files, categories: Sequence[str], concepts: Sequence[Concept], report: Reporter = fail
) -> tuple[Annotation, ...]:
    """Read all rows of index.csv, in its order, without looking at the pictures.

    A category without a column is annotated nowhere, which is right as long as every label of the dataset
    has another category that has one. Columns of unknown names are skipped.

    Raises:
        InputError: the table is missing, unreadable, or lacks one of `ROW_COLUMNS`.
    """
    table = Table(files.table("index.csv"), report)
    _check_columns(table, concepts, report)
    parse = _RowParser(table, categories, frozenset(concept.number for concept in concepts), report)
    rows = (parse(line, fields) for line, fields in table.lines)
    return tuple(row for row in rows if row is not None)


def _check_columns(table: Table, concepts: Sequence[Concept], report: Reporter) -> None:
    missed: set[str] = set()
    for concept in concepts:
        if concept.category in missed or any(category in table for category in concept.categories):
            continue
        missed.add(concept.category)
        label = f"label {concept.number} ({concept.name!r}) of label.csv"
        columns = ", ".join(map(repr, table.header))
        report(f"{table.path}: expected a column {concept.category!r} for {label}, found only {columns}")


class _RowParser:
    """Turns the fields of one row into an `Annotation`, or into reports."""

    def __init__(self, table: Table, categories: Sequence[str], known: frozenset[int], report: Reporter) -> None:
        self._path = table.path
        self._image, self._split, *sizes = (table.column(name) for name in ROW_COLUMNS)
        self._size_places = tuple(sizes)
        self._cells = [(name, table.column(name)) for name in categories if name in table]
        self._known = known
        self._report = report
        # A dataset has few distinct sizes and many rows.
        self._sizes: dict[tuple[str, ...], tuple[int, int, int, int]] = {}

    def __call__(self, line: int, fields: Sequence[str]) -> Annotation | None:
        """Parse the row, leaving out wrong cells; None if the photo's name or a size is wrong."""
        if (reason := unsafe(fields[self._image])) is not None:
            self._wrong(line, "image", f"a file below images, found {reason}: {fields[self._image]!r}")
            return None
        texts = tuple(fields[place] for place in self._size_places)
        sizes = self._sizes.get(texts) or self._parse_sizes(line, texts)
        if sizes is None:
            return None
        bitmaps: list[str] = []
        columns: list[str] = []
        whole: list[int] = []
        for column, place in self._cells:
            for part in filter(None, fields[place].split(";")):
                if part.isdigit():
                    number = whole_number(part, 0, MAX_LABEL)
                    if number is None or (number != 0 and number not in self._known):
                        self._wrong(line, column, f"a label number of label.csv, found {part!r}")
                    elif number != 0:
                        whole.append(number)
                elif (reason := unsafe(part)) is not None:
                    self._wrong(line, column, f"a file below images, found {reason}: {part!r}")
                else:
                    bitmaps.append(part)
                    columns.append(column)
        return Annotation(
            fields[self._image],
            fields[self._split],
            *sizes,
            line=line,
            bitmaps=tuple(bitmaps),
            columns=tuple(columns),
            whole=tuple(dict.fromkeys(whole)),
        )

    def _parse_sizes(self, line: int, texts: tuple[str, ...]) -> tuple[int, int, int, int] | None:
        limit = max_pixels()
        sizes: list[int] = []
        for column, text in zip(ROW_COLUMNS[2:], texts, strict=True):
            size = whole_number(text, 1, limit)
            if size is None:
                self._wrong(line, column, f"a size in pixels, 1 or more, found {text!r}")
                return None
            sizes.append(size)
        ih, iw, sh, sw = sizes
        for column, pixels in (("ih", ih * iw), ("sh", sh * sw)):
            if pixels > limit:
                self._wrong(line, column, f"at most {limit} pixels a picture, found {pixels}")
                return None
        self._sizes[texts] = ih, iw, sh, sw
        return ih, iw, sh, sw

    def _wrong(self, line: int, column: str, expected_and_found: str) -> None:
        self._report(f"{at(self._path, line, column)}: expected {expected_and_found}")
