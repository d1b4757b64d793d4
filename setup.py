"""Builds the C++ extension; everything else about the package is in pyproject.toml.

No torch is needed to build, and nothing here asks what hardware the machine has:
each instruction set is a source file with flags of its own, picked at run time.

The environment variable PYDISSECT_BUILD makes a build for tests instead (scripts/try_build.py):

    quick      less optimised, so that it compiles in half the time
    emulated   AVX-512 in terms of AVX2, so that its code runs on machines without it
    sanitized  the same, with AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import platform
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wno-psabi"]
# Registers as template arguments lose their alignment attribute, which says nothing about values.
FLAGS += ["-Wno-ignored-attributes"]
AVX512 = [
    *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mf16c", "-mpopcnt", "-mbmi"),
    "-Wno-maybe-uninitialized",  # GCC 12 warns inside its own intrinsics
]
X86_LEVELS = {
    "level_avx2": ["-mavx2", "-mf16c", "-mpopcnt", "-mbmi"],
    "level_avx512": AVX512,
    "level_avx512_bitalg": [*AVX512, "-mavx512bitalg"],
}
LEVEL_FLAGS = X86_LEVELS if platform.machine() in ("x86_64", "AMD64") else {}
LINK_FLAGS = ["-fopenmp"]

BUILD = os.environ.get("PYDISSECT_BUILD", "")
if BUILD not in ("", "quick", "emulated", "sanitized"):
    raise SystemExit(f"PYDISSECT_BUILD: expected quick, emulated or sanitized, found {BUILD!r}")
if BUILD == "quick":
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


setup(
    packages=[
        "pydissect",
        "pydissect.backends",
        "pydissect.bench",
        "pydissect.broden",
        "pydissect.cli",
        "pydissect.demo",
        "pydissect.synth",
        "pydissect.kernels",
    ],
    package_dir={"pydissect": "pydissect", "pydissect.kernels": "kernels"},
    package_data={"pydissect": ["py.typed"], "pydissect.demo": ["*.safetensors"]},
    ext_modules=[
        Pybind11Extension(
            "pydissect._cpu",
            SOURCES,
            depends=["setup.py", *(path.as_posix() for path in sorted(Path("csrc").rglob("*.h*")))],
            cxx_std=17,
            extra_compile_args=FLAGS,
            extra_link_args=LINK_FLAGS,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
