"""The packed masks of a dataset: what is in them, and when the kept ones are used."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from broden_builder import SH, SW, BrodenBuilder, block, encode
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from pydissect import Broden, InputError, PackedMasks, mask_cache
from pydissect.broden import dataset as broden_dataset
from pydissect.cache import cache_folder
from pydissect.mask_cache import cached_masks, cached_path, pack_dataset
from pydissect.synth import make_dataset


@pytest.fixture
def builder(tmp_path: Path) -> BrodenBuilder:
    return BrodenBuilder(tmp_path / "data")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PYDISSECT_CACHE", str(folder))
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The label PNGs that have been opened."""
    paths: list[Path] = []
    read = broden_dataset.read_label_map

    def spy(path: Path, *args: object) -> object:
        paths.append(path)
        return read(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(broden_dataset, "read_label_map", spy)
    return paths


def expected_masks() -> torch.Tensor:
    """The builder's masks, by hand. Concepts: 1 dog, 2 leg, 7 street, 9 unused, 300 red."""
    masks = torch.zeros(3, 5, SH, SW, dtype=torch.bool)
    masks[0, 0, 0:2] = True
    masks[0, 1, 0] = True  # in one layer the whole row, in the other two half rows: the union
    masks[0, 1, 0:2, 0:3] = True
    masks[0:2, 2] = True
    masks[0, 4, :, 2:4] = True
    return masks


# --- contents -------------------------------------------------------------------------------------------


def test_masks_by_hand(builder: BrodenBuilder, cache: Path):
    data = Broden(builder.write())
    masks = data.masks
    assert [concept.number for concept in data.concepts] == [1, 2, 7, 9, 300]
    assert torch.equal(masks.unpack(), expected_masks())
    assert masks.size == (SH, SW)
    assert masks.categories.names == ("object", "part", "scene", "color")
    # leg is a part: that category covers more of it.
    assert masks.categories.of_concept.tolist() == [0, 1, 2, 1, 3]
    assert not masks.categories.everywhere
    assert masks.annotated.tolist() == [[1, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_label_in_two_layers_counts_once(builder: BrodenBuilder, cache: Path):
    masks = Broden(builder.write()).masks
    # Row 0 (6 pixels) and rows 0 and 1 of columns 0 to 2 (6 pixels), which share 3.
    assert masks.concept_area().tolist() == [12, 9, 48, 0, 8]
    assert masks.concept_images().tolist() == [1, 1, 2, 0, 1]


def test_whole_image_labels_have_no_bitmap(builder: BrodenBuilder, cache: Path):
    builder.maps["x_o"] = Image.fromarray(encode(block(1)))
    masks = Broden(builder.write()).masks
    # street by its number, and dog since its PNG is full.
    assert masks.whole_concepts.tolist() == [0, 2, 2]
    assert masks.bitmap_concepts.tolist() == [1, 4]


def test_whole_image_label_that_has_a_bitmap_too(builder: BrodenBuilder, cache: Path):
    builder.index[0]["object"] = "a/x_o.png;1"
    masks = Broden(builder.write()).masks
    expected = expected_masks()
    expected[0, 0] = True
    assert torch.equal(masks.unpack(), expected)
    assert masks.concept_images()[0] == 1


def test_labels_above_255(builder: BrodenBuilder, cache: Path):
    builder.labels.append({"number": "65535", "name": "last", "category": "color(1)", "frequency": "1"})
    labels = block(300, columns=slice(2, 4))
    labels[0, 0] = 65535
    builder.maps["x_c"] = Image.fromarray(encode(labels))
    masks = Broden(builder.write()).masks
    assert masks.concept_area().tolist() == [12, 9, 48, 0, 8, 1]
    assert masks.unpack()[0, 5].nonzero().tolist() == [[0, 0]]


def test_rows_of_another_size_are_resampled(builder: BrodenBuilder, cache: Path):
    """Nearest, centre to centre: each pixel of a map of half the height and width becomes 2 x 2."""
    builder.index[1] |= {"sh": str(SH // 2), "sw": str(SW // 2), "object": "a/y_o.png"}
    small = np.zeros((SH // 2, SW // 2), np.uint16)
    small[0, 1] = 1
    builder.maps["y_o"] = Image.fromarray(encode(small))
    with pytest.warns(UserWarning, match="resampled"):
        data = Broden(builder.write())
    assert data.masks.unpack()[1, 0].nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_split(builder: BrodenBuilder, cache: Path):
    folder = builder.write()
    assert torch.equal(Broden(folder).masks.unpack(), expected_masks())
    assert torch.equal(Broden(folder, "train").masks.unpack(), expected_masks()[[0, 2]])
    assert torch.equal(Broden(folder, "val").masks.unpack(), expected_masks()[[1]])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_limit_and_workers(builder: BrodenBuilder, cache: Path, limit: int, workers: int):
    masks = cached_masks(Broden(builder.write()), limit=limit, workers=workers)
    assert torch.equal(masks.unpack(), expected_masks()[:limit])


def test_real_counts(shared_data_folder: Path, cache: Path):
    """Images and pixels of every label, per split, as somebody else counted them."""
    expected = json.loads((shared_data_folder / "camvid_broden.counts.json").read_text())
    found: dict[str, dict[str, dict]] = {}
    for split in ("train", "val"):
        data = Broden(shared_data_folder / "camvid_broden", split)
        masks = data.masks
        images, pixels = masks.concept_images().tolist(), masks.concept_area().tolist()
        for k, category in enumerate(data.categories):
            labels = {
                str(concept.number): {"name": concept.name, "images": images[c], "pixels": pixels[c]}
                for c, concept in enumerate(data.concepts)
                if concept.category == category and images[c]
            }
            found.setdefault(category, {})[split] = {"images": int(masks.annotated[:, k].sum()), "labels": labels}
    assert found == expected
    both = Broden(shared_data_folder / "camvid_broden").masks
    for c, concept in enumerate(Broden(shared_data_folder / "camvid_broden").concepts):
        parts = [expected[concept.category][s]["labels"].get(str(concept.number), {}) for s in ("train", "val")]
        assert both.concept_images()[c] == sum(part.get("images", 0) for part in parts)
        assert both.concept_area()[c] == sum(part.get("pixels", 0) for part in parts)


def test_progress(builder: BrodenBuilder, cache: Path):
    calls: list[tuple[str, int, int]] = []
    cached_masks(Broden(builder.write()), progress=lambda *call: calls.append(call))
    assert calls == [("packing masks", done, 3) for done in (0, 1, 2, 3)]


# --- the cache ------------------------------------------------------------------------------------------


def test_second_time_opens_no_png(builder: BrodenBuilder, cache: Path, opened: list[Path]):
    folder = builder.write()
    first = Broden(folder).masks.unpack()
    assert len(opened) == 4
    opened.clear()
    assert torch.equal(Broden(folder).masks.unpack(), first)
    assert opened == []


def test_whole_dataset_serves_a_limit(builder: BrodenBuilder, cache: Path, opened: list[Path]):
    data = Broden(builder.write())
    cached_masks(data)
    opened.clear()
    assert torch.equal(cached_masks(data, limit=1).unpack(), expected_masks()[:1])
    assert opened == []


def test_a_limit_does_not_serve_the_whole_dataset(builder: BrodenBuilder, cache: Path, opened: list[Path]):
    data = Broden(builder.write())
    cached_masks(data, limit=1)
    opened.clear()
    assert torch.equal(cached_masks(data, limit=1).unpack(), expected_masks()[:1])
    assert opened == []
    assert torch.equal(cached_masks(data).unpack(), expected_masks())
    assert opened


def touch_png(folder: Path) -> None:
    path = folder / "images" / "a" / "x_o.png"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def grow_png(folder: Path) -> None:
    """Of another size, with the time of its last change put back."""
    path = folder / "images" / "a" / "x_o.png"
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_csv(folder: Path) -> None:
    path = folder / "label.csv"
    path.write_text(path.read_text().replace("street", "avenue"))


@pytest.mark.parametrize("change", [touch_png, grow_png, change_csv])
def test_a_changed_dataset_is_packed_anew(
    builder: BrodenBuilder, cache: Path, opened: list[Path], change: Callable[[Path], None]
):
    folder = builder.write()
    cached_masks(Broden(folder))
    opened.clear()
    change(folder)
    assert torch.equal(cached_masks(Broden(folder)).unpack(), expected_masks())
    assert len(opened) == 4
    opened.clear()
    cached_masks(Broden(folder))
    assert opened == []
    assert len(list(cache.iterdir())) == 1


def test_another_annotation_is_seen(builder: BrodenBuilder, cache: Path):
    folder = builder.write()
    before = cached_masks(Broden(folder))
    builder.maps["x_o"] = Image.fromarray(encode(block(1, slice(3, 4))))
    builder.write()
    touch_png(folder)
    expected = expected_masks()
    expected[0, 0] = False
    expected[0, 0, 3] = True
    assert torch.equal(cached_masks(Broden(folder)).unpack(), expected)
    # What was mapped from the file that has been replaced stays as it was.
    assert torch.equal(before.unpack(), expected_masks())


def test_each_dataset_has_its_own_file(builder: BrodenBuilder, cache: Path, tmp_path: Path):
    folder = builder.write()
    shutil.copytree(folder, tmp_path / "other")
    paths = {cached_path(Broden(path, split)) for path in (folder, tmp_path / "other") for split in ("all", "train")}
    assert len(paths) == 4
    assert {path.parent for path in paths} == {cache}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def newer(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() | {"version": "2"}
    save_file(tensors, path, metadata)


def out_of_range(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["bitmap_concepts"] += 100
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("damage", [truncate, empty, newer, out_of_range])
def test_a_file_that_cannot_be_used_is_replaced(
    builder: BrodenBuilder, cache: Path, opened: list[Path], damage: Callable[[Path], None]
):
    data = Broden(builder.write())
    cached_masks(data)
    path = cached_path(data)
    # Another file: a damaged one must not be changed under a map that is in use.
    contents = path.read_bytes()
    path.unlink()
    path.write_bytes(contents)
    damage(path)
    with pytest.raises(InputError, match=path.name):
        PackedMasks.load(path)
    opened.clear()
    assert torch.equal(cached_masks(data).unpack(), expected_masks())
    assert len(opened) == 4
    assert torch.equal(PackedMasks.load(path).unpack(), expected_masks())


def test_unwritable_cache(builder: BrodenBuilder, tmp_path: Path, monkeypatch, opened: list[Path]):
    """A file in place of the folder, which stops even the superuser."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "file"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(mask_cache.tempfile, "tempdir", str(temporary))
    data = Broden(builder.write())
    for _ in range(2):
        opened.clear()
        with pytest.warns(UserWarning, match=r"file cannot be written.*PYDISSECT_CACHE") as caught:
            masks = cached_masks(data)
        assert len(caught) == 1
        assert len(opened) == 4
        assert list(temporary.iterdir()) == []
        assert torch.equal(masks.unpack(), expected_masks())


def test_the_users_cache_without_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("PYDISSECT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pydissect"


def test_nothing_is_cached_that_was_not_asked_for(builder: BrodenBuilder, cache: Path):
    Broden(builder.write())
    assert not cache.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_failure_leaves_no_file(builder: BrodenBuilder, cache: Path, workers: int):
    path = builder.write() / "images" / "a" / "x_p2.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"x_p2\.png"):
        cached_masks(Broden(builder.folder), workers=workers)
    assert list(cache.iterdir()) == []


def test_interrupt_leaves_no_file(builder: BrodenBuilder, cache: Path):
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_masks(Broden(builder.write()), workers=2, progress=interrupt)
    assert list(cache.iterdir()) == []


def test_failure_keeps_the_old_file(builder: BrodenBuilder, cache: Path):
    data = Broden(builder.write())
    cached_masks(data)
    old = cached_path(data).read_bytes()
    path = builder.folder / "images" / "a" / "x_p2.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"x_p2\.png"):
        cached_masks(Broden(builder.folder))
    assert [p.read_bytes() for p in cache.iterdir()] == [old]


def test_packed_file_of_a_name_of_ones_own(builder: BrodenBuilder, cache: Path, tmp_path: Path):
    pack_dataset(Broden(builder.write()), tmp_path / "mine.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(PackedMasks.load(tmp_path / "mine.safetensors").unpack(), expected_masks())
    assert not cache.exists()


def test_a_dataset_that_is_assumed_unchanged(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", 2)
    data = Broden(tmp_path / "data")
    before = data.assume_unchanged().fingerprint()
    picture = next(data.folder.rglob("*.png"))
    picture.write_bytes(picture.read_bytes() + b"more")
    assert data.fingerprint() == before
    assert Broden(data.folder).fingerprint() != before
