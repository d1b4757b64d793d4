"""What instructions the extension holds, read from its disassembly."""

import platform
import re
import shutil
import subprocess
from functools import lru_cache

import pytest

from pydissect import _cpu

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
# What only EVEX, the encoding of AVX-512, can say: its registers, masks and broadcasts.
EVEX = re.compile(r"%zmm|%[xy]mm(?:1[6-9]|2\d|3[01])\b|%k[0-7]\b|\{1to\d+\}")
VEX = re.compile(r"^v[a-z]|%ymm")
FMA = re.compile(r"^vf(?:n?m(?:add|sub)|maddsub|msubadd)")


@lru_cache(maxsize=1)
def functions() -> dict[str, list[str]]:
    """The instructions of each function."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only on x86-64 are there several instruction sets to keep apart")
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump is not installed")
    command = [objdump, "-dC", "--no-show-raw-insn", "--section=.text", _cpu.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result: dict[str, list[str]] = {}
    body: list[str] = []
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            body = result.setdefault(match[1], [])
        elif line.startswith(" ") and "\t" in line:
            body.append(line.split("\t", 1)[1].strip())
    if not any("pydissect" in name for name in result):
        pytest.skip("the extension is stripped of its symbols")
    return result


def where(pattern: re.Pattern[str]) -> dict[str, str]:
    """The functions with such an instruction, and the first of them."""
    found = {}
    for name, body in functions().items():
        for instruction in body:
            if pattern.search(instruction):
                found[name] = instruction
                break
    return found


def test_avx512_stays_in_its_own_functions():
    found = where(EVEX)
    assert any("count_part<pydissect::Avx512>" in name for name in found), "the check finds nothing at all"
    assert {name: instruction for name, instruction in found.items() if "Avx512" not in name} == {}


def test_avx2_stays_in_its_own_functions():
    found = where(VEX)
    assert any("count_part<pydissect::Avx2>" in name for name in found), "the check finds nothing at all"
    assert {name: line for name, line in found.items() if "Avx2" not in name and "Avx512" not in name} == {}


def test_the_portable_functions_are_there():
    assert any("count_part<pydissect::Portable>" in name for name in functions())


def test_no_fused_multiply_add():
    assert where(FMA) == {}
