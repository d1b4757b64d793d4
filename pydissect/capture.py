"""Capture of layers' activation maps during a forward pass that ends after the last of them."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch
from torch import nn

from pydissect.errors import InputError
from pydissect.layers import (
    MapShape,
    activation_maps,
    as_model_input,
    evaluating,
    find_layers,
    first_tensor,
    model_failed,
)

_Receive = Callable[[str, object], None]


class _ForwardDone(BaseException):
    """Ends a forward pass from within; not an `Exception`, lest a model's own handlers catch it."""


class LayerCapture:
    """The activation maps of one or several layers, batch after batch.

    A context manager: within it the model is in eval mode and hooked; afterwards it is as it was. Entering
    runs one full forward pass on example images, which tells the shapes, how often each layer runs, and which
    layers' outputs are overwritten later (by an in-place ReLU, say): those are copied, no others.

        with LayerCapture(model, ["layer3", "layer4"], images[:1]) as capture:
            maps = capture(images)["layer4"]

    Args:
        model: the model. It gets one argument, the images.
        names: dotted names of modules.
        example: `[B, 3, H, W]`, B >= 1, images such as will be captured.

    Attributes:
        shapes: for each layer `(U, h, w)`, known once the context is entered.

    Raises:
        InputError: at once for names that are empty, unknown or given twice; on entering, when the model
            fails on the example, a layer never runs, or returns what `activation_maps` refuses.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], example: torch.Tensor) -> None:
        self.shapes: dict[str, MapShape] = {}
        self._model = model
        self._layers = find_layers(model, names)
        self._example = example
        self._calls: dict[str, int] = {}
        self._overwritten: set[str] = set()
        self._receive: _Receive | None = None
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(evaluating(self._model))
            for name, module in self._layers.items():
                stack.enter_context(module.register_forward_hook(self._hook(name)))
            self._probe()
            self._undo = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the model on a batch, as far as the last layer asked for.

        Args:
            images: `[B, 3, H, W]`; converted to the dtype and device of the model's parameters.

        Returns:
            For each layer, in the order of `names`, `[B, U, h, w]` in the dtype, memory format and device
            that the layer returned it in (an inference tensor, not to be written to).

        Raises:
            InputError: when a layer returns maps of another shape than for the example, or runs less often.
        """
        images = as_model_input(self._model, images)
        calls: Counter[str] = Counter()
        outputs: dict[str, object] = {}

        def receive(name: str, output: object) -> None:
            calls[name] += 1
            if calls[name] == self._calls[name]:
                tensor = first_tensor(output)
                outputs[name] = tensor.clone() if name in self._overwritten and tensor is not None else tensor
                if len(outputs) == len(self._layers):
                    raise _ForwardDone

        with torch.inference_mode():
            self._forward(images, receive)
            return {name: self._checked_maps(name, calls, outputs, images) for name in self._layers}

    def _hook(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            if self._receive is not None:
                self._receive(name, output)

        return hook

    def _forward(self, images: torch.Tensor, receive: _Receive) -> None:
        self._receive = receive
        try:
            self._model(images)
        except _ForwardDone:
            pass
        finally:
            self._receive = None

    def _probe(self) -> None:
        calls: Counter[str] = Counter()
        outputs: dict[str, object] = {}
        versions: dict[str, int | None] = {}

        def receive(name: str, output: object) -> None:
            calls[name] += 1
            outputs[name] = output
            versions[name] = _version(output)
            # The last call of any layer is where captures end: what is overwritten after that does no harm.
            self._overwritten = {
                known for known, version in versions.items() if version is None or version != _version(outputs[known])
            }

        # Not inference mode: its tensors do not count their in-place changes.
        with torch.inference_mode(False), torch.no_grad():
            images = as_model_input(self._model, self._example).clone()
            try:
                self._forward(images, receive)
            except Exception as error:
                # A classifier that does not fit the images is no obstacle: captures end before it.
                if len(outputs) < len(self._layers):
                    raise model_failed(images.shape, error) from error
            for name, module in self._layers.items():
                if name not in outputs:
                    raise InputError(
                        f"layer {name!r}: expected a module that runs in a forward pass,"
                        f" found that this {type(module).__name__} never does"
                    )
                _, units, h, w = self._maps(name, outputs[name], images).shape
                self.shapes[name] = (units, h, w)
        self._calls = dict(calls)
        for name, count in calls.items():
            if count > 1:
                warnings.warn(
                    f"layer {name!r} runs {count} times in a forward pass; the last of its outputs is taken",
                    stacklevel=3,
                )

    def _checked_maps(
        self, name: str, calls: Counter[str], outputs: dict[str, object], images: torch.Tensor
    ) -> torch.Tensor:
        if name not in outputs:
            raise InputError(
                f"layer {name!r}: expected to run {self._calls[name]} times in a forward pass as for the"
                f" first images, found {calls[name]} times"
            )
        maps = self._maps(name, outputs[name], images)
        expected, found = self.shapes[name], tuple(maps.shape[1:])
        if found != expected:
            raise InputError(
                f"layer {name!r}: expected maps [U, h, w] of {list(expected)} as for the first images,"
                f" found {list(found)}"
            )
        return maps

    def _maps(self, name: str, output: object, images: torch.Tensor) -> torch.Tensor:
        try:
            return activation_maps(output, images.shape)
        except InputError as error:
            raise InputError(f"layer {name!r}: {error}") from None


def _version(output: object) -> int | None:
    """How often the tensor was changed in place; None where that is not counted."""
    tensor = first_tensor(output)
    return 0 if tensor is None else None if tensor.is_inference() else tensor._version
