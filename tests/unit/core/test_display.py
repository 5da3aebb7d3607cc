"""Foreign text where it is shown: nothing of it is markup, a command, another line, an address or an image."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import geo_assets
from geo_assets.display import MarkdownTable, chat, lines, markdown, one_line

pytestmark = pytest.mark.attack

PACKAGE = Path(geo_assets.__file__).parent
HOSTILE = [
    "![x](http://127.0.0.1:9/x.png)",
    "[click](http://evil.example)",
    "<img src=http://evil.example/x.png>",
    "<script>alert(1)</script>",
    "![x][1]\n\n[1]: http://evil.example/x.png",
    "`code` **bold** _it_ ~~gone~~ # head",
    "a|b|c\\|d",
    "a\r\n| new | row |",
    "https://evil.example/x www.evil.example me@evil.example",
    "<https://evil.example>",
    "&lt;img src=x&gt; &#33;[x](y)",
    "$x^2$ :smile: ==mark==",
    "\\![x](y) \\",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\u202egpj.exe\u2066 \u200b\u2028next \ud800 \x00 \x9b31m",
    "[red]x[/red] [link=http://evil.example]y[/link] [/]",
]


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def as_shown(text: str) -> str:
    """What a reader sees of one-line text in Markdown, which folds spaces."""
    return " ".join(one_line(text).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_the_text_and_nothing_of_it_works(text: str) -> None:
    page = rendered(f"| a |\n|---|\n| {markdown(text)} |\n")
    assert set(re.findall(r"</?(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert page.count("<tr>") == 2
    cell = re.search(r"<td>(.*)</td>", page)
    assert cell is not None
    said = re.sub(
        r"&(lt|gt|amp|quot);", lambda found: {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}[found[1]], cell[1]
    )
    assert " ".join(said.replace("\u2060", "").split()) == as_shown(text)
    assert not re.search(r"://|www\.|@\w", said), "some renderers make a link of it"


@given(st.text(max_size=80))
def test_no_text_is_markup(text: str) -> None:
    page = rendered(f"x {markdown(text)}")
    assert set(re.findall(r"</?(\w+)", page)) == {"p"}
    assert "\n" not in one_line(text)
    assert one_line(one_line(text)) == one_line(text)
    assert lines(lines(text)) == lines(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_is_one_line_without_a_command(text: str) -> None:
    said = one_line(text)
    assert said.isprintable() or "\u2060" in said
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", said)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", lines(text))


def test_a_line_has_a_length() -> None:
    assert len(one_line("x" * 10_000)) == 4_000
    assert one_line("x" * 10, most=5) == "xxxx…"


def test_a_chat_gets_no_mention_no_link_and_no_image() -> None:
    said = chat("<!channel> @here ![x](http://a.example) [y](https://b.example) www.c.example\nnext")
    assert not re.search(r"<|@\w|!\[|\]\(|://|www\.|\n", said)


def test_a_table_escapes_each_cell_and_its_columns() -> None:
    table = MarkdownTable(("name", "#rows"))
    for text in HOSTILE:
        table.add(text, 1)
    page = rendered(str(table))
    assert page.count("<tr>") == len(HOSTILE) + 1
    assert page.count("<td") == 2 * len(HOSTILE)
    with pytest.raises(ValueError, match="cells"):
        table.add("x")


def calls(folder: str) -> list[tuple[str, ast.Call]]:
    """Each call in a folder's modules, with the file it stands in."""
    return [
        (str(path.relative_to(PACKAGE)), node)
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_what_is_logged_of_a_run_goes_through_one_line() -> None:
    raw = [
        f"{file}:{call.lineno}"
        for folder in ("assets", "sensors")
        for file, call in calls(folder)
        if re.search(r"log\.(debug|info|warning|error|exception)$", ast.unparse(call.func))
        and not isinstance(call.args[0], ast.Constant)
        and not ast.unparse(call.args[0]).startswith("one_line(")
    ]
    assert raw == []


def test_markdown_is_made_by_the_table_and_the_picture_alone() -> None:
    made = {
        (file, ast.unparse(call.args[0]).partition("(")[0])
        for file, call in calls(".")
        if ast.unparse(call.func).endswith("MetadataValue.md")
    }
    assert {(file, said if "'" not in said else "picture") for file, said in made} == {
        ("assets/vector_tables.py", "tables_markdown"),
        ("assets/reports.py", "picture"),
    }


def test_markup_of_the_command_line_is_escaped_in_one_place() -> None:
    raw = [
        str(path.relative_to(PACKAGE))
        for path in (PACKAGE / "cli").glob("*.py")
        if "rich.markup" in path.read_text() or re.search(r"\bConsole\(", path.read_text())
    ]
    assert raw == ["cli/console.py"]
