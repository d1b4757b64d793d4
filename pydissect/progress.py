"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, and how many of its images are done and there are, None if that is not known yet."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Tells nobody."""
