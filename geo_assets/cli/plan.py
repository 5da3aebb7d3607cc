"""geo-assets plan: what a run over a source would do, without doing it."""

import click
from rich.table import Table

from geo_assets.assets.dry_run import plan_source
from geo_assets.assets.plan import SourcePlan
from geo_assets.cli.console import clear_errors, console, json_option, print_json
from geo_assets.ledger.blobs import Ledger
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.storage.blob_stores import BlobStores


@click.command("plan")
@click.argument("source")
@json_option
def plan_command(source: str, *, as_json: bool) -> None:
    """List SOURCE and show what a run would do: new, changed, deleted and pending blobs, batches and steps."""
    with clear_errors():
        declared = SourcesFile().get(source)
        if as_json:
            plan = plan_source(declared, blob_stores=BlobStores(), ledger=Ledger())
        else:
            with console.status(f"Listing {source}"):
                plan = plan_source(declared, blob_stores=BlobStores(), ledger=Ledger())
    if as_json:
        print_json(plan.as_dict())
    else:
        _print_plan(plan)


def _print_plan(plan: SourcePlan) -> None:
    table = Table("", "", title=f"A run over {plan.source} would find", title_justify="left", show_header=False)
    figures = {
        "new": plan.new,
        "changed": plan.changed,
        "deleted": "not known (limit)" if plan.deleted is None else plan.deleted,
        "unchanged": plan.unchanged,
        "pending from before": plan.pending,
        "bytes of what it would work on": plan.size_bytes,
        "batches": f"{plan.batches:,} of up to {plan.blobs_a_batch:,} blobs",
        "steps": plan.expected_steps,
    }
    for name, figure in figures.items():
        table.add_row(name, figure if isinstance(figure, str) else f"{figure:,}")
    console.print(table)
    console.print("Nothing was done." if plan.blobs or plan.deleted else "Nothing is to be done.")
