"""The folder in which what is made of a dataset is kept: ``$PYDISSECT_CACHE``, or pydissect's of the user's cache."""

import hashlib
import os
from pathlib import Path

from .broden import Broden


def cache_folder() -> Path:
    """Where the files are kept."""
    if given := os.environ.get("PYDISSECT_CACHE"):
        return Path(given)
    # Only where it is needed: counting alone does without.
    from platformdirs import user_cache_path

    return user_cache_path("pydissect")


def cache_path(kind: str, data: Broden, *what: object) -> Path:
    """Where the cache keeps, or would keep, something of a dataset: one file, replaced when the dataset changes."""
    key = hashlib.sha256("\0".join(map(str, (data.folder, data.split, *what))).encode()).hexdigest()[:16]
    return cache_folder() / f"{kind}-{key}.safetensors"


def writable(folder: Path) -> bool:
    """Whether a file can be made there; the folder is made, if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    except OSError:
        return False
