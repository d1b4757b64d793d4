"""What activations may be."""

import numpy as np
import pytest
import torch
from strategies import DTYPES, ORDERS, make_acts
from torch import Tensor

from pydissect.acts import as_acts
from pydissect.errors import InputError


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_copied(dtype: str, order: str):
    acts = make_acts((2, 3, 4, 5), DTYPES[dtype], order)
    result = as_acts(acts)
    assert (result.data_ptr(), result.stride(), result.dtype) == (acts.data_ptr(), acts.stride(), acts.dtype)


@pytest.mark.parametrize(
    ("acts", "message"),
    [
        (torch.zeros(1, 1, 2, 2, dtype=torch.float64), "found float64; convert it with .float()"),
        (np.zeros((1, 1, 2, 2)), "found float64; convert it with .float()"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int32), "expected float32, float16 or bfloat16, found int32"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.bool), "expected float32, float16 or bfloat16, found bool"),
        (torch.zeros(2, 3, 4), "expected activation maps [N, U, h, w], found shape [2, 3, 4]"),
        (torch.zeros(1, 2, 3, 4, 5), "expected activation maps [N, U, h, w], found shape [1, 2, 3, 4, 5]"),
        (torch.zeros(2, 3, 0, 4), "expected activation maps [N, U, h, w], found shape [2, 3, 0, 4]"),
        (torch.zeros(2, 3, 4, 0), "expected activation maps [N, U, h, w], found shape [2, 3, 4, 0]"),
        ([[1.0]], "acts: expected a torch tensor"),
    ],
)
def test_refuses(acts: object, message: str):
    with pytest.raises(InputError) as error:
        as_acts(acts)
    assert str(error.value).startswith("acts: ")
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5)])
def test_no_images_or_units_are_fine(shape: tuple[int, ...]):
    tensor: Tensor = as_acts(torch.zeros(shape))
    assert tensor.shape == shape
