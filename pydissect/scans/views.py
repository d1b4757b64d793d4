"""All results of a scan as two tables for SQL: ``units`` and ``runs``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..extras import needs
from .folder import ScanFolder
from .listing import Listing
from .results import UNIT_COLUMNS, read_facts

_TRIES = 3


def open_views(path: Path) -> Any:
    """A DuckDB connection with the views ``units`` and ``runs`` of a scan.

    Both have the checkpoints that the scans of the folder listed, with the tags of the last listing and the results
    of the last settings: a checkpoint that is listed under two paths is there twice, one that has changed is there
    with its new result, or not at all until it has one.

    Args:
        path: of the scan's folder.

    Returns:
        A ``duckdb.DuckDBPyConnection``.

    Raises:
        InputError: it is no folder of a scan.
    """
    duckdb = needs("duckdb", "scan")
    folder = ScanFolder.open(path)
    for attempt in range(_TRIES):
        connection = duckdb.connect()
        try:
            _make_views(connection, folder)
        except (duckdb.IOException, FileNotFoundError):
            # A driver at work has just folded files that were listed here.
            connection.close()
            if attempt == _TRIES - 1:
                raise
        else:
            return connection
    raise AssertionError


def query(path: Path, sql: str) -> Any:
    """The answer of a query as a ``pyarrow.Table``.

    Args:
        path: of the scan's folder.
        sql: of DuckDB, on the views ``units`` and ``runs``.

    Raises:
        InputError: it is no folder of a scan, or the query is wrong.
    """
    duckdb = needs("duckdb", "scan")
    with open_views(path) as connection:
        try:
            answer = connection.sql(sql)
            if answer is None:
                raise InputError("expected a query that gives rows, found a statement without an answer")
            return answer.to_arrow_table()
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            raise InputError(f"SQL: {' '.join(str(error).split())}") from None


def _make_views(connection: Any, folder: ScanFolder) -> None:
    listing = folder.listing()
    files = folder.result_files()
    facts = {fact["key"]: fact for path in files for fact in read_facts(path)}
    runs = runs_table(listing, facts)
    connection.register("runs", runs)
    tags = tag_names(listing)
    checkpoints = _listed(listing, facts, tags)
    connection.register("_checkpoints", checkpoints)
    chosen = ", ".join(f"c.{_quoted(name)}" for name in ("weights", *tags))
    if not files:
        # The columns that it will have, without those of the dataset's categories.
        none = ", ".join(f"NULL AS {name}" for name in UNIT_COLUMNS)
        connection.execute(f"CREATE VIEW units AS SELECT {chosen}, {none} FROM _checkpoints c LIMIT 0")
        return
    paths = ", ".join(_literal(str(path)) for path in files)
    # The columns of the first file do for all, unless datasets of other categories are among them.
    kinds = {tuple(layer["categories"]) for fact in facts.values() for layer in fact["layers"]}
    source = f"read_parquet([{paths}], union_by_name = {len(kinds) > 1})"
    connection.execute(f"CREATE VIEW units AS SELECT {chosen}, u.* FROM {source} u JOIN _checkpoints c USING (key)")


def runs_table(listing: Listing, facts: dict[str, dict[str, Any]]) -> Any:
    """A row for each layer of each listed checkpoint that has a result, as a ``pyarrow.Table``.

    Args:
        listing: of the scan.
        facts: of the results, by key.
    """
    pa = needs("pyarrow", "scan")
    pairs = [
        (entry, fact, layer)
        for entry in listing
        if (fact := facts.get(entry.key or "")) is not None
        for layer in fact["layers"]
    ]
    columns: dict[str, list[Any]] = {
        "weights": [str(entry.checkpoint.weights) for entry, _, _ in pairs],
        "model": [entry.checkpoint.model for entry, _, _ in pairs],
        "layer": [layer["layer"] for _, _, layer in pairs],
    }
    types = {
        **dict.fromkeys(("weights", "model", "layer", "map", "dataset_sha256", "weights_sha256", "key"), pa.string()),
        **dict.fromkeys(("units", "detectors", "unique_detectors", "unique_top_labels", "images"), pa.int64()),
        **dict.fromkeys(("quantile", "iou_threshold", "seconds"), pa.float64()),
        "finished": pa.string(),
    }
    for name in tag_names(listing):
        columns[name] = [entry.checkpoint.tags.get(name) for entry, _, _ in pairs]
    for name in ("units", "detectors", "unique_detectors", "unique_top_labels"):
        columns[name] = [layer[name] for _, _, layer in pairs]
    categories = dict.fromkeys(name for _, _, layer in pairs for name in layer["categories"])
    for category in categories:
        for what in ("detectors", "unique_detectors"):
            columns[f"{category}_{what}"] = [layer["categories"].get(category, {}).get(what) for _, _, layer in pairs]
            types[f"{category}_{what}"] = pa.int64()
    columns["map"] = [" x ".join(map(str, layer["map"])) for _, _, layer in pairs]
    columns["images"] = [fact["images"] for _, fact, _ in pairs]
    columns["quantile"] = [fact["settings"]["quantile"] for _, fact, _ in pairs]
    columns["iou_threshold"] = [fact["settings"]["iou_threshold"] for _, fact, _ in pairs]
    columns["dataset_sha256"] = [fact["dataset"]["sha256"] for _, fact, _ in pairs]
    columns["weights_sha256"] = [fact["weights"]["sha256"] for _, fact, _ in pairs]
    columns["seconds"] = [sum(fact["seconds"].values()) for _, fact, _ in pairs]
    columns["finished"] = [fact["finished"] for _, fact, _ in pairs]
    columns["key"] = [fact["key"] for _, fact, _ in pairs]
    return pa.table(
        {name: pa.array(values, types[name]) if name in types else _typed(values) for name, values in columns.items()}
    )


def tag_names(listing: Listing) -> list[str]:
    """All tags, in the order in which they were first seen."""
    return list(dict.fromkeys(name for entry in listing for name in entry.checkpoint.tags))


def _listed(listing: Listing, facts: dict[str, dict[str, Any]], tags: Sequence[str]) -> Any:
    pa = needs("pyarrow", "scan")
    entries = [entry for entry in listing if entry.key in facts]
    return pa.table(
        {
            "key": pa.array([entry.key for entry in entries], pa.string()),
            "weights": pa.array([str(entry.checkpoint.weights) for entry in entries], pa.string()),
            **{name: _typed([entry.checkpoint.tags.get(name) for entry in entries]) for name in tags},
        }
    )


def _typed(values: Sequence[Any]) -> Any:
    """A column of whole numbers, numbers or truth values where all are; else of text."""
    pa = needs("pyarrow", "scan")
    kinds = {type(value) for value in values if value is not None}
    for allowed, kind in (({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64())):
        if kinds <= allowed and kinds:
            try:
                return pa.array(values, kind)
            except (OverflowError, pa.ArrowInvalid):
                break
    text = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(text, pa.string())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
