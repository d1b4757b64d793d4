"""What is done about NaN, infinite and huge activations."""

import torch
from torch import Tensor

from .backends import NO_IMAGE
from .errors import InputError


def check_policy(nonfinite: str) -> bool:
    """Whether non-finite values are to be counted as off (``"off"``) rather than refused (``"error"``).

    Raises:
        InputError: neither of the two.
    """
    if nonfinite not in ("error", "off"):
        raise InputError(f"nonfinite: expected 'error' or 'off', found {nonfinite!r}")
    return nonfinite == "off"


class NonfiniteFlag:
    """Remembers the first map with a non-finite value, without waiting for the device."""

    def __init__(self) -> None:
        self._place: Tensor | None = None
        self._units = 1

    def note(self, place: Tensor | int, first_image: int, units: int) -> None:
        """Takes up what a backend returned for a batch whose images start at number ``first_image``."""
        self._units = units
        if isinstance(place, int):
            if place == NO_IMAGE:
                return
            place = torch.tensor(place)
        place = torch.where(place == NO_IMAGE, place, place + first_image * units)
        self._place = place if self._place is None else torch.minimum(self._place, place.to(self._place.device))

    def first(self) -> tuple[int, int] | None:
        """``(image, unit)`` of the first such map, or None. Waits for the device."""
        if self._place is None or (place := int(self._place)) == NO_IMAGE:
            return None
        return divmod(place, self._units)

    def check(self) -> None:
        """Raises an error if there was one.

        Raises:
            InputError: it names image and unit.
        """
        first = self.first()
        if first is not None:
            raise InputError(
                f"acts: unit {first[1]} of image {first[0]} has a non-finite activation (NaN, infinite or of "
                "magnitude 2^126 or more); nonfinite='off' counts such values as off"
            )
