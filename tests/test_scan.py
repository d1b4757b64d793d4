"""Scans: what is done, what is done again, what their files hold, and what survives."""

import csv
import fcntl
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from broden_builder import BrodenBuilder
from command import process, run, said, snapshot, write_models
from safetensors.torch import save_file

import pydissect
from pydissect import Broden, Counts, InputError, dissect
from pydissect.models import build_model, load_weights
from pydissect.scans import folder as folder_module
from pydissect.scans import query, read_status
from pydissect.scans.checkpoints import Checkpoint, find_checkpoints
from pydissect.scans.driver import ScanReport, drive
from pydissect.scans.folder import Failure, ScanFolder
from pydissect.scans.ray_engine import RayEngine
from pydissect.scans.results import layer_table, read_facts, write_result
from pydissect.scans.settings import Settings
from pydissect.scans.task import Outcome, Task, run_task
from pydissect.scans.watch import Watch

SETTINGS = Settings(quantile=0.1, normalize="none")


class InlineEngine:
    """Runs tasks in this process, as they are asked for."""

    def __init__(self, tasks: list[Task], before: Callable[[Task], None]) -> None:
        self.tasks = tasks
        self._before = before
        self._waiting: list[Task] = []

    def room(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def wait(self, timeout: float) -> list[tuple[Task, Outcome]]:
        task = self._waiting.pop()
        self.tasks.append(task)
        self._before(task)
        return [(task, run_task(task))]

    def close(self) -> None:
        self._waiting.clear()


class Bench:
    """A dataset, a model, and five checkpoints of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = BrodenBuilder(folder / "data")
        self.data.write()
        self.model = f"{write_models(folder)}:net"
        self.out = folder / "scan"
        for run_name, step in (("a", 0), ("a", 20), ("a", 100), ("b", 0), ("b", 20)):
            self.write(f"runs/{run_name}/step-{step}.safetensors", step + ord(run_name))

    def write(self, name: str, seed: int) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        save_file({"mix.weight": weight}, path)
        return path

    def find(self) -> list[Checkpoint]:
        return find_checkpoints(str(self.folder / "runs/*/step-*.safetensors"), self.model, ["mix", "relu"])

    def scan(
        self,
        settings: Settings = SETTINGS,
        find: Callable[[], list[Checkpoint]] | None = None,
        before: Callable[[Task], None] = lambda task: None,
        **more: Any,
    ) -> tuple[ScanReport, list[str]]:
        """The report, and what was dissected, by its path below ``runs``."""
        tasks: list[Task] = []
        report = drive(
            ScanFolder(self.out),
            Broden(self.data.folder),
            find or self.find,
            settings,
            lambda: InlineEngine(tasks, before),
            **more,
        )
        return report, [str(Path(task.weights).relative_to(self.folder / "runs")) for task in tasks]

    def command(self, *more: object) -> list[object]:
        pattern = self.folder / "runs/*/step-*.safetensors"
        arguments = ["scan", "--data", self.data.folder, "--model", self.model, "--weights", pattern, "--layer", "mix"]
        quantile = [] if "--quantile" in more else ["--quantile", "0.1"]
        return [*arguments, "--layer", "relu", *quantile, "--normalize", "none", "--out", self.out, *more]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return Bench(tmp_path)


def units(bench: Bench) -> pa.Table:
    return query(bench.out, "SELECT * FROM units ORDER BY run, step, layer, unit")


def runs(bench: Bench) -> pa.Table:
    return query(bench.out, "SELECT * FROM runs ORDER BY run, step, layer")


def facts(bench: Bench) -> dict[str, Any]:
    return {fact["key"]: fact for path in ScanFolder(bench.out).result_files() for fact in read_facts(path)}


ALL = [
    f"{run_name}/step-{step}.safetensors" for run_name, step in (("a", 0), ("a", 20), ("a", 100), ("b", 0), ("b", 20))
]


# --- what the files hold ----------------------------------------------------------------------------------


def test_each_result_is_that_of_a_dissection_of_its_own(bench: Bench):
    report, tasks = bench.scan(replace(SETTINGS, counts=True))
    assert (report.checkpoints, report.made, report.failures, tasks) == (5, 5, (), ALL)
    found = units(bench).to_pylist()
    for name in ALL:
        model = build_model(bench.model)
        load_weights(model, bench.folder / "runs" / name)
        wanted = dissect(model, Broden(bench.data.folder), ["mix", "relu"], quantile=0.1, normalize="none")
        for layer in wanted:
            rows = [row for row in found if row["weights"].endswith(name) and row["layer"] == layer]
            expected = wanted[layer].unit_rows()
            assert len(rows) == len(expected) == 4
            for row, units_row in zip(rows, expected, strict=True):
                tags = {"run": name[0], "step": int(name[7:].partition(".")[0])}
                rest = {key: row[key] for key in row if key not in units_row and key not in ("key", "weights", "layer")}
                assert rest == tags
                for column, value in units_row.items():
                    # An empty cell of units.csv is a null.
                    assert row[column] == (
                        float(np.float32(value)) if column == "threshold" else None if value == "" else value
                    )
            counts = Counts.load(ScanFolder(bench.out).counts_file(rows[0]["key"], layer))
            assert counts == wanted[layer].counts


def test_a_unit_without_a_label_has_nulls(bench: Bench):
    model = build_model(bench.model)
    with torch.no_grad():
        model.mix.weight.zero_()
    (result,) = dissect(model, Broden(bench.data.folder), ["mix"], quantile=0.1, union="all").layers.values()
    for table_row, row in zip(layer_table("k", result).to_pylist(), result.unit_rows(), strict=True):
        assert (table_row["label"], table_row["concept"], table_row["iou"]) == (None, None, 0.0)
        assert {name: table_row[name] for name in ("intersection", "unit_area", "concept_area")} == {
            name: row[name] for name in ("intersection", "unit_area", "concept_area")
        }


def test_runs_count_detectors_and_take_the_tags_types(bench: Bench):
    bench.scan()
    runs = query(bench.out, "SELECT * FROM runs ORDER BY run, step, layer")
    assert runs.schema.field("step").type == pa.int64()
    assert runs.schema.field("run").type == pa.string()
    by_hand = query(
        bench.out,
        """SELECT count(*) FILTER (object_iou > 0.04) AS detectors,
        count(DISTINCT object_label) FILTER (object_iou > 0.04) AS unique_detectors
        FROM units GROUP BY run, step, layer ORDER BY run, step, layer""",
    )
    assert runs["object_detectors"].to_pylist() == by_hand["detectors"].to_pylist()
    assert runs["object_unique_detectors"].to_pylist() == by_hand["unique_detectors"].to_pylist()


# --- what is done again -----------------------------------------------------------------------------------


def test_only_what_is_missing_is_done(bench: Bench):
    bench.scan()
    before = units(bench)
    assert bench.scan() == (ScanReport(5, 0, ()), [])
    assert units(bench).equals(before)
    bench.write("runs/b/step-40.safetensors", 7)
    assert bench.scan()[1] == ["b/step-40.safetensors"]


def test_a_changed_checkpoint_is_done_again_and_takes_the_place_of_the_old(bench: Bench):
    bench.scan()
    before = units(bench)
    path = bench.write("runs/a/step-20.safetensors", 99)
    assert bench.scan()[1] == ["a/step-20.safetensors"]
    after = units(bench)
    assert len(after) == len(before)
    assert not after.equals(before)
    os.utime(path, (1, 1))  # touched, not changed
    assert bench.scan()[1] == []
    bench.write("runs/a/step-20.safetensors", 20 + ord("a"))
    assert bench.scan()[1] == []  # its first result is still there
    assert units(bench).equals(before)


def test_a_moved_checkpoint_is_not_done_again(bench: Bench):
    bench.scan()
    (bench.folder / "runs/b").rename(bench.folder / "runs/c")
    assert bench.scan()[1] == []
    assert {row["run"] for row in units(bench).to_pylist()} == {"a", "b", "c"}  # b's files may have been deleted


def test_equal_checkpoints_are_done_once_and_listed_each(bench: Bench):
    content = (bench.folder / "runs/a/step-0.safetensors").read_bytes()
    (bench.folder / "runs/b/step-0.safetensors").write_bytes(content)
    assert bench.scan()[1] == [name for name in ALL if name != "b/step-0.safetensors"]
    assert len(units(bench)) == 5 * 2 * 4


@pytest.mark.parametrize("change", ["quantile", "model", "layers", "dataset", "counts", "threads", "batch_size"])
def test_what_decides_a_result(bench: Bench, change: str):
    bench.scan()
    settings, find = SETTINGS, bench.find
    if change == "quantile":
        settings = replace(settings, quantile=0.2)
    elif change == "model":
        path = Path(bench.model.partition(":")[0])
        path.write_text(path.read_text() + "\n")
    elif change == "layers":
        find = lambda: [replace(checkpoint, layers=("mix",)) for checkpoint in bench.find()]  # noqa: E731
    elif change == "dataset":
        with (bench.data.folder / "label.csv").open("a") as file:
            file.write("\n")
    elif change == "counts":
        settings = replace(settings, counts=True)
    else:
        settings = replace(settings, **{change: 2})
    assert bench.scan(settings, find)[1] == ([] if change in ("threads", "batch_size") else ALL)
    rows = query(bench.out, "SELECT count(*) AS n, count(DISTINCT (weights, layer, unit)) AS d FROM units").to_pylist()
    # The same checkpoints with other layers are listed beside them.
    assert rows == [{"n": 60, "d": 40} if change == "layers" else {"n": 40, "d": 40}]


def test_unchanged_files_are_not_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    from pydissect.scans import plan

    bench.scan()
    hashed: list[str] = []
    monkeypatch.setattr(plan, "sha256_file", lambda path: hashed.append(Path(path).name) or "x" * 64)
    bench.scan()
    assert hashed == []


def test_nothing_is_inherited_from_the_checkpoint_before(bench: Bench):
    """A model that counts its batches, in a buffer that is in no state dict."""
    path = Path(bench.model.partition(":")[0])
    path.write_text(
        path.read_text()
        + """

class Fading(Mix):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.seen += 1
        return super().forward(x) * torch.cos(self.seen)


def net():
    return sequential(mix=Fading(), relu=nn.ReLU())
"""
    )
    bench.scan()
    found = units(bench).to_pylist()
    for name in ALL:
        model = build_model(bench.model)
        load_weights(model, bench.folder / "runs" / name)
        wanted = dissect(model, Broden(bench.data.folder), "mix", quantile=0.1, normalize="none")["mix"].unit_rows()
        rows = [row for row in found if row["weights"].endswith(name) and row["layer"] == "mix"]
        assert [row["threshold"] for row in rows] == [float(np.float32(row["threshold"])) for row in wanted]


# --- folding ----------------------------------------------------------------------------------------------


def test_results_are_folded_and_stay_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.scan()
    before, runs_before, facts_before = units(bench), runs(bench), facts(bench)
    assert (len(before), len(runs_before), len(facts_before)) == (40, 10, 5)
    monkeypatch.setattr(folder_module, "FOLD", 2)
    assert bench.scan()[1] == []
    assert len(list((bench.out / "results").iterdir())) == 1
    assert len(list((bench.out / "folded").iterdir())) == 2
    assert units(bench).equals(before)
    assert runs(bench).equals(runs_before)
    assert facts(bench) == facts_before
    assert bench.scan() == (ScanReport(5, 0, ()), [])
    assert len(ScanFolder(bench.out).done()) == 5


def test_a_kill_between_folding_and_removing_shows_no_result_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.scan()
    before = units(bench)
    monkeypatch.setattr(folder_module, "FOLD", 2)
    single = {path: path.read_bytes() for path in (bench.out / "results").iterdir()}
    ScanFolder(bench.out).fold()
    for path, content in single.items():
        path.write_bytes(content)
    (bench.out / "results" / ".k.parquet.x.part").write_text("half")
    (bench.out / ".checkpoints.parquet.x.part").write_text("half")
    assert units(bench).equals(before)
    assert read_status(bench.out).done == 5
    bench.scan()
    assert len(list((bench.out / "results").iterdir())) == 1
    assert not list(bench.out.rglob(".*"))
    assert units(bench).equals(before)


def test_a_kill_between_the_runs_and_the_units_of_a_fold_leaves_the_single_files_in_force(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.scan()
    before, runs_before = units(bench), runs(bench)
    monkeypatch.setattr(folder_module, "FOLD", 2)
    single = {path: path.read_bytes() for path in (bench.out / "results").iterdir()}
    ScanFolder(bench.out).fold()
    for path, content in single.items():
        path.write_bytes(content)
    for path in (bench.out / "folded").iterdir():
        path.unlink()
    assert units(bench).equals(before)
    assert runs(bench).equals(runs_before)
    assert read_status(bench.out).done == 5
    monkeypatch.setattr(folder_module, "FOLD", 9)
    assert bench.scan()[1] == []
    assert not list((bench.out / "runs").iterdir())
    assert units(bench).equals(before)


def test_folded_results_without_their_runs_are_no_results_to_do_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_module, "FOLD", 5)
    bench.scan()
    (runs_file,) = (bench.out / "runs").iterdir()
    runs_file.unlink()
    for act in (bench.scan, lambda: read_status(bench.out), lambda: runs(bench)):
        with pytest.raises(InputError, match=f"expected its runs in {runs_file}, found no such file"):
            act()


def test_results_of_two_datasets_are_together(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.scan()
    path = min((bench.out / "results").iterdir())
    (fact,) = read_facts(path)
    for layer in fact["layers"]:
        del layer["categories"]["part"]
    write_result(path, pq.read_table(path).drop_columns(["part_label"]), fact)
    by_hand = ["part" in facts(bench)[row["key"]]["layers"][0]["categories"] for row in runs(bench).to_pylist()]
    assert by_hand.count(False) == 2
    monkeypatch.setattr(folder_module, "FOLD", 4)
    for _ in range(2):
        assert units(bench)["part_label"].null_count >= 8
        assert [row["part_detectors"] is not None for row in runs(bench).to_pylist()] == by_hand
        ScanFolder(bench.out).fold()
    assert len(list((bench.out / "folded").iterdir())) == 1


# --- failures ---------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_then_recorded_and_the_others_go_on(bench: Bench):
    (bench.folder / "runs/a/step-20.safetensors").write_bytes(b"no weights")
    save_file({"mix.weight": torch.zeros(5, 3)}, bench.folder / "runs/b/step-0.safetensors")
    report, tasks = bench.scan(retries=2)
    assert (report.checkpoints, report.made) == (5, 3)
    assert tasks.count("a/step-20.safetensors") == tasks.count("b/step-0.safetensors") == 3
    assert [failure.attempts for failure in report.failures] == [3, 3]
    assert "damaged, or neither a safetensors nor a torch.save file" in report.failures[0].error
    assert "expected [4, 3], found [5, 3]" in report.failures[1].error
    status = read_status(bench.out)
    assert (status.checkpoints, status.done, status.missing) == (5, 3, 0)
    assert status.failures == report.failures
    bench.write("runs/a/step-20.safetensors", 3)
    report, tasks = bench.scan(retries=0)
    assert tasks == ["b/step-0.safetensors", "a/step-20.safetensors"]
    assert len(report.failures) == 1
    assert [failure.weights for failure in read_status(bench.out).failures] == [report.failures[0].weights]


def test_what_passes_at_the_second_try_is_no_failure(bench: Bench):
    hidden = bench.folder / "runs/a/step-0.safetensors"
    content, tries = hidden.read_bytes(), []

    def vanish_once(task: Task) -> None:
        if task.weights == str(hidden):
            tries.append(task)
            if len(tries) == 1:
                hidden.rename(hidden.with_suffix(".away"))
            else:
                hidden.with_suffix(".away").rename(hidden)

    report, _ = bench.scan(before=vanish_once)
    assert hidden.read_bytes() == content
    assert (len(tries), report.made, report.failures) == (2, 5, ())


def test_a_result_whose_worker_dies_before_it_says_so_is_a_result(bench: Bench):
    tasks: list[Task] = []

    class Silenced(InlineEngine):
        def wait(self, timeout: float) -> list[tuple[Task, Outcome]]:
            return [(task, Outcome("its worker died")) for task, _outcome in super().wait(timeout)]

    folder = ScanFolder(bench.out)
    report = drive(folder, Broden(bench.data.folder), bench.find, SETTINGS, lambda: Silenced(tasks, lambda task: None))
    assert (report.made, report.failures) == (5, ())
    assert len(tasks) == len(folder.done()) == 5
    assert not folder.failures()


def test_a_failure_is_forgotten_once_the_result_is_there(bench: Bench):
    bench.scan()
    folder = ScanFolder(bench.out)
    key = min(folder.done())
    folder.record_failure(Failure(key, "runs/a/step-0.safetensors", "its worker died", 2, ""))
    _, done = bench.scan()
    assert not done
    assert not folder.failures()


def test_a_cluster_that_dies_is_no_failure_of_what_it_ran():
    class Died(Exception):
        pass

    ray = MagicMock()
    ray.is_initialized.return_value = True
    ray.exceptions.RayError = ray.exceptions.LocalRayletDiedError = Died
    ray.get.side_effect = Died("the local raylet died")
    engine = RayEngine(ray, None, "cpu", 1)
    engine.submit(MagicMock())
    ray.wait.side_effect = lambda references, timeout: (references, [])
    with pytest.raises(RuntimeError, match=r"Ray on this machine has died .*run the command again"):
        engine.wait(0.0)


def test_a_checkpoint_that_changes_under_way_is_not_taken_for_what_was_hashed(bench: Bench):
    def overwrite(task: Task) -> None:
        if task.weights.endswith("b/step-20.safetensors"):
            bench.write("runs/b/step-20.safetensors", len(task.key) + os.getpid())

    report, _ = bench.scan(before=overwrite, retries=0)
    (failure,) = report.failures
    assert "the file has changed since it was listed" in failure.error
    assert bench.scan()[1] == ["b/step-20.safetensors"]


# --- who may write, and where -----------------------------------------------------------------------------


def test_two_scans_at_a_time_are_refused(bench: Bench):
    bench.scan()
    with (bench.out / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_status(bench.out).running is not None
        with pytest.raises(InputError, match="another scan is writing to"):
            bench.scan()
    assert read_status(bench.out).running is None


def test_a_folder_of_something_else_is_refused(bench: Bench):
    bench.out.mkdir()
    (bench.out / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty and not of a scan"):
        bench.scan()
    assert [path.name for path in bench.out.iterdir()] == ["thesis.tex"]


def test_files_of_a_newer_version_are_refused(bench: Bench):
    bench.scan()
    path = bench.out / "checkpoints.parquet"
    table = pq.read_table(path)
    stated = json.dumps({"format": "pydissect.checkpoints", "version": 9})
    pq.write_table(table.replace_schema_metadata({"pydissect.format": stated}), path)
    with pytest.raises(InputError, match="expected version 1, found 9; update pydissect"):
        read_status(bench.out)
    path.write_bytes(b"no Parquet")
    with pytest.raises(InputError, match="damaged, or not a Parquet file"):
        bench.scan()


def test_files_of_another_version_or_kind_are_refused(bench: Bench):
    bench.scan()
    path = min((bench.out / "results").iterdir())
    table = pq.read_table(path)
    for stated, found in (
        ({"format": "pydissect.scan", "version": 1}, "expected version 2, found 1; scan into another folder"),
        ({"format": "pydissect.runs", "version": 1}, "expected a file of results of pydissect scan, found another"),
    ):
        pq.write_table(table.replace_schema_metadata({"pydissect.format": json.dumps(stated)}), path)
        with pytest.raises(InputError, match=found):
            runs(bench)


def test_nothing_is_written_where_the_work_cannot_be_done(bench: Bench):
    bench.scan()
    before = snapshot(bench.out)
    for wrong in ({"device": "tpu9"}, {"iou_threshold": 7.0}):
        settings = replace(SETTINGS, **wrong, quantile=0.3)

        def start(settings: Settings = settings) -> InlineEngine:
            settings.check()
            return InlineEngine([], lambda task: None)

        with pytest.raises(InputError, match=next(iter(wrong))):
            drive(ScanFolder(bench.out), Broden(bench.data.folder), bench.find, settings, start)
        assert snapshot(bench.out) == before


def test_watching_takes_what_arrives_and_ends_when_nothing_does(bench: Bench):
    new = bench.folder / "runs/c/step-1.safetensors"

    def arrive(task: Task) -> None:
        if not new.exists():
            bench.write("runs/c/step-1.safetensors", 5)

    for path in bench.folder.glob("runs/*/*"):
        os.utime(path, (1, 1))
    report, tasks = bench.scan(before=arrive, watch=Watch(bench.find, 0.01), poll=0.01, idle_exit=0.5)
    assert tasks == [*ALL, "c/step-1.safetensors"]
    assert (report.checkpoints, report.made) == (6, 6)


def test_what_is_wrong_with_all_work_shows_when_the_first_arrives(bench: Bench):
    for path in bench.folder.glob("runs/*/*"):
        os.utime(path, (1, 1))
    bench.scan()
    looks = []

    def find() -> list[Checkpoint]:
        looks.append(1)
        if len(looks) == 3:
            bench.write("runs/c/step-1.safetensors", 5)
        return bench.find()

    def start() -> InlineEngine:
        raise InputError("device: 'tpu9' cannot be used")

    with pytest.raises(InputError, match="tpu9"):
        drive(
            ScanFolder(bench.out),
            Broden(bench.data.folder),
            find,
            SETTINGS,
            start,
            watch=Watch(find, 0.01),
            poll=0.01,
            idle_exit=5,
        )
    assert len(looks) >= 3


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_in_processes_of_which_one_dies(bench: Bench):
    """Real workers: one checkpoint's model dies of a signal, another is damaged; the others are done."""
    (bench.folder / "dying.py").write_text("import os, signal\ndef net():\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    rows = [{"weights": f"runs/{name}", "run": name[0], "step": 20 * n} for n, name in enumerate(ALL)]
    rows[1]["model"] = "dying.py:net"
    (bench.folder / "runs" / ALL[3]).write_bytes(b"\x1b[31m")
    manifest = bench.folder / "list.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [item for item in bench.command("--manifest", manifest) if item != "--weights"]
    arguments.remove(bench.folder / "runs/*/step-*.safetensors")
    result = process(*arguments)
    assert result.returncode == 1, result.stderr
    assert "5 checkpoints: 3 done, 0 done before or alike, 2 failed" in result.stdout
    assert "its process died of SIGSEGV" in " ".join(result.stdout.split())
    assert said(result.stderr) == []
    assert len(units(bench)) == 3 * 2 * 4

    status = run("scan", "status", bench.out)
    assert status.exit_code == 0
    assert status.stdout.split()[:8] == ["checkpoints", "5", "done", "3", "failed", "2", "missing", "0"]

    answer = run("scan", "query", bench.out, "SELECT run, step, layer FROM runs ORDER BY ALL", "--format", "csv")
    rows_read = list(csv.reader(answer.stdout.splitlines()))
    assert rows_read[:2] == [["run", "step", "layer"], ["a", "0", "mix"]]
    assert len(rows_read) == 7
    answer = run("scan", "query", bench.out, "SELECT max(step) AS last, NULL AS nothing FROM units", "--format", "json")
    assert json.loads(answer.stdout) == {"last": 80, "nothing": None}
    answer = run("scan", "query", bench.out, "SELECT run, step FROM runs WHERE layer = 'mix' ORDER BY step")
    assert answer.stdout.split() == [
        "run",
        "step",
        *["─" * len(answer.stdout.splitlines()[2].strip())],
        "a",
        "0",
        "a",
        "40",
        "b",
        "80",
    ]

    for name in ("curve.svg", "curve.png"):
        picture = run("scan", "plot", bench.out, "--layer", "mix", "--out", bench.folder / name)
        assert picture.exit_code == 0, picture.output
        assert (bench.folder / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["status", "{tmp}"], "expected the folder of a scan, found none of its files"),
        (["query", "{out}", "SELEC"], "SQL: Parser Error"),
        (["query", "{out}", "SELECT nothing FROM units"], "SQL: Binder Error"),
        (["query", "{out}", "/* nothing */"], "expected a query that gives rows"),
        (["plot", "{out}", "--layer", "mix", "--x", "stp"], "did you mean 'step'?"),
        (["plot", "{out}", "--layer", "mix", "--x", "run"], "expected a tag that is a number, found run='a'"),
        (["plot", "{out}"], "--layer: expected one of mix, relu to draw, or --by layer"),
        (["plot", "{out}", "--layer", "mxi"], "did you mean 'mix'?"),
        (["plot", "{out}", "--layer", "mix", "--out", "{tmp}/a.xyz"], "--out"),
        ([], "Missing option '--data'"),
    ],
)
def test_what_the_other_commands_refuse(bench: Bench, arguments: list[str], found: str):
    bench.scan()
    result = run("scan", *(part.format(out=bench.out, tmp=bench.folder) for part in arguments))
    assert result.exit_code == 2, result.output
    (line,) = said(result.stderr)
    assert found in line


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--quantile", "2"], "quantile: "),
        (["--quantile", "x"], "quantile: expected a number"),
        (["--quantile", "0.1", "--quantile", "0.2"], "quantile: expected one number, found 0.1, 0.2"),
        (["--normalize", "maybe"], "normalize"),
        (["--model", "nowhere.py:net"], "--model: expected a Python file, found no such file"),
        (["--manifest", "m.csv"], "expected either --weights, a pattern, or --manifest, a file; found both"),
        (["--weights", "runs/none-*"], "--weights: expected files, found none"),
        (["--address", "auto"], "address: only the ray engine has one"),
        (["--engine", "ray", "--processes", "2"], "processes: the ray engine"),
        (["--device", "tpu9"], "device: "),
    ],
)
def test_arguments_that_are_wrong_for_every_checkpoint(bench: Bench, more: list[str], found: str):
    result = run(*bench.command(*more))
    assert result.exit_code == 2, result.output
    (line,) = said(result.stderr)
    assert found in line
    assert not bench.out.exists()


def test_an_extra_that_is_missing_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run(*bench.command())
    assert result.exit_code == 2
    assert "expected the package pyarrow, found none; pip install 'pydissect[scan]' brings it" in result.stderr


def test_the_function_refuses_what_it_does_not_know(bench: Bench):
    with pytest.raises(InputError, match="unexpected keyword argument 'quantiles'"):
        pydissect.scan(bench.data.folder, out=bench.out, weights="x", model=bench.model, layers="mix", quantiles=1)
