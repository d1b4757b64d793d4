"""Where the files of a Broden dataset may lie: inside its folder, and nowhere else."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError


def unsafe(name: str) -> str | None:
    """Say why `name`, a picture named by a dataset, may not be used, or None if it may.

    Looks at the text alone, so that no index with such a name is ever accepted; links are `Files`' part.
    """
    if not name:
        return "an empty name"
    if name.startswith("/"):
        return "an absolute path"
    if ".." in name and ".." in name.split("/"):
        return "a path with '..'"
    if "\0" in name:
        return "a path with a null byte"
    return None


class Files:
    """The files of one dataset.

    Datasets come from elsewhere and name their own files, so every path is resolved, links included, before
    it is opened. A link is fine as long as it ends inside the folder.

    Args:
        folder: the dataset's folder.

    Raises:
        InputError: there is no such folder, or no folder `images` in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        self.images = self.folder / "images"
        # The separator keeps /data/broden-old from passing as a part of /data/broden.
        self._inside = os.path.realpath(self.folder).rstrip(os.sep) + os.sep
        self._real_folders: dict[str, str] = {}
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            raise InputError(f"{self.folder}: expected a dataset folder, found {found}")
        if not self.images.is_dir():
            raise InputError(f"{self.folder}: expected a folder 'images' in it, found none")

    def has(self, name: str) -> bool:
        """Whether there is a CSV file `name`."""
        # A category makes the name: Path.exists raises if it is too long.
        return os.path.exists(self.folder / name)  # noqa: PTH110

    def table(self, name: str) -> Path:
        """Path of the CSV file `name`, checked to be a file of this dataset."""
        path = self.folder / name
        self._check(path, f"{self.folder}: expected a file {name!r}")
        return path

    def tables(self, categories: Iterable[str]) -> list[Path]:
        """Paths of the dataset's CSV files, by name; those of categories only where they are."""
        optional = filter(self.has, (f"c_{category}.csv" for category in categories))
        return [self.table(name) for name in sorted(["category.csv", "index.csv", "label.csv", *optional])]

    def picture(self, name: str, where: str) -> Path:
        """Path of the picture `name`, relative to `images`, checked to be a file of this dataset.

        Args:
            name: as a cell of index.csv gives it, already passed by `unsafe`.
            where: the cell, for the message.

        Raises:
            InputError: there is no such file, it is no regular file, or it leads out of the folder.
        """
        path = self.images / name
        self._check(path, f"{where}: expected a file {name!r} in {self.images}")
        return path

    def _check(self, path: Path, expected: str) -> None:
        try:
            real, mode = self._resolve(path)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{expected}, found none") from None
        except OSError as error:
            raise InputError(f"{expected}, found one that cannot be opened: {error.strerror}") from None
        if not real.startswith(self._inside):
            raise InputError(f"{expected}, found a link to {real!r}, outside the dataset")
        if not stat.S_ISREG(mode):
            raise InputError(f"{expected}, found something else")

    def _resolve(self, path: Path) -> tuple[str, int]:
        """The file that a path leads to, and its mode."""
        folder, name = os.path.split(path)
        # 250,000 pictures lie in a few folders, and to resolve a path takes as long as to decode a small picture.
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder, strict=True)
        real = os.path.join(self._real_folders[folder], name)  # noqa: PTH118
        mode = os.lstat(real).st_mode
        if stat.S_ISLNK(mode):
            real = os.path.realpath(real, strict=True)
            mode = os.stat(real).st_mode  # noqa: PTH116
        return real, mode
