"""geo-assets cogs: how a source's rasters stand with their COGs, why some have none, and files that no COG has."""

from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.assets.cogs import look_at_files, remove_unrecorded
from geo_assets.cli.console import (
    clear_errors,
    console,
    error_console,
    json_option,
    limit_option,
    print_json,
    reason_text,
    shown,
)
from geo_assets.ledger.cogs import CogCounts, StandingCog
from geo_assets.models import SilverFile
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import SilverStore


@click.command("cogs")
@click.argument("source")
@limit_option(20, "rasters")
@click.option("--failed", is_flag=True, help="Show only rasters that have no COG, with the reason")
@click.option("--orphans", is_flag=True, help="List the files in the output location that no COG has")
@click.option("--remove", is_flag=True, help="With --orphans: remove them")
@json_option
def cogs_command(source: str, *, limit: int, failed: bool, orphans: bool, remove: bool, as_json: bool) -> None:
    """Show the COGs of SOURCE: how many are made, linked, refused and to make, and the latest of them.

    They are made by the job make_cogs, which cog_sensor launches. It also removes files that no COG has, if it recorded
    them before they were written. --orphans lists those, and files that were never recorded: `--orphans --remove`
    removes the latter as well if they are older than a day. It works for a source that is no longer declared.
    """
    if remove and not orphans:
        raise click.UsageError("--remove needs --orphans.")
    database = Database()
    if orphans:
        _show_orphans(source, database, remove=remove, as_json=as_json)
        return
    with clear_errors():
        cogs = database.cogs
        counts = cogs.counts(SourcesFile().get(source))
        standing = [cog for cog in cogs.standing(source) if cog.error_code or not failed][:limit]
        number = cogs.orphan_counts().get(source, 0)
    if as_json:
        rasters = [asdict(cog) for cog in standing]
        print_json({"source": source, **asdict(counts), "orphans": number, "rasters": rasters})
        return
    _print(source, counts, standing)
    if number:
        console.print(f"{number:,} files have no COG: see `geo-assets cogs {shown(source)} --orphans`.")


def _show_orphans(source: str, database: Database, *, remove: bool, as_json: bool) -> None:
    silver, removed, left = SilverStore(), list[SilverFile](), dict[str, str]()
    with clear_errors():
        declared = SourcesFile().all().get(source)
        url = declared.cogs.url if declared and declared.cogs else None
        files = look_at_files(source, places=[silver.at(url).place], database=database, silver_store=silver)
        if remove:
            swept = database.cogs.sweep(silver.remove, source=source)
            removed = [*swept.removed, *remove_unrecorded(files, silver_store=silver)]
            left = {place: str(error) for place, error in swept.left.items()}
    gone = {(file.place, file.name_in_place) for file in removed}
    rows = [
        {
            "place": file.place,
            "name": file.name_in_place,
            "recorded": recorded,
            "raster": file.name if recorded else None,
            "since": file.announced_at,
            "removed": (file.place, file.name_in_place) in gone,
        }
        for recorded, listed in ((True, files.orphans), (False, files.unrecorded))
        for file in listed
    ]
    if as_json:
        print_json({"source": source, "orphans": rows, "removed": len(removed), "not_removed": left})
    else:
        _print_orphans(source, rows, left)
    if left:
        raise SystemExit(1)


def _print_orphans(source: str, rows: list[dict[str, Any]], left: dict[str, str]) -> None:
    if not rows:
        console.print(f"{shown(source)}: every file has its COG.")
        return
    table = Table(Column("file", overflow="fold"), Column("place", overflow="fold"), "since", "state")
    for row in rows:
        state = "removed" if row["removed"] else "left by a run" if row["recorded"] else "not recorded"
        table.add_row(shown(row["name"]), shown(row["place"]), f"{row['since']:%Y-%m-%d %H:%M}", state)
    console.print(table)
    for place, error in left.items():
        error_console.print(f"[red]{shown(place)}[/]: {shown(error)}", highlight=False)


def _print(source: str, counts: CogCounts, standing: list[StandingCog]) -> None:
    console.print(
        f"{source}: {counts.made:,} COGs made, {counts.linked:,} rasters are COGs themselves, "
        f"{counts.refused:,} refused, {counts.to_make:,} to make; {counts.size_bytes:,} bytes, "
        f"made of {counts.original_bytes:,}."
    )
    if not standing:
        return
    table = Table(Column("raster", overflow="fold"), "kind", Column("COG, or why there is none", overflow="fold"))
    for cog in standing:
        kind = str((cog.facts or {}).get("kind") or "")
        reason = reason_text(f"{cog.error_code}: {cog.error_message}", cog.error_remedy)
        table.add_row(shown(cog.name), kind, reason if cog.error_code else shown(str(cog.href)))
    console.print(table)
