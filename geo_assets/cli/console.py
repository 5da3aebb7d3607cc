"""How the command line speaks: one console, errors with their remedy, JSON on request."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from geo_assets.errors import GeoAssetsError

# Where the output goes to a file or a pipe there is no width to fit, so tables need not be squeezed.
_WIDTH_OF_A_LOG = 140

console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_LOG)
error_console = Console(stderr=True, width=None if sys.stderr.isatty() else _WIDTH_OF_A_LOG)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=str))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error of ours as two lines and leave with status 1, instead of a traceback."""
    try:
        yield
    except GeoAssetsError as error:
        error_console.print(f"[bold red]{error.code}[/] {escape(error.message)}", highlight=False)
        if error.remedy:
            error_console.print(f"[dim]→ {escape(error.remedy)}[/]", highlight=False)
        raise SystemExit(1) from error
