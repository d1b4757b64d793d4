"""Scans whose checkpoints are cut into shards: the same tables from any number, whatever fails or is killed."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from command import process, run
from PIL import Image
from safetensors.torch import save_file
from test_scan import SETTINGS, Bench
from test_sharding import IMAGES, many_images

import pydissect
from pydissect import Broden, Counts, InputError
from pydissect.scans import query, read_status
from pydissect.scans.driver import ScanReport
from pydissect.scans.folder import ScanFolder
from pydissect.scans.plan import Plan
from pydissect.scans.settings import Settings
from pydissect.scans.shards import Steps
from pydissect.scans.task import Task

ONE_BY_ONE = replace(SETTINGS, batch_size=1)
SHARDS = replace(ONE_BY_ONE, shards=4)
RANGES = ["0-2", "2-5", "5-8", "8-11"]


class ShardBench(Bench):
    """With more photos, and two checkpoints."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        many_images(folder / "data")
        for path in folder.glob("runs/*/*"):
            if path.parts[-2:] not in [("a", "step-0.safetensors"), ("b", "step-20.safetensors")]:
                path.unlink()

    def run(
        self, settings: Settings, before: Callable[[Task], None] = lambda task: None, **more: Any
    ) -> tuple[ScanReport, list[str]]:
        """The report, and what was done: of which run, which shard (from 1 on), or ``merge`` or ``whole``."""
        done = []

        def note(task: Task) -> None:
            before(task)
            step = "whole" if not task.shards else "merge" if task.shard is None else str(task.shard + 1)
            done.append(f"{task.tags['run']}:{step}")

        return self.scan(settings, before=note, **more)[0], done

    @property
    def left(self) -> list[str]:
        """The shards that are done, by the file that is written last."""
        return sorted(path.parent.name for path in (self.out / "shards").rglob("relu.safetensors"))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardBench:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return ShardBench(tmp_path)


def tables(out: Path) -> dict[str, pa.Table]:
    return {
        "units": query(out, "SELECT * FROM units ORDER BY run, step, layer, unit"),
        "runs": query(out, "SELECT * EXCLUDE (seconds, finished) FROM runs ORDER BY run, step, layer"),
    }


@pytest.fixture
def expected(bench: ShardBench) -> dict[str, pa.Table]:
    """By a scan in one piece, of which nothing stays."""
    bench.run(ONE_BY_ONE)
    found = tables(bench.out)
    bench.out.rename(bench.folder / "whole")
    return found


def interrupt(at: str) -> Callable[[Task], None]:
    """Ends the driver before a task, as Ctrl-C does; a kill leaves the same behind, for nothing is saved at the end."""

    def before(task: Task) -> None:
        step = "merge" if task.shard is None else str(task.shard + 1)
        if f"{task.tags['run']}:{step}" == at:
            raise KeyboardInterrupt

    return before


def test_shards_are_merged_before_others_begin(bench: ShardBench):
    """With several workers, those of the next checkpoint wait already."""
    folder = ScanFolder(bench.out)
    plan = Plan(folder, SHARDS, Broden(bench.data.folder))
    a, b = (plan.task(entry) for entry in plan.with_keys(plan.add(bench.find())))
    steps = Steps(folder)
    steps.begin(a)
    shards = [steps.next() for _ in range(4)]
    assert [task.shard for task in shards if task is not None] == [0, 1, 2, 3]
    assert steps.next() is None
    steps.begin(b)
    for task in shards:
        assert task is not None
        steps.end_shard(task)
    found = [steps.next() for _ in range(5)]
    assert [task.name for task in found if task is not None] == [(a.key, None), *((b.key, n) for n in range(4))]


def test_files_of_shards_are_removed_as_soon_as_they_are_merged(bench: ShardBench):
    seen = []
    bench.run(SHARDS, lambda task: seen.append(len(bench.left)))
    assert seen == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_any_number_of_shards_gives_the_same(bench: ShardBench, batch_size: int):
    found = []
    for shards in (1, 2, 7):
        bench.out = bench.folder / f"scan-{shards}"
        report, done = bench.run(replace(SETTINGS, batch_size=batch_size, shards=shards, counts=True))
        number = min(shards, -(-IMAGES // batch_size))
        steps = ["whole"] if number == 1 else [*map(str, range(1, number + 1)), "merge"]
        assert done == [f"{name}:{step}" for name in "ab" for step in steps]
        assert (report.checkpoints, report.made, report.failures) == (2, 2, ())
        assert bench.left == []
        counts = {path.relative_to(bench.out): Counts.load(path) for path in bench.out.rglob("counts/*/*")}
        assert len(counts) == 2 * 2
        found.append((tables(bench.out), counts))
    assert len(found[0][0]["units"]) == 2 * 2 * 4
    assert found[0] == found[1] == found[2]


def test_the_number_of_shards_is_no_part_of_a_result(bench: ShardBench):
    bench.run(SHARDS)
    assert bench.run(ONE_BY_ONE) == (ScanReport(2, 0, ()), [])
    assert bench.run(replace(SHARDS, shards=2)) == (ScanReport(2, 0, ()), [])


def test_only_the_shards_that_are_missing_are_done(bench: ShardBench, expected: dict[str, pa.Table]):
    with pytest.raises(KeyboardInterrupt):
        bench.run(SHARDS, interrupt("a:3"))
    assert bench.left == RANGES[:2]
    assert read_status(bench.out).done == 0
    with pytest.raises(KeyboardInterrupt):
        bench.run(SHARDS, interrupt("a:merge"))
    assert bench.left == RANGES
    status = read_status(bench.out)
    assert (status.checkpoints, status.done, status.missing) == (2, 0, 2)
    report, done = bench.run(SHARDS)
    assert done == ["a:merge", "b:1", "b:2", "b:3", "b:4", "b:merge"]
    assert report.made == read_status(bench.out).done == 2
    assert bench.left == []
    assert tables(bench.out) == expected


def test_a_shard_of_which_a_layer_is_missing_is_done_again(bench: ShardBench, expected: dict[str, pa.Table]):
    with pytest.raises(KeyboardInterrupt):
        bench.run(SHARDS, interrupt("a:3"))
    next(bench.out.glob("shards/*/0-2/relu.safetensors")).unlink()
    half = next(bench.out.glob("shards/*/2-5")) / ".relu.safetensors.x.part"
    half.write_text("half")
    assert bench.run(SHARDS)[1][:4] == ["a:1", "a:3", "a:4", "a:merge"]
    assert not half.exists()
    assert tables(bench.out) == expected


def test_another_number_of_shards_starts_anew_and_leaves_nothing(bench: ShardBench, expected: dict[str, pa.Table]):
    with pytest.raises(KeyboardInterrupt):
        bench.run(SHARDS, interrupt("a:3"))
    assert bench.run(replace(SHARDS, shards=2))[1] == ["a:1", "a:2", "a:merge", "b:1", "b:2", "b:merge"]
    assert bench.left == []
    assert tables(bench.out) == expected


def test_shards_of_settings_that_have_changed_are_removed(bench: ShardBench):
    with pytest.raises(KeyboardInterrupt):
        bench.run(SHARDS, interrupt("a:merge"))
    with pytest.raises(KeyboardInterrupt):
        bench.run(replace(SHARDS, quantile=0.2), interrupt("b:2"))
    # Those of the first settings too, which may be meant to come back.
    assert bench.left == sorted([*RANGES, RANGES[0]])
    bench.run(replace(SHARDS, quantile=0.3))
    assert bench.left == []


def test_shards_of_a_result_that_is_there_are_removed(bench: ShardBench):
    """After a kill between the one and the other."""
    bench.run(SHARDS)
    (result, *_) = (bench.out / "results").iterdir()
    left = ScanFolder(bench.out).shard_file(result.stem, range(2), "relu")
    left.parent.mkdir(parents=True)
    left.touch()
    bench.run(SHARDS)
    assert bench.left == []


def test_a_damaged_file_of_a_shard_is_made_anew(bench: ShardBench, expected: dict[str, pa.Table]):
    damaged = []

    def damage(task: Task) -> None:
        if task.shard is None and not damaged:
            path = ScanFolder(bench.out).shard_file(task.key, task.shards[1], "relu")
            path.write_bytes(path.read_bytes()[:-1])
            damaged.append(path)

    report, done = bench.run(SHARDS, damage)
    assert done == [f"a:{step}" for step in "1234"] + ["a:merge"] + [f"b:{step}" for step in "1234"] + [
        *("b:merge", "a:2", "a:merge")
    ]
    assert (report.made, report.failures) == (2, ())
    assert tables(bench.out) == expected


def test_what_fails_in_shards_is_recorded_once_and_tried_anew(bench: ShardBench):
    """Two photos make the network's output NaN: of the first shard, and of the last."""
    for name in "ak":
        Image.new("RGB", (12, 8), (255, 255, 255)).save(bench.data.pictures / f"{name}.png")
    models = Path(bench.model.partition(":")[0])
    models.write_text(models.read_text() + "\n\ndef spoiled():\n    return sequential(mix=Mix(), spoil=nan())\n")
    bench.model = f"{models}:spoiled"
    # White stays white, in one of the two.
    weight = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    save_file({"mix.weight": weight}, bench.folder / "runs/a/step-0.safetensors")
    checkpoints = [replace(checkpoint, layers=("spoil",)) for checkpoint in bench.find()]
    settings = replace(SHARDS, shards=3)
    report, done = bench.run(settings, find=lambda: checkpoints, retries=1)
    assert done == ["a:1", "a:2", "a:3", "b:1", "b:2", "b:3", "b:merge", "a:1"]
    (failure,) = report.failures
    assert failure.error.startswith("shard 1 of 3 (images 0 to 2): layer 'spoil': unit 2 has a non-finite activation")
    assert "on image a/a.png" in failure.error
    assert (report.checkpoints, report.made, failure.attempts) == (2, 1, 2)
    status = read_status(bench.out)
    assert (status.done, status.missing, status.failures) == (1, 0, (failure,))
    # The shard in between is there.
    assert bench.run(settings, find=lambda: checkpoints, retries=0)[1] == ["a:1"]
    assert bench.run(replace(settings, shards=2), find=lambda: checkpoints, retries=0)[1] == ["a:1"]


@pytest.mark.parametrize("found", [0, -1, 1.5, True, "2"])
def test_a_number_of_shards_that_is_none(bench: ShardBench, found: object):
    with pytest.raises(InputError, match="shards: expected a whole number, 1 or more, found"):
        pydissect.scan(bench.data.folder, out=bench.out, weights="x", model=bench.model, layers="mix", shards=found)


@pytest.mark.parametrize("name", ["batch_size", "limit"])
def test_what_shards_are_cut_by_is_checked_before(bench: ShardBench, name: str):
    more = {"weights": "x", "model": bench.model, "layers": "mix", name: 0}
    with pytest.raises(InputError, match=f"{name}: expected a whole number, 1 or more, found 0"):
        pydissect.scan(bench.data.folder, out=bench.out, **more)
    assert not bench.out.exists()


def test_the_command_refuses_it_too(bench: ShardBench):
    result = run(*bench.command("--shards", "0"))
    assert result.exit_code == 2
    assert "0 is not in the range x>=1" in result.stderr


# --- real workers ------------------------------------------------------------------------------------------


def arguments(bench: ShardBench, *more: object) -> list[object]:
    return [*bench.command("--batch-size", "1"), *more]


ENDING = """

def note():
    with (Path(__file__).parent / "calls").open("ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


class Dying(nn.Module):
    def forward(self, x):
        if note() == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return x


class Waiting(nn.Module):
    def forward(self, x):
        note()
        if not (Path(__file__).parent / "go").exists():
            time.sleep(0.5)
        return x


def dying():
    return sequential(start=Dying(), mix=Mix(), relu=nn.ReLU())


def waiting():
    return sequential(start=Waiting(), mix=Mix(), relu=nn.ReLU())


def quick():
    return sequential(start=nn.Identity(), mix=Mix(), relu=nn.ReLU())
"""


@pytest.fixture
def undisturbed(bench: ShardBench) -> dict[str, pa.Table]:
    path = Path(bench.model.partition(":")[0])
    path.write_text("import os\nimport signal\n" + path.read_text() + ENDING)
    bench.model = f"{path}:quick"
    bench.run(ONE_BY_ONE)
    found = without_names(tables(bench.out))
    bench.out.rename(bench.folder / "whole")
    return found


def without_names(found: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Factories of another name give results of another key."""
    return {
        name: table.drop_columns([c for c in ("key", "model") if c in table.column_names])
        for name, table in found.items()
    }


def test_a_worker_that_is_killed_amid_a_shard(bench: ShardBench, undisturbed: dict[str, pa.Table]):
    bench.model = bench.model.replace(":quick", ":dying")
    result = process(*arguments(bench, "--shards", "3", "--processes", "2", "--retries", "0"))
    assert result.returncode == 1, result.stderr
    assert "2 checkpoints: 1 done, 0 done before or alike, 1 failed" in result.stdout
    (failure,) = read_status(bench.out).failures
    assert re.fullmatch(r"shard \d of 3 \(images \d to \d+\): its process died of SIGKILL.*", failure.error)
    assert 1 <= len(bench.left) <= 2
    result = process(*arguments(bench, "--shards", "3", "--processes", "2", "--retries", "0"))
    assert result.returncode == 0, result.stderr
    assert without_names(tables(bench.out)) == undisturbed
    assert bench.left == []


def test_a_driver_that_is_killed_amid_shards(bench: ShardBench, undisturbed: dict[str, pa.Table]):
    bench.model = bench.model.replace(":quick", ":waiting")
    command = [sys.executable, "-m", "pydissect", *map(str, arguments(bench, "--shards", "5", "--processes", "1"))]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not bench.left and driver.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    left = bench.left
    assert 1 <= len(left) < 5
    assert ScanFolder(bench.out).done() == set()
    (bench.folder / "go").touch()
    (bench.folder / "calls").unlink()
    result = process(*arguments(bench, "--shards", "5", "--processes", "1"))
    assert result.returncode == 0, result.stderr
    # Each shard tries the model on an image first.
    ends = [name.split("-") for name in left]
    images = 2 * IMAGES - sum(int(end) - int(begin) for begin, end in ends)
    assert (bench.folder / "calls").stat().st_size == images + 2 * 5 - len(left)
    assert without_names(tables(bench.out)) == undisturbed


def test_shards_on_ray(bench: ShardBench, undisturbed: dict[str, pa.Table]):
    pytest.importorskip("ray")
    result = process(*arguments(bench, "--shards", "3", "--engine", "ray"))
    assert result.returncode == 0, result.stderr
    assert tables(bench.out)["runs"].num_rows == 4
    assert without_names(tables(bench.out)) == undisturbed
    assert bench.left == []
