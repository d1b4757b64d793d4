"""The command line."""

import click

from .. import __version__
from .backends import backends_command
from .bench import bench_command
from .console import Group
from .data import data_group
from .dissect import dissect_command
from .layers import layers_command
from .scan import scan_group


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command's --help shows an example. Exit status: 0 done, 1 the work failed, 2 the arguments or the "
    "input are wrong.",
)
@click.version_option(__version__, prog_name="pydissect")
def main() -> None:
    """Network Dissection: label every hidden unit of a vision network with the visual concept it detects."""


main.add_command(dissect_command, "dissect")
main.add_command(layers_command, "layers")
main.add_command(scan_group, "scan")
main.add_command(data_group, "data")
main.add_command(bench_command, "bench")
main.add_command(backends_command, "backends")
