"""Builds the extension in one of the ways that setup.py has for tests, and runs the tests of the kernels on it.

    python scripts/try_build.py quick|emulated|sanitized [pytest's arguments]

The build lies in ``build/NAME``; that in the source tree stays as it is.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

KERNEL_TESTS = [
    *("tests/test_count.py", "tests/test_thresholds.py", "tests/test_tally.py"),
    *("tests/test_masks.py", "tests/test_packing.py"),
    *("tests/test_cuda_host.py", "tests/test_cuda_select.py"),
]


def build(name: str, root: Path) -> Path:
    """The folder that holds the package of the source tree ``root``, built anew from what has changed.

    Raises:
        CalledProcessError: it does not compile.
    """
    base = root.resolve() / "build" / name
    library = base / "lib"
    shutil.rmtree(library, ignore_errors=True)
    command = [sys.executable, "setup.py", "-q", "build", f"--build-base={base}", f"--build-lib={library}"]
    subprocess.run(command, cwd=root, env={**os.environ, "PYDISSECT_BUILD": name}, check=True)
    return library


def environment(name: str, library: Path) -> dict[str, str]:
    """In which ``python -P`` imports the package from that folder."""
    result = {**os.environ, "PYTHONPATH": str(library)}
    if name == "sanitized":
        # The sanitizer comes first, so that torch's memory is watched too; the C++ library with it, for exceptions.
        libraries = [
            subprocess.run(
                ["g++", f"-print-file-name={file}"], capture_output=True, text=True, check=True
            ).stdout.strip()
            for file in ("libasan.so", "libstdc++.so.6")
        ]
        result["LD_PRELOAD"] = " ".join(libraries)
        # Python frees little of what it holds when it ends.
        result["ASAN_OPTIONS"] = "detect_leaks=0"
        result["UBSAN_OPTIONS"] = "print_stacktrace=1"
        result.setdefault("HYPOTHESIS_PROFILE", "brief")
    return result


def main(name: str, arguments: list[str]) -> int:
    """Returns pytest's exit status."""
    library = build(name, Path())
    variables = environment(name, library)
    # -P: without it, Python would find the package in the source tree first.
    python = [sys.executable, "-P"]
    program = "from pydissect import _cpu; print(_cpu.__file__, *_cpu.levels())"
    file, *levels = subprocess.run(
        [*python, "-c", program], env=variables, capture_output=True, text=True, check=True
    ).stdout.split()
    if not Path(file).is_relative_to(library):
        raise SystemExit(f"try_build: expected the extension in {library}, found {file}")
    if name == "emulated" and "avx512" not in levels:
        raise SystemExit(f"try_build: expected avx512 among the levels, found {', '.join(levels)}")
    print(f"{name}: {', '.join(levels)}", flush=True)
    if not any(argument.startswith("tests") for argument in arguments):
        arguments = [*KERNEL_TESTS, *arguments]
    return subprocess.run([*python, "-m", "pytest", "-q", *arguments], env=variables).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2:]))
