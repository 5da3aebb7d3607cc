"""geo-assets items: single items of the catalogue, and what people state of them beyond blobs and rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from geo_assets.assets.jobs import ingest_rasters, load_vectors
from geo_assets.cli.console import clear_errors, console, error_console, json_option, limit_option, print_json, shown
from geo_assets.errors import CatalogueRefusal, InvalidPatch
from geo_assets.ledger.curation import StandingPatch
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import read_patches
from geo_assets.stac.schemas import item_validator

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
        with _progress("checked", len(patches)) as (bar, task):
            accepted, refused = store.check(
                declared.name, patches, validator=validator, progress=lambda done: bar.update(task, completed=done)
            )
        if refused:
            for message in refused[:_REFUSALS_SHOWN]:
                error_console.print(shown(message), highlight=False)
            raise InvalidPatch(f"{len(refused):,} of {len(patches):,} lines of {path} are refused.")
        changed = 0
        if not dry_run:
            with _progress("kept", len(patches)) as (bar, task):
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
def _progress(done: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        yield bar, bar.add_task(done, total=total)
