"""A dissection in shards: each runs the model over some of the images, and one counts what all have kept."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from .backends import choose_backend
from .candidate_store import CandidateStore
from .dissection import Dissection
from .forward import forward
from .layers import find_layers
from .one_pass import OnePass
from .passes import Keeping, Kept, Passes, Settings, find
from .picture_batches import PictureBatches
from .pipeline import versions
from .progress import silent
from .sources import BrodenSource


def keep_shard(
    model: nn.Module,
    pictures: PictureBatches,
    names: Sequence[str],
    settings: Settings,
    *,
    images: int,
    device: torch.device,
    store: CandidateStore,
) -> Mapping[str, OnePass]:
    """Runs a model over a shard's pictures.

    Args:
        model: the network.
        pictures: of the shard.
        names: of the layers.
        settings: of what is computed.
        images: of the whole dataset.
        device: of the model.
        store: for the candidates.

    Returns:
        What the pass has left of each layer, to be saved, and merged with those of the other shards in their order.

    Raises:
        InputError: a wrong layer, or a non-finite activation.
    """
    find_layers(model, names)
    with forward(model, names, pictures.example(), device, settings.dtype) as network:
        keeping = Keeping(
            network.shapes,
            settings,
            images=images,
            at_most=False,
            store=store,
            image_name=pictures.image_name,
        )
        for _, batch in pictures:
            keeping.add(network(batch))
    keeping.check()
    return keeping.ones


def count_shards(
    source: BrodenSource, ones: Mapping[str, OnePass], settings: Settings, device: torch.device
) -> Dissection:
    """Counts what the shards have kept.

    Args:
        source: of the masks.
        ones: of each layer, what all shards have left, merged.
        settings: as for the shards.
        device: of the counting.

    Returns:
        The same as of :func:`pydissect.dissect`, with fewer facts of the run.

    Raises:
        InputError: they have not seen all images.
    """
    batches = next(iter(ones.values())).batches
    ends = torch.tensor([0, *batches]).cumsum(0).tolist()
    masks = [source.masks(range(begin, end)) for begin, end in pairwise(ends)]
    kept = Kept(ones, {name: find(one) for name, one in ones.items()}, masks)
    results = Passes(source, settings, device, silent).count_kept(kept)
    run = {
        "images": source.num_images,
        "device": str(device),
        "backend": choose_backend(settings.backend, device).name,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    return Dissection(results, run)
