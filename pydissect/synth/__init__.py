"""Synthetic pictures with exact labels, in the Broden format: for tests, demonstrations and documentation."""

from .canvas import MASK_SIDE, SIDE
from .dataset import make_dataset
from .labels import CATEGORIES, NUMBERS

__all__ = ["CATEGORIES", "MASK_SIDE", "NUMBERS", "SIDE", "make_dataset"]
