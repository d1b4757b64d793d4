"""Packing in operations of torch, as on a GPU: the same masks as the CPU's packing, in every field."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases
from torch import Tensor

from pydissect import packing_device
from pydissect.categories import Categories
from pydissect.masks import PackedMasks
from pydissect.packing import Vocabulary, pack_labels
from pydissect.packing_device import pack_bool_on_device, pack_labels_on_device

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def check_equal(packed: PackedMasks, expected: PackedMasks) -> None:
    assert packed.size == expected.size
    assert packed.categories == expected.categories
    for name, value in vars(expected).items():
        if isinstance(value, Tensor):
            mine = getattr(packed, name).cpu()
            assert mine.dtype == value.dtype, name
            assert torch.equal(mine, value), name


@given(cases())
def test_bool(case: Case):
    expected = PackedMasks.from_bool(case.masks, case.category_names)
    packed = PackedMasks._from_device(
        pack_bool_on_device(case.masks), len(case.masks), expected.size, expected.categories
    )
    check_equal(packed, expected)


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9), st.integers(1, 40)),
    dtype=st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64]),
    vocabulary=st.builds(Vocabulary, st.integers(0, 1), st.integers(0, 6), st.sampled_from([None, 0, 3, 7]), st.none()),
    seed=st.integers(0, 2**16),
)
def test_labels(shape: tuple[int, ...], dtype: torch.dtype, vocabulary: Vocabulary, seed: int):
    maps = torch.randint(0, 8, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    maps[:1] = maps[:1, :, :1, :1]  # an image of one label
    images, unknown = pack_labels(maps, vocabulary, 1)
    mine, my_unknown = pack_labels_on_device(maps, vocabulary)
    assert my_unknown == unknown
    size, categories = (shape[2], shape[3]), Categories.single(vocabulary.size)
    check_equal(
        PackedMasks._from_device(mine, shape[0], size, categories), PackedMasks._from_images(images, size, categories)
    )


def test_in_several_parts(monkeypatch: pytest.MonkeyPatch):
    masks = torch.rand(4, 5, 6, 21, generator=torch.Generator().manual_seed(0)) > 0.5
    whole = pack_bool_on_device(masks)
    monkeypatch.setattr(packing_device, "_CHUNK_BYTES", 3 * 8 * 6 * 21)
    for mine, theirs in zip(pack_bool_on_device(masks), whole, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("images", [1, 3])
def test_labels_in_several_parts(images: int, monkeypatch: pytest.MonkeyPatch):
    maps = torch.randint(0, 8, (7, 2, 6, 21), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    maps[3] = 2
    vocabulary = Vocabulary(1, 4, 0, None)
    whole, unknown = pack_labels_on_device(maps, vocabulary)
    monkeypatch.setattr(packing_device, "_CHUNK_BYTES", images * 8 * 2 * 6 * 21)
    parts, my_unknown = pack_labels_on_device(maps, vocabulary)
    assert my_unknown == unknown == (5, 7)
    for mine, theirs in zip(parts, whole, strict=True):
        assert torch.equal(mine, theirs)


@CUDA
@pytest.mark.parametrize("layers", [0, 2])
def test_on_the_gpu(layers: int):
    masks = torch.rand(4, 5, 16, 21) > 0.5
    check_equal(PackedMasks.from_bool(masks.cuda()), PackedMasks.from_bool(masks))
    maps = torch.randint(0, 6, (4, *([layers] if layers else []), 16, 21))
    packed = PackedMasks.from_labels(maps.cuda())
    assert packed.device.type == "cuda"
    check_equal(packed, PackedMasks.from_labels(maps))
