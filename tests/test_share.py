"""How threads take over parts from each other, under ThreadSanitizer; counting with it is in test_count.py."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def sanitizer() -> bool:
    if shutil.which("g++") is None:
        return False
    found = subprocess.run(["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True)
    return Path(found.stdout.strip()).is_absolute()


@pytest.mark.skipif(not sanitizer(), reason="needs g++ with ThreadSanitizer")
def test_no_unit_is_counted_twice_or_by_two_threads_at_once(tmp_path: Path):
    program = tmp_path / "share_race"
    sources = [ROOT / "tests" / "share_race.cpp", ROOT / "csrc" / "cpu" / "share.cpp"]
    options = ["-std=c++17", "-O1", "-g", "-fsanitize=thread", "-pthread"]
    subprocess.run(["g++", *options, *sources, "-o", program], check=True)
    run = subprocess.run([program, "300"], capture_output=True, text=True, timeout=60)
    if "unexpected memory mapping" in run.stderr:
        pytest.skip("this ThreadSanitizer does not know how the kernel lays out memory")
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0, "no part was taken over"
