"""The console of the command line: foreign text is shown, and commands neither it nor the terminal."""

import io
import json

import click
import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.text import Text

from geo_assets.cli.console import PlainConsole, RenamedOption, limit_option, print_json, shown

NAME = "[red]x[/] [link=http://evil.example]y[/link] \x1b]8;;http://evil.example\x07z\x1b[2J \u202egpj.exe\nnext: fine"
SEEN = NAME.replace("\x1b", r"\x1b").replace("\x07", r"\x07").replace("\u202e", r"\u202e").replace("\n", r"\n")


def printed(*things: object, terminal: bool) -> str:
    out = io.StringIO()
    console = PlainConsole(file=out, width=300, force_terminal=terminal, color_system="truecolor" if terminal else None)
    for each in things:
        console.print(each)
    return out.getvalue()


def test_a_name_is_shown_as_it_is_and_on_one_line() -> None:
    assert printed(f"blob: {shown(NAME)}", terminal=False) == f"blob: {SEEN}\n"
    table = Table("name")
    table.add_row(shown(NAME))
    assert SEEN in printed(table, terminal=False)


def test_text_that_was_not_escaped_sends_no_command_to_a_terminal() -> None:
    said = printed(Text(NAME), f"[bold]{NAME}", terminal=True)
    assert "\x1b[1m" in said, "styles are the console's own"
    for command in ("\x1b[2J", "\x1b]8;;http://evil.example\x07z", "\u202e", "\x07"):
        assert command not in said


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": NAME})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": NAME}
    assert "\x1b" not in out
    assert "\u202e" not in out


@click.command()
@limit_option(20, "items")
@click.option("--approve", "--consent", "approve", cls=RenamedOption, is_flag=True, help="Approve it")
def renamed(*, limit: int, approve: bool) -> None:
    click.echo(f"{limit} {approve}")


def test_former_names_of_options_are_accepted_and_not_shown() -> None:
    run = CliRunner().invoke
    assert run(renamed, ["--most", "3", "--consent"]).output == run(renamed, ["--limit", "3", "--approve"]).output
    help_text = run(renamed, ["--help"]).output
    assert "--limit N" in help_text
    assert "--approve" in help_text
    assert "--most" not in help_text
    assert "--consent" not in help_text
