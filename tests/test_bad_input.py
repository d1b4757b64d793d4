"""Every bad input that a user may give: one line that names the place and the value, nothing written.

What ``Broden``, models, weights and captures refuse is tested in their own files, case by case; here, that the
command line tells it in one line, with exit status 2, and leaves nothing behind.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from broden_builder import IH, IW, SH, SW, BrodenBuilder, block, encode, photo
from command import process, run, said, snapshot, write_models
from PIL import Image
from safetensors.torch import save_file

import pydissect
from pydissect import InputError, PackedMasks, counts, dissection, fast_iou, mask_cache
from pydissect.files import atomic_write


class Bench:
    """A folder with a good dataset and model, in which a test spoils one thing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = BrodenBuilder(folder / "data")
        self.models = write_models(folder)
        (folder / "results").mkdir()
        self.out = folder / "results" / "out"

    def command(self, *more: object, factory: str = "net", layer: str = "mix", out: Path | None = None) -> list[object]:
        arguments: list[object] = ["dissect", "--data", self.data.folder, "--model", f"{self.models}:{factory}"]
        return [*arguments, "--layer", layer, "--out", out or self.out, "--quantile", "0.1", *more]

    def dissect(self, *more: object, **changes: object):
        return run(*self.command(*more, **changes))  # type: ignore[arg-type]

    def refused(self, *found: str, arguments: list[object] | None = None) -> str:
        """Asserts that the command fails as it should, and returns its one line."""
        before = snapshot(self.folder / "results")
        result = run(*(arguments or self.command()))
        assert result.exit_code == 2, (result.output, result.exception)
        (line,) = said(result.stderr)
        assert line.startswith("error: ")
        for text in found:
            assert text in line
        assert result.stdout == ""
        assert snapshot(self.folder / "results") == before
        # Of the masks, too, no half a file is kept.
        assert not list(self.folder.rglob("*.part"))
        return line


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return Bench(tmp_path)


def test_the_bench_is_good(bench: Bench):
    """Else every test here could pass for another reason."""
    bench.data.write()
    result = bench.dissect("--normalize", "none")
    assert result.exit_code == 0, result.output
    assert said(result.stderr) == []
    assert (bench.out / "run.json").is_file()
    assert "traceback" not in result.output.lower()


# --- the dataset ----------------------------------------------------------------------------------------


def test_missing_folder(bench: Bench):
    bench.refused(f"{bench.data.folder}: expected a dataset folder, found nothing")


def test_folder_without_images(bench: Bench):
    shutil.rmtree(bench.data.write() / "images")
    bench.refused(str(bench.data.folder), "'images'")


@pytest.mark.parametrize("column", ["image", "split", "ih", "sw", "scene"])
def test_index_without_a_column(bench: Bench, column: str):
    bench.data.header.remove(column)
    bench.data.write()
    bench.refused(str(bench.data.folder / "index.csv"), repr(column))


@pytest.mark.parametrize(
    ("column", "name"), [("image", "a/gone.png"), ("object", "a/gone.png"), ("part", "a/q.png;a/x_p2.png")]
)
def test_cell_that_names_a_file_that_is_not_there(bench: Bench, column: str, name: str):
    bench.data.index[0][column] = name
    bench.data.write()
    bench.refused("index.csv, line 2", repr(column), repr(name.split(";")[0]))


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png"])
@pytest.mark.parametrize("column", ["image", "object"])
def test_cell_that_names_a_file_outside(bench: Bench, column: str, name: str):
    bench.data.index[2][column] = name
    bench.data.write()
    photo("x").save(bench.data.folder / "x.png")
    bench.refused("index.csv, line 4", repr(column), repr(name))


@pytest.mark.parametrize(("column", "name"), [("image", "x"), ("part", "x_p1")])
def test_link_that_leads_outside(bench: Bench, column: str, name: str):
    bench.data.write()
    path = bench.data.pictures / f"{name}.png"
    outside = path.rename(bench.folder / "outside.png")
    path.symlink_to(outside)
    bench.refused("index.csv, line 2", repr(column), f"{name}.png", str(outside))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", ["x", "x_c"])
def test_truncated_png(bench: Bench, name: str, part: float):
    path = bench.data.write() / "images" / "a" / f"{name}.png"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    bench.refused("index.csv, line 2", str(path), "broken")


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_jpeg(bench: Bench, part: float):
    bench.data.index[1]["image"] = "a/y.jpg"
    path = bench.data.write() / "images" / "a" / "y.jpg"
    photo("y", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    bench.refused("index.csv, line 3, column 'image'", str(path), "broken")


def test_mask_of_the_wrong_size(bench: Bench):
    bench.data.maps["x_c"] = Image.fromarray(encode(np.zeros((SH, SW + 1))))
    path = bench.data.write() / "images" / "a" / "x_c.png"
    bench.refused("index.csv, line 2, column 'color'", str(path), f"expected {SH} x {SW}", f"found {SH} x {SW + 1}")


def test_label_number_that_label_csv_lacks_in_a_png(bench: Bench):
    bench.data.maps["x_p2"] = Image.fromarray(encode(block(777, slice(0, 1))))
    path = bench.data.write() / "images" / "a" / "x_p2.png"
    bench.refused("index.csv, line 2, column 'part'", str(path), "label.csv, found 777")


def test_label_number_that_label_csv_lacks_in_a_cell(bench: Bench):
    bench.data.index[1]["scene"] = "8"
    bench.data.write()
    bench.refused("index.csv, line 3, column 'scene'", "label.csv, found '8'")


def test_empty_dataset(bench: Bench):
    bench.data.index = []
    bench.data.write()
    bench.refused(str(bench.data.folder / "index.csv"), "expected at least one row, found none")


def test_split_that_is_not_there(bench: Bench):
    bench.data.write()
    bench.refused("index.csv", "'train'", "found 'test'", arguments=bench.command("--split", "test"))


# --- the model ------------------------------------------------------------------------------------------


def test_unknown_layer(bench: Bench):
    bench.data.write()
    line = bench.refused("layer 'mixx'", "did you mean 'mix'", arguments=bench.command(layer="mixx"))
    assert "pydissect layers" in line
    # It is refused before the masks are packed.
    assert not (bench.folder / "cache").exists()


def test_one_of_two_layers_is_unknown(bench: Bench):
    bench.data.write()
    bench.refused("layer 'rely'", "'relu'", arguments=bench.command("--layer", "rely"))


def test_layer_given_twice(bench: Bench):
    bench.data.write()
    bench.refused("layer 'mix'", "twice", arguments=bench.command("--layer", "mix"))


def test_layer_that_never_runs(bench: Bench):
    bench.data.write()
    bench.refused(
        "layer 'mix.spare'", "never", "Identity", arguments=bench.command(factory="with_spare", layer="mix.spare")
    )


def test_layer_that_returns_no_tensor(bench: Bench):
    bench.data.write()
    bench.refused(
        "layer 'lists': expected a tensor, found list of str",
        arguments=bench.command(factory="list_layer", layer="lists"),
    )


def test_layer_of_another_shape_each_time(bench: Bench):
    bench.data.write()
    bench.refused(
        "layer 'shrinks'",
        f"expected maps [U, h, w] of [3, 8, {IW}] as for the first images, found [3, 6, {IW}]",
        arguments=bench.command(factory="other_shape", layer="shrinks"),
    )


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("net", "'net'"),
        ("gone.py:net", "gone.py"),
        ("gone_package.models:net", "'gone_package.models'"),
        ("{models}:nett", "'nett'; did you mean 'net'"),
        ("{models}:no_module", "found str"),
        ("{models}:fails", "RuntimeError: weights are gone"),
        ("{models}:OrderedDict", "found OrderedDict"),
    ],
)
def test_model_that_cannot_be_made(bench: Bench, spec: str, found: str):
    bench.data.write()
    arguments = bench.command()
    arguments[arguments.index("--model") + 1] = spec.format(models=bench.models)
    bench.refused("--model", found, arguments=arguments)


def test_model_that_does_not_take_the_pictures(bench: Bench):
    bench.data.write()
    arguments = bench.command(factory="nn.Linear", layer="in_features")
    bench.refused("--model", "nn.Linear", arguments=arguments)


def test_weights_that_do_not_fit(bench: Bench):
    bench.data.write()
    path = bench.folder / "weights.safetensors"
    save_file({"mix.weight": torch.zeros(4, 2), "head.bias": torch.zeros(1)}, path)
    bench.refused(
        f"--weights {path}",
        "unexpected: head.bias",
        "mix.weight (expected [4, 3], found [4, 2])",
        arguments=bench.command("--weights", path),
    )


def test_weights_that_lack_a_name(bench: Bench):
    bench.data.write()
    path = bench.folder / "weights.pt"
    torch.save({"head.bias": torch.zeros(1)}, path)
    bench.refused(f"--weights {path}", "missing: mix.weight", arguments=bench.command("--weights", path))


def test_weights_that_are_not_there(bench: Bench):
    bench.data.write()
    path = bench.folder / "gone.pt"
    bench.refused("--weights", "no such file", str(path), arguments=bench.command("--weights", path))


def white_photo(bench: Bench, name: str) -> None:
    """One photo all white, in the others no white pixel."""
    for other in "xyz":
        bench.data.photos[other] = bench.data.photos[other].point(lambda value: value // 2)
    bench.data.photos[name] = Image.new("RGB", (IW, IH), "white")
    bench.data.write()


@pytest.mark.parametrize("name", "xyz")
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_nan_activations(bench: Bench, name: str, batch_size: int):
    white_photo(bench, name)
    more = ("--normalize", "none", "--batch-size", batch_size)
    bench.refused(
        "layer 'spoil': unit 2",
        f"a/{name}.png",
        "NaN",
        arguments=bench.command(*more, factory="nan", layer="spoil"),
    )


def test_infinite_activations(bench: Bench):
    white_photo(bench, "y")
    arguments = bench.command("--normalize", "none", factory="infinite", layer="spoil")
    bench.refused("layer 'spoil': unit 0", "a/y.png", "infinite", arguments=arguments)


def test_nan_activations_may_be_off(bench: Bench):
    white_photo(bench, "y")
    more = ("--normalize", "none", "--nonfinite", "off")
    result = bench.dissect(*more, factory="nan", layer="spoil")
    assert result.exit_code == 0, result.output
    assert (bench.out / "run.json").is_file()


# --- arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", ["0", "1", "-0.1", "1.5", "nan", "inf", "0.5%", ""])
def test_quantile_outside(bench: Bench, quantile: str):
    bench.data.write()
    arguments = bench.command("--quantile", quantile)
    line = bench.refused("quantile: expected a number between 0 and 1, exclusive, found", arguments=arguments)
    assert quantile in line.rpartition("found")[2]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--iou-threshold", "1.5"),
        ("--iou-threshold", "nan"),
        ("--iou-threshold", "high"),
        ("--union", "some"),
        ("--grid", "half"),
        ("--grid", "receptive_field:1"),
        ("--grid", "receptive_field:1,0"),
        ("--grid", "receptive_field:a,b"),
        ("--normalize", "vgg"),
        ("--normalize", "1,2/3,4"),
        ("--normalize", "0,0,0/1,0,1"),
        ("--input-size", "0"),
        ("--limit", "0"),
        ("--limit", "many"),
        ("--batch-size", "0"),
        ("--workers", "-1"),
        ("--threads", "0"),
        ("--device", "gpu"),
        ("--device", "cpu:x"),
        ("--device", "meta"),
        ("--backend", "fast"),
        ("--nonfinite", "ignore"),
    ],
)
def test_option_with_a_wrong_value(bench: Bench, option: str, value: str):
    bench.data.write()
    # Some messages are the library's own, which calls an argument by its Python name.
    line = bench.refused(value, arguments=bench.command(option, value))
    assert option.removeprefix("--").replace("-", "") in line.replace("-", "").replace("_", "")


@pytest.mark.parametrize("option", ["--data", "--model", "--layer", "--out"])
def test_option_that_is_missing(bench: Bench, option: str):
    bench.data.write()
    arguments = bench.command()
    place = arguments.index(option)
    bench.refused(repr(option), arguments=arguments[:place] + arguments[place + 2 :])


def test_option_that_does_not_exist(bench: Bench):
    bench.data.write()
    bench.refused("--quantil", arguments=bench.command("--quantil", "0.1"))


def test_argument_too_many(bench: Bench):
    bench.data.write()
    bench.refused("(extra)", "`pydissect dissect --help`", arguments=bench.command("extra"))


# --- fast_iou -------------------------------------------------------------------------------------------

ACTS = torch.zeros(2, 3, 4, 4)
MASKS = torch.zeros(2, 5, 8, 8, dtype=torch.bool)


@pytest.mark.parametrize(
    ("acts", "masks", "found"),
    [
        (ACTS, MASKS[:1], "masks: expected those of 2 images, one for each of acts, found 1"),
        (ACTS[0], MASKS, "acts: expected activation maps [N, U, h, w], found shape [3, 4, 4]"),
        (ACTS, MASKS[0], "masks: expected bool [N, C, H, W], found bool [5, 8, 8]"),
        (ACTS, MASKS[:, :0, :0], "masks: expected bool [N, C, H, W], found bool [2, 0, 0, 8]"),
        (ACTS.double(), MASKS, "acts: expected float32, float16 or bfloat16, found float64; convert it with .float()"),
        (ACTS.int(), MASKS, "acts: expected float32, float16 or bfloat16, found int32"),
        (ACTS, MASKS.to(torch.uint8), "found uint8 [2, 5, 8, 8]; use .bool()"),
        (ACTS, MASKS.float(), "found float32 [2, 5, 8, 8]"),
        (ACTS, -MASKS[:, 0].long() - 3, "masks: "),
        ("acts", MASKS, "acts: expected a torch tensor, a NumPy array or an object with __dlpack__, found str"),
        (ACTS, None, "masks: expected a torch tensor, a NumPy array or an object with __dlpack__, found NoneType"),
    ],
)
def test_fast_iou_refuses(acts: object, masks: object, found: str):
    with pytest.raises(InputError) as raised:
        fast_iou(acts, masks)
    assert found in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fast_iou_refuses_other_devices():
    packed = PackedMasks.from_bool(MASKS)
    with pytest.raises(InputError, match=r"device meta.*cpu|meta"):
        fast_iou(ACTS.to("meta"), packed, threshold=0.0)
    with pytest.raises(InputError, match="expected device cpu, that of acts, found meta"):
        fast_iou(ACTS, packed.to("meta"), threshold=0.0)


@pytest.mark.parametrize("quantile", [0, 1, -0.5, 2.0, float("nan"), "half", True, [0.1, 1.0]])
def test_fast_iou_refuses_a_quantile(quantile: object):
    wrong = quantile[-1] if isinstance(quantile, list) else quantile
    with pytest.raises(InputError) as raised:
        fast_iou(ACTS, MASKS, quantile=quantile)
    assert str(raised.value) == f"quantile: expected a number between 0 and 1, exclusive, found {wrong!r}"


# --- the output folder ----------------------------------------------------------------------------------


def test_output_folder_that_exists(bench: Bench):
    bench.data.write()
    bench.out.mkdir()
    (bench.out / "notes.txt").write_text("mine")
    bench.refused(f"out: folder {bench.out} exists", "--overwrite")
    # Refused before any work.
    assert not (bench.folder / "cache").exists()


def test_overwrite_refuses_what_is_no_dissection(bench: Bench):
    bench.data.write()
    bench.out.mkdir()
    (bench.out / "notes.txt").write_text("mine")
    bench.refused(str(bench.out), "run.json", arguments=bench.command("--overwrite"))


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_output_that_is_a_file(bench: Bench, overwrite: list[object]):
    bench.data.write()
    bench.out.write_text("mine")
    bench.refused(str(bench.out), "found a file or a link", arguments=bench.command(*overwrite))


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_output_that_is_a_link(bench: Bench, overwrite: list[object]):
    bench.data.write()
    (bench.folder / "elsewhere").mkdir()
    bench.out.symlink_to(bench.folder / "elsewhere")
    bench.refused(str(bench.out), "link", arguments=bench.command(*overwrite))


def test_output_below_a_file(bench: Bench):
    bench.data.write()
    (bench.folder / "results" / "file").write_text("mine")
    out = bench.folder / "results" / "file" / "out"
    bench.refused(str(out), str(out.parent), arguments=bench.command(out=out))


# --- no space left --------------------------------------------------------------------------------------


class Full:
    """A file on a device that is full."""

    def __init__(self, file: object) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("file", ["masks-", "units.csv", "concepts.csv", "counts.safetensors", "run.json"])
@pytest.mark.parametrize("below", [".", "new/folders"])
def test_no_space_left(bench: Bench, monkeypatch: pytest.MonkeyPatch, file: str, below: str):
    """Wherever the space runs out, in folders that are there or must be made."""
    struck: list[Path] = []

    @contextmanager
    def full(path: Path) -> Iterator[object]:
        with atomic_write(path) as good:
            if path.name.startswith(file):
                struck.append(path)
            yield Full(good) if path.name.startswith(file) else good

    for module in (mask_cache, dissection, counts):
        monkeypatch.setattr(module, "atomic_write", full)
    bench.data.write()
    out = bench.folder / "results" / below / "out"
    where = bench.folder / "cache" if file == "masks-" else out
    bench.refused("no space left on the device", str(where), arguments=bench.command(out=out))
    assert struck


def test_no_space_left_for_the_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(bench.out.parent / ".out.part"))

    monkeypatch.setattr(dissection.tempfile, "mkdtemp", full)
    bench.data.write()
    bench.refused("no space left on the device", str(bench.out))


def test_no_space_left_keeps_the_old_results(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.data.write()
    assert bench.dissect().exit_code == 0
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.name.endswith(".part") and Path(target) == bench.out:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    bench.refused("no space left on the device", str(bench.out), arguments=bench.command("--overwrite"))


# --- interrupts, and errors that are ours ---------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupted(bench: Bench, arguments: list[object], ready: Callable[[], bool]) -> None:
    temporary = bench.folder / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "pydissect", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as command:
        wait_for(lambda: ready() or command.poll() is not None)
        command.send_signal(signal.SIGINT)
        stdout, stderr = command.communicate(timeout=120)
    assert command.returncode == 130, stderr
    assert said(stderr) == ["interrupted: nothing was written"]
    assert stdout == ""
    assert snapshot(bench.folder / "results") == {}
    assert snapshot(temporary) == {}
    assert not list(bench.folder.rglob("*.part"))


def test_ctrl_c_in_the_middle_of_a_run(bench: Bench):
    bench.data.index *= 20
    bench.data.write()
    running = bench.folder / "running"
    arguments = bench.command("--batch-size", 2, factory="slow", layer="wait")
    # The first pass is the capture's trial; the third batch is in the middle of the data.
    interrupted(bench, arguments, lambda: running.exists() and len(running.read_text()) >= 3)
    # Of 30 batches: it did not wait for them.
    assert len(running.read_text()) < 30


def test_ctrl_c_while_masks_are_packed(bench: Bench):
    """Of so many rows that packing takes longer than noticing that it has begun."""
    bench.data.index *= 30_000
    bench.data.write()
    interrupted(bench, bench.command(), lambda: bool(list((bench.folder / "cache").glob(".*.part"))))
    assert list((bench.folder / "cache").iterdir()) == []


def test_debug_shows_the_traceback(bench: Bench):
    result = process(*bench.command("--debug"))
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert (
        result.stderr.rstrip()
        .splitlines()[-1]
        .endswith(f"{bench.data.folder}: expected a dataset folder, found nothing")
    )


def test_without_debug_there_is_none(bench: Bench):
    result = process(*bench.command())
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line == f"error: {bench.data.folder}: expected a dataset folder, found nothing"


def test_an_error_of_ours_is_told_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Exit status 1: the input is right, the work failed."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug\nof two lines")

    monkeypatch.setattr(pydissect.tally.Tally, "update", fail)
    bench.data.write()
    result = bench.dissect()
    assert result.exit_code == 1
    assert said(result.stderr) == ["error: RuntimeError: a bug of two lines (--debug shows the traceback)"]
    assert snapshot(bench.folder / "results") == {}


def test_names_of_files_cannot_steer_the_terminal(bench: Bench):
    bench.data.index[0]["image"] = "a/\x1b[31mred.png"
    bench.data.write()
    line = bench.refused("index.csv, line 2", "red.png")
    assert "\x1b" not in line
    bench.data.folder = bench.folder / "a\x1b[31m\nfolder"
    line = bench.refused("expected a dataset folder, found nothing")
    assert "\x1b" not in line


def test_names_of_labels_cannot_steer_the_terminal(bench: Bench):
    """They come from a dataset that somebody else has made; the files keep them as they are."""
    names = [f"\x1b[31m{row['name']}" for row in bench.data.labels]
    for row, name in zip(bench.data.labels, names, strict=True):
        row["name"] = name
    bench.data.write()
    result = bench.dissect()
    assert result.exit_code == 0
    assert "\N{REPLACEMENT CHARACTER}[31m" in result.stdout
    assert "\x1b" not in result.output
    assert "\x1b[31m" in (bench.out / "layers" / "mix" / "concepts.csv").read_text()
