"""`python -m benchmarks [--quick] [NAMES...]`: take the figures, show them, and write them down."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmarks import (
    api_search,
    cogs,
    growth,
    headers,
    ingest,
    listing,
    load_items,
    noop,
    step_per_file,
    steps,
    vectors,
)
from benchmarks.growth_plot import plot_growth
from benchmarks.pages import write_pages
from benchmarks.report import markdown_table, rich_table, write_between_markers
from benchmarks.result import BenchmarkFailed, Result, write_results
from benchmarks.world import Context, open_context
from geo_assets.errors import GeoAssetsError

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results.json"
PAGE = FOLDER.parent / "docs" / "benchmarks.md"
PLOT = FOLDER.parent / "docs" / "images" / "growth.png"
FAILED = "failed: see the output"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measurement: the figures it gives, and how they are taken."""

    names: tuple[str, ...]
    run: Callable[[Context], list[Result]]


BENCHMARKS = (
    Benchmark(steps.NAMES, steps.run),
    Benchmark(headers.NAMES, headers.run),
    Benchmark(ingest.NAMES, ingest.run),
    Benchmark(step_per_file.NAMES, step_per_file.run),
    Benchmark(noop.NAMES, noop.run),
    Benchmark(load_items.NAMES, load_items.run),
    Benchmark(listing.NAMES, listing.run),
    Benchmark(vectors.NAMES, vectors.run),
    Benchmark(cogs.NAMES, cogs.run),
    Benchmark(api_search.NAMES, api_search.run),
    Benchmark(growth.NAMES, growth.run),
)
ALL_NAMES = tuple(name for benchmark in BENCHMARKS for name in benchmark.names)

console = Console(width=None if sys.stdout.isatty() else 160)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(ALL_NAMES), metavar="[NAMES]...")
@click.option("--quick", is_flag=True, help="Small sizes: a few minutes instead of some twenty.")
@click.option("--docs/--no-docs", default=None, help="Rewrite the pages and the plot (default: a full run does).")
def main(names: Sequence[str], quick: bool, docs: bool | None) -> None:
    """Measure geo_assets against what one would write instead; NAMES picks some of the figures."""
    chosen = [benchmark for benchmark in BENCHMARKS if not names or set(names) & set(benchmark.names)]
    began = time.perf_counter()
    with open_context(quick=quick, say=lambda text: console.print(f"[dim]{text}[/]")) as context:
        console.print(f"[dim]PostgreSQL and Azurite are up after {time.perf_counter() - began:.0f} s[/]")
        results = [result for benchmark in chosen for result in _take(benchmark, context)]
        write_results(RESULTS, results, keep_others=bool(names))
        console.print(rich_table(results))
        console.print(f"[dim]{time.perf_counter() - began:.0f} s in all; written to benchmarks/{RESULTS.name}[/]")
        if docs if docs is not None else not (quick or names):
            write_between_markers(PAGE, describe(results, quick=quick))
            if not quick and all(result.value is not None for result in results):
                write_pages()
            if points := context.measured(growth.POINTS):
                plot_growth(points, PLOT)
    if any(result.note == FAILED for result in results):
        raise SystemExit(1)


def _take(benchmark: Benchmark, context: Context) -> list[Result]:
    """The figures of one benchmark; where it fails, that is what they say, and the others go on."""
    began = time.perf_counter()
    try:
        results = benchmark.run(context)
    except (BenchmarkFailed, GeoAssetsError) as error:
        console.print(f"[red]{', '.join(benchmark.names)}: {escape(str(error))}[/]", highlight=False)
        return [Result(name, None, "", note=FAILED) for name in benchmark.names]
    console.print(f"[dim]{', '.join(benchmark.names)}: {time.perf_counter() - began:.0f} s[/]")
    return results


def describe(results: Sequence[Result], *, quick: bool) -> str:
    """The generated part of docs/benchmarks.md: where and how it was measured, and the table."""
    kind = "A quick run (`make bench QUICK=1`), whose sizes are too small for the targets" if quick else "A full run"
    machine = f"{os.cpu_count()} cores, which PostgreSQL, Azurite and the benchmark share"
    table = markdown_table([result.rounded() for result in results])
    return f"{kind}. Taken on {datetime.now(UTC):%Y-%m-%d} on {machine}.\n\n{table}"


if __name__ == "__main__":
    main()
