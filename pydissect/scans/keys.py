"""The key of a result: a digest of all that decides what it is."""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..files import sha256_file
from ..specs import split_spec
from .checkpoints import Checkpoint

_DIGITS = 32
_ENCODER = json.JSONEncoder(sort_keys=True)  # made once, for thousands


class Signature(NamedTuple):
    """What a file's status shows of a change of its content."""

    size: int
    mtime_ns: int
    inode: int


def signature_of(path: Path) -> Signature | None:
    """A file's signature, None if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (quicker, for thousands)
    except OSError:
        return None
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino)


def result_key(checkpoint: Checkpoint, sha256: str | None, meaning: Mapping[str, Any], split: str, dataset: str) -> str:
    """The name of a checkpoint's result.

    Args:
        checkpoint: its path and tags count for nothing where its content is known.
        sha256: of its weights; None if they cannot be read.
        meaning: of the settings, see :meth:`Settings.meaning`.
        split: of the dataset.
        dataset: its SHA-256.

    Returns:
        32 hexadecimal digits.
    """
    parts = {
        "version": 1,
        "weights": str(checkpoint.weights) if sha256 is None else sha256,
        "readable": sha256 is not None,
        "model": model_identity(checkpoint.model),
        "layers": checkpoint.layers,
        "settings": meaning,
        "split": split,
        "dataset": dataset,
    }
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()[:_DIGITS]


def model_identity(spec: str) -> list[str | None]:
    """What a model's spec names: the factory, and the package or the content of the file that it is in."""
    source, factory, from_file = split_spec(spec)
    if not from_file:
        return [source, factory]
    signature = signature_of(Path(source))
    return [None if signature is None else _file_digest(source, signature), factory]


@lru_cache(maxsize=1024)
def _file_digest(path: str, signature: Signature) -> str:
    return sha256_file(path)
