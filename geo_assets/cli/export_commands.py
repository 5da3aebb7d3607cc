"""geo-assets export: the catalogue as files that need no database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from geo_assets.catalogue.pgstac import PgStac
from geo_assets.catalogue.reading import CatalogueReading, read_catalogue
from geo_assets.cli.console import clear_errors, console, shown
from geo_assets.storage.scratch import appearing_whole

collection_option = click.option(
    "--collection", "collections", multiple=True, metavar="ID", help="Only this collection (may be given again)."
)


@click.group("export")
def export_group() -> None:
    """Write the catalogue to files."""


@export_group.command("stac")
@click.argument("folder", type=click.Path(path_type=Path))
@collection_option
def stac_command(folder: Path, *, collections: tuple[str, ...]) -> None:
    """Write a static STAC catalogue into FOLDER, a new or empty one: catalog.json, collections and items."""
    from geo_assets.catalogue.static_catalog import write_static_catalog

    with clear_errors(), read_catalogue(PgStac(), *collections) as reading, _progress(reading) as (bar, task):
        items = write_static_catalog(reading, folder, progress=lambda done: bar.update(task, completed=done))
    console.print(f"{items:,} items in {len(reading.collections)} collections: {shown(str(folder / 'catalog.json'))}")


@export_group.command("geoparquet")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@collection_option
def geoparquet_command(file: Path, *, collections: tuple[str, ...]) -> None:
    """Write the items as stac-geoparquet to FILE, replacing an older one when the new one is whole."""
    from geo_assets.catalogue.geoparquet_file import write_geoparquet

    with (
        clear_errors(),
        appearing_whole(file) as path,
        read_catalogue(PgStac(), *collections) as reading,
        _progress(reading) as (bar, task),
    ):
        items = write_geoparquet(
            reading, path, progress=lambda done, count: bar.update(task, description=done, completed=count)
        )
    console.print(f"{items:,} items of {len(reading.collections)} collections: {shown(str(file))}")


@contextmanager
def _progress(reading: CatalogueReading) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield bar, bar.add_task("wrote", total=reading.items)
