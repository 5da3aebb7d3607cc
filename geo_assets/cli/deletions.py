"""geo-assets deletions: the items whose blobs are gone, and consent where they are many."""

from dataclasses import asdict

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.ledger.blobs import Ledger
from geo_assets.ledger.deletions import Deletions
from geo_assets.resources.sources_file import SourcesFile

REASONS = {
    "held": "awaits consent",
    "in_grace": "in its grace period",
    "renamed": "renamed: the next run withdraws it",
    "refused": "the blob was refused: the next run withdraws it",
    "gone": "the next run withdraws it",
    "unjudged": "the next run judges it",
}


@click.command("deletions")
@click.argument("source")
@click.option("--consent", is_flag=True, help="Approve the held deletions; the next run removes the items")
@click.option("--most", default=20, show_default=True, help="Show at most this many items.")
@json_option
def deletions_command(source: str, *, consent: bool, most: int, as_json: bool) -> None:
    """List items of SOURCE that will be removed or are held; with `--consent`, approve the held ones.

    A run that would remove more items at once than the source's `deletions` allow holds them and fails after all
    else is done. You approve the deletions that are held now: later ones are judged separately.
    """
    ledger = Ledger()
    with clear_errors():
        SourcesFile().get(source)
        released = ledger.consent_to_deletions(source) if consent else 0
        deletions = ledger.deletions(source, most=most)
    if as_json:
        print_json({"source": source, "consented": released, **asdict(deletions)})
        return
    _print_deletions(source, deletions)
    if consent:
        console.print(f"Consented to {released:,} deletions. The next run withdraws their items.")
    elif deletions.held:
        console.print(f"To approve the held deletions: geo-assets deletions {source} --consent")


def _print_deletions(source: str, deletions: Deletions) -> None:
    console.print(
        f"{source}: {deletions.items:,} items; {deletions.held:,} await consent ({deletions.held_share:.0%}), "
        f"{deletions.in_grace:,} are in their grace period, {deletions.due:,} go with the next run."
    )
    if not deletions.first:
        return
    table = Table(Column("blob", overflow="fold"), Column("item", overflow="fold"), "gone since", "state")
    for item in deletions.first:
        since = f"{item.deleted_at:%Y-%m-%d %H:%M}" if item.deleted_at else ""
        table.add_row(shown(item.name), shown(item.item_id), since, REASONS[item.reason])
    console.print(table)
