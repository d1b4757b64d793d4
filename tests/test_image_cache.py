"""The image cache: the same pictures as decoding gives, noticed changes, and what cannot be kept."""

import collections
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from broden_builder import IH, IW, BrodenBuilder
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from pydissect import Broden, InputError, PackedMasks, image_cache
from pydissect.image_cache import cached_images
from pydissect.normalize import Normalization
from pydissect.progress import silent
from pydissect.sources import BrodenSource


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def builder(tmp_path: Path, cache: Path) -> BrodenBuilder:
    return BrodenBuilder(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the photos that are decoded."""
    rows: list[int] = []
    read = Broden.read_image

    def note(self: Broden, i: int, size: tuple[int, int] | None = None) -> np.ndarray:
        rows.append(i)
        return read(self, i, size)

    monkeypatch.setattr(Broden, "read_image", note)
    return rows


def source(data: Broden, limit: int | None = None, size: tuple[int, int] | None = None, keep: bool = True):
    return BrodenSource(
        data,
        normalization=Normalization.parse("none"),
        input_size=size,
        limit=limit,
        batch_size=2,
        workers=2,
        image_cache=keep,
        progress=silent,
    )


def pictures(found: BrodenSource) -> tuple[Tensor, list[int]]:
    batches = list(found.batches())
    assert all(isinstance(masks, PackedMasks) and len(masks) == len(images) for images, masks in batches)
    return torch.cat([images for images, _ in batches]), [len(images) for images, _ in batches]


def expected(data: Broden, rows: int = 3, size: tuple[int, int] = (IH, IW)) -> Tensor:
    photos = np.stack([data.read_image(i, size) for i in range(rows)])
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("masks-"))


def test_pictures_are_decoded_once(builder: BrodenBuilder, cache: Path, decoded: list[int]):
    data = Broden(builder.write())
    first, sizes = pictures(source(data))
    assert sizes == [2, 1]
    assert sorted(decoded) == [0, 1, 2]
    assert len(files(cache)) == 1
    decoded.clear()
    for again in (source(data), source(Broden(builder.folder))):
        assert torch.equal(again.example(), first[:1])
        for _ in range(2):
            assert torch.equal(pictures(again)[0], first)
    assert decoded == []
    assert torch.equal(first, expected(data))


def test_one_source_decodes_once_too(builder: BrodenBuilder, decoded: list[int]):
    both = source(Broden(builder.write()))
    assert torch.equal(pictures(both)[0], pictures(both)[0])
    assert sorted(decoded) == [0, 1, 2]


def test_the_file(builder: BrodenBuilder, cache: Path):
    data = Broden(builder.write())
    pictures(source(data))
    (path,) = files(cache)
    with safe_open(path, framework="np") as file:
        images = file.get_tensor("images")
        assert file.metadata() == {"format": "pydissect.images", "version": "1", "dataset": data.fingerprint()}
    assert np.array_equal(images, np.stack([data.read_image(i) for i in range(3)]))


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_the_whole_serves_a_limit(builder: BrodenBuilder, cache: Path, limit: int, decoded: list[int]):
    data = Broden(builder.write())
    pictures(source(data))
    decoded.clear()
    assert torch.equal(pictures(source(data, limit))[0], expected(data)[: min(limit, 3)])
    assert len(files(cache)) == 1
    assert sorted(decoded) == [0, 1, 2]  # by the expectation alone


def test_a_limit_does_not_serve_the_whole(builder: BrodenBuilder):
    data = Broden(builder.write())
    assert torch.equal(pictures(source(data, 2))[0], expected(data, 2))
    assert torch.equal(pictures(source(data))[0], expected(data))


def test_sizes_and_splits_are_kept_apart(builder: BrodenBuilder, cache: Path):
    data = Broden(builder.write())
    pictures(source(data))
    assert torch.equal(pictures(source(data, size=(5, 7)))[0], expected(data, size=(5, 7)))
    train = Broden(builder.folder, "train")
    assert torch.equal(pictures(source(train))[0], expected(train, 2))
    assert len(files(cache)) == 3


def test_a_changed_photo_is_noticed(builder: BrodenBuilder, decoded: list[int]):
    folder = builder.write()
    before, _ = pictures(source(Broden(folder)))
    Image.new("RGB", (IW, IH), (1, 2, 3)).save(folder / "images" / "a" / "y.png")
    after, _ = pictures(source(Broden(folder)))
    assert torch.equal(after, expected(Broden(folder)))
    assert not torch.equal(after[1], before[1])


def write_over(path: Path, contents: bytes) -> None:
    """As another file: the old one may be in use."""
    path.unlink()
    path.write_bytes(contents)


@pytest.mark.parametrize(
    "damage",
    [
        lambda contents: contents[:100],
        lambda contents: b"",
        lambda contents: contents[:-1],
        lambda contents: contents.replace(b'"version": "1"', b'"version": "2"'),
        lambda contents: contents.replace(b"pydissect.images", b"pydissect.tables"),
    ],
    ids=["truncated", "empty", "a byte short", "newer", "another format"],
)
def test_a_damaged_file_is_replaced(builder: BrodenBuilder, cache: Path, damage, decoded: list[int]):
    data = Broden(builder.write())
    pictures(source(data))
    (path,) = files(cache)
    write_over(path, damage(path.read_bytes()))
    decoded.clear()
    assert torch.equal(pictures(source(data))[0], expected(data))
    assert cached_images(data, (IH, IW), range(3), data.fingerprint()) is not None


def test_an_iteration_that_ends_early_leaves_no_file(builder: BrodenBuilder, cache: Path):
    batches = source(Broden(builder.write())).batches()
    next(batches)
    batches.close()
    assert files(cache) == []


def test_a_broken_photo_leaves_no_file(builder: BrodenBuilder, cache: Path):
    path = builder.write() / "images" / "a" / "z.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"z\.png"):
        pictures(source(Broden(builder.folder)))
    assert files(cache) == []


def test_without_it(builder: BrodenBuilder, cache: Path, decoded: list[int]):
    data = Broden(builder.write())
    for _ in range(2):
        decoded.clear()
        pictures(source(data, keep=False))
        assert sorted(decoded) == [0, 1, 2]
    assert files(cache) == []


def test_no_room(builder: BrodenBuilder, cache: Path, monkeypatch: pytest.MonkeyPatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: usage(100))
    data = Broden(builder.write())
    with pytest.warns(UserWarning, match="has 100 bytes left, less than the 864 needed.*PYDISSECT_CACHE"):
        assert torch.equal(pictures(source(data))[0], expected(data))
    assert files(cache) == []


def test_unwritable_folder(builder: BrodenBuilder, cache: Path, monkeypatch: pytest.MonkeyPatch):
    data = Broden(builder.write())
    found = source(data)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.warns(UserWarning, match="cannot be written, so the decoded pictures are not kept"):
        assert torch.equal(pictures(found)[0], expected(data))
    assert files(cache) == []
