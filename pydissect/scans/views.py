"""All results of a scan as two tables for SQL: ``units`` and ``runs``."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..extras import needs
from .checkpoints import Tag
from .folder import ScanFolder
from .listing import read_columns, read_tags
from .results import UNIT_COLUMNS, read_facts, runs_file, runs_table

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


def tag_names(tags: Iterable[Mapping[str, Tag]]) -> list[str]:
    """All tags, in the order in which they were first seen."""
    return list(dict.fromkeys(chain.from_iterable(tags)))


def _make_views(connection: Any, folder: ScanFolder) -> None:
    checkpoints, tags = _checkpoints(folder)
    connection.register("_checkpoints", checkpoints)
    folded, single = folder.files_of_results()
    # DuckDB reads what is folded when it is asked for it; these are few.
    connection.register("_single_runs", runs_table([fact for path in single for fact in read_facts(path)]))

    chosen = [f"c.{_quoted(name)}" for name in tags]
    columns = ", ".join(["c.weights", "c.model", "r.layer", *chosen, "r.* EXCLUDE (layer, facts)"])
    runs = "_single_runs"
    if folded:
        runs = f"(SELECT * FROM {_parquet(map(runs_file, folded))} UNION ALL BY NAME SELECT * FROM _single_runs)"
    connection.execute(f"CREATE VIEW runs AS SELECT {columns} FROM {runs} r JOIN _checkpoints c USING (key)")

    columns = ", ".join(["c.weights", *chosen])
    if folded or single:
        units = _parquet([*folded, *single])
        connection.execute(f"CREATE VIEW units AS SELECT {columns}, u.* FROM {units} u JOIN _checkpoints c USING (key)")
    else:
        # The columns that it will have, without those of the dataset's categories.
        none = ", ".join(f"NULL AS {name}" for name in UNIT_COLUMNS)
        connection.execute(f"CREATE VIEW units AS SELECT {columns}, {none} FROM _checkpoints c LIMIT 0")


def _checkpoints(folder: ScanFolder) -> tuple[Any, list[str]]:
    """The key, weights, model and tags of each listed checkpoint, as a ``pyarrow.Table``; and the names of the tags."""
    table = read_columns(folder.listing_file, ["key", "weights", "model"])
    tags = read_tags(folder.listing_file)
    names = tag_names(tags)
    for name in names:
        table = table.append_column(name, _typed([each.get(name) for each in tags]))
    return table, names


def _parquet(paths: Iterable[Path]) -> str:
    """The rows of files; by name, since the columns of categories differ from dataset to dataset."""
    files = ", ".join(_literal(str(path)) for path in paths)
    return f"read_parquet([{files}], union_by_name = true)"


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
