"""Decode the pictures of a Broden dataset: photos to RGB, PNGs to label numbers."""

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..messages import one_line

_PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# 16-bit and floating-point photos have no agreed range, and Pillow clips them at 255.
_PHOTO_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_LABEL_MODES = frozenset({"L", "P", "RGB", "RGBA"})

# What Pillow's decoders raise for broken files, beside its own errors (which are OSErrors).
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, struct.error)


def max_pixels() -> int:
    """Pixels that a picture may have: Pillow's limit, which guards against decompression bombs."""
    return sys.maxsize if Image.MAX_IMAGE_PIXELS is None else Image.MAX_IMAGE_PIXELS


def read_photo(path: Path, size: tuple[int, int] | None, where: str) -> npt.NDArray[np.uint8]:
    """Decode a photo to RGB; grey, palette, CMYK and transparent ones are converted.

    Args:
        path: a JPEG, PNG, WebP or BMP file.
        size: (height, width) in pixels to resize it to (Pillow's bilinear), None to leave it as it is.
        where: what names the file, for messages.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        InputError: the file is truncated, broken, too large or of another kind.
    """
    with _opened(path, _PHOTO_FORMATS, where) as picture:
        if picture.mode not in _PHOTO_MODES:
            raise InputError(f"{where}: {path}: expected 8 bits a channel, found mode {picture.mode!r}")
        rgb = _to_rgb(picture)
        if size is not None and rgb.size != size[::-1]:
            rgb = rgb.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.array(rgb)


def read_label_map(
    path: Path, size: tuple[int, int], known: npt.NDArray[np.bool_], where: str
) -> npt.NDArray[np.uint16]:
    """Decode the label number of every pixel: R + 256 G, or the value of a greyscale PNG.

    Args:
        path: a PNG file; a palette and an opaque channel do not matter.
        size: (height, width) in pixels that it must have.
        known: bool `[65536]`, the label numbers it may hold.
        where: what names the file, for messages.

    Returns:
        uint16 `[H, W]`, 0 where unlabelled.

    Raises:
        InputError: the file is truncated, broken, of another kind or size, or holds an unknown number.
    """
    with _opened(path, ("PNG",), where) as picture:
        if picture.size != size[::-1]:
            found = f"{picture.height} x {picture.width}"
            raise InputError(
                f"{where}: {path}: expected {size[0]} x {size[1]} pixels (sh x sw of the row), found {found}"
            )
        if picture.mode not in _LABEL_MODES:
            expected = "an RGB, RGBA, palette or 8-bit greyscale PNG"
            raise InputError(f"{where}: {path}: expected {expected}, found mode {picture.mode!r}")
        if picture.mode == "L":
            labels = np.asarray(picture).astype(np.uint16)
        else:
            # Four bytes a pixel, as Pillow holds them: the lower half of each is R + 256 G.
            pixels = _to_rgb(picture).tobytes("raw", "RGBX")
            labels = np.frombuffer(pixels, "<u4").astype(np.uint16).reshape(size)
    is_known = known.take(labels)
    if not is_known.all():
        unknown = np.unique(labels[~is_known])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        numbers = ", ".join(map(str, unknown[:5].tolist())) + more
        raise InputError(f"{where}: {path}: expected label numbers of label.csv, found {numbers}")
    return labels


def resample_nearest(labels: npt.NDArray[np.uint16], size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Resample a label map `[h, w]` to `size` = (H, W), pixel centre to pixel centre.

    Output row i takes source row floor((i + 0.5) h / H), likewise columns, computed in integers.
    """
    rows, columns = (
        (2 * np.arange(out) + 1) * source // (2 * out) for source, out in zip(labels.shape, size, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _to_rgb(picture: Image.Image) -> Image.Image:
    # Alpha is dropped, not blended; so Pillow's attempt to carry a transparent colour over, and its
    # warning when it cannot, are of no use.
    picture.load()
    picture.info.pop("transparency", None)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


@contextmanager
def _opened(path: Path, formats: tuple[str, ...], where: str) -> Iterator[Image.Image]:
    """Open a picture as one of `formats`; what goes wrong with it in the block becomes an `InputError`."""
    try:
        with Image.open(path, formats=formats) as picture:
            if picture.width * picture.height > max_pixels():
                raise Image.DecompressionBombError
            yield picture
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{where}: {path}: expected at most {max_pixels()} pixels, found more") from None
    except UnidentifiedImageError:
        kinds = " or ".join(formats)
        raise InputError(f"{where}: {path}: expected a {kinds} file, found a broken or another one") from None
    except _BROKEN as error:
        found = f"a broken file: {one_line(error)}"
        raise InputError(f"{where}: {path}: expected a whole picture, found {found}") from error
