"""Puts each of the faults into a copy of the source tree, and shows that a test fails for it.

    python scripts/mutants.py [--only NAME]... [--list] [--jobs N]

Exits with 1 if a fault goes unnoticed, does not compile, or has lost its place in the sources.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import try_build
from faults import FAULTS, Fault

# A fault may make a loop endless; the tests named here take a minute or two.
LIMIT = 300  # seconds


class CannotTell(Exception):
    """It is not known whether the tests notice a fault."""


def copy_sources(target: Path) -> None:
    """All files but those that git ignores, as they are, committed or not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0"):
        source = Path(name)
        if name and source.is_file() and not source.is_symlink():
            (target / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / source)


def build(name: str, root: Path) -> tuple[list[str], dict[str, str]]:
    """Builds what has changed there; the command that runs pytest on it, and its environment."""
    try:
        if name:
            library = try_build.build(name, root)
            python, variables = [sys.executable, "-P"], try_build.environment(name, library)
        else:
            subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=root, check=True)
            python, variables = [sys.executable], dict(os.environ)
    except subprocess.CalledProcessError:
        raise CannotTell("does not compile") from None
    # A sanitizer ends the process, and with it all that pytest would have captured.
    capture = ["--capture=no"] if name == "sanitized" else []
    return [*python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *capture], {
        **variables,
        "HYPOTHESIS_PROFILE": "unshrunk",
    }


def run(command: list[str], root: Path, variables: dict[str, str]) -> tuple[int | None, str]:
    """Exit status, None if it was still running at the limit; and what it printed."""
    try:
        result = subprocess.run(
            command, cwd=root, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        return None, str(error.stdout)
    return result.returncode, result.stdout


def prepare(base: Path, faults: Iterable[Fault]) -> None:
    """Builds the sources as they are, in every way that a fault needs, and runs the tests that it names.

    Raises:
        CannotTell: a test fails without any fault.
    """
    copy_sources(base)
    for name in sorted({fault.build for fault in faults}):
        tests = sorted({test for fault in faults if fault.build == name for test in fault.tests.split()})
        command, variables = build(name, base)
        status, output = run([*command, *tests], base, variables)
        if status != 0:
            raise CannotTell(f"{' '.join(tests)} do not pass without a fault:\n{output}")


def put(fault: Fault, root: Path) -> None:
    """Raises CannotTell if its place in the sources is gone or no longer the only one."""
    path = root / fault.file
    text = path.read_text() if path.exists() else ""
    if (places := text.count(fault.snippet)) != 1:
        raise CannotTell(f"expected its snippet once in {fault.file}, found it {places} times: {fault.snippet!r}")
    path.write_text(text.replace(fault.snippet, fault.replacement))


def noticed(fault: Fault, base: Path, folder: Path) -> str | None:
    """What noticed the fault, or None.

    Raises:
        CannotTell: the fault could not be tried.
    """
    root = folder / fault.name
    shutil.copytree(base, root)
    try:
        put(fault, root)
        command, variables = build(fault.build, root)
        status, output = run([*command, *fault.tests.split()], root, variables)
    finally:
        shutil.rmtree(root)
    if status is None:
        return "the tests hang"
    if status == 0:
        return None
    # 1: a test failed; negative: the process died of a signal. Anything else is no verdict on the fault.
    if status > 1 or fault.says not in output:
        raise CannotTell(
            f"expected a failed test{f' that says {fault.says!r}' if fault.says else ''}:\n{output[-3000:]}"
        )
    if fault.says:
        return fault.says
    failed = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
    return failed[1] if failed else f"the tests die of signal {-status}"


def main() -> int:
    """Returns the exit status."""
    os.environ["CFLAGS"] = "-g0"  # compiles in three quarters of the time
    os.environ["PYDISSECT_CUDA"] = "0"  # the tests that need nvcc's work ask for it
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--list", action="store_true", help="print the faults and stop")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time (default: 2)")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only is None or fault.name in options.only]
    width = max(len(fault.name) for fault in faults)
    if options.list:
        for fault in faults:
            print(f"{fault.name:{width}}  {fault.file}: {fault.snippet!r} -> {fault.replacement!r}")
        return 0

    wrong = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        base = folder / "base"
        prepare(base, faults)
        begun = time.monotonic()
        pending = {pool.submit(noticed, fault, base, folder): fault for fault in faults}
        for done, future in enumerate(as_completed(pending), 1):
            fault = pending[future]
            try:
                by = future.result()
                verdict = "noticed " if by else "SURVIVED"
            except CannotTell as error:
                by, verdict = str(error), "ERROR   "
            if verdict != "noticed ":
                wrong.append(fault.name)
            seconds = time.monotonic() - begun
            print(f"{done:3}/{len(faults)} {seconds:5.0f} s  {verdict}  {fault.name:{width}}  {by or ''}", flush=True)
    if wrong:
        print(f"{len(wrong)} of {len(faults)} faults are not known to be noticed: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
