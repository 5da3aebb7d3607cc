"""geo-assets collections, tables, items and export: what is in PgSTAC and PostGIS, changing it by hand, files of it.

Here: also what people state of single items beyond blobs and rules. Not here: writing files of the catalogue
(`geo_assets.catalogue`), and what a statement may say (`geo_assets.stac.remarks`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from geo_assets.assets.jobs import ingest_rasters, load_vectors
from geo_assets.assets.ledger_stages import refresh_collection
from geo_assets.catalogue.export import CatalogueReading, read_catalogue
from geo_assets.cli.console import clear_errors, console, error_console, json_option, limit_option, print_json, shown
from geo_assets.errors import CatalogueRefusal, InvalidPatch
from geo_assets.ledger.decisions import StandingPatch
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import read_patches
from geo_assets.stac.schemas import item_validator
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
        _write_progress(reading) as (bar, task),
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
        _write_progress(reading) as (bar, task),
    ):
        items = write_geoparquet(
            reading, path, progress=lambda done, count: bar.update(task, description=done, completed=count)
        )
    console.print(f"{items:,} items of {len(reading.collections)} collections: {shown(str(file))}")


@contextmanager
def _write_progress(reading: CatalogueReading) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield bar, bar.add_task("wrote", total=reading.items)


_REFUSALS_SHOWN = 20


@click.group("items")
def items_group() -> None:
    """Show, patch and delete single items."""


@items_group.command("show")
@click.argument("collection")
@click.argument("item")
def show_item_command(collection: str, item: str) -> None:
    """Print ITEM of COLLECTION as JSON, as it is in PgSTAC."""
    with clear_errors():
        found = Database().collections.item(collection, item)
        if found is None:
            raise CatalogueRefusal(f"Collection `{collection}` has no item `{item}`.")
    print_json(found)


@items_group.command("delete")
@click.argument("collection")
@click.argument("item")
def delete_item_command(collection: str, item: str) -> None:
    """Delete ITEM of COLLECTION. If its blob still exists, the next run makes the item again."""
    with clear_errors():
        Database().collections.delete_item(collection, item, sources=SourcesFile().all())
    console.print(f"Item {shown(item)} of {shown(collection)} is deleted.")


@items_group.command("patch")
@click.argument("source")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='A JSON object a line: {"item": "ID", "properties": {...}}, with "blob" in place of "item" where you like;'
    " or .csv with a column item or blob and a column a property.",
)
@click.option("--dry-run", is_flag=True, help="Check the file and keep nothing")
@json_option
def patch_command(source: str, path: Path, *, dry_run: bool, as_json: bool) -> None:
    """Set properties of items of SOURCE that neither their blobs nor sources.yaml state; null removes one.

    A patch is kept, and is part of its item whenever that is rebuilt. It replaces an earlier patch of the same item.
    If one line is refused, nothing is kept.
    """
    with clear_errors():
        declared, patches = SourcesFile().get(source), list(read_patches(path))
        store, validator = Database().patches, item_validator(Settings().schemas_folder)
        with _check_progress("checked", len(patches)) as (bar, task):
            accepted, refused = store.check(
                declared.name, patches, validator=validator, progress=lambda done: bar.update(task, completed=done)
            )
        if refused:
            for message in refused[:_REFUSALS_SHOWN]:
                error_console.print(shown(message), highlight=False)
            raise InvalidPatch(f"{len(refused):,} of {len(patches):,} lines of {path} are refused.")
        changed = 0
        if not dry_run:
            with _check_progress("kept", len(patches)) as (bar, task):
                changed = store.store(declared.name, accepted, progress=lambda done: bar.update(task, completed=done))
    if as_json:
        print_json({"patches": len(accepted), "changed": changed, "dry_run": dry_run})
    elif dry_run:
        console.print(f"All {len(accepted):,} patches can be applied; nothing was kept.")
    else:
        console.print(
            f"{len(accepted):,} patches are kept; the next {_job(declared)} applies the {changed:,} that are new."
        )


@items_group.command("patches")
@click.argument("source")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove the patch of this item, blob or scene")
@click.option("--remove-all", is_flag=True, help="Remove every patch of the source")
@limit_option(100, "patches")
@json_option
def patches_command(source: str, *, remove: tuple[str, ...], remove_all: bool, limit: int, as_json: bool) -> None:
    """List the patches of SOURCE, or remove some."""
    with clear_errors():
        declared, store = SourcesFile().get(source), Database().patches
        removed = store.remove(declared.name, None if remove_all else remove) if remove or remove_all else None
        standing = store.standing(declared.name, most=limit)
    if as_json:
        print_json({"removed": removed, "patches": [asdict(patch) for patch in standing]})
    elif removed is not None:
        console.print(f"{removed:,} patches are removed; the next {_job(declared)} updates their items.")
    else:
        _print_patches(standing)


def _job(source: Source) -> str:
    """The job that brings patches into the items of ``source``."""
    return (load_vectors if source.tables else ingest_rasters).name


def _print_patches(standing: list[StandingPatch]) -> None:
    if not standing:
        console.print("There are no patches.")
        return
    table = Table(Column("item", overflow="fold"), Column("blob or scene", overflow="fold"), "properties", "since", "")
    for patch in standing:
        table.add_row(
            shown(patch.item_id or "none yet"),
            shown(patch.name),
            shown(", ".join(sorted(patch.patch))),
            f"{patch.patched_at:%Y-%m-%d %H:%M}",
            "pending" if patch.pending else "",
        )
    console.print(table)


@contextmanager
def _check_progress(done: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        yield bar, bar.add_task(done, total=total)
