"""The Triton kernels compiled for GPUs, which takes none: what the compiler made of the arithmetic, and what it needs.

``TRITON_INTERPRET`` must be off, so the kernels are compiled in a process of their own, which tells its findings.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from package import PACKAGE

ROOT = Path(__file__).resolve().parents[1]
CAPABILITIES = (80, 90, 100)
SHARED_LIMIT = 48 * 1024  # that every GPU gives without being asked
REGISTER_LIMIT = 255


@cache
def findings(capability: int) -> dict[str, dict]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, "tests/compile_kernels.py", str(capability)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nothing_is_fused_nor_flushed(capability: int):
    for name, kernel in findings(capability).items():
        assert kernel["fma"] == kernel["ftz"] == 0, name


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_interpolation_is_there(capability: int):
    """So that the test above is not of nothing."""
    for name, kernel in findings(capability).items():
        if name.startswith("count"):
            assert kernel["fp32"] > 0, name


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_bits_are_counted_by_one_instruction(capability: int):
    for name, kernel in findings(capability).items():
        if not name.startswith("select"):  # whose histogram is the compiler's
            assert (kernel["popc"] > 0) == name.startswith(("count", "scan")), name


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_all_stays_in_registers(capability: int):
    for name, kernel in findings(capability).items():
        assert kernel["local"] == kernel["spilled"] == 0, name
        assert 0 < kernel["registers"] <= REGISTER_LIMIT, name


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_shared_memory_is_within_the_limit(capability: int):
    for name, kernel in findings(capability).items():
        assert kernel["shared"] <= SHARED_LIMIT, name


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_counters_are_added_to_without_an_answer(capability: int):
    """Only the scan needs one, the place of its part of the list."""
    for name, kernel in findings(capability).items():
        assert kernel["atom"] == (1 if name.startswith("scan") else 0), name
        assert kernel["red"] > 0, name
