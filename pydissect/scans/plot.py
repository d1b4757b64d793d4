"""Curves over training: how the number of detectors changes from step to step."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ..errors import InputError
from ..extras import needs
from ..messages import nearest_names
from .checkpoints import natural_order
from .folder import ScanFolder
from .listing import read_tags
from .views import open_views, tag_names

_COLOURS = ("#0a5cc2", "#b35900", "#1a7f37", "#8250df", "#cf222e", "#0f7b83", "#9a6700", "#57606a")
_TEXT, _FAINT = "#1f2328", "#d1d9e0"
_MOST_LINES_NAMED = 12
_PANEL = (3.6, 2.7)  # inches
_ACROSS = 3

Points = dict[float, list[float]]
"""Of one line: for each x, a value of each seed."""


def plot(
    path: Path, target: Path, *, x: str = "step", by: str = "category", spread: str = "seed", layer: str | None = None
) -> None:
    """Draws the unique detectors of the checkpoints of a scan, a line a run.

    A run is what has the same tags but for ``x``, ``by`` and ``spread``. Where a run has several seeds, the line is
    their mean and the band reaches from the least to the most.

    Args:
        path: of the scan's folder.
        target: picture to write: PNG, SVG or PDF by its name.
        x: a tag that is a number, such as step.
        by: what makes a panel: ``"category"``, ``"layer"``, ``"all"`` for a single one, or a tag.
        spread: the tag of the seeds.
        layer: the only one to draw, where there are several.

    Raises:
        InputError: there are no results, no such tag, or no such layer.
    """
    panels = _panels(path, x, by, spread, layer)
    mpl = needs("matplotlib", "plot")
    figure_class = needs("matplotlib.figure", "plot").Figure
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": _TEXT,
        "axes.labelcolor": _TEXT,
        "axes.edgecolor": _FAINT,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
        "svg.hashsalt": "pydissect",
    }
    runs = list(dict.fromkeys(run for lines in panels.values() for run in lines))
    colours = {run: _COLOURS[place % len(_COLOURS)] for place, run in enumerate(runs)}
    across = min(len(panels), _ACROSS)
    down = -(-len(panels) // across)
    with mpl.rc_context(style):
        width = max(across * _PANEL[0], 5.0)
        drawing = figure_class(figsize=(width, down * _PANEL[1] + 0.6), layout="constrained")
        grid = drawing.subplots(down, across, squeeze=False, sharex=True)
        for place, (title, lines) in enumerate(panels.items()):
            axes = grid.flat[place]
            for run, points in lines.items():
                _draw_line(axes, run, points, colours[run])
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set_ylim(bottom=0)
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.grid(axis="y", color=_FAINT, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0, pad=5, labelbottom=place + across >= len(panels))
            for side in ("top", "left", "right"):
                axes.spines[side].set_visible(False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        drawing.supxlabel(x)
        drawing.supylabel("unique detectors")
        if 1 < len(runs) <= _MOST_LINES_NAMED:
            handles, names = grid.flat[0].get_legend_handles_labels()
            drawing.legend(handles, names, loc="outside upper left", frameon=False, ncols=min(len(runs), 4))
        metadata = {"Date": None} if target.suffix.lower() == ".svg" else {}
        try:
            drawing.savefig(target, dpi=160, metadata=metadata)
        except ValueError as error:
            raise InputError(f"--out {target}: {error}") from None


def _draw_line(axes: Any, run: str, points: Points, colour: str) -> None:
    places = sorted(points)
    axes.plot(
        places,
        [mean(points[place]) for place in places],
        color=colour,
        linewidth=1.4,
        marker="o" if len(places) <= 20 else "",
        markersize=3.5,
        label=run,
    )
    if any(len(values) > 1 for values in points.values()):
        lows, highs = ([pick(points[place]) for place in places] for pick in (min, max))
        axes.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _panels(path: Path, x: str, by: str, spread: str, layer: str | None) -> dict[str, dict[str, Points]]:
    """Of each panel, the points of each run."""
    tags = tag_names(read_tags(ScanFolder.open(path).listing_file))
    for option, name in (("--x", x), *([] if by in ("category", "layer", "all") else [("--by", by)])):
        if name not in tags:
            known = f"expected one of the tags {', '.join(tags)}" if tags else "the checkpoints have no tags"
            raise InputError(f"{option}: {known}, found {name!r}{nearest_names(name, tags)}")
    with open_views(path) as connection:
        rows = connection.sql("SELECT * FROM runs").to_arrow_table().to_pylist()
    if not rows:
        raise InputError(f"{path}: expected results to draw, found none yet")
    layers = sorted({row["layer"] for row in rows}, key=natural_order)
    if layer is not None and layer not in layers:
        raise InputError(f"--layer: expected one of {', '.join(layers)}, found {layer!r}{nearest_names(layer, layers)}")
    if layer is None and len(layers) > 1 and by != "layer":
        raise InputError(f"--layer: expected one of {', '.join(layers)} to draw, or --by layer; found none")
    rows = [row for row in rows if layer in (None, row["layer"]) and row[x] is not None]
    if odd := next((row[x] for row in rows if not isinstance(row[x], int | float)), None):
        raise InputError(f"--x: expected a tag that is a number, found {x}={odd!r}")
    end = "_unique_detectors"
    categories = [name.removesuffix(end) for name in rows[0] if name.endswith(end)] if rows else []
    kept = [tag for tag in tags if tag not in (x, by, spread)]
    panels: dict[str, dict[str, Points]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        run = _run_name(row, kept)
        if by == "category":
            counts = {category: row[f"{category}{end}"] for category in categories}
        else:
            counts = {"" if by == "all" else f"{by} {row[by]}": row["unique_detectors"]}
        for panel, count in counts.items():
            if count is not None:
                panels[panel][run][row[x]].append(count)
    if not panels:
        raise InputError(f"--x: expected checkpoints with the tag {x!r}, found none with a result")
    # A query gives its rows in no order; the same results are to give the same picture.
    titles = panels if by == "category" else sorted(panels, key=natural_order)
    return {title: {run: panels[title][run] for run in sorted(panels[title], key=natural_order)} for title in titles}


def _run_name(row: dict[str, Any], tags: Sequence[str]) -> str:
    return ", ".join(str(row[tag]) if tag == "run" else f"{tag} {row[tag]}" for tag in tags if row[tag] is not None)
