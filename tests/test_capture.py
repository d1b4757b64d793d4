import importlib.util
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from pydissect.capture import LayerCapture
from pydissect.errors import InputError

NETS = Path(__file__).parents[2] / "shared" / "data" / "nets"
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def stack(**layers):
    return nn.Sequential(OrderedDict(layers))


def net():
    return stack(
        conv1=nn.Conv2d(3, 4, 3, padding=1),
        bn1=nn.BatchNorm2d(4),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(4, 6, 3),
        drop2=nn.Dropout(0.5),
        relu2=nn.ReLU(inplace=True),
        head=nn.Conv2d(6, 2, 1),
    )


def hooked_outputs(model, names, images):
    """A full forward pass with plain hooks that copy."""
    outputs = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: outputs.update({name: output.clone()})
        )
        for name in names
    ]
    with torch.no_grad():
        model.eval()(images)
    for handle in handles:
        handle.remove()
    return outputs


def assert_captures_equal_hooks(model, names, images=IMAGES):
    with LayerCapture(model, names, images[:1]) as capture:
        maps = capture(images)
    expected = hooked_outputs(model, names, images)
    assert list(maps) == names
    for name in names:
        assert torch.equal(maps[name], expected[name]), name
        assert capture.shapes[name] == maps[name].shape[1:]
        assert maps[name].stride() == expected[name].stride()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_all_layers_with_in_place_ones_between(memory_format):
    model = net().to(memory_format=memory_format)
    assert_captures_equal_hooks(
        model, [name for name, _ in model.named_children()], IMAGES.contiguous(memory_format=memory_format)
    )


@pytest.mark.parametrize("names", [["conv1"], ["conv1", "relu1"], ["relu2", "conv2"], ["bn1", "head"]])
def test_any_order(names):
    assert_captures_equal_hooks(net(), names)


def storage(tensor):
    return tensor.untyped_storage().data_ptr()


def test_only_overwritten_outputs_are_copied():
    model, returned = net(), {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, a, output, name=name: returned.update({name: storage(output)}))
    with LayerCapture(model, ["bn1", "relu1", "pool1", "relu2"], IMAGES[:1]) as capture:
        maps = capture(IMAGES)
    assert {name: storage(maps[name]) == returned[name] for name in maps} == {
        "bn1": False,
        "relu1": True,
        "pool1": True,
        "relu2": True,
    }


def test_what_is_overwritten_after_the_end_is_not_copied():
    model, returned = net(), []
    model.conv2.register_forward_hook(lambda m, a, output: returned.append(storage(output)))
    with LayerCapture(model, ["conv1", "conv2"], IMAGES[:1]) as capture:
        assert storage(capture(IMAGES)["conv2"]) == returned[-1]


def test_overwritten_through_a_view():
    model = stack(
        conv=nn.Conv2d(3, 4, 3),
        flat=nn.Flatten(2),
        relu=nn.ReLU(inplace=True),
        last=Function(lambda x: x.unflatten(2, (30, 30))),
    )
    with LayerCapture(model, ["conv", "last"], IMAGES[:1]) as capture:
        maps = capture(IMAGES)
    assert maps["conv"].min() < 0
    assert torch.equal(maps["conv"].relu(), maps["last"])


def test_overwritten_in_a_model_with_its_own_inference_mode():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net()

        @torch.inference_mode()
        def forward(self, x):
            return self.layers(x)

    assert_captures_equal_hooks(Net(), ["layers.bn1", "layers.conv2"])


def test_inside_inference_mode():
    with torch.inference_mode():
        images = IMAGES.clone()
        assert_captures_equal_hooks(net(), ["conv1", "bn1", "conv2"], images)


def test_forward_ends_after_the_last_layer():
    model, ran = net(), []
    model.relu2.register_forward_hook(lambda *_: ran.append("relu2"))
    with LayerCapture(model, ["conv1", "conv2"], IMAGES[:1]) as capture:
        assert ran == ["relu2"]
        capture(IMAGES)
        assert ran == ["relu2"]


def test_forward_ends_although_the_model_catches_exceptions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            try:
                x = self.first(x)
            except Exception:
                x = torch.zeros(len(x), 4, 30, 30)
            return self.second(x)

    model, ran = Net(), []
    model.second.register_forward_hook(lambda *_: ran.append("second"))
    with LayerCapture(model, ["first"], IMAGES[:1]) as capture:
        capture(IMAGES)
    assert ran == ["second"]


def test_a_layer_and_its_parent():
    model = nn.Sequential(net(), nn.Flatten())
    assert_captures_equal_hooks(model, ["0", "0.conv2"])


def test_two_names_of_one_module():
    model = net()
    model.add_module("again", model.relu1)
    with (
        pytest.warns(UserWarning, match="runs 2 times"),
        LayerCapture(model, ["relu1", "again"], IMAGES[:1]) as capture,
    ):
        maps = capture(IMAGES)
    assert torch.equal(maps["relu1"], maps["again"])


def test_nothing_stays_hooked_or_changed():
    model = net().train()
    model.bn1.eval()
    with LayerCapture(model, ["conv1", "conv2"], IMAGES[:1]) as capture:
        assert not model.training
        capture(IMAGES)
        assert model(IMAGES).shape == (4, 2, 14, 14)
    assert model.training
    assert not model.bn1.training
    assert not any(module._forward_hooks for module in model.modules())
    assert model.bn1.num_batches_tracked == 0


def assert_refused(model, names, *parts, images=IMAGES, example=IMAGES[:1]):
    """Entering or capturing raises InputError with all the parts; nothing stays hooked."""

    def capture_once():
        with LayerCapture(model, names, example) as capture:
            capture(images)

    with pytest.raises(InputError) as error:
        capture_once()
    for part in parts:
        assert part in str(error.value)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_unknown_layer():
    assert_refused(net(), ["conv3"], "'conv3'", "did you mean 'conv2' or 'conv1'?")


def test_layer_that_never_runs():
    model = net()
    model.relu2.spare = nn.Linear(2, 2)
    assert_refused(model, ["conv1", "relu2.spare"], "layer 'relu2.spare'", "this Linear never does")


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: None, "found NoneType"),
        (lambda x: x.double(), "found float64; convert the model with .float()"),
        (lambda x: x.argmax(1), "found int64"),
        (
            lambda x: x.flatten(0, 1),
            "expected the 1 images of the batch as the first dimension, found [3, 32, 32]",
        ),
        (lambda x: x[..., None], "found [1, 3, 32, 32, 1]"),
        (lambda x: x.flatten(2), "found 3 tokens ([1, 3, 1024])"),
    ],
)
def test_layer_without_maps(function, found):
    assert_refused(stack(odd=Function(function)), ["odd"], "layer 'odd'", found)


def test_layer_of_another_shape_for_another_batch():
    model = stack(odd=Function(lambda x: x[..., :7] if len(x) > 1 else x))
    assert_refused(model, ["odd"], "layer 'odd'", "[3, 32, 32]", "found [3, 32, 7]")


def test_images_of_another_size():
    assert_refused(net(), ["conv2"], "[6, 14, 14]", "found [6, 6, 6]", images=IMAGES[..., :16, :16])


def test_layer_of_another_batch_size():
    model = stack(odd=Function(lambda x: x[:1]))
    assert_refused(model, ["odd"], "layer 'odd'", "expected the 4 images", "found [1, 3, 32, 32]")


def test_layer_that_runs_less_often_for_another_batch():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.extra = nn.Conv2d(3, 3, 3), nn.ReLU()

        def forward(self, x):
            x = self.conv(x)
            return self.extra(x) if len(x) == 1 else x

    assert_refused(Net(), ["conv", "extra"], "layer 'extra'", "expected to run 1 times", "found 0 times")


def test_model_that_fails():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    assert_refused(model, ["1"], "failed on images of 32 x 32: RuntimeError", "3 channels")


def test_model_that_fails_behind_the_last_layer():
    model = stack(conv=nn.Conv2d(3, 4, 3), flat=nn.Flatten(), fc=nn.Linear(7, 2))
    with LayerCapture(model, ["conv"], IMAGES[:1]) as capture:
        assert torch.equal(capture(IMAGES)["conv"], model.conv(IMAGES))


def test_error_of_the_model_during_a_capture_passes_through():
    def fail_on_many(x):
        if len(x) > 1:
            raise RuntimeError("out of luck")
        return x

    model = stack(odd=Function(fail_on_many), conv=nn.Conv2d(3, 4, 3))
    with (
        pytest.raises(RuntimeError, match="out of luck"),
        LayerCapture(model, ["conv"], IMAGES[:1]) as capture,
    ):
        capture(IMAGES)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("last_in_place", [False, True])
def test_layer_that_runs_several_times(last_in_place):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
            self.relu = nn.ReLU()
            self.end = nn.ReLU(inplace=last_in_place)

        def forward(self, x):
            x = self.relu(self.conv2(self.relu(self.conv1(x))))
            return self.end(x.sub_(1) if last_in_place else x)

    model = Net()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with LayerCapture(model, ["relu", "end"], IMAGES[:1]) as capture:
            maps = [capture(IMAGES) for _ in range(2)]
    assert [str(warning.message) for warning in caught] == [
        "layer 'relu' runs 2 times in a forward pass; the last of its outputs is taken"
    ]
    assert caught[0].filename == __file__
    expected = hooked_outputs(model, ["relu", "end"], IMAGES)
    assert all(torch.equal(found[name], expected[name]) for found in maps for name in expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model = net().to(dtype)
    with LayerCapture(model, ["conv2"], IMAGES[:1]) as capture:
        maps = capture(IMAGES)["conv2"]
    assert maps.dtype == dtype
    assert torch.equal(maps, hooked_outputs(model, ["conv2"], IMAGES.to(dtype))["conv2"])


def test_vision_transformer():
    model = transformers.ViTModel(
        transformers.ViTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
        )
    )
    with LayerCapture(model, ["layers.0", "layernorm"], IMAGES[:1]) as capture:
        maps = capture(IMAGES)
    with torch.no_grad():
        tokens = model.eval()(IMAGES).last_hidden_state[:, 1:]
    assert capture.shapes == {"layers.0": (24, 4, 4), "layernorm": (24, 4, 4)}
    assert torch.equal(maps["layernorm"].flatten(2), tokens.mT)


@pytest.mark.parametrize("name", ["ResNet", "ConvNext"])
def test_whole_encoders(name):
    sizes = {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 2]}
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}Model")(config)
    with LayerCapture(model, ["encoder", "encoder.stages.0"], IMAGES[:1]) as capture:
        maps = capture(IMAGES)
    with torch.no_grad():
        assert torch.equal(maps["encoder"], model.eval()(IMAGES).last_hidden_state)
    assert maps["encoder.stages.0"].shape == (4, 8, 8, 8)


@pytest.mark.skipif(not NETS.is_dir(), reason="needs ../shared/data/nets, real pretrained networks")
def test_squeezenet():
    spec = importlib.util.spec_from_file_location("squeezenet", NETS / "squeezenet.py")
    squeezenet = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(squeezenet)
    model = squeezenet.SqueezeNet10()
    model.load_state_dict(load_file(NETS / "squeezenet1_0.safetensors"))
    images = torch.rand(2, 3, 224, 224)
    assert_captures_equal_hooks(model, ["features.12", "features.8", "features.4"], images)
