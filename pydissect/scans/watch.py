"""Checkpoints that arrive while a scan runs."""

import time
from collections.abc import Callable

from .checkpoints import Checkpoint
from .keys import Signature, signature_of

Name = tuple[str, str, tuple[str, ...]]


class Watch:
    """Tells which checkpoints are new or have changed, once each, and only when their files have come to rest.

    A file is at rest when it looked the same at the last look, or has not been written to for as long as there is
    between two looks.

    Args:
        find: lists all checkpoints there are.
        poll: seconds between two looks.
        clock: seconds since 1970.
    """

    def __init__(
        self, find: Callable[[], list[Checkpoint]], poll: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._find = find
        self._poll = poll
        self._clock = clock
        self._seen: dict[Name, Signature] = {}
        self._taken: dict[Name, Signature] = {}

    def look(self) -> list[Checkpoint]:
        """Those to take now."""
        found = []
        for checkpoint in self._find():
            signature = signature_of(checkpoint.weights)
            name = checkpoint.name
            if signature is None or self._taken.get(name) == signature:
                continue
            rests = self._clock() - signature.mtime_ns / 1e9 > self._poll
            if rests or self._seen.get(name) == signature:
                self._taken[name] = signature
                found.append(checkpoint)
            self._seen[name] = signature
        return found
