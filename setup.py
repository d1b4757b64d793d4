"""Builds the C++ extension; everything else about the package is in pyproject.toml.

No torch is needed to build, and nothing here asks what hardware the machine has:
each instruction set is a source file with flags of its own, picked at run time.

The CUDA extension is built by nvcc, as csrc/cuda/build.json says. The environment variable PYDISSECT_CUDA decides:

    auto  where nvcc is found; a warning where it is not, or does not work (the default)
    1     always, or the build fails
    0     never

PYDISSECT_CUDA_ARCHS names its GPUs' architectures instead of those that build.json lists: 80;90.

The environment variable PYDISSECT_BUILD makes a build for tests instead (scripts/try_build.py):

    quick      less optimised, so that it compiles in half the time
    emulated   AVX-512 in terms of AVX2, so that its code runs on machines without it
    sanitized  the same, with AddressSanitizer and UndefinedBehaviorSanitizer
    cuda       nothing but the CUDA extension
    cuda_host  nothing but the CUDA kernels' logic for the host, which quick and sanitized have besides
"""

import json
import os
import platform
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wno-psabi"]
# Registers as template arguments lose their alignment attribute, which says nothing about values.
FLAGS += ["-Wno-ignored-attributes"]
AVX512 = [
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mf16c", "-mpopcnt", "-mbmi", "-mbmi2"),
    "-Wno-maybe-uninitialized",  # GCC 12 warns inside its own intrinsics
]
X86_LEVELS = {
    "level_avx2": ["-mavx2", "-mf16c", "-mpopcnt", "-mbmi", "-mbmi2"],
    "level_avx512": AVX512,
    "level_avx512_bitalg": [*AVX512, "-mavx512bitalg"],
}
LEVEL_FLAGS = X86_LEVELS if platform.machine() in ("x86_64", "AMD64") else {}
LINK_FLAGS = ["-fopenmp"]

BUILD = os.environ.get("PYDISSECT_BUILD", "")
if BUILD not in ("", "quick", "emulated", "sanitized", "cuda", "cuda_host"):
    raise SystemExit(f"PYDISSECT_BUILD: expected quick, emulated, sanitized, cuda or cuda_host, found {BUILD!r}")
CUDA = os.environ.get("PYDISSECT_CUDA", "") or "auto"
if CUDA not in ("auto", "0", "1"):
    raise SystemExit(f"PYDISSECT_CUDA: expected auto, 0 or 1, found {CUDA!r}")
if BUILD in ("quick", "cuda_host"):
    # Warnings are for the plain build: here GCC 12 also warns inside its own intrinsics.
    FLAGS = [*FLAGS, "-O1", "-w"]
if BUILD in ("emulated", "sanitized") and LEVEL_FLAGS:
    from simde_py import get_include

    emulated = [*X86_LEVELS["level_avx2"], "-Icsrc/emulated", f"-isystem{get_include()}"]
    LEVEL_FLAGS = {name: emulated if "avx512" in name else flags for name, flags in X86_LEVELS.items()}
    LEVEL_FLAGS["levels"] = ["-include", "csrc/emulated/cpu_supports.hpp"]
if BUILD == "sanitized":
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    FLAGS = [*FLAGS, *sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"]
    LINK_FLAGS = [*LINK_FLAGS, *sanitizers]

SOURCES = [
    path.as_posix()
    for path in sorted(Path("csrc/cpu").glob("*.cpp"))
    if path.stem not in X86_LEVELS or path.stem in LEVEL_FLAGS
]


def is_stale(obj: str) -> bool:
    """Is an object older than a file that it was made of, as the compiler listed them, or than this one?"""
    made, listed = Path(obj), Path(obj).with_suffix(".d")
    if not made.exists() or not listed.exists():
        return True
    sources = listed.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    built = made.stat().st_mtime
    return any(not path.exists() or path.stat().st_mtime > built for path in map(Path, [*sources, __file__]))


class NoCuda(Exception):
    """Why the CUDA extension cannot be built."""


def find_nvcc() -> str:
    """The one of CUDA_HOME or CUDA_PATH, else that of PATH, else that of the usual place."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    candidates = [*(f"{home}/bin/nvcc" for home in homes), "nvcc", "/usr/local/cuda/bin/nvcc"]
    nvcc = next(filter(None, map(shutil.which, candidates)), None)
    if nvcc is None:
        raise NoCuda("nvcc was not found; install the CUDA toolkit, and put nvcc into PATH or set CUDA_HOME")
    return nvcc


def architectures(nvcc: str, listed: list[str]) -> list[str]:
    """Those to compile for, rising: what PYDISSECT_CUDA_ARCHS names, or those of the list that this nvcc knows."""
    result = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True)
    if result.returncode != 0:
        raise NoCuda(f"{nvcc} --list-gpu-arch failed: {(result.stderr or result.stdout).strip()}")
    known = {name.removeprefix("compute_") for name in result.stdout.split()}
    wanted = os.environ.get("PYDISSECT_CUDA_ARCHS", "").replace(",", ";").replace(" ", ";")
    named = [name for name in wanted.split(";") if name]
    if unknown := [name for name in named if name not in known]:
        raise NoCuda(
            f"PYDISSECT_CUDA_ARCHS: {nvcc} does not know {', '.join(unknown)}, only {', '.join(sorted(known))}"
        )
    archs = sorted(named or (name for name in listed if name in known), key=lambda name: (len(name), name))
    if not archs:
        raise NoCuda(f"{nvcc} knows none of the architectures {', '.join(listed)}")
    return archs


def build_cuda(extension: Extension, library: Path, folder: Path, force: bool) -> None:
    """Compiles what has changed, and links it with CUDA's runtime inside, so that it needs no driver to be imported."""
    description = json.loads(CUDA_BUILD.read_text())
    nvcc = find_nvcc()
    archs = architectures(nvcc, description["archs"])
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    targets.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")  # PTX, for later ones
    folder = folder / f"cuda-{'-'.join(archs)}"
    folder.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]
    compile_one = [nvcc, "-c", "-O3", *description["flags"], *targets, "--threads=0", *includes, "-MMD"]
    compile_one += ["-Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off"]
    made = {source: folder / Path(source).with_suffix(".o").name for source in extension.sources}
    commands = [
        [*compile_one, "-MF", str(obj.with_suffix(".d")), source, "-o", str(obj)]
        for source, obj in made.items()
        if force or is_stale(str(obj))
    ]
    library.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda command: subprocess.run(command, check=True), commands))
        subprocess.run([nvcc, "-shared", "-cudart=static", *map(str, made.values()), "-o", str(library)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoCuda(f"{nvcc} failed: {error}") from error


class BuildExt(build_ext):
    """Compiles each instruction set's file with that set's flags; only what has changed, on all cores."""

    def build_extensions(self) -> None:
        """Wraps the compiler's step for one file."""
        compile_one = self.compiler._compile

        def compile_with_level(obj, src, ext, cc_args, extra_postargs, pp_opts):
            flags = [*extra_postargs, "-MMD", *LEVEL_FLAGS.get(Path(src).stem, [])]
            compile_one(obj, src, ext, cc_args, flags, pp_opts)

        self.compiler._compile = compile_with_level
        with ParallelCompile(needs_recompile=lambda obj, _: self.force or is_stale(obj)):
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        """Leaves the CUDA extension to nvcc, and it out where that cannot be, unless it is asked for."""
        if ext.name != CUDA_EXTENSION:
            super().build_extension(ext)
            return
        try:
            build_cuda(ext, Path(self.get_ext_fullpath(ext.name)), Path(self.build_temp), self.force)
        except NoCuda as reason:
            if CUDA == "1":
                raise SystemExit(f"PYDISSECT_CUDA=1: {reason}") from reason
            self.warn(f"pydissect is built without its CUDA extension: {reason}")
            # What was not built is not copied or installed.
            self.extensions = [other for other in self.extensions if other is not ext]


def extension(name: str, sources: list[str]) -> Extension:
    """One that the C++ compiler builds."""
    return Pybind11Extension(
        name, sources, depends=DEPENDS, cxx_std=17, extra_compile_args=FLAGS, extra_link_args=LINK_FLAGS
    )


CUDA_EXTENSION = "pydissect._cuda"
CUDA_BUILD = Path("csrc/cuda/build.json")
DEPENDS = ["setup.py", *(path.as_posix() for path in sorted(Path("csrc").rglob("*.*")))]
CPU = [extension("pydissect._cpu", SOURCES)]
CUDA_SOURCES = json.loads(CUDA_BUILD.read_text())["sources"]
CUDA_DEVICE = [] if CUDA == "0" else [Extension(CUDA_EXTENSION, CUDA_SOURCES, depends=DEPENDS)]
CUDA_HOST = [extension("pydissect._cuda_host", ["csrc/cuda/host_run.cpp"])]
BUILDS = {
    "": [*CPU, *CUDA_DEVICE],
    "quick": [*CPU, *CUDA_HOST],
    "emulated": CPU,
    "sanitized": [*CPU, *CUDA_HOST],
    "cuda": CUDA_DEVICE,
    "cuda_host": CUDA_HOST,
}

# Packages whose folder is not in pydissect; the sources are what NVRTC compiles where there is no CUDA extension.
ELSEWHERE = {
    "pydissect.kernels": "kernels",
    "pydissect.csrc.core": "csrc/core",
    "pydissect.csrc.cuda": "csrc/cuda",
}

setup(
    packages=sorted({*find_packages(include=["pydissect", "pydissect.*"]), *ELSEWHERE}),
    package_dir={"pydissect": "pydissect", **ELSEWHERE},
    package_data={
        "pydissect": ["py.typed"],
        "pydissect.demo": ["*.safetensors"],
        "pydissect.csrc.core": ["*.hpp"],
        "pydissect.csrc.cuda": ["*.cuh", "*.hpp", "build.json"],
    },
    ext_modules=BUILDS[BUILD],
    cmdclass={"build_ext": BuildExt},
)
