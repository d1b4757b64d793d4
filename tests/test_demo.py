from importlib import resources

import pytest
import torch

from pydissect import demo
from pydissect.broden import Broden
from pydissect.normalize import Normalization
from pydissect.synth import NUMBERS, make_dataset


@pytest.mark.parametrize("factory", [demo.trained, demo.untrained])
def test_shapes(factory):
    network = factory()
    assert not network.training
    units = []
    network.get_submodule("layer6").register_forward_hook(lambda module, args, output: units.append(output))
    with torch.no_grad():
        logits = network(torch.zeros(2, 3, 224, 224))
    assert logits.shape == (2, len(NUMBERS), 14, 14)
    assert units[0].shape == (2, 128, 14, 14)
    assert units[0].min() >= 0


def test_both_have_one_architecture():
    trained, untrained = demo.trained().state_dict(), demo.untrained().state_dict()
    assert {name: t.shape for name, t in trained.items()} == {name: t.shape for name, t in untrained.items()}
    assert not torch.equal(trained["layer6.0.weight"], untrained["layer6.0.weight"])
    assert {tensor.dtype for tensor in (trained | untrained).values()} == {torch.float32}


def test_untrained_is_always_the_same_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = demo.untrained().state_dict(), demo.untrained().state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_are_small():
    assert len(resources.files(demo).joinpath("weights.safetensors").read_bytes()) < 1_000_000


def test_trained_knows_what_is_in_an_unseen_picture(tmp_path):
    make_dataset(tmp_path / "data", 15)
    data = Broden(tmp_path / "data")
    columns = {number: column for column, number in enumerate(sorted(NUMBERS.values()))}
    pictures = torch.stack([torch.from_numpy(data.read_image(i)).permute(2, 0, 1) for i in range(len(data))])
    with torch.no_grad():
        logits = demo.trained()(Normalization.parse("imagenet")(pictures)).mean((2, 3))
    scenes = [columns[number] for name, number in NUMBERS.items() if name.endswith("-s")]
    right = known = 0
    for i in range(len(data)):
        for number in set(data.read_labels(i)[1]):
            if columns[number] in scenes:
                known += 1
                right += scenes[int(logits[i, scenes].argmax())] == columns[number]
    assert known >= 10
    assert right >= 0.8 * known
