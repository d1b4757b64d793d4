import csv
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pydissect.errors import InputError
from pydissect.synth import CATEGORIES, MASK_SIDE, NUMBERS, SIDE, make_dataset
from pydissect.synth import dataset as synth_dataset

IMAGES = 60
COLUMNS = ["image", "split", "ih", "iw", "sh", "sw", "color", "object", "part", "material", "scene", "texture"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "data"
    make_dataset(out, IMAGES)
    return out


@pytest.fixture(scope="module")
def rows(folder):
    return table(folder, "index")


def table(folder, name):
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entries(row, category):
    return [entry for entry in row[category].split(";") if entry]


def labels(folder, path):
    red, green, blue = np.moveaxis(np.asarray(Image.open(folder / "images" / path)).astype(int), 2, 0)
    assert not blue.any()
    return red + 256 * green


def recount(folder, rows, category):
    """Count images and covered share of every label number, a label of two layers once."""
    frequency, coverage = Counter(), Counter()
    for row in rows:
        covered = {}
        for entry in entries(row, category):
            if entry.isdigit():
                covered[int(entry)] = np.ones((MASK_SIDE, MASK_SIDE), bool)
                continue
            layer = labels(folder, entry)
            for number in np.unique(layer):
                covered[number] = covered.get(number, False) | (layer == number)
        covered.pop(0, None)
        for number, pixels in covered.items():
            frequency[number] += 1
            coverage[number] += pixels.mean()
    return frequency, coverage


def test_same_seed_same_bytes(folder, tmp_path):
    make_dataset(tmp_path / "again", IMAGES)
    assert files(tmp_path / "again") == files(folder)


def test_another_seed_draws_other_pictures(folder, tmp_path):
    make_dataset(tmp_path / "other", 3, seed=1)
    other = files(tmp_path / "other")
    assert all(other[name] != files(folder)[name] for name in other if name.endswith(".jpg"))


def test_a_picture_does_not_depend_on_how_many_follow(folder, rows, tmp_path):
    make_dataset(tmp_path / "few", 20)
    few = {name: content for name, content in files(tmp_path / "few").items() if name.startswith("images/")}
    everything = files(folder)
    assert few == {name: everything[name] for name in few}
    assert table(tmp_path / "few", "index") == rows[:20]


def test_index(folder, rows):
    assert list(rows[0]) == COLUMNS
    assert len(rows) == IMAGES
    assert Counter(row["split"] for row in rows) == {"train": IMAGES * 4 // 5, "val": IMAGES // 5}
    for row in rows:
        assert [row[name] for name in ("ih", "iw", "sh", "sw")] == ["224", "224", "112", "112"]
        with Image.open(folder / "images" / row["image"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (SIDE, SIDE))


def test_every_file_is_named_once_and_lies_in_the_folder(folder, rows):
    named = [row["image"] for row in rows]
    named += [
        entry for row in rows for category in CATEGORIES for entry in entries(row, category) if not entry.isdigit()
    ]
    root = (folder / "images").resolve()
    assert all((root / name).resolve().is_relative_to(root) for name in named)
    present = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert sorted(named) == sorted(present)


def test_label_pngs(folder, rows):
    for row in rows:
        for category in CATEGORIES:
            for entry in entries(row, category):
                if not entry.isdigit():
                    with Image.open(folder / "images" / entry) as picture:
                        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (112, 112))


@pytest.mark.parametrize("category", CATEGORIES)
def test_category_tables_agree_with_a_recount(folder, rows, category):
    frequency, coverage = recount(folder, rows, category)
    codes = table(folder, f"c_{category}")
    assert list(codes[0]) == ["code", "number", "name", "frequency", "coverage"]
    assert {int(row["number"]): int(row["frequency"]) for row in codes} == frequency
    assert {int(row["number"]): float(row["coverage"]) for row in codes} == pytest.approx(coverage)
    assert [int(row["code"]) for row in codes] == list(range(1, len(codes) + 1))
    frequencies = [int(row["frequency"]) for row in codes]
    assert frequencies == sorted(frequencies, reverse=True)
    (summary,) = [row for row in table(folder, "category") if row["name"] == category]
    assert summary == {
        "name": category,
        "first": str(min(frequency)),
        "last": str(max(frequency)),
        "count": str(len(frequency)),
        "frequency": str(frequency.total()),
    }


def test_label_table_agrees_with_a_recount(folder, rows):
    counts = {category: recount(folder, rows, category) for category in CATEGORIES}
    found = table(folder, "label")
    assert list(found[0]) == ["number", "name", "category", "frequency", "coverage", "syns"]
    numbers = [int(row["number"]) for row in found]
    assert numbers == sorted(set(numbers))
    assert set(numbers) == {number for frequency, _ in counts.values() for number in frequency}
    for row in found:
        number = int(row["number"])
        assert NUMBERS[row["name"]] == number
        mine = {category: frequency[number] for category, (frequency, _) in counts.items() if frequency[number]}
        assert {name: int(count) for name, count in re.findall(r"(\w+)\((\d+)\)", row["category"])} == mine
        assert int(row["frequency"]) == sum(mine.values())
        covered = sum(counts[category][1][number] for category in mine)
        assert float(row["coverage"]) == pytest.approx(covered)


def test_the_order_of_the_categories(folder):
    assert tuple(row["name"] for row in table(folder, "category")) == CATEGORIES


def test_csv_lines_end_as_in_broden(folder):
    for path in folder.glob("*.csv"):
        content = path.read_bytes()
        assert content.count(b"\n") == content.count(b"\r\n") > 1


def test_what_real_datasets_have(folder, rows):
    cells = [row[category] for row in rows for category in CATEGORIES]
    assert "" in cells
    assert "0" in [row["scene"] for row in rows]
    assert any(entry.isdigit() for row in rows for entry in entries(row, "texture"))
    assert any(len(entries(row, "texture")) == 2 for row in rows)
    assert any(len(entries(row, "part")) == 2 for row in rows)
    assert sum(not row["color"] for row in rows) == IMAGES // 5
    assert sum(not row["object"] for row in rows) == IMAGES // 5
    numbers = [int(row["number"]) for row in table(folder, "label")]
    assert min(numbers) < 256 < max(numbers)
    assert any(number % 256 and number > 255 for number in numbers)
    assert any(";" in row["category"] for row in table(folder, "label"))


def test_the_high_byte_is_in_the_pngs(folder, rows):
    materials = [labels(folder, entry) for row in rows for entry in entries(row, "material")]
    assert max(layer.max() for layer in materials) > 255


def test_colors_are_where_the_picture_has_them(folder, rows):
    seen = Counter()
    for row in rows:
        for entry in entries(row, "color"):
            with Image.open(folder / "images" / row["image"]) as picture:
                small = np.asarray(picture.reduce(2)).astype(int)
            layer = labels(folder, entry)
            assert layer.all()
            for name in ("red-c", "green-c", "blue-c", "orange-c"):
                pixels = small[layer == NUMBERS[name]]
                if len(pixels) < 30:
                    continue
                seen[name] += 1
                red, green, blue = np.median(pixels, axis=0)
                if name == "green-c":
                    assert green > max(red, blue), row["image"]
                elif name == "blue-c":
                    assert blue > red, row["image"]
                else:
                    assert red > green > blue or (name == "red-c" and red > 1.5 * max(green, blue)), row["image"]
    assert min(seen.values()) > 3
    assert len(seen) == 4


def test_edges_of_a_mask_are_edges_of_the_picture(folder, rows):
    """A mask shifted by a pixel or two fits the picture's edges worse than the mask itself."""
    fits = Counter()
    for row in rows[:20]:
        with Image.open(folder / "images" / row["image"]) as picture:
            grey = np.asarray(picture.convert("L").reduce(2)).astype(float)
        steps = np.abs(np.diff(grey, axis=1))[:, 2:-2]
        for entry in entries(row, "object"):
            edges = np.diff(labels(folder, entry), axis=1) != 0
            for shift in (-2, -1, 0, 1, 2):
                fits[shift] += steps[edges[:, 2 + shift : edges.shape[1] - 2 + shift]].sum()
    assert fits.most_common(1)[0][0] == 0
    assert fits[0] > 1.5 * max(fits[-2], fits[2])


def test_progress_counts_up(tmp_path):
    done = []
    make_dataset(tmp_path / "data", 3, progress=done.append)
    assert done == [1, 2, 3]


def test_one_picture_is_a_dataset(tmp_path):
    make_dataset(tmp_path / "new" / "data", 1)
    assert len(table(tmp_path / "new" / "data", "index")) == 1


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "note").write_text("keep")
    with pytest.raises(InputError, match="does not exist"):
        make_dataset(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize(("images", "seed", "message"), [(0, 0, "images: .*0"), (1, -1, "seed: .*-1")])
def test_wrong_arguments_are_refused(tmp_path, images, seed, message):
    with pytest.raises(InputError, match=message):
        make_dataset(tmp_path / "data", images, seed)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_args):
        raise RuntimeError("no more ink")

    with pytest.raises(RuntimeError, match="no more ink"):
        make_dataset(tmp_path / "data", 3, progress=fail)
    monkeypatch.setattr(synth_dataset, "_write_csv", fail)
    with pytest.raises(RuntimeError, match="no more ink"):
        make_dataset(tmp_path / "data", 1)
    assert not list(tmp_path.iterdir())


def test_vocabulary():
    assert len(set(NUMBERS)) == len(NUMBERS)
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    assert max(NUMBERS.values()) > 255 >= min(NUMBERS.values()) > 0
