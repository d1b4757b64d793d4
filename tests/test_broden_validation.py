"""check: a sound dataset passes, and every problem of a bad one is listed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from broden_builder import SH, SW, BrodenBuilder, block, encode
from PIL import Image
from test_broden import shared_data

from pydissect.broden.validation import check


@pytest.fixture
def builder(tmp_path: Path) -> BrodenBuilder:
    return BrodenBuilder(tmp_path / "data")


def assert_problem(builder: BrodenBuilder, *parts: str) -> None:
    """The check finds one problem, and its line holds every part."""
    report = check(builder.folder)
    assert len(report.problems) == 1, report.problems
    for part in parts:
        assert part in report.problems[0]
    assert "\n" not in report.problems[0]
    assert not report.ok


def test_sound_dataset(builder: BrodenBuilder):
    seen = []
    report = check(builder.write(), progress=lambda done, total: seen.append((done, total)))
    assert report.problems == ()
    assert report.ok
    assert (report.images, report.bitmaps) == (3, 4)
    assert report.sha256 is None
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_real_data_is_sound():
    report = check(shared_data() / "camvid_broden", verify=True)
    assert report.problems == ()
    assert (report.images, report.bitmaps) == (468, 830)


def test_all_problems_are_listed_in_order(builder: BrodenBuilder):
    builder.labels.append({"number": "x", "name": "bad", "category": "object", "frequency": "0"})
    builder.index[0] |= {"scene": "7;88;89"}
    builder.index.append({**builder.index[1], "sh": "none"})
    builder.index.append({**builder.index[1], "image": "../x.png"})
    builder.maps["x_o"] = Image.fromarray(encode(block(301)))
    builder.maps["x_c"] = Image.fromarray(encode(np.zeros((SW, SH))))
    builder.write()
    (builder.pictures / "y.png").write_bytes(b"")
    (builder.pictures / "z.png").unlink()
    report = check(builder.folder)
    expected = ["'x'", "'88'", "'89'", "'none'", "'../x.png'", "301", "6 x 4", "y.png", "z.png"]
    assert len(report.problems) == len(expected)
    for problem, part in zip(report.problems, expected, strict=True):
        assert part in problem
    assert report.images == 3


def test_one_label_twice_in_an_image_counts_once(builder: BrodenBuilder):
    builder.labels[1] |= {"category": "object", "frequency": "1"}
    builder.index[0]["object"] = "a/x_o.png;1;a/x_o.png"
    assert check(builder.write()).ok


@pytest.mark.parametrize("name", ["index.csv", "label.csv", "category.csv"])
def test_missing_table_ends_the_check(builder: BrodenBuilder, name: str):
    (builder.write() / name).unlink()
    assert_problem(builder, repr(name), str(builder.folder))


def test_missing_folder(builder: BrodenBuilder):
    assert_problem(builder, str(builder.folder))


def test_no_rows(builder: BrodenBuilder):
    builder.index.clear()
    report = check(builder.write())
    assert "index.csv: expected at least one good row" in report.problems[0]


def test_wrong_sum_of_frequencies(builder: BrodenBuilder):
    builder.labels[2]["frequency"] = "5"
    builder.write()
    assert_problem(builder, "label.csv, line 4, column 'frequency'", "expected 4", "found 5")


def test_frequency_that_is_no_number(builder: BrodenBuilder):
    builder.labels[4]["frequency"] = "few"
    builder.write()
    assert_problem(builder, "label.csv, line 6, column 'frequency'", "'few'")


def test_frequency_below_the_images_found(builder: BrodenBuilder):
    builder.labels[0] |= {"category": "scene", "frequency": "1"}
    builder.write()
    assert_problem(builder, "label.csv, line 2, column 'frequency'", "found 1", "2 images with label 7")


@pytest.mark.parametrize(("column", "value"), [("first", "2"), ("last", "8"), ("count", "3")])
def test_wrong_range_of_a_category(builder: BrodenBuilder, column: str, value: str):
    builder.categories[1 if column != "first" else 0][column] = value
    builder.write()
    assert_problem(builder, "category.csv, line", f"column {column!r}", repr(value))


@pytest.mark.parametrize(("column", "value"), [("frequency", "4"), ("name", "arm")])
def test_category_file_that_disagrees_with_label_csv(builder: BrodenBuilder, column: str, value: str):
    builder.coverage["part"][0][column] = value
    builder.write()
    assert_problem(builder, f"c_part.csv, line 2, column {column!r}", repr(value))


def test_category_file_with_a_foreign_label(builder: BrodenBuilder):
    builder.coverage["part"].append({"code": "3", "number": "1", "name": "dog", "coverage": "0"})
    builder.write()
    assert_problem(builder, "c_part.csv, line 4, column 'number'", "'part'", "found 1")


def test_category_file_with_a_label_twice(builder: BrodenBuilder):
    builder.coverage["part"].append(builder.coverage["part"][0])
    builder.write()
    assert_problem(builder, "c_part.csv, line 4, column 'number'", "2 again")


def test_category_file_without_a_label(builder: BrodenBuilder):
    builder.coverage["part"].pop()
    builder.write()
    assert_problem(builder, "c_part.csv", "label 9 ('unused')")


def test_counts_may_be_left_out(builder: BrodenBuilder):
    builder.labels = [{name: row[name] for name in ("number", "name", "category")} for row in builder.labels]
    builder.categories = [{"name": row["name"]} for row in builder.categories]
    for category, rows in builder.coverage.items():
        columns = ("number", "coverage")
        builder.coverage[category] = [{name: row[name] for name in columns} for row in rows]
    assert check(builder.write()).problems == ()


def test_verify_hashes_contents(builder: BrodenBuilder):
    path = builder.write() / "images" / "a" / "x_o.png"
    content = path.read_bytes()
    # What follows the end of a PNG is no part of the picture, but of the file.
    path.write_bytes(content + b"1")
    digest = check(builder.folder, verify=True).sha256
    assert digest is not None
    assert len(digest) == 64
    shutil.copytree(builder.folder, builder.folder.with_name("copy"))
    assert check(builder.folder.with_name("copy"), verify=True).sha256 == digest
    path.write_bytes(content + b"2")
    assert check(builder.folder, verify=True).sha256 != digest


def test_verify_without_a_file(builder: BrodenBuilder):
    builder.write()
    (builder.pictures / "z.png").unlink()
    assert check(builder.folder, verify=True).sha256 is None
