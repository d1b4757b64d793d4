"""Scans many small checkpoints on every engine, kills what runs, and shows that the tables stay the same.

    python scripts/soak.py [--checkpoints N] [--kills N] [--images N] [--seed S] [--engine local|ray]...

Among the checkpoints are a corrupt file, one of another architecture, and one whose model dies of a segmentation
fault. Exits with 1 if a table differs, a process outlives its driver, or another checkpoint fails than these.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

from pydissect import Broden, demo
from pydissect.defaults import BATCH_SIZE
from pydissect.normalize import Normalization
from pydissect.scans import query
from pydissect.scans.folder import ScanFolder
from pydissect.scans.results import read_facts
from pydissect.synth import make_dataset

LIMIT = 1200  # seconds of a scan
PATIENCE = 120  # seconds for processes to end after their driver; the agents of Ray take most of a minute
BAD = ("corrupt", "another", "dies")

DYING_MODEL = """
import os, signal
from pydissect.demo import untrained

def dies():
    model = untrained()
    model.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
    return model
"""


class Wrong(Exception):
    """Something is not as it must be."""


@dataclass(frozen=True)
class Bench:
    """A dataset and a manifest in a folder.

    Attributes:
        folder: of all.
        checkpoints: of the manifest, bad ones included.
    """

    folder: Path
    checkpoints: int

    @property
    def manifest(self) -> Path:
        """Of the checkpoints."""
        return self.folder / "manifest.jsonl"

    def command(self, engine: str, out: Path) -> list[str]:
        """The scan."""
        return [
            *(sys.executable, "-m", "pydissect", "scan", "--data", str(self.folder / "data")),
            *("--manifest", str(self.manifest), "--model", "pydissect.demo:untrained", "--layer", "layer6"),
            *("--out", str(out), "--engine", engine, "--threads", "1"),
        ]


def make(folder: Path, checkpoints: int, images: int) -> Bench:
    """Makes the dataset, the files of weights, each the demo network with its own noise, and their manifest."""
    make_dataset(folder / "data", images)
    (folder / "dying.py").write_text(DYING_MODEL)
    (folder / "weights").mkdir()
    state = demo.trained().state_dict()
    rows: list[dict[str, Any]] = []
    for number in range(checkpoints - len(BAD)):
        seed, step = number % 4, number // 4 * 100
        generator = torch.Generator().manual_seed(number)
        noisy = {
            name: value + 0.02 * (number % 7) * value.std() * torch.randn(value.shape, generator=generator)
            for name, value in state.items()
        }
        path = folder / "weights" / f"seed-{seed}-step-{step}.safetensors"
        save_file(noisy, path)
        rows.append({"weights": f"weights/{path.name}", "seed": seed, "step": step})
    for name in BAD:
        rows.append({"weights": f"weights/{name}.safetensors"})
    save_file({**state, "readout.bias": torch.zeros(3)}, folder / "weights" / "another.safetensors")
    save_file(state, folder / "weights" / "dies.safetensors")
    content = (folder / "weights" / "seed-0-step-0.safetensors").read_bytes()
    (folder / "weights" / "corrupt.safetensors").write_bytes(content[: len(content) // 2])
    rows[-1]["model"] = "dying.py:dies"
    # In the midst of the others, so that these have something to survive.
    for place, row in zip((1, 3, 5), [rows.pop() for _ in BAD], strict=True):
        rows.insert(place, row)
    bench = Bench(folder, checkpoints)
    bench.manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return bench


def scan(bench: Bench, engine: str, out: Path) -> float:
    """Runs the scan to its end; seconds."""
    begin = time.perf_counter()
    result = subprocess.run(bench.command(engine, out), capture_output=True, text=True, timeout=LIMIT, check=False)
    if result.returncode != 1:  # the bad ones fail
        raise Wrong(f"{engine}: expected exit status 1, found {result.returncode}:\n{result.stderr[-3000:]}")
    return time.perf_counter() - begin


def scan_and_kill(bench: Bench, engine: str, out: Path, kills: int, dice: random.Random) -> list[str]:
    """Runs the scan, with so many kills at random moments, in turn of the driver and a worker; what was killed."""
    folder = ScanFolder(out)
    # The moments: so many results, each some way into the time of the next.
    moments = sorted(dice.sample(range(bench.checkpoints - len(BAD) - 1), kills))
    killed = []
    driver: subprocess.Popen[bytes] | None = None
    try:
        for number, moment in enumerate(moments):
            if driver is None:
                driver = start(bench, engine, out)
            wait_for(lambda: out.is_dir() and len(folder.done()) >= moment, LIMIT, f"{moment} results", driver)  # noqa: B023
            time.sleep(dice.uniform(0, 0.3))
            if number % 2 == 0:
                family = descendants(driver.pid)
                driver.kill()
                driver.wait()
                driver = None
                wait_for(lambda: not any(alive(pid) for pid in family), PATIENCE, "the workers' end")  # noqa: B023
                killed.append(f"driver after {moment}")
            elif workers := [pid for pid in descendants(driver.pid) if is_worker(pid)]:
                os.kill(dice.choice(workers), signal.SIGKILL)
                killed.append(f"worker after {moment}")
    finally:
        if driver is not None:
            driver.wait(LIMIT)
    scan(bench, engine, out)
    return killed


def start(bench: Bench, engine: str, out: Path) -> subprocess.Popen[bytes]:
    """Starts the scan."""
    return subprocess.Popen(bench.command(engine, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(true: Callable[[], bool], limit: float, what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until something is true, or the process that is to make it so has ended."""
    end = time.monotonic() + limit
    while not true():
        if process is not None and process.poll() is not None:
            return
        if time.monotonic() > end:
            raise Wrong(f"waited {limit:.0f} s for {what}")
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and they."""
    found = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, task.read_text().split())
        except OSError:
            continue


def alive(pid: int) -> bool:
    """Whether there is such a process, one that has ended and was not waited for aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_worker(pid: int) -> bool:
    """Whether a process runs tasks, by its command line. Ray's agents do not, and take the cluster with them."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return "spawn_main" in command or (command.startswith("ray::") and "Agent" not in command)


def tables(out: Path) -> dict[str, Any]:
    """All that must be the same: units and runs, but for times and places."""
    return {
        "units": query(out, "SELECT * FROM units ORDER BY weights, layer, unit"),
        "runs": query(out, "SELECT * EXCLUDE (seconds, finished) FROM runs ORDER BY weights, layer"),
        "failed": {Path(failure.weights).stem: failure.error for failure in ScanFolder(out).failures().values()},
    }


def check_tables(expected: dict[str, Any], found: dict[str, Any], what: str) -> None:
    """Raises Wrong where they differ."""
    if sorted(found["failed"]) != sorted(BAD):
        raise Wrong(f"{what}: expected {', '.join(BAD)} to fail, found {found['failed']}")
    for name in ("units", "runs"):
        if not found[name].equals(expected[name]):
            raise Wrong(f"{what}: table {name} differs: {found[name].num_rows} rows, {expected[name].num_rows} wanted")


def check_rows(bench: Bench, found: dict[str, Any]) -> None:
    """Raises Wrong if a result is missing or there twice."""
    good = bench.checkpoints - len(BAD)
    units, runs = found["units"].num_rows, found["runs"].num_rows
    if (units, runs) != (128 * good, good):
        raise Wrong(f"expected {good} results of 128 units, found {runs} with {units}")


def forward_seconds(bench: Bench, rounds: int = 5) -> float:
    """Of one pass of the network up to the layer over all images, decoded already: the median in each of as many
    processes of one thread as the scan has, all at once.
    """
    data = Broden(bench.folder / "data")
    pictures = torch.stack([torch.from_numpy(data.read_image(i)) for i in range(len(data))])
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        return median(pool.map(run_network, [pictures.numpy()] * cores, [rounds] * cores))


def run_network(pictures: Any, rounds: int) -> float:
    """Median seconds of a pass of the network over uint8 pictures ``[N, H, W, 3]``, on one thread."""
    torch.set_num_threads(1)
    normalization = Normalization.parse("imagenet")
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    network = torch.nn.Sequential(*list(demo.trained().children())[:-1]).to(memory_format=torch.channels_last).eval()
    times = []
    with torch.no_grad():
        for _ in range(rounds):
            begin = time.perf_counter()
            for batch in images.split(BATCH_SIZE):
                network(normalization(batch).contiguous(memory_format=torch.channels_last))
            times.append(time.perf_counter() - begin)
    return median(times)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", action="append", choices=["local", "ray"])
    options = parser.parse_args()
    engines = options.engine or ["local", "ray"]
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        os.environ["PYDISSECT_CACHE"] = str(Path(name) / "cache")
        bench = make(Path(name), options.checkpoints, options.images)
        expected: dict[str, Any] | None = None
        try:
            for engine in engines:
                out = bench.folder / f"{engine}-undisturbed"
                seconds = scan(bench, engine, out)
                found = tables(out)
                expected = expected or found
                check_rows(bench, found)
                check_tables(expected, found, f"{engine}, undisturbed")
                (times,) = query(out, "SELECT count(*) n, median(seconds) s FROM runs").to_pylist()
                print(f"{engine}: {times['n']} results in {seconds:.1f} s, median {times['s']:.3f} s of work each")
                out = bench.folder / f"{engine}-killed"
                killed = scan_and_kill(bench, engine, out, options.kills, dice)
                check_tables(expected, tables(out), f"{engine}, killed")
                print(f"{engine}: the same tables after SIGKILL of {', '.join(killed)}", flush=True)
        except Wrong as error:
            print(f"WRONG: {error}")
            return 1
        forward = forward_seconds(bench)
        undisturbed = ScanFolder(bench.folder / f"{engines[0]}-undisturbed")
        facts = [fact for path in undisturbed.result_files() for fact in read_facts(path)]
        parts = {part: median(fact["seconds"][part] for fact in facts) for part in ("load", "dissect", "tabulate")}
        print(
            f"the network alone over those {options.images} images: {forward:.3f} s; medians of a checkpoint's parts:"
        )
        for part, value in parts.items():
            print(f"  {part:9} {value:.3f} s")
        print(f"a checkpoint takes {sum(parts.values()) / forward:.2f} times the network alone")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
