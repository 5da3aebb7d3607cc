"""geo-assets paths: listing, Storage Queue and Service Bus side by side."""

from datetime import UTC, datetime, timedelta

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, print_json
from geo_assets.ledger.path_comparison import PathComparison

_SECONDS = ("latency_p50", "latency_p95", "latency_max", "seconds_a_thousand")


@click.command("paths")
@click.option("--hours", default=24.0, show_default=True, help="What came in within so many hours until now.")
@json_option
def paths_command(*, hours: float, as_json: bool) -> None:
    """Compare the paths by which blobs became known: messages, retries, dead letters, and time from event to item."""
    with clear_errors():
        paths = PathComparison().compare(since=datetime.now(UTC) - timedelta(hours=hours))
    answers = [path.as_dict() for path in paths]
    if as_json:
        print_json(answers)
        return
    # A row a figure: eleven columns would not fit into a terminal.
    table = Table("", *[Column(path.path.replace("_", " "), justify="right") for path in paths])
    for name in answers[0]:
        if name != "path":
            label = name.replace("_", " ") + (", s" if name in _SECONDS else "")
            table.add_row(label, *["–" if answer[name] is None else f"{answer[name]:,}" for answer in answers])
    console.print(table)
