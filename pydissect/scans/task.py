"""One checkpoint, or a shard of one, dissected in a worker: the same function for every engine.

A worker keeps what consecutive checkpoints share: the dataset and the model as its factory made it, of which each
checkpoint gets a copy, so that none inherits anything from the one before.
"""

import copy
import datetime
import json
import os
import time
import traceback
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from ..broden import Broden
from ..candidate_store import CandidateStore
from ..devices import usable_device
from ..dissection import Dissection
from ..errors import InputError
from ..extras import needs
from ..messages import one_line
from ..models import build_model, load_weights
from ..one_pass import OnePass
from ..picture_batches import PictureBatches
from ..pipeline import dissect
from ..progress import silent
from ..sharding import count_shards, keep_shard
from ..sources import BrodenSource
from .engines import Outcome, Task
from .folder import ScanFolder
from .keys import model_identity, signature_of
from .results import layer_facts, layer_table, write_result


def run_task(task: Task) -> Outcome:
    """Does what a task says and writes what it finds. Raises nothing; but a model may end the process."""
    global _device_is_lost
    if _device_is_lost:
        # Nothing works any more in this process; another takes its place.
        os._exit(1)
    try:
        _run(task)
    except InputError as error:
        return Outcome(str(error))
    except Exception as error:
        _device_is_lost = not _works(task.settings.device)
        return Outcome(one_line(error), traceback.format_exc())
    return Outcome()


_device_is_lost = False


def _works(device: str) -> bool:
    """An error on a GPU may leave it unusable for the process."""
    try:
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


def _run(task: Task) -> None:
    torch.set_num_threads(task.settings.threads)
    if task.shard is not None:
        _run_shard(task, task.shards[task.shard])
    elif task.shards:
        _merge(task)
    else:
        begin = time.perf_counter()
        model = _loaded(task)
        loaded = time.perf_counter()
        dissection = dissect(model, _dataset(task.data, task.split), task.layers, **task.settings.arguments())
        _write(task, dissection, loaded - begin, time.perf_counter() - loaded)


def _run_shard(task: Task, images: range) -> None:
    """Writes what the model leaves of some of the images."""
    settings, folder = task.settings, ScanFolder(Path(task.out))
    begin = time.perf_counter()
    dataset, model = _dataset(task.data, task.split), _loaded(task)
    loaded = time.perf_counter()
    pictures = PictureBatches(dataset, images, fingerprint=dataset.fingerprint(), **settings.of_pictures())
    with closing(CandidateStore()) as store:
        ones = keep_shard(
            model,
            pictures,
            task.layers,
            settings.of_passes(),
            images=task.shards[-1].stop,
            device=usable_device(settings.device),
            store=store,
        )
        seconds = {"load": loaded - begin, "dissect": time.perf_counter() - loaded}
        for layer, one in ones.items():
            path = folder.shard_file(task.key, images, layer)
            path.parent.mkdir(parents=True, exist_ok=True)
            one.save(path, {"seconds": json.dumps(seconds)})


def _merge(task: Task) -> None:
    """Counts what all shards have left, and writes the result."""
    settings, folder = task.settings, ScanFolder(Path(task.out))
    begin = time.perf_counter()
    device = usable_device(settings.device)
    ones: dict[str, OnePass] = {}
    for layer in task.layers:
        for images in task.shards:
            one = _read_shard(folder.shard_file(task.key, images, layer), device, settings.backend)
            ones[layer] = ones[layer].merge(one) if layer in ones else one
    spent = [_seconds(folder.shard_file(task.key, images, task.layers[0])) for images in task.shards]
    source = BrodenSource(
        _dataset(task.data, task.split), limit=settings.limit, progress=silent, **settings.of_pictures()
    )
    dissection = count_shards(source, ones, settings.of_passes(), device)
    dissected = sum(seconds["dissect"] for seconds in spent) + time.perf_counter() - begin
    _write(task, dissection, sum(seconds["load"] for seconds in spent), dissected)


def _read_shard(path: Path, device: torch.device, backend: str) -> OnePass:
    """What a shard has left in a file. One that cannot be read is removed, so that the shard is missing again."""
    try:
        return OnePass.load(path, device=device, backend=backend)
    except InputError:
        path.unlink(missing_ok=True)
        raise


def _seconds(path: Path) -> dict[str, float]:
    """What a shard took, by the file of a layer."""
    with safe_open(path, framework="pt") as file:
        seconds: dict[str, float] = json.loads(file.metadata()["seconds"])
    return seconds


def _loaded(task: Task) -> nn.Module:
    """The model with the checkpoint's weights, of what was hashed."""
    model, path = _model(task.model), Path(task.weights)
    _check_unchanged(task)
    load_weights(model, path, unsafe=task.settings.unsafe_weights)
    # What was read is what was hashed, if the file is still the same.
    _check_unchanged(task)
    return model


def _write(task: Task, dissection: Dissection, load: float, dissected: float) -> None:
    """Writes a checkpoint's result."""
    begin = time.perf_counter()
    settings, folder = task.settings, ScanFolder(Path(task.out))
    if settings.counts:
        for layer in task.layers:
            counts_file = folder.counts_file(task.key, layer)
            counts_file.parent.mkdir(parents=True, exist_ok=True)
            dissection[layer].save_counts(counts_file)
    table = needs("pyarrow", "scan").concat_tables(layer_table(task.key, dissection[layer]) for layer in task.layers)
    layers = [layer_facts(dissection[layer]) for layer in task.layers]
    facts = {
        "key": task.key,
        "weights": {"file": task.weights, "sha256": task.sha256},
        "model": task.model,
        "tags": dict(task.tags),
        "dataset": {"folder": task.data, "split": task.split, "sha256": task.dataset_sha256},
        "settings": settings.meaning(),
        "layers": layers,
        **{name: dissection.run[name] for name in ("images", "device", "backend", "threads", "versions")},
        "shards": len(task.shards) or 1,
        "seconds": {
            "load": round(load, 4),
            "dissect": round(dissected, 4),
            "tabulate": round(time.perf_counter() - begin, 4),
        },
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_result(folder.result_file(task.key), table, facts)


def _check_unchanged(task: Task) -> None:
    path = Path(task.weights)
    now = signature_of(path)
    if now != task.signature:
        raise InputError(f"--weights {path}: the file has changed since it was listed")


@lru_cache(maxsize=1)
def _dataset(folder: str, split: str) -> Broden:
    return Broden(folder, split).assume_unchanged()


def _model(spec: str) -> nn.Module:
    made = _as_made(spec, tuple(model_identity(spec)))
    try:
        return copy.deepcopy(made)
    except Exception:  # a model may hold what cannot be copied, such as a lock
        return build_model(spec)


@lru_cache(maxsize=1)
def _as_made(spec: str, identity: tuple[str | None, ...]) -> nn.Module:
    """The model of a factory, which is called again only when its file has changed."""
    return build_model(spec)
