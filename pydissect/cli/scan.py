"""``pydissect scan``."""

import csv
import io
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from ..broden import Broden
from ..errors import InputError
from ..grids import parse_grid
from ..scans import Failure, ScanReport, plot, query, read_status, scan
from ..scans.engines import ENGINES
from .console import Command, Group, out, plain, progress_bar, say
from .dissect import dissect_command

_SHOWN_FAILURES = 20
_SHOWN_ROWS = 100
_SHOWN_RUNNING = 8

# They mean the same as for a single dissection.
_DISSECT_OPTIONS = (
    *("quantile", "iou_threshold", "union", "grid", "normalize", "input_size", "split", "limit", "batch_size"),
    *("device", "dtype", "backend", "nonfinite"),
)


class _ScanGroup(Group):
    """A group that scans if its first argument names none of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ScanGroup)
def scan_group() -> None:
    """Dissect many checkpoints; look at, query and plot their results."""


@scan_group.command(
    "run",
    cls=Command,
    params=[option for option in dissect_command.params if option.name in _DISSECT_OPTIONS],
    epilog="Example: pydissect scan --data broden1_224 --model torchvision.models:resnet50 --layer layer4 --weights "
    "'runs/*/step-*.safetensors' --out scan. Then: pydissect scan status scan; pydissect scan query scan "
    '"SELECT step, count(*) FROM units WHERE detector GROUP BY step"; pydissect scan plot scan --x step --by category.',
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Dataset in Broden's format."
)
@click.option(
    "--weights",
    metavar="PATTERN",
    help="Files of weights, such as 'runs/*/step-*.safetensors' (in quotes; ** for any folders). What a path says of "
    "run, seed, step or NAME=VALUE becomes a tag.",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead: a list of checkpoints, CSV with a header or JSON lines: weights, model, layer, and any tags. Paths "
    "are relative to its folder.",
)
@click.option(
    "--model",
    metavar="SPEC",
    help="FILE.py:FACTORY or package.module:factory, as for `pydissect dissect`; of a manifest's rows without one.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Module to dissect; several times for several. Of a manifest's rows without one.",
)
@click.option(
    "--out",
    "output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the results. One of an earlier scan is gone on with: only what is missing is done.",
)
@click.option("--counts", is_flag=True, help="Keep the integers behind the IoU, a safetensors file a layer.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="Processes on this machine, or a Ray cluster.",
)
@click.option(
    "--address", metavar="A", help="Of an existing Ray cluster, such as auto.  [default: one on this machine]"
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Of the local engine.  [default: one a GPU for --device cuda, one a core up to 8 for cpu]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Of each checkpoint.  [default: an equal share of the cores; 1 on Ray]",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="How often to try a checkpoint again that failed, or killed its process.",
)
@click.option(
    "--shards",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Share out the images of each checkpoint to N workers, or as many as there are batches; the results are the "
    "same. Pays for fewer checkpoints than workers. Takes room in DIR until a checkpoint is done: about 5N percent of "
    "its activations' bytes.",
)
@click.option("--watch", is_flag=True, help="Go on with checkpoints that arrive, when their files have come to rest.")
@click.option(
    "--poll",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks for them.",
)
@click.option(
    "--idle-exit",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="End when none has arrived for so long.  [default: never]",
)
@click.option(
    "--unsafe-weights", is_flag=True, help="Unpickle whatever the files of weights hold; runs code of theirs."
)
@click.pass_context
def scan_command(
    ctx: click.Context,
    /,
    data: Path,
    weights: str | None,
    manifest: Path | None,
    model: str | None,
    layers: tuple[str, ...],
    output: Path,
    split: str,
    quantile: tuple[str, ...],
    grid: str,
    input_size: int | None,
    watch: bool,
    **more: Any,
) -> None:
    """Dissect every checkpoint of many, and survive whatever happens meanwhile.

    Also: pydissect scan status DIR, pydissect scan query DIR "SQL", pydissect scan plot DIR; each has a --help.

    A checkpoint that fails or kills its process is tried again, then recorded, and the others go on; the exit status
    is 1 then. Run the same command again at any time: what has a result is not done again, unless the weights, the
    model's file, the dataset or the options have changed.
    """
    dataset = Broden(data, split)
    size = (input_size, input_size) if input_size else dataset.image_size
    try:
        with progress_bar("checkpoints") as progress:
            report = scan(
                dataset,
                out=output,
                weights=weights,
                manifest=manifest,
                model=model,
                layers=layers,
                quantile=quantile if len(quantile) > 1 else quantile[0],
                grid=parse_grid(grid, size),
                input_size=size,
                watch=watch,
                progress=progress,
                **more,
            )
    except KeyboardInterrupt:
        say("interrupted", "bold yellow", f"what is done is in {output}; the same command goes on from there")
        ctx.exit(130)
    _print_report(report, output)
    if report.failures:
        ctx.exit(1)


@scan_group.command("status", cls=Command, epilog="Example: pydissect scan status scan")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def status_command(folder: Path) -> None:
    """Show how far a scan is: what is done, failed, running, missing; its rate and the time left."""
    status = read_status(folder)
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("checkpoints", f"{status.checkpoints:,}")
    table.add_row("done", f"{status.done:,}")
    table.add_row("failed", f"{len(status.failures):,}")
    table.add_row("missing", f"{status.missing:,}")
    table.add_row("running", "no scan runs" if status.running is None else f"{len(status.running):,}")
    if status.rate:
        table.add_row("rate", f"{3600 * status.rate:,.1f} an hour")
    if (left := status.seconds_left) is not None:
        table.add_row("time left", str(timedelta(seconds=round(left))))
    console = out()
    console.print(table)
    for weights in (status.running or ())[:_SHOWN_RUNNING]:
        console.print(Text(f"running: {plain(weights)}"), soft_wrap=True)
    if status.failures:
        console.print(_failures_table(status.failures))


@scan_group.command(
    "query",
    cls=Command,
    epilog='Example: pydissect scan query scan "SELECT run, step, count(DISTINCT label) AS concepts FROM units WHERE '
    'detector GROUP BY ALL ORDER BY ALL"',
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help=f"A table of the first {_SHOWN_ROWS} rows, CSV, or a JSON object a line.",
)
def query_command(folder: Path, sql: str, form: str) -> None:
    """Ask all results of a scan in SQL, as DuckDB understands it.

    The view units has a row a unit of each checkpoint, with the columns of units.csv; runs has a row a checkpoint and
    layer. Both have the tags. DESCRIBE units lists the columns; docs/scans.md explains them.
    """
    answer = query(folder, sql)
    if form == "table":
        _print_table(answer)
        return
    text = io.StringIO(newline="")
    if form == "csv":
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(answer.column_names)
    for batch in answer.to_batches():
        if form == "csv":
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        else:
            text.writelines(json.dumps(row, default=str) + "\n" for row in batch.to_pylist())
        sys.stdout.write(text.getvalue())
        text.seek(0)
        text.truncate()
    sys.stdout.write(text.getvalue())


@scan_group.command(
    "plot", cls=Command, epilog="Example: pydissect scan plot scan --x step --by category --out scan.svg"
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--x", default="step", show_default=True, metavar="TAG", help="Tag of the horizontal axis.")
@click.option(
    "--by",
    default="category",
    show_default=True,
    metavar="WHAT",
    help="What makes a panel: category, layer, a tag, or all for a single one.",
)
@click.option(
    "--spread",
    default="seed",
    show_default=True,
    metavar="TAG",
    help="Checkpoints that differ in this tag only are one line, their mean, and a band from the least to the most.",
)
@click.option("--layer", metavar="NAME", help="The only layer to draw; needed where there are several.")
@click.option(
    "--out",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Picture: PNG, SVG or PDF by its name.  [default: DIR/X-by-WHAT.png]",
)
def plot_command(folder: Path, x: str, by: str, spread: str, layer: str | None, output: Path | None) -> None:
    """Draw curves over training: unique detectors, a panel a category, a line a run."""
    target = output or folder / f"{x}-by-{by}.png"
    if not target.absolute().parent.is_dir():
        raise InputError(f"--out: expected a file in an existing folder, found {str(target)!r}")
    plot(folder, target, x=x, by=by, spread=spread, layer=layer)
    out().print(Text(plain(target)), soft_wrap=True)


def _print_report(report: ScanReport, folder: Path) -> None:
    console = out()
    if report.failures:
        console.print(_failures_table(report.failures))
    before = report.checkpoints - report.made - len(report.failures)
    console.print(
        Text(
            f"{report.checkpoints:,} checkpoints: {report.made:,} done, {before:,} done before or alike, "
            f'{len(report.failures):,} failed\nresults: pydissect scan query {plain(folder)} "SELECT * FROM runs"'
        ),
        soft_wrap=True,
    )


def _failures_table(failures: tuple[Failure, ...]) -> Table:
    table = Table(title=f"{len(failures):,} failed", title_justify="left", title_style="bold red", box=box.SIMPLE_HEAD)
    table.add_column("weights", overflow="fold")
    table.add_column("tries", justify="right")
    table.add_column("error", overflow="fold")
    for failure in failures[:_SHOWN_FAILURES]:
        table.add_row(Text(plain(failure.weights)), str(failure.attempts), Text(plain(failure.error)))
    if len(failures) > _SHOWN_FAILURES:
        table.add_row("...", "", f"and {len(failures) - _SHOWN_FAILURES:,} more, in failed/*.json")
    return table


def _print_table(answer: Any) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    rows = answer.slice(0, _SHOWN_ROWS).to_pylist()
    for name in answer.column_names:
        numbers = all(isinstance(row[name], int | float) for row in rows if row[name] is not None)
        table.add_column(Text(plain(name)), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console = out()
    console.print(table)
    if len(answer) > len(rows):
        console.print(f"the first {len(rows)} of {len(answer):,} rows; --format csv gives all")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else plain(value)
