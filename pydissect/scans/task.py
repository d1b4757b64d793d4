"""One checkpoint, dissected in a worker: the same function for every engine.

A worker keeps what consecutive checkpoints share: the dataset and the model as its factory made it, of which each
checkpoint gets a copy, so that none inherits anything from the one before.
"""

import copy
import datetime
import os
import time
import traceback
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from ..broden import Broden
from ..errors import InputError
from ..extras import needs
from ..messages import one_line
from ..models import build_model, load_weights
from ..pipeline import dissect
from .engines import Outcome, Task
from .folder import ScanFolder
from .keys import model_identity, signature_of
from .results import layer_facts, layer_table, write_result


def run_task(task: Task) -> Outcome:
    """Dissects a checkpoint and writes its result. Raises nothing; but a model may end the process."""
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
    settings = task.settings
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    dataset = _dataset(task.data, task.split)
    model = _model(task.model)
    path = Path(task.weights)
    _check_unchanged(task)
    load_weights(model, path, unsafe=settings.unsafe_weights)
    # What was read is what was hashed, if the file is still the same.
    _check_unchanged(task)
    loaded = time.perf_counter()
    dissection = dissect(model, dataset, task.layers, **settings.arguments())
    dissected = time.perf_counter()
    folder = ScanFolder(Path(task.out))
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
        "seconds": {
            "load": round(loaded - begin, 4),
            "dissect": round(dissected - loaded, 4),
            "tabulate": round(time.perf_counter() - dissected, 4),
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
    return Broden(folder, split)


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
