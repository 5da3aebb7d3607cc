"""Making the COG of one raster in a worker process: fetched under its version, written by GDAL, checked, pictured.

Here: what a worker does to a chunk of rasters, all of it in scratch. Not here: deciding (`geo_assets.cogs`), the
processes (`workers.pool`), publishing what came out (`geo_assets.resources.stores`) and recording it (`ledger.cogs`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # copying lets these out as they are
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from geo_assets.cogs.plan import KindGuess, check_fit, creation_options, guess_kind, suspicious_nodata
from geo_assets.cogs.validation import CogChecks, validate_cog, windows
from geo_assets.cogs.views import Alterations, alter, draw_thumbnail
from geo_assets.errors import CogInvalid, Corrupt, GeoAssetsError, ScratchFull, TooLarge, UnfitForProfile
from geo_assets.foreign_errors import reason_of
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.header import GDAL_OPTIONS
from geo_assets.settings import Settings
from geo_assets.sources.cog_rules import CogRule
from geo_assets.storage.blob_store import BlobStore, download
from geo_assets.storage.blob_stores import StoreAccess, open_handed
from geo_assets.storage.scratch import takes_no_more
from geo_assets.workers.pool import Limits, WorkerPool

GDAL_CACHE_BYTES = 256 * 1024**2  # rasterio takes it in bytes
SAMPLE_SIDE, SAMPLE_WINDOWS = 128, 3
FEWEST_SAMPLED = 2000  # fewer values tell little of how many there are


@dataclass(frozen=True, slots=True)
class CogTask:
    """One raster to make a COG of, and the scratch folder for it."""

    blob: BlobRef
    metadata: RasterMetadata
    folder: Path
    threads: int


@dataclass(frozen=True, slots=True)
class MadeCog:
    """A COG in scratch that was found right, and what is to be said of it; ``thumbnail`` is a PNG beside it."""

    path: Path
    thumbnail: Path | None
    guess: KindGuess
    remark: str | None
    checks: CogChecks
    shape: tuple[int, int]
    crs_code: str | None
    crs_wkt2: str | None
    transform: tuple[float, float, float, float, float, float]
    band_numbers: tuple[int, ...]
    size_bytes: int
    converting_seconds: float
    seconds: float

    def as_metadata(self, original: RasterMetadata) -> RasterMetadata:
        """The metadata of the raster with the COG's grid in place of its own."""
        return replace(
            original, shape=self.shape, crs_code=self.crs_code, crs_wkt2=self.crs_wkt2, transform=self.transform
        )


@dataclass(frozen=True, slots=True)
class CogOutcome:
    """The result of one raster."""

    task: CogTask
    result: MadeCog | GeoAssetsError


@contextmanager
def cog_pool(settings: Settings, *, processes: int, scratch: Path, access: StoreAccess) -> Iterator[WorkerPool]:
    """A pool of ``processes`` workers that make COGs in ``scratch``, with more time and less memory than others."""
    limits = Limits(
        wall_seconds=settings.cog_seconds,
        cpu_seconds=ceil(settings.cog_seconds * settings.workers),
        memory_bytes=settings.cog_memory_mb * 1024**2,
    )
    enclosure = replace(access.enclosure, writable=(scratch,))
    with closing(WorkerPool(processes=processes, limits=limits, enclosure=enclosure)) as pool:
        yield pool


def make_cogs(
    rule: CogRule, access: StoreAccess, tasks: Sequence[CogTask], start: Callable[[int], None]
) -> list[CogOutcome]:
    """In a worker: make the COG of each; one that fails gets its reason, and what it left is cleared."""
    outcomes = []
    with open_handed(access) as store:
        for index, task in enumerate(tasks):
            start(index)
            outcomes.append(CogOutcome(task, _make(rule, store, task)))
    return outcomes


def _make(rule: CogRule, store: BlobStore, task: CogTask) -> MadeCog | GeoAssetsError:
    try:
        with _typed_errors(task):
            return _make_one(rule, store, task)
    except Exception as error:  # noqa: BLE001  a file's own reason, whatever it is
        for path in task.folder.glob("*"):
            path.unlink(missing_ok=True)
        return reason_of(error)


@contextmanager
def _typed_errors(task: CogTask) -> Iterator[None]:
    """Say what GDAL, the disk or the memory limit said in our words; all that is written is written to scratch."""
    try:
        yield
    except MemoryError:
        raise TooLarge("Making its COG needs more memory than is allowed.") from None
    except (OSError, RasterioError, CPLE_BaseError, CogInvalid) as error:  # RasterioIOError is an OSError as well
        if takes_no_more(task.folder):
            raise ScratchFull(f"{task.folder} takes no more: {_first_line(error)}.") from error
        if not isinstance(error, RasterioError | CPLE_BaseError):
            raise
        _read_all(task)
        raise UnfitForProfile(
            f"The raster's pixels can be read, but GDAL makes no such COG of them: {_first_line(error)}.",
            remedy="Set another cogs.profile, or cogs.predictor: false, or exclude the blob in sources.yaml.",
        ) from error


def _read_all(task: CogTask) -> None:
    """Raise Corrupt where not all of the raster that was fetched can be read: GDAL's error may be of either file."""
    try:
        with _environment(task), rasterio.open(_original(task), driver=_driver(task.metadata)) as raster:
            for window in windows(raster.width, raster.height, raster.count):
                raster.read(window=window)
                raster.dataset_mask(window=window)
    except (RasterioError, CPLE_BaseError) as error:
        raise Corrupt(f"The raster's pixels cannot be read: {_first_line(error)}.") from error


def _make_one(rule: CogRule, store: BlobStore, task: CogTask) -> MadeCog:
    began = time.perf_counter()
    check_fit(task.metadata, rule)
    original = _original(task)
    download(store, task.blob, original)
    if (mask := store.head(f"{task.blob.name}.msk")) is not None:
        download(store, mask, original.with_name("original.msk"))
    with _environment(task), rasterio.open(original, driver=_driver(task.metadata)) as raster:
        alterations = _alterations(rule, task.metadata, raster)
        with _view(raster, alterations, task.folder) as view:
            sample = _sample(view)
            guess = KindGuess(rule.kind, "stated in the settings") if rule.kind else _guess(task.metadata, sample)
            cog = task.folder / "cog.tif"
            options = creation_options(
                task.metadata,
                rule,
                kind=guess.kind,
                threads=task.threads,
                has_part_bytes=any("NBITS" in view.tags(number, ns="IMAGE_STRUCTURE") for number in view.indexes),
            )
            converting = time.perf_counter()
            rasterio.shutil.copy(view, cog, driver="COG", **options)
            converted = time.perf_counter()
            checks = validate_cog(cog, view, rule=rule)
        return replace(
            _described(cog, rule, guess, task),
            remark=suspicious_nodata(task.metadata, values=_frequent(sample)),
            checks=checks,
            band_numbers=rule.bands or tuple(raster.indexes),
            converting_seconds=converted - converting,
            seconds=time.perf_counter() - began,
        )


def _original(task: CogTask) -> Path:
    """Where the raster is fetched to."""
    return task.folder / "original"


def _environment(task: CogTask) -> rasterio.Env:
    """GDAL's options for one task."""
    return rasterio.Env(
        **{
            **{name: value for name, value in GDAL_OPTIONS.items() if name != "GDAL_SKIP"},
            "GDAL_NUM_THREADS": str(task.threads),
            "GDAL_CACHEMAX": GDAL_CACHE_BYTES,
            "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",  # the mask lies beside
            "CPL_TMPDIR": str(task.folder),  # else what it makes meanwhile lies where the process was started
        }
    )


def _driver(metadata: RasterMetadata) -> str:
    return "GTiff" if metadata.driver == "COG" else metadata.driver


def _alterations(rule: CogRule, metadata: RasterMetadata, raster: Any) -> Alterations:
    """What the COG's view of the raster has that the file itself does not."""
    nodata = rule.nodata if rule.nodata is not None and all(each is None for each in raster.nodatavals) else None
    return Alterations(
        crs_wkt=metadata.crs_wkt2 if metadata.crs_source is not None else None,
        transform=metadata.transform if metadata.transform_source is not None else None,
        nodata=nodata,
        bands=rule.bands,
        window=_clip_window(rule, metadata),
    )


def _clip_window(rule: CogRule, metadata: RasterMetadata) -> tuple[int, int, int, int] | None:
    """(column, row, width, height) of the pixels that touch the rule's box."""
    if rule.clip is None:
        return None
    if metadata.transform is None or metadata.crs_wkt2 is None:
        raise UnfitForProfile("`cogs.clip` needs a raster with a geotransform, and this has none.")
    bounds = transform_bounds("EPSG:4326", metadata.crs_wkt2, *rule.clip, densify_pts=21)
    inverse = ~rasterio.Affine(*metadata.transform)
    corners = [inverse @ (x, y) for x in bounds[::2] for y in bounds[1::2]]
    columns, rows = [column for column, _ in corners], [row for _, row in corners]
    height, width = metadata.shape
    left, right = max(0, floor(min(columns))), min(width, ceil(max(columns)))
    top, bottom = max(0, floor(min(rows))), min(height, ceil(max(rows)))
    if left >= right or top >= bottom:
        raise UnfitForProfile("The raster lies outside cogs.clip.")
    return left, top, right - left, bottom - top


@contextmanager
def _view(raster: Any, alterations: Alterations, folder: Path) -> Iterator[Any]:
    """The raster as the rule wants it seen."""
    if not alterations:
        yield raster
        return
    path = folder / "view.vrt"
    rasterio.shutil.copy(raster, path, driver="VRT")
    transform = None if raster.transform.is_identity else tuple(raster.transform)[:6]
    path.write_bytes(alter(path.read_bytes(), alterations, transform=transform))
    with rasterio.open(path, driver="VRT") as view:
        yield view


def _sample(view: Any) -> Any:
    """Valid values of the first band, from windows spread over the raster: few enough of them for any size."""
    side = min(SAMPLE_SIDE, view.width, view.height)
    spread = [step / (SAMPLE_WINDOWS - 1) for step in range(SAMPLE_WINDOWS)]
    parts = []
    for down in spread:
        for across in spread:
            left, top = int(across * (view.width - side)), int(down * (view.height - side))
            parts.append(view.read(1, window=Window(left, top, side, side), masked=True).compressed())
    values = np.concatenate(parts)
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _guess(metadata: RasterMetadata, sample: Any) -> KindGuess:
    different = len(np.unique(sample)) if sample.size >= FEWEST_SAMPLED else None
    return guess_kind(metadata, different_values=different)


def _frequent(sample: Any) -> list[float]:
    """[most frequent value, its share, least, greatest] of a sample of real numbers."""
    if not sample.size or sample.dtype.kind == "c":
        return []
    values, counts = np.unique(sample, return_counts=True)
    most = int(counts.argmax())
    return [float(values[most]), float(counts[most] / sample.size), float(values[0]), float(values[-1])]


def _described(cog: Path, rule: CogRule, guess: KindGuess, task: CogTask) -> MadeCog:
    with rasterio.open(cog, driver="GTiff") as written:
        thumbnail = None
        if rule.thumbnail:
            thumbnail = task.folder / "thumbnail.png"
            thumbnail.write_bytes(draw_thumbnail(written, kind=guess.kind, side=rule.thumbnail))
        code = written.crs.to_authority() if written.crs else None
        return MadeCog(
            path=cog,
            thumbnail=thumbnail,
            guess=guess,
            remark=None,
            checks=CogChecks("", "", None),
            shape=written.shape,
            crs_code=":".join(code) if code else None,
            crs_wkt2=written.crs.to_wkt(version="WKT2_2019") if written.crs else None,
            transform=tuple(written.transform)[:6],
            band_numbers=(),
            size_bytes=cog.stat().st_size,
            converting_seconds=0.0,
            seconds=0.0,
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
