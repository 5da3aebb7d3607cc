"""geo-assets tables: what vector files became, and taking it away by hand."""

from dataclasses import asdict

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.vectors.tables import VectorTables


@click.group("tables")
def tables_group() -> None:
    """List and drop the tables that vector files became."""


@tables_group.command("list")
@click.argument("source", required=False)
@json_option
def list_command(source: str | None, *, as_json: bool) -> None:
    """List the tables of SOURCE, or of all sources, with their files and what was repaired and left out."""
    with clear_errors():
        tables = VectorTables().tables(source)
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
def drop_command(source: str, file: str) -> None:
    """Drop the tables of FILE of SOURCE and withdraw their items; while the file is there, the next run loads it."""
    with clear_errors():
        dropped = VectorTables().drop(SourcesFile().get(source), file)
    console.print(f"Dropped: {', '.join(dropped)}; the items are withdrawn.")
