"""geo-assets cogs: how a source's rasters stand with their COGs, and why some have none."""

from dataclasses import asdict

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.resources.cog_ledger import CogCounts, CogLedger, StandingCog
from geo_assets.resources.sources_file import SourcesFile


@click.command("cogs")
@click.argument("source")
@click.option("--most", default=20, show_default=True, help="Show at most this many rasters.")
@click.option("--failed", is_flag=True, help="Show only rasters that have no COG, with the reason.")
@json_option
def cogs_command(source: str, *, most: int, failed: bool, as_json: bool) -> None:
    """Show the COGs of SOURCE: how many are made, linked, refused and to make, and the latest of them.

    They are made by the job make_cogs, which cog_sensor asks for.
    """
    ledger = CogLedger()
    with clear_errors():
        counts = ledger.counts(SourcesFile().get(source))
        standing = [cog for cog in ledger.standing(source) if cog.error_code or not failed][:most]
    if as_json:
        print_json({"source": source, **asdict(counts), "rasters": [asdict(cog) for cog in standing]})
        return
    _print(source, counts, standing)


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
        said = f"{cog.error_code}: {cog.error_message}" if cog.error_code else str(cog.href)
        table.add_row(shown(cog.name), kind, shown(said))
    console.print(table)
