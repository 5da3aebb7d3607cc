"""The results as people read them: a table on the terminal, and the same in a Markdown file.

Here: words and layout. Not here: the figures themselves (`result`), the plot (`growth_plot`).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.result import Figure, Result

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
COLUMNS = ("figure", "value", "target", "ok", "ours", "peer", "unit")


def row(result: Result) -> tuple[str, ...]:
    """One result as the cells of `COLUMNS`."""
    return (
        result.name,
        result.note or "not measured" if result.value is None else figure_text(result.value),
        str(result.target) if result.target else "",
        ("yes" if result.ok else "no") if result.target or result.value is None else "",
        figure_text(result.ours),
        figure_text(result.peer),
        result.unit,
    )


def figure_text(figure: Figure) -> str:
    """A figure in three significant digits, or whole from 100 on; by size where there is one for each."""
    if figure is None:
        return ""
    if isinstance(figure, Mapping):
        return ", ".join(f"{size}: {figure_text(number)}" for size, number in figure.items())
    return f"{math.floor(figure + 0.5):,}" if abs(figure) >= 100 else f"{figure:.3g}"


def rich_table(results: Sequence[Result]) -> Table:
    """The table for a terminal."""
    table = Table(*COLUMNS, title="Benchmarks")
    for result in results:
        table.add_row(*row(result), style="" if result.ok else "red")
    return table


def markdown_table(results: Sequence[Result]) -> str:
    """The table for a Markdown file, with a line's end."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(result) for result in results)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def replace_between_markers(text: str, block: str) -> str:
    """``text`` with ``block`` in the place between the markers. Raises ValueError where they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: it goes between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{after}"


def write_between_markers(path: Path, block: str) -> None:
    """Rewrite the generated part of the file at ``path``."""
    path.write_text(replace_between_markers(path.read_text("utf-8"), block), "utf-8")
