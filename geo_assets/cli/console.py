"""How the command line speaks: one console, errors with their remedy, JSON on request."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks

from geo_assets.display import lines, one_line
from geo_assets.errors import GeoAssetsError

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)

# Where the output goes to a file or a pipe there is no width to fit, so tables need not be squeezed.
_WIDTH_OF_A_LOG = 140


class PlainConsole(Console):
    """A console to which no text can send a terminal's commands: what is not seen is written as an escape."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of the library, whose styles become commands later, and whose texts never."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(lines(segment.text), segment.style)


console = PlainConsole(width=None if sys.stdout.isatty() else _WIDTH_OF_A_LOG)
error_console = PlainConsole(stderr=True, width=None if sys.stderr.isatty() else _WIDTH_OF_A_LOG)

# Retries are told of on standard error, as logs are: standard output has the answer, which may be JSON.
set_on_retry_hooks([LoggingOnRetryHook])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else")


class RenamedOption(click.Option):
    """An option with former names, which are still accepted: help shows the first name only."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the words of its help, without the former names."""
        names = self.opts
        self.opts = names[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def limit_option(default: int, what: str) -> Callable[[FC], FC]:
    """Return the option `--limit` of a command that shows at most this many of ``what``."""
    words = f"Show at most this many {what}"
    return click.option(
        "--limit", "--most", "limit", cls=RenamedOption, default=default, show_default=True, metavar="N", help=words
    )


approve_names = ("--approve", "--consent", "approve")


def reason_text(message: str, remedy: str | None) -> str:
    """Return a reason and, on a line of its own, what to do about it, as a cell of a table shows them."""
    return f"{shown(message)}\n→ {shown(remedy)}" if remedy else shown(message)


def shown(text: object) -> str:
    """Foreign text for the console: on one line, and none of it markup."""
    return escape(one_line(text))


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=str))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error of ours as two lines and leave with status 1, instead of a traceback."""
    try:
        yield
    except GeoAssetsError as error:
        print_error(error)
        raise SystemExit(1) from error


def print_error(error: GeoAssetsError) -> None:
    """What is wrong and what to do, on standard error."""
    error_console.print(f"[bold red]{error.code}[/] {shown(error.message)}", highlight=False)
    if error.remedy:
        error_console.print(f"[dim]→ {shown(error.remedy)}[/]", highlight=False)
