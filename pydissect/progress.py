"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, and how many of its images are done and there are."""


def silent(stage: str, done: int, total: int) -> None:
    """Tells nobody."""
