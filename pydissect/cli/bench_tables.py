"""The tables of ``pydissect bench``."""

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..bench.results import CountingResult, DeviceResult, PackingRow, Report, ThresholdRow
from .console import plain

_BUSY = 0.75  # processes; half a one is this process's own start


def bench_tables(report: Report) -> Group:
    """All that was measured, and on what."""
    machine, settings = report.machine, report.settings
    commit = f" ({machine.commit})" if machine.commit else ""
    lines = [
        f"{machine.cpu}, {machine.cores} cores, {' / '.join(machine.levels)}, {machine.memory_bytes / 2**30:.0f} GB",
        f"{machine.system}; {machine.compiler}; Python {machine.python}, torch {machine.torch}, numpy {machine.numpy}, "
        f"pydissect {machine.pydissect}{commit}; {machine.date}",
        f"{settings.rounds} rounds, the sides in turn; ratios are medians over the rounds",
    ]
    if settings.runs > 1:
        lines.append(f"of counting, each side runs {settings.runs} times in its turn, and the best counts")
    if machine.load > _BUSY:
        lines.append(f"the machine was busy: a load of {machine.load:.1f} at the start; expect lower speeds and shares")
    if settings.quick:
        lines.append("--quick: less data than the caches may hold and few rounds; not numbers to quote")
    parts: list[RenderableType] = [Text(plain(line)) for line in lines]
    if report.counting:
        share = min(result.huge_share for result in report.counting)
        parts.append(
            Text(
                f"counting streams {settings.stream_bytes >> 20} MiB or more of activations; reading reads the same "
                f"buffer; {settings.pages} pages asked for, {share:.0%} of it lies on huge pages"
            )
        )
        parts.append(_counting_table(report.counting))
    if report.thresholds:
        parts.append(_thresholds_table(report.thresholds))
    if report.packing:
        parts.append(_packing_table(report.packing))
    if report.devices:
        parts.append(_device_table(report.devices))
    return Group(*parts)


def _table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in left:
        table.add_column(column, no_wrap=True)
    for column in right:
        table.add_column(column, justify="right")
    return table


def _counting_table(results: list[CountingResult]) -> Table:
    table = _table(
        "counting",
        ("activations", "what"),
        ("threads", "maps/s", "GB/s", "of\nreading", "x plain\ntorch", "x older\nloop", "x 1\nthread"),
    )
    for result in results:
        n, units, h, w = result.shape
        head = iter(
            (
                plain(result.name),
                f"{n} x {units} x {h} x {w}",
                f"{result.live_maps:.1%} maps live",
                f"{result.live_cells:.2%} cells live",
                f"{result.masks:.0f} masks an image",
            )
        )

        def add(
            what: str, threads: int, bytes_per_second: float, map_bytes: float, *more: str, head: Iterator[str] = head
        ) -> None:
            maps = _count(bytes_per_second / map_bytes)
            table.add_row(next(head, ""), what, str(threads), maps, f"{bytes_per_second / 1e9:.2f}", *more)

        for read in result.read:
            add("reading memory once", read.threads, read.per_second, result.map_bytes, "100%")
        for row in result.rows:
            add(
                f"{row.format}, {row.level}",
                row.threads,
                row.bytes_per_second,
                row.bytes_per_second / row.maps_per_second,
                f"{row.share_of_read:.0%}",
                _times(row.times_plain_torch),
                _times(row.times_older_loop),
                "" if row.scaling is None else f"{row.scaling:.2f}",
            )
        for what, speed in (("plain torch", result.plain_torch), ("older loop", result.older_loop)):
            add(what, speed.threads, speed.per_second * result.map_bytes, result.map_bytes)
        table.add_section()
    return table


def _thresholds_table(rows: list[ThresholdRow]) -> Table:
    table = _table(
        "exact thresholds against gathering the values and torch.topk, as many threads each",
        ("activations", "images"),
        ("threads", "GB/s", "topk, GB/s", "x topk", "MB held", "topk, MB held"),
    )
    for row in rows:
        n, units, h, w = row.shape
        table.add_row(
            f"{n} x {units} x {h} x {w}",
            "sorted (the worst)" if row.order == "sorted" else row.order,
            str(row.threads),
            f"{row.bytes_per_second / 1e9:.2f}",
            f"{row.topk_bytes_per_second / 1e9:.2f}",
            _times(row.times_topk),
            f"{row.bytes_held / 1e6:.1f}",
            f"{row.topk_bytes_held / 1e6:.1f}",
        )
    return table


def _packing_table(rows: list[PackingRow]) -> Table:
    table = _table(
        "packing masks against np.packbits of each concept",
        ("masks", "shape"),
        ("threads", "masks/s", "GB/s", "x NumPy"),
    )
    for row in rows:
        table.add_row(
            row.name,
            " x ".join(map(str, row.shape)),
            str(row.threads),
            _count(row.masks_per_second),
            f"{row.bytes_per_second / 1e9:.2f}",
            _times(row.times_numpy),
        )
    return table


def _device_table(results: list[DeviceResult]) -> Table:
    table = _table(
        f"counting and thresholds on {plain(results[0].device)}",
        ("activations", "what"),
        (
            "maps/s",
            "GB/s",
            "of\nreading",
            "of\ncopying",
            "x plain\ntorch",
            "x comp.\ntorch",
            "scan",
            "words",
        ),
    )
    for result in results:
        n, units, h, w = result.shape
        head = iter(
            (
                plain(result.name),
                f"{n} x {units} x {h} x {w}",
                f"{result.stream_bytes / 2**30:.1f} GiB in all",
                f"{result.live_maps:.1%} maps live",
                f"{result.live_cells:.2%} cells live",
            )
        )
        for what, bandwidth in (
            ("reading", result.read_bytes_per_second),
            ("copying, both ways", result.copy_bytes_per_second),
        ):
            table.add_row(next(head, ""), what, "", f"{bandwidth / 1e9:,.1f}")
        for row in result.rows:
            table.add_row(
                next(head, ""),
                f"{row.format}, {row.backend}",
                _count(row.maps_per_second),
                f"{row.bytes_per_second / 1e9:,.1f}",
                f"{row.share_of_read:.0%}",
                f"{row.share_of_copy:.0%}",
                _times(row.times_plain_torch),
                "" if row.times_compiled_torch is None else _times(row.times_compiled_torch),
                f"{row.scan_share:.0%}",
                f"{row.interpolate_share:.0%}",
            )
        for row in result.rows:
            speed_of_thresholds = row.thresholds_share_of_read * result.read_bytes_per_second
            table.add_row(
                next(head, ""),
                f"thresholds, {row.format}, {row.backend}",
                "",
                f"{speed_of_thresholds / 1e9:,.1f}",
                f"{row.thresholds_share_of_read:.0%}",
            )
        for what, speed in (("plain torch", result.plain_torch), ("compiled torch", result.compiled_torch)):
            table.add_row(next(head, ""), what, "failed" if speed is None else _count(speed))
        table.add_section()
    return table


def _count(value: float) -> str:
    if value >= 1e9:
        return f"{value / 1e9:,.2f} G"
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value / 1e3:,.1f} k"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
