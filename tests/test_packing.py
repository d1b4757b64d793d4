"""Packing the labels of one image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydissect.categories import Categories
from pydissect.errors import InputError
from pydissect.packing import IGNORED, UNKNOWN, annotated, canonical, pack_labels, row_bytes


@given(
    st.integers(0, 3),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from([1, 5, 16, 40]),
)
def test_packs_every_layer(layers: int, H: int, W: int, seed: int, run: int):
    """Labels in runs of ``run`` pixels, which end within and between words, against a loop over concepts."""
    random = np.random.default_rng(seed)
    maps = random.integers(0, 6, (layers, H, W // run + 1)).repeat(run, axis=2)[:, :, :W]
    lookup = np.array([IGNORED, 3, 0, IGNORED, 7, 3], np.int32)  # two labels of one concept
    whole = np.array([5, 0], np.int32)[: random.integers(0, 3)]
    image = pack_labels(maps, lookup, whole)
    listed = dict(zip(image.concepts.tolist(), range(len(image.concepts)), strict=True))
    for concept in range(9):
        expected = (lookup[maps] == concept).any(0) | (concept in whole)
        if expected.all():
            assert concept in image.whole
        assert (concept in listed) == (expected.any() and not expected.all())
        if concept in listed:
            bits = np.unpackbits(image.bitmaps[listed[concept]], axis=1, bitorder="little")
            assert np.array_equal(bits[:, :W], expected)
            assert not bits[:, W:].any()
            assert image.pixels[listed[concept]] == expected.sum()
    assert image.concepts.tolist() == sorted(image.concepts.tolist())
    assert image.whole.tolist() == sorted(set(image.whole.tolist()))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_dtypes_and_views(dtype: type):
    maps = (np.arange(60).reshape(1, 6, 10) % 3).astype(dtype)
    lookup = np.array([IGNORED, 0, 1], np.int32)
    for view in (maps, maps[:, ::-1], maps.transpose(0, 2, 1), maps[:, :, ::3]):
        image = pack_labels(view, lookup)
        assert image.pixels.tolist() == [(view == 1).sum(), (view == 2).sum()]


@pytest.mark.parametrize(
    ("label", "lookup"),
    [
        (9, [IGNORED, 0]),
        (2, [IGNORED, 0]),
        (-1, [IGNORED, 0]),
        (1, [IGNORED, UNKNOWN]),
        (-(2**31), [IGNORED]),
        (0, []),
    ],
)
def test_an_unknown_label_is_named(label: int, lookup: list[int]):
    maps = np.full((2, 3, 20), label, np.int32)
    maps[0] = 0
    with pytest.raises(InputError, match=f"unknown label {label}"):
        pack_labels(maps, np.array(lookup, np.int32))


def test_canonical_form():
    """A bitmap of a concept that covers the image anyway is dropped, as are empty ones."""
    concepts, pixels = np.array([1, 2, 4, 6], np.int32), np.array([3, 0, 6, 2], np.int32)
    bitmaps = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)
    image = canonical(concepts, pixels, bitmaps, np.array([6, 0], np.int32), (2, 3))
    assert image.concepts.tolist() == [1]
    assert image.pixels.tolist() == [3]
    assert image.bitmaps.tolist() == bitmaps[:1].tolist()
    assert image.whole.tolist() == [0, 4, 6]
    assert image.whole.dtype == np.int32


def test_annotated():
    lookup = np.array([IGNORED, 0, 1, 2], np.int32)
    categories = Categories.of(["object", "scene", "color"])
    maps = np.array([[[0, 1, 1]]])
    assert annotated(categories, pack_labels(maps, lookup)).tolist() == [1, 0, 0]
    assert annotated(categories, pack_labels(maps, lookup, np.array([1], np.int32))).tolist() == [1, 1, 0]
    assert annotated(categories, pack_labels(maps * 0 + 3, lookup)).tolist() == [0, 0, 1]
    assert annotated(categories, pack_labels(maps * 0, lookup)).tolist() == [0, 0, 0]
    assert annotated(Categories.single(3), pack_labels(maps * 0, lookup)).tolist() == [1]


@pytest.mark.parametrize(("width", "expected"), [(1, 2), (16, 2), (17, 4), (112, 14), (113, 16)])
def test_row_bytes(width: int, expected: int):
    assert row_bytes(width) == expected
