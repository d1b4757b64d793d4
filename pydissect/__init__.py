"""Network Dissection: label every hidden unit of a vision network with the concept it detects.

After Bau, Zhou, Khosla, Oliva and Torralba: "Network Dissection: Quantifying
Interpretability of Deep Visual Representations", CVPR 2017.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_MODULES = {
    "Best": "counts",
    "Broden": "broden",
    "Counts": "counts",
    "Dissection": "dissection",
    "InputError": "errors",
    "LayerDissection": "dissection",
    "OnePass": "one_pass",
    "PackedMasks": "masks",
    "ReceptiveField": "grids",
    "Tally": "tally",
    "ThresholdFinder": "thresholds",
    "count": "iou",
    "dissect": "pipeline",
    "fast_iou": "iou",
    "quantile_thresholds": "thresholds",
    "scan": "scans",
}
"""Where each public name is defined. They are imported when one is asked for, since torch takes seconds to import."""

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


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # All of them: torch.compile cannot follow an import on the way to a function that it traces.
    for public, module in _MODULES.items():
        globals()[public] = getattr(import_module(f".{module}", __name__), public)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
