"""Compiles the Triton kernels for a compute capability, without a GPU, and prints what they are made of as JSON.

Usage: ``python tests/compile_kernels.py 90``. The extremes of what the backend launches: each format, maps small and
large, units or columns next to each other in memory.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pydissect.backends.triton import (
    AREA_TILE,
    CONCEPT_BLOCK,
    COUNT_TILE,
    COUNT_WARPS,
    SCAN_WARPS,
    SELECT_BLOCK,
    SELECT_OPTIONS,
    ScanTile,
    SelectTile,
)
from pydissect.kernels import areas, count, scan, select

POINTERS = {
    **dict.fromkeys(("lowest", "threshold", "row_fraction", "column_fraction", "values", "bound"), "*fp32"),
    **dict.fromkeys(("readers", "pixel_rows", "items", "length", "first_pixel_row", "left", "right"), "*i32"),
    **dict.fromkeys(("bitmap_concepts", "bitmap_pixels", "whole_concepts", "areas", "found"), "*i32"),
    **dict.fromkeys(("bitmap_ranges", "whole_ranges", "first_nonfinite", "intersection", "fill"), "*i64"),
    **dict.fromkeys(("unit_area", "unit_area_all", "concept_area"), "*i64"),
    "bitmaps": "*i16",
    "annotated": "*u8",
}
STRIDES = {"contiguous": {"stride_x": 1}, "channels-last": {"stride_u": 1}, "expanded": {}}
MAPS = {"1x1": (1, 1), "7x7": (7, 7), "13x13": (13, 13), "28x28": (28, 28), "56x56": (56, 56), "400x400": (400, 400)}


def specialisations() -> Iterator[tuple[str, Any, dict[str, str], dict[str, int], dict[str, int]]]:
    """Name, kernel, types of arguments beside those above, constants, options."""
    for dtype in ("fp32", "fp16", "bf16"):
        acts = {"acts": f"*{dtype}", "stride_n": "i64"}
        for order, strides in STRIDES.items() if dtype == "fp16" else [("contiguous", STRIDES["contiguous"])]:
            for size in MAPS if order == "contiguous" and dtype != "bf16" else ("7x7", "28x28"):
                tile = ScanTile.of_maps(2048, *MAPS[size])
                constants = {"MAPS": tile.maps, "ROWS": tile.rows, "COLUMNS": tile.columns, **strides}
                yield f"scan {dtype} {order} {size}", scan.scan, acts, constants, {"num_warps": SCAN_WARPS}
        for order in ("contiguous", "expanded"):
            constants = {**COUNT_TILE, **STRIDES[order]}
            yield f"count {dtype} {order}", count.count, acts, constants, {"num_warps": COUNT_WARPS}
        for order, columns in (("contiguous", 49), ("contiguous", 3136), ("channels-last", 49), ("expanded", 1)):
            tile = SelectTile.of_rows(columns, order == "channels-last")
            constants = {"IMAGES": tile.images, "COLUMNS": tile.columns, "UNITS": tile.units, "BLOCK": SELECT_BLOCK}
            constants |= STRIDES[order]
            yield f"select {dtype} {order} {columns}", select.select, acts, constants, SELECT_OPTIONS
    yield "unit areas", areas.sum_unit_areas, {}, AREA_TILE, {}
    yield "concept areas", areas.sum_concept_areas, {}, {"BLOCK": CONCEPT_BLOCK}, {}


def compile_kernel(
    kernel: Any, types: Mapping[str, str], constants: Mapping[str, int], capability: int, options: Mapping[str, int]
):
    """As a launch with aligned pointers does it."""
    signature = {
        name: "constexpr" if name in constants else types.get(name) or POINTERS.get(name, "i32")
        for name in kernel.arg_names
    }
    aligned = [place for place, kind in enumerate(signature.values()) if kind.startswith("*")]
    source = ASTSource(
        kernel,
        signature,
        {(kernel.arg_names.index(name),): value for name, value in constants.items()},
        {(place,): [["tt.divisibility", 16]] for place in aligned},
    )
    options = {"enable_fp_fusion": False, **options}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(cubin: bytes) -> dict[str, int]:
    """Registers a thread (``REG``) and bytes of local memory (``STACK``, ``LOCAL``) of the one kernel in the binary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", said)}


def main(capability: int) -> None:
    """Prints the findings."""
    findings = {}
    for name, kernel, types, constants, options in specialisations():
        compiled = compile_kernel(kernel, types, constants, capability, options)
        ptx = compiled.asm["ptx"]
        used = resources(compiled.asm["cubin"])
        findings[name] = {
            "fma": len(re.findall(r"\bfma\.", ptx)),
            "ftz": ptx.count(".ftz"),
            "local": len(re.findall(r"\.local\b", ptx)),
            "popc": len(re.findall(r"\bpopc\.b32", ptx)),
            "fp32": len(re.findall(r"\b(?:add|sub|mul)(?:\.rn)?\.f32", ptx)),
            "atom": len(re.findall(r"\batom\.(?!\S*shared)", ptx)),
            "red": len(re.findall(r"\bred\.", ptx)),
            "shared": compiled.metadata.shared,
            "registers": used["REG"],
            "spilled": used["STACK"] + used["LOCAL"],
        }
    json.dump(findings, sys.stdout, indent=1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
