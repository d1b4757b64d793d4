"""A whole ``pydissect dissect`` against running the network over the same cached images, as processes, in turn.

    python benchmarks/whole_command.py --data DIR --model FILE.py:FACTORY --weights FILE --layer NAME [--layer NAME]

The network runs up to the layer named first. Prints the wall time and the peak memory of each, medians over the
runs, and the ratio, pair by pair. A first dissection, which fills the cache, is not counted. ``--copies 4`` dissects
the dataset's index repeated that often, to show how memory grows with it.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MB of a process."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed:\n{message.decode()}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def repeated(data: Path, copies: int, folder: Path) -> Path:
    """The dataset with every row of its index ``copies`` times; pictures are copied, none are links."""
    target = folder / "data"
    shutil.copytree(data, target)
    with (data / "index.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    with (target / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *(rows * copies)])
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--data", "--model", "--weights"):
        parser.add_argument(name, required=True)
    parser.add_argument("--layer", action="append", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PYDISSECT_CACHE"] = str(folder / "cache")
        data = Path(arguments.data)
        if arguments.copies > 1:
            data = repeated(data, arguments.copies, folder)
        shared = ["--model", arguments.model, "--weights", arguments.weights]
        pydissect = str(Path(sys.executable).with_name("pydissect"))
        dissect = [pydissect, "dissect", "--data", str(data), *shared, "--normalize", "none", "--overwrite"]
        dissect += ["--out", str(folder / "out")]
        for layer in arguments.layer:
            dissect += ["--layer", layer]
        run(dissect)
        (images,) = (folder / "cache").glob("images-*.safetensors")
        once = [sys.executable, str(HERE / "forward_once.py"), *shared]
        once += ["--images", str(images), "--layer", arguments.layer[0]]
        ours, theirs = [], []
        for i in range(arguments.runs):
            theirs.append(run(once))
            ours.append(run(dissect))
            print(
                f"run {i + 1}: dissect {ours[-1][0]:.1f} s {ours[-1][1]:.0f} MB, "
                f"the network alone {theirs[-1][0]:.1f} s {theirs[-1][1]:.0f} MB"
            )
        seconds = statistics.median(wall for wall, _ in ours)
        memory = statistics.median(peak for _, peak in ours)
        least = statistics.median(peak for _, peak in theirs)
        forward = statistics.median(wall for wall, _ in theirs)
        ratio = statistics.median(mine / other for (mine, _), (other, _) in zip(ours, theirs, strict=True))
        print(
            f"median: dissect {seconds:.1f} s, {memory:.0f} MB; the network alone {forward:.1f} s, {least:.0f} MB; "
            f"ratio, pair by pair, {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
