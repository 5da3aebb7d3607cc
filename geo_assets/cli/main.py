"""The command `geo-assets`: its groups and nothing else."""

import click

from geo_assets.cli.database_commands import database_group
from geo_assets.cli.demo import demo_command
from geo_assets.cli.source_commands import sources_command, status_command
from geo_assets.cli.up import up_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geo_assets")
def main() -> None:
    """Keep a geospatial catalogue true: every blob has one STAC item, or one recorded reason why not."""


main.add_command(database_group)
main.add_command(sources_command)
main.add_command(status_command)
main.add_command(demo_command)
main.add_command(up_command)
