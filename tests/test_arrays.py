"""Arrays of any library, in and out."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pydissect.arrays import as_tensor, same_kind
from pydissect.errors import InputError


class DlpackOnly:
    """An array of a library that speaks nothing but DLPack."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **options: object) -> object:
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()


def test_tensors_pass_as_they_are():
    tensor = torch.arange(6.0, requires_grad=True).view(2, 3).t()
    result = as_tensor(tensor, "x")
    assert result.data_ptr() == tensor.data_ptr()
    assert result.stride() == tensor.stride()
    assert not result.requires_grad


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": lambda array: array,
    "transposed": lambda array: array.T,
    "steps": lambda array: array[::2, 1:],
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
}


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_], ids=lambda dtype: dtype.__name__
)
@pytest.mark.parametrize("view", VIEWS)
def test_numpy_is_viewed(view: str, dtype: type):
    array = VIEWS[view]((np.arange(24).reshape(4, 6) % 5).astype(dtype))
    result = as_tensor(array, "x")
    assert result.tolist() == array.tolist()
    assert result.data_ptr() == array.__array_interface__["data"][0]


def test_read_only_numpy_is_viewed_without_a_warning():
    array = np.arange(5.0)
    array.flags.writeable = False
    assert as_tensor(array, "x").data_ptr() == array.__array_interface__["data"][0]


COPIED: dict[str, Callable[[], np.ndarray]] = {
    "negative-stride": lambda: np.arange(24.0).reshape(4, 6)[::-1],
    "negative-strides": lambda: np.arange(24.0).reshape(4, 6)[::-1, ::-2],
    "big-endian": lambda: np.arange(24).reshape(4, 6).astype(">f4"),
    "big-endian-integers": lambda: np.arange(24).reshape(4, 6).astype(">i2"),
    "field-of-a-record": lambda: np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "u1"), ("b", "<f4")])["b"],
    "unaligned": lambda: np.frombuffer(bytes(range(41)), np.uint8)[1:].view(np.float32),
}


@pytest.mark.parametrize("name", COPIED)
def test_numpy_that_torch_cannot_view_is_copied(name: str):
    array = COPIED[name]()
    result = as_tensor(array, "x")
    assert result.tolist() == array.tolist()
    assert result.data_ptr() % result.element_size() == 0


def test_numpy_scalar():
    assert as_tensor(np.float32(2.5), "x").item() == 2.5


def test_dlpack_is_viewed():
    tensor = torch.arange(6.0).view(2, 3)
    result = as_tensor(DlpackOnly(tensor), "x")
    assert torch.equal(result, tensor)
    assert result.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([1, 2], "x: expected a torch tensor, a NumPy array or an object with __dlpack__, found list"),
        (None, "x: expected a torch tensor, a NumPy array or an object with __dlpack__, found NoneType"),
        (np.array(["a"]), "x: torch cannot view this ndarray of dtype <U1"),
        (np.array([None]), "x: torch cannot view this ndarray of dtype object"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "x: torch cannot view this ndarray of dtype"),
        (torch.eye(2).to_sparse(), "x: expected a dense tensor, found layout torch.sparse_coo"),
    ],
    ids=["list", "none", "text", "objects", "records", "sparse"],
)
def test_refuses(array: object, message: str):
    with pytest.raises(InputError) as error:
        as_tensor(array, "x")
    assert message in str(error.value)


def test_a_broken_dlpack_is_refused():
    class Broken:
        dtype = "odd"

        def __dlpack__(self, **options: object) -> object:
            raise BufferError("cannot export")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    with pytest.raises(InputError, match="x: torch cannot view this Broken of dtype odd: cannot export"):
        as_tensor(Broken(), "x")


def test_results_are_of_the_callers_kind():
    result = torch.arange(3)
    assert same_kind(torch.zeros(1))(result) is result
    assert isinstance(same_kind(np.zeros(1))(result), np.ndarray)
    assert isinstance(same_kind(np.float32(1))(result), np.ndarray)
    assert same_kind(DlpackOnly(torch.zeros(1)))(result) is result


def test_results_go_through_the_callers_namespace():
    """As the array API has it, which JAX and others follow."""

    class Namespace:
        @staticmethod
        def from_dlpack(array: object) -> tuple[str, object]:
            return "theirs", array

    class Array(DlpackOnly):
        def __array_namespace__(self) -> type[Namespace]:
            return Namespace

    result = torch.arange(3)
    assert same_kind(Array(torch.zeros(1)))(result) == ("theirs", result)
