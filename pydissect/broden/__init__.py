"""Datasets in Broden's on-disk format (Bau et al. 2017, section 2.1)."""

from .dataset import Broden, Images
from .index import Annotation
from .labels import Concept
from .summary import CategorySummary, Summary, summarize
from .validation import Report, check

__all__ = [
    "Annotation",
    "Broden",
    "CategorySummary",
    "Concept",
    "Images",
    "Report",
    "Summary",
    "check",
    "summarize",
]
