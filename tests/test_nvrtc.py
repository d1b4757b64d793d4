"""The CUDA kernels as NVRTC compiles them, for which no GPU is needed."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from strategies import make_acts, make_case

from pydissect import _cpu
from pydissect.backends import NO_IMAGE, CountArguments, Selection, Sums
from pydissect.backends.cuda_launch import Limits, count_launch
from pydissect.backends.cuda_select import select_launch
from pydissect.backends.cupy import as_argument
from pydissect.backends.nvrtc import Source, compile_kernels, compiled_kernels, kernel_source, source_folder
from pydissect.errors import InputError

nvrtc = pytest.importorskip("cupy", reason="CuPy is not installed").cuda.nvrtc
LIMITS = Limits(shared_bytes_a_block=232448, shared_bytes=233472, multiprocessors=132)


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError, OSError) as error:
        pytest.skip(f"the library of NVRTC is not installed: {error}")


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_every_kernel_compiles(arch: int) -> None:
    source = kernel_source()
    cubin, symbols = compile_kernels(source, arch)
    assert len(set(source.names)) == 9 + 6  # counting, selecting
    assert set(symbols) == set(source.names)
    assert len(set(symbols.values())) == len(symbols)
    assert cubin[:4] == b"\x7fELF"
    assert all(symbol.encode() in cubin for symbol in symbols.values())


def test_another_architecture_is_refused() -> None:
    with pytest.raises(InputError, match=r"NVRTC \d+\.\d+ does not compile the kernels for sm_20: (?s:.)*architecture"):
        compile_kernels(kernel_source(), 20)


def test_nothing_is_fused_or_flushed() -> None:
    source = kernel_source()
    text = as_ptx(source.text, source.flags, source.names)
    assert text.count("popc.b32") > 0
    assert re.findall(r"\bfma\.\S*", text) == []
    assert ".ftz" not in text
    assert ".local" not in text
    assert len(re.findall(r"\bmul\.rn\.f32", text)) > 0


def as_ptx(text: str, flags: list[str], names: list[str]) -> str:
    program = nvrtc.createProgram(text, "kernel.cu", (), ())
    for name in names:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, (*flags, "--gpu-architecture=compute_90"))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    ptx = nvrtc.getPTX(program)
    return ptx if isinstance(ptx, str) else ptx.decode()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The architectures that are compiled for, in a cache that is empty at first. Nothing is, really."""
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    done: list[int] = []

    def compile_nothing(source: Source, arch: int) -> tuple[bytes, dict[str, str]]:
        done.append(arch)
        return f"for {arch}".encode(), {name: f"symbol {name}" for name in source.names}

    monkeypatch.setattr("pydissect.backends.nvrtc.compile_kernels", compile_nothing)
    compiled_kernels.cache_clear()
    return done


def test_what_was_compiled_serves_the_next_process(compilations: list[int]) -> None:
    for _ in range(2):
        for arch in (80, 90):
            cubin, symbols = compiled_kernels(arch)
            assert cubin.read_bytes() == f"for {arch}".encode()
            assert symbols == {name: f"symbol {name}" for name in kernel_source().names}
        compiled_kernels.cache_clear()
    assert compilations == [80, 90]


def test_changed_sources_are_compiled_again(
    compilations: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = compiled_kernels(90)
    copy = tmp_path / "csrc"
    shutil.copytree(source_folder(), copy)
    monkeypatch.setattr("pydissect.backends.nvrtc.source_folder", lambda: copy)
    compiled_kernels.cache_clear()
    assert compiled_kernels(90) == first, "it does not matter where they lie"
    for name in ("core/lerp.hpp", "cuda/count.cuh", "cuda/arguments.hpp", "cuda/build.json"):
        file = copy / name
        text = file.read_text()
        file.write_text(text.replace("--ftz=false", "--ftz=true") if name.endswith("json") else f"{text}\n")
        compiled_kernels.cache_clear()
        compiled_kernels(90)
    assert compilations == [90] * 5


def test_a_compilation_that_was_cut_off_is_repeated(compilations: list[int]) -> None:
    compiled = compiled_kernels(90)
    compiled.cubin.with_suffix(".json").unlink()
    compiled.cubin.write_bytes(b"half")
    compiled_kernels.cache_clear()
    assert compiled_kernels(90).cubin.read_bytes() == b"for 90"


def test_without_a_folder_that_can_be_written(
    compilations: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "file" / "cache"))
    assert compiled_kernels(90).cubin.read_bytes() == b"for 90"


def is_as_large_as(structure: str, laid: bytes) -> None:
    text, flags, _, _ = kernel_source()
    as_ptx(f"{text}static_assert(sizeof(pydissect::cuda::{structure}) == {len(laid)});\n", flags, [])
    # CuPy passes arrays of one element by value, and no others.
    assert as_argument(laid).size == 1
    assert as_argument(laid).tobytes() == laid


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
    other = count_launch(arguments._replace(threshold=case.threshold[:1]), sums, place, LIMITS).fields
    assert _cpu.cuda_arguments(other) != laid


def test_the_selecting_argument_is_laid_out_as_the_kernel_reads_it() -> None:
    selection = Selection(torch.zeros(3, 300), torch.zeros(3, dtype=torch.int64), torch.zeros(3), keep=40)
    fields = select_launch(make_acts((2, 3, 5, 7)), selection, torch.full((), NO_IMAGE)).fields
    laid = _cpu.cuda_select_arguments(fields)
    is_as_large_as("SelectArguments", laid)
    for name in ("acts", "acts_end", "values", "fill", "bound", "first_nonfinite"):
        assert fields[name].to_bytes(8, "little") in laid
