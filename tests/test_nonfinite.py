"""The first map with a non-finite value, found without waiting for the device."""

import pytest
import torch

from pydissect.backends import NO_IMAGE
from pydissect.errors import InputError
from pydissect.nonfinite import NonfiniteFlag, check_policy


def test_policies():
    assert check_policy("off") is True
    assert check_policy("error") is False
    for wrong in ("OFF", "", None, 0):
        with pytest.raises(InputError, match="nonfinite: expected 'error' or 'off', found ") as error:
            check_policy(wrong)  # type: ignore[arg-type]
        assert repr(wrong) in str(error.value)


@pytest.mark.parametrize(
    ("notes", "first"),
    [
        ([], None),
        ([(NO_IMAGE, 0), (NO_IMAGE, 5)], None),
        ([(0, 0)], (0, 0)),
        ([(7, 0)], (1, 3)),
        ([(7, 10)], (11, 3)),
        ([(NO_IMAGE, 0), (5, 2), (NO_IMAGE, 3), (0, 4)], (3, 1)),
        ([(5, 4), (6, 2)], (3, 2)),
    ],
)
def test_first(notes: list[tuple[int, int]], first: tuple[int, int] | None):
    """Notes of ``n * U + u`` within a batch and the batch's first image; four units."""
    flag = NonfiniteFlag()
    for place, first_image in notes:
        flag.note(torch.tensor(place), first_image, 4)
    assert flag.first() == first
    if first is None:
        flag.check()
    else:
        with pytest.raises(InputError, match=f"acts: unit {first[1]} of image {first[0]} has a non-finite activation"):
            flag.check()
