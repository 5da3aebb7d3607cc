"""geo-assets demo: the main job, from a folder of rasters to a catalogue, on an empty machine.

Its container has small, believable rasters of made-up ground, three of them bad. They are synthetic, and say so in
their tags.
"""

import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_bounds, from_origin
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from geo_assets.assets.pictures import draw_footprints
from geo_assets.cli.console import clear_errors, console, shown
from geo_assets.cli.local_services import dagster_process, job_arguments, log_file, migrate_databases
from geo_assets.cli.source_commands import print_failures, print_statuses
from geo_assets.errors import InvalidConfiguration, PermanentError
from geo_assets.foreign_errors import writing
from geo_assets.postgres.databases import databases_running
from geo_assets.resources.database import Database
from geo_assets.settings import Settings, project_folder
from geo_assets.sources.source import get_source

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DemoRaster:
    """One raster to write: ``path`` below the container, GDAL profile, dtype range and tags."""

    path: str
    crs: str | None
    transform: Affine
    shape: tuple[int, int] = (256, 256)
    bands: tuple[str, ...] = ("surface",)
    dtype: str = "uint16"
    low: float = 0.0
    high: float = 10_000.0
    nodata: float | None = None
    units: str | None = None
    cog: bool = False
    tags: dict[str, str] = field(default_factory=dict)


def _utm(west: float, north: float, pixel: float) -> Affine:
    return Affine(pixel, 0.0, west, 0.0, -pixel, north)


RASTERS = (
    DemoRaster(
        "sentinel2/S2B_32TLS_20240614_B04.tif", "EPSG:32632", _utm(300_000, 5_100_000, 60), (512, 512),
        bands=("red",), nodata=0, cog=True,
    ),
    DemoRaster(
        "sentinel2/S2B_32TLS_20240614_B08.tif", "EPSG:32632", _utm(300_000, 5_100_000, 60), (512, 512),
        bands=("nir",), nodata=0, cog=True,
    ),
    DemoRaster(
        "orthophotos/halifax_2023.tif", "EPSG:3857", _utm(-7_085_000, 5_570_000, 4), (400, 500),
        bands=("red", "green", "blue"), dtype="uint8", high=255, tags={"TIFFTAG_DATETIME": "2023:07:02 14:31:08"},
    ),
    DemoRaster(
        "elevation/cusco_dem.tif", "EPSG:4326", from_bounds(-72.5, -14.0, -71.5, -13.0, 240, 240), (240, 240),
        bands=("elevation",), dtype="float32", low=2_400, high=5_600, nodata=-9999, units="m",
        tags={"TIFFTAG_DATETIME": "2019:11:30 00:00:00"},
    ),
    DemoRaster(
        "climate/sst_20250101.tif", "EPSG:4326", from_bounds(-180, -90, 180, 90, 360, 180), (180, 360),
        bands=("sea surface temperature",), dtype="float32", low=-1.8, high=31, nodata=float("nan"), units="degC",
    ),
    DemoRaster(
        "ice/arctic_20240301_concentration.tif", "EPSG:3413", from_origin(-1_900_000, -400_000, 6_250, 6_250),
        (192, 192), bands=("ice concentration",), dtype="uint8", high=100, nodata=255, units="%",
    ),
    DemoRaster(
        "islands/taveuni_20230919.tif", "EPSG:32760", _utm(790_000, 8_160_000, 250), (320, 320),
        bands=("vegetation index",), dtype="int16", low=-2_000, high=9_000, nodata=-32768,
    ),
    DemoRaster(
        "landcover/bavaria_20180101.tif", "EPSG:3035", _utm(4_350_000, 2_950_000, 500), (300, 300),
        bands=("land cover",), dtype="uint8", low=1, high=44, nodata=0,
    ),
    DemoRaster(
        "drone/strip_20240508_07.tif", "EPSG:32734",
        Affine.translation(266_000, 6_245_000) * Affine.rotation(-24) * Affine.scale(2, -2), (220, 420),
        bands=("red", "green", "blue"), dtype="uint8", high=255,
    ),
    DemoRaster(
        "orthophotos/nairobi_undated.tif", "EPSG:32737", _utm(255_000, 9_860_000, 5), (300, 300),
        bands=("red", "green", "blue"), dtype="uint8", high=255,
    ),
    DemoRaster(
        "scans/plan_sheet_20240220.tif", None, Affine.identity(), (200, 200), dtype="uint8", high=255,
    ),
)  # fmt: skip

BROKEN = "sentinel2/S2B_32TLS_20240614_B11.tif"
README = "README.txt"


def write_demo_container(folder: Path, *, on_file: Callable[[str], None] = lambda _: None) -> int:
    """Write what is missing of the container into ``folder``; how many files were written.

    A file that is there stays as it is: its version must not change between two runs.
    """
    writers: dict[str, Callable[[Path], None]] = {raster.path: _writer(raster) for raster in RASTERS}
    writers[BROKEN] = lambda path: _write_broken(path, folder / RASTERS[0].path)
    writers[README] = lambda path: _write_text(path, "Synthetic rasters, made by `geo-assets demo`.\n")
    written = 0
    for name, write in writers.items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.unfinished")
            write(unfinished)
            unfinished.rename(path)
            written += 1
        on_file(name)
    return written


def _writer(raster: DemoRaster) -> Callable[[Path], None]:
    return lambda path: _write_raster(path, raster)


def _write_raster(path: Path, raster: DemoRaster) -> None:
    rows, columns = raster.shape
    profile: dict[str, Any] = {
        "driver": "COG" if raster.cog else "GTiff",
        "height": rows,
        "width": columns,
        "count": len(raster.bands),
        "dtype": raster.dtype,
        "crs": raster.crs,
        "transform": raster.transform,
        "nodata": raster.nodata,
        "compress": "deflate",
    }
    with rasterio.MemoryFile() as memory:  # of a file, GDAL would not say that its disk is full
        with warnings.catch_warnings():
            # The plan sheet is meant to have no place on the globe.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = memory.open(**profile)
        with dataset:
            for number, name in enumerate(raster.bands, start=1):
                dataset.write(_pixels(raster, seed=number), number)
                dataset.set_band_description(number, name)
            if raster.units:
                dataset.units = [raster.units] * len(raster.bands)
            dataset.update_tags(TIFFTAG_IMAGEDESCRIPTION="Synthetic, made by geo-assets demo", **raster.tags)
        path.write_bytes(memory.read())


def _pixels(raster: DemoRaster, *, seed: int) -> Pixels:
    """A smooth field between low and high, with a corner of nodata where the raster has a nodata value."""
    rows, columns = raster.shape
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    noise = np.random.default_rng(seed)
    field_ = sum(
        np.sin(2 * np.pi * (noise.uniform(1, 6) * x + noise.uniform(1, 6) * y + noise.uniform())) / octave
        for octave in range(1, 6)
    )
    scaled = raster.low + (field_ - np.min(field_)) / np.ptp(field_) * (raster.high - raster.low)
    if raster.nodata is not None:
        scaled = np.where(x + y < 0.15, raster.nodata, scaled)
    return np.asarray(scaled).astype(raster.dtype)


def _write_broken(path: Path, whole: Path) -> None:
    """The first third of a good file: an upload that was cut off."""
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 3])


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


DEMO_SOURCE = "demo"
JOB = "ingest_rasters"
MOST_ITEMS = 1000


class JobFailed(PermanentError):
    """The job ended with a status other than 0."""

    code = "job_failed"
    remedy = "Read the log that the command names."


@click.command("demo")
def demo_command() -> None:
    """Write a small container of rasters, ingest it with the real job, and show the result."""
    settings = Settings(GEO_ASSETS_SOURCES=project_folder() / "sources.yaml")
    with clear_errors():
        source = get_source(settings.sources_file, DEMO_SOURCE)
        if source.folder is None:
            raise InvalidConfiguration(
                f"Source `{DEMO_SOURCE}` is not a folder.", remedy="Give the source a file: url in sources.yaml."
            )
        _write_container(source.folder)
        with console.status("Starting PostgreSQL") as status, databases_running(settings):
            status.update("Migrating the database")
            migrate_databases(settings)
            status.stop()
            started_at = Database().now()
            _run_job(settings, DEMO_SOURCE)
            _show(settings, DEMO_SOURCE, since=started_at)


def _write_container(folder: Path) -> None:
    with console.status("Writing rasters"), writing(folder):
        written = write_demo_container(folder)
    console.print(f"Container: {folder} ({written} files written)")


def _run_job(settings: Settings, source: str) -> None:
    """Run the job as a user would, showing the ledger's counts while it works."""
    arguments = job_arguments(JOB, source=source)
    command = subprocess.list2cmdline(arguments[:-1])
    console.print(f"Job:       {command} '{arguments[-1]}'", soft_wrap=True, highlight=False)
    console.print(f"Log:       {log_file(settings, JOB)}")
    database = Database()
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        dagster_process(settings, *arguments, log_name=JOB) as process,
    ):
        described = progress.add_task("Header read", total=None)
        catalogued = progress.add_task("Catalogued", total=None)
        while process.poll() is None:
            status = database.blobs.status(source)
            progress.update(described, total=status.blobs or None, completed=status.blobs - status.pending)
            progress.update(catalogued, total=status.blobs or None, completed=status.catalogued)
            time.sleep(0.5)
    if process.returncode != 0:
        raise JobFailed(f"{JOB} ended with status {process.returncode}.", remedy=f"Read {log_file(settings, JOB)}.")


def _show(settings: Settings, source: str, *, since: datetime) -> None:
    database = Database()
    status, items = database.blobs.status(source), database.catalogue.items_of(source, most=MOST_ITEMS)
    console.print(_items_table(items))
    print_failures(database.blobs.failures(source))
    print_statuses([status])
    console.print(f"This run catalogued {database.blobs.catalogued_since(source, since)} items.")
    picture = settings.state_folder / "demo" / "footprints.png"
    with console.status("Drawing footprints"), writing(picture):
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(draw_footprints([item["geometry"] for item in items], title=f"{len(items)} items"))
    console.print(f"Footprints: {picture}")
    console.print("Next step:  [bold]make up[/] shows the same in Dagster, and keeps it up to date.")


def _items_table(items: list[dict[str, Any]]) -> Table:
    wide = console.width >= 110
    table = Table(Column("item", overflow="fold"), "date", "from", "CRS", "bands", title="Items", title_justify="left")
    if wide:
        table.add_column("west, south, east, north")
    for item in items:
        properties, bands = item["properties"], item["assets"]["data"]["bands"]
        row = [
            shown(item["id"]),
            properties["datetime"][:10],
            properties["geo_assets:datetime_source"].split(" ")[0],
            properties.get("proj:code") or "no code",
            f"{len(bands)} × {bands[0]['data_type']}",
        ]
        table.add_row(*row, *([", ".join(f"{degrees:.2f}" for degrees in item["bbox"])] if wide else []))
    return table
