import argparse
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pydissect.errors import InputError
from pydissect.models import build_model, load_factory, load_weights

NETS = Path(__file__).parents[2] / "shared" / "data" / "nets"

MODEL_FILE = """
from __future__ import annotations

from dataclasses import dataclass

from torch import nn

import sibling_of_model


@dataclass
class Config:
    width: int = sibling_of_model.WIDTH


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, Config().width, 3)


class Zoo:
    small = Net


def resnet_tiny():
    import lazy_sibling_of_model
    return Net()


def needs_depth(depth):
    return Net()


def gives_state():
    return Net().state_dict()


number = 7
"""


@pytest.fixture
def model_file(tmp_path):
    folder = tmp_path / "with:colon"
    folder.mkdir()
    (folder / "net.py").write_text(MODEL_FILE)
    (folder / "sibling_of_model.py").write_text("WIDTH = 5\n")
    (folder / "lazy_sibling_of_model.py").write_text("")
    (folder / "broken.py").write_text("import no_such_package_anywhere\n")
    (folder / "syntax.py").write_text("def net(:\n")
    (folder / "script.py").write_text("import sys\nsys.exit('usage: script')\n")
    (folder / "appends.py").write_text(
        "import sys, pathlib\n"
        "sys.path.append(str(pathlib.Path(__file__).parent / 'lib'))\n"
        "def net():\n    import library_of_model\n    return library_of_model.net()\n"
    )
    (folder / "lib").mkdir()
    (folder / "lib" / "library_of_model.py").write_text("from torch import nn\nnet = nn.Identity\n")
    known = set(sys.modules)
    yield folder / "net.py"
    for name in set(sys.modules) - known:
        if name.endswith("_of_model") or name.startswith("_pydissect_model"):
            del sys.modules[name]


@pytest.mark.parametrize("factory", ["Net", "Zoo.small", "resnet_tiny"])
def test_model_from_file(model_file, factory):
    path = sys.path[:]
    model = build_model(f"{model_file}:{factory}")
    assert model.conv1.out_channels == 5
    assert sys.path == path


def test_search_path_of_the_file_holds_for_its_factory(model_file):
    path = sys.path[:]
    assert isinstance(build_model(f"{model_file.with_name('appends.py')}:net"), nn.Identity)
    assert sys.path == path


def test_model_from_relative_file(model_file, monkeypatch):
    monkeypatch.chdir(model_file.parent)
    assert build_model("net.py:Net").conv1.out_channels == 5


def test_model_from_module():
    assert isinstance(build_model("torch.nn:Identity"), nn.Identity)
    assert isinstance(build_model("torch:nn.Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("torch.nn.Identity", "'torch.nn.Identity'"),
        (":Net", "':Net'"),
        ("net.py:", "'net.py:'"),
        ("no_such_folder/net.py:Net", "no such file: no_such_folder/net.py"),
        ("no_such_package_anywhere.nets:Net", "No module named 'no_such_package_anywhere'"),
        ("torch.nn:Identty", "torch.nn has no attribute 'Identty'; did you mean 'Identity'"),
        ("torch:nn.Identty", "torch.nn has no attribute 'Identty'; did you mean 'Identity'"),
        ("torch:nn.Identity.nothing_like_it", "Identity has no attribute 'nothing_like_it'"),
        ("math:pi", "'math:pi': expected a callable, found float"),
    ],
)
def test_refused_spec(spec, found):
    with pytest.raises(InputError) as error:
        load_factory(spec)
    assert "--model" in str(error.value)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("file", "factory", "found"),
    [
        ("net.py", "resnet_tini", "net has no attribute 'resnet_tini'; did you mean 'resnet_tiny'"),
        ("net.py", "number", "found int"),
        ("net.py", "needs_depth", "missing 1 required positional argument: 'depth'"),
        ("net.py", "gives_state", "found OrderedDict"),
        ("broken.py", "net", "No module named 'no_such_package_anywhere'"),
        ("syntax.py", "net", "SyntaxError"),
        ("script.py", "net", "SystemExit: usage: script"),
        ("", "net", "found a folder"),
        ("README", "net", "no such file"),
    ],
)
def test_refused_file(model_file, file, factory, found):
    path = sys.path[:]
    spec = f"{model_file.parent / file}:{factory}"
    with pytest.raises(InputError) as error:
        build_model(spec)
    message = str(error.value)
    assert "--model" in message
    assert str(model_file.parent / file) in message
    assert found in message
    assert "\n" not in message
    assert sys.path == path


def test_refused_suffix(model_file):
    (model_file.parent / "net.txt").write_text("")
    with pytest.raises(InputError, match=r"expected a Python file \(.py\), found .*net.txt"):
        load_factory(f"{model_file.parent / 'net.txt'}:Net")


def test_a_failed_import_leaves_no_module(model_file):
    with pytest.raises(InputError):
        load_factory(f"{model_file.with_name('broken.py')}:net")
    assert not [name for name in sys.modules if name.endswith("broken")]


def test_package_that_fails_on_first_use(tmp_path, monkeypatch):
    (tmp_path / "lazy_package_of_test.py").write_text("def __getattr__(name):\n    raise ImportError('no libfoo')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"'net' cannot be imported: ImportError: no libfoo"):
        load_factory("lazy_package_of_test:net")


def net():
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4), fc=nn.Linear(4, 2)))


def filled():
    model = net()
    for index, value in enumerate(model.state_dict().values()):
        value.fill_(index + 1)
    return model


def assert_filled(model):
    expected = filled().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def prefixed(prefix):
    return {prefix + name: value for name, value in filled().state_dict().items()}


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin"])
def test_safetensors_by_content_or_suffix(tmp_path, name):
    save_file(filled().state_dict(), tmp_path / name)
    model = net()
    load_weights(model, tmp_path / name)
    assert_filled(model)


@pytest.mark.parametrize("entry", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_save(tmp_path, entry, prefix, zipped):
    state = prefixed(prefix)
    checkpoint = {"epoch": 3, "arch": "net", entry: state} if entry else state
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    model = net()
    load_weights(model, str(tmp_path / "w.pth"))
    assert_filled(model)


def test_torch_save_named_safetensors(tmp_path):
    torch.save(filled().state_dict(), tmp_path / "w.safetensors")
    model = net()
    load_weights(model, tmp_path / "w.safetensors")
    assert_filled(model)


def test_prefix_that_is_the_models_own_stays(tmp_path):
    torch.save(nn.ModuleDict({"module": filled()}).state_dict(), tmp_path / "w.pt")
    model = nn.ModuleDict({"module": net()})
    load_weights(model, tmp_path / "w.pt")
    assert_filled(model["module"])


def test_state_dict_of_before_num_batches_tracked(tmp_path):
    state = dict(filled().state_dict())
    del state["bn1.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    model = net()
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.bn1.running_mean, filled().bn1.running_mean)


@pytest.mark.parametrize("checkpoint", [nn.Linear(2, 2), {"model": nn.Linear(2, 2)}])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_model_needs_unsafe(tmp_path, checkpoint, zipped):
    path = tmp_path / "w.pt"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    model = nn.Linear(2, 2)
    with pytest.raises(InputError) as error:
        load_weights(model, path)
    for part in (str(path), "torch.nn.modules.linear.Linear", "--unsafe-weights"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    load_weights(model, path, unsafe=True)
    source = checkpoint if isinstance(checkpoint, nn.Module) else checkpoint["model"]
    assert torch.equal(model.weight, source.weight)


def test_torchscript_needs_unsafe(tmp_path):
    path = tmp_path / "w.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, its files are not gone
        torch.jit.trace(filled().eval(), torch.zeros(1, 3, 6, 6)).save(path)
        model = net()
        with pytest.raises(InputError, match=r"found pickled objects;.*--unsafe-weights"):
            load_weights(model, path)
        load_weights(model, path, unsafe=True)
    assert_filled(model)


def test_pickled_arguments_need_unsafe(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"args": argparse.Namespace(lr=0.1), "state_dict": filled().state_dict()}, path)
    model = net()
    with pytest.raises(InputError, match=r"argparse.Namespace.*--unsafe-weights"):
        load_weights(model, path)
    load_weights(model, path, unsafe=True)
    assert_filled(model)


def assert_refused(path, *parts, model=None, unsafe=False):
    with pytest.raises(InputError) as error:
        load_weights(model or net(), path, unsafe)
    message = str(error.value)
    assert "\n" not in message
    for part in ("--weights", str(path), *parts):
        assert part in message


def test_missing_file(tmp_path):
    assert_refused(tmp_path / "w.pt", "no such file")
    assert_refused(tmp_path, "found a folder")


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("keep", [0, 5, 100, -100])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_truncated_file(tmp_path, kind, keep, unsafe):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(filled().state_dict(), path)
    else:
        torch.save(filled().state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[:keep])
    assert_refused(path, "damaged", unsafe=unsafe)


def test_file_of_another_kind(tmp_path):
    path = tmp_path / "w.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert_refused(path, "damaged, or neither a safetensors nor a torch.save file", "Unsupported operand 80")


@pytest.mark.parametrize(
    ("checkpoint", "found"),
    [
        ([torch.zeros(1)], "found list"),
        (torch.zeros(1), "found Tensor"),
        ({}, "found an empty one"),
        ({"epoch": 3}, "found int for entry 'epoch'"),
        ({"state_dict": {"lr": 0.5}}, "found float for entry 'lr'"),
        ({0: torch.zeros(1)}, "for entry 0"),
    ],
)
def test_no_state_dict(tmp_path, checkpoint, found):
    torch.save(checkpoint, tmp_path / "w.pt")
    assert_refused(tmp_path / "w.pt", "expected a state dict", found)


def test_missing_and_unexpected_names(tmp_path):
    state = dict(filled().state_dict())
    del state["fc.bias"], state["conv1.weight"]
    state |= {f"head.{index}": torch.zeros(1) for index in range(7)}
    save_file(state, tmp_path / "w.safetensors")
    assert_refused(
        tmp_path / "w.safetensors",
        "2 missing: conv1.weight, fc.bias;",
        "7 unexpected: head.0, head.1, head.2, head.3, head.4, ...",
    )


def test_other_shapes(tmp_path):
    state = dict(filled().state_dict())
    state["fc.weight"] = torch.zeros(1000, 4)
    del state["fc.bias"], state["bn1.num_batches_tracked"]
    save_file(state, tmp_path / "w.safetensors")
    assert_refused(
        tmp_path / "w.safetensors",
        "1 missing: fc.bias; 1 of another shape: fc.weight (expected [2, 4], found [1000, 4])",
    )


def test_model_that_refuses_weights_itself(tmp_path):
    class Picky(nn.Linear):
        def _load_from_state_dict(self, *args):
            args[-1].append("wrong moon phase")

    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "w.safetensors")
    assert_refused(tmp_path / "w.safetensors", "wrong moon phase", model=Picky(2, 2))


@pytest.mark.skipif(not NETS.is_dir(), reason="needs ../shared/data/nets, real pretrained networks")
def test_real_network():
    model = build_model(f"{NETS / 'squeezenet.py'}:SqueezeNet10")
    load_weights(model, NETS / "squeezenet1_0.safetensors")
    assert sum(weights.numel() for weights in model.parameters()) == 1_248_424
    assert model.features[0].weight.abs().max() > 1
