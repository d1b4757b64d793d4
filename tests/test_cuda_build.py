"""The CUDA extension as nvcc builds it, for all architectures of ``csrc/cuda/build.json``, and what setup.py says."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pydissect.backends import choose_backend
from pydissect.backends import cuda as cuda_backend
from pydissect.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
DESCRIPTION = json.loads((ROOT / "csrc/cuda/build.json").read_text())
KERNELS = {"count": 9, "select": 6}  # number formats and orders in memory
NVCC = shutil.which("nvcc")

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc (of the CUDA toolkit) is not installed")


def setup(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Builds nothing but the CUDA extension, in that folder."""
    command = [sys.executable, "setup.py", "build_ext", f"--build-temp={folder}/temp", f"--build-lib={folder}/lib"]
    environment = {**os.environ, "PYDISSECT_BUILD": "cuda", **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@dataclass(frozen=True)
class Built:
    library: Path
    log: str  # of ptxas, too


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("cuda")
    result = setup(folder, PYDISSECT_CUDA="1", PYDISSECT_CUDA_ARCHS="", NVCC_APPEND_FLAGS="-Xptxas -v")
    log = result.stdout + result.stderr
    assert result.returncode == 0, log[-4000:]
    return Built(folder / "lib" / "pydissect" / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}", log)


def known_architectures() -> list[str]:
    known = subprocess.run(["nvcc", "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    return [arch for arch in DESCRIPTION["archs"] if f"compute_{arch}" in known]


@needs_nvcc
def test_kernels_stay_in_registers(built: Built):
    """None spills to local memory, and two blocks of 512 threads share a multiprocessor's 65,536 registers."""
    compiled = re.findall(r"Compiling entry function '\S*?(count|select)_kernel\S*' for 'sm_(\d+)a?f?'", built.log)
    for name, number in KERNELS.items():
        archs = [arch for kernel, arch in compiled if kernel == name]
        assert {arch: archs.count(arch) for arch in known_architectures()} == dict.fromkeys(
            known_architectures(), number
        )
    stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", built.log)
    assert len(stacks) >= len(compiled)
    assert set(stacks) == {("0", "0", "0")}
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", built.log)]
    assert len(registers) == len(compiled)
    assert max(registers) <= 64


@needs_nvcc
def test_imports_without_a_driver(built: Built):
    """CUDA's runtime is inside. Whether there is a GPU is asked, and told, afterwards."""
    program = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("pydissect._cuda", {str(built.library)!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.missing(0))
"""
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.match("there is no CUDA (driver|device)", result.stdout)


@needs_nvcc
def test_nothing_is_fused_or_flushed(tmp_path: Path):
    """Not even by nvcc's own defaults: the sources see to it."""
    file = tmp_path / "kernels.ptx"
    subprocess.run(
        ["nvcc", "-ptx", "-std=c++17", "-arch=compute_80", "csrc/cuda/launch.cu", "-o", file], cwd=ROOT, check=True
    )
    ptx = file.read_text()
    assert ptx.count(".entry") == sum(KERNELS.values())
    for instruction in ("add.rn.f32", "sub.rn.f32", "mul.rn.f32", "popc.b32", "vote.sync.ballot.b32"):
        assert ptx.count(instruction) >= KERNELS["count"], instruction
    # Without .rn, the assembler may fuse them.
    assert re.findall(r"\b(?:fma|mad)(?:\.\w+)*\.f32|\.ftz|\b(?:add|sub|mul)\.f32|\.local\b", ptx) == []


@needs_nvcc
def test_no_fused_instruction_in_the_machine_code(built: Built):
    cuobjdump = shutil.which("cuobjdump")
    if cuobjdump is None:
        pytest.skip("cuobjdump (of the CUDA toolkit) is not installed")
    code = subprocess.run([cuobjdump, "-sass", built.library], capture_output=True, text=True, check=True).stdout
    assert code.count("POPC") > 0
    assert "FFMA" not in code
    assert not re.search(r"\bF(ADD|MUL|SETP)\S*\.FTZ", code)


# --- what cannot be built ----------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A toolkit whose nvcc fails."""
    nvcc = tmp_path / "toolkit" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho 'no licence today' >&2\nexit 3\n")
    nvcc.chmod(0o755)
    return nvcc.parents[1]


def test_a_broken_nvcc_is_a_warning(tmp_path: Path, broken: Path):
    result = setup(tmp_path, PYDISSECT_CUDA="auto", CUDA_HOME=str(broken))
    assert result.returncode == 0, result.stderr
    warning = r"pydissect is built without its CUDA extension: .*nvcc --list-gpu-arch failed: no licence today"
    assert re.search(warning, result.stdout + result.stderr)
    assert not list(tmp_path.rglob("*.so"))


def test_a_broken_nvcc_is_an_error_if_the_extension_is_asked_for(tmp_path: Path, broken: Path):
    result = setup(tmp_path, PYDISSECT_CUDA="1", CUDA_HOME=str(broken))
    assert result.returncode != 0
    assert re.search(r"PYDISSECT_CUDA=1: .*nvcc --list-gpu-arch failed: no licence today", result.stderr)


def test_an_nvcc_that_cannot_compile_is_a_warning(tmp_path: Path, broken: Path):
    (broken / "bin" / "nvcc").write_text("#!/bin/sh\n[ $1 = --list-gpu-arch ] && echo compute_80\n")
    result = setup(tmp_path, PYDISSECT_CUDA="auto", CUDA_HOME=str(broken))
    assert result.returncode == 0, result.stderr
    assert re.search(r"without its CUDA extension: .*nvcc failed: ", result.stdout + result.stderr)


def test_an_unknown_architecture_is_named(tmp_path: Path, broken: Path):
    (broken / "bin" / "nvcc").write_text("#!/bin/sh\necho compute_80\necho compute_90\n")
    result = setup(tmp_path, PYDISSECT_CUDA="1", PYDISSECT_CUDA_ARCHS="90;12345", CUDA_HOME=str(broken))
    assert result.returncode != 0
    assert re.search(r"PYDISSECT_CUDA_ARCHS: .*nvcc does not know 12345, only 80, 90", result.stderr)


def test_another_word_is_refused(tmp_path: Path):
    result = setup(tmp_path, PYDISSECT_CUDA="yes")
    assert result.returncode != 0
    assert "PYDISSECT_CUDA: expected auto, 0 or 1, found 'yes'" in result.stderr


def test_zero_builds_none(tmp_path: Path):
    result = setup(tmp_path, PYDISSECT_CUDA="0")
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.rglob("*.so"))


# --- what the backend says -----------------------------------------------------------------------------------


def test_says_how_to_get_the_extension(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pydissect._cuda", None)
    monkeypatch.delattr("pydissect._cuda", raising=False)
    cuda_backend._unusable.cache_clear()
    with pytest.raises(InputError, match=r"'cuda' cannot be used on device cuda: its extension is not built; .*nvcc"):
        choose_backend("cuda", torch.device("cuda"))


def test_says_that_the_activations_are_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_backend, "_unusable", lambda: None)
    monkeypatch.setattr(cuda_backend, "_missing", lambda index: "")
    with pytest.raises(InputError, match=r"device cpu: it computes on CUDA devices; move .* there with \.cuda\(\)"):
        choose_backend("cuda", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_says_that_there_is_no_gpu():
    if (reason := cuda_backend._unusable()) is not None:
        pytest.skip(reason)
    with pytest.raises(InputError, match=r"'cuda' cannot be used on device cuda: there is no CUDA (driver|device)"):
        choose_backend("cuda", torch.device("cuda"))
