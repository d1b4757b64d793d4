"""Packed masks: packing, selecting, files."""

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import Engine, each_cpu_level, threads
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from strategies import Case, cases, make_case, make_masks
from torch import Tensor

from pydissect.categories import Categories
from pydissect.errors import InputError
from pydissect.mask_file import VERSION, MaskWriter
from pydissect.masks import PackedMasks, as_masks
from pydissect.packing import row_bytes

INTEGERS = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
]

# --- bool masks ------------------------------------------------------------------------------------------


@given(cases())
def test_from_bool_holds_the_same_masks(case: Case):
    packed = PackedMasks.from_bool(case.masks, case.category_names)
    assert len(packed) == len(case.masks)
    assert packed.size == tuple(case.masks.shape[2:])
    assert packed.num_concepts == case.masks.shape[1]
    assert torch.equal(packed.unpack(), case.masks)
    assert packed.concept_area().tolist() == case.masks.sum((0, 2, 3)).tolist()
    assert packed.concept_images().tolist() == case.masks.flatten(2).any(2).sum(0).tolist()
    assert torch.equal(packed.annotated.bool(), case.annotated)
    check_canonical(packed)


def check_canonical(packed: PackedMasks) -> None:
    """Bits are where the documentation says, and nothing is kept that need not be."""
    H, W = packed.size
    bits = np.unpackbits(packed.bitmaps.numpy(), axis=2, bitorder="little")
    assert packed.bitmaps.shape == (len(packed.bitmap_concepts), H, row_bytes(W))
    assert not bits[:, :, W:].any()
    assert bits.sum((1, 2)).tolist() == packed.bitmap_pixels.tolist()
    assert all(0 < pixels < H * W for pixels in packed.bitmap_pixels.tolist())
    masks = packed.unpack()
    for n in range(len(packed)):
        bitmaps, whole = slice(*packed.bitmap_ranges[n].tolist()), slice(*packed.whole_ranges[n].tolist())
        concepts, covering = packed.bitmap_concepts[bitmaps].tolist(), packed.whole_concepts[whole].tolist()
        assert concepts == sorted(set(concepts))
        assert covering == sorted(set(covering))
        assert not set(concepts) & set(covering)
        for concept, bitmap in zip(concepts, bits[bitmaps], strict=True):
            assert np.array_equal(bitmap[:, :W], masks[n, concept].numpy())


@pytest.mark.parametrize("width", [1, 15, 16, 17, 32, 33, 61, 113])
def test_row_bytes_are_whole_16_bit_words(width: int):
    assert row_bytes(width) == 2 * -(-width // 16)


@each_cpu_level
@pytest.mark.parametrize("number", [1, 2, 5])
def test_from_bool_of_any_strides_and_threads(engine: Engine, number: int):
    masks = make_masks(3, 7, (9, 21))
    with engine.chosen(), threads(number):
        for view in (masks, masks.to(memory_format=torch.channels_last), masks.expand(3, 7, 9, 21)):
            assert torch.equal(PackedMasks.from_bool(view).unpack(), masks)
        assert torch.equal(PackedMasks.from_bool(masks.transpose(2, 3)).unpack(), masks.transpose(2, 3))
        assert torch.equal(PackedMasks.from_bool(masks[:, ::2, 1:, ::3]).unpack(), masks[:, ::2, 1:, ::3])
        assert torch.equal(PackedMasks.from_bool(masks.numpy()[:, ::-1]).unpack(), masks.flip(1))
        one_hot = torch.nn.functional.one_hot(masks.sum(1), 8).bool().permute(0, 3, 1, 2)
        assert torch.equal(PackedMasks.from_bool(one_hot).unpack(), one_hot)


@pytest.mark.parametrize(
    ("masks", "found"),
    [
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), "uint8 [2, 3, 4, 5]"),
        (torch.zeros(2, 3, 4, 5), "float32 [2, 3, 4, 5]"),
        (torch.zeros(3, 4, 5, dtype=torch.bool), "bool [3, 4, 5]"),
        (torch.zeros(2, 3, 0, 5, dtype=torch.bool), "bool [2, 3, 0, 5]"),
        (torch.zeros(2, 3, 4, 0, dtype=torch.bool), "bool [2, 3, 4, 0]"),
    ],
)
def test_from_bool_refuses(masks: Tensor, found: str):
    with pytest.raises(InputError, match=r"masks: expected bool \[N, C, H, W\], found ") as error:
        PackedMasks.from_bool(masks)
    assert found in str(error.value)
    assert ".bool()" in str(error.value)


# --- label maps ------------------------------------------------------------------------------------------


def naive_labels(maps: Tensor, concepts: int, ignore_index: int) -> Tensor:
    """Concept by concept: is it the label of any layer?"""
    layers = maps.long() if maps.ndim == 4 else maps.long()[:, None]
    first = 1 if ignore_index == 0 else 0
    rows = [((layers == c + first) & (layers != ignore_index)).any(1) for c in range(concepts)]
    if not rows:
        return torch.zeros((len(maps), 0, *maps.shape[-2:]), dtype=torch.bool)
    return torch.stack(rows, dim=1)


@each_cpu_level
@given(
    st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64]),
    st.integers(0, 3),
    st.sampled_from([None, 0, 1, 2, 3]),
    st.tuples(st.integers(1, 20), st.integers(1, 150)),
    st.integers(0, 40),
    st.sampled_from([0, 255, 7, -100]),
    st.integers(0, 2**32),
)
def test_from_labels(
    engine: Engine,
    dtype: torch.dtype,
    images: int,
    layers: int | None,
    size: tuple,
    concepts: int,
    ignore_index: int,
    seed: int,
):
    generator = torch.Generator().manual_seed(seed)
    shape = (images, *size) if layers is None else (images, layers, *size)
    first = 1 if ignore_index == 0 else 0
    # Coarse, so that there are runs; two thirds are unlabelled.
    labels = torch.randint(0, max(concepts, 1), shape, generator=generator) + first
    labels = labels[..., torch.arange(size[1]) // 3]
    unlabelled = (torch.rand(shape, generator=generator) < 0.6) | (concepts == 0)
    assume(torch.iinfo(dtype).min <= ignore_index <= torch.iinfo(dtype).max)
    maps = torch.where(unlabelled, ignore_index, labels).to(dtype)
    with engine.chosen():
        packed = PackedMasks.from_labels(maps, concepts, ignore_index)
    assert torch.equal(packed.unpack(), naive_labels(maps, concepts, ignore_index))
    check_canonical(packed)
    assert packed.annotated.tolist() == [[1]] * images


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("ignore_index", [0, 100])
def test_from_labels_of_any_integers(dtype: torch.dtype, ignore_index: int):
    values = [[0, 1, 2], [100, 2, 2]] if ignore_index else [[0, 1, 2], [3, 2, 2]]
    maps = torch.tensor([values]).to(dtype)
    packed = PackedMasks.from_labels(maps, ignore_index=ignore_index)
    assert packed.num_concepts == 3
    assert torch.equal(packed.unpack(), naive_labels(torch.tensor([values]), 3, ignore_index))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int64, torch.uint8], ids=str)
@pytest.mark.parametrize("ignore_index", [-1, -100, 255])
def test_ignore_index(ignore_index: int, dtype: torch.dtype):
    """Also one that the dtype cannot hold, which no pixel then has."""
    info = torch.iinfo(dtype)
    unlabelled = ignore_index if info.min <= ignore_index <= info.max else 1
    maps = torch.tensor([[[0, unlabelled, 2], [2, unlabelled, 0]]]).to(dtype)
    packed = PackedMasks.from_labels(maps, 3, ignore_index=ignore_index)
    assert torch.equal(packed.unpack(), naive_labels(maps, 3, ignore_index))
    assert packed.concept_area().tolist() == [2, 2 if unlabelled == 1 else 0, 2]


@pytest.mark.parametrize("ignore_index", [0, 255])
def test_the_largest_label_decides(ignore_index: int):
    """Also where it is a whole image's, and with labels of more than 8 bits."""
    maps = torch.tensor([[[1, 2, 1]], [[65535, 65535, 65535]]], dtype=torch.int32)
    packed = PackedMasks.from_labels(maps, ignore_index=ignore_index)
    assert packed.num_concepts == 65535 + (ignore_index != 0)
    assert packed.bitmap_concepts.tolist() == ([0, 1] if ignore_index == 0 else [1, 2])
    assert packed.whole_concepts.tolist() == [packed.num_concepts - 1]


def test_a_label_in_two_layers_counts_once():
    first = torch.tensor([[1, 1, 0], [2, 0, 0]])
    second = torch.tensor([[1, 2, 2], [2, 0, 1]])
    packed = PackedMasks.from_labels(torch.stack([first, second])[None])
    assert packed.concept_area().tolist() == [3, 3]
    assert torch.equal(packed.unpack()[0, 0], (first == 1) | (second == 1))


def test_a_label_everywhere_has_no_bitmap():
    maps = torch.tensor([[[[2, 2], [2, 2]], [[1, 0], [0, 0]]], [[[0, 0], [0, 0]], [[0, 0], [1, 1]]]])
    packed = PackedMasks.from_labels(maps)
    assert packed.whole_concepts.tolist() == [1]
    assert packed.whole_ranges.tolist() == [[0, 1], [1, 1]]
    assert packed.bitmap_concepts.tolist() == [0, 0]
    assert packed.concept_area().tolist() == [3, 4]
    assert packed.concept_images().tolist() == [2, 1]


def test_labels_without_any_pixel():
    packed = PackedMasks.from_labels(torch.zeros(2, 3, 4, dtype=torch.uint8))
    assert packed.num_concepts == 0
    assert packed.unpack().shape == (2, 0, 3, 4)
    packed = PackedMasks.from_labels(torch.zeros(2, 3, 4, dtype=torch.uint8), num_concepts=5)
    assert packed.concept_images().tolist() == [0] * 5


@pytest.mark.parametrize("layers", [None, 0, 2])
def test_labels_of_no_image(layers: int | None):
    shape = (0, 3, 4) if layers is None else (0, layers, 3, 4)
    packed = PackedMasks.from_labels(torch.zeros(shape, dtype=torch.int64), num_concepts=5)
    assert len(packed) == 0
    assert packed.unpack().shape == (0, 5, 3, 4)


@pytest.mark.parametrize(
    ("maps", "concepts", "ignore_index", "message"),
    [
        ([[[0, 4]]], 3, 0, "masks: expected labels 1 to 3 for 3 concepts, or 0 for unlabelled, found 4"),
        ([[[0, -1]]], 3, 0, "masks: expected labels 1 to 3 for 3 concepts, or 0 for unlabelled, found -1"),
        ([[[0, -1]]], None, 0, "or 0 for unlabelled, found -1"),
        ([[[0, 3]]], 3, 255, "masks: expected labels 0 to 2 for 3 concepts, or 255 for unlabelled, found 3"),
        (
            [[[0, -1]]],
            3,
            -100,
            "masks: expected labels 0 to 2 for 3 concepts, or -100 for unlabelled, found -1",
        ),
        ([[[-7, -1]]], None, 0, "expected labels 1 to 0 for 0 concepts, or 0 for unlabelled, found -7"),
        ([[[9, -1]]], None, 0, "expected labels 1 to 9 for 9 concepts, or 0 for unlabelled, found -1"),
        ([[[9, 5]]], 3, 0, "expected labels 1 to 3 for 3 concepts, or 0 for unlabelled, found 9"),
        ([[[0, 1]]], 0, 0, "for 0 concepts, or 0 for unlabelled, found 1"),
        (
            [[[0, 2**32 - 1]]],
            None,
            0,
            "expected num_concepts with labels above 16777216, found label 4294967295",
        ),
        ([[[0, 2**40]]], 3, 0, "found 1099511627776"),
    ],
)
def test_a_label_out_of_range_is_refused(maps: list, concepts: int | None, ignore_index: int, message: str):
    with pytest.raises(InputError) as error:
        PackedMasks.from_labels(torch.tensor(maps), concepts, ignore_index)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("maps", "found"),
    [
        (torch.zeros(2, 4, 5), "float32 [2, 4, 5]"),
        (torch.zeros(2, 4, 5, dtype=torch.bool), "bool [2, 4, 5]"),
        (torch.zeros(2, 4, 5, dtype=torch.complex64), "complex64 [2, 4, 5]"),
        (torch.zeros(4, 5, dtype=torch.int64), "int64 [4, 5]"),
        (torch.zeros(1, 1, 1, 4, 5, dtype=torch.int64), "int64 [1, 1, 1, 4, 5]"),
        (torch.zeros(2, 0, 5, dtype=torch.int64), "int64 [2, 0, 5]"),
    ],
)
def test_from_labels_refuses(maps: Tensor, found: str):
    with pytest.raises(InputError, match="masks: expected ") as error:
        PackedMasks.from_labels(maps)
    assert found in str(error.value)


# --- categories ------------------------------------------------------------------------------------------


def test_annotated_is_where_a_concept_of_the_category_is():
    masks = torch.zeros((4, 3, 2, 2), dtype=torch.bool)
    masks[0, 0, 0, 0] = True  # object
    masks[1, 1] = True  # scene, all over
    masks[2, 2, 1, 1] = masks[2, 1, 0, 0] = True  # object and scene
    packed = PackedMasks.from_bool(masks, ["object", "scene", "object"])
    assert packed.categories.names == ("object", "scene")
    assert packed.annotated.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]
    assert PackedMasks.from_bool(masks).annotated.tolist() == [[1]] * 4


@pytest.mark.parametrize("pack", [PackedMasks.from_bool, lambda m, c: PackedMasks.from_labels(m[:, 0].byte(), 3, 0, c)])
def test_categories_of_another_number_of_concepts(pack: Callable):
    masks = torch.ones((2, 3, 4, 5), dtype=torch.bool)
    for categories in (["a", "b"], Categories.single(4)):
        with pytest.raises(InputError, match=r"categories: expected one name for each of the 3 concepts, found [24]"):
            pack(masks, categories)


# --- selecting images ------------------------------------------------------------------------------------

SELECTIONS: list[tuple[str, object]] = [
    ("first", slice(0, 1)),
    ("none", slice(2, 2)),
    ("all", slice(None)),
    ("last", slice(-2, None)),
    ("steps", slice(None, None, 2)),
    ("list", [3, 0, 3]),
    ("empty-list", []),
    ("tuple", (1, 2)),
    ("negative", [-1]),
    ("bools", [True, False, True, False, False]),
    ("tensor", torch.tensor([4, 1])),
    ("array", np.array([4, 1])),
]


@pytest.mark.parametrize("selection", [s for _, s in SELECTIONS], ids=[name for name, _ in SELECTIONS])
def test_selects_images(selection: object):
    case = make_case(images=5, present=(3, 0, 5, 1, 4), concepts=6)
    indices = list(selection) if isinstance(selection, tuple) else selection
    chosen = case.packed[selection]  # type: ignore[index]
    expected = case.masks[indices if len(np.atleast_1d(indices)) else slice(0, 0)]  # type: ignore[arg-type]
    assert len(chosen) == len(expected)
    assert torch.equal(chosen.unpack(), expected)
    assert chosen.concept_area().tolist() == expected.sum((0, 2, 3)).tolist()
    assert chosen.concept_images().tolist() == expected.flatten(2).any(2).sum(0).tolist()
    assert chosen.bitmaps is case.packed.bitmaps
    compact = chosen.compact()
    assert torch.equal(compact.unpack(), expected)
    assert torch.equal(compact.annotated, chosen.annotated)
    check_canonical(compact)
    ranges = compact.bitmap_ranges.flatten().tolist(), compact.whole_ranges.flatten().tolist()
    assert all(numbers == sorted(numbers) and numbers[:1] in ([], [0]) for numbers in ranges)
    assert len(compact.bitmaps) == sum(0 < pixels < expected[0, 0].numel() for pixels in expected.sum((2, 3)).flatten())
    assert len(compact.whole_concepts) == int(expected.flatten(2).all(2).sum())


@pytest.mark.parametrize("selection", [slice(1, 4), [4, 0]], ids=str)
def test_only_selected_images_move_to_another_device(selection: slice | Sequence[int]):
    chosen = make_case(images=5, present=(3, 0, 5, 1, 4), concepts=6).packed[selection]
    moved = chosen.to("meta")
    assert moved.device == torch.device("meta")
    assert moved.bitmaps.shape == chosen.compact().bitmaps.shape
    assert moved.nbytes == chosen.compact().nbytes


def test_consecutive_images_are_made_compact_without_a_copy():
    packed = make_case(images=5, present=(3, 2, 5, 1, 4), concepts=6).packed
    first = int(packed.bitmap_ranges[1, 0])
    assert packed[1:4].compact().bitmaps.data_ptr() == packed.bitmaps[first:].data_ptr()


def test_selects_of_a_selection():
    case = make_case(images=5)
    assert torch.equal(case.packed[[4, 2, 0]][1:].unpack(), case.masks[[2, 0]])


@pytest.mark.parametrize("selection", [0, -1, torch.tensor(2), torch.zeros(2, 2, dtype=torch.int64)], ids=str)
def test_one_image_must_be_a_slice(selection: object):
    """Else ``masks[0]`` would be masks of two images that do not exist, and loops would never end."""
    packed = make_case(images=5).packed
    with pytest.raises(TypeError, match="expected a slice or a sequence of indices"):
        packed[selection]  # type: ignore[index]
    with pytest.raises(TypeError):
        next(iter(packed))  # type: ignore[call-overload]


def test_an_image_that_is_not_there():
    with pytest.raises(IndexError):
        make_case(images=3).packed[[3]]


def test_repr_and_device():
    packed = make_case(images=3, concepts=4, size=(10, 20)).packed
    assert repr(packed) == "PackedMasks(3 images, 4 concepts, 10 x 20 pixels, cpu)"
    assert packed.to("cpu") is packed
    assert packed.to("meta").device == torch.device("meta")


# --- files -----------------------------------------------------------------------------------------------


def equal(mine: PackedMasks, theirs: PackedMasks) -> bool:
    tensors = (
        "bitmap_ranges",
        "bitmap_concepts",
        "bitmap_pixels",
        "bitmaps",
        "whole_ranges",
        "whole_concepts",
        "annotated",
    )
    return (
        mine.size == theirs.size
        and mine.categories == theirs.categories
        and all(torch.equal(getattr(mine, name), getattr(theirs, name)) for name in tensors)
    )


@given(cases())
def test_save_and_load(tmp_path_factory: pytest.TempPathFactory, case: Case):
    path = tmp_path_factory.mktemp("masks") / "masks.safetensors"
    case.packed.save(path)
    loaded = PackedMasks.load(path)
    assert equal(loaded, case.packed)
    assert torch.equal(loaded.unpack(), case.masks)
    assert [entry.name for entry in path.parent.iterdir()] == ["masks.safetensors"]


@pytest.mark.parametrize("selection", [slice(1, 4), [4, 0, 0], []], ids=str)
def test_save_a_selection(tmp_path: Path, selection: slice | Sequence[int]):
    case = make_case(images=5, present=(3, 0, 5, 1, 4))
    case.packed[selection].save(tmp_path / "masks")
    expected = case.masks[selection] if isinstance(selection, slice) or selection else case.masks[:0]
    assert equal(PackedMasks.load(tmp_path / "masks"), PackedMasks.from_bool(expected, case.category_names))


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (5, 16), (113, 113)])
def test_tensors_are_aligned(tmp_path: Path, size: tuple[int, int]):
    """The kernels read 16-bit words and int64, straight from the file's memory map."""
    PackedMasks.from_bool(make_masks(3, 3, size, whole=False)).save(tmp_path / "masks")
    loaded = PackedMasks.load(tmp_path / "masks")
    for name in ("bitmaps", "bitmap_concepts", "whole_concepts", "annotated"):
        tensor = getattr(loaded, name)
        width = 2 if name == "bitmaps" else tensor.element_size()
        assert tensor.data_ptr() % width == 0, name


def test_load_reads_no_bitmaps(tmp_path: Path):
    """They lie in a memory map of the file."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("there is no /proc/self/maps here")
    path = tmp_path / "masks.safetensors"
    case = make_case(images=3, size=(113, 113), concepts=20)
    case.packed.save(path)
    loaded = PackedMasks.load(path)
    address = loaded.bitmaps.data_ptr()
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in maps.read_text().splitlines()
        if str(path) in line
    ]
    assert any(begin <= address and address + loaded.bitmaps.nbytes <= end for begin, end in ranges)
    assert loaded[1:].bitmaps.data_ptr() == address


def test_a_loaded_file_may_be_replaced(tmp_path: Path):
    """A reader keeps what it opened while another process writes the file anew."""
    path = tmp_path / "masks"
    first, second = make_case(seed=1), make_case(seed=2, images=1)
    first.packed.save(path)
    loaded = PackedMasks.load(path)
    second.packed.save(path)
    assert torch.equal(loaded.unpack(), first.masks)
    assert torch.equal(PackedMasks.load(path).unpack(), second.masks)


def test_failure_to_save_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    packed = make_case().packed
    packed.save(tmp_path / "old")
    before = (tmp_path / "old").read_bytes()

    def full(self: MaskWriter) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MaskWriter, "finish", full)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left"):
            packed.save(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == before


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="none: no such file"):
        PackedMasks.load(tmp_path / "none")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read as packed masks") as error:
        PackedMasks.load(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("text", ["", "hello", "{" * 100])
def test_no_mask_file(tmp_path: Path, text: str):
    path = tmp_path / "masks"
    path.write_text(text)
    with pytest.raises(InputError, match="masks: cannot be read as packed masks: ") as error:
        PackedMasks.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.9, -1])
def test_a_truncated_file(tmp_path: Path, kept: float):
    path = tmp_path / "masks"
    make_case(images=4).packed.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match="masks: cannot be read as packed masks: "):
        PackedMasks.load(path)


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])["__metadata__"]


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> None:
    tensors, metadata = {name: tensor.clone() for name, tensor in load_file(path).items()}, metadata_of(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def put(name: str, place: object, value: int) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    return lambda tensors, _: tensors[name].__setitem__(place, value)


DAMAGES: dict[str, tuple[Callable[[dict[str, Tensor], dict[str, str]], object], str]] = {
    "no-bitmaps": (lambda tensors, _: tensors.pop("bitmaps"), "no tensor 'bitmaps'"),
    "no-annotated": (lambda tensors, _: tensors.pop("annotated"), "no tensor 'annotated'"),
    "another-dtype": (
        lambda tensors, _: tensors.update(bitmap_concepts=tensors["bitmap_concepts"].long()),
        "bitmap_concepts is torch.int64, expected torch.int32",
    ),
    "too-few-bitmaps": (
        lambda tensors, _: tensors.update(bitmaps=tensors["bitmaps"][1:].clone()),
        "as many bitmaps as concepts",
    ),
    "too-few-pixels": (
        lambda tensors, _: tensors.update(bitmap_pixels=tensors["bitmap_pixels"][1:].clone()),
        "as many bitmaps as concepts",
    ),
    "another-width": (lambda _, metadata: metadata.update(width="100"), "bitmaps are [14, 24, 4]"),
    "no-height": (lambda _, metadata: metadata.pop("height"), "metadata: 'height'"),
    "height-is-no-number": (lambda _, metadata: metadata.update(height="tall"), "metadata: "),
    "categories-are-no-json": (lambda _, metadata: metadata.update(categories="[a"), "metadata: "),
    "categories-are-no-list": (lambda _, metadata: metadata.update(categories="3"), "metadata: "),
    "another-category": (lambda _, metadata: metadata.update(categories='["a"]'), "annotated is [N, K]"),
    "offsets-fall": (put("bitmap_offsets", 1, 14), "offsets"),
    "offsets-start-late": (put("bitmap_offsets", 0, 1), "offsets"),
    "offsets-start-below": (put("bitmap_offsets", 0, -1), "offsets"),
    "offsets-end-late": (put("bitmap_offsets", -1, 15), "offsets"),
    "whole-offsets-end-late": (put("whole_offsets", -1, 100), "offsets"),
    "no-offsets": (
        lambda tensors, _: tensors.update(bitmap_offsets=torch.zeros(0, dtype=torch.int64)),
        "offsets",
    ),
    "offsets-of-two-axes": (
        lambda tensors, _: tensors.update(whole_offsets=tensors["whole_offsets"][:, None].clone()),
        "whole_offsets has 2 axes, expected 1",
    ),
    "too-few-whole-offsets": (
        lambda tensors, _: tensors.update(whole_offsets=tensors["whole_offsets"][:-1].clone()),
        "offsets",
    ),
    "unknown-concept": (put("bitmap_concepts", 0, 5), "a number out of range"),
    "negative-concept": (put("bitmap_concepts", 0, -1), "a number out of range"),
    "unknown-whole-concept": (put("whole_concepts", 0, 5), "a number out of range"),
    "unknown-category": (put("concept_category", 0, 3), "a number out of range"),
}


def test_released_bitmaps_are_read_again(tmp_path: Path):
    masks = torch.rand(9, 5, 113, 97) > 0.5
    PackedMasks.from_bool(masks).save(tmp_path / "masks")
    loaded = PackedMasks.load(tmp_path / "masks")
    for images in (slice(0, 4), slice(3, 9), slice(2, 2), [8, 0]):
        part = loaded[images]
        assert torch.equal(part.unpack(), masks[images])
        part.release()
        assert torch.equal(part.unpack(), masks[images])
    assert torch.equal(loaded.unpack(), masks)


def test_release_leaves_bitmaps_in_memory_alone():
    masks = torch.rand(2, 3, 16, 16) > 0.5
    packed = PackedMasks.from_bool(masks)
    packed.release()
    assert torch.equal(packed.unpack(), masks)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file(tmp_path: Path, name: str):
    path = tmp_path / "masks"
    masks = make_masks(3, 5, (24, 28), whole=False)
    masks[1, 2] = True
    PackedMasks.from_bool(masks, ["a", "b", "c", "a", "b"]).save(path)
    rewrite(path, lambda *_: None)
    assert torch.equal(PackedMasks.load(path).unpack(), masks), "rewriting alone does no damage"
    change, part = DAMAGES[name]
    rewrite(path, change)
    with pytest.raises(InputError) as error:
        PackedMasks.load(path)
    assert str(error.value).startswith(f"{path}: damaged packed masks: ")
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", [str(VERSION + 1), "99", "0", "", "one"])
def test_another_version(tmp_path: Path, version: str):
    path = tmp_path / "masks"
    make_case().packed.save(path)
    rewrite(path, lambda _, metadata: metadata.update(version=version))
    with pytest.raises(
        InputError, match=rf"format version '{version}' is not known to this program, which knows up to"
    ):
        PackedMasks.load(path)


@pytest.mark.parametrize("format", ["pydissect.counts", None])
def test_another_format(tmp_path: Path, format: str | None):
    path = tmp_path / "masks"
    save_file({"x": torch.zeros(1)}, path, {"format": format} if format else None)
    with pytest.raises(InputError, match=f"expected a file of format 'pydissect.masks', found {format!r}"):
        PackedMasks.load(path)


# --- what callers may give ---------------------------------------------------------------------------------


def test_as_masks():
    masks = make_masks(2, 3, (4, 5))
    packed = PackedMasks.from_bool(masks)
    assert as_masks(packed) is packed
    assert torch.equal(as_masks(masks).unpack(), masks)
    assert torch.equal(as_masks(masks.numpy()).unpack(), masks)
    labels = torch.tensor([[[0, 1, 2]], [[2, 2, 2]]])
    for maps in (labels, labels.to(torch.uint8), labels.numpy()):
        assert torch.equal(as_masks(maps).unpack(), naive_labels(labels, 2, 0))
    assert as_masks(labels, num_concepts=7).num_concepts == 7
    categories = Categories.of(["a", "b"])
    assert as_masks(labels, categories, 2).categories is categories
    assert as_masks(masks[:, :2], categories).categories is categories


@pytest.mark.parametrize(
    ("masks", "parts"),
    [
        (
            torch.zeros(2, 3, 4, 5, dtype=torch.uint8),
            ["uint8 [2, 3, 4, 5]", ".bool()", "PackedMasks.from_labels"],
        ),
        (torch.zeros(2, 3, 4, 5), ["float32 [2, 3, 4, 5]", ".bool()"]),
        (torch.zeros(2, 4, 5), ["float32 [2, 4, 5]"]),
        (torch.zeros(4, 5, dtype=torch.int64), ["int64 [4, 5]"]),
        (torch.zeros(2, 4, 5, dtype=torch.bool), ["bool [2, 4, 5]"]),
        ("masks.npy", ["masks: expected a torch tensor", "found str"]),
    ],
)
def test_as_masks_refuses(masks: object, parts: list[str]):
    with pytest.raises(InputError, match="masks: ") as error:
        as_masks(masks)
    for part in parts:
        assert part in str(error.value)
