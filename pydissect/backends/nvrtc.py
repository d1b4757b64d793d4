"""The kernels of ``csrc/cuda``, compiled by NVRTC for one architecture and kept in the cache for the next process.

CuPy's own way to compile adds a flag that flushes subnormals, and does not see when an included file has changed.
"""

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..cache import cache_folder, writable
from ..errors import InputError
from ..files import atomic_write
from .cuda_launch import STRIDED, UNITS, VALUES

_PACKAGE = Path(__file__).parents[1]
_DTYPES = ("f32", "f16", "bf16")
_ORDERS = {VALUES: "values", UNITS: "units", STRIDED: "strided"}
_KERNELS = {"count": (VALUES, UNITS, STRIDED), "select": (VALUES, UNITS)}  # and the orders that they are made for


class Source(NamedTuple):
    """What NVRTC compiles.

    Attributes:
        text: of the program.
        flags: of the compiler.
        names: of the kernels, of each dtype in each order.
        folder: of the files that it includes.
    """

    text: str
    flags: list[str]
    names: list[str]
    folder: Path


class Compiled(NamedTuple):
    """Compiled kernels.

    Attributes:
        cubin: path of the file.
        symbols: in it, of each kernel's name.
    """

    cubin: Path
    symbols: dict[str, str]


def source_folder() -> Path:
    """``csrc``: in the package where it is installed, beside it in a checkout."""
    installed = _PACKAGE / "csrc"
    return installed if installed.is_dir() else _PACKAGE.parent / "csrc"


def kernel_name(kernel: str, dtype: int, order: int) -> str:
    """The name of a kernel, ``count`` or ``select``, for activations of a dtype in an order."""
    values = f"pydissect::Dtype::{_DTYPES[dtype]}, pydissect::cuda::Order::{_ORDERS[order]}"
    return f"pydissect::cuda::{kernel}_kernel<{values}>"


def kernel_source() -> Source:
    """All kernels."""
    folder = source_folder()
    build = json.loads((folder / "cuda" / "build.json").read_text())
    kernel = Path(build["kernel"]).relative_to("csrc")
    # NVRTC takes functions for the host's unless told otherwise.
    flags = [*build["flags"], "-default-device", f"-I{folder}"]
    names = [
        kernel_name(name, dtype, order)
        for name, orders in _KERNELS.items()
        for dtype in range(len(_DTYPES))
        for order in orders
    ]
    return Source(f'#include "{kernel.as_posix()}"\n', flags, names, folder)


@cache
def compiled_kernels(arch: int) -> Compiled:
    """The kernels for compute capability ``arch``, such as 90; from the cache if the same were compiled before.

    Raises:
        InputError: NVRTC does not compile for it.
    """
    source = kernel_source()
    folder = cache_folder()
    if not writable(folder):
        folder = Path(_temporary_folder().name)
    stem = folder / f"kernels-sm_{arch}-{_digest(source)}"
    cubin, symbols = stem.with_suffix(".cubin"), stem.with_suffix(".json")
    # It is written last.
    if not symbols.exists():
        binary, found = compile_kernels(source, arch)
        with atomic_write(cubin) as file:
            file.write(binary)
        with atomic_write(symbols) as file:
            file.write(json.dumps(found).encode())
    return Compiled(cubin, json.loads(symbols.read_text()))


def compile_kernels(source: Source, arch: int) -> tuple[bytes, dict[str, str]]:
    """The cubin of a source, and the symbols of its kernels.

    Raises:
        InputError: NVRTC does not compile it.
    """
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(source.text, "kernel.cu", (), ())
    try:
        for name in source.names:
            nvrtc.addNameExpression(program, name)
        nvrtc.compileProgram(program, (*source.flags, f"--gpu-architecture=sm_{arch}"))
        return nvrtc.getCUBIN(program), {name: nvrtc.getLoweredName(program, name) for name in source.names}
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        version = ".".join(map(str, nvrtc.getVersion()))
        raise InputError(
            f"NVRTC {version} does not compile the kernels for sm_{arch}: {error}\n{log}".rstrip()
        ) from None
    finally:
        nvrtc.destroyProgram(program)


def _digest(source: Source) -> str:
    """Of all that the result depends on, but for the folder where the sources are."""
    digest = hashlib.sha256()
    flags = [flag for flag in source.flags if not flag.startswith("-I")]
    digest.update(repr((_nvrtc().getVersion(), source.text, flags, source.names)).encode())
    for path in sorted(source.folder.rglob("*.?uh")) + sorted(source.folder.rglob("*.hpp")):
        digest.update(f"{path.relative_to(source.folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _nvrtc() -> Any:
    import cupy

    return cupy.cuda.nvrtc


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """For this process alone."""
    return tempfile.TemporaryDirectory(prefix="pydissect-")
