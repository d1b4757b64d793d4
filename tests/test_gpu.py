"""Every backend that works on a GPU, at the size that GPUs are for: the same integers as on the CPU."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pydissect import Broden, Counts, PackedMasks, ThresholdFinder, count, dissect, fast_iou, quantile_thresholds
from pydissect.backends import CountArguments, Sums, backend_names, load_backend
from pydissect.bench.workloads import CONCEPTS, make_activations, make_labels
from pydissect.mask_feed import MaskFeed, resident_masks
from pydissect.synth import make_dataset

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

CUDA = torch.device("cuda")
ON_GPU = [name for name in backend_names() if name != "reference"] if torch.cuda.is_available() else []
BACKENDS = [name for name in ON_GPU if load_backend(name).unavailable(CUDA) is None]
each_backend = pytest.mark.parametrize("backend", BACKENDS)

# images, units, h, w, live maps, blobs a live map
SIZES = {
    "2048 x 7 x 7": (16, 2048, 7, 0.16, 1.0),
    "256 x 13 x 13": (33, 256, 13, 0.39, 1.1),
    "512 x 28 x 28": (5, 512, 28, 0.81, 1.9),
    "100 x 56 x 56": (3, 100, 56, 0.94, 6.5),
}


def to_host(counts: Counts) -> Counts:
    tensors = (counts.intersection, counts.unit_area, counts.unit_area_all, counts.concept_area)
    return Counts(*(tensor.cpu() for tensor in tensors), categories=counts.categories)


def batch(size: str, dtype: torch.dtype, channels_last: bool) -> tuple[Tensor, PackedMasks]:
    images, units, side, live, blobs = SIZES[size]
    acts = make_activations(images, units, side, live, blobs).to(dtype)
    if channels_last:
        acts = acts.contiguous(memory_format=torch.channels_last)
    return acts, PackedMasks.from_labels(make_labels(images), CONCEPTS)


def test_some_backend_works() -> None:
    reasons = {name: load_backend(name).unavailable(CUDA) for name in ON_GPU}
    assert BACKENDS, reasons


@each_backend
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def test_large_batches(backend: str, size: str, dtype: torch.dtype, channels_last: bool) -> None:
    acts, masks = batch(size, dtype, channels_last)
    levels = quantile_thresholds(acts, [0.005, 0.02])
    expected = count(acts, masks, levels, backend="cpu")
    found = count(acts.cuda(), masks.to(CUDA), levels.cuda(), backend=backend)
    assert to_host(found) == expected


@each_backend
def test_thresholds_of_large_batches(backend: str) -> None:
    acts, _ = batch("256 x 13 x 13", torch.float16, False)
    expected = ThresholdFinder(3 * len(acts) * 169, [0.005, 0.05], backend="cpu")
    found = ThresholdFinder(3 * len(acts) * 169, [0.005, 0.05], backend=backend)
    for scale in (1.0, 0.5, 2.0):
        expected.update(acts * scale)
        found.update((acts * scale).cuda())
    assert torch.equal(found.compute().cpu(), expected.compute())
    assert torch.equal(found.to("cpu").compute(), expected.compute())


@each_backend
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def test_thresholds_in_any_order(backend: str, size: str, dtype: torch.dtype, channels_last: bool) -> None:
    """Small buffers, which are pruned again and again, and one that is never full."""
    acts, _ = batch(size, dtype, channels_last)
    acts[0, 0, 0, 0] = torch.nan
    for quantile in (0.001, 0.9):
        expected = quantile_thresholds(acts, quantile, backend="cpu")
        assert torch.equal(quantile_thresholds(acts.cuda(), quantile, backend=backend).cpu(), expected)


@each_backend
def test_thresholds_in_a_graph(backend: str) -> None:
    """A captured launch adds its batch again each time."""
    acts, _ = batch("256 x 13 x 13", torch.float16, False)
    finder = ThresholdFinder(4 * len(acts) * 169, 0.02, backend=backend)
    device = acts.cuda()
    finder.update(device)
    selection = finder._selection
    assert selection is not None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        load_backend(backend).select(device, selection)
    for _ in range(3):
        graph.replay()
    found = load_backend(backend).values_of_ranks(selection, finder._ranks)[0]
    assert torch.equal(found.cpu(), quantile_thresholds(torch.cat([acts] * 4), 0.02, backend="cpu"))


@each_backend
def test_everything_on_the_gpu(backend: str) -> None:
    acts, masks = batch("256 x 13 x 13", torch.float32, False)
    iou = fast_iou(acts.cuda(), masks.unpack().cuda(), backend=backend)
    assert iou.device.type == "cuda"
    assert torch.equal(iou.cpu(), fast_iou(acts, masks.unpack(), backend="cpu"))


@each_backend
def test_on_another_stream_and_in_a_graph(backend: str) -> None:
    acts, masks = batch("256 x 13 x 13", torch.float16, False)
    threshold = quantile_thresholds(acts)
    expected = count(acts, masks, threshold, backend="cpu")
    arguments = CountArguments(acts.cuda(), masks.to(CUDA), threshold.cuda()[None], "half_pixel", False)
    sums = Sums.zeros(1, acts.shape[1], masks.num_concepts, len(masks.categories), CUDA)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        load_backend(backend).count(arguments, sums)  # compiled kernels are loaded before a capture
    stream.synchronize()
    assert torch.equal(sums.intersection[0].cpu(), expected.intersection)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        load_backend(backend).count(arguments, sums)
    for tensor in vars(sums).values():
        tensor.zero_()
    for times in (1, 2):
        graph.replay()
        assert torch.equal(sums.intersection[0].cpu(), times * expected.intersection)
        assert torch.equal(sums.concept_area.cpu(), times * expected.concept_area)


@each_backend
def test_on_a_second_gpu(backend: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one CUDA device")
    acts, masks = batch("256 x 13 x 13", torch.float32, False)
    threshold = quantile_thresholds(acts)
    found = count(acts.to("cuda:1"), masks.to("cuda:1"), threshold.to("cuda:1"), backend=backend)
    assert found.intersection.device == torch.device("cuda:1")
    assert to_host(found) == count(acts, masks, threshold, backend="cpu")


@each_backend
def test_a_whole_dissection(backend: str) -> None:
    """Values that are only chosen, not computed, are the same on both devices."""
    acts, masks = batch("100 x 56 x 56", torch.float32, False)
    model = torch.nn.Sequential(torch.nn.MaxPool2d(2))
    data = [(acts[i : i + 2], masks[i : i + 2]) for i in range(0, len(acts), 2)]
    expected = dissect(model, data, "0", quantile=0.01)["0"]
    found = dissect(model, data, "0", quantile=0.01, device="cuda", backend=backend)["0"]
    assert torch.equal(found.thresholds, expected.thresholds)
    assert found.counts == expected.counts


@pytest.mark.parametrize("resident", [True, False])
def test_masks_on_their_way(tmp_path: Path, resident: bool) -> None:
    make_dataset(tmp_path / "data", 10)
    data = Broden(tmp_path / "data")
    here = torch.zeros((), device=CUDA).device
    kept = resident_masks(data, "a", data.masks, here)
    assert kept is not None
    assert resident_masks(data, "a", data.masks, here).bitmaps is kept.bitmaps
    feed = MaskFeed(here, kept if resident else None)
    for begin in range(0, 10, 4):
        batch = data.masks[begin : begin + 4]
        feed.send(batch, begin)
        taken = feed.take()
        assert taken.device == here
        assert torch.equal(taken.to("cpu").unpack(), batch.unpack())


@each_backend
@pytest.mark.parametrize("passes", [1, 2])
def test_a_dissection_of_a_dataset(backend: str, passes: int, tmp_path: Path) -> None:
    """With resident masks, and once more with those that are there already."""
    make_dataset(tmp_path / "data", 10)
    data = Broden(tmp_path / "data")
    model = torch.nn.Sequential(torch.nn.MaxPool2d(4))
    expected = dissect(model, data, "0", quantile=0.05, batch_size=4)["0"]
    for _ in range(2):
        found = dissect(model, data, "0", quantile=0.05, batch_size=4, passes=passes, device="cuda", backend=backend)[
            "0"
        ]
        assert torch.equal(found.thresholds, expected.thresholds)
        assert found.counts == expected.counts
