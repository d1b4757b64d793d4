"""How the command line talks: tables and progress, warnings and errors of one line."""

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..errors import InputError
from ..messages import one_line
from ..progress import Progress as Report

_PLAIN_WIDTH = 120  # columns where the output is not a terminal


def out() -> Console:
    """The console for results."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def err() -> Console:
    """The console for progress, warnings and errors."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _PLAIN_WIDTH, highlight=False)


def plain(text: object) -> str:
    """Text from a dataset or a file, without what could steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def say(kind: str, style: str, message: object) -> None:
    """One line on the standard error stream, such as ``error: ...``."""
    err().print(Text.assemble((f"{kind}: ", style), plain(message)), soft_wrap=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Shows warnings as lines of their own, without the source that raised them."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)

        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            say("warning", "bold yellow", " ".join(str(message).split()))

        warnings.showwarning = show
        yield


class Command(click.Command):
    """A command whose errors are one line each and whose exit status tells what went wrong.

    1 means that the work failed, 2 that the arguments or the input are wrong, 130 that the
    user interrupted it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments; what is wrong with them is told in one line, as all other errors are."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            message = " ".join(error.format_message().split())
            say("error", "bold red", f"{message} (`{ctx.command_path} --help` lists the options)")
            ctx.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        debug = ctx.params.pop("debug")
        try:
            with warnings_as_lines():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            say("interrupted", "bold yellow", "nothing was written")
            ctx.exit(130)
        except Exception as error:
            if debug:
                raise
            if isinstance(error, InputError):
                say("error", "bold red", error)
                ctx.exit(2)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                place = f" for {error.filename}" if error.filename else ""
                say("error", "bold red", f"no space left on the device{place}; nothing was written")
                ctx.exit(2)
            say("error", "bold red", f"{one_line(error)} (--debug shows the traceback)")
            ctx.exit(1)


class Group(click.Group):
    """A group of commands whose own errors are one line too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            say("error", "bold red", f"{error.format_message()} (`{ctx.command_path} --help` lists the commands)")
            ctx.exit(2)


@contextmanager
def progress_bar(unit: str = "images") -> Iterator[Report]:
    """A bar for each stage, with its rate in units and the time left, on the standard error stream."""
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err()) as progress:
        # Of each stage, its task and what was done by its first report, from which its time is taken.
        tasks: dict[str, tuple[TaskID, int]] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total, rate=""), done
            task, first = tasks[stage]
            elapsed = progress.tasks[task].elapsed or 0.0
            speed = (done - first) / elapsed if done > first else 0.0
            rate = f"{speed:,.{0 if speed >= 10 else 1}f} {unit}/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate)

        yield report
