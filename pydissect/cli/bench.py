"""``pydissect bench``."""

from pathlib import Path

import click
import torch

from ..bench.memory import PAGES
from ..bench.network import capture_layers
from ..bench.results import Report, Settings
from ..bench.runner import run_benchmark, run_device_benchmark
from ..bench.timing import threads as on_threads
from ..bench.workloads import GPU_WORKLOADS, WORKLOADS, find_workloads
from ..broden import Broden
from ..devices import usable_device
from ..errors import InputError
from ..normalize import Normalization
from .bench_tables import bench_tables
from .console import Command, out, progress_bar
from .model_options import model_options, open_model

_ROUNDS = 5
_QUICK_ROUNDS = 1
_RUNS = 3
_STREAM_BYTES = 256 << 20
_QUICK_STREAM_BYTES = 32 << 20
_DEVICE_TIMES = 16  # so many times more on a device, whose caches are larger


@click.command(
    cls=Command,
    epilog="Example: pydissect bench --quick --workload 13x13. Another, with a real network: pydissect bench --data "
    "broden1_224 --model torchvision.models:alexnet --weights alexnet.pt --layer features.10 --json results.json",
)
@click.option("--quick", is_flag=True, help="A look in a minute: little data, few rounds. Not for numbers to quote.")
@click.option(
    "--workload",
    "names",
    multiple=True,
    metavar="NAME",
    help=f"Measure this one only; several times for several: {', '.join(workload.name for workload in WORKLOADS)}.  "
    "[default: all]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="What counts as all threads.  [default: torch's]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    metavar="N",
    help=f"In each, every side has its turn.  [default: {_ROUNDS}, or {_QUICK_ROUNDS} with --quick]",
)
@click.option(
    "--device",
    metavar="D",
    help="Measure counting of activations that lie in this device's memory, such as cuda, by every backend that works "
    f"there; workloads: {', '.join(workload.name for workload in GPU_WORKLOADS)}.",
)
@click.option(
    "--pages",
    type=click.Choice(PAGES),
    default=PAGES[0],
    show_default=True,
    help="Memory pages of the activations. Those of your own tensors are small unless the machine gives huge ones to "
    "all, or THP_MEM_ALLOC_ENABLE=1 is set.",
)
@click.option(
    "--json",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the results with the machine's description; benchmarks/plot.py draws them.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset in Broden's format, to count the activations of a real network too.",
)
@model_options(required=False)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Layer of the network, by its dotted name; several times for several.",
)
@click.option("--normalize", default="imagenet", show_default=True, metavar="HOW", help="As for `pydissect dissect`.")
@click.option(
    "--input-size", type=click.IntRange(1), metavar="PIXELS", help="Of pictures.  [default: those of the dataset]"
)
def bench_command(
    quick: bool,
    names: tuple[str, ...],
    threads: int | None,
    rounds: int | None,
    device: str | None,
    pages: str,
    path: Path | None,
    data: Path | None,
    model: str | None,
    weights: Path | None,
    unsafe_weights: bool,
    layers: tuple[str, ...],
    normalize: str,
    input_size: int | None,
) -> None:
    """Measure counting, thresholds and packing on this machine.

    One table puts the counting of activation maps, in every format and with every instruction set that the
    processor has, beside what limits it and what it replaces: reading the same memory once; plain torch
    (F.interpolate, compare, matrix product) on all threads; and the loop of older code (one resize with PIL and
    one histogram a label layer for each live map) on one. Made activations are as sparse as a real layer's.

    "of reading" is the share of the bandwidth at which as many threads read memory and do nothing else: 100% would
    be the limit. Leave the machine alone meanwhile; it takes some minutes and 3 GB.
    """
    stream_bytes = _QUICK_STREAM_BYTES if quick else _STREAM_BYTES
    settings = Settings(
        quick=quick,
        rounds=rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
        threads=threads or torch.get_num_threads(),
        stream_bytes=stream_bytes if device is None else _DEVICE_TIMES * stream_bytes,
        pages=pages,
        runs=_RUNS if device is None else 1,
    )
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"--json: expected a file in an existing folder, found {str(path)!r}")
    if device is not None:
        with progress_bar("steps") as progress, on_threads(settings.threads):
            chosen = find_workloads(names, GPU_WORKLOADS)
            report = run_device_benchmark(chosen, settings, usable_device(device), progress)
        _finish(report, path)
        return
    workloads = find_workloads(names, WORKLOADS)
    given = {"--data": data, "--model": model, "--layer": layers}
    if any(given.values()) and (missing := [name for name, value in given.items() if not value]):
        raise InputError(f"expected --data, --model and --layer together, found no {' and no '.join(missing)}")
    with progress_bar("steps") as progress, on_threads(settings.threads):
        captured, source = {}, ""
        if data is not None and model is not None:
            source = f"{model.rpartition(':')[2]}, {data.resolve().name}"
            captured = capture_layers(
                Broden(data),
                open_model(model, weights, unsafe_weights),
                layers,
                normalization=Normalization.parse(normalize),
                input_size=input_size,
                min_bytes=settings.stream_bytes,
                progress=progress,
            )
        report = run_benchmark(workloads, settings, captured, source, progress)
    _finish(report, path)


def _finish(report: Report, path: Path | None) -> None:
    if path is not None:
        report.save(path)
    out().print(bench_tables(report))
