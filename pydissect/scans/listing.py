"""The checkpoints of a scan with their keys, kept in one file so that what is unchanged is not hashed again."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..extras import needs
from .checkpoints import Checkpoint, Tag
from .keys import Signature
from .parquet import Format

_LISTING = Format("pydissect.checkpoints", 1, "a list of checkpoints")


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
            InputError: the file is damaged, something else, or another version's.
        """
        if not path.exists():
            return cls()
        weights, model, layers, tags, *rest = (column.to_pylist() for column in read_columns(path).columns)
        entries = []
        for file, spec, names, known, size, mtime_ns, inode, sha256, key in zip(
            weights, model, _parsed(layers), _parsed(tags), *rest, strict=True
        ):
            checkpoint = Checkpoint(Path(file), spec, tuple(names), known)
            signature = None if size is None else Signature(size, mtime_ns, inode)
            entries.append(Entry(checkpoint, signature, sha256, key))
        return cls(entries)

    def save(self, path: Path) -> None:
        """Writes the listing; the file appears, or changes, when it is complete."""
        pa = needs("pyarrow", "scan")
        entries = list(self)
        layers = {names: json.dumps(names) for names in {entry.checkpoint.layers for entry in entries}}
        signatures = [entry.signature or (None, None, None) for entry in entries]
        text, number = pa.string(), pa.int64()
        columns = {
            "weights": pa.array([str(entry.checkpoint.weights) for entry in entries], text),
            "model": pa.array([entry.checkpoint.model for entry in entries], text),
            "layers": pa.array([layers[entry.checkpoint.layers] for entry in entries], text),
            "tags": pa.array([json.dumps(dict(entry.checkpoint.tags)) for entry in entries], text),
            "size": pa.array([signature[0] for signature in signatures], number),
            "mtime_ns": pa.array([signature[1] for signature in signatures], number),
            "inode": pa.array([signature[2] for signature in signatures], pa.uint64()),
            "sha256": pa.array([entry.sha256 for entry in entries], text),
            "key": pa.array([entry.key for entry in entries], text),
        }
        _LISTING.write(path, pa.table(columns))


def read_columns(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Some columns of a listing's file, or all, as a ``pyarrow.Table``.

    Raises:
        InputError: the file is damaged, something else, or another version's.
    """
    return _LISTING.read(path, columns)


def read_tags(path: Path) -> list[dict[str, Tag]]:
    """The tags of each checkpoint of a listing's file.

    Raises:
        InputError: as :func:`read_columns`.
    """
    return _parsed(read_columns(path, ["tags"]).column("tags").to_pylist())


def _parsed(texts: Sequence[str]) -> list[Any]:
    # At once, which takes a third of the time for thousands of small texts.
    values: list[Any] = json.loads(f"[{','.join(texts)}]")
    return values
