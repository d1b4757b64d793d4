"""Builds the C++ extension; everything else about the package is in pyproject.toml.

No torch is needed to build, and nothing here asks what hardware the machine has:
each instruction set is a source file with flags of its own, picked at run time.
"""

import platform
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wno-psabi"]
X86_LEVELS = {
    "level_avx2": ["-mavx2", "-mf16c", "-mpopcnt", "-mbmi"],
    "level_avx512": [
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bitalg", "-mbmi", "-mpopcnt"),
        "-Wno-maybe-uninitialized",  # GCC 12 warns inside its own intrinsics
    ],
}
LEVEL_FLAGS = X86_LEVELS if platform.machine() in ("x86_64", "AMD64") else {}
SOURCES = [
    path.as_posix()
    for path in sorted(Path("csrc/cpu").glob("*.cpp"))
    if path.stem not in X86_LEVELS or path.stem in LEVEL_FLAGS
]


class BuildExt(build_ext):
    """Compiles each instruction set's file with that set's flags."""

    def build_extensions(self) -> None:
        """Wraps the compiler's step for one file."""
        compile_one = self.compiler._compile

        def compile_with_level(obj, src, ext, cc_args, extra_postargs, pp_opts):
            flags = [*extra_postargs, *LEVEL_FLAGS.get(Path(src).stem, [])]
            compile_one(obj, src, ext, cc_args, flags, pp_opts)

        self.compiler._compile = compile_with_level
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
            depends=[path.as_posix() for path in sorted(Path("csrc").rglob("*.hpp"))],
            cxx_std=17,
            extra_compile_args=FLAGS,
            extra_link_args=["-fopenmp"],
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
