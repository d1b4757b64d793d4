"""The command line: its files, its output, its statuses."""

import csv
import hashlib
import json
import re
import subprocess
import sysconfig
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from broden_builder import IH, IW, SH, SW, BrodenBuilder, Image, block, encode, photo
from command import process, run, said, snapshot, write_models
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import pydissect
from pydissect import Broden, Counts, reference
from pydissect.cli import main
from pydissect.models import build_model

NUMBERS = [1, 2, 7, 9, 300]
NAMES = ["dog", "leg", "street", "unused", "red, bright"]
CATEGORIES = ["object", "part", "scene", "color"]
OF_CONCEPT = torch.tensor([0, 1, 2, 1, 3])
WEIGHT = torch.tensor([[1.0, -1.0, 0.5], [-0.25, 1.0, 0.5], [0.0, 0.0, 1.0], [-1.0, 1.0, -1.0]])
PHOTOS = 9


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BrodenBuilder:
    """The builder's three rows, three times, the later six with other photos and objects."""
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    write_models(tmp_path)
    (tmp_path / "results").mkdir()
    builder = BrodenBuilder(tmp_path / "data")
    for n, row in enumerate([dict(row) for row in builder.index * 2]):
        name = "abcdef"[n]
        builder.photos[name] = photo(name)
        builder.maps[f"{name}_o"] = Image.fromarray(encode(block(1, slice(n % 3, n % 3 + 2), slice(n % 4, n % 4 + 2))))
        builder.index.append(row | {"image": f"a/{name}.png", "object": f"a/{name}_o.png"})
    builder.write()
    return builder


def command(builder: BrodenBuilder, *more: object, layers: tuple[str, ...] = ("mix",)) -> list[object]:
    root = builder.folder.parent
    arguments: list[object] = ["dissect", "--data", builder.folder, "--model", f"{root / 'models.py'}:net"]
    for layer in layers:
        arguments += ["--layer", layer]
    quantile = [] if "--quantile" in more else ["--quantile", "0.1"]
    return [*arguments, "--out", root / "results" / "out", *quantile, "--normalize", "none", *more]


def rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)


def contents(folder: Path) -> dict[str, object]:
    """What the files of some layers hold. The order of a safetensors file's metadata is not the same every time."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".csv":
            found[name] = path.read_text()
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                found[name] = (
                    file.metadata(),
                    {key: (tensor.dtype, tensor.shape, tensor.tobytes()) for key, tensor in tensors.items()},
                )
    return found


def bits(builder: BrodenBuilder) -> Tensor:
    """The masks ``[9, 5, SH, SW]`` from the builder's pictures, read by hand."""
    masks = torch.zeros(PHOTOS, len(NUMBERS), SH, SW, dtype=torch.bool)
    for n, row in enumerate(builder.index):
        for column in CATEGORIES:
            for part in filter(None, row.get(column, "").split(";")):
                if part.isdigit():
                    if part != "0":
                        masks[n, NUMBERS.index(int(part))] = True
                    continue
                pixels = np.asarray(builder.maps[Path(part).stem]).astype(int)
                labels = pixels[..., 0] + 256 * pixels[..., 1]
                for number in set(labels.flat) - {0}:
                    masks[n, NUMBERS.index(number)] |= torch.from_numpy(labels == number)
    return masks


def activations(builder: BrodenBuilder) -> dict[str, Tensor]:
    pictures = np.stack([np.asarray(builder.photos[Path(row["image"]).stem]) for row in builder.index])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    pool = torch.nn.functional.avg_pool2d(x, 2)
    w = WEIGHT[:, :, None, None]
    mix = pool[:, 0:1] * w[:, 0] + pool[:, 1:2] * w[:, 1] + pool[:, 2:3] * w[:, 2]
    return {"pool": pool, "mix": mix, "relu": mix.relu()}


# --- dissect: the files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("union", ["category", "all"])
def test_every_file_of_a_dissection(builder: BrodenBuilder, union: str):
    """Columns and rows as the design lists them; each value from the reference and its integers."""
    layers = ("relu", "pool", "mix")
    before = snapshot(builder.folder)
    result = run(*command(builder, "--union", union, "--iou-threshold", "0.1", layers=layers))
    assert result.exit_code == 0, result.output
    assert said(result.stderr) == []
    assert snapshot(builder.folder) == before
    out = builder.folder.parent / "results" / "out"
    files = {"units.csv", "concepts.csv", "top_images.csv", "counts.safetensors"}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        "run.json",
        *(f"layers/{layer}/{name}" for layer in layers for name in files),
    }
    assert list(out.parent.iterdir()) == [out]
    assert run_file_is_right(builder, json.loads((out / "run.json").read_text()), union, layers)
    masks, acts = bits(builder), activations(builder)
    carried = masks.flatten(2).any(2)
    annotated = torch.stack([carried[:, k == OF_CONCEPT].any(1) for k in range(4)], 1)
    for layer in layers:
        assert_layer(out / "layers" / layer, layer, acts[layer], masks, annotated, union)


def assert_layer(folder: Path, layer: str, acts: Tensor, masks: Tensor, annotated: Tensor, union: str) -> None:
    with safe_open(folder / "counts.safetensors", framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    threshold = reference.thresholds(acts, 0.1)
    both, areas, area, concept_area = reference.counts(acts, masks, threshold[None], annotated)
    for name, wanted in {
        "intersection": both[0],
        "unit_area": areas[0],
        "unit_area_all": area[0],
        "concept_area": concept_area,
        "thresholds": threshold,
    }.items():
        assert torch.equal(tensors[name], wanted), name
        assert tensors[name].dtype == (torch.float32 if name == "thresholds" else torch.int64)
    assert both.sum() > 0
    assert json.loads(metadata["concepts"]) == [
        [number, name, CATEGORIES[k]] for number, name, k in zip(NUMBERS, NAMES, OF_CONCEPT.tolist(), strict=True)
    ]
    assert json.loads(metadata["categories"]) == CATEGORIES
    assert (metadata["format"], metadata["version"], metadata["layer"]) == ("pydissect.counts", "1", layer)
    assert torch.equal(Counts.load(folder / "counts.safetensors").intersection, both[0])

    unit_area = areas[0][:, OF_CONCEPT] if union == "category" else area[0][:, None].expand(-1, 5)
    iou = reference.iou(both[0], unit_area, concept_area)
    header, units = rows(folder / "units.csv")
    assert header == [
        *("unit", "threshold", "label", "concept", "category", "iou", "intersection", "unit_area", "concept_area"),
        "detector",
        *(f"{category}_{what}" for category in CATEGORIES for what in ("label", "iou")),
    ]
    assert [row["unit"] for row in units] == [str(unit) for unit in range(len(threshold))]
    for u, row in enumerate(units):
        assert np.float32(row["threshold"]) == threshold[u].numpy()
        c = int(iou[u].argmax())  # the first of equals
        best = float(iou[u, c])
        assert best > 0
        assert float(row["iou"]) == best
        assert (row["label"], row["concept"], row["category"]) == (
            NAMES[c],
            str(NUMBERS[c]),
            CATEGORIES[OF_CONCEPT[c]],
        )
        assert int(row["intersection"]) == both[0, u, c]
        assert int(row["unit_area"]) == unit_area[u, c]
        assert int(row["concept_area"]) == concept_area[c]
        assert row["detector"] == str(best > 0.1)
        for k, category in enumerate(CATEGORIES):
            own = torch.where(k == OF_CONCEPT, iou[u], 0)
            assert float(row[f"{category}_iou"]) == own.max()
            assert row[f"{category}_label"] == (NAMES[int(own.argmax())] if own.max() > 0 else "")

    header, concepts = rows(folder / "concepts.csv")
    assert header == ["index", "concept", "name", "category", "images", "pixels", "units"]
    assert [row["index"] for row in concepts] == [str(c) for c in range(5)]
    assert [row["concept"] for row in concepts] == [str(number) for number in NUMBERS]
    assert [row["name"] for row in concepts] == NAMES
    assert [row["category"] for row in concepts] == [CATEGORIES[k] for k in OF_CONCEPT]
    assert [int(row["images"]) for row in concepts] == masks.flatten(2).any(2).sum(0).tolist()
    assert [int(row["pixels"]) for row in concepts] == concept_area.tolist()
    detectors = [row["concept"] for row in units if row["detector"] == "True"]
    assert [int(row["units"]) for row in concepts] == [detectors.count(str(number)) for number in NUMBERS]
    assert {row["detector"] for row in units} <= {"True", "False"}


def run_file_is_right(builder: BrodenBuilder, found: dict, union: str, layers: tuple[str, ...]) -> bool:
    root = builder.folder.parent
    assert (found["format"], found["version"]) == ("pydissect.run", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["started"])
    arguments = found["arguments"]
    assert arguments["data"] == str(builder.folder)
    assert arguments["model"] == f"{root / 'models.py'}:net"
    assert arguments["layers"] == list(layers)
    assert (arguments["quantile"], arguments["union"], arguments["limit"]) == (["0.1"], union, None)
    assert "debug" not in arguments
    assert found["dataset"] == {
        "folder": str(builder.folder),
        "split": "all",
        "sha256": Broden(builder.folder).sha256(),
    }
    assert found["weights"] is None
    assert (found["images"], found["concepts"], found["categories"]) == (PHOTOS, 5, CATEGORIES)
    assert found["layers"] == {layer: [3 if layer == "pool" else 4, IH // 2, IW // 2] for layer in layers}
    assert found["settings"] == {
        "quantile": 0.1,
        "iou_threshold": 0.1,
        "union": union,
        "grid": "half_pixel",
        "dtype": "fp32",
        "nonfinite": "error",
        "normalize": "none: RGB in [0, 1]",
        "batch_size": 32,
    }
    assert (found["device"], found["backend"]) == ("cpu", "cpu")
    assert found["versions"]["torch"] == torch.__version__
    assert set(found["seconds"]) == {"masks", "model", "counting", "total"}
    return True


def test_weights_are_loaded_and_hashed(builder: BrodenBuilder):
    """Weights that exchange units 0 and 2 exchange their rows."""
    path = builder.folder.parent / "weights.safetensors"
    save_file({"mix.weight": WEIGHT[[2, 1, 0, 3]].contiguous()}, path)
    out = builder.folder.parent / "results" / "out"
    tables = []
    for more in ([], ["--weights", path, "--overwrite"]):
        assert run(*command(builder, *more)).exit_code == 0
        tables.append([row | {"unit": ""} for row in rows(out / "layers" / "mix" / "units.csv")[1]])
    assert tables[1] == [tables[0][u] for u in (2, 1, 0, 3)]
    weights = json.loads((out / "run.json").read_text())["weights"]
    assert weights == {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    "more",
    [
        ["--batch-size", "2"],
        ["--batch-size", "1", "--workers", "0"],
        ["--workers", "3"],
        ["--threads", "1"],
        ["--backend", "reference"],
        ["--device", "cpu:0"],
        ["--limit", "9"],
        ["--input-size", str(IH), "--limit", "100"],
    ],
)
def test_tables_do_not_depend_on_how_they_are_made(builder: BrodenBuilder, more: list[str]):
    for row in builder.index:
        row["iw"] = str(IH)  # square, for --input-size
    builder.write()
    out = builder.folder.parent / "results" / "out"
    threads = torch.get_num_threads()
    try:
        assert run(*command(builder)).exit_code == 0
        expected = contents(out / "layers")
        assert run(*command(builder, "--overwrite", *more)).exit_code == 0
    finally:
        torch.set_num_threads(threads)
    assert contents(out / "layers") == expected


@pytest.mark.parametrize(
    "more",
    [
        ["--limit", "4"],
        ["--split", "train"],
        ["--quantile", "0.3"],
        ["--grid", "align_corners"],
        ["--grid", "receptive_field:0.5,2"],
        ["--normalize", "caffe"],
        ["--input-size", "20"],
        ["--union", "all"],
    ],
)
def test_options_that_change_the_tables(builder: BrodenBuilder, more: list[str]):
    """The same options in Python give the same files. Coarse maps, which lie otherwise on each grid."""
    out = builder.folder.parent / "results" / "out"
    assert run(*command(builder, layers=("coarse",))).exit_code == 0
    usual = contents(out / "layers")
    assert run(*command(builder, "--overwrite", *more, layers=("coarse",))).exit_code == 0
    found = contents(out / "layers")
    assert found != usual
    keywords: dict[str, object] = {more[0].removeprefix("--").replace("-", "_"): more[1]}
    split = keywords.pop("split", "all")
    for name, kind in (("limit", int), ("quantile", float), ("input_size", int)):
        if name in keywords:
            keywords[name] = kind(keywords[name])  # type: ignore[call-overload]
    if keywords.get("grid", "").startswith("receptive"):  # type: ignore[attr-defined]
        keywords["grid"] = pydissect.ReceptiveField(0.5, 2, (IH, IW))
    model = build_model(f"{builder.folder.parent / 'models.py'}:net")
    arguments = {"quantile": 0.1, "normalize": "none", **keywords}
    again = pydissect.dissect(model, Broden(builder.folder, str(split)), "coarse", **arguments)
    again.save(out, overwrite=True)
    assert contents(out / "layers") == found


def test_layer_with_a_name_that_is_no_file_name(builder: BrodenBuilder):
    models = builder.folder.parent / "models.py"
    models.write_text(models.read_text() + "\n\ndef odd():\n    return sequential(**{'a/b c': nn.AvgPool2d(2)})\n")
    arguments = command(builder, layers=("a/b c",))
    arguments[arguments.index("--model") + 1] = f"{models}:odd"
    assert run(*arguments).exit_code == 0
    out = builder.folder.parent / "results" / "out"
    assert [path.name for path in (out / "layers").iterdir()] == ["a%2Fb%20c"]


def test_unit_without_a_label(builder: BrodenBuilder):
    """Of quantile so small that no pixel is left."""
    result = run(*command(builder, "--quantile", "0.0001"))
    assert result.exit_code == 0
    (line,) = said(result.stderr)
    assert line.startswith("warning: quantile 0.0001")
    _, units = rows(builder.folder.parent / "results" / "out" / "layers" / "mix" / "units.csv")
    for row in units:
        assert [row[name] for name in ("label", "concept", "category", "object_label")] == [""] * 4
        assert [row[name] for name in ("iou", "intersection", "unit_area", "concept_area")] == ["0.0", "0", "0", "0"]
        assert row["detector"] == "False"


# --- dissect: the output folder and what is printed -----------------------------------------------------


def test_overwrite(builder: BrodenBuilder):
    out = builder.folder.parent / "results" / "out"
    assert run(*command(builder, layers=("pool",))).exit_code == 0
    (out / "notes.txt").write_text("of the old run")
    first = snapshot(out)
    result = run(*command(builder))
    assert result.exit_code == 2
    assert snapshot(out) == first
    result = run(*command(builder, "--overwrite"))
    assert result.exit_code == 0
    # Replaced, not mixed.
    assert sorted(path.name for path in out.iterdir()) == ["layers", "run.json"]
    assert [path.name for path in (out / "layers").iterdir()] == ["mix"]
    assert list(out.parent.iterdir()) == [out]


def test_overwrite_of_nothing(builder: BrodenBuilder):
    assert run(*command(builder, "--overwrite")).exit_code == 0


def test_an_empty_folder_may_be_overwritten(builder: BrodenBuilder):
    (builder.folder.parent / "results" / "out").mkdir()
    assert run(*command(builder)).exit_code == 2
    assert run(*command(builder, "--overwrite")).exit_code == 0


def test_folders_above_are_made(builder: BrodenBuilder):
    arguments = command(builder)
    arguments[arguments.index("--out") + 1] = builder.folder.parent / "results" / "new" / "deep"
    assert run(*arguments).exit_code == 0
    assert (builder.folder.parent / "results" / "new" / "deep" / "run.json").is_file()


def test_summary(builder: BrodenBuilder):
    """What it prints is what the files hold."""
    result = run(*command(builder, "--iou-threshold", "0.1"))
    out = builder.folder.parent / "results" / "out"
    _, units = rows(out / "layers" / "mix" / "units.csv")
    detectors = [row for row in units if row["detector"] == "True"]
    text = result.stdout
    assert f"mix: 4 units of {IH // 2} x {IW // 2}, {len(detectors)} detectors" in text
    best = max(units, key=lambda row: float(row["iou"]))
    first = next(line for line in text.splitlines() if line.split()[:1] == [best["unit"]])
    assert best["label"] in first
    assert f"{float(best['iou']):.3f}" in first
    per_category = 0
    for category in CATEGORIES:
        above = [row for row in units if float(row[f"{category}_iou"]) > 0.1]
        unique = {row[f"{category}_label"] for row in above}
        labelled = [row["label"] for row in detectors if row["category"] == category]
        per_category += len(unique)
        line = next(line.split() for line in text.splitlines() if line.split()[:1] == [category])
        assert line[1:] == [str(n) for n in (len(above), len(unique), len(labelled), len(set(labelled)))]
    line = next(line.split() for line in text.splitlines() if line.split()[:1] == ["all"])
    top = {row["label"] for row in detectors}
    assert line[1:] == [str(n) for n in (per_category, len(detectors), len(top))]
    assert "unique detectors" in text
    assert "unique top labels" in text
    assert "normalize none: RGB in [0, 1]" in text
    assert "9 images" in text
    assert f"results: {out}/layers/*/units.csv" in text


def test_progress_has_every_stage(builder: BrodenBuilder):
    lines = [line for line in run(*command(builder)).stderr.splitlines() if line.strip()]
    assert [line.split("  ")[0].split(" ━")[0] for line in lines] == ["packing masks", "running the model", "counting"]
    for line in lines:
        assert "9/9" in line
        assert "images/s" in line
        assert "left" in line


# --- layers, data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "shapes"),
    [
        ([], {"pool": "3 112 x 112", "mix": "4 112 x 112"}),
        (["--input-size", "32"], {"pool": "3 16 x 16", "mix": "4 16 x 16"}),
        (["--data"], {"pool": "3 4 x 6", "mix": "4 4 x 6"}),
    ],
)
def test_layers(builder: BrodenBuilder, more: list[object], shapes: dict[str, str]):
    model = f"{builder.folder.parent / 'models.py'}:with_spare"
    result = run("layers", "--model", model, *more, *([builder.folder] if more == ["--data"] else []))
    assert result.exit_code == 0
    lines = {line.split()[0]: " ".join(line.split()) for line in result.stdout.splitlines() if line.strip()}
    for layer, shape in shapes.items():
        assert shape in lines[layer]
    assert "never runs" in lines["mix.spare"]
    assert "AvgPool2d" in lines["pool"]


def test_layers_of_an_unknown_model(builder: BrodenBuilder):
    result = run("layers", "--model", f"{builder.folder.parent / 'models.py'}:nett")
    assert result.exit_code == 2
    (line,) = said(result.stderr)
    assert "did you mean 'net'" in line


def test_data_info(builder: BrodenBuilder):
    result = run("data", "info", "--data", builder.folder)
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "train 6" in lines
    assert "val 3" in lines
    assert f"pictures {IH} x {IW} 9" in lines
    assert f"masks {SH} x {SW} 9" in lines
    assert any(line.startswith("object 1 ") for line in lines)
    assert f"sha256 {Broden(builder.folder).sha256()}" in lines
    result = run("data", "info", "--data", builder.folder, "--split", "val")
    assert "val 3" in [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_data_check_of_a_good_dataset(tmp_path: Path):
    folder = BrodenBuilder(tmp_path / "data").write()
    result = run("data", "check", "--data", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["3 images, 4 label PNGs, 0 problems"]
    verified = run("data", "check", "--data", folder, "--verify")
    digest, last = verified.stdout.splitlines()
    assert re.fullmatch(r"sha256 [0-9a-f]{64}", digest)
    assert last == "3 images, 4 label PNGs, 0 problems"


def test_data_check_lists_every_problem(tmp_path: Path):
    builder = BrodenBuilder(tmp_path / "data")
    builder.index[1]["image"] = "a/gone.png"
    builder.maps["x_c"] = Image.fromarray(encode(block(777)))
    result = run("data", "check", "--data", builder.write())
    assert result.exit_code == 2
    lines = said(result.stderr)
    assert all(line.startswith("problem: ") for line in lines)
    assert any("line 3, column 'image'" in line and "'a/gone.png'" in line for line in lines)
    assert any("x_c.png" in line and "found 777" in line for line in lines)
    assert result.stdout.splitlines()[-1].endswith(f"{len(lines)} problems")


def test_data_pack(builder: BrodenBuilder):
    root = builder.folder.parent
    result = run("data", "pack", "--data", builder.folder, "--workers", "2")
    assert result.exit_code == 0, result.output
    (path,) = (root / "cache").iterdir()
    assert str(path) in result.stdout
    packed = path.stat()
    assert torch.equal(pydissect.PackedMasks.load(path).unpack(), bits(builder))
    # dissect finds them there.
    result = run(*command(builder))
    assert result.exit_code == 0
    assert "packing masks" not in result.stderr
    assert path.stat().st_mtime_ns == packed.st_mtime_ns


def test_data_pack_where_nothing_can_be_kept(builder: BrodenBuilder, monkeypatch: pytest.MonkeyPatch):
    file = builder.folder.parent / "file"
    file.write_text("")
    monkeypatch.setenv("PYDISSECT_CACHE", str(file))
    result = run("data", "pack", "--data", builder.folder)
    assert result.exit_code == 0
    (line,) = said(result.stderr)
    assert line.startswith(f"warning: {file} cannot be written")
    assert "not kept" in result.stdout
    assert run(*command(builder)).exit_code == 0


def test_data_synth(tmp_path: Path):
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for out, seed in ((first, 3), (second, 3), (other, 4)):
        result = run("data", "synth", "--images", "4", "--seed", seed, "--out", out)
        assert result.exit_code == 0, result.output
        assert f"4 images in {out}" in result.stdout
        assert "4/4" in result.stderr
    assert snapshot(first) == snapshot(second)
    assert snapshot(first) != snapshot(other)
    assert len(Broden(first)) == 4
    before = snapshot(tmp_path)
    result = run("data", "synth", "--images", "4", "--out", first)
    assert result.exit_code == 2
    assert str(first) in said(result.stderr)[0]
    assert snapshot(tmp_path) == before


# --- help, version, entry points ------------------------------------------------------------------------


def command_of(group: click.Group, name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        each = command_of(group, name)
        found += commands(each, (*path, name)) if isinstance(each, click.Group) else [(*path, name)]
    return found


def test_the_commands_of_the_design():
    assert {
        ("dissect",),
        ("layers",),
        ("backends",),
        ("data", "info"),
        ("data", "check"),
        ("data", "pack"),
        ("data", "synth"),
        ("scan", "status"),
        ("scan", "query"),
        ("scan", "plot"),
    } <= {*commands(main)}


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_help_shows_an_example(path: tuple[str, ...]):
    result = run(*path, "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    # `pydissect scan` runs a scan where it is given none of its commands.
    assert f"Example: pydissect {' '.join(path).removesuffix(' run')} " in text
    assert "--debug" in text
    assert result.stderr == ""


def test_the_example_of_dissect_uses_options_that_exist():
    each = command_of(main, "dissect")
    known = {option for parameter in each.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", each.epilog or "")) <= known
    assert {
        *("--data", "--model", "--weights", "--layer", "--out", "--quantile", "--iou-threshold", "--union", "--grid"),
        *("--normalize", "--input-size", "--split", "--limit", "--batch-size", "--workers", "--threads", "--device"),
        *("--dtype", "--backend", "--nonfinite", "--overwrite", "--unsafe-weights", "--debug", "--top-images"),
        *("--per-image", "--memory", "--passes", "--image-cache"),
    } == known


def test_help_of_all():
    for arguments in ((), ("data",)):
        result = run(*arguments, "--help")
        assert result.exit_code == 0
        assert "Commands:" in result.stdout
    assert "Exit status: 0 done, 1 the work failed, 2" in " ".join(run("--help").stdout.split())


def test_unknown_command():
    result = run("disect")
    assert result.exit_code == 2
    assert "disect" in result.stderr
    assert "Traceback" not in result.output


def test_version():
    assert run("--version").stdout == f"pydissect, version {pydissect.__version__}\n"


def test_module_and_script_are_the_same_command(builder: BrodenBuilder):
    """The only test of a whole run in a process of its own, through both doors."""
    root = builder.folder.parent
    result = process(*command(builder))
    assert result.returncode == 0, result.stderr
    assert "mix: 4 units" in result.stdout
    by_module = contents(root / "results" / "out" / "layers")
    script = Path(sysconfig.get_path("scripts")) / "pydissect"
    again = subprocess.run(
        [str(script), *map(str, command(builder, "--overwrite"))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert contents(root / "results" / "out" / "layers") == by_module


def test_a_reader_that_has_seen_enough_is_no_error(builder: BrodenBuilder):
    """As in ``pydissect layers ... | head -1``: no message, no traceback."""
    model = f"{builder.folder.parent / 'models.py'}:net"
    with subprocess.Popen(
        [str(Path(sysconfig.get_path("scripts")) / "pydissect"), "layers", "--model", model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
