"""Processors that this one is not: one with AVX-512, and one without AVX. Each runs the kernels' tests by emulation."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pydissect import _cpu

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object) -> None:
    result = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout[-4000:]}{result.stderr[-4000:]}"


@pytest.mark.skipif("avx2" not in _cpu.levels(), reason="the emulation of AVX-512 needs AVX2")
def test_avx512_in_terms_of_avx2():
    run(sys.executable, "scripts/try_build.py", "emulated", "-k", "avx512 or any_case or any_batches")


def test_a_processor_without_avx():
    """Intel's of 2008. The extension is imported there, torch with it, and offers the portable level alone."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only x86-64 has processors without AVX")
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-x86_64 (of the package qemu-user) is not installed")
    tests = ["-q", "tests/test_count.py", "tests/test_thresholds.py", "tests/test_packing.py"]
    names = "(portable and contiguous and fp32 and not flushes) or dtypes_and_views"
    program = f"""
import pytest
from pydissect import _cpu
assert _cpu.levels() == ["portable"], _cpu.levels()
raise SystemExit(pytest.main({[*tests, "-k", names]!r}))
"""
    run(qemu, "-cpu", "Nehalem", sys.executable, "-c", program)
