"""The benchmark: its made data, the code it compares with, its results' file, its command."""

import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from broden_builder import BrodenBuilder
from command import run, said, write_models
from strategies import make_case

from pydissect import Broden, InputError, PackedMasks, _cpu, count, quantile_thresholds, reference
from pydissect.bench.baselines import (
    annotation,
    gathered_thresholds,
    older_loop,
    packed_bool,
    packed_labels,
    plain_torch,
    plain_torch_of_all,
)
from pydissect.bench.counting import make_batches
from pydissect.bench.device import _repeated, device_backends, measure_device
from pydissect.bench.machine import describe_machine
from pydissect.bench.memory import bytes_held, huge_share, make_buffer
from pydissect.bench.network import capture_layers
from pydissect.bench.results import Report, Settings
from pydissect.bench.stream import Batch, lay, leading_images
from pydissect.bench.thresholds import ORDERS, make_values, streamed
from pydissect.bench.timing import best_seconds, cpu_level, interleaved, median_ratio, threads
from pydissect.bench.workloads import (
    CONCEPTS,
    FORMATS,
    GPU_WORKLOADS,
    LABEL_LAYERS,
    MASK_SIZE,
    MASKS_PER_IMAGE,
    QUANTILE,
    WORKLOADS,
    CountingWorkload,
    Format,
    ThresholdWorkload,
    check_density,
    density,
    find_workloads,
    make_activations,
    make_labels,
)
from pydissect.models import build_model
from pydissect.normalize import Normalization

SIZES = [*(workload for workload in WORKLOADS if isinstance(workload, CountingWorkload)), *GPU_WORKLOADS]
GPU_SMALL = CountingWorkload("small", 32, 6, 13, 0.387, 0.0154, 1.1, "nothing")
SMALL = CountingWorkload("small", 4, 6, 13, 0.4, 0.015, 1.1, "nothing")
# What F.interpolate and PIL round otherwise than the reference, of the largest activation.
TOLERANCE = 1e-5


@pytest.mark.parametrize("workload", SIZES, ids=lambda workload: workload.name)
def test_made_activations_are_as_sparse_as_the_layer_they_stand_for(workload: CountingWorkload) -> None:
    images = max(workload.images, 32)
    acts = make_activations(images, workload.units, workload.side, workload.live_maps, workload.blobs)
    assert acts.shape == (images, workload.units, workload.side, workload.side)
    threshold = quantile_thresholds(acts, QUANTILE)
    live_maps, live_cells = density(acts, threshold)
    check_density(workload, live_maps, live_cells)
    with pytest.raises(AssertionError, match=f"^{workload.name}: expected shares of live maps"):
        check_density(workload, live_maps + 0.06, live_cells)
    with pytest.raises(AssertionError, match="found"):
        check_density(workload, live_maps, live_cells * 1.3)


def test_density_counts_maps_and_cells() -> None:
    acts = torch.zeros(1, 2, 3, 4)
    acts[0, 1, 1, 1] = 2.0  # of 2 x 3 cells, the four that touch it
    assert density(acts, torch.tensor([0.0, 1.0])) == pytest.approx((1 / 2, 4 / 12))


def test_made_labels_are_the_masks_of_every_image() -> None:
    labels = make_labels(5)
    assert labels.shape == (5, LABEL_LAYERS, *MASK_SIZE)
    masks = PackedMasks.from_labels(labels, CONCEPTS).unpack()
    assert (masks.flatten(2).any(2).sum(1) == MASKS_PER_IMAGE).all()
    layers_of = [set(labels[:, layer].unique().tolist()) - {0} for layer in range(LABEL_LAYERS)]
    assert all(not a & b for i, a in enumerate(layers_of) for b in layers_of[:i])
    assert (labels == 0).any()
    assert not torch.equal(labels, make_labels(5, seed=1))


def bracketed(acts: torch.Tensor, masks: torch.Tensor, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest and the most pixels that code which rounds otherwise may count, ``[U, C]``.

    Counts fall as the threshold rises, so these are the reference's at a threshold a tolerance higher
    and lower.
    """
    slack = TOLERANCE * float(acts.abs().max())
    least, most = (
        reference.counts(acts, masks, levels[None], torch.ones(len(acts), 1, dtype=torch.bool), "half_pixel")[0][0]
        for levels in (threshold + slack, threshold - slack)
    )
    return least, most


def test_the_other_code_counts_what_the_reference_does() -> None:
    (acts, packed), *_ = make_batches(SMALL, 1)
    threshold = quantile_thresholds(acts, QUANTILE)
    masks = packed.unpack()
    masks[0, 3] = True  # whole images have no bitmap
    masks[1] = False
    least, most = bracketed(acts, masks, threshold)
    assert least.sum() > 100
    assert (most - least).sum() < 0.01 * most.sum()
    loop = older_loop(acts.numpy(), [annotation(image) for image in masks], threshold.numpy(), CONCEPTS)
    for name, found in (
        ("plain torch", plain_torch(acts, masks, threshold).long()),
        ("plain torch of all", plain_torch_of_all(acts, masks, threshold).long()),
        ("older loop", torch.from_numpy(loop)),
        ("ours", count(acts, masks, threshold).intersection),
    ):
        assert ((least <= found) & (found <= most)).all(), name


def test_annotation_puts_each_mask_into_one_layer() -> None:
    masks = PackedMasks.from_labels(make_labels(1), CONCEPTS).unpack()[0]
    masks[5] = True
    found = annotation(masks)
    assert found.whole.tolist() == [5]
    assert len(found.layers) <= LABEL_LAYERS
    for concept, mask in enumerate(masks):
        if concept != 5:
            assert ((torch.from_numpy(found.layers) == concept + 1).sum(0) == mask).all()


@pytest.mark.parametrize("order", ORDERS)
def test_gathered_thresholds_are_the_streamed(order: str) -> None:
    batches = make_values(ThresholdWorkload("tiny", 0, 3, 5), 70, order, "small")
    assert sum(map(len, batches)) == 70
    expected = reference.thresholds(torch.cat(batches), QUANTILE)
    assert torch.equal(gathered_thresholds(batches, QUANTILE), expected)
    assert torch.equal(streamed(batches).compute(), expected)
    highest, lowest = torch.cat(batches).flatten(1).amax(1), torch.cat(batches).flatten(1).amin(1)
    assert bool((highest[:-1] < lowest[1:]).all()) == (order == "sorted")


def test_numpy_packs_the_same_bits() -> None:
    labels = make_labels(2)
    packed = PackedMasks.from_labels(labels, CONCEPTS)
    masks = packed.unpack()
    for bitmap, row in zip(packed_labels(labels.numpy()), packed.bitmaps.numpy(), strict=True):
        np.testing.assert_array_equal(bitmap, row)
    carried = [bits for bits in packed_bool(masks.numpy()) if bits.any()]
    np.testing.assert_array_equal(np.stack(carried), packed.bitmaps.numpy())


@pytest.mark.parametrize("layout", FORMATS, ids=lambda layout: layout.name)
def test_a_stream_holds_every_batch_in_its_format(layout: Format) -> None:
    batches = make_batches(SMALL, 20_000)
    size = sum(acts.numel() for acts, _ in batches) * layout.dtype.itemsize
    stream = lay(batches, layout, size + 1, "small")
    assert len(stream.batches) == len(batches) + 1
    assert stream.maps == len(stream.batches) * 4 * 6
    assert stream.buffer.nbytes == size + batches[0][0].numel() * layout.dtype.itemsize
    for (laid, _), (acts, _) in zip(stream.batches, [*batches, batches[0]], strict=True):
        assert laid.dtype == layout.dtype
        assert torch.equal(laid, acts.to(layout.dtype))
        assert laid.is_contiguous(memory_format=torch.channels_last) == layout.channels_last
        assert stream.buffer.data_ptr() <= laid.data_ptr() < stream.buffer.data_ptr() + stream.buffer.nbytes
    joined = torch.cat([acts for acts, _ in stream.batches])
    assert torch.equal(stream.threshold, quantile_thresholds(joined, QUANTILE))
    masks = torch.cat([masks.unpack() for _, masks in stream.batches])
    assert torch.equal(stream.count().intersection, count(joined, masks, stream.threshold).intersection)


def test_leading_images_are_just_enough() -> None:
    batches = make_batches(SMALL, 20_000)
    acts, masks = leading_images(batches, 5 * 6 - 3)
    assert acts.shape[0] == len(masks) == 5
    assert torch.equal(acts[4], batches[1][0][0])


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_reading_memory_takes_time_for_any_size(threads: int) -> None:
    buffer = make_buffer(1 << 20)
    for size in (0, 1, 1001, 1 << 20):
        assert 0 <= _cpu.read_seconds(buffer.data_ptr(), size, threads, 2) < 10


def test_pages_and_bytes_held() -> None:
    small = make_buffer(8 << 20, "small")
    assert huge_share(small) == 0
    assert 0 <= huge_share(make_buffer(8 << 20, "huge")) <= 1
    values = torch.zeros(100)
    assert bytes_held({"a": [values, values[:3]], "b": np.zeros(10, np.int16), "c": None}) == 420


def test_rounds_alternate_their_direction() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or float(len(order))

    assert interleaved({"a": side("a"), "b": side("b")}, 2, lambda done: None) == {"a": [1.0, 4.0], "b": [2.0, 3.0]}
    assert order == ["a", "b", "b", "a"]
    assert median_ratio([1.0, 6.0, 4.0], [1.0, 2.0, 2.0]) == 2.0


def test_the_best_of_several_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    calls: list[None] = []
    assert best_seconds(lambda: calls.append(None), 3) == 2.0
    assert len(calls) == 3


def test_settings_last_no_longer_than_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYDISSECT_CPU_LEVEL", raising=False)
    before = torch.get_num_threads()

    def fail() -> None:
        with threads(before + 1), cpu_level("portable"):
            assert torch.get_num_threads() == before + 1
            assert os.environ["PYDISSECT_CPU_LEVEL"] == "portable"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_num_threads() == before
    assert "PYDISSECT_CPU_LEVEL" not in os.environ


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results' file and the output of a quick run."""
    path = tmp_path_factory.mktemp("bench") / "machine.json"
    names = [word for name in ("13x13", "thresholds", "packing-bool") for word in ("--workload", name)]
    result = run("bench", "--quick", "--rounds", "1", "--threads", "2", "--json", path, *names)
    assert result.exit_code == 0, result.stderr
    return path, result.stdout


def test_quick_run_measures_what_was_asked_for(quick: tuple[Path, str]) -> None:
    path, output = quick
    report = Report.load(path)
    (size,) = report.counting
    assert (size.name, size.shape, size.map_bytes) == ("13x13", [64, 256, 13, 13], 4 * 13 * 13)
    combinations = [(row.format, row.level, row.threads) for row in size.rows]
    levels = _cpu.levels()
    expected = [(layout.name, levels[0]) for layout in FORMATS] + [(FORMATS[0].name, level) for level in levels[1:]]
    assert combinations == [(*pair, threads) for pair in expected for threads in (1, 2)]
    for row in size.rows:
        assert row.share_of_read == pytest.approx(
            row.bytes_per_second / next(read.per_second for read in size.read if read.threads == row.threads)
        )
        assert row.times_older_loop == pytest.approx(row.maps_per_second / size.older_loop.per_second)
        assert row.times_plain_torch == pytest.approx(row.maps_per_second / size.plain_torch.per_second)
        assert (row.scaling is None) == (row.threads == 1)
    assert [(row.order, row.threads) for row in report.thresholds] == [
        ("natural", 1),
        ("natural", 2),
        ("sorted", 1),
        ("sorted", 2),
    ]
    assert all(0 < row.bytes_held < row.topk_bytes_held for row in report.thresholds)
    assert [row.threads for row in report.packing] == [1, 2]
    for words in ("reading memory once", "plain torch", "older loop", "sorted (the worst)", "packing-bool", "--quick"):
        assert words in output
    assert all(len(line) <= 120 for line in output.splitlines())


def test_results_survive_their_file(quick: tuple[Path, str], tmp_path: Path) -> None:
    report = Report.load(quick[0])
    report.save(tmp_path / "again.json")
    assert Report.load(tmp_path / "again.json") == report
    assert (tmp_path / "again.json").read_bytes() == quick[0].read_bytes()


def test_plot_shows_the_speeds_of_the_results(
    quick: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "plot.py"
    spec = importlib.util.spec_from_file_location("plot", path)
    assert spec is not None
    assert spec.loader is not None
    plot = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plot)
    report = Report.load(quick[0])
    (size,) = report.counting
    (axes,) = plot.figure(report, plot.THEMES["light"]).axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert drawn == {
        "pydissect, 2 threads": [size.rows[1].maps_per_second],
        "pydissect, 1 thread": [size.rows[0].maps_per_second],
        "plain torch, 2 threads": [size.plain_torch.per_second],
        "PIL resize and bincount, 1 thread": [size.older_loop.per_second],
    }
    limits = [float(limit.get_segments()[0][0][1]) for limit in axes.collections]
    assert limits == [read.per_second / size.map_bytes for read in size.read]
    monkeypatch.setattr("sys.argv", ["plot.py", str(quick[0]), str(tmp_path / "speed")])
    plot.main()
    for name in plot.THEMES:
        assert (tmp_path / f"speed-{name}.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(format=99), "its format is newer than 1"),
        (lambda values: values.pop("format"), "found no 'format'"),
        (lambda values: values.pop("machine"), "no 'machine'"),
        (lambda values: values.update(more=1), "unknown 'more'"),
        (lambda values: values["settings"].update(rounds="many"), r"settings: rounds: expected .*int.*, found 'many'"),
        (lambda values: values.update(counting={}), r"counting: expected a list, found \{\}"),
        (
            lambda values: values["counting"][0].update(read=[3]),
            r"counting\[0\]: read\[0\]: expected an object, found 3",
        ),
    ],
)
def test_a_damaged_file_is_named(
    quick: tuple[Path, str], tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    values = json.loads(quick[0].read_bytes())
    change(values)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message) as error:
        Report.load(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json: No such file"):
        Report.load(tmp_path / "no.json")
    (tmp_path / "text").write_text("text")
    with pytest.raises(InputError, match="text: expected JSON"):
        Report.load(tmp_path / "text")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workload", "13x14"), "--workload: expected one of 7x7, .*, found '13x14'; did you mean '13x13'"),
        (("--threads", "0"), "--threads"),
        (("--pages", "tiny"), "--pages.*'huge', 'small'"),
        (
            ("--json", "nowhere/at/all.json"),
            "--json: expected a file in an existing folder, found 'nowhere/at/all.json'",
        ),
        (("--layer", "mix"), "--data, --model and --layer together, found no --data and no --model"),
        (("--data", "."), "together, found no --model and no --layer"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], message: str) -> None:
    result = run("bench", "--quick", *arguments)
    assert result.exit_code == 2
    (line,) = said(result.stderr)
    assert re.search(message, line), line


def test_find_workloads_keeps_the_registry_order() -> None:
    assert find_workloads([], WORKLOADS) == WORKLOADS
    assert [workload.name for workload in find_workloads(["thresholds", "7x7"], WORKLOADS)] == ["7x7", "thresholds"]


def test_layers_of_a_network_are_captured_for_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    write_models(tmp_path)
    builder = BrodenBuilder(tmp_path / "data")
    builder.write()
    data = Broden(builder.folder)
    model = build_model(f"{tmp_path / 'models.py'}:net")

    def captured(min_bytes: int) -> dict[str, list[Batch]]:
        return capture_layers(
            data,
            model,
            ["mix", "coarse"],
            normalization=Normalization.parse("none"),
            input_size=None,
            min_bytes=min_bytes,
            progress=lambda stage, done, total: None,
        )

    batches = captured(1 << 20)
    assert list(batches) == ["mix", "coarse"]
    for layer in batches.values():
        assert sum(len(acts) for acts, _ in layer) == len(data)
        assert all(len(acts) == len(masks) for acts, masks in layer)
        assert all(acts.is_contiguous() and acts.dtype == torch.float32 for acts, _ in layer)
    assert sum(len(acts) for acts, _ in captured(1)["mix"]) == 1


@pytest.fixture
def _uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, which takes longer than all the rest."""
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)


@pytest.mark.usefixtures("_uncompiled")
def test_counting_on_a_device(tmp_path: Path) -> None:
    """What is measured on a GPU runs on any device, here on the CPU's."""
    done = []
    result = measure_device(
        GPU_SMALL, torch.device("cpu"), 1 << 16, rounds=2, progress=lambda *stage: done.append(stage)
    )
    assert done[-1] == ("small", 2, 2)
    assert result.shape == [32, 6, 13, 13]
    assert result.stream_bytes >= 1 << 16
    assert any(line.startswith("cpu: ") for line in result.versions)
    assert {(row.backend, row.format) for row in result.rows} == {
        (name, layout) for name in device_backends(torch.device("cpu")) for layout in ("fp32", "fp16")
    }
    for row in result.rows:
        assert row.bytes_per_second == pytest.approx(row.maps_per_second * 169 * (4 if row.format == "fp32" else 2))
        assert row.scan_share > 0
        assert row.thresholds_share_of_read > 0
    report = Report(describe_machine(), Settings(True, 2, 1, 1 << 16, "huge", 1), devices=[result])
    report.save(tmp_path / "device.json")
    assert Report.load(tmp_path / "device.json") == report


def test_masks_of_a_batch_of_repeated_images() -> None:
    packed = make_case(images=3, present=(3, 0, 5), concepts=6).packed
    assert torch.equal(_repeated(packed, 3).unpack(), packed.unpack().repeat(3, 1, 1, 1))
    assert torch.equal(_repeated(packed, 3).annotated, packed.annotated.repeat(3, 1))


def test_results_of_earlier_versions(tmp_path: Path) -> None:
    path = tmp_path / "older.json"
    Report(describe_machine(), Settings(True, 2, 1, 1, "huge", 3)).save(path)
    values = json.loads(path.read_text())
    del values["devices"], values["settings"]["runs"]
    path.write_text(json.dumps(values))
    report = Report.load(path)
    assert (report.devices, report.settings.runs) == ([], 1)


def test_a_device_without_a_backend() -> None:
    with pytest.raises(InputError, match=r"--device: expected one that a backend works on, found meta: .*cpu: it comp"):
        device_backends(torch.device("meta"))
    result = run("bench", "--device", "warp")
    assert result.exit_code == 2
    assert "device: expected one such as cpu, cuda" in result.stderr


@pytest.mark.usefixtures("_uncompiled")
def test_the_table_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pydissect.cli.bench.GPU_WORKLOADS", (GPU_SMALL,))
    monkeypatch.setattr("pydissect.cli.bench._QUICK_STREAM_BYTES", 1 << 12)
    monkeypatch.setenv("COLUMNS", "200")
    result = run("bench", "--device", "cpu", "--quick", "--rounds", "1")
    assert result.exit_code == 0, result.stderr
    for text in (
        "counting and thresholds on cpu",
        "small",
        "reading",
        "copying, both ways",
        "fp16, cpu",
        "plain torch",
        "thresholds, fp16, cpu",
    ):
        assert text in result.stdout
