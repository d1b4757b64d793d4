"""Shards: what is cut, and that all that a dissection gives is the same from any number of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from broden_builder import BrodenBuilder, photo
from command import write_models
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pydissect import Broden, Dissection, InputError, OnePass, dissect
from pydissect.candidate_store import CandidateStore
from pydissect.models import build_model
from pydissect.normalize import Normalization
from pydissect.passes import Settings
from pydissect.picture_batches import PictureBatches
from pydissect.progress import silent
from pydissect.scans.shards import cut
from pydissect.sharding import count_shards, keep_shard
from pydissect.sources import BrodenSource

IMAGES = 11


def many_images(folder: Path) -> BrodenBuilder:
    """As the usual tiny dataset, with more photos."""
    builder = BrodenBuilder(folder)
    letters = "abcdefghijk"[:IMAGES]
    builder.photos.update({name: photo(name) for name in letters})
    rows = builder.index
    builder.index = [{**rows[i % 3], "image": f"a/{name}.png"} for i, name in enumerate(letters)]
    builder.write()
    return builder


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BrodenBuilder:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return many_images(tmp_path / "data")


@given(images=st.integers(1, 500), batch_size=st.integers(1, 40), shards=st.integers(1, 60))
def test_shards_are_whole_batches(images: int, batch_size: int, shards: int):
    found = cut(images, batch_size, shards)
    assert [i for part in found for i in part] == list(range(images))
    assert len(found) == min(shards, -(-images // batch_size))
    assert all(part.start % batch_size == 0 for part in found)
    batches = [-(-len(part) // batch_size) for part in found]
    assert min(batches) >= 1
    assert max(batches) - min(batches) <= 1


def arguments(batch_size: int, image_cache: bool = True) -> dict[str, Any]:
    return {
        "normalization": Normalization.parse("none"),
        "input_size": None,
        "batch_size": batch_size,
        "workers": 2,
        "image_cache": image_cache,
    }


def chosen(**more: Any) -> Settings:
    settings = Settings(0.1, 0.04, "category", "half_pixel", "fp32", "error", "auto", top_images=4, per_image=True)
    return replace(settings, **more)


def in_shards(
    model: nn.Module,
    data: Broden,
    layers: list[str],
    shards: int,
    folder: Path,
    batch_size: int,
    limit: int | None = None,
    **more: Any,
) -> Dissection:
    """As ``dissect``, a shard after the other, each through a file."""
    number_of_images = limit or len(data)
    settings = chosen(**more)
    pictures = arguments(batch_size)
    merged: dict[str, OnePass] = {}
    for number, images in enumerate(cut(number_of_images, batch_size, shards)):
        store = CandidateStore(500)
        batches = PictureBatches(data, images, fingerprint=data.fingerprint(), **pictures)
        device = torch.device("cpu")
        ones = keep_shard(model, batches, layers, settings, images=number_of_images, device=device, store=store)
        for layer, one in ones.items():
            path = folder / f"{layer}-{number}"
            one.save(path)
            loaded = OnePass.load(path)
            merged[layer] = merged[layer].merge(loaded) if layer in merged else loaded
        store.close()
    source = BrodenSource(data, limit=limit, progress=silent, **pictures)
    return count_shards(source, merged, settings, torch.device("cpu"))


def everything(result: Dissection) -> Iterator[tuple[str, Tensor]]:
    for name, layer in result.layers.items():
        yield f"{name} thresholds", layer.thresholds
        for counter in ("intersection", "unit_area", "unit_area_all", "concept_area"):
            yield f"{name} {counter}", getattr(layer.counts, counter)
        yield f"{name} images of concepts", layer.concept_images
        for what in ("values", "images", "places"):
            yield f"{name} top {what}", getattr(layer.top, what)
        assert layer.per_image is not None
        yield f"{name} areas", layer.per_image.areas
        yield f"{name} intersections", layer.per_image.intersections


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_all_is_the_same(builder: BrodenBuilder, shards: int, batch_size: int):
    """Of two layers at two quantiles: thresholds, counts, top images, and the counts of each image."""
    model, data = build_model(f"{write_models(builder.folder.parent)}:net"), Broden(builder.folder)
    layers, quantile = ["mix", "coarse"], [0.1, 0.02]
    whole = dissect(
        model,
        data,
        layers,
        quantile=quantile,
        normalize="none",
        batch_size=batch_size,
        top_images=4,
        per_image=True,
    )
    found = in_shards(model, data, layers, shards, builder.folder.parent, batch_size, quantile=quantile)
    assert list(found) == list(whole) == ["mix@0.1", "mix@0.02", "coarse@0.1", "coarse@0.02"]
    for (name, wanted), (_, tensor) in zip(everything(whole), everything(found), strict=True):
        assert torch.equal(tensor, wanted), name
    for name in whole:
        assert found[name].unit_rows() == whole[name].unit_rows()
        assert found[name].concept_rows() == whole[name].concept_rows()
        assert found[name].top_image_rows() == whole[name].top_image_rows()


def test_a_nonfinite_activation_is_named_by_its_image(builder: BrodenBuilder):
    from PIL import Image

    Image.new("RGB", (12, 8), (255, 255, 255)).save(builder.pictures / "h.png")
    model, data = build_model(f"{write_models(builder.folder.parent)}:nan"), Broden(builder.folder)
    with pytest.raises(InputError, match=r"layer 'spoil': unit 2 has a non-finite activation .* on image a/h\.png"):
        in_shards(model, data, ["spoil"], 4, builder.folder.parent, 1)
    found = in_shards(model, data, ["spoil"], 4, builder.folder.parent, 1, nonfinite="off")
    whole = dissect(model, data, "spoil", quantile=0.1, normalize="none", batch_size=1, nonfinite="off")
    assert found["spoil"].unit_rows() == whole["spoil"].unit_rows()


def test_a_shard_that_is_missing_is_noticed(builder: BrodenBuilder):
    model, data = build_model(f"{write_models(builder.folder.parent)}:net"), Broden(builder.folder)
    settings, pictures = chosen(), arguments(4, image_cache=False)
    batches = PictureBatches(data, range(8), fingerprint=data.fingerprint(), **pictures)
    device = torch.device("cpu")
    ones = keep_shard(model, batches, ["mix"], settings, images=IMAGES, device=device, store=CandidateStore())
    source = BrodenSource(data, limit=None, progress=silent, **pictures)
    with pytest.raises(InputError, match="n_values: expected 264 activations a unit, found 192"):
        count_shards(source, ones, settings, device)


def test_pictures_of_shards_come_from_the_cache(builder: BrodenBuilder, monkeypatch: pytest.MonkeyPatch):
    """A shard keeps its own, unless all are there."""
    data, decoded = Broden(builder.folder), []
    read = Broden.read_image
    monkeypatch.setattr(Broden, "read_image", lambda self, i, size: decoded.append(i) or read(self, i, size))
    ends = [0, 4, 6, IMAGES]
    parts = [range(begin, end) for begin, end in pairwise(ends)]

    def pictures(rows: range) -> Tensor:
        found = PictureBatches(data, rows, fingerprint=data.fingerprint(), **arguments(2))
        batches = list(found)
        assert [i for numbers, _ in batches for i in numbers] == list(rows)
        joined = torch.cat([images for _, images in batches])
        assert torch.equal(found.example(), joined[:1])
        return joined

    for _ in range(2):
        shards = torch.cat([pictures(rows) for rows in parts])
        assert sorted(decoded) == list(range(IMAGES))
    decoded.clear()
    assert torch.equal(pictures(range(IMAGES)), shards)
    assert sorted(decoded) == list(range(IMAGES))
    decoded.clear()
    assert torch.equal(pictures(range(3, 9)), shards[3:9])
    assert decoded == []
