"""Activations of a real network's layers, to measure counting on."""

from collections.abc import Sequence

import torch
from torch import nn

from ..broden import Broden, Images
from ..capture import LayerCapture
from ..layers import find_layers
from ..memory_format import channels_last_pays
from ..normalize import Normalization
from ..parallel import default_workers
from ..pipeline import BATCH_SIZE
from ..progress import Progress
from ..sources import BrodenSource
from .stream import Batch


def capture_layers(
    data: Broden,
    model: nn.Module,
    layers: Sequence[str],
    *,
    normalization: Normalization,
    input_size: int | None,
    min_bytes: int,
    progress: Progress,
) -> dict[str, list[Batch]]:
    """Batches of each layer, fp32 ``[N, U, h, w]``, with their masks.

    Args:
        data: the dataset; as many of its first images are used as the layers need.
        model: the network.
        layers: dotted names of its modules.
        normalization: of the pictures.
        input_size: height and width that the model takes; without it, those of the dataset.
        min_bytes: of activations of each layer, unless the dataset ends before.
        progress: told of the forward passes.

    Raises:
        InputError: see :func:`pydissect.dissect`.
    """
    find_layers(model, layers)
    size = (input_size, input_size) if input_size else data.image_size
    memory_format = torch.channels_last if channels_last_pays(model) else torch.contiguous_format
    model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
    example = normalization(torch.from_numpy(Images(data, size)[0]).permute(2, 0, 1)[None])
    batches: dict[str, list[Batch]] = {layer: [] for layer in layers}
    with LayerCapture(model, layers, example.contiguous(memory_format=memory_format)) as capture:
        needed = {layer: -(-min_bytes // (4 * u * h * w)) for layer, (u, h, w) in capture.shapes.items()}
        source = BrodenSource(
            data,
            normalization=normalization,
            input_size=size,
            limit=max(needed.values()),
            batch_size=BATCH_SIZE,
            workers=default_workers(),
            image_cache=False,
            progress=progress,
        )
        done = 0
        progress("running network", done, source.num_images)
        for images, masks in source.batches():
            for layer, acts in capture(images.contiguous(memory_format=memory_format)).items():
                if done < needed[layer]:
                    batches[layer].append((acts.float().contiguous(), masks))
            done += len(images)
            progress("running network", done, source.num_images)
    return batches
