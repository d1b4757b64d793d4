"""Parquet files that say what they are, and appear when they are complete."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..extras import needs
from ..files import atomic_write

_FORMAT = b"pydissect.format"
_COMPRESSION = "zstd"
_ROW_GROUP = 1 << 17  # rows: as DuckDB likes them


@dataclass(frozen=True)
class Format:
    """What is in a file.

    Attributes:
        name: of the format, written into the file.
        version: of the format, likewise.
        content: what an error calls it.
    """

    name: str
    version: int
    content: str

    def write(self, path: Path, table: Any, metadata: Mapping[bytes, bytes] | None = None) -> None:
        """Writes a ``pyarrow.Table``, with metadata besides that of the format."""
        pq = needs("pyarrow.parquet", "scan")
        stated = json.dumps({"format": self.name, "version": self.version}).encode()
        table = table.replace_schema_metadata({_FORMAT: stated, **(metadata or {})})
        with atomic_write(path) as file:
            pq.write_table(table, file, row_group_size=_ROW_GROUP, compression=_COMPRESSION)

    def read(self, path: Path, columns: Sequence[str] | None = None) -> Any:
        """Some columns of a file, or all, as a ``pyarrow.Table``.

        Raises:
            InputError: the file is damaged, something else, or another version's.
        """
        return self._open(path, lambda file: file.read(columns))

    def metadata(self, path: Path) -> dict[bytes, bytes]:
        """The metadata of a file.

        Raises:
            InputError: as :meth:`read`.
        """
        found: dict[bytes, bytes] = self._open(path, lambda file: file.metadata.metadata)
        return found

    def _open(self, path: Path, take: Callable[[Any], Any]) -> Any:
        pa, pq = needs("pyarrow", "scan"), needs("pyarrow.parquet", "scan")
        try:
            with pq.ParquetFile(path) as file:
                stated = json.loads((file.metadata.metadata or {}).get(_FORMAT, b"{}"))
                self._check(path, stated)
                return take(file)
        except InputError:
            raise
        except (pa.ArrowInvalid, ValueError) as error:
            raise InputError(f"{path}: damaged, or not a Parquet file: {error}") from None

    def _check(self, path: Path, stated: Mapping[str, Any]) -> None:
        if stated.get("format") != self.name:
            raise InputError(f"{path}: expected {self.content} of pydissect scan, found another Parquet file")
        if (version := stated["version"]) != self.version:
            advice = "update pydissect" if version > self.version else "scan into another folder"
            raise InputError(f"{path}: expected version {self.version}, found {version}; {advice}")
