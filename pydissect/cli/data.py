"""``pydissect data``."""

from pathlib import Path

import click
from rich.text import Text

from ..broden import Broden, check, summarize
from ..mask_cache import cached_masks, cached_path
from ..parallel import default_workers
from ..synth import make_dataset
from .console import Command, Group, out, plain, progress_bar, say
from .tables import dataset_tables

_DATA = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset in Broden's format.",
)
_SPLIT = click.option("--split", default="all", show_default=True, metavar="SPLIT", help="all, train or val.")


@click.group(cls=Group)
def data_group() -> None:
    """Look at, validate, pack, or make a dataset."""


@data_group.command("info", cls=Command, epilog="Example: pydissect data info --data broden1_224")
@_DATA
@_SPLIT
def info_command(data: Path, split: str) -> None:
    """Show what a dataset holds. Opens no picture."""
    dataset = Broden(data, split)
    console = out()
    console.print(dataset_tables(summarize(dataset)))
    console.print(f"sha256 {dataset.sha256()}", soft_wrap=True)


@data_group.command("check", cls=Command, epilog="Example: pydissect data check --data broden1_224 --verify")
@_DATA
@click.option("--verify", is_flag=True, help="Print a SHA-256 over the contents of all files, to compare copies.")
@click.pass_context
def check_command(ctx: click.Context, data: Path, verify: bool) -> None:
    """Open every file of a dataset and list all that is wrong with it. Exit status 2 if anything is."""
    with progress_bar() as progress:
        report = check(data, verify=verify, progress=lambda done, total: progress("checking", done, total))
    for problem in report.problems:
        say("problem", "bold red", problem)
    console = out()
    if report.sha256:
        console.print(f"sha256 {report.sha256}", soft_wrap=True)
    console.print(f"{report.images:,} images, {report.bitmaps:,} label PNGs, {len(report.problems):,} problems")
    if not report.ok:
        ctx.exit(2)


@data_group.command("pack", cls=Command, epilog="Example: pydissect data pack --data broden1_224")
@_DATA
@_SPLIT
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that decode.  [default: one a processor, at most 8]",
)
def pack_command(data: Path, split: str, workers: int | None) -> None:
    """Pack a dataset's masks ahead of the first dissection, into the cache.

    The cache lies in $PYDISSECT_CACHE, or in pydissect's folder of the user's cache.
    """
    dataset = Broden(data, split)
    with progress_bar() as progress:
        masks = cached_masks(dataset, workers=workers or default_workers(), progress=progress)
    path = cached_path(dataset)
    size = f"{path.stat().st_size / 1e6:,.1f} MB" if path.exists() else "not kept"
    out().print(Text(f"{plain(masks)}\n{plain(path)} ({size})"), soft_wrap=True)


@data_group.command("synth", cls=Command, epilog="Example: pydissect data synth --images 300 --seed 0 --out demo/data")
@click.option("--images", type=click.IntRange(1), default=300, show_default=True, metavar="N", help="Pictures to draw.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="S",
    help="Another seed draws other pictures.",
)
@click.option("--out", "output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to make.")
def synth_command(images: int, seed: int, output: Path) -> None:
    """Make a dataset of drawn pictures with exact labels, in Broden's format."""
    with progress_bar() as progress:
        progress("drawing", 0, images)
        make_dataset(output, images, seed, progress=lambda done: progress("drawing", done, images))
    out().print(Text(f"{images:,} images in {plain(output)}"), soft_wrap=True)
