import pytest
import torch
import transformers
from torch import nn

from pydissect.errors import InputError
from pydissect.layers import activation_maps, evaluating, example_images, find_layers, list_layers
from pydissect.memory_format import channels_last_pays

IMAGES = (2, 3, 32, 32)


class Net(nn.Module):
    """Every kind of layer: one used twice, one never, one without a tensor, one in float64."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.spare = nn.Conv2d(4, 4, 1)
        self.wide = Double()
        self.nothing = Nothing()
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.relu(self.conv2(self.relu(self.conv1(x))))
        self.nothing(x)
        self.wide(x)
        return self.fc(x.mean((2, 3)))


class Double(nn.Module):
    def forward(self, x):
        return x.double()


class Nothing(nn.Module):
    def forward(self, x):
        return None


def test_find_layers_keeps_the_order():
    net = Net()
    assert list(find_layers(net, ["conv2", "conv1"]).items()) == [("conv2", net.conv2), ("conv1", net.conv1)]


def test_find_layers_knows_both_names_of_a_shared_module():
    net = Net()
    net.also = net.conv1
    assert list(find_layers(net, ["conv1", "also"]).values()) == [net.conv1, net.conv1]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["conv1", "convl"],
            "layer 'convl': the model has no module of that name; did you mean 'conv2' or 'conv1'?",
        ),
        (["0.conv"], "`pydissect layers`"),
        (["zzz"], "layer 'zzz': the model has no module of that name (`pydissect layers` lists them all)"),
        ([""], "layer ''"),
        (["conv1", "conv2", "conv1"], "layer 'conv1': expected each layer once, found it twice"),
        ([], "expected at least one name of a layer"),
    ],
)
def test_find_layers_refuses(names, found):
    with pytest.raises(InputError) as error:
        find_layers(Net(), names)
    assert found in str(error.value)


def test_find_layers_offers_full_names():
    net = nn.ModuleDict({"backbone": Net()})
    with pytest.raises(InputError, match=r"did you mean 'backbone.conv2'\?"):
        find_layers(net, ["conv2"])


def test_list_layers():
    net = Net().train()
    net.conv2.eval()
    layers = {info.name: info for info in list_layers(net, 32)}
    assert list(layers) == ["conv1", "relu", "conv2", "spare", "wide", "nothing", "fc"]
    assert [(info.type, info.calls, info.shape) for info in layers.values()] == [
        ("Conv2d", 1, (4, 15, 15)),
        ("ReLU", 2, (6, 13, 13)),
        ("Conv2d", 1, (6, 13, 13)),
        ("Conv2d", 0, None),
        ("Double", 1, None),
        ("Nothing", 1, None),
        ("Linear", 1, (5, 1, 1)),
    ]
    assert layers["conv1"].problem == ""
    assert layers["spare"].problem == "never runs in a forward pass"
    assert "found float64; convert the model with .float()" in layers["wide"].problem
    assert layers["nothing"].problem == "expected a tensor, found NoneType"
    assert net.training
    assert not net.conv2.training
    assert not any(module._forward_hooks for module in net.modules())


def test_list_layers_of_a_model_that_fails():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2))
    with pytest.raises(InputError) as error:
        list_layers(net, (32, 48))
    assert "failed on images of 32 x 48: RuntimeError: mat1 and mat2" in str(error.value)
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


TRANSFORMER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "ViT": {"image_size": 32, "patch_size": 8, **TRANSFORMER},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "ConvNext": {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "Swin": {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
}


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("ViT", "layers.1", (24, 4, 4)),
        ("ViT", "layernorm", (24, 4, 4)),
        ("ResNet", "embedder", (8, 8, 8)),
        ("ResNet", "encoder", (16, 4, 4)),
        ("ConvNext", "encoder.stages.1", (16, 4, 4)),
        ("ConvNext", "encoder.stages.0.layers.0.pwconv1", (32, 8, 8)),
        ("Swin", "encoder.layers.1", (16, 4, 4)),
    ],
)
def test_transformers(name, layer, shape):
    config = getattr(transformers, f"{name}Config")(**CONFIGS[name])
    model = getattr(transformers, f"{name}Model")(config)
    layers = {info.name: info for info in list_layers(model, 32)}
    assert layers[layer].problem == ""
    assert layers[layer].shape == shape


def test_maps_are_views():
    x = torch.randn(2, 5, 7, 7)
    assert activation_maps(x, IMAGES) is x
    assert activation_maps((None, x, x + 1), IMAGES) is x
    assert activation_maps([x], IMAGES) is x
    assert activation_maps({"loss": None, "maps": x}, IMAGES) is x
    vector = torch.randn(2, 5)
    assert activation_maps(vector, IMAGES).shape == (2, 5, 1, 1)
    assert activation_maps(vector, IMAGES).data_ptr() == vector.data_ptr()


def test_channels_last_maps_stay_so():
    x = torch.randn(2, 5, 7, 7).contiguous(memory_format=torch.channels_last)
    assert activation_maps(x, IMAGES) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("class_tokens", [0, 1])
@pytest.mark.parametrize(("size", "grid"), [((32, 32), (4, 4)), ((64, 16), (8, 2)), ((16, 64), (2, 8))])
def test_tokens(dtype, class_tokens, size, grid):
    tokens = torch.randn(2, 16 + class_tokens, 5).to(dtype)
    maps = activation_maps(tokens, (2, 3, *size))
    assert maps.shape == (2, 5, *grid)
    assert maps.dtype == dtype
    assert torch.equal(maps[1, 3].flatten(), tokens[1, class_tokens:, 3])
    assert maps.untyped_storage().data_ptr() == tokens.untyped_storage().data_ptr()


def test_features_last():
    x = torch.randn(2, 7, 7, 5)
    maps = activation_maps(x, IMAGES)
    assert torch.equal(maps, x.permute(0, 3, 1, 2))
    assert maps.data_ptr() == x.data_ptr()
    assert activation_maps(x, (2, 3, 32, 48)) is x
    assert activation_maps(x[..., :4], IMAGES).shape == (2, 4, 7, 7)
    square = torch.randn(2, 7, 7, 7)
    assert activation_maps(square, IMAGES) is square


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (None, "found NoneType"),
        ((1, None), "found tuple of int, NoneType"),
        ((), "found tuple of nothing"),
        ({"x": "y"}, "found tuple of str"),
        (torch.zeros(2, 3, dtype=torch.float64), "found float64; convert the model with .float()"),
        (torch.zeros(2, 3, dtype=torch.int64), "found int64"),
        (torch.zeros(2, 3, dtype=torch.bool), "found bool"),
        (torch.tensor(1.0), "found []"),
        (torch.zeros(2), "found [2]"),
        (torch.zeros(2, 3, 4, 5, 6), "found [2, 3, 4, 5, 6]"),
        (torch.zeros(2, 0, 4, 4), "found [2, 0, 4, 4]"),
        (
            torch.zeros(3, 4, 5, 5),
            "expected the 2 images of the batch as the first dimension, found [3, 4, 5, 5]",
        ),
        (torch.zeros(2, 18, 4), "of the 32 x 32 image, with or without one class token, found 18 tokens"),
    ],
)
def test_no_maps(output, found):
    with pytest.raises(InputError) as error:
        activation_maps(output, IMAGES)
    assert found in str(error.value)


def test_tokens_of_another_aspect_are_no_grid():
    with pytest.raises(InputError, match=r"grid of patches of the 32 x 48 image.*found 16 tokens"):
        activation_maps(torch.zeros(2, 16, 4), (2, 3, 32, 48))


def test_example_images():
    half = nn.Conv2d(3, 4, 3).half()
    images = example_images(half, (8, 9))
    assert images.shape == (2, 3, 8, 9)
    assert images.dtype == torch.float16
    assert torch.equal(images, example_images(half, (8, 9)))
    assert example_images(nn.Identity(), 8).dtype == torch.float32


def test_evaluating_restores_after_an_error():
    net = Net().train()
    net.relu.eval()

    def fail():
        with evaluating(net):
            assert not net.conv1.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert net.conv1.training
    assert not net.relu.training


def test_channels_last_pays():
    assert channels_last_pays(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert not channels_last_pays(nn.Linear(3, 4))


@pytest.mark.parametrize(
    ("shape", "units"),
    [
        ([2, 8, 12, 12], 12),  # features last: 8 x 12 has the aspect of 64 x 96
        ([2, 12, 8, 12], 12),
        ([2, 16, 7, 11], 16),  # neither reading fits exactly: channels first, as convolutions are
    ],
)
def test_features_last_is_told_by_the_aspect(shape: list[int], units: int):
    assert activation_maps(torch.zeros(shape), [2, 3, 64, 96]).shape[1] == units
