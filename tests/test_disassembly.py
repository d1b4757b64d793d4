"""What the compiler made of the kernels, read from the extension's disassembly.

Every instruction stands in a function of an instruction set that has it, and what only prefetches is still there.

What leaks is code that the compiler shares: a template of the standard library that two levels use is compiled in
each with its own flags, and the linker keeps one of them for all, the portable level's and the module's start
included. The functions of a level have its set's name in theirs.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from pydissect import _cpu

FUNCTION = re.compile(r"[0-9a-f]+ <(?P<name>.+)>:")
INSTRUCTION = re.compile(r" *[0-9a-f]+:\t(?P<bytes>(?:[0-9a-f]{2} )+) *\t(?P<text>.+)")
# Segments and the size of an address: what may come before VEX and EVEX.
PREFIXES = {"26", "2e", "36", "3e", "64", "65", "67"}


class Instruction(NamedTuple):
    """What the processor reads, and what it is called."""

    bytes: tuple[str, ...]
    text: str

    @property
    def encoding(self) -> str:
        """``VEX`` (AVX, AVX2, BMI), ``EVEX`` (AVX-512), or nothing."""
        first = next((byte for byte in self.bytes if byte not in PREFIXES), "")
        return {"c4": "VEX", "c5": "VEX", "62": "EVEX"}.get(first, "")


def is_avx512(instruction: Instruction) -> bool:
    # Those on mask registers alone are encoded as VEX.
    return instruction.encoding == "EVEX" or re.search(r"%k[0-7]\b", instruction.text) is not None


def is_avx(instruction: Instruction) -> bool:
    return instruction.encoding == "VEX"


def has_name(pattern: str) -> Callable[[Instruction], bool]:
    return lambda instruction: re.match(pattern, instruction.text) is not None


def is_fused_lerp(instruction: Instruction) -> bool:
    # An operation that is fused, other than adding a square: no interpolation multiplies a value with itself. Operands
    # come last one first; one that holds a comma of its own makes factors unequal, so that nothing is overlooked.
    match = re.match(r"vf\w+?(132|213|231)[ps][sdh] +(.+)", instruction.text)
    if match is None:
        return re.match("vf(n?m(add|sub)|maddsub|msubadd)", instruction.text) is not None
    third, second, first = match[2].split(",")[:3]
    factors = {"132": (first, third), "213": (second, first), "231": (second, third)}[match[1]]
    return factors[0] != factors[1]


class Rule(NamedTuple):
    """Instructions that only some functions may have."""

    holds: Callable[[Instruction], bool]
    functions: str  # a pattern of their names
    witness: str  # of one that has such an instruction for certain; without it, the check looks past them


RULES = {
    "avx512": Rule(is_avx512, r"pydissect::Avx512\b", r"pydissect::Avx512\b"),
    "avx512-bitalg": Rule(
        has_name(r"vpopcnt[bwdq]|vpshufbitqmb"), r"pydissect::Avx512\b(?!<false>)", r"pydissect::Avx512\b(?!<false>)"
    ),
    "avx2": Rule(is_avx, r"pydissect::Avx(2|512)\b", r"pydissect::Avx2\b"),
    "popcnt": Rule(has_name("popcnt|lzcnt|movbe|crc32"), r"pydissect::Avx(2|512)\b", ""),
    "fma": Rule(is_fused_lerp, r"(?!)", ""),
}


@cache
def functions() -> dict[str, list[Instruction]]:
    """The instructions of each function."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("only on x86-64 are there several instruction sets to keep apart")
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump (of the package binutils) is not installed")
    command = [objdump, "--disassemble", "--demangle", "--wide", _cpu.__file__]
    result: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if match := FUNCTION.fullmatch(line):
            body = result.setdefault(match["name"], [])
        elif match := INSTRUCTION.fullmatch(line):
            body.append(Instruction(tuple(match["bytes"].split()), match["text"]))
    assert any("pydissect::Portable" in name for name in result), "the extension is stripped of its functions' names"
    return result


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_instructions_stay_in_their_own_functions(rule: Rule):
    found = {
        name: instruction.text for name, body in functions().items() for instruction in body if rule.holds(instruction)
    }
    if rule.witness:
        assert any(re.search(rule.witness, name) for name in found), "the check finds nothing at all"
    assert {name: text for name, text in found.items() if not re.search(rule.functions, name)} == {}


@pytest.mark.parametrize(("function", "prefetch"), [("count_part", "prefetcht1"), ("select_as", "prefetcht0")])
def test_what_only_prefetches_is_left_in(function: str, prefetch: str):
    pattern = re.compile(rf"pydissect::{function}<(?!.*(\[clone|lambda))")
    bodies = {name: body for name, body in functions().items() if pattern.search(name)}
    assert bodies, f"there is no function {function}"
    assert {name for name, body in bodies.items() if not any(text.startswith(prefetch) for _, text in body)} == set()
