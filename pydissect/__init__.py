"""Network Dissection: label every hidden unit of a vision network with the concept it detects.

After Bau, Zhou, Khosla, Oliva and Torralba: "Network Dissection: Quantifying
Interpretability of Deep Visual Representations", CVPR 2017.
"""

from .broden import Broden
from .counts import Best, Counts
from .dissection import Dissection, LayerDissection
from .errors import InputError
from .grids import ReceptiveField
from .iou import count, fast_iou
from .masks import PackedMasks
from .one_pass import OnePass
from .pipeline import dissect
from .scans import scan
from .tally import Tally
from .thresholds import ThresholdFinder, quantile_thresholds

__version__ = "0.1.0"

__all__ = [
    "Best",
    "Broden",
    "Counts",
    "Dissection",
    "InputError",
    "LayerDissection",
    "OnePass",
    "PackedMasks",
    "ReceptiveField",
    "Tally",
    "ThresholdFinder",
    "count",
    "dissect",
    "fast_iou",
    "quantile_thresholds",
    "scan",
]
