"""COGs: the time against GDAL's COG driver with the same options, the memory of a huge raster, and many small ones."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

from benchmarks.result import BenchmarkFailed, Result, at_least, at_most
from benchmarks.world import SOURCE, Context, Pipeline
from geo_assets.ledger.cogs import StandingCog
from geo_assets.resources.database import Database

NAMES = ("cog_vs_gdal", "cog_peak_rss", "cogs_parallel")
MIB = 1024**2
OPTIONS = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEW_RESAMPLING": "AVERAGE"}
COPY = (
    "import sys, rasterio, rasterio.shutil\n"
    "with rasterio.Env(GDAL_CACHEMAX=256 * 1024**2, GDAL_NUM_THREADS=sys.argv[1]):\n"
    f"    options = {OPTIONS!r} | {{'NUM_THREADS': sys.argv[1], 'BIGTIFF': 'IF_SAFER', 'STATISTICS': 'NO'}}\n"
    "    for name in sys.argv[3:]:\n"
    "        rasterio.shutil.copy(name, sys.argv[2] + name.rpartition('/')[2], driver='COG', **options)\n"
)
"""What somebody would write instead: GDAL's driver, and no look at what came out."""


def run(context: Context) -> list[Result]:
    """Three figures, each over a source of its own."""
    return [_against_gdal(context), _peak_memory(context), _many(context)]


def write_scene(path: Path, side: int, *, bands: int, seed: int = 1) -> None:
    """A raster of 16-bit values that compress as those of a scene do: smooth, with noise; written strip by strip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "uint16", "count": bands, "width": side, "height": side}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(4e5, 5e6, 10, 10), "tiled": True, "bigtiff": "if_safer"}
    across = 2000 * np.sin(np.arange(side) / 300.0)
    rows = 256
    with rasterio.open(path, "w", **profile) as raster:
        for top in range(0, side, rows):
            height = min(rows, side - top)
            down = 2000 * np.cos((top + np.arange(height)) / 500.0)
            smooth = 6000 + across[None, :] + down[:, None]
            for band in range(1, bands + 1):
                values = smooth * band + generator.integers(0, 200, smooth.shape)
                raster.write(values.astype("uint16"), band, window=((top, top + height), (0, side)))


def _against_gdal(context: Context) -> Result:
    """Seconds in GDAL's driver over GDAL's; ``whole`` are those with fetching, comparing each pixel and the picture."""
    ours: dict[str, float] = {}
    peer: dict[str, float] = {}
    for side in (context.size(4_000, quick=1_000), context.size(12_000, quick=2_000)):
        name = f"{side:,} px"
        folder = context.folder / f"scene-{side}"
        write_scene(folder / "scene.tif", side, bands=3)
        with context.pipeline(folder.as_uri(), datetime=["last_modified"], cogs={"kind": "multispectral"}) as pipeline:
            cog = _make(pipeline, folder)["scene.tif"]
            peer[name] = _copy_by_gdal(pipeline, [folder / "scene.tif"])
        ours[name] = float((cog.facts or {})["converting_seconds"])
        ours[f"{name} whole"] = cog.seconds or 0.0
    worst = max(ours[name] / peer[name] for name in peer)
    return Result(NAMES[0], worst, "ratio of seconds", at_most(1.1), ours, peer)


def _peak_memory(context: Context) -> Result:
    """Of the process that makes the COG of 30,000 x 30,000 x 4 values, as `GEO_ASSETS_COG_MEMORY_MB` limits it."""
    side = context.size(30_000, quick=6_000)
    folder = context.folder / "huge"
    write_scene(folder / "huge.tif", side, bands=4)
    with context.pipeline(folder.as_uri(), datetime=["last_modified"], cogs={}) as pipeline:
        pipeline.ingest(blobs=1)
        measured = pipeline.run_job("make_cogs", watch_memory=True)
        cog = _cogs(pipeline)["huge.tif"]
        if cog.href is None:
            raise BenchmarkFailed(f"huge.tif has no COG: {cog.error_message}")
    ours = {"making": measured.peak_children_bytes / MIB, "whole run": measured.peak_rss_bytes / MIB}
    (folder / "huge.tif").unlink()
    return Result(NAMES[1], ours["making"], "MiB", at_most(1024), ours, note=f"{cog.seconds:.0f} s")


def _many(context: Context) -> Result:
    """COGs a second of many small rasters, fetched, checked and published; Dagster's own start aside."""
    number = context.size(400, quick=40)
    folder = context.folder / "small"
    for index in range(number):
        write_scene(folder / f"{index:04d}.tif", 512, bands=3, seed=index)
    rule = {"kind": "multispectral", "max_per_run": number}
    with context.pipeline(folder.as_uri(), datetime=["last_modified"], cogs=rule) as pipeline:
        made = len(_make(pipeline, folder))
        if made != number:
            raise BenchmarkFailed(f"{number} COGs were to be made: {made}")
        steps, seconds = pipeline.databases.mapped_steps("cogs.make_batch")
        peer = _copy_by_gdal(pipeline, sorted(folder.glob("*.tif")), processes=2)
    ours, theirs = number / seconds, number / peer
    return Result(NAMES[2], ours / theirs, "ratio of COGs/s", at_least(0.5), ours, theirs, note=f"{steps} steps")


def _make(pipeline: Pipeline, folder: Path) -> dict[str, StandingCog]:
    pipeline.ingest(blobs=len(list(folder.glob("*.tif"))))
    pipeline.run_job("make_cogs")
    cogs = _cogs(pipeline)
    for cog in cogs.values():
        if cog.href is None:
            raise BenchmarkFailed(f"{cog.name} has no COG: {cog.error_message}")
    return cogs


def _cogs(pipeline: Pipeline) -> dict[str, StandingCog]:
    return {cog.name: cog for cog in Database(database_url=pipeline.databases.catalogue_url).cogs.standing(SOURCE)}


def _copy_by_gdal(pipeline: Pipeline, files: list[Path], *, processes: int = 1) -> float:
    """Seconds that GDAL's driver takes in so many processes side by side, their start included."""
    folder = pipeline.folder / "by_gdal"
    folder.mkdir()
    threads = "2" if processes == 1 else "1"
    shares = [[str(file) for file in files[start::processes]] for start in range(processes)]
    command = [sys.executable, "-c", COPY, threads, f"{folder}/"]
    began = time.perf_counter()
    with ThreadPoolExecutor(processes) as pool:
        for _ in pool.map(lambda share: subprocess.run([*command, *share], check=True), shares):
            pass
    return time.perf_counter() - began
