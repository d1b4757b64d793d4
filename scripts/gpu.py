"""Builds for the GPU of this machine, tests every backend on it, and measures them: make gpu.

    python3 scripts/gpu.py [--json FILE] [--only build,test,sanitize,bench]

Works from a bare checkout and without a network: the package is built in build/gpu and nothing is installed. Needs
torch, NumPy, safetensors, Pillow, click and rich, and to build and test pybind11, setuptools, filelock, pytest and
hypothesis; pytest-xdist makes use of several cores. Runs every step even if one fails; the exit status is 1 if one did.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "gpu"
TESTS = [
    "tests/test_gpu.py",
    "tests/test_count.py",
    "tests/test_thresholds.py",
    "tests/test_tally.py",
    "tests/test_sift.py",
    "tests/test_one_pass.py",
    "tests/test_fast_iou.py",
    "tests/test_packing_device.py",
    "tests/test_op.py",
    "tests/test_backends.py",
]
# The others are tested without a GPU; test_gpu.py compares with them.
ON_GPU = "test_gpu or packing_device or backends or test_op or cuda or cupy or triton"
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
    python = [sys.executable]
    # Warnings are errors where the versions of everything are known, not here.
    pytest = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    parallel = ["--numprocesses", "4"] if find_spec("xdist") else []
    sanitizer = shutil.which("compute-sanitizer")
    bench = [*python, "-m", "pydissect", "bench", "--device", "cuda", "--rounds", "5"]
    return {
        "build": [
            [sys.executable, "setup.py", "-q", "build", f"--build-base={BUILD}", f"--build-lib={BUILD / 'lib'}"],
        ],
        "test": [[*pytest, *parallel, *TESTS, "-k", ON_GPU]],
        "sanitize": [
            [sanitizer, "--tool", tool, "--error-exitcode", "1", *pytest, *SANITIZED]
            for tool in ("memcheck", "racecheck")
            if sanitizer
        ],
        "bench": [[*python, "-m", "pydissect", "backends"], [*bench, *(["--json", str(json)] if json else [])]],
    }


def variables(step: str, cache: str) -> dict[str, str]:
    """The environment of a step."""
    result = {"PYDISSECT_CUDA": "1", "HYPOTHESIS_PROFILE": "brief", "PYDISSECT_CACHE": cache, **os.environ}
    if "PYDISSECT_CUDA_ARCHS" not in result:
        result["PYDISSECT_CUDA_ARCHS"] = architecture()
    if step != "build":
        # Else Python would find the package in the checkout first.
        result["PYTHONSAFEPATH"] = "1"
        result["PYTHONPATH"] = str(BUILD / "lib")
    if step == "sanitize":
        # Else it sees torch's large blocks instead of the tensors in them.
        result["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    return result


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
    if "build" in chosen:
        # What is no longer among the sources must not be found in the package.
        shutil.rmtree(BUILD / "lib", ignore_errors=True)
    failed = []
    with tempfile.TemporaryDirectory() as cache:
        for step in chosen:
            if not every[step]:
                print(f"make gpu: {step}: skipped, for compute-sanitizer is not installed", flush=True)
            for command in every[step]:
                begun = time.monotonic()
                status = subprocess.run(command, cwd=ROOT, env=variables(step, cache), check=False).returncode
                print(f"make gpu: {step}: exit status {status} after {time.monotonic() - begun:.0f} s", flush=True)
                if status:
                    failed.append(step)
    if failed:
        print(f"make gpu: failed: {', '.join(dict.fromkeys(failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
