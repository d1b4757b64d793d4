"""The Triton backend without a GPU: the tests of every backend, run in Triton's interpreter.

In a process of its own, for Triton asks when it is imported whether to interpret; and on tests that are chosen, for an
operation takes the interpreter some 50 microseconds.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from package import PACKAGE

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, plugins: tuple[str, ...] = ("poison", "large_tiles")) -> None:
    """Runs tests, none of which may be skipped."""
    options = [option for plugin in plugins for option in ("-p", plugin)]
    python = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]
    result = subprocess.run(
        [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "HYPOTHESIS_PROFILE": "brief",
            "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(ROOT / "tests")]),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{result.stdout[-6000:]}{result.stderr[-2000:]}"
    summary = result.stdout.splitlines()[-1]
    assert re.search(r"\d+ passed", summary), summary
    assert "skipped" not in summary, result.stdout[-6000:]


# What depends on how values are read and decoded; the rest is the same for all formats.
FORMAT_CASES = "plain or 7x5 or 97x61 or all-alive or ties or non-finite or negative-zero or subnormal"


@pytest.mark.parametrize(
    "cases",
    [
        "fp32-contiguous",
        f"(fp16-gaps or bf16-channels-last) and ({FORMAT_CASES})",
        "plain-fp32",
    ],
)
def test_named_cases(cases: str):
    run("tests/test_count.py", "-k", f"test_named_case and triton and ({cases})")


def test_named_cases_with_the_tiles_of_gpus():
    cases = "plain or 65-columns or more-than-64-rows or 37-units or ties or non-finite or all-alive"
    run("tests/test_count.py", "-k", f"triton and fp32-contiguous and ({cases})", plugins=("poison",))


def test_any_case():
    run("tests/test_count.py", "-k", "test_any_case")


def test_counting():
    run(
        "tests/test_count.py",
        "-k",
        "triton and not test_named_case and not test_one_value and not test_names_the_first",
    )


def test_non_finite_values():
    run("tests/test_count.py", "-k", "triton and test_names_the_first and 4-3 and 1-triton")


def test_thresholds():
    """Cases chosen from those that all backends have: the interpreter takes a tenth of a second to prune a buffer."""
    arranged = "test_arrangements and (fp16-contiguous and 0.04 or bf16-padded and 0.005)"
    values = "test_dtypes_and_orders and (ties-fp32 or subnormal-fp16-channels-last)"
    rest = "test_writes_within and fp16-channels-last or test_merges and ties-2 or test_names and bf16-padded"
    run("tests/test_thresholds.py", "-k", f"test_any_ or triton and ({arranged} or {values} or {rest} or test_state)")


def test_thresholds_with_the_tiles_of_gpus():
    cases = "test_arrangements_in_shards and fp32 or test_dtypes_and_orders and normal-bf16-channels-last"
    run("tests/test_thresholds.py", "-k", f"triton and ({cases})", plugins=("poison",))


def test_the_rest():
    """Streaming, the functions' errors, and what Triton's backend has of its own."""
    tests = ("tally", "fast_iou", "backends", "triton")
    run(*(f"tests/test_{name}.py" for name in tests), "-k", "triton or test_any or auto")


def test_small_cases():
    """A few that are quick and yet notice the faults of ``scripts/faults.py``."""
    run(
        "tests/test_count.py",
        "-k",
        "test_named_case and triton and fp32-contiguous and (align-corners or ties or 37-units)",
    )
    run("tests/test_thresholds.py", "-k", "triton and test_arrangements and fp32-contiguous and 0.02")
