"""Which checkpoints a scan finds: patterns, tags of paths, manifests, arriving files."""

import json
import os
from pathlib import Path

import pytest

from pydissect import InputError
from pydissect.scans.checkpoints import absolute_spec, find_checkpoints, path_tags
from pydissect.scans.manifest import read_manifest
from pydissect.scans.watch import Watch

MODEL = "pydissect.demo:untrained"


@pytest.mark.parametrize(
    ("path", "pattern", "tags"),
    [
        ("runs/a/step-1200.safetensors", "runs/*/step-*.safetensors", {"run": "a", "step": 1200}),
        ("runs/7/step_007.pt", "runs/*/step_*.pt", {"run": "7", "step": 7}),
        ("x/big/seed-3/step-10.pt", "x/*/seed-*/step-*.pt", {"run": "big", "seed": 3, "step": 10}),
        ("x/a/checkpoints/step-1.pt", "x/*/checkpoints/*.pt", {"run": "a", "step": 1}),
        ("x/a/b/step-1.pt", "x/**/*.pt", {"run": "a/b", "step": 1}),
        ("logs/epoch=3-step=1200.ckpt", "logs/*.ckpt", {"epoch": 3, "step": 1200}),
        ("lr=0.1,wd=1e-4/last.pt", "*/last.pt", {"lr": 0.1, "wd": 1e-4}),
        ("step-5/run-b/vgg-16.pt", "step-5/run-*/vgg-16.pt", {"run": "run-b"}),
        ("w/step-9.pt", "w/step-9.pt", {"step": 9}),
        ("w/iou=3-label=2.pt", "w/*.pt", {}),
        ("w/misstep-9.pt", "w/*.pt", {}),
    ],
)
def test_tags_of_a_path(path: str, pattern: str, tags: dict[str, object]):
    assert path_tags(Path(path), pattern) == tags


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path):
    for name in ("step-100.pt", "step-9.pt", "step-1200.pt", "other.txt"):
        (tmp_path / name).touch()
    (tmp_path / "step-7.pt").mkdir()
    found = find_checkpoints(str(tmp_path / "step-*.pt"), MODEL, ["a"])
    assert [checkpoint.weights.name for checkpoint in found] == ["step-9.pt", "step-100.pt", "step-1200.pt"]


def test_a_csv_manifest(tmp_path: Path):
    (tmp_path / "net.py").touch()
    (tmp_path / "list.csv").write_text(
        "\ufeffweights,model,layer,step,run,note\r\n\r\n"
        f'{tmp_path}/a.pt,net.py:make,"l1;l2",100,007,"two\nlines"\r\n'
        "sub/b.pt,,,1e3,,\r\n",
        newline="",
    )
    a, b = read_manifest(tmp_path / "list.csv", MODEL, ["l3"])
    assert (a.weights, a.model, a.layers) == (tmp_path / "a.pt", f"{tmp_path}/net.py:make", ("l1", "l2"))
    assert a.tags == {"step": 100, "run": "007", "note": "two\nlines"}
    assert (b.weights, b.model, b.layers, b.tags) == (tmp_path / "sub/b.pt", MODEL, ("l3",), {"step": 1000.0})


def test_a_manifest_of_json_lines(tmp_path: Path):
    rows = [{"weights": "a.pt", "layer": ["l1", "l2"], "step": 5, "run": 7, "best": True, "none": None}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (a,) = read_manifest(tmp_path / "list.jsonl", MODEL)
    assert (a.layers, a.tags) == (("l1", "l2"), {"step": 5, "run": 7, "best": True})


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("m.csv", "", "m.csv: expected at least one checkpoint"),
        ("m.csv", "path,step\na,1\n", "m.csv, line 1: expected a header with the column weights"),
        ("m.csv", "weights,step,step\na,1,2\n", "line 1: column 'step' is there twice"),
        ("m.csv", "weights,step\na,1\nb,2,3\n", "line 3: expected 2 cells as in the header, found 3"),
        ("m.csv", "weights,step\n,1\n", "line 2: weights: expected a file, found ''"),
        ("m.csv", 'weights\n"a\n', "line 2: "),
        ("m.csv", "weights,iou\na,1\n", "line 2: tag 'iou' has the name of a column"),
        ("m.csv", "weights,dog_label\na,1\n", "line 2: tag 'dog_label' has the name of a column"),
        (
            "m.csv",
            "weights,\x1b[31m\na,1\n",
            "line 2: expected a tag's name of letters, digits and _, found '\\x1b[31m'",
        ),
        ("m.csv", "weights,model\na,nowhere.py:f\n", "line 2: --model: expected a Python file, found no such file"),
        ("m.csv", "weights,model\na,nocolon\n", "line 2: --model: expected FILE.py:FACTORY"),
        ("m.csv", "weights\na\nb\na\n", "line 4: the same weights, model and layer as in line 2"),
        ("m.jsonl", '{"weights": "a"}\n[1]\n', "line 2: expected a JSON object, found '[1]'"),
        ("m.jsonl", '{"weights": "a"\n', "line 1: expected a JSON object, found "),
        ("m.jsonl", '{"weights": 3}\n', "line 1: weights: expected a file, found 3"),
        ("m.jsonl", '{"weights": "a", "layer": [1]}\n', "line 1: layer: expected a module's name, found [1]"),
        ("m.jsonl", '{"weights": "a", "lr": [1]}\n', "line 1: lr: expected text, a number, true or false, found [1]"),
        ("m.jsonl", '{"weights": "a", "lr": NaN}\n', "line 1: lr: expected text, a number, true or false, found NaN"),
    ],
)
def test_what_is_wrong_with_a_manifest(tmp_path: Path, name: str, content: str, found: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as error:
        read_manifest(tmp_path / name, MODEL, ["l"])
    assert found in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_manifest_whose_rows_lack_what_no_option_gives(tmp_path: Path):
    (tmp_path / "m.csv").write_text("weights\na\n")
    with pytest.raises(InputError, match=r"line 2: model: expected .* found neither that nor --model"):
        read_manifest(tmp_path / "m.csv", None, ["l"])
    with pytest.raises(InputError, match=r"line 2: layer: expected .* found neither that nor --layer"):
        read_manifest(tmp_path / "m.csv", MODEL)
    (tmp_path / "m.csv").write_bytes(b"weights\n\xff\n")
    with pytest.raises(InputError, match="expected UTF-8, found byte 0xff"):
        read_manifest(tmp_path / "m.csv", MODEL)


def test_a_spec_means_the_same_in_every_folder(tmp_path: Path):
    (tmp_path / "net.py").touch()
    assert absolute_spec("net.py:f", tmp_path) == f"{tmp_path}/net.py:f"
    assert absolute_spec("a.b:c.d", tmp_path) == "a.b:c.d"


def test_files_are_taken_when_they_rest_and_again_when_they_change(tmp_path: Path):
    now = 1000.0
    watch = Watch(lambda: find_checkpoints(str(tmp_path / "*.pt"), MODEL, ["l"]), 10, lambda: now)

    def write(name: str, content: str, time: float) -> None:
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (time, time))

    def look() -> list[str]:
        return [checkpoint.weights.stem for checkpoint in watch.look()]

    write("old", "", 0)
    write("old.pt", "x", 900)
    write("new.pt", "x", 999)
    assert look() == ["old"]  # new.pt may still grow
    write("new.pt", "xx", 1000)
    assert look() == []
    assert look() == ["new"]
    assert look() == []
    write("old.pt", "y", 950)
    assert look() == ["old"]
