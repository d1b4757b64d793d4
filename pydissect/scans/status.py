"""How far a scan is."""

from dataclasses import dataclass
from pathlib import Path

from ..extras import needs
from .folder import Failure, ScanFolder


@dataclass(frozen=True)
class Status:
    """How far a scan is.

    Attributes:
        checkpoints: that its folder lists.
        done: that have a result.
        failures: of those that have none, in the order of the listing.
        running: paths of those at work; None if no driver is.
        rate: results a second of the driver at work, 0 without one or before its first.
    """

    checkpoints: int
    done: int
    failures: tuple[Failure, ...]
    running: tuple[str, ...] | None
    rate: float

    @property
    def missing(self) -> int:
        """Checkpoints without a result or a failure."""
        return self.checkpoints - self.done - len(self.failures)

    @property
    def seconds_left(self) -> float | None:
        """Until nothing is missing, at the rate of now; None if that is not known."""
        return self.missing / self.rate if self.rate and self.running is not None else None


def read_status(path: Path) -> Status:
    """How far the scan of a folder is.

    Raises:
        InputError: it is no folder of a scan.
    """
    needs("pyarrow", "scan")
    folder = ScanFolder.open(path)
    keys = folder.listed_keys()
    done = folder.done()
    failed = folder.failures()
    failures = [failed[key] for key in dict.fromkeys(keys) if key in failed and key not in done]
    running, rate = None, 0.0
    if folder.is_locked() and (progress := folder.progress()) is not None:
        running = tuple(progress.running)
        elapsed = progress.updated - progress.started
        rate = progress.finished / elapsed if elapsed > 0 else 0.0
    return Status(len(keys), sum(key in done for key in keys), tuple(failures), running, rate)
