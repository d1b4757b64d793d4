"""A list of checkpoints in a file: CSV with a header, or a JSON object a line."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checkpoints import Checkpoint, Tag, absolute_spec, check_tag_name, tag_value

_JSON_LINES = (".jsonl", ".ndjson", ".json")


def read_manifest(path: Path, model: str | None = None, layers: Sequence[str] = ()) -> list[Checkpoint]:
    """Reads a manifest.

    The field ``weights`` is a file, ``model`` a spec, ``layer`` a module's name or several separated by ``;`` (in JSON
    also a list); every other field is a tag. Relative paths are relative to the manifest's folder.

    Args:
        path: CSV, or JSON lines if the name ends in .jsonl, .ndjson or .json.
        model: spec of the rows that give none.
        layers: of the rows that give none.

    Raises:
        InputError: it names the file, the line and the field.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"--manifest: expected a file, found {what}: {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8, found byte {error.object[error.start]:#04x}") from None
    rows = _json_rows(text, path) if path.suffix.lower() in _JSON_LINES else _csv_rows(text, path)
    checkpoints: list[Checkpoint] = []
    lines: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for line, row in rows:
        checkpoint = _checkpoint(row, f"{path}, line {line}", path.parent, model, layers)
        if (first := lines.setdefault(checkpoint.name, line)) != line:
            raise InputError(f"{path}, line {line}: the same weights, model and layer as in line {first}")
        checkpoints.append(checkpoint)
    if not checkpoints:
        raise InputError(f"{path}: expected at least one checkpoint, found none")
    return checkpoints


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                if "weights" not in header:
                    raise InputError(f"{where}: expected a header with the column weights, found {', '.join(header)!r}")
                if repeated := next((name for name in header if header.count(name) > 1), None):
                    raise InputError(f"{where}: column {repeated!r} is there twice")
                continue
            if len(cells) != len(header):
                raise InputError(f"{where}: expected {len(header)} cells as in the header, found {len(cells)}")
            row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            tags = {name: tag_value(name, cell) for name, cell in row.items() if cell}
            yield reader.line_num, {**tags, **{name: row.get(name, "") for name in ("weights", "model", "layer")}}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: expected a JSON object, found {error}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: expected a JSON object, found {content.strip()[:40]!r}")
        yield line, row


def _checkpoint(row: dict[str, Any], where: str, folder: Path, model: str | None, layers: Sequence[str]) -> Checkpoint:
    weights = row.pop("weights", None)
    if not isinstance(weights, str) or not weights or "\0" in weights:
        raise InputError(f"{where}: weights: expected a file, found {weights!r}")
    spec = row.pop("model", None) or model
    if not isinstance(spec, str):
        found = "neither that nor --model" if spec is None else repr(spec)
        raise InputError(f"{where}: model: expected FILE.py:FACTORY or package.module:factory, found {found}")
    names = row.pop("layer", None) or layers
    if isinstance(names, str):
        names = [name.strip() for name in names.split(";")]
    if not (isinstance(names, list | tuple) and names and all(isinstance(name, str) and name for name in names)):
        found = "neither that nor --layer" if not names else repr(names)
        raise InputError(f"{where}: layer: expected a module's name, found {found}")
    try:
        # One given on the command line is absolute already.
        spec = absolute_spec(spec, folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    tags: dict[str, Tag] = {}
    for name, value in row.items():
        check_tag_name(name, where)
        if value is None:
            continue
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"{where}: {name}: expected text, a number, true or false, found {json.dumps(value)[:40]}")
        tags[name] = value
    return Checkpoint((folder / weights).absolute(), spec, tuple(names), tags)
