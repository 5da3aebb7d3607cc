"""geo-assets orphans: what sources left that sources.yaml no longer declares, and adopting or removing it."""

from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.catalogue.handover import FormerSource
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
from geo_assets.ledger.schema import check_schema
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile


@click.command("orphans")
@click.argument("source", required=False)
@click.option("--adopt", metavar="NEW", help="Make SOURCE part of the declared source NEW with the same location")
@click.option(
    "--remove",
    "--withdraw",
    "remove",
    cls=RenamedOption,
    is_flag=True,
    help="Remove the items and tables of SOURCE; needs --approve",
)
@click.option(*approve_names, cls=RenamedOption, is_flag=True, help="With --remove: approve it")
@limit_option(20, "items of SOURCE")
@json_option
def orphans_command(
    source: str | None, *, adopt: str | None, remove: bool, approve: bool, limit: int, as_json: bool
) -> None:
    """List the items and tables of sources that sources.yaml no longer declares, or of SOURCE, which is one of them.

    A declared source with the same blobs adopts them with its next listing; renaming a source needs nothing else. What
    no source adopts stays in the catalogue until you adopt or remove it. Adopted blobs that are gone are deletions of
    the adopting source, by its own settings.
    """
    if source is None and (adopt or remove):
        raise click.UsageError("--adopt and --remove need a SOURCE.")
    if (adopt and remove) or (approve and not remove):
        raise click.UsageError("Use --adopt NEW, or --remove --approve.")
    database = Database()
    with clear_errors():
        handover = database.handover
        check_schema(handover.connections)
        declared = SourcesFile().all()
        if source is None:
            _show_all(handover.former_sources(declared), as_json=as_json)
            return
        former = handover.former_source(source, declared)
        answer: dict[str, Any] = {**asdict(former), "adopted": 0, "withdrawn": 0}
        if adopt:
            heir = SourcesFile().get(adopt)
            database.sources.register(heir)
            answer["adopted"] = handover.adopt(heir, former)
        elif remove:
            answer["withdrawn"] = handover.withdraw_former(former, declared, consent=approve)
            database.tables.drop_unclaimed(source)
            handover.forget_source(source)
        else:
            answer["first"] = handover.former_items(source, most=limit)
    if as_json:
        print_json(answer)
    elif adopt:
        console.print(f"{shown(adopt)} adopted {answer['adopted']:,} blobs; its next run updates their items.")
    elif remove:
        console.print(f"{answer['withdrawn']:,} items and {former.tables:,} tables of {shown(source)} were removed.")
    else:
        _show_one(former, answer["first"])


def print_former_sources(formers: list[FormerSource]) -> None:
    """A line for each source that is no longer declared and left items or tables."""
    for former in formers:
        console.print(
            f"{shown(former.source)} is no longer declared, left {former.items:,} items, {former.tables:,} tables. "
            f"See `geo-assets orphans {shown(former.source)}`.",
            highlight=False,
        )


def _show_all(formers: list[FormerSource], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(former) for former in formers])
        return
    if not formers:
        console.print("Every item and table belongs to a declared source.")
    print_former_sources(formers)


def _show_one(former: FormerSource, items: list[dict[str, str]]) -> None:
    print_former_sources([former])
    table = Table(Column("blob or scene", overflow="fold"), Column("item", overflow="fold"), "collection")
    for item in items:
        table.add_row(shown(item["name"]), shown(item["item_id"]), item["collection_id"])
    console.print(table)
    console.print(
        f"To adopt them, declare a source for {shown(former.url)}, or use --adopt NEW. "
        "To remove them, use --remove --approve.",
        highlight=False,
    )
