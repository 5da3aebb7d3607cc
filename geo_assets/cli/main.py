"""The command `geo-assets`: its subcommands by name, each imported only when it is used."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from geo_assets.cli.console import clear_errors
from geo_assets.errors import DiskFull
from geo_assets.foreign_errors import DISK_IS_FULL

# Dagster, GDAL and matplotlib take seconds to import; `geo-assets db url` should not wait for them.
SUBCOMMANDS = {
    "alerts": "geo_assets.cli.alerts:alerts_group",
    "census": "geo_assets.cli.census:census_command",
    "cogs": "geo_assets.cli.census:cogs_command",
    "collections": "geo_assets.cli.catalogue_commands:collections_group",
    "db": "geo_assets.cli.local_services:database_group",
    "deadletters": "geo_assets.cli.deadletters:deadletters_group",
    "deletions": "geo_assets.cli.decisions:deletions_command",
    "demo": "geo_assets.cli.demo:demo_command",
    "export": "geo_assets.cli.catalogue_commands:export_group",
    "items": "geo_assets.cli.catalogue_commands:items_group",
    "orphans": "geo_assets.cli.decisions:orphans_command",
    "paths": "geo_assets.cli.source_commands:paths_command",
    "plan": "geo_assets.cli.source_commands:plan_command",
    "quarantine": "geo_assets.cli.decisions:quarantine_group",
    "repair": "geo_assets.cli.census:repair_command",
    "schemas": "geo_assets.cli.source_commands:schemas_group",
    "serve": "geo_assets.cli.serve:serve_command",
    "sources": "geo_assets.cli.source_commands:sources_command",
    "status": "geo_assets.cli.source_commands:status_command",
    "tables": "geo_assets.cli.catalogue_commands:tables_group",
    "up": "geo_assets.cli.local_services:up_command",
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in alphabetical order."""
        return sorted([*super().list_commands(ctx), *SUBCOMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now; None where there is none of this name."""
        if cmd_name not in SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = SUBCOMMANDS[cmd_name].partition(":")
        gc.disable()  # looking for garbage in what is imported, and stays, takes a third of the time
        try:
            command: click.Command = getattr(import_module(module), attribute)
        finally:
            gc.freeze()
            gc.enable()
        return command

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command; an output that its disk has no room for is an error like any other."""
        with clear_errors(), _output():
            return super().main(*args, **options)


@contextmanager
def _output() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in DISK_IS_FULL or error.filename is not None:
            raise
        with suppress(OSError):  # a test's has no descriptor; Python would try once more, and say so, when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise DiskFull(f"The output cannot be written: {error.strerror}.") from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="geo_assets")
def main() -> None:
    """Keep a STAC catalogue in step with Azure Blob containers: every blob has one item, or one recorded reason."""
