"""The files of results: Parquet, one a checkpoint, later folded together by the hundred.

A file is a table with a row a unit, ``UNIT_COLUMNS`` and two columns for each category. What else is known of its
checkpoints are their facts, as JSON can hold them: of one checkpoint, in the metadata of its file. Beside a folded file
lies one of runs: a row for each layer of each checkpoint with the columns of :func:`runs_table`.
All are found by a checkpoint's key; see :mod:`pydissect.scans.keys`.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import needs
from .parquet import Format

if TYPE_CHECKING:
    from torch import Tensor

    from ..dissection import LayerDissection

_UNITS = Format("pydissect.scan", 2, "a file of results")
_RUNS = Format("pydissect.runs", 1, "a file of runs")
_FACTS = b"pydissect.facts"

UNIT_COLUMNS = (
    *("key", "layer", "unit", "threshold", "label", "concept", "category", "iou", "intersection", "unit_area"),
    *("concept_area", "detector"),
)


def layer_table(key: str, result: "LayerDissection") -> Any:
    """The rows of ``units.csv`` as columns, with the checkpoint's key and the layer before them.

    Args:
        key: of the checkpoint.
        result: one layer's ``U`` units.

    Returns:
        A ``pyarrow.Table`` of ``U`` rows. Where ``units.csv`` has an empty cell, it has a null.
    """
    # Only those who write results have it.
    import torch

    pa = needs("pyarrow", "scan")
    labels, counts = result.labels, result.counts
    units = len(labels.iou)
    found = labels.concept >= 0
    c = torch.where(found, labels.concept, 0)
    unit_area = counts.unit_area_all
    if result.union != "all":
        own = counts.unit_area[torch.arange(units), counts.categories.of_concept[c]]
        unit_area = torch.where(found, own, unit_area)
    names = pa.array([concept.name for concept in result.concepts], pa.string())
    numbers = pa.array([concept.number for concept in result.concepts], pa.int32())
    categories = pa.array([concept.category for concept in result.concepts], pa.string())

    def column(values: "Tensor") -> Any:
        return pa.array(values.contiguous().numpy())

    def taken(values: Any, concepts: "Tensor") -> Any:
        return values.take(pa.array(concepts.numpy(), mask=(concepts < 0).numpy()))

    columns = {
        "key": pa.array([key] * units, pa.string()),
        "layer": pa.array([result.layer] * units, pa.string()),
        "unit": column(torch.arange(units, dtype=torch.int32)),
        "threshold": column(result.thresholds),
        "label": taken(names, labels.concept),
        "concept": taken(numbers, labels.concept),
        "category": taken(categories, labels.concept),
        "iou": column(labels.iou),
        "intersection": column(torch.where(found, counts.intersection[torch.arange(units), c], 0)),
        "unit_area": column(unit_area),
        "concept_area": column(torch.where(found, counts.concept_area[c], 0)),
        "detector": column(labels.iou > result.iou_threshold),
    }
    for k, name in enumerate(counts.categories.names):
        columns[f"{name}_label"] = taken(names, labels.category_concept[:, k].contiguous())
        columns[f"{name}_iou"] = column(labels.category_iou[:, k])
    return pa.table(columns)


def layer_facts(result: "LayerDissection") -> dict[str, Any]:
    """How interpretable a layer is, as JSON can hold it."""
    summary = result.summary
    return {
        "layer": result.layer,
        "units": summary.units,
        "map": list(result.map_size),
        "detectors": summary.detectors,
        "unique_detectors": summary.unique_detectors,
        "unique_top_labels": summary.unique_top_labels,
        "categories": {
            name: {"detectors": count.detectors, "unique_detectors": count.unique_detectors}
            for name, count in summary.categories.items()
        },
    }


def runs_table(facts: Sequence[dict[str, Any]]) -> Any:
    """A row for each layer of each checkpoint, as a ``pyarrow.Table``; the last column has the facts as JSON.

    Args:
        facts: of the checkpoints.
    """
    pa = needs("pyarrow", "scan")
    pairs = [(fact, layer) for fact in facts for layer in fact["layers"]]
    text, whole, number = pa.string(), pa.int64(), pa.float64()
    columns = {"layer": pa.array([layer["layer"] for _, layer in pairs], text)}
    for name in ("units", "detectors", "unique_detectors", "unique_top_labels"):
        columns[name] = pa.array([layer[name] for _, layer in pairs], whole)
    for category in dict.fromkeys(name for _, layer in pairs for name in layer["categories"]):
        for what in ("detectors", "unique_detectors"):
            counts = [layer["categories"].get(category, {}).get(what) for _, layer in pairs]
            columns[f"{category}_{what}"] = pa.array(counts, whole)
    columns["map"] = pa.array([" x ".join(map(str, layer["map"])) for _, layer in pairs], text)
    columns["images"] = pa.array([fact["images"] for fact, _ in pairs], whole)
    for name in ("quantile", "iou_threshold"):
        columns[name] = pa.array([fact["settings"][name] for fact, _ in pairs], number)
    for what in ("dataset", "weights"):
        columns[f"{what}_sha256"] = pa.array([fact[what]["sha256"] for fact, _ in pairs], text)
    columns["seconds"] = pa.array([sum(fact["seconds"].values()) for fact, _ in pairs], number)
    for name in ("finished", "key"):
        columns[name] = pa.array([fact[name] for fact, _ in pairs], text)
    columns["facts"] = pa.array([json.dumps(fact) for fact, _ in pairs], text)
    return pa.table(columns)


def write_result(path: Path, table: Any, facts: dict[str, Any]) -> None:
    """Writes one checkpoint's file; it appears when it is complete.

    Args:
        path: of the file.
        table: from :func:`layer_table`, of all its layers.
        facts: of the run, with its ``key``.
    """
    _UNITS.write(path, table, {_FACTS: json.dumps(facts).encode()})


def fold(paths: Sequence[Path], folder: Path) -> Path:
    """Puts the results of many files into one; the many stay.

    Args:
        paths: of files of one checkpoint each.
        folder: of the file to write, whose name follows from the checkpoints in it.

    Returns:
        Its path. It appears when it and its runs are complete.
    """
    pa = needs("pyarrow", "scan")
    facts = [fact for path in paths for fact in read_facts(path)]
    digest = hashlib.sha256("\n".join(sorted(fact["key"] for fact in facts)).encode())
    target = folder / f"{digest.hexdigest()[:32]}.parquet"
    # Columns of categories differ where checkpoints of several datasets are folded together.
    units = pa.concat_tables((_UNITS.read(path) for path in paths), promote_options="default")
    # First, since the results count as soon as the file of their units is there.
    _RUNS.write(_runs_path(target), runs_table(facts))
    _UNITS.write(target, units)
    return target


def runs_file(folded: Path) -> Path:
    """The file with the runs of a folded file.

    Raises:
        InputError: it is missing.
    """
    path = _runs_path(folded)
    if not path.exists():
        raise InputError(f"{folded}: expected its runs in {path}, found no such file")
    return path


def read_keys(folded: Path) -> set[str]:
    """The keys of the checkpoints in a folded file.

    Raises:
        InputError: its runs are missing, damaged, or another version's.
    """
    return set(_read_runs(folded, "key"))


def read_facts(path: Path) -> list[dict[str, Any]]:
    """The facts of the checkpoints in a file, folded or not.

    Raises:
        InputError: it or its runs are no files of results, or another version's.
    """
    if (fact := _UNITS.metadata(path).get(_FACTS)) is not None:
        return [json.loads(fact)]
    return [json.loads(text) for text in dict.fromkeys(_read_runs(path, "facts"))]


def _read_runs(folded: Path, column: str) -> list[str]:
    values: list[str] = _RUNS.read(runs_file(folded), [column]).column(column).to_pylist()
    return values


def _runs_path(folded: Path) -> Path:
    return folded.parents[1] / "runs" / folded.name
