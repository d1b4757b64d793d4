"""Broden: every corner of the format, and every way in which a dataset can be wrong."""

import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broden_builder import IH, IW, SH, SW, BrodenBuilder, block, encode, photo
from PIL import Image

from pydissect.broden import Broden
from pydissect.broden.pictures import resample_nearest
from pydissect.broden.summary import CategorySummary, summarize
from pydissect.errors import InputError


def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data) is not here")
    return folder


@pytest.fixture
def builder(tmp_path: Path) -> BrodenBuilder:
    return BrodenBuilder(tmp_path / "data")


def refuse(act: Callable[[], object], *parts: str) -> None:
    """The act fails with one line that holds every part."""
    with pytest.raises(InputError) as error:
        act()
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert str(pickle.loads(pickle.dumps(error.value))) == message


# --- what is read ---------------------------------------------------------------------------------------


def test_reads_rows_concepts_and_sizes(builder: BrodenBuilder):
    data = Broden(builder.write())
    assert len(data) == 3
    assert data.folder == builder.folder
    assert data.mask_size == (SH, SW)
    assert data.image_size == (IH, IW)
    assert data.categories == ("object", "part", "scene", "color")
    assert [concept.number for concept in data.concepts] == [1, 2, 7, 9, 300]
    assert [concept.index for concept in data.concepts] == [0, 1, 2, 3, 4]
    assert data.concepts[4].name == "red, bright"
    first = data.rows[0]
    assert first.bitmaps == ("a/x_o.png", "a/x_p1.png", "a/x_p2.png", "a/x_c.png")
    assert first.columns == ("object", "part", "part", "color")
    assert first.whole == (7,)
    assert [row.line for row in data.rows] == [2, 3, 4]


def test_reads_labels_of_several_layers_and_above_255(builder: BrodenBuilder):
    data = Broden(builder.write())
    maps, whole = data.read_labels(0)
    assert maps.dtype == np.uint16
    expected = [block(1, slice(0, 2)), block(2, slice(0, 1)), block(2, slice(0, 2), slice(0, 3))]
    expected.append(block(300, columns=slice(2, 4)))
    np.testing.assert_array_equal(maps, expected)
    assert whole == (7,)


def test_zero_cells_are_unlabelled(builder: BrodenBuilder):
    data = Broden(builder.write())
    for i, numbers in ((1, (7,)), (2, ())):
        maps, whole = data.read_labels(i)
        assert maps.shape == (0, SH, SW)
        assert whole == numbers


def test_files_and_numbers_in_one_cell(builder: BrodenBuilder):
    builder.index[0]["object"] = "2;a/x_o.png;0;007;2;"
    maps, whole = Broden(builder.write()).read_labels(0)
    assert len(maps) == 4
    assert whole == (2, 7)


def test_columns_in_any_order(builder: BrodenBuilder):
    expected = Broden(builder.write()).rows
    builder.header.reverse()
    builder.labels = [dict(reversed(row.items())) for row in builder.labels]
    data = Broden(builder.write())
    assert data.rows == expected
    assert data.concepts[1].name == "leg"


def test_column_names_are_case_sensitive(builder: BrodenBuilder):
    builder.header[4] = "SH"
    refuse(lambda: Broden(builder.write()), "index.csv", "'sh'", "'SH'")


def test_unknown_columns_are_ignored(builder: BrodenBuilder):
    builder.index[0]["note"] = "../nothing;99999"
    assert Broden(builder.write()).rows[0].whole == (7,)


def test_category_without_column_is_unannotated(builder: BrodenBuilder):
    builder.categories.append({"name": "texture"})
    builder.header.remove("color")
    builder.labels = [row for row in builder.labels if row["name"] != "red, bright"]
    data = Broden(builder.write())
    assert data.categories[-2:] == ("color", "texture")
    assert data.rows[0].columns == ("object", "part", "part")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_byte_order_marks(builder: BrodenBuilder, newline: str, encoding: str):
    builder.newline, builder.encoding = newline, encoding
    builder.labels[0]["name"] = "straße"
    data = Broden(builder.write())
    assert len(data) == 3
    assert data.concepts[2].name == "straße"


def test_blank_lines_are_skipped_and_counted(builder: BrodenBuilder):
    path = builder.write() / "index.csv"
    header, rest = path.read_bytes().split(b"\r\n", 1)
    path.write_bytes(header + b"\r\n\r\n" + rest + b"\r\n\r\n")
    assert [row.line for row in Broden(builder.folder).rows] == [3, 4, 5]


@pytest.mark.parametrize(
    ("in_object", "in_part", "primary"),
    [("0.125", "0.25", "part"), ("0.5", "0.25", "object"), ("0.25", "0.25", "object")],
    ids=["later", "earlier", "tie"],
)
def test_primary_category_has_the_largest_coverage(builder: BrodenBuilder, in_object: str, in_part: str, primary: str):
    builder.coverage["object"][1]["coverage"] = in_object
    builder.coverage["part"][0]["coverage"] = in_part
    builder.labels[2]["category"] = "part;object(1)"
    leg = Broden(builder.write()).concepts[1]
    assert leg.category == primary
    assert leg.categories == ("part", "object")


def test_missing_coverage_file_counts_as_zero(builder: BrodenBuilder):
    del builder.coverage["part"]
    assert Broden(builder.write()).concepts[1].category == "object"


def test_splits(builder: BrodenBuilder):
    folder = builder.write()
    assert [row.image for row in Broden(folder, "train").rows] == ["a/x.png", "a/z.png"]
    assert [row.image for row in Broden(folder, "val").rows] == ["a/y.png"]


def test_photo_as_it_is(builder: BrodenBuilder):
    data = Broden(builder.write())
    image = data.read_image(0)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(builder.photos["x"]))


@pytest.mark.parametrize("size", [None, (32, 32), (227, 227), (299, 150)], ids=str)
def test_photo_is_resized_bilinearly(builder: BrodenBuilder, size: tuple[int, int] | None):
    builder.photos["x"] = photo("x", (30, 20))
    height, width = size or (IH, IW)
    expected = builder.photos["x"].resize((width, height), Image.Resampling.BILINEAR)
    image = Broden(builder.write()).read_image(0, size)
    np.testing.assert_array_equal(image, np.asarray(expected))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_modes(builder: BrodenBuilder, mode: str):
    folder = builder.write()
    builder.photos["x"].convert(mode).save(builder.pictures / "x.png", "JPEG")
    expected = Image.open(builder.pictures / "x.png").convert("RGB")
    np.testing.assert_array_equal(Broden(folder).read_image(0), np.asarray(expected))


def test_alpha_and_transparent_palettes_are_dropped(builder: BrodenBuilder):
    rgb = np.asarray(builder.photos["x"])
    alpha = np.full((IH, IW, 1), 7, np.uint8)
    builder.photos["x"] = Image.fromarray(np.concatenate([rgb, alpha], axis=-1))
    palette = Image.fromarray(np.zeros((IH, IW), np.uint8)).convert("P")
    palette.info["transparency"] = b"\x00\x80"
    builder.photos["y"] = palette
    data = Broden(builder.write())
    np.testing.assert_array_equal(data.read_image(0), rgb)
    assert data.read_image(1).shape == (IH, IW, 3)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_label_png_of_other_modes(builder: BrodenBuilder, mode: str):
    image = builder.maps["x_c"]
    builder.maps["x_c"] = image.quantize(4) if mode == "P" else image.convert(mode)
    maps, _ = Broden(builder.write()).read_labels(0)
    np.testing.assert_array_equal(maps[3], block(300, columns=slice(2, 4)))


def test_grey_label_png_holds_the_label_itself(builder: BrodenBuilder):
    builder.maps["x_o"] = Image.fromarray(block(7).astype(np.uint8))
    maps, _ = Broden(builder.write()).read_labels(0)
    np.testing.assert_array_equal(maps[0], block(7))


def test_other_mask_sizes_are_resampled_with_one_warning(builder: BrodenBuilder):
    labels = np.arange(35).reshape(5, 7) % 3
    for row in builder.index[1:]:
        row |= {"sh": "5", "sw": "7", "object": "a/odd.png"}
    builder.maps["odd"] = Image.fromarray(encode(labels))
    folder = builder.write()
    with pytest.warns(UserWarning, match="5 x 7.*4 x 6.*2 of 3 rows") as warned:
        data = Broden(folder)
    assert len(warned) == 1
    assert "line 3" in str(warned[0].message)
    assert warned[0].filename == __file__
    rows = [int((i + 0.5) * 5 / SH) for i in range(SH)]
    columns = [int((j + 0.5) * 7 / SW) for j in range(SW)]
    np.testing.assert_array_equal(data.read_labels(1)[0][0], labels[rows][:, columns])
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        assert Broden(folder, "val").mask_size == (SH, SW)


def test_resampling_to_the_same_and_to_larger_sizes():
    labels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    np.testing.assert_array_equal(resample_nearest(labels, (2, 3)), labels)
    np.testing.assert_array_equal(resample_nearest(labels, (4, 6)), labels.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(resample_nearest(labels, (1, 1)), [[4]])


def test_links_inside_the_dataset_are_followed(builder: BrodenBuilder):
    builder.write()
    (builder.pictures / "x.png").rename(builder.folder / "elsewhere.png")
    (builder.pictures / "x.png").symlink_to(builder.folder / "elsewhere.png")
    alias = builder.folder.with_name("alias")
    alias.symlink_to(builder.folder)
    assert Broden(alias).read_image(0).shape == (IH, IW, 3)


def test_images_is_a_sequence(builder: BrodenBuilder):
    builder.photos["y"] = photo("y", (5, 5))
    images = Broden(builder.write()).images
    assert len(images) == 3
    assert {image.shape for image in images} == {(IH, IW, 3)}


def test_survives_pickling_and_a_change_of_directory(builder: BrodenBuilder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(builder.write().parent)
    data = Broden("data")
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(data))
    assert copy.rows == data.rows
    np.testing.assert_array_equal(copy.read_labels(0)[0], data.read_labels(0)[0])


def test_summary(builder: BrodenBuilder):
    summary = summarize(Broden(builder.write()))
    assert summary.splits == {"train": 2, "val": 1}
    assert summary.image_sizes == {(IH, IW): 3}
    assert summary.mask_sizes == {(SH, SW): 3}
    assert summary.categories == (
        CategorySummary("object", concepts=1, images=1),
        CategorySummary("part", concepts=2, images=1),
        CategorySummary("scene", concepts=1, images=2),
        CategorySummary("color", concepts=1, images=1),
    )


# --- the digest -----------------------------------------------------------------------------------------


def test_digest_ignores_place_split_and_stray_files(builder: BrodenBuilder):
    digest = Broden(builder.write()).sha256()
    assert len(digest) == 64
    shutil.copytree(builder.folder, builder.folder.with_name("copy"))
    (builder.pictures / "stray.txt").write_text("stray")
    assert Broden(builder.folder, "val").sha256() == digest
    assert Broden(builder.folder.with_name("copy")).sha256() == digest


@pytest.mark.parametrize("name", ["index.csv", "label.csv", "category.csv", "c_part.csv"])
def test_digest_notices_tables(builder: BrodenBuilder, name: str):
    digest = Broden(builder.write()).sha256()
    with (builder.folder / name).open("ab") as file:
        file.write(b"\r\n")
    assert Broden(builder.folder).sha256() != digest


@pytest.mark.parametrize("name", ["y", "x_p2"])
def test_digest_notices_the_sizes_of_pictures(builder: BrodenBuilder, name: str):
    digest = Broden(builder.write()).sha256()
    with (builder.pictures / f"{name}.png").open("ab") as file:
        file.write(b"\0")
    assert Broden(builder.folder).sha256() != digest


def test_digest_needs_every_picture(builder: BrodenBuilder):
    builder.write()
    (builder.pictures / "x_p2.png").unlink()
    refuse(lambda: Broden(builder.folder, "val").sha256(), "index.csv, line 2, column 'part'", "a/x_p2.png")


# --- tables that are refused ----------------------------------------------------------------------------


def test_missing_folder(tmp_path: Path):
    refuse(lambda: Broden(tmp_path / "nowhere"), "nowhere", "folder")


def test_folder_is_a_file(tmp_path: Path):
    (tmp_path / "data").write_text("")
    refuse(lambda: Broden(tmp_path / "data"), str(tmp_path / "data"), "found a file")


def test_missing_images_folder(builder: BrodenBuilder):
    shutil.rmtree(builder.write() / "images")
    refuse(lambda: Broden(builder.folder), str(builder.folder), "'images'")


@pytest.mark.parametrize("name", ["index.csv", "label.csv", "category.csv"])
def test_missing_table(builder: BrodenBuilder, name: str):
    (builder.write() / name).unlink()
    refuse(lambda: Broden(builder.folder), str(builder.folder), repr(name))


@pytest.mark.parametrize("name", ["index.csv", "label.csv", "category.csv", "c_part.csv"])
def test_table_that_leads_out(builder: BrodenBuilder, name: str):
    outside = builder.write().with_name("outside.csv")
    (builder.folder / name).rename(outside)
    (builder.folder / name).symlink_to(outside)
    refuse(lambda: Broden(builder.folder), repr(name), str(outside), "outside")


def test_table_that_is_a_folder(builder: BrodenBuilder):
    (builder.write() / "label.csv").unlink()
    (builder.folder / "label.csv").mkdir()
    refuse(lambda: Broden(builder.folder), "'label.csv'", "something else")


def test_empty_table(builder: BrodenBuilder):
    (builder.write() / "label.csv").write_text("")
    refuse(lambda: Broden(builder.folder), "label.csv", "empty")


def test_table_that_is_not_utf8(builder: BrodenBuilder):
    builder.encoding = "latin-1"
    builder.labels[0]["name"] = "straße"
    refuse(lambda: Broden(builder.write()), "label.csv", "UTF-8", "0xdf")


def test_table_with_an_open_quote(builder: BrodenBuilder):
    with (builder.write() / "index.csv").open("a") as file:
        file.write('"a/x.png,train\n')
    refuse(lambda: Broden(builder.folder), "index.csv, line 5", "unexpected end of data")


@pytest.mark.parametrize("column", ["image", "split", "ih", "iw", "sh", "sw"])
def test_index_without_a_column(builder: BrodenBuilder, column: str):
    builder.header.remove(column)
    refuse(lambda: Broden(builder.write()), "index.csv", repr(column), "'object'")


@pytest.mark.parametrize("column", ["number", "name", "category"])
def test_labels_without_a_column(builder: BrodenBuilder, column: str):
    for row in builder.labels:
        del row[column]
    refuse(lambda: Broden(builder.write()), "label.csv", repr(column), "'frequency'")


def test_column_twice(builder: BrodenBuilder):
    builder.header.append("part")
    refuse(lambda: Broden(builder.write()), "index.csv", "'part'", "found 2")


def test_category_without_the_column_that_a_label_needs(builder: BrodenBuilder):
    builder.header.remove("scene")
    refuse(lambda: Broden(builder.write()), "index.csv", "'scene'", "label 7", "'street'")


@pytest.mark.parametrize(("extra", "found"), [("", 3), (",,,,,,,,,,", 13)], ids=["few", "many"])
def test_row_with_another_number_of_fields(builder: BrodenBuilder, extra: str, found: int):
    with (builder.write() / "index.csv").open("a") as file:
        file.write(f"a/x.png,train,8{extra}\n")
    refuse(lambda: Broden(builder.folder), "index.csv, line 5", "expected 11 fields", f"found {found}")


@pytest.mark.parametrize("column", ["ih", "iw", "sh", "sw"])
@pytest.mark.parametrize("value", ["", "0", "-4", "4.0", "1_0", "٤", "x", "9" * 30], ids=ascii)
def test_size_that_is_none(builder: BrodenBuilder, column: str, value: str):
    builder.index[1][column] = value
    refuse(lambda: Broden(builder.write()), f"index.csv, line 3, column {column!r}", repr(value))


@pytest.mark.parametrize(("height", "width"), [("ih", "iw"), ("sh", "sw")])
def test_sizes_that_are_too_large_together(builder: BrodenBuilder, height: str, width: str):
    builder.index[1] |= {height: "60000", width: "60000"}
    refuse(lambda: Broden(builder.write()), f"index.csv, line 3, column {height!r}", "3600000000")


def test_empty_index(builder: BrodenBuilder):
    builder.index.clear()
    refuse(lambda: Broden(builder.write()), "index.csv", "at least one row")


def test_unknown_split(builder: BrodenBuilder):
    refuse(lambda: Broden(builder.write(), "test"), "index.csv", "'test'", "'train', 'val'")


def test_no_categories(builder: BrodenBuilder):
    (builder.write() / "category.csv").write_text("name\n")
    refuse(lambda: Broden(builder.folder), "category.csv", "found none")


@pytest.mark.parametrize("name", ["", "a/../../b", "sh", "object"])
def test_bad_category(builder: BrodenBuilder, name: str):
    builder.categories[1]["name"] = name
    refuse(lambda: Broden(builder.write()), "category.csv, line 3, column 'name'", repr(name))


def test_category_with_an_endless_name(builder: BrodenBuilder):
    builder.categories.append({"name": "x" * 5000})
    assert len(Broden(builder.write()).categories) == 5


def test_no_labels(builder: BrodenBuilder):
    (builder.write() / "label.csv").write_text("number,name,category\n")
    refuse(lambda: Broden(builder.folder), "label.csv", "found none")


@pytest.mark.parametrize("number", ["0", "-1", "65536", "1.0", "", "one"])
def test_bad_label_number(builder: BrodenBuilder, number: str):
    builder.labels[4]["number"] = number
    refuse(lambda: Broden(builder.write()), "label.csv, line 6, column 'number'", repr(number), "65535")


def test_label_number_twice(builder: BrodenBuilder):
    builder.labels[4]["number"] = "300"
    refuse(lambda: Broden(builder.write()), "label.csv, line 6, column 'number'", "300 again")


@pytest.mark.parametrize(("cell", "found"), [("texture(3)", "'texture'"), ("", "''"), ("part(x)", "'part(x)'")])
def test_label_of_an_unknown_category(builder: BrodenBuilder, cell: str, found: str):
    builder.labels[4]["category"] = cell
    refuse(lambda: Broden(builder.write()), "label.csv, line 6, column 'category'", found)


@pytest.mark.parametrize("value", ["", "much", "nan", "inf"])
def test_bad_coverage(builder: BrodenBuilder, value: str):
    builder.coverage["part"][0]["coverage"] = value
    refuse(lambda: Broden(builder.write()), "c_part.csv, line 2, column 'coverage'", repr(value))


def test_bad_number_in_coverage(builder: BrodenBuilder):
    builder.coverage["part"][1]["number"] = "no"
    refuse(lambda: Broden(builder.write()), "c_part.csv, line 3, column 'number'", "'no'")


@pytest.mark.parametrize("number", ["8", "70000", "²", "9" * 5000], ids=ascii)
def test_cell_with_an_unknown_label(builder: BrodenBuilder, number: str):
    builder.index[1]["scene"] = f"7;{number}"
    refuse(lambda: Broden(builder.write()), "index.csv, line 3, column 'scene'", repr(number))


@pytest.mark.parametrize("column", ["image", "part"])
@pytest.mark.parametrize("name", ["../x.png", "a/../../../x.png", "/etc/passwd", "a/\0.png", "a/.."], ids=ascii)
def test_cell_with_a_forbidden_path(builder: BrodenBuilder, column: str, name: str):
    builder.index[1][column] = name
    refuse(lambda: Broden(builder.write()), f"index.csv, line 3, column {column!r}", repr(name))


def test_row_without_a_photo(builder: BrodenBuilder):
    builder.index[1]["image"] = ""
    refuse(lambda: Broden(builder.write()), "index.csv, line 3, column 'image'", "''")


def test_message_stays_one_line(builder: BrodenBuilder):
    builder.index[1]["sh"] = "4\n\x1b[31m"
    refuse(lambda: Broden(builder.write()), "column 'sh'", r"'4\n\x1b[31m'")


# --- pictures that are refused --------------------------------------------------------------------------


def read(data: Broden, name: str) -> Callable[[], object]:
    return (lambda: data.read_image(0)) if name == "x" else (lambda: data.read_labels(0))


PICTURES = pytest.mark.parametrize(("name", "column"), [("x", "image"), ("x_p2", "part")])


@PICTURES
def test_missing_picture(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    (builder.pictures / f"{name}.png").unlink()
    refuse(read(data, name), f"index.csv, line 2, column {column!r}", f"a/{name}.png")


@PICTURES
def test_picture_that_leads_out(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    # A sibling whose path begins with the dataset's.
    outside = builder.folder.with_name("data-old")
    outside.mkdir()
    (builder.pictures / f"{name}.png").rename(outside / "secret.png")
    (builder.pictures / f"{name}.png").symlink_to(outside / "secret.png")
    refuse(read(data, name), f"line 2, column {column!r}", f"a/{name}.png", str(outside / "secret.png"))


@pytest.mark.parametrize(("name", "column"), [("x", "image"), ("x_o", "object")])
def test_folder_that_leads_out(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    outside = builder.folder.with_name("outside")
    builder.pictures.rename(outside)
    builder.pictures.symlink_to(outside)
    refuse(read(data, name), f"line 2, column {column!r}", str(outside / f"{name}.png"))


@PICTURES
def test_link_to_itself(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    (builder.pictures / f"{name}.png").unlink()
    (builder.pictures / f"{name}.png").symlink_to(f"{name}.png")
    refuse(read(data, name), f"line 2, column {column!r}", f"a/{name}.png", "symbolic links")


@PICTURES
def test_pipe(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    (builder.pictures / f"{name}.png").unlink()
    os.mkfifo(builder.pictures / f"{name}.png")
    refuse(read(data, name), f"line 2, column {column!r}", f"a/{name}.png", "something else")


@PICTURES
@pytest.mark.parametrize("part", [0.0, 0.3, 0.8])
def test_truncated_png(builder: BrodenBuilder, name: str, column: str, part: float):
    builder.photos["x"] = photo("x")
    data = Broden(builder.write())
    path = builder.pictures / f"{name}.png"
    content = path.read_bytes()
    # The last 16 bytes hold no pixel: a PNG without them is whole.
    path.write_bytes(content[: int(part * (len(content) - 16))])
    refuse(read(data, name), f"line 2, column {column!r}", str(path), "broken")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_jpeg(builder: BrodenBuilder, part: float):
    data = Broden(builder.write())
    path = builder.pictures / "x.png"
    photo("x", (64, 64)).save(path, "JPEG")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refuse(read(data, "x"), str(path), "broken")


@PICTURES
def test_picture_of_another_kind(builder: BrodenBuilder, name: str, column: str):
    data = Broden(builder.write())
    path = builder.pictures / f"{name}.png"
    photo("x").save(path, "GIF")
    refuse(read(data, name), f"line 2, column {column!r}", str(path), "PNG")


def test_label_map_as_jpeg(builder: BrodenBuilder):
    data = Broden(builder.write())
    path = builder.pictures / "x_c.png"
    builder.maps["x_c"].save(path, "JPEG")
    refuse(read(data, "x_c"), str(path), "expected a PNG file")


@pytest.mark.parametrize("name", ["x", "x_p2"])
def test_decompression_bomb(builder: BrodenBuilder, name: str):
    data = Broden(builder.write())
    path = builder.pictures / f"{name}.png"
    path.write_bytes(_png_header(50000, 50000))
    refuse(read(data, name), str(path), "pixels")


@pytest.mark.filterwarnings("default")
def test_half_a_decompression_bomb(builder: BrodenBuilder):
    data = Broden(builder.write())
    path = builder.pictures / "x.png"
    path.write_bytes(_png_header(10000, 10000))
    with pytest.warns(Image.DecompressionBombWarning):
        refuse(read(data, "x"), str(path), "at most 89478485 pixels")


def _png_header(height: int, width: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_photo_of_16_bits(builder: BrodenBuilder):
    builder.photos["x"] = Image.fromarray(np.zeros((IH, IW), np.uint16))
    refuse(read(Broden(builder.write()), "x"), "line 2, column 'image'", "x.png", "'I;16'")


def test_label_map_of_16_bits(builder: BrodenBuilder):
    builder.maps["x_o"] = Image.fromarray(block(300))
    refuse(read(Broden(builder.write()), "x_o"), "line 2, column 'object'", "x_o.png", "'I;16'")


def test_label_map_of_another_size(builder: BrodenBuilder):
    builder.maps["x_p2"] = Image.fromarray(encode(np.zeros((SW, SH))))
    refuse(read(Broden(builder.write()), "x_p2"), "line 2, column 'part'", "x_p2.png", "4 x 6", "found 6 x 4")


def test_label_map_with_an_unknown_label(builder: BrodenBuilder):
    builder.maps["x_p2"] = Image.fromarray(encode(block(301)))
    refuse(read(Broden(builder.write()), "x_p2"), "line 2, column 'part'", "x_p2.png", "label.csv, found 301")


def test_label_map_that_is_a_photo(builder: BrodenBuilder):
    builder.maps["x_p2"] = photo("x", (SH, SW))
    refuse(read(Broden(builder.write()), "x_p2"), "x_p2.png", "and 19 more")


# --- real photos ----------------------------------------------------------------------------------------


def test_real_data_has_the_counts_that_were_recounted():
    folder = shared_data()
    counts = json.loads((folder / "camvid_broden.counts.json").read_text())
    data = Broden(folder / "camvid_broden")
    pixels_per_image = data.mask_size[0] * data.mask_size[1]
    category = {concept.number: concept.category for concept in data.concepts}
    found: dict[str, dict[str, dict]] = {}
    for i, row in enumerate(data.rows):
        maps, whole = data.read_labels(i)
        pixels = dict.fromkeys(whole, pixels_per_image)
        for layer in maps:
            numbers, areas = np.unique(layer, return_counts=True)
            pixels |= {n: a for n, a in zip(numbers.tolist(), areas.tolist(), strict=True) if n}
        for name in {category[number] for number in pixels}:
            split = found.setdefault(name, {}).setdefault(row.split, {"images": 0, "labels": {}})
            split["images"] += 1
        for number, area in pixels.items():
            labels = found[category[number]][row.split]["labels"]
            entry = labels.setdefault(
                str(number),
                {"name": data.concepts[_index(data, number)].name, "images": 0, "pixels": 0},
            )
            entry["images"] += 1
            entry["pixels"] += area
    assert found == counts


def _index(data: Broden, number: int) -> int:
    return next(concept.index for concept in data.concepts if concept.number == number)


def test_real_photos_are_read_whole():
    data = Broden(shared_data() / "camvid_broden", "val")
    assert len(data) == 101
    assert data.image_size == (224, 224)
    assert data.read_image(0).std() > 10
    assert data.read_image(100, (32, 32)).shape == (32, 32, 3)
