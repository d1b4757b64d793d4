"""Pieces of one-line error messages."""

import difflib
import textwrap
from collections.abc import Iterable


def nearest_names(name: str, candidates: Iterable[str], limit: int = 3) -> str:
    """The end of an error message that offers the existing names most like one that does not exist.

    Args:
        name: the name that was asked for.
        candidates: the names that exist.
        limit: the most names to offer.

    Returns:
        `"; did you mean 'a' or 'b'?"`, best first, or `""` when no candidate is near. Candidates that end in
        `.name` come first: a module's name is often given without its parents.
    """
    known = list(candidates)
    nested = [candidate for candidate in known if candidate.endswith(f".{name}")]
    names = list(dict.fromkeys([*nested, *difflib.get_close_matches(name, known, n=limit)]))[:limit]
    return f"; did you mean {' or '.join(repr(near) for near in names)}?" if names else ""


def one_line(error: BaseException) -> str:
    """The type and text of someone else's error, in one line of at most 200 characters."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
