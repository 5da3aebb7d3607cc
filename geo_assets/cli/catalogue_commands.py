"""geo-assets collections, tables and export: what is in PgSTAC and PostGIS, handling it by hand, and files of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from geo_assets.assets.ledger_stages import refresh_collection
from geo_assets.catalogue.export import CatalogueReading, read_catalogue
from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.errors import CatalogueRefusal
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.storage.scratch import appearing_whole


@click.group("collections")
def collections_group() -> None:
    """List, show, update and delete the collections of the catalogue."""


@collections_group.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the collections with their items and the sources that declare them."""
    with clear_errors():
        stored, sources = Database().collections.all(), SourcesFile().all().values()
    rows: list[dict[str, Any]] = [
        {
            "id": collection.id,
            "title": collection.title,
            "items": collection.items,
            "sources": [source.name for source in sources if source.collection.id == collection.id],
            "protected": any(s.collection.protected for s in sources if s.collection.id == collection.id),
        }
        for collection in stored
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("collection", "title", Column("items", justify="right"), "sources", "protected")
    for row in rows:
        protected = "yes" if row["protected"] else ""
        sources_of = ", ".join(row["sources"]) or "none"
        table.add_row(shown(row["id"]), shown(row["title"] or ""), f"{row['items']:,}", sources_of, protected)
    console.print(table)


@collections_group.command("show")
@click.argument("collection")
def show_command(collection: str) -> None:
    """Print COLLECTION as JSON, as it is in PgSTAC."""
    with clear_errors():
        found = Database().collections.get(collection)
        if found is None:
            raise CatalogueRefusal(
                f"Collection `{collection}` does not exist.", remedy="List them with `geo-assets collections list`."
            )
    print_json(found)


@collections_group.command("update")
@click.argument("source")
def update_command(source: str) -> None:
    """Create or update the collection of SOURCE as sources.yaml states it, with extent and summaries of its items."""
    with clear_errors():
        declared = SourcesFile().get(source)
        extent = refresh_collection(declared, database=Database(), summarize=True)
    console.print(f"Collection {declared.collection.id} is as sources.yaml states it, with {extent.items:,} items.")


@collections_group.command("delete")
@click.argument("collection")
@click.option("--with-items", is_flag=True, help="Delete its items too")
def delete_command(collection: str, *, with_items: bool) -> None:
    """Delete COLLECTION unless it is protected. If a source still declares it, the next run creates it again."""
    with clear_errors():
        items = Database().collections.delete(collection, sources=SourcesFile().all(), with_items=with_items)
    console.print(f"Collection {shown(collection)} and its {items:,} items are deleted.")


@click.group("tables")
def tables_group() -> None:
    """List and drop the tables that vector files became."""


@tables_group.command("list")
@click.argument("source", required=False)
@json_option
def list_tables_command(source: str | None, *, as_json: bool) -> None:
    """List the tables of SOURCE, or of all sources, with their files and what was repaired and left out."""
    with clear_errors():
        tables = Database().tables.all(source)
    if as_json:
        print_json([asdict(each) for each in tables])
        return
    if not tables:
        console.print("There are no tables.")
        return
    right = ("rows", "repaired", "rejected")
    listed = Table(
        "source", Column("file", overflow="fold"), "layer", "table", *(Column(name, justify="right") for name in right)
    )
    for each in tables:
        counts = (each.rows, each.repaired, sum(each.rejected.values()))
        listed.add_row(
            each.source, shown(each.name), shown(each.layer), each.table, *(f"{count:,}" for count in counts)
        )
    console.print(listed)


@tables_group.command("drop")
@click.argument("source")
@click.argument("file")
def drop_table_command(source: str, file: str) -> None:
    """Drop the tables of FILE of SOURCE and remove their items. If the file still exists, the next run loads it."""
    with clear_errors():
        dropped = Database().tables.drop(SourcesFile().get(source), file)
    console.print(f"Dropped: {', '.join(dropped)}; the items are removed.")


collection_option = click.option(
    "--collection", "collections", multiple=True, metavar="ID", help="Only this collection; repeatable"
)


@click.group("export")
def export_group() -> None:
    """Write the catalogue to files."""


@export_group.command("stac")
@click.argument("folder", type=click.Path(path_type=Path))
@collection_option
def stac_command(folder: Path, *, collections: tuple[str, ...]) -> None:
    """Write a static STAC catalogue into FOLDER, a new or empty one: catalog.json, collections and items."""
    from geo_assets.catalogue.export import write_static_catalog

    with (
        clear_errors(),
        read_catalogue(Database().connections, *collections) as reading,
        _progress(reading) as (bar, task),
    ):
        items = write_static_catalog(reading, folder, progress=lambda done: bar.update(task, completed=done))
    console.print(f"{items:,} items in {len(reading.collections)} collections: {shown(str(folder / 'catalog.json'))}")


@export_group.command("geoparquet")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@collection_option
def geoparquet_command(file: Path, *, collections: tuple[str, ...]) -> None:
    """Write the items as stac-geoparquet to FILE, replacing an older one when the new one is complete."""
    from geo_assets.catalogue.export import write_geoparquet

    with (
        clear_errors(),
        appearing_whole(file) as path,
        read_catalogue(Database().connections, *collections) as reading,
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
