"""The checkpoints of a scan with their keys, kept in one file so that what is unchanged is not hashed again."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..extras import needs
from ..files import atomic_write
from .checkpoints import Checkpoint, Tag
from .keys import Signature

FORMAT = "pydissect.checkpoints"
VERSION = 1
_FORMAT = b"pydissect.format"


@dataclass
class Entry:
    """A checkpoint, and what is known of its content.

    Attributes:
        checkpoint: as it was last listed.
        signature: of the file when it was hashed.
        sha256: of its content, None if it was never read.
        key: of its result under the settings of the last scan that listed it.
    """

    checkpoint: Checkpoint
    signature: Signature | None = None
    sha256: str | None = None
    key: str | None = None


class Listing:
    """All checkpoints that scans into a folder have listed, by path, model and layers.

    Those that a scan does not list again stay: training may have deleted the file, the result is there.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.checkpoint.name: entry for entry in entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, checkpoint: Checkpoint) -> Entry:
        """The entry of a checkpoint, with its tags of now."""
        entry = self._entries.setdefault(checkpoint.name, Entry(checkpoint))
        entry.checkpoint = checkpoint
        return entry

    @classmethod
    def load(cls, path: Path) -> "Listing":
        """Reads a listing; an empty one if there is no file.

        Raises:
            InputError: the file is damaged, something else, or a newer version's.
        """
        if not path.exists():
            return cls()
        table = read_listing(path)
        columns = (table.column(name).to_pylist() for name in table.column_names)
        entries = []
        for weights, model, layers, tags, size, mtime_ns, inode, sha256, key in zip(*columns, strict=True):
            checkpoint = Checkpoint(Path(weights), model, tuple(json.loads(layers)), _tags(tags))
            signature = None if size is None else Signature(size, mtime_ns, inode)
            entries.append(Entry(checkpoint, signature, sha256, key))
        return cls(entries)

    def save(self, path: Path) -> None:
        """Writes the listing; the file appears, or changes, when it is complete."""
        pa, pq = needs("pyarrow", "scan"), needs("pyarrow.parquet", "scan")
        entries = list(self)
        signatures = [entry.signature or (None, None, None) for entry in entries]
        text, number = pa.string(), pa.int64()
        columns = {
            "weights": pa.array([str(entry.checkpoint.weights) for entry in entries], text),
            "model": pa.array([entry.checkpoint.model for entry in entries], text),
            "layers": pa.array([json.dumps(entry.checkpoint.layers) for entry in entries], text),
            "tags": pa.array([json.dumps(dict(entry.checkpoint.tags)) for entry in entries], text),
            "size": pa.array([signature[0] for signature in signatures], number),
            "mtime_ns": pa.array([signature[1] for signature in signatures], number),
            "inode": pa.array([signature[2] for signature in signatures], pa.uint64()),
            "sha256": pa.array([entry.sha256 for entry in entries], text),
            "key": pa.array([entry.key for entry in entries], text),
        }
        stated = json.dumps({"format": FORMAT, "version": VERSION})
        table = pa.table(columns).replace_schema_metadata({_FORMAT: stated})
        with atomic_write(path) as file:
            pq.write_table(table, file, compression="zstd")


def read_listing(path: Path) -> Any:
    """The file of a listing as a ``pyarrow.Table``.

    Raises:
        InputError: the file is damaged, something else, or a newer version's.
    """
    pa, pq = needs("pyarrow", "scan"), needs("pyarrow.parquet", "scan")
    try:
        table = pq.read_table(path)
        stated = json.loads((table.schema.metadata or {}).get(_FORMAT, b"{}"))
    except (pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"{path}: damaged, or not a Parquet file: {error}") from None
    if stated.get("format") != FORMAT:
        raise InputError(f"{path}: expected a list of checkpoints of pydissect scan, found another Parquet file")
    if stated["version"] > VERSION:
        raise InputError(f"{path}: expected version {VERSION} or older, found {stated['version']}; update pydissect")
    return table


def _tags(text: str) -> dict[str, Tag]:
    tags: dict[str, Tag] = json.loads(text)
    return tags
