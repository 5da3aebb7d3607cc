"""geo-assets demo: the main job, from a folder of rasters to a catalogue, on an empty machine."""

import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from geo_assets.assets.pictures import draw_footprints
from geo_assets.catalogue.pgstac import PgStac
from geo_assets.cli.console import clear_errors, console, shown
from geo_assets.cli.dagster_process import dagster_process, job_arguments, log_file
from geo_assets.cli.database_commands import migrate_databases
from geo_assets.cli.demo_rasters import write_demo_container
from geo_assets.cli.source_commands import print_failures, print_statuses
from geo_assets.errors import InvalidConfiguration, PermanentError
from geo_assets.file_errors import writing
from geo_assets.ledger.blobs import Ledger
from geo_assets.postgres.databases import databases_running
from geo_assets.settings import Settings, project_folder
from geo_assets.sources.source import get_source

DEMO_SOURCE = "demo"
JOB = "ingest_rasters"
MOST_ITEMS = 1000


class JobFailed(PermanentError):
    """The job ended with another status than 0."""

    code = "job_failed"


@click.command("demo")
def demo_command() -> None:
    """Write a small container of rasters, ingest it with the real job, and show what came of it."""
    settings = Settings(GEO_ASSETS_SOURCES=project_folder() / "sources.yaml")
    with clear_errors():
        source = get_source(settings.sources_file, DEMO_SOURCE)
        if source.folder is None:
            raise InvalidConfiguration(f"source {DEMO_SOURCE} is no folder.", remedy="Give it a file: url.")
        _write_container(source.folder)
        with console.status("Starting PostgreSQL") as status, databases_running(settings):
            status.update("Migrating the database")
            migrate_databases(settings)
            status.stop()
            started_at = Ledger().now()
            _run_job(settings, DEMO_SOURCE)
            _show(settings, DEMO_SOURCE, since=started_at)


def _write_container(folder: Path) -> None:
    with console.status("Writing rasters"), writing(folder):
        written = write_demo_container(folder)
    console.print(f"Container: {folder} ({written} files written)")


def _run_job(settings: Settings, source: str) -> None:
    """Run the job as a user would, showing the ledger's counts while it works."""
    arguments = job_arguments(JOB, source=source)
    command = subprocess.list2cmdline(arguments[:-1])
    console.print(f"Job:       {command} '{arguments[-1]}'", soft_wrap=True, highlight=False)
    console.print(f"Log:       {log_file(settings, JOB)}")
    ledger = Ledger()
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        dagster_process(settings, *arguments, log_name=JOB) as process,
    ):
        described = progress.add_task("Described", total=None)
        catalogued = progress.add_task("Catalogued", total=None)
        while process.poll() is None:
            status = ledger.status(source)
            progress.update(described, total=status.blobs or None, completed=status.blobs - status.pending)
            progress.update(catalogued, total=status.blobs or None, completed=status.catalogued)
            time.sleep(0.5)
    if process.returncode != 0:
        raise JobFailed(f"{JOB} ended with status {process.returncode}.", remedy=f"See {log_file(settings, JOB)}.")


def _show(settings: Settings, source: str, *, since: datetime) -> None:
    ledger = Ledger()
    status, items = ledger.status(source), PgStac().items_of(source, most=MOST_ITEMS)
    console.print(_items_table(items))
    print_failures(ledger.failures(source))
    print_statuses([status])
    console.print(f"This run catalogued {ledger.catalogued_since(source, since)} items.")
    picture = settings.state_folder / "demo" / "footprints.png"
    with console.status("Drawing footprints"), writing(picture):
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(draw_footprints([item["geometry"] for item in items], title=f"{len(items)} items"))
    console.print(f"Footprints: {picture}")
    console.print("Next step:  [bold]make up[/] shows the same in Dagster, and keeps it up to date.")


def _items_table(items: list[dict[str, Any]]) -> Table:
    wide = console.width >= 110
    table = Table(Column("item", overflow="fold"), "date", "from", "CRS", "bands", title="Items", title_justify="left")
    if wide:
        table.add_column("west, south, east, north")
    for item in items:
        properties, bands = item["properties"], item["assets"]["data"]["bands"]
        row = [
            shown(item["id"]),
            properties["datetime"][:10],
            properties["geo_assets:datetime_source"].split(" ")[0],
            properties.get("proj:code") or "no code",
            f"{len(bands)} × {bands[0]['data_type']}",
        ]
        table.add_row(*row, *([", ".join(f"{degrees:.2f}" for degrees in item["bbox"])] if wide else []))
    return table
