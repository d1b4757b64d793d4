import pytest
import torch

from pydissect.errors import InputError
from pydissect.normalize import Normalization

PIXELS = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5) * 2


def per_channel(*numbers):
    return torch.tensor(numbers).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("none", PIXELS / 255),
        ("imagenet", (PIXELS / 255 - per_channel(0.485, 0.456, 0.406)) / per_channel(0.229, 0.224, 0.225)),
        ("caffe", PIXELS[:, [2, 1, 0]].float() - per_channel(104.0, 117.0, 123.0)),
        ("0.5,0.25,0/1,2,0.125", (PIXELS / 255 - per_channel(0.5, 0.25, 0.0)) / per_channel(1.0, 2.0, 0.125)),
        (" 0.5, 0.5, 0.5 / 1,1,1", PIXELS / 255 - 0.5),
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values(spec, expected, memory_format):
    images = PIXELS.contiguous(memory_format=memory_format)
    before = images.clone()
    found = Normalization.parse(spec)(images)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=memory_format)
    assert torch.equal(found, expected)
    assert torch.equal(images, before)


def test_description():
    assert str(Normalization.parse("none")) == "none: RGB in [0, 1]"
    assert str(Normalization.parse("caffe")) == "caffe: BGR in 0..255, less 104/117/123"
    assert (
        str(Normalization.parse("imagenet"))
        == "imagenet: RGB in [0, 1], less 0.485/0.456/0.406, over 0.229/0.224/0.225"
    )
    assert str(Normalization.parse("0.5,0.5,0.5/1,1,2")) == "RGB in [0, 1], less 0.5/0.5/0.5, over 1/1/2"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("Imagenet", "'Imagenet'"),
        ("", "''"),
        ("0.5,0.5,0.5", "'0.5,0.5,0.5'"),
        ("0.5,0.5/1,1,1", "'0.5,0.5'"),
        ("0.5,0.5,0.5/1,1,1,1", "'1,1,1,1'"),
        ("0.5,0.5,x/1,1,1", "'0.5,0.5,x'"),
        ("0.5,nan,0.5/1,1,1", "'0.5,nan,0.5'"),
        ("0.5,0.5,0.5/1,inf,1", "'1,inf,1'"),
        ("0.5,0.5,0.5/1,0,1", "'1,0,1'"),
        ("0.5,0.5,0.5/1,-1,1", "'1,-1,1'"),
        ("0.5,0.5,0.5/1,1,1/2", "'1,1,1/2'"),
    ],
)
def test_refused_spec(spec, found):
    with pytest.raises(InputError) as error:
        Normalization.parse(spec)
    assert "normalize" in str(error.value)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (PIXELS.float(), "float32 [2, 3, 4, 5]"),
        (PIXELS[:, :1], "uint8 [2, 1, 4, 5]"),
        (PIXELS[0], "uint8 [3, 4, 5]"),
    ],
)
def test_refused_images(images, found):
    with pytest.raises(InputError) as error:
        Normalization.parse("none")(images)
    assert found in str(error.value)
