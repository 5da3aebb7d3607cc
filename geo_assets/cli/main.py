"""The command `geo-assets`: its subcommands by name, each imported only when it is used."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from textwrap import shorten
from typing import Any

import click

from geo_assets.cli.console import clear_errors
from geo_assets.errors import DiskFull
from geo_assets.foreign_errors import DISK_IS_FULL

# Dagster, GDAL and matplotlib take seconds to import; `geo-assets db url` should not wait for them.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "alerts": ("geo_assets.cli.alerts:alerts_group", "List current alerts, and test the destinations of alerts."),
    "census": (
        "geo_assets.cli.census:census_command",
        "Check that blobs, items and tables agree, for SOURCE or all sources.",
    ),
    "cogs": (
        "geo_assets.cli.census:cogs_command",
        "Show the COGs of SOURCE: how many are made, linked, refused and to make, and the latest of them.",
    ),
    "collections": (
        "geo_assets.cli.catalogue_commands:collections_group",
        "List, show, update and delete the collections of the catalogue.",
    ),
    "db": ("geo_assets.cli.local_services:database_group", "Start, stop and migrate the database of the catalogue."),
    "deadletters": (
        "geo_assets.cli.deadletters:deadletters_group",
        "List, show, replay and drop dead letters of event queues.",
    ),
    "deletions": (
        "geo_assets.cli.decisions:deletions_command",
        "List items of SOURCE that will be removed or are held; with `--approve`, approve the held ones.",
    ),
    "demo": (
        "geo_assets.cli.demo:demo_command",
        "Write a small container of rasters, ingest it with the real job, and show the result.",
    ),
    "export": ("geo_assets.cli.catalogue_commands:export_group", "Write the catalogue to files."),
    "items": ("geo_assets.cli.catalogue_commands:items_group", "Show, patch and delete single items."),
    "orphans": (
        "geo_assets.cli.decisions:orphans_command",
        "List the items and tables of sources that sources.yaml no longer declares, or of one former SOURCE.",
    ),
    "paths": (
        "geo_assets.cli.source_commands:paths_command",
        "Compare the channels (listing, Storage Queue, Service Bus): messages, retries, dead letters, and latency.",
    ),
    "plan": (
        "geo_assets.cli.source_commands:plan_command",
        "List SOURCE and show what a run would do: new, changed, deleted and pending blobs, batches and steps.",
    ),
    "quarantine": (
        "geo_assets.cli.decisions:quarantine_group",
        "List, explain and replay blobs whose present version cannot have an item.",
    ),
    "repair": ("geo_assets.cli.census:repair_command", "Repair what `census` finds, for SOURCE or all sources."),
    "schemas": (
        "geo_assets.cli.source_commands:schemas_group",
        "The JSON schemas that every item is checked against before it is loaded.",
    ),
    "serve": (
        "geo_assets.cli.serve:serve_command",
        "Serve STAC, tiles, features, jobs and the map until Ctrl-C (see docs/guides/api.md).",
    ),
    "sources": (
        "geo_assets.cli.source_commands:sources_command",
        "List the sources of sources.yaml and check that each can be reached.",
    ),
    "status": (
        "geo_assets.cli.source_commands:status_command",
        "Show how many blobs of SOURCE (or of each source) are in which state, and why some have no item.",
    ),
    "tables": ("geo_assets.cli.catalogue_commands:tables_group", "List and drop the tables that vector files became."),
    "up": (
        "geo_assets.cli.local_services:up_command",
        "Run PostgreSQL, Dagster's web UI and its sensors, and the API with the map until Ctrl-C.",
    ),
}
"""Where each subcommand is, and the first line of its help, which the list of all shows."""


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in alphabetical order."""
        return sorted([*super().list_commands(ctx), *SUBCOMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now; None where there is none of this name."""
        if cmd_name not in SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = SUBCOMMANDS[cmd_name][0].partition(":")
        gc.disable()  # looking for garbage in what is imported, and stays, takes a third of the time
        try:
            command: click.Command = getattr(import_module(module), attribute)
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of subcommands, of which it imports none."""
        width = formatter.width - 6 - max(len(name) for name in SUBCOMMANDS)
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, shorten(words, width, placeholder="...")) for name, (_, words) in sorted(SUBCOMMANDS.items())]
            )

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
