"""Packing bool masks and label maps into bitmaps, on every instruction set."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from engines import Engine, each_cpu_level
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pydissect.categories import Categories
from pydissect.packing import (
    IGNORED,
    UNKNOWN,
    ImageMasks,
    Vocabulary,
    annotated,
    pack_bool,
    pack_labels,
    row_bytes,
)

INTEGERS = [
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.uint32,
    torch.int32,
    torch.uint64,
    torch.int64,
]

sizes = st.tuples(st.integers(1, 7), st.integers(1, 150))


def contents(images: ImageMasks, concepts: int, size: tuple[int, int]) -> Tensor:
    """The bool masks ``[N, concepts, H, W]`` that were packed; their form is checked on the way."""
    H, W = size
    count = len(images.bitmap_offsets) - 1
    assert images.bitmaps.shape == (len(images.concepts), H, row_bytes(W))
    assert len(images.whole_offsets) == count + 1
    assert (images.bitmap_offsets[-1], images.whole_offsets[-1]) == (len(images.concepts), len(images.whole))
    bits = np.unpackbits(images.bitmaps, axis=2, bitorder="little")
    assert not bits[:, :, W:].any()
    assert images.pixels.tolist() == bits.sum((1, 2)).tolist()
    assert all(0 < pixels < H * W for pixels in images.pixels)
    masks = np.zeros((count, concepts, H, W), bool)
    for n in range(count):
        bitmaps, whole = slice(*images.bitmap_offsets[n : n + 2]), slice(*images.whole_offsets[n : n + 2])
        listed, covering = images.concepts[bitmaps].tolist(), images.whole[whole].tolist()
        assert listed == sorted(set(listed))
        assert covering == sorted(set(covering))
        assert not set(listed) & set(covering)
        masks[n, listed] = bits[bitmaps, :, :W]
        masks[n, covering] = True
    return torch.from_numpy(masks)


def inside(values: Tensor, poison: int, steps: tuple[int, ...], permutation: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    """The same values in a larger storage full of another, with gaps between them and axes in another order."""
    sizes = [values.shape[axis] * steps[axis] + 1 for axis in permutation]
    storage = torch.full(sizes, poison, dtype=torch.int64).to(values.dtype)
    view = storage.permute([permutation.index(axis) for axis in range(4)])
    view = view[tuple(slice(0, size * step, step) for size, step in zip(values.shape, steps, strict=True))]
    return view.copy_(values)


ORDERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "contiguous": lambda values, poison: values.contiguous(),
    "padded": lambda values, poison: inside(values, poison, (1, 1, 1, 1)),
    "channels-last": lambda values, poison: values.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "padded-channels-last": lambda values, poison: inside(values, poison, (1, 1, 1, 1), (0, 2, 3, 1)),
    "transposed": lambda values, poison: inside(values, poison, (1, 1, 1, 1), (0, 1, 3, 2)),
    "images-innermost": lambda values, poison: inside(values, poison, (1, 1, 1, 1), (1, 2, 3, 0)),
    "gaps": lambda values, poison: inside(values, poison, (1, 2, 2, 3)),
}
orders = st.sampled_from(list(ORDERS))

# --- bool masks ------------------------------------------------------------------------------------------


@each_cpu_level
@given(
    st.integers(0, 3),
    st.sampled_from([0, 1, 2, 25, 63, 64, 65, 130]),
    sizes,
    orders,
    st.sampled_from([1, 2, 5]),
    st.integers(0, 2**32),
)
def test_pack_bool(
    engine: Engine, images: int, concepts: int, size: tuple[int, int], order: str, threads: int, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    # Of every density, with some masks empty and some full.
    density = torch.randint(0, 5, (images, concepts, 1, 1), generator=generator) / 4
    masks = torch.rand((images, concepts, *size), generator=generator) < density
    with engine.chosen():
        packed = pack_bool(ORDERS[order](masks, 1), threads)
    assert torch.equal(contents(packed, concepts, size), masks)


@each_cpu_level
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "gaps"])
def test_every_byte_but_zero_is_true(engine: Engine, order: str):
    """As in C; torch itself stores 0 and 1, but a view of other bytes may come along."""
    values = (torch.arange(2 * 128).view(2, 1, 2, 64) % 256).to(torch.uint8).expand(2, 3, 2, 64)
    with engine.chosen():
        packed = pack_bool(ORDERS[order](values, 0).view(torch.bool), 1)
    assert torch.equal(contents(packed, 3, (2, 64)), values != 0)


@each_cpu_level
def test_masks_expanded_from_one(engine: Engine):
    mask = torch.rand(1, 1, 1, 100) < 0.5
    with engine.chosen():
        packed = pack_bool(mask.expand(2, 3, 4, 100), 2)
    assert torch.equal(contents(packed, 3, (4, 100)), mask.expand(2, 3, 4, 100))


# --- label maps ------------------------------------------------------------------------------------------


def label_masks(maps: Tensor, vocabulary: Vocabulary, concepts: int) -> tuple[Tensor, list[int]]:
    """Pixel by pixel: the masks that Python finds in label maps ``[N, layers, H, W]``, and the unknown labels."""
    images, _, H, W = maps.shape
    masks = torch.zeros((images, concepts, H, W), dtype=torch.bool)
    unknown = []
    for (n, _, y, x), label in zip(np.ndindex(*maps.shape), maps.numpy().ravel().tolist(), strict=True):
        if label == vocabulary.ignored:
            continue
        place = label - vocabulary.first
        concept = UNKNOWN
        if 0 <= place < vocabulary.size:
            concept = place if vocabulary.lookup is None else int(vocabulary.lookup[place])
        if concept == UNKNOWN:
            unknown.append(label)
        elif concept != IGNORED:
            masks[n, concept, y, x] = True
    return masks, unknown


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[Tensor, int]:
    """Label maps in any order in memory, and a label that some of the pixels have."""
    dtype = draw(st.sampled_from(INTEGERS))
    info = torch.iinfo(dtype)
    low, high = draw(
        st.sampled_from([(0, 3), (0, 24), (-2, 2), (250, 260), (65530, 65535), (info.min, info.min), (info.max,) * 2])
    )
    palette = [label for label in range(low, high + 1) if info.min <= label <= info.max] or [0]
    palette += draw(
        st.lists(st.sampled_from([0, 255, -100, 7]).filter(lambda x: info.min <= x <= info.max), max_size=2)
    )
    shape = (draw(st.integers(0, 3)), draw(st.integers(0, 3)), *draw(sizes))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    # In runs, which end within words and chunks and between them.
    run = draw(st.sampled_from([1, 5, 16, 40, 200]))
    places = random.integers(0, len(palette), (*shape[:3], shape[3] // run + 1)).repeat(run, axis=3)[..., : shape[3]]
    numpy_dtype = str(dtype).removeprefix("torch.")
    maps = torch.from_numpy(np.array(palette, dtype=numpy_dtype)[places])
    return ORDERS[draw(orders)](maps, 1), draw(st.sampled_from(palette))


@each_cpu_level
@given(
    label_maps(),
    st.sampled_from([0, 1, 251, -1, 65530]),
    st.sampled_from([0, 1, 3, 30, 40]),
    st.sampled_from([None, 0, 255, -100, "present", 2**63, -(2**63)]),
    st.sampled_from([1, 3]),
)
def test_pack_labels(
    engine: Engine, drawn: tuple[Tensor, int], first: int, size: int, ignored: int | str | None, threads: int
):
    maps, present = drawn
    vocabulary = Vocabulary(first, size, present if ignored == "present" else ignored)  # type: ignore[arg-type]
    masks, unknown = label_masks(maps, vocabulary, size)
    with engine.chosen():
        packed, range_ = pack_labels(maps, vocabulary, threads)
    assert torch.equal(contents(packed, size, tuple(maps.shape[2:])), masks)
    assert range_ == ((min(unknown), max(unknown)) if unknown else None)


@each_cpu_level
@given(label_maps(), st.integers(0, 30), st.lists(st.integers(0, 8), max_size=3), st.integers(0, 2**32))
def test_pack_labels_with_a_lookup(engine: Engine, drawn: tuple[Tensor, int], size: int, whole: list[int], seed: int):
    """Several labels of one concept, labels without one, and concepts that cover every image besides."""
    maps, _ = drawn
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary.of(random.choice(np.array([IGNORED, UNKNOWN, 8, 3, 0, 5], np.int32), size))
    masks, unknown = label_masks(maps, vocabulary, 9)
    masks[:, whole] = True
    with engine.chosen():
        packed, range_ = pack_labels(maps, vocabulary, 2, whole)
    assert torch.equal(contents(packed, 9, tuple(maps.shape[2:])), masks)
    assert range_ == ((min(unknown), max(unknown)) if unknown else None)


@each_cpu_level
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_the_ends_of_a_dtype_are_unknown_or_ignored(engine: Engine, dtype: torch.dtype):
    info = torch.iinfo(dtype)
    maps = torch.from_numpy(np.array([[[[1, info.min, info.max, 2]]]], str(dtype).removeprefix("torch.")))
    for ignored in (info.min, info.max):
        with engine.chosen():
            packed, unknown = pack_labels(maps, Vocabulary(1, 2, ignored), 1)
        other = info.min + info.max - ignored
        assert unknown == (other, other)
        assert packed.concepts.tolist() == [0, 1]


@each_cpu_level
@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64], ids=str)
def test_every_label_of_16_bits(engine: Engine, dtype: torch.dtype):
    maps = torch.arange(2**16).view(1, 1, 512, 128).to(dtype)
    lookup = np.full(2**16, IGNORED, np.int32)
    lookup[[0, 255, 256, 65535]] = [3, 2, 1, 0]
    with engine.chosen():
        packed, unknown = pack_labels(maps, Vocabulary.of(lookup), 1)
    assert unknown is None
    expected = torch.stack([(maps[0, 0].long() == label) for label in (65535, 256, 255, 0)])
    assert torch.equal(contents(packed, 4, (512, 128)), expected[None])


# --- what is annotated -----------------------------------------------------------------------------------


def test_annotated():
    categories = Categories.of(["object", "scene", "color"])
    concepts, whole = np.array([0, 2, 0], np.int32), np.array([1, 2], np.int32)
    fields = np.array([0, 1, 3, 3, 3]), concepts, np.array([0, 0, 0, 1, 2]), whole
    assert annotated(categories, *fields).tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert annotated(Categories.single(3), *fields).tolist() == [[1]] * 4
    nothing = np.zeros(3, np.int64), concepts[:0], np.zeros(3, np.int64), whole[:0]
    assert annotated(categories, *nothing).tolist() == [[0, 0, 0]] * 2
    assert annotated(Categories.single(3), *nothing).tolist() == [[1]] * 2


@pytest.mark.parametrize(("width", "expected"), [(1, 2), (16, 2), (17, 4), (112, 14), (113, 16)])
def test_row_bytes(width: int, expected: int):
    assert row_bytes(width) == expected
