"""The files of results: Parquet, one a checkpoint, later folded together by the hundred.

A file is a table with a row a unit, ``UNIT_COLUMNS`` and two columns for each category; its metadata holds the facts of
every checkpoint in it, as JSON. All are found by a checkpoint's key; see :mod:`pydissect.scans.keys`.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import needs
from ..files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

    from ..dissection import LayerDissection

FORMAT = "pydissect.scan"
VERSION = 1
_FORMAT = b"pydissect.format"
_KEYS = b"pydissect.keys"
_FACTS = b"pydissect.facts"

UNIT_COLUMNS = (
    *("key", "layer", "unit", "threshold", "label", "concept", "category", "iou", "intersection", "unit_area"),
    *("concept_area", "detector"),
)

_ROW_GROUP = 1 << 17  # rows: as DuckDB likes them
_COMPRESSION = "zstd"


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


def write_result(path: Path, table: Any, facts: dict[str, Any]) -> None:
    """Writes one checkpoint's file; it appears when it is complete.

    Args:
        path: of the file.
        table: from :func:`layer_table`, of all its layers.
        facts: of the run, with its ``key``.
    """
    _write(path, [table], [facts])


def fold(paths: Sequence[Path], folder: Path) -> Path:
    """Puts the results of many files into one, which appears when it is complete; the many stay.

    Args:
        paths: of files of one checkpoint each.
        folder: of the file to write, whose name follows from the checkpoints in it.

    Returns:
        Its path.
    """
    pq = needs("pyarrow.parquet", "scan")
    facts = [fact for path in paths for fact in read_facts(path)]
    digest = hashlib.sha256("\n".join(sorted(fact["key"] for fact in facts)).encode())
    target = folder / f"{digest.hexdigest()[:32]}.parquet"
    _write(target, (pq.read_table(path) for path in paths), facts)
    return target


def read_keys(path: Path) -> list[str]:
    """The keys of the checkpoints in a file.

    Raises:
        InputError: it is not a file of results, or a newer version's.
    """
    keys: list[str] = json.loads(_metadata(path)[_KEYS])
    return keys


def read_facts(path: Path) -> list[dict[str, Any]]:
    """The facts of the checkpoints in a file.

    Raises:
        InputError: it is not a file of results, or a newer version's.
    """
    facts: list[dict[str, Any]] = json.loads(_metadata(path)[_FACTS])
    return facts


def _metadata(path: Path) -> dict[bytes, bytes]:
    pa, pq = needs("pyarrow", "scan"), needs("pyarrow.parquet", "scan")
    try:
        metadata: dict[bytes, bytes] = pq.read_metadata(path).metadata or {}
        stated = json.loads(metadata.get(_FORMAT, b"{}"))
    except (pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"{path}: damaged, or not a Parquet file: {error}") from None
    if stated.get("format") != FORMAT:
        raise InputError(f"{path}: expected a file of results of pydissect scan, found another Parquet file")
    if stated["version"] > VERSION:
        raise InputError(f"{path}: expected version {VERSION} or older, found {stated['version']}; update pydissect")
    return metadata


def _write(path: Path, tables: Sequence[Any] | Iterator[Any], facts: list[dict[str, Any]]) -> None:
    pa, pq = needs("pyarrow", "scan"), needs("pyarrow.parquet", "scan")
    metadata = {
        _FORMAT: json.dumps({"format": FORMAT, "version": VERSION}).encode(),
        _KEYS: json.dumps([fact["key"] for fact in facts]).encode(),
        _FACTS: json.dumps(facts).encode(),
    }
    # Columns of categories differ where checkpoints of several datasets are folded together.
    table = pa.concat_tables(tables, promote_options="default").replace_schema_metadata(metadata)
    with atomic_write(path) as file:
        pq.write_table(table, file, row_group_size=_ROW_GROUP, compression=_COMPRESSION)
