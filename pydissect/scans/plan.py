"""What a scan has to do: its checkpoints, their keys, and which results are missing."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..broden import Broden
from ..errors import InputError
from ..files import sha256_file
from ..parallel import ordered_map
from .checkpoints import Checkpoint, absolute_spec, find_checkpoints
from .engines import Task
from .folder import ScanFolder
from .keys import Signature, result_key, signature_of
from .listing import Entry
from .manifest import read_manifest
from .settings import Settings
from .shards import cut

_HASHING = 4  # threads
_AHEAD = 8  # files hashed before they are asked for, little enough to be still in the page cache when they are loaded
_TRIES = 3


def finder(
    weights: str | os.PathLike[str] | None,
    manifest: str | os.PathLike[str] | None,
    model: str | None,
    layers: Sequence[str],
) -> Callable[[], list[Checkpoint]]:
    """What lists the checkpoints of a scan, each time anew.

    Args:
        weights: a pattern of files; or
        manifest: a file, see :func:`read_manifest`.
        model: spec; of a manifest's rows that give none.
        layers: dotted names; of a manifest's rows that give none.

    Raises:
        InputError: an argument is missing or wrong.
    """
    if (weights is None) == (manifest is None):
        found = "neither" if weights is None else "both"
        raise InputError(f"expected either --weights, a pattern, or --manifest, a file; found {found}")
    spec = None if model is None else absolute_spec(model, Path.cwd())
    if weights is None:
        path = Path(manifest or "").absolute()
        return lambda: read_manifest(path, spec, layers)
    if spec is None or not layers:
        raise InputError(f"expected {'--model' if spec is None else '--layer'} for the files of --weights, found none")
    pattern, names = str(Path(weights).absolute()), list(dict.fromkeys(layers))
    return lambda: find_checkpoints(pattern, spec, names)


class Plan:
    """The checkpoints of a scan.

    Args:
        folder: of the scan.
        settings: of all checkpoints.
        dataset: of all checkpoints.

    Attributes:
        listing: of all checkpoints of the folder; with keys as far as they are known.
        done: keys of all results.
    """

    def __init__(self, folder: ScanFolder, settings: Settings, dataset: Broden) -> None:
        self.listing = folder.listing()
        self.done = folder.done()
        self._folder = folder
        self._settings = settings
        self._dataset = dataset
        self._dataset_sha256 = dataset.sha256()
        self._meaning = settings.meaning()
        images = len(dataset) if settings.limit is None else min(settings.limit, len(dataset))
        self._shards = cut(images, settings.batch_size, settings.shards)

    def add(self, checkpoints: Iterable[Checkpoint]) -> list[Entry]:
        """Their entries in the listing, those of a model one after the other."""
        entries = [self.listing.add(checkpoint) for checkpoint in checkpoints]
        models = {model: place for place, model in enumerate(dict.fromkeys(e.checkpoint.model for e in entries))}
        return sorted(entries, key=lambda entry: models[entry.checkpoint.model])

    def with_keys(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The same entries with their keys; those whose files are unchanged come first, the others are hashed."""
        changed = []
        for entry in entries:
            signature = signature_of(entry.checkpoint.weights)
            if signature is None or signature != entry.signature or entry.sha256 is None:
                changed.append(entry)
                continue
            self._give_key(entry)
            yield entry
        for entry, (signature, sha256) in zip(changed, ordered_map(_hashed, changed, _HASHING, _AHEAD), strict=False):
            entry.signature, entry.sha256 = signature, sha256
            self._give_key(entry)
            yield entry

    def is_done(self, entry: Entry) -> bool:
        """Whether there is nothing to do for an entry that has its key."""
        assert entry.key is not None
        if entry.key not in self.done:
            return False
        layers = entry.checkpoint.layers
        return not self._settings.counts or all(self._folder.counts_file(entry.key, name).exists() for name in layers)

    def task(self, entry: Entry) -> Task:
        """For an engine, of an entry that has its key."""
        assert entry.key is not None
        checkpoint = entry.checkpoint
        return Task(
            key=entry.key,
            weights=str(checkpoint.weights),
            signature=entry.signature,
            sha256=entry.sha256,
            model=checkpoint.model,
            layers=checkpoint.layers,
            tags=dict(checkpoint.tags),
            data=str(self._dataset.folder),
            split=self._dataset.split,
            dataset_sha256=self._dataset_sha256,
            settings=self._settings,
            out=str(self._folder.path.absolute()),
            shards=self._shards if len(self._shards) > 1 else (),
        )

    def _give_key(self, entry: Entry) -> None:
        entry.key = result_key(entry.checkpoint, entry.sha256, self._meaning, self._dataset.split, self._dataset_sha256)


def _hashed(entry: Entry) -> tuple[Signature | None, str | None]:
    """The signature of a file and its SHA-256, None if it cannot be read or does not come to rest."""
    path = entry.checkpoint.weights
    for _ in range(_TRIES):
        signature = signature_of(path)
        try:
            sha256 = None if signature is None else sha256_file(path)
        except OSError:
            sha256 = None
        if signature == signature_of(path):
            return signature, sha256
    return signature, None
