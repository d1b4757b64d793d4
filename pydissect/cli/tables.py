"""The tables that the command line prints."""

from collections.abc import Iterable
from typing import NamedTuple

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..broden import Summary
from ..dissection import LayerDissection
from ..layers import LayerInfo
from .console import plain

_TOP_UNITS = 10


def _table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    return table


def layer_tables(result: LayerDissection) -> Group:
    """A layer's best units, and its detectors and unique detectors by category."""
    summary = result.summary
    h, w = result.map_size
    title = f"{plain(result.layer)}: {summary.units} units of {h} x {w}, {summary.detectors} detectors"
    units = _table(
        f"{title}; the best units",
        *("unit", "label", "category", "IoU", "pixels in both", "of the unit's", "of the concept's"),
        right=("unit", "IoU", "pixels in both", "of the unit's", "of the concept's"),
    )
    rows = sorted(result.unit_rows(), key=lambda row: (-row["iou"], row["unit"]))
    for row in rows[:_TOP_UNITS]:
        units.add_row(
            str(row["unit"]),
            Text(plain(row["label"])),
            Text(plain(row["category"])),
            f"{row['iou']:.3f}",
            f"{row['intersection']:,}",
            f"{row['unit_area']:,}",
            f"{row['concept_area']:,}",
        )
    categories = _table(
        f"detectors: units with IoU > {result.iou_threshold:g}",
        *("category", "detectors", "unique detectors", "units labelled so", "unique top labels"),
        right=("detectors", "unique detectors", "units labelled so", "unique top labels"),
    )
    for name, count in summary.categories.items():
        categories.add_row(
            Text(plain(name)),
            str(count.detectors),
            str(count.unique_detectors),
            str(count.top_detectors),
            str(count.unique_top_labels),
        )
    categories.add_section()
    categories.add_row("all", "", str(summary.unique_detectors), str(summary.detectors), str(summary.unique_top_labels))
    return Group(units, categories)


def layers_table(layers: Iterable[LayerInfo]) -> Table:
    """The modules of a model, with the shape of what each returns."""
    table = _table("layers", "name", "type", "units", "map", "note", right=("units",))
    for layer in layers:
        units, size, note = "", "", plain(layer.problem)
        if layer.shape is not None:
            units, size = str(layer.shape[0]), f"{layer.shape[1]} x {layer.shape[2]}"
            note = f"runs {layer.calls} times; the last is taken" if layer.calls > 1 else ""
        style = None if layer.shape is not None else "dim"
        table.add_row(Text(plain(layer.name)), plain(layer.type), units, size, Text(note), style=style)
    return table


class BackendRow(NamedTuple):
    """A backend on a device: whether it can be had, whether ``auto`` takes it; its versions, or why not."""

    device: str
    backend: str
    available: bool
    auto: bool
    note: str


def backends_table(rows: Iterable[BackendRow]) -> Table:
    """Which backends can be had on which device."""
    table = _table("backends", "device", "backend", "state", "")
    last = ""
    for row in rows:
        if last and row.device != last:
            table.add_section()
        state = "auto" if row.auto else "available" if row.available else "unavailable"
        device = "" if row.device == last else plain(row.device)
        table.add_row(Text(device), row.backend, state, Text(plain(row.note)), style=None if row.available else "dim")
        last = row.device
    return table


def dataset_tables(summary: Summary) -> Group:
    """What a dataset holds."""
    rows = _table("images", "split", "images", right=("images",))
    for split, images in summary.splits.items():
        rows.add_row(Text(plain(split)), f"{images:,}")
    sizes = _table("sizes", "what", "height x width", "images", right=("images",))
    for what, counts in (("pictures", summary.image_sizes), ("masks", summary.mask_sizes)):
        for (height, width), images in counts.items():
            sizes.add_row(what, f"{height} x {width}", f"{images:,}")
    categories = _table(
        "categories", "category", "concepts", "images annotated", right=("concepts", "images annotated")
    )
    for category in summary.categories:
        categories.add_row(Text(plain(category.name)), f"{category.concepts:,}", f"{category.images:,}")
    return Group(rows, sizes, categories)
