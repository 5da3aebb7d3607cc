"""geo-assets deletions: the items whose blobs are gone, and approving their removal if they are many."""

from dataclasses import asdict

import click
from rich.table import Column, Table

from geo_assets.cli.console import (
    RenamedOption,
    approve_names,
    clear_errors,
    console,
    json_option,
    limit_option,
    print_json,
    shown,
)
from geo_assets.ledger.curation import Deletions
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile

REASONS = {
    "held": "held: needs approval",
    "in_grace": "in its grace period",
    "renamed": "renamed: the next run removes it",
    "refused": "the blob is quarantined: the next run removes it",
    "gone": "the next run removes it",
    "unjudged": "the next run judges it",
}


@click.command("deletions")
@click.argument("source")
@click.option(*approve_names, cls=RenamedOption, is_flag=True, help="Approve the held deletions")
@limit_option(20, "items")
@json_option
def deletions_command(source: str, *, approve: bool, limit: int, as_json: bool) -> None:
    """List items of SOURCE that will be removed or are held; with `--approve`, approve the held ones.

    A run that would remove more items at once than the source's `deletions` allow holds them and fails after all
    else is done. You approve the deletions that are held now: later ones are judged separately.
    """
    database = Database()
    with clear_errors():
        SourcesFile().get(source)
        released = database.deletions.consent(source) if approve else 0
        deletions = database.deletions.of(source, most=limit)
    if as_json:
        print_json({"source": source, "consented": released, **asdict(deletions)})
        return
    _print_deletions(source, deletions)
    if approve:
        console.print(f"{released:,} deletions are approved. The next run removes their items.")
    elif deletions.held:
        console.print(f"To approve the held deletions: geo-assets deletions {source} --approve")


def _print_deletions(source: str, deletions: Deletions) -> None:
    console.print(
        f"{source}: {deletions.items:,} items; {deletions.held:,} are held ({deletions.held_share:.0%}), "
        f"{deletions.in_grace:,} are in their grace period, {deletions.due:,} are removed by the next run."
    )
    if not deletions.first:
        return
    table = Table(Column("blob", overflow="fold"), Column("item", overflow="fold"), "gone since", "state")
    for item in deletions.first:
        since = f"{item.deleted_at:%Y-%m-%d %H:%M}" if item.deleted_at else ""
        table.add_row(shown(item.name), shown(item.item_id), since, REASONS[item.reason])
    console.print(table)
