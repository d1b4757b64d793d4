"""The folder of a scan: what is where, what is done, and who may write.

====================  ==================================================================================================
checkpoints.parquet   the listing, see :mod:`pydissect.scans.listing`
results/KEY.parquet   one checkpoint's result
folded/*.parquet      results of many checkpoints, which take the place of their single files
runs/*.parquet        the facts of those checkpoints, in a file of the same name
counts/KEY/           a safetensors file a layer, on request
shards/KEY/RANGE/     a safetensors file a layer: what a pass over some of the images has left, until all have been seen
failed/KEY.json       what went wrong with a checkpoint
progress.json         how far the driver is
lock                  locked while a driver runs
====================  ==================================================================================================

Every file appears complete, under a name that follows from what is in it, so a scan that is killed leaves nothing that
its successor could mistake. Where a result is in two files, the folded one counts; that is there once it and its runs
are.
"""

import fcntl
import json
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InputError
from ..files import atomic_write
from .listing import Listing, read_columns
from .results import fold, read_keys

FOLD = 256
"""Checkpoints a folded file."""


@dataclass(frozen=True)
class Failure:
    """Why a checkpoint has no result.

    Attributes:
        key: of the result that is missing.
        weights: path of the checkpoint.
        error: in one line.
        attempts: how often it was tried.
        detail: the traceback, where there is one.
    """

    key: str
    weights: str
    error: str
    attempts: int
    detail: str = ""


@dataclass(frozen=True)
class DriverProgress:
    """How far a driver is.

    Attributes:
        started: seconds since 1970.
        updated: seconds since 1970.
        finished: results made since it started.
        running: paths of the checkpoints at work.
    """

    started: float
    updated: float
    finished: int
    running: list[str]


class ScanFolder:
    """The files of a scan below ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listing_file = path / "checkpoints.parquet"
        self._results = path / "results"
        self._folded = path / "folded"
        self._runs = path / "runs"
        self._failed = path / "failed"
        self._counts = path / "counts"
        self._shards = path / "shards"
        self._lock = path / "lock"
        self._progress = path / "progress.json"
        self._keys: dict[Path, set[str]] = {}  # of folded files, whose contents never change

    @classmethod
    def open(cls, path: Path) -> "ScanFolder":
        """A folder that a scan has made.

        Raises:
            InputError: it is none.
        """
        folder = cls(path)
        if not folder.is_made():
            raise InputError(f"expected the folder of a scan, found none of its files in {path}")
        return folder

    def is_made(self) -> bool:
        """Whether a scan has listed its checkpoints here."""
        return self.listing_file.is_file()

    def make(self) -> None:
        """Makes the folders that are missing.

        Raises:
            InputError: there is something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out: expected a folder or nothing at {self.path}, found a file")
        if self.path.is_dir() and not self._lock.exists() and any(self.path.iterdir()):
            raise InputError(f"--out: folder {self.path} is not empty and not of a scan; nothing is written into it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.touch()
            for folder in (self._results, self._folded, self._runs, self._failed):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"--out: {self.path} cannot be made: {error.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other drivers out; the kernel ends it with the process, however that ends.

        Raises:
            InputError: another driver is at work.
        """
        with self._lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"--out: another scan is writing to {self.path}; two at a time are one too many"
                ) from None
            yield

    def is_locked(self) -> bool:
        """Whether a driver is at work."""
        try:
            with self._lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def sweep(self) -> None:
        """Removes what a killed driver or worker left: halves of files, and results that are folded already."""
        for folder in (self.path, self._results, self._folded, self._runs, self._failed):
            for path in folder.glob(".*.part"):
                path.unlink(missing_ok=True)
        for path in (*self._counts.glob("*/.*.part"), *self._shards.glob("*/*/.*.part")):
            path.unlink(missing_ok=True)
        names = {path.name for path in self._folded_files()}
        for path in self._runs.glob("*.parquet"):
            if path.name not in names:
                path.unlink()
        self._drop_folded()

    # Results.

    def result_file(self, key: str) -> Path:
        """Where the result of a checkpoint is written."""
        return self._results / f"{key}.parquet"

    def counts_file(self, key: str, layer: str) -> Path:
        """Where the counts of a layer are written."""
        return self._counts / key / f"{quote(layer, safe='')}.safetensors"

    def result_files(self) -> list[Path]:
        """Files that hold every result once."""
        folded, single = self.files_of_results()
        return [*folded, *single]

    def files_of_results(self) -> tuple[list[Path], list[Path]]:
        """Folded and single files that hold every result once."""
        # Single ones first: what is folded meanwhile is then in a file of the second list.
        single = self._single_files()
        folded = self._folded_files()
        keys = self._keys_of(folded) if single else set()
        return folded, [path for path in single if path.stem not in keys]

    def done(self) -> set[str]:
        """Keys of all results."""
        single = self._single_files()
        return self._keys_of(self._folded_files()) | {path.stem for path in single}

    def fold(self) -> None:
        """Folds single files together, as long as there are enough of them."""
        if len(self._single_files()) < FOLD:
            return
        self._drop_folded()
        while len(paths := self._single_files()) >= FOLD:
            batch = sorted(paths)[:FOLD]
            fold(batch, self._folded)
            for path in batch:
                path.unlink()

    def _drop_folded(self) -> None:
        folded, single = self._folded_files(), self._single_files()
        keys = self._keys_of(folded) if single else set()
        for path in single:
            if path.stem in keys:
                path.unlink()

    def _single_files(self) -> list[Path]:
        return [path for path in self._results.glob("*.parquet") if not path.name.startswith(".")]

    def _folded_files(self) -> list[Path]:
        return sorted(path for path in self._folded.glob("*.parquet") if not path.name.startswith("."))

    def _keys_of(self, folded: Sequence[Path]) -> set[str]:
        for path in folded:
            if path not in self._keys:
                self._keys[path] = read_keys(path)
        return {key for path in folded for key in self._keys[path]}

    # Shards of results that are not there yet.

    def shard_file(self, key: str, images: range, layer: str) -> Path:
        """Where what a pass over some images has left of a layer is written."""
        return self._shards / key / f"{images.start}-{images.stop}" / f"{quote(layer, safe='')}.safetensors"

    def has_shard(self, key: str, images: range, layers: Iterable[str]) -> bool:
        """Whether all files of a shard are there."""
        return all(self.shard_file(key, images, layer).exists() for layer in layers)

    def forget_shards(self, key: str) -> None:
        """Of a result that is there."""
        shutil.rmtree(self._shards / key, ignore_errors=True)

    def forget_other_shards(self, keys: Container[str | None]) -> None:
        """Of all results but these."""
        for path in self._shards.glob("*"):
            if path.name not in keys:
                self.forget_shards(path.name)

    # Failures.

    def failures(self) -> dict[str, Failure]:
        """By key; those of results that are there by now count no more, see :meth:`done`."""
        found = {}
        for path in self._failed.glob("*.json"):
            if path.name.startswith("."):
                continue
            # One that its driver has just removed, because the result is there.
            with suppress(FileNotFoundError):
                found[path.stem] = Failure(**_read_json(path))
        return found

    def record_failure(self, failure: Failure) -> None:
        """Keeps it, in place of an earlier one."""
        _write_json(self._failed / f"{failure.key}.json", asdict(failure))

    def forget_failure(self, key: str) -> None:
        """Of a result that is there."""
        (self._failed / f"{key}.json").unlink(missing_ok=True)

    # The rest.

    def listing(self) -> Listing:
        """As it was last saved."""
        return Listing.load(self.listing_file)

    def listed_keys(self) -> list[str | None]:
        """The key of each checkpoint of the listing, None where its file was not read yet."""
        keys: list[str | None] = read_columns(self.listing_file, ["key"]).column("key").to_pylist()
        return keys

    def record_progress(self, progress: DriverProgress) -> None:
        """Tells ``scan status``."""
        _write_json(self._progress, asdict(progress))

    def progress(self) -> DriverProgress | None:
        """Of the driver at work, or the last one."""
        try:
            return DriverProgress(**_read_json(self._progress))
        except FileNotFoundError:
            return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise InputError(f"{path}: damaged: expected JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged: expected a JSON object")
    return content
