"""A model from its factory (`FILE.py:FACTORY` or `package.module:factory`) and its file of weights."""

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from pydissect.errors import InputError
from pydissect.messages import nearest_names, one_line
from pydissect.specs import split_spec

_CONTAINERS = ("state_dict", "model_state_dict", "model")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
_ZIP_MAGIC = b"PK\x03\x04"
_FILE_MODULE_PREFIX = "_pydissect_model_"
_SHOWN = 5


def load_factory(spec: str) -> Callable[[], nn.Module]:
    """Find the factory that a spec names; the module it lives in is imported now.

    Args:
        spec: `FILE.py:FACTORY` (the file's folder is importable while the file loads and while the factory
            runs) or `package.module:factory`. The last colon separates the two; dots in the factory's name
            are attributes of attributes.

    Returns:
        A callable without arguments that calls the factory and returns whatever it returns.

    Raises:
        InputError: when `spec` has no colon, the file or module is not there or cannot be imported, or it has
            no such callable.
    """
    source, attributes, from_file = split_spec(spec)
    extra = [str(Path(source).resolve().parent)] if from_file else []
    with _search_path([*extra, *sys.path]):
        found: Any = _import_file(source) if from_file else _import_module(source)
        for name in attributes.split("."):
            found = _attribute(found, name, spec)
        # A file that extends sys.path for its own imports expects to find it so when its factory runs.
        search_path = sys.path[:]
    if not callable(found):
        raise InputError(f"--model {spec!r}: expected a callable, found {type(found).__name__}")
    factory: Callable[[], nn.Module] = found

    def build() -> nn.Module:
        with _search_path(search_path):
            return factory()

    return build


def build_model(spec: str) -> nn.Module:
    """Call the factory that `spec` names (see `load_factory`), without arguments.

    Returns:
        The model, as the factory made it: neither moved, nor put into eval mode.

    Raises:
        InputError: as `load_factory`; and when the factory raises or returns anything but an `nn.Module`.
    """
    factory = load_factory(spec)
    try:
        model = factory()
    except Exception as error:
        raise InputError(f"--model {spec!r}: the factory raised {one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"--model {spec!r}: expected the factory to return an nn.Module, found {type(model).__name__}")
    return model


def load_weights(model: nn.Module, path: str | Path, unsafe: bool = False) -> None:
    """Load a file of weights into `model`, strictly: every parameter, and nothing else.

    Reads safetensors and `torch.save` files (told apart by content) that hold a state dict, plain or as their
    entry `state_dict`, `model_state_dict` or `model`. The prefixes `module.` and `_orig_mod.` that
    `DataParallel` and `torch.compile` put before every name are taken off.

    Args:
        model: the model; its parameters keep their dtype and device. Undefined after an error.
        path: the file.
        unsafe: unpickle arbitrary objects, which runs code that the file brings along.

    Raises:
        InputError: when the file is missing, damaged, holds pickled objects and `unsafe` is not set, holds no
            state dict, or does not fit the model (names and shapes are listed).
    """
    path = Path(path)
    state = _without_wrapper_prefixes(_state_dict(_read_checkpoint(path, unsafe), path), model)
    try:
        differences = _load(model, state)
    except RuntimeError as error:
        raise InputError(f"--weights {path}: does not fit the model: {one_line(error)}") from error
    if differences:
        raise InputError(f"--weights {path}: does not fit the model: {differences}")


@contextmanager
def _search_path(entries: list[str]) -> Iterator[None]:
    saved = sys.path[:]
    sys.path[:] = entries
    try:
        yield
    finally:
        sys.path[:] = saved


def _import_file(source: str) -> ModuleType:
    path = Path(source)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"--model: expected a Python file, found {what}: {source}")
    # A name of its own: a user's `torch.py` must not take the place of torch in sys.modules.
    spec = importlib.util.spec_from_file_location(_FILE_MODULE_PREFIX + path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--model: expected a Python file (.py), found {source}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise InputError(f"--model: {source} cannot be imported: {one_line(error)}") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise InputError(f"--model: module {name!r} cannot be imported: {one_line(error)}") from error


def _attribute(owner: object, name: str, spec: str) -> object:
    try:
        return getattr(owner, name)
    except AttributeError:
        owner_name = owner.__name__ if isinstance(owner, ModuleType | type) else type(owner).__name__
        owner_name = owner_name.removeprefix(_FILE_MODULE_PREFIX)
        raise InputError(
            f"--model {spec!r}: {owner_name} has no attribute {name!r}{nearest_names(name, dir(owner))}"
        ) from None
    except Exception as error:  # packages that import their parts on first use fail here
        raise InputError(f"--model {spec!r}: {name!r} cannot be imported: {one_line(error)}") from error


def _read_checkpoint(path: Path, unsafe: bool) -> object:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"--weights: expected a file of weights, found {what}: {path}")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            head = file.read(9)
            # A safetensors file starts with the length of its JSON header, in 8 bytes.
            if head[8:] == b"{" or (path.suffix == ".safetensors" and not head.startswith(_ZIP_MAGIC)):
                return load_file(path)
            file.seek(0)
            warnings.simplefilter("ignore")  # they advise on arguments of torch.load that are not the user's
            # The open file, not its path: torch.load believes the suffix .safetensors.
            return torch.load(file, map_location="cpu", weights_only=not unsafe)
    except Exception as error:
        message = str(error)
        if not unsafe and ("Unsupported global" in message or "TorchScript" in message):
            reason = re.search(r"GLOBAL (\S+)", message)
            what = f"pickled objects ({reason[1]})" if reason else "pickled objects"
            raise InputError(
                f"--weights {path}: expected tensors only, found {what}; if you trust where the file comes"
                " from, --unsafe-weights runs the code that they bring"
            ) from error
        # What torch's unpickler says is wrong stands in the midst of a page of advice.
        unpickler = re.search(r"WeightsUnpickler error:\s*(.+)", message)
        detail = unpickler[1] if unpickler else one_line(error)
        raise InputError(
            f"--weights {path}: damaged, or neither a safetensors nor a torch.save file: {detail}"
        ) from error


def _state_dict(checkpoint: object, path: Path) -> dict[str, torch.Tensor]:
    if isinstance(checkpoint, Mapping):
        entries = (checkpoint.get(name) for name in _CONTAINERS)
        checkpoint = next((entry for entry in entries if isinstance(entry, dict | nn.Module)), checkpoint)
    if isinstance(checkpoint, nn.Module):
        checkpoint = checkpoint.state_dict()
    if not isinstance(checkpoint, dict) or not checkpoint:
        what = "an empty one" if checkpoint == {} else type(checkpoint).__name__
        raise InputError(f"--weights {path}: expected a state dict (names to tensors), found {what}")
    for name, value in checkpoint.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise InputError(
                f"--weights {path}: expected a state dict (names to tensors), found"
                f" {type(value).__name__} for entry {name!r}"
            )
    return checkpoint


def _without_wrapper_prefixes(state: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    own = model.state_dict()

    def wrapped(names: Mapping[str, object], prefix: str) -> bool:
        return all(name.startswith(prefix) for name in names)

    while prefix := next((p for p in _WRAPPER_PREFIXES if wrapped(state, p) and not wrapped(own, p)), None):
        consume_prefix_in_state_dict_if_present(state, prefix)
    return state


def _load(model: nn.Module, state: dict[str, torch.Tensor]) -> str:
    """Load what fits; returns what does not, as one line, empty when everything does."""
    others: dict[str, str] = {}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError:
        own = model.state_dict()
        others = {
            name: f"{name} (expected {list(own[name].shape)}, found {list(value.shape)})"
            for name, value in state.items()
            if name in own and own[name].shape != value.shape
        }
        if not others:
            raise
        fitting = {name: value for name, value in state.items() if name not in others}
        missing, unexpected = model.load_state_dict(fitting, strict=False)
    kinds = {
        "missing": [name for name in missing if name not in others],
        "unexpected": unexpected,
        "of another shape": list(others.values()),
    }
    return "; ".join(f"{len(names)} {kind}: {_few(names)}" for kind, names in kinds.items() if names)


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
