"""Times a scan's bookkeeping on made results of 10,000 checkpoints with 2,048 units each.

    python benchmarks/scan_bookkeeping.py [--checkpoints N] [--units N] [--folder DIR]

Made are the files of the checkpoints (a few bytes each), the listing and the results, these through the code that a
scan writes them with. Each figure is that of a process of its own, interpreter and imports included.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

QUERIES = {
    "query: unique detectors by run, step, category": """
        SELECT run, step, category, count(DISTINCT label) AS unique_detectors
        FROM units WHERE detector GROUP BY ALL ORDER BY ALL""",
    "query: steps at which dogs are detected best": """
        SELECT step, max(iou) AS iou FROM units WHERE label = 'concept 7' GROUP BY step ORDER BY iou DESC LIMIT 10""",
    "query: mean IoU of all units by step": "SELECT step, avg(iou) FROM units GROUP BY step ORDER BY step",
    "query: runs": "SELECT run, step, unique_detectors FROM runs ORDER BY run, step",
}
CATEGORIES = ("object", "part", "scene", "material", "texture", "color")
CONCEPTS = 1197
MODEL = "pydissect.demo:untrained"
TEMPLATES = 40
SEEDS = 10
PATTERN = "runs/*/seed-*/step-*.safetensors"


def make(folder: Path, checkpoints: int, units: int) -> None:
    """Makes a finished scan."""
    # In the process that makes it: the peak of a process is at least that of the one that starts it.
    import torch

    from pydissect import Broden, Counts
    from pydissect.categories import Categories
    from pydissect.dissection import LayerDissection
    from pydissect.scans.folder import FOLD, ScanFolder
    from pydissect.scans.plan import Plan, finder
    from pydissect.scans.results import layer_facts, layer_table, write_result
    from pydissect.scans.settings import Settings
    from pydissect.sources import ConceptName
    from pydissect.synth import make_dataset
    from pydissect.top_images import TopImages

    make_dataset(folder / "data", 4)
    runs = folder / "runs"
    for i in range(checkpoints):
        path = runs / "ab"[i % 2] / f"seed-{i // 2 % SEEDS}" / f"step-{i // 2 // SEEDS * 100}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(i).encode())

    scan = ScanFolder(folder / "scan")
    scan.make()
    of_concept = torch.arange(CONCEPTS) % len(CATEGORIES)
    categories = Categories(CATEGORIES, of_concept)
    names = tuple(ConceptName(c + 1, f"concept {c}", CATEGORIES[c % len(CATEGORIES)]) for c in range(CONCEPTS))
    generator = torch.Generator().manual_seed(0)
    templates = []
    for _ in range(TEMPLATES):
        intersection = torch.randint(0, 4000, (units, CONCEPTS), generator=generator)
        area = intersection.amax(1, keepdim=True) + torch.randint(0, 90_000, (units, 6), generator=generator)
        concept_area = intersection.amax(0) + torch.randint(0, 90_000, (CONCEPTS,), generator=generator)
        counts = Counts(intersection, area, area.sum(1), concept_area, categories)
        thresholds = torch.rand(units, generator=generator)
        top = TopImages(0, units)
        result = LayerDissection("layer4", (7, 7), thresholds, counts, concept_area, names, "category", 0.04, top)
        templates.append((layer_table("", result), layer_facts(result)))

    dataset = Broden(folder / "data")
    settings = Settings(input_size=dataset.image_size)
    plan = Plan(scan, settings, dataset)
    found = finder(folder / PATTERN, None, MODEL, ["layer4"])()
    for number, entry in enumerate(plan.with_keys(plan.add(found)), start=1):
        table, facts = templates[number % TEMPLATES]
        assert entry.key is not None
        run = {
            "key": entry.key,
            "layers": [facts],
            "images": 63305,
            "settings": settings.meaning(),
            "dataset": {"sha256": dataset.sha256()},
            "weights": {"sha256": entry.sha256},
            "seconds": {"dissect": 10.0},
            "finished": "2026-11-24T12:00:00+00:00",
        }
        write_result(scan.result_file(entry.key), table.set_column(0, "key", [[entry.key] * len(table)]), run)
        if number % FOLD == 0:
            scan.fold()
    plan.listing.save(scan.listing_file)


class Cost(NamedTuple):
    """Of a process: seconds, those of processors, and its peak memory in MB."""

    seconds: float
    processor: float
    peak: float


def measure(arguments: list[str]) -> Cost:
    """What a process costs."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pydissect", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"pydissect {' '.join(arguments)} failed")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=10_000)
    parser.add_argument("--units", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep what is made there, or take what an earlier run has made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        out = folder / "scan"
        if not out.exists():
            begin = time.perf_counter()
            maker = multiprocessing.get_context("spawn").Process(
                target=make, args=(folder, options.checkpoints, options.units)
            )
            maker.start()
            maker.join()
            if maker.exitcode != 0:
                raise SystemExit("the results could not be made")
            seconds = time.perf_counter() - begin
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            print(f"made in {seconds:.0f} s, with a peak of {peak:.0f} MB")
        files = list(out.rglob("*.parquet"))
        print(f"{len(files)} Parquet files, {sum(path.stat().st_size for path in files) / 1e9:.2f} GB")
        commands = {
            "status": ["scan", "status", str(out)],
            "resume, nothing to do": [
                *("scan", "--data", str(folder / "data"), "--model", MODEL, "--layer", "layer4"),
                *("--weights", str(folder / PATTERN), "--out", str(out)),
            ],
            **{name: ["scan", "query", str(out), sql] for name, sql in QUERIES.items()},
            "plot --x step --by category": ["scan", "plot", str(out), "--out", str(folder / "plot.png")],
        }
        print(f"{'median of ' + str(options.rounds):52}  seconds  processor  peak MB")
        for name, arguments in {"start": ["--version"], **commands}.items():
            runs = [measure(arguments) for _ in range(options.rounds)]
            seconds, processor = (median(values) for values in list(zip(*runs, strict=True))[:2])
            print(f"{name:52}  {seconds:7.2f}  {processor:9.2f}  {max(run.peak for run in runs):7.0f}")


if __name__ == "__main__":
    main()
