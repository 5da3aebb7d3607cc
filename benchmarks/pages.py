"""The figures that pages show, from results.json: the README's five, the tables of Tuning, the cells of Benchmarks.

Here: which figure goes where, and in which words. Not here: measuring, results.json (`result`), layout (`report`).

`python -m benchmarks.pages` rewrites README.md and docs/tuning.md between their markers; a full `make bench` does too.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import figure_text, write_between_markers

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results.json"
Figures = Mapping[str, Mapping[str, Any]]


def read_figures() -> Figures:
    """Return what results.json has: for each figure its value, ours and the peer's."""
    figures: Figures = json.loads(RESULTS.read_text("utf-8"))
    return figures


def readme_block(figures: Figures) -> str:
    """Return the README's five rows, and what geo_assets does not do well."""
    ours, peer = _sides(figures)
    rows = (
        ("work", "geo_assets", "compared with"),
        ("---", "---", "---"),
        (
            "10,000 new rasters, until each item is searchable",
            f"{ours('ingest_vs_rio_stac')} items/s",
            f"{peer('ingest_vs_rio_stac')}: a script with rio-stac and pypgstac, 8 threads, no checks",
        ),
        (
            "the same container again, nothing changed",
            f"{ours('noop_vs_listing')} s",
            f"{peer('noop_vs_listing')} s: the SDK's listing and Dagster's start alone",
        ),
        (
            "list a million blobs into the ledger",
            f"{ours('listing_1m')} blobs/s",
            f"{peer('listing_1m')}: the Azure SDK's listing, with nothing done to it",
        ),
        (
            "a GeoPackage of a million points into PostGIS",
            f"{ours('vector_vs_ogr2ogr', 'points')} rows/s",
            f"{peer('vector_vs_ogr2ogr', 'points')}: ogr2ogr",
        ),
        (
            "50 callers search 100,000 items, 95th percentile",
            f"{ours('api_search')} ms",
            f"{peer('api_search')} ms: stac-fastapi-pgstac alone",
        ),
    )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return (
        f"{table}\n\n"
        "What it does not do well:\n\n"
        f"- COGs of small rasters: {ours('cogs_parallel')}/s, with every pixel compared, a thumbnail and a record. "
        f"GDAL alone makes {peer('cogs_parallel')}/s.\n"
        f"- Headers: {ours('headers_vs_raw_get')}/s, where bare GETs of the same bytes reach "
        f"{peer('headers_vs_raw_get')}/s.\n"
        f"- Loading items: {ours('load_items_per_s')}/s, with locks and reading back. "
        f"pypgstac alone loads {peer('load_items_per_s')}/s."
    )


def tuning_block(figures: Figures) -> str:
    """Return the two tables of Tuning: what each kind of work costs, and how a run grows."""
    ours, peer = _sides(figures)
    work = (
        ("work", "measured", "bound by"),
        ("---", "---", "---"),
        (
            "listing",
            f"{ours('listing_1m')} blobs/s, {ours('listing_1m_peak_rss')} MiB for a million",
            "the store's pages; against Azure 100 to 300 ms each",
        ),
        (
            "reading headers",
            f"{ours('headers_vs_raw_get')} a second near the store; "
            f"{ours('headers_vs_raw_get_30ms')} with 30 ms of latency, "
            f"where one range at a time gives {peer('latency_30ms_speedup')}",
            "processors, once enough ranges are in flight",
        ),
        (
            "the whole run, 10,000 blobs",
            f"{ours('ingest_vs_rio_stac')} items/s; with `statistics: true` {ours('ingest_stats_vs_rio_stac')}",
            "the store's single process here, then header reading",
        ),
        (
            "loading items",
            f"{ours('load_items_per_s')} a second in calls of 1,000",
            "PostgreSQL; hardly ever the bottleneck",
        ),
        (
            "loading vectors",
            f"{ours('vector_vs_ogr2ogr', 'points')} points or "
            f"{ours('vector_vs_ogr2ogr', 'polygons')} polygons a second",
            "one process per file",
        ),
        (
            "a run over nothing new",
            f"{ours('noop_vs_listing')} s; a bare listing and `hello_world` take {peer('noop_vs_listing')}",
            "Dagster's start",
        ),
    )
    growth = [
        ("blobs in one run", "ms per blob", "most memory, MiB", "rows in Dagster's event log"),
        ("---", "---", "---", "---"),
        *(
            (
                size,
                ours("growth_cost_per_blob", size),
                ours("growth_peak_rss", size),
                ours("growth_event_rows", size),
            )
            for size in figures["growth_cost_per_blob"]["ours"]
        ),
    ]
    tables = ["\n".join(f"| {' | '.join(cells)} |" for cells in rows) for rows in (work, growth)]
    megabytes = figure_text(figures["growth_table_bytes"]["value"] / 1e6)
    return "\n\n".join([*tables, f"10,000 blobs take {megabytes} MB of tables and indexes."])


BLOCKS: Mapping[Path, Callable[[Figures], str]] = {
    PROJECT / "README.md": readme_block,
    PROJECT / "docs" / "tuning.md": tuning_block,
}
"""The pages with a part made from results.json, and what makes it."""


def write_pages() -> None:
    """Rewrite the generated part of each page."""
    figures = read_figures()
    for page, block in BLOCKS.items():
        write_between_markers(page, block(figures))


def _sides(figures: Figures) -> tuple[Callable[..., str], Callable[..., str]]:
    """Return two functions that give a figure as text, of ours and of the peer; by size where there are several."""

    def side(which: str) -> Callable[..., str]:
        def text(name: str, size: str = "") -> str:
            figure = figures[name][which]
            return figure_text(figure[size] if size else figure)

        return text

    return side("ours"), side("peer")


if __name__ == "__main__":
    write_pages()
