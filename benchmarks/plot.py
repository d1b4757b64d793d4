"""Draws counting speed against the limit, from the results that ``pydissect bench --json`` wrote.

    python benchmarks/plot.py benchmarks/results/MACHINE.json docs/speed

writes ``docs/speed-light.svg`` and ``docs/speed-dark.svg``, for pages of either background; ``--png`` writes
PNG instead.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from pydissect.bench.results import CountingResult, Report
from pydissect.bench.workloads import FORMATS


class Theme(NamedTuple):
    """Colours for a background."""

    background: str
    text: str
    faint: str
    limit: str
    ours: str
    torch: str
    loop: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#d1d9e0", "#59636e", "#0a5cc2", "#b35900", "#8250df"),
    "dark": Theme("#0d1117", "#f0f6fc", "#3d444d", "#9198a1", "#58a6ff", "#f0a050", "#c297ff"),
}


class Series(NamedTuple):
    """What is drawn in one style: a label, maps a second of each size, marker, filled or hollow."""

    label: str
    values: list[float]
    colour: str
    marker: str
    filled: bool


def ours(result: CountingResult, threads: int) -> float:
    """Maps a second of the best instruction set, fp32."""
    level = result.rows[0].level
    return next(
        row.maps_per_second
        for row in result.rows
        if (row.format, row.level, row.threads) == (FORMATS[0].name, level, threads)
    )


def threads_text(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def draw_limit(axes: Axes, results: list[CountingResult], theme: Theme) -> None:
    """Lines at the speed of reading the activations once and doing nothing else."""
    for x, result in enumerate(results):
        for read in result.read:
            dashed = read.threads == 1 and len(result.read) > 1
            axes.hlines(
                read.per_second / result.map_bytes,
                x - 0.3,
                x + 0.3,
                colors=theme.limit,
                linewidth=2.2,
                linestyles=(0, (2.2, 1.2)) if dashed else "solid",
                label=f"limit: reading memory once, {threads_text(read.threads)}" if x == 0 else None,
            )


def draw_series(axes: Axes, series: Series, theme: Theme) -> None:
    axes.plot(
        range(len(series.values)),
        series.values,
        color=series.colour,
        marker=series.marker,
        markersize=8.5,
        markerfacecolor=series.colour if series.filled else theme.background,
        markeredgewidth=1.8,
        linewidth=1.1,
        linestyle=(0, (1, 2.5)),
        label=series.label,
    )


def figure(report: Report, theme: Theme) -> Figure:
    made = [result for result in report.counting if result.name == f"{result.shape[2]}x{result.shape[3]}"]
    if not made:
        raise SystemExit("expected results of the made workloads, found none")
    with mpl.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 11,
            "text.color": theme.text,
            "axes.labelcolor": theme.text,
            "axes.edgecolor": theme.faint,
            "xtick.color": theme.text,
            "ytick.color": theme.text,
            "svg.hashsalt": "pydissect",
        }
    ):
        drawing = Figure(figsize=(9, 5), layout="constrained")
        axes = drawing.add_subplot()
        draw_limit(axes, made, theme)
        counts = [read.threads for read in made[0].read]
        for threads in reversed(counts):
            speeds = [ours(result, threads) for result in made]
            label = f"pydissect, {threads_text(threads)}"
            draw_series(axes, Series(label, speeds, theme.ours, "o", threads == counts[-1]), theme)
        torch = made[0].plain_torch.threads
        for label, speeds, colour, marker in (
            (f"plain torch, {threads_text(torch)}", [r.plain_torch.per_second for r in made], theme.torch, "s"),
            ("PIL resize and bincount, 1 thread", [r.older_loop.per_second for r in made], theme.loop, "D"),
        ):
            draw_series(axes, Series(label, speeds, colour, marker, True), theme)

        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(si))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xticks(range(len(made)), [f"{r.shape[2]} x {r.shape[3]}\n{r.live_maps:.0%} live" for r in made])
        axes.set_xlabel("size of the maps, and the share with a value above the threshold", labelpad=10)
        axes.set_xlim(-0.5, len(made) - 0.5)
        axes.set_title("Activation maps counted in a second", loc="left", fontweight="bold", pad=12)
        axes.grid(axis="y", color=theme.faint, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, pad=6)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        drawing.legend(loc="outside right center", frameon=False, labelspacing=1.1, handlelength=2.6)
        machine = report.machine
        drawing.text(
            0.995,
            0.01,
            f"{machine.cpu}\n{machine.cores} cores, {machine.levels[0]}, fp32; {machine.date}",
            ha="right",
            va="bottom",
            fontsize=8,
            color=theme.limit,
        )
    return drawing


def si(value: float, _: object) -> str:
    """10 k, 1 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="JSON file of pydissect bench")
    parser.add_argument("target", type=Path, help="path of the pictures, without -light.svg and -dark.svg")
    parser.add_argument("--png", action="store_true", help="write PNG instead of SVG")
    arguments = parser.parse_args()
    report = Report.load(arguments.results)
    for name, theme in THEMES.items():
        path = arguments.target.with_name(f"{arguments.target.name}-{name}.{'png' if arguments.png else 'svg'}")
        metadata = {} if arguments.png else {"Date": None}
        figure(report, theme).savefig(path, transparent=True, dpi=160, metadata=metadata)


if __name__ == "__main__":
    main()
