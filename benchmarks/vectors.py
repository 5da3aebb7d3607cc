"""Vector files into PostGIS: a million points and as many polygons against ogr2ogr with COPY, and the memory."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyogrio
import shapely

from benchmarks.result import BenchmarkFailed, Result, at_least, at_most
from benchmarks.world import SOURCE, Context, Pipeline, interleaved
from geo_assets.assets.ledger_stages import refresh_collection
from geo_assets.models import BlobRef
from geo_assets.resources.database import Database
from geo_assets.settings import Settings
from geo_assets.storage.local_blob_store import LocalBlobStore

NAMES = ("vector_vs_ogr2ogr", "vector_peak_rss")
KINDS = ("points", "polygons")
MIB = 1024**2


def run(context: Context) -> list[Result]:
    """Rows a second into an indexed table, and the peak memory of a whole run of load_vectors over the polygons."""
    rows = context.size(1_000_000, quick=50_000)
    folder = context.folder / "vectors"
    folder.mkdir()
    for kind in KINDS:
        write_features(folder / f"{kind}.gpkg", kind, rows)
    return [_against_ogr2ogr(context, folder, rows), _peak_memory(context, folder, rows)]


def write_features(path: Path, kind: str, rows: int) -> None:
    """A GeoPackage of points, or of polygons with 33 corners, with five attributes."""
    generator = np.random.default_rng(7)
    centres = shapely.points(generator.uniform(-179, 179, rows), generator.uniform(-80, 80, rows))
    geometries = centres if kind == "points" else shapely.buffer(centres, 0.01, quad_segs=8)
    numbers = np.arange(rows)
    names = np.array([f"feature {number}" for number in numbers], dtype=object)
    classes = np.array(["residential", "industrial", "forest", "water"], dtype=object)[numbers % 4]
    dates = np.datetime64("2020-01-01", "ms") + (numbers % 1000).astype("timedelta64[D]")
    pyogrio.raw.write(
        path,
        shapely.to_wkb(geometries),
        [numbers, names, classes, generator.normal(size=rows), dates],
        ["number", "name", "class", "value", "seen_at"],
        geometry_type="Point" if kind == "points" else "Polygon",
        crs="EPSG:4326",
        driver="GPKG",
        SPATIAL_INDEX="NO",
    )


def _against_ogr2ogr(context: Context, folder: Path, rows: int) -> Result:
    if shutil.which("ogr2ogr") is None:
        return Result(NAMES[0], None, "ratio of rows/s", at_least(1.0), note="no ogr2ogr")
    ours: dict[str, float] = {}
    peer: dict[str, float] = {}
    with context.pipeline(folder.as_uri(), tables={}, datetime=[{"fixed": "2020-01-01T00:00:00Z"}]) as pipeline:
        url = pipeline.databases.catalogue_url
        refresh_collection(
            pipeline.source,
            database=Database(database_url=url),
        )
        for kind in KINDS:
            path = folder / f"{kind}.gpkg"

            ours[kind], peer[kind] = interleaved(
                context.size(3, quick=1),
                partial(_rate, _load_ours, pipeline, path, rows),
                partial(_rate, _load_by_ogr2ogr, pipeline, path, rows),
            )
    worst = min(ours[kind] / peer[kind] for kind in KINDS)
    return Result(NAMES[0], worst, "ratio of rows/s", at_least(1.0), ours, peer)


def _rate(load: Callable[[Pipeline, Path], None], pipeline: Pipeline, path: Path, rows: int) -> float:
    began = time.perf_counter()
    load(pipeline, path)
    return rows / (time.perf_counter() - began)


def _load_ours(pipeline: Pipeline, path: Path) -> None:
    tables = Database(database_url=pipeline.databases.catalogue_url).tables
    pipeline.database.sources.register(pipeline.source)
    store = LocalBlobStore(path.parent)
    blob = store.head(path.name)
    assert isinstance(blob, BlobRef)
    settings = Settings(GEO_ASSETS_STATE=pipeline.folder / "state")
    tables.load(pipeline.source, blob, store=store, settings=settings, run_id=None)


def _load_by_ogr2ogr(pipeline: Pipeline, path: Path) -> None:
    command = [
        "ogr2ogr", "-f", "PostgreSQL", _ogr_address(pipeline.databases.owner_url), str(path),
        "-nln", f"ogr_{path.stem}",
        "-overwrite", "-nlt", "PROMOTE_TO_MULTI", "-lco", "GEOMETRY_NAME=geom", "-lco", "FID=fid", "--config",
        "PG_USE_COPY", "YES", "-gt", "65536",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"ogr2ogr ended with {done.returncode}: {done.stderr[-500:]}")


def _ogr_address(url: str) -> str:
    parts = urlsplit(url)
    fields: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port,
        "dbname": parts.path.lstrip("/"),
        "user": parts.username,
        "password": parts.password,
    }
    return "PG:" + " ".join(f"{name}='{value}'" for name, value in fields.items() if value)


def _peak_memory(context: Context, folder: Path, rows: int) -> Result:
    """Of the processes that read and load; with Dagster's own process it is that of the whole run."""
    with context.pipeline(
        folder.as_uri(), tables={}, include=["polygons.gpkg"], datetime=["last_modified"]
    ) as pipeline:
        measured = pipeline.run_job("load_vectors", watch_memory=True)
        (table,) = Database(database_url=pipeline.databases.catalogue_url).tables.all(SOURCE)
        if table.rows != rows:
            raise BenchmarkFailed(f"{rows} rows were to be loaded: {table.rows}")
    ours = {"loading": measured.peak_children_bytes / MIB, "whole run": measured.peak_rss_bytes / MIB}
    return Result(NAMES[1], ours["loading"], "MiB", at_most(512), ours)
