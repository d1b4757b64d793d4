"""Builds for the GPU of this machine, tests every backend on it, and measures them: make gpu.

    python3 scripts/gpu.py [--json FILE] [--only build,test,sanitize,bench]

Needs torch, pytest, hypothesis and what pydissect needs, but no network. Runs every step even if one fails; the exit
status is 1 if one did.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = [
    "tests/test_count.py",
    "tests/test_thresholds.py",
    "tests/test_tally.py",
    "tests/test_fast_iou.py",
    "tests/test_packing_device.py",
    "tests/test_op.py",
    "tests/test_gpu.py",
]
SANITIZED = ["tests/test_gpu.py", "-k", "(large_batches or in_any_order) and 100 and fp16 and contiguous"]


def architecture() -> str:
    """The compute capability of the GPU, as nvcc takes it."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("make gpu: torch finds no CUDA device here")
    major, minor = torch.cuda.get_device_capability()
    return f"{major}{minor}"


def steps(json: Path | None) -> dict[str, list[list[str]]]:
    """The commands of each step."""
    python = sys.executable
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    sanitizer = shutil.which("compute-sanitizer")
    bench = [python, "-m", "pydissect", "bench", "--device", "cuda", "--rounds", "5"]
    return {
        "build": [[python, "setup.py", "-q", "build_ext", "--inplace"]],
        "test": [[*pytest, *TESTS]],
        "sanitize": [
            [sanitizer, "--tool", tool, "--error-exitcode", "1", *pytest, *SANITIZED]
            for tool in ("memcheck", "racecheck")
            if sanitizer
        ],
        "bench": [[python, "-m", "pydissect", "backends"], [*bench, *(["--json", str(json)] if json else [])]],
    }


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the benchmark's results go")
    parser.add_argument("--only", metavar="STEPS", help="some of build,test,sanitize,bench, separated by commas")
    options = parser.parse_args()
    every = steps(None if options.json is None else options.json.absolute())
    chosen = options.only.split(",") if options.only else list(every)
    if unknown := set(chosen) - set(every):
        parser.error(f"--only: expected some of {', '.join(every)}, found {', '.join(sorted(unknown))}")
    environment = {"PYDISSECT_CUDA": "1", "PYDISSECT_CUDA_ARCHS": architecture(), **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    failed = []
    for step in chosen:
        if not every[step]:
            print(f"make gpu: {step}: skipped, for compute-sanitizer is not installed", flush=True)
        for command in every[step]:
            begun = time.monotonic()
            status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
            print(f"make gpu: {step}: exit status {status} after {time.monotonic() - begun:.0f} s", flush=True)
            if status:
                failed.append(step)
    if failed:
        print(f"make gpu: failed: {', '.join(dict.fromkeys(failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
