"""Which checkpoints a scan dissects, and the tags that say where each comes from."""

import glob
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from ..errors import InputError
from ..specs import split_spec

Tag = str | int | float | bool

# Columns of the results, which tags may not take the names of.
RESERVED = frozenset(
    [
        *("key", "weights", "model", "layer", "unit", "units", "map", "threshold", "label", "concept", "category"),
        *("iou", "intersection", "unit_area", "concept_area", "detector", "detectors", "unique_detectors"),
        *("unique_top_labels", "images", "quantile", "iou_threshold", "dataset_sha256", "weights_sha256", "seconds"),
        *("finished"),
    ]
)
_RESERVED_ENDS = ("_label", "_iou", "_detectors")
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_WILDCARD = re.compile(r"[*?\[]")
# NAME=VALUE, up to the end, a comma, or the next NAME=.
_ASSIGNMENT = re.compile(r"(?<![A-Za-z0-9])([A-Za-z][A-Za-z0-9]*)=([^=,]+?)(?=[-_,]+[A-Za-z][A-Za-z0-9]*=|,|$)")
# Only these names are taken without an equals sign: vgg-16 is no tag.
_NUMBERED = re.compile(
    r"(?<![A-Za-z0-9])(run|seed|step|epoch|iter|iteration|trial|fold)[-_](\d+)(?![A-Za-z0-9])", re.IGNORECASE
)
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights to dissect.

    Attributes:
        weights: absolute path of the file.
        model: spec of the factory; the path of a ``FILE.py`` in it is absolute.
        layers: dotted names of the modules.
        tags: what is known of it, such as run, step and seed.
    """

    weights: Path
    model: str
    layers: tuple[str, ...]
    tags: Mapping[str, Tag] = field(default_factory=dict)

    @cached_property
    def name(self) -> tuple[str, str, tuple[str, ...]]:
        """What tells it from the others of a scan."""
        return str(self.weights), self.model, self.layers


def absolute_spec(spec: str, folder: Path) -> str:
    """A model's spec that means the same in every working folder.

    Args:
        spec: as ``--model`` takes it.
        folder: that a relative ``FILE.py`` is relative to.

    Raises:
        InputError: it is no spec, or names a file that is not there.
    """
    source, factory, from_file = split_spec(spec)
    if not from_file:
        return spec
    path = (folder / source).absolute()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"--model: expected a Python file, found {what}: {source}")
    return f"{path}:{factory}"


def check_tag_name(name: str, where: str) -> None:
    """Refuses a tag's name that could not be a column beside those of the results.

    Raises:
        InputError: it begins with ``where``.
    """
    if not _TAG_NAME.fullmatch(name):
        raise InputError(f"{where}: expected a tag's name of letters, digits and _, found {name!r}")
    if name.lower() in RESERVED or name.lower().endswith(_RESERVED_ENDS):
        raise InputError(f"{where}: tag {name!r} has the name of a column of the results")


def tag_value(name: str, text: str) -> Tag:
    """The value of a tag that is written as text: a number where it is one. A run's name stays text."""
    if name != "run":
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
            return number
    return text


def find_checkpoints(pattern: str, model: str, layers: Sequence[str]) -> list[Checkpoint]:
    """The files that match a pattern, ``**`` for any number of folders, in the order of the numbers in their names.

    Args:
        pattern: such as ``runs/*/step-*.safetensors``.
        model: spec of all of them, as :func:`absolute_spec` gives it.
        layers: of all of them.
    """
    paths = [Path(found) for found in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    files = sorted((path for path in paths if path.is_file()), key=lambda path: natural_order(str(path)))
    return [Checkpoint(path.absolute(), model, tuple(layers), path_tags(path, pattern)) for path in files]


def natural_order(text: str) -> list[tuple[int, str]]:
    """A sorting key that puts step-900 before step-1200."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", text)]


def path_tags(path: Path, pattern: str) -> dict[str, Tag]:
    """The tags that a path names, in what the pattern's first wildcard and all after it matched.

    ``NAME=VALUE`` is a tag of any name; ``NAME-NUMBER`` and ``NAME_NUMBER`` are tags for the names run, seed, step,
    epoch, iter, iteration, trial and fold. Folders that a wildcard matched and that name no tag are the run.

    Args:
        path: that matched.
        pattern: that it matched.
    """
    wanted, fixed = _parts(pattern)
    folders = path.parts[fixed:-1]
    tags: dict[str, Tag] = {}
    unnamed = []
    for i, folder in enumerate(folders):
        found = _named(folder)
        tags.update(found)
        if not found and ("**" in wanted or _WILDCARD.search(wanted[fixed + i])):
            unnamed.append(folder)
    tags.update(_named(path.stem))
    if unnamed:
        tags.setdefault("run", "/".join(unnamed))
    return tags


@lru_cache
def _parts(pattern: str) -> tuple[tuple[str, ...], int]:
    """Those of a pattern, and the place of the first with a wildcard."""
    parts = Path(pattern).parts
    return parts, next((i for i, part in enumerate(parts) if _WILDCARD.search(part)), len(parts) - 1)


@lru_cache(maxsize=1024)  # thousands of files lie in a few folders, and have a few names
def _named(text: str) -> Mapping[str, Tag]:
    numbered = {match[1].lower(): match[2] for match in _NUMBERED.finditer(text)}
    assigned = {match[1]: match[2] for match in _ASSIGNMENT.finditer(text)}
    found: dict[str, Tag] = {}
    for name, value in (numbered | assigned).items():
        # A path cannot be blamed for the columns' names.
        if name.lower() not in RESERVED:
            found[name] = tag_value(name, value)
    return found
