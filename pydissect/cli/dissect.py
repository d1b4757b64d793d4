"""``pydissect dissect``."""

import dataclasses
import datetime
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from ..broden import Broden
from ..defaults import BATCH_SIZE, IOU_THRESHOLD, TOP_IMAGES
from ..files import sha256_file
from ..grids import parse_grid
from ..normalize import Normalization
from ..parallel import default_workers
from .bytes import Bytes, show_bytes
from .choices import LazyChoice
from .console import Command, out, plain, progress_bar
from .model_options import model_options, open_model


def _dtypes() -> Iterable[str]:
    from ..forward import DTYPES

    return DTYPES


def _backends() -> Iterable[str]:
    from ..backends import backend_names

    return ("auto", *backend_names())


@click.command(
    cls=Command,
    epilog="Example: pydissect dissect --data broden1_224 --model torchvision.models:alexnet --weights alexnet.pt "
    "--layer features.10 --out results/alexnet",
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset in Broden's format.",
)
@model_options()
@click.option(
    "--layer",
    "layers",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Module to dissect, by its dotted name; several times for several. `pydissect layers` lists them.",
)
@click.option(
    "--out",
    "output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Folder to make for the results.",
)
@click.option(
    "--quantile",
    default=["0.005"],
    show_default="0.005",
    multiple=True,
    metavar="Q",
    help="Share of a unit's activations that lie above its threshold; of several, each layer has a result at each.",
)
@click.option(
    "--iou-threshold",
    type=click.FloatRange(0, 1),
    default=IOU_THRESHOLD,
    show_default=True,
    metavar="IOU",
    help="A unit whose best IoU exceeds this is a detector.",
)
@click.option(
    "--union",
    type=click.Choice(["category", "all"]),
    default="category",
    show_default=True,
    help="Images over which a unit's area is summed: those annotated for the concept's category (the paper), or all.",
)
@click.option(
    "--grid",
    default="half_pixel",
    show_default=True,
    metavar="GRID",
    help="Where activations lie in the image: half_pixel, align_corners, or receptive_field:OFFSET,STRIDE in pixels of "
    "the network's input.",
)
@click.option(
    "--normalize",
    default="imagenet",
    show_default=True,
    metavar="HOW",
    help="What the network expects: none (RGB in [0, 1]), imagenet, caffe (BGR, 0 to 255, less 104/117/123), or "
    "M,M,M/S,S,S. A wrong one ruins the result silently.",
)
@click.option(
    "--input-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Height and width to which pictures are resized.  [default: those of the dataset]",
)
@click.option("--split", default="all", show_default=True, metavar="SPLIT", help="all, train or val.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use the first N images only.")
@click.option(
    "--top-images",
    type=click.IntRange(0),
    default=TOP_IMAGES,
    show_default=True,
    metavar="N",
    help="Images to list for each unit, those that excite it most.",
)
@click.option("--per-image", is_flag=True, help="Write each image's own areas and intersections too, as Parquet.")
@click.option(
    "--memory",
    type=Bytes(),
    metavar="SIZE",
    help="Memory for the activations that are kept until the thresholds are known, such as 2GB; what is beyond it "
    "goes to a temporary file.  [default: a quarter of the machine's]",
)
@click.option(
    "--passes",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="2 runs the network twice and keeps no activations; the results are the same.",
)
@click.option(
    "--image-cache/--no-image-cache",
    default=True,
    help="Keep the decoded pictures in the cache for the next time.  [default: yes]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=BATCH_SIZE,
    show_default=True,
    metavar="N",
    help="Images a forward pass.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Threads that decode pictures beside the model.  [default: one a processor, at most 8]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Threads of the model and the counting.  [default: torch's]",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="D",
    help="Device of the model, such as cpu or cuda:0.",
)
@click.option(
    "--dtype",
    type=LazyChoice(_dtypes),
    default="fp32",
    show_default=True,
    help="fp16 and bf16 run the network in mixed precision; counting is exact in each.",
)
@click.option(
    "--backend",
    type=LazyChoice(_backends),
    default="auto",
    show_default=True,
    help="What counts. All give the same integers.",
)
@click.option(
    "--nonfinite",
    type=click.Choice(["error", "off"]),
    default="error",
    show_default=True,
    help="What to do about NaN and infinite activations: stop, or count them as off.",
)
@click.option("--overwrite", is_flag=True, help="Replace the results in OUT, if it holds some.")
def dissect_command(
    data: Path,
    model: str,
    weights: Path | None,
    unsafe_weights: bool,
    layers: tuple[str, ...],
    output: Path,
    quantile: tuple[str, ...],
    iou_threshold: float,
    union: str,
    grid: str,
    normalize: str,
    input_size: int | None,
    split: str,
    limit: int | None,
    top_images: int,
    per_image: bool,
    memory: int | None,
    passes: int,
    image_cache: bool,
    batch_size: int,
    workers: int | None,
    threads: int | None,
    device: str,
    dtype: str,
    backend: str,
    nonfinite: str,
    overwrite: bool,
) -> None:
    """Label every unit of a network's layers with the visual concept it detects.

    Writes OUT/run.json and, for each layer, OUT/layers/LAYER/units.csv (a row a unit),
    concepts.csv (a row a concept) and counts.safetensors (the integers behind the IoU).
    """
    # Here, for `pydissect scan` takes its options from this module.
    import torch

    from ..dissection import check_output
    from ..pipeline import dissect
    from .tables import layer_tables

    arguments = {name: _plain_value(value) for name, value in click.get_current_context().params.items()}
    begin = time.perf_counter()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    check_output(output, overwrite)
    normalization = Normalization.parse(normalize)
    if threads is not None:
        torch.set_num_threads(threads)
    dataset = Broden(data, split)
    size = (input_size, input_size) if input_size else dataset.image_size
    network = open_model(model, weights, unsafe_weights)
    with progress_bar() as progress:
        result = dissect(
            network,
            dataset,
            layers,
            quantile=list(quantile) if len(quantile) > 1 else quantile[0],
            iou_threshold=iou_threshold,
            union=union,
            grid=parse_grid(grid, size),
            normalize=normalize,
            input_size=size,
            limit=limit,
            passes=passes,
            memory=memory,
            top_images=top_images,
            per_image=per_image,
            image_cache=image_cache,
            batch_size=batch_size,
            workers=default_workers() if workers is None else workers,
            device=device,
            dtype=dtype,
            backend=backend,
            nonfinite=nonfinite,
            progress=progress,
        )
    facts = {
        "started": started,
        "arguments": arguments,
        "dataset": {"folder": str(dataset.folder), "split": split, "sha256": dataset.sha256()},
        "weights": None if weights is None else {"file": str(weights), "sha256": sha256_file(weights)},
        **result.run,
    }
    facts["seconds"] = {**result.run["seconds"], "total": round(time.perf_counter() - begin, 3)}
    result = dataclasses.replace(result, run=facts)
    result.save(output, overwrite)

    console = out()
    for name in result:
        console.print(layer_tables(result[name]))
    seconds = facts["seconds"]["total"]
    console.print(
        Text(
            f"{facts['images']:,} images, normalize {normalization}, {facts['memory_format']}, backend "
            f"{facts['backend']}, {seconds:.1f} s\n{_memory_line(facts)}\n"
            f"results: {plain(output)}/layers/*/units.csv"
        ),
        soft_wrap=True,
    )


_BOUNDS = {
    "exact": "a few activations in a hundred",
    "limit": "the limit bounds the number of images, so a few activations in a hundred",
    "none": "the number of images was not known, so all activations",
}


def _memory_line(facts: Mapping[str, Any]) -> str:
    """What a run has kept, and the most memory that it took."""
    peak, kept = f"peak memory {show_bytes(facts['peak_memory'])}", facts["candidates"]
    if kept is None:
        return peak
    spilled = f", {show_bytes(kept['spilled'])} in a temporary file" if kept["spilled"] else ""
    return f"kept {_BOUNDS[kept['bound']]}: {show_bytes(kept['peak'])} in memory{spilled}; {peak}"


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain_value(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value
