"""Scans: thousands of checkpoints, dissected as a matter of course."""

from .driver import ScanReport, scan
from .folder import Failure
from .plot import plot
from .status import Status, read_status
from .views import open_views, query

__all__ = ["Failure", "ScanReport", "Status", "open_views", "plot", "query", "read_status", "scan"]
