"""geo-assets collections: those that are in PgSTAC, and handling them by hand."""

from typing import Any

import click
from rich.table import Column, Table

from geo_assets.assets.stac_collections import refresh_collection
from geo_assets.catalogue.collections import Collections
from geo_assets.catalogue.pgstac import PgStac
from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.errors import CatalogueRefusal
from geo_assets.resources.sources_file import SourcesFile


@click.group("collections")
def collections_group() -> None:
    """List, show, update and delete the collections of the catalogue."""


@collections_group.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the collections with their items and the sources that declare them."""
    with clear_errors():
        stored, sources = Collections().all(), SourcesFile().all().values()
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
    """Print COLLECTION as JSON, as PgSTAC holds it."""
    with clear_errors():
        found = Collections().get(collection)
        if found is None:
            raise CatalogueRefusal(f"there is no collection {collection}.", remedy="See `geo-assets collections list`.")
    print_json(found)


@collections_group.command("update")
@click.argument("source")
def update_command(source: str) -> None:
    """Create or update the collection of SOURCE as sources.yaml states it, with extent and summaries of its items."""
    with clear_errors():
        declared = SourcesFile().get(source)
        extent = refresh_collection(declared, pgstac=PgStac(), collections=Collections(), summarize=True)
    console.print(f"Collection {declared.collection.id} is as sources.yaml states it, with {extent.items:,} items.")


@collections_group.command("delete")
@click.argument("collection")
@click.option("--with-items", is_flag=True, help="Delete its items too.")
def delete_command(collection: str, *, with_items: bool) -> None:
    """Delete COLLECTION; a protected one is refused. Where a source still declares it, the next run makes it anew."""
    with clear_errors():
        items = Collections().delete(collection, sources=SourcesFile().all(), with_items=with_items)
    console.print(f"Collection {shown(collection)} and its {items:,} items are deleted.")
