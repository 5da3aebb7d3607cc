"""The picture of what a run costs as the number of blobs grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """What one run of ingest_rasters over ``blobs`` new blobs took; table bytes by schema."""

    blobs: int
    seconds: float
    peak_rss_bytes: int
    event_rows: int
    table_bytes: dict[str, int]


def plot_growth(points: Sequence[GrowthPoint], path: Path) -> None:
    """Draw time, memory, event rows and table size against the number of blobs into a PNG."""
    blobs = [point.blobs for point in points]
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2)
    _line(axes[0, 0], blobs, [point.seconds for point in points], title="Time, Dagster's start included (s)")
    _line(axes[0, 1], blobs, [point.peak_rss_bytes / 2**20 for point in points], title="Peak memory of the run (MiB)")
    _line(axes[1, 0], blobs, [point.event_rows for point in points], title="Rows of Dagster's event log")
    tables = axes[1, 1]
    for schema in points[0].table_bytes:
        tables.plot(blobs, [point.table_bytes[schema] / 2**20 for point in points], marker="o", label=schema)
    _dress(tables, blobs, title="Tables and indexes (MiB)")
    tables.legend(frameon=False)
    figure.suptitle("One run of ingest_rasters over new blobs")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _line(axes: Axes, blobs: Sequence[int], values: Sequence[float], *, title: str) -> None:
    axes.plot(blobs, values, marker="o", color="tab:blue")
    for blob_count, value in zip(blobs, values, strict=True):
        axes.annotate(f"{value:,.0f}", (blob_count, value), textcoords="offset points", xytext=(0, 6), ha="center")
    _dress(axes, blobs, title=title)


def _dress(axes: Axes, blobs: Sequence[int], *, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    axes.set_xticks(list(blobs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda _value, _position: ""))
    axes.set_xlabel("blobs")
    axes.margins(x=0.1)
    axes.set_ylim(0, 1.2 * axes.dataLim.ymax)
    axes.grid(alpha=0.3)
