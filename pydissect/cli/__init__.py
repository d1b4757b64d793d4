"""The command line."""

from importlib import import_module

import click

from .. import __version__
from .console import Group

_COMMANDS = {
    "dissect": "dissect_command",
    "layers": "layers_command",
    "scan": "scan_group",
    "data": "data_group",
    "bench": "bench_command",
    "backends": "backends_command",
}
"""The name of each command, which is that of its module, and what it is called there."""


class _Commands(Group):
    """A group that imports the command it is asked for, and no other: most take torch along."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), _COMMANDS[cmd_name])
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command's --help shows an example. Exit status: 0 done, 1 the work failed, 2 the arguments or the "
    "input are wrong.",
)
@click.version_option(__version__, prog_name="pydissect")
def main() -> None:
    """Network Dissection: label every hidden unit of a vision network with the visual concept it detects."""
