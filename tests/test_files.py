"""Writing files whole or not at all; telling contents apart."""

import hashlib
import os
from pathlib import Path

import pytest

from pydissect.files import atomic_write, sha256_file


def test_writes(tmp_path: Path):
    path = tmp_path / "file.bin"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_replaces_only_at_the_end(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["no-space", "ctrl-c"]
)
@pytest.mark.parametrize("before", [None, b"old"], ids=["new", "over-another"])
def test_failure_leaves_nothing_behind(tmp_path: Path, before: bytes | None, error: BaseException):
    path = tmp_path / "file.bin"
    if before:
        path.write_bytes(before)

    def fail_halfway() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([before] if before else [])


def test_failure_to_rename_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "taken") as file:
        file.write(b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_a_new_file(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "ours") as file:
            file.write(b"x")
        (tmp_path / "plain").write_bytes(b"x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "file.bin"):
        pytest.fail("the block must not run")


def test_sha256(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"x" * 100_000)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"x" * 100_000).hexdigest()
