"""A stranger's vector file, read by processes that reach nothing but the folder it lies in, while another one loads it.

Here: starting those processes with one driver of GDAL and no way out, and what their end means. Not here: what they do
(`vectors.datasets`, `vectors.reading`), and how they are enclosed (`workers.pool`). docs/decisions/0015b says why.
"""

import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from math import ceil
from pathlib import Path

from geo_assets.errors import PermanentError, ReaderCrashed, ReaderTimeout, TooLarge
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.vectors.datasets import ReadTask, find_datasets, read_by_gdal
from geo_assets.vectors.formats import VectorFormat
from geo_assets.vectors.handover import Handover
from geo_assets.workers.enclosure import Enclosure
from geo_assets.workers.pool import Limits, run_enclosed

DRIVERS: dict[VectorFormat, tuple[str, ...]] = {
    "gpkg": ("GPKG",),
    "shapefile": ("ESRI Shapefile",),
    "flatgeobuf": ("FlatGeobuf",),
    "geojson": ("GeoJSON", "GeoJSONSeq", "JSONFG"),
    "geojsonseq": ("GeoJSON", "GeoJSONSeq"),
    "kml": ("LIBKML", "KML"),
    "csv": ("CSV",),
    "filegdb": ("OpenFileGDB",),
    "parquet": (),
}
"""GDAL's drivers for each format: where there are several, each reads the one file only."""
_CLOSED = {
    "GDAL_DRIVER_PATH": "disable",
    "GDAL_CONFIG_FILE": "",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_HTTP_TIMEOUT": "1",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "LIBKML_RESOLVE_STYLE": "NO",
    "OGR_SQLITE_PRAGMA": "trusted_schema=0",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS": "NO",
    "PROJ_NETWORK": "OFF",
}
"""What GDAL and PROJ are told beside: no plug-ins, no network, no trust in the schema of a database."""
_REMEDY = "Check the file with ogrinfo -al -so; convert it (ogr2ogr -f GPKG), or exclude it in sources.yaml."


class EnclosedReading:
    """A file that is being read: where its layers are handed over, and in the end why it could not be read."""

    def __init__(self, handover: Handover, work: "Future[None]") -> None:
        self.handover = handover
        self._work = work

    def check(self) -> None:
        """Wait for the end. Raises what kept the file from being read to its end."""
        self._work.result()


@contextmanager
def reading(path: Path, source: Source, settings: Settings) -> Iterator[EnclosedReading]:
    """Read the file at ``path``, in processes of their own, for as long as the block.

    They may write to the folder of ``path``, which is to be the file's own.
    """
    handover = Handover(Path(tempfile.mkdtemp(dir=path.parent, prefix="handover-")))
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as thread:
        work = thread.submit(_read, path, source, settings, handover)
        try:
            yield EnclosedReading(handover, work)
        finally:
            handover.stop()


def of_vectors(error: PermanentError) -> PermanentError:
    """What ended a worker, with a remedy that is of use for a vector file."""
    if error.remedy != type(error).remedy:
        return error
    longer = " If it is honest and large, raise GEO_ASSETS_VECTOR_SECONDS." if type(error) is ReaderTimeout else ""
    return type(error)(error.message, remedy=f"{_REMEDY}{longer}")


def _read(path: Path, source: Source, settings: Settings, handover: Handover) -> None:
    failed = True
    try:
        _read_enclosed(path, source, settings, handover)
        failed = False
    except (ReaderTimeout, ReaderCrashed, TooLarge) as error:
        raise of_vectors(error) from error
    finally:
        handover.end(failed=failed)


def _read_enclosed(path: Path, source: Source, settings: Settings, handover: Handover) -> None:
    assert source.tables is not None
    limits = Limits(
        wall_seconds=settings.vector_seconds,
        cpu_seconds=ceil(settings.vector_seconds),
        memory_bytes=settings.worker_memory_mb * 1024**2,
    )
    enclosure = Enclosure(writable=(path.parent,))
    datasets = run_enclosed(find_datasets, path, limits=limits, enclosure=enclosure, variables={})
    drivers = frozenset(driver for dataset in datasets for driver in DRIVERS[dataset.format])
    task = ReadTask(tuple(datasets), drivers, source.tables, source.assume_crs, handover)
    variables = {**_CLOSED, "OGR_SKIP": ",".join(_drivers_but(drivers))}
    run_enclosed(read_by_gdal, task, limits=limits, enclosure=enclosure, variables=variables)


def _drivers_but(wanted: Collection[str]) -> list[str]:
    return [driver for driver in _all_drivers() if driver not in wanted]


@cache
def _all_drivers() -> tuple[str, ...]:
    """The drivers of vectors that GDAL has here, by their names: this process opens no file with them."""
    import pyogrio

    return tuple(sorted(map(str, pyogrio.list_drivers())))
