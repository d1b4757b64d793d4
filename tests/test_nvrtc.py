"""The CUDA kernels as NVRTC compiles them, for which no GPU is needed."""

import re
from dataclasses import replace

import pytest
import torch
from strategies import make_acts, make_case

from pydissect import _cpu
from pydissect.backends import NO_IMAGE, CountArguments, Selection, Sums
from pydissect.backends.cuda_launch import Limits, count_launch
from pydissect.backends.cuda_select import select_launch
from pydissect.backends.cupy import kernel_source

nvrtc = pytest.importorskip("cupy", reason="CuPy is not installed").cuda.nvrtc
LIMITS = Limits(shared_bytes_a_block=232448, shared_bytes=233472, multiprocessors=132)


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError, OSError) as error:
        pytest.skip(f"the library of NVRTC is not installed: {error}")


def compiled(source: str, flags: list[str], names: list[str]) -> object:
    program = nvrtc.createProgram(source, "kernel.cu", (), ())
    for name in names:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, tuple(flags))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    return program


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_every_kernel_compiles(arch: int) -> None:
    source, flags, names = kernel_source()
    program = compiled(source, [*flags, f"--gpu-architecture=sm_{arch}"], names)
    assert len(set(names)) == 9 + 6  # counting, selecting
    assert len({nvrtc.getLoweredName(program, name) for name in names}) == len(names)
    assert nvrtc.getCUBIN(program)[:4] == b"\x7fELF"


def test_nothing_is_fused_or_flushed() -> None:
    source, flags, names = kernel_source()
    ptx = nvrtc.getPTX(compiled(source, [*flags, "--gpu-architecture=compute_90"], names))
    text = ptx if isinstance(ptx, str) else ptx.decode()
    assert text.count("popc.b32") > 0
    assert re.findall(r"\bfma\.\S*", text) == []
    assert ".ftz" not in text
    assert ".local" not in text
    assert len(re.findall(r"\bmul\.rn\.f32", text)) > 0


def is_as_large_as(structure: str, laid: bytes) -> None:
    source, flags, _ = kernel_source()
    check = f"{source}static_assert(sizeof(pydissect::cuda::{structure}) == {len(laid)});\n"
    compiled(check, [*flags, "--gpu-architecture=compute_80"], [])


def test_the_argument_is_laid_out_as_the_kernel_reads_it() -> None:
    case = make_case()
    sums = Sums.zeros(*case.threshold.shape, case.masks.shape[1], case.annotated.shape[1], torch.device("cpu"))
    arguments = CountArguments(case.acts, case.packed, case.threshold, "half_pixel", True)
    place = torch.full((), NO_IMAGE)
    fields = count_launch(arguments, sums, place, LIMITS).fields
    laid = _cpu.cuda_arguments(fields)
    is_as_large_as("Arguments", laid)
    for name in ("acts", "bitmaps", "first_columns", "intersection", "first_nonfinite"):
        assert fields[name].to_bytes(8, "little") in laid
    other = count_launch(replace(arguments, threshold=case.threshold[:1]), sums, place, LIMITS).fields
    assert _cpu.cuda_arguments(other) != laid


def test_the_selecting_argument_is_laid_out_as_the_kernel_reads_it() -> None:
    selection = Selection(torch.zeros(3, 300), torch.zeros(3, dtype=torch.int64), torch.zeros(3), keep=40)
    fields = select_launch(make_acts((2, 3, 5, 7)), selection, torch.full((), NO_IMAGE)).fields
    laid = _cpu.cuda_select_arguments(fields)
    is_as_large_as("SelectArguments", laid)
    for name in ("acts", "acts_end", "values", "fill", "bound", "first_nonfinite"):
        assert fields[name].to_bytes(8, "little") in laid
