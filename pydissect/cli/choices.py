"""Choices among names that are only known where the work is done."""

from collections.abc import Callable, Iterable
from typing import Any

import click


class LazyChoice(click.ParamType[str]):
    """A choice whose names are asked for when they are needed: for ``--help``, and for another value than the default.

    The modules that know them take seconds to import, since torch does; commands that have nothing to compute do
    without.

    Args:
        names: gives them.
    """

    name = "choice"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if param is not None and value == param.default:
            return str(value)
        return self._choice().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """The names, for the help."""
        return self._choice().get_metavar(param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The names, for a shell."""
        return self._choice().shell_complete(ctx, param, incomplete)

    def _choice(self) -> click.Choice[str]:
        return click.Choice(list(self._names()))
