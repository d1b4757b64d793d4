"""Validate a whole dataset, and list all that is wrong with it."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .consistency import check_counts
from .files import Files
from .index import Annotation, read_index
from .labels import known_labels, read_categories, read_concepts
from .pictures import read_label_map, read_photo
from .tables import at

# Rows handed to the threads at once: enough to keep them busy, few enough to stop soon.
_CHUNK = 1024


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        problems: one line each, empty for a sound dataset.
        images: rows of index.csv whose pictures were opened.
        bitmaps: label PNGs opened, a file once for each row that names it.
        sha256: 64 hexadecimal digits over the contents of all files; None if that was not asked for, or if a
            file cannot be read.
    """

    problems: tuple[str, ...]
    images: int
    bitmaps: int
    sha256: str | None

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def check(
    folder: str | os.PathLike[str],
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Open every file of a dataset in Broden's format and collect every problem.

    Every photo and label PNG is decoded; sizes, label numbers, paths and cells are checked, and the counts of
    the CSV files are compared with each other and with the pictures. A table that cannot be read at all ends
    the check, since nothing else can be told from it.

    Args:
        folder: of the dataset.
        verify: also hash the contents of all files.
        progress: called in this thread with `(rows done, rows in all)`.
    """
    problems: list[str] = []
    try:
        files = Files(folder)
        categories = read_categories(files, problems.append)
        concepts = read_concepts(files, categories, problems.append)
        rows = read_index(files, categories, concepts, problems.append)
    except InputError as error:
        return Report((*problems, str(error)), images=0, bitmaps=0, sha256=None)
    if not rows:
        problems.append(f"{files.folder / 'index.csv'}: expected at least one good row, found none")
    inspector = _Inspector(files, known_labels(concepts), verify)
    images: Counter[int] = Counter()
    digests: dict[str, str | None] = {}
    for done, found in enumerate(_in_threads(inspector, rows), start=1):
        problems += found.problems
        images.update(found.numbers)
        digests |= found.digests
        if progress is not None:
            progress(done, len(rows))
    check_counts(files, categories, concepts, images, problems.append)
    if verify:
        digests |= {path.name: _sha256(path) for path in files.tables(categories)}
    return Report(
        problems=tuple(problems),
        images=len(rows),
        bitmaps=sum(len(row.bitmaps) for row in rows),
        sha256=_combine(digests) if verify else None,
    )


@dataclass
class _Found:
    """The findings in one row."""

    problems: list[str] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    digests: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Inspector:
    """Opens all pictures of a row; called in several threads at once."""

    files: Files
    known: npt.NDArray[np.bool_]
    verify: bool

    def __call__(self, row: Annotation) -> _Found:
        found = _Found(numbers=set(row.whole))
        self._open(row, row.image, "image", found)
        for name, column in zip(row.bitmaps, row.columns, strict=True):
            self._open(row, name, column, found)
        return found

    def _open(self, row: Annotation, name: str, column: str, found: _Found) -> None:
        where = at(self.files.folder / "index.csv", row.line, column)
        path = None
        try:
            path = self.files.picture(name, where)
            if column == "image":
                read_photo(path, None, where)
            else:
                labels = read_label_map(path, (row.sh, row.sw), self.known, where)
                found.numbers |= set(np.unique(labels).tolist()) - {0}
        except InputError as error:
            found.problems.append(str(error))
        if self.verify:
            found.digests[f"images/{name}"] = None if path is None else _sha256(path)


def _in_threads(inspect: _Inspector, rows: Sequence[Annotation]) -> Iterator[_Found]:
    """Yield the findings in the order of `rows`."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), _CHUNK):
            yield from pool.map(inspect, rows[start : start + _CHUNK])


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _combine(digests: dict[str, str | None]) -> str | None:
    if None in digests.values():
        return None
    lines = (f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
