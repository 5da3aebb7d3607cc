"""What the header of one raster says: opening it safely, and reading its metadata and tags.

Here: the settings that keep a hostile file inside its own bytes, the one place where GDAL's errors become ours, the
facts of the header, and tags as plain JSON-safe text; and headers of one kind, which differ only in where the raster
lies and when it was made. Not here: what follows from the facts (`footprint`, `geo_assets.stac`), fetching bytes
(`geo_assets.storage`), and reading pixels.

GDAL takes a millisecond for a header, and an archive holds thousands that say the same but for tie point and date.
Of each kind GDAL reads the first; for the others its answer is taken with their own place and date put in.
Whatever else a directory holds is part of the kind, so a header that differs in anything unknown is read by GDAL.
"""

import math
import re
import struct
import threading
import uuid
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, BinaryIO

import pyproj
import rasterio
from rasterio._err import CPLE_BaseError  # some of its methods let these out as they are
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from geo_assets.errors import Corrupt, GeoAssetsError, TooLarge, UnsupportedFormat
from geo_assets.models import BandMetadata, GroundControl, Nodata, RasterMetadata
from geo_assets.raster.bands import choose_level, is_complex, of_rasterio, read_statistics
from geo_assets.raster.io import GuardedFile
from geo_assets.raster.sniff import check_is_tiff
from geo_assets.raster.tiff import Tag, TiffStructure, check_data_is_there, read_structure, with_layout

MOST_KINDS = 1000
"""A process remembers this many; then all are forgotten, and learnt again."""

_PIXEL_SCALE, _TIE_POINT, _DATETIME = 33550, 33922, 306
_DOUBLE, _ASCII = 12, 2
_DATETIME_BYTES = 20
# Their values are places in the file, where more metadata lie: EXIF, GPS, interoperability.
_POINTERS = frozenset({34665, 34853, 40965})
# For others GDAL looks into the data as well: JPEG, WebP, LERC. These: none, LZW, deflate, PackBits, deflate, zstd.
_PLAIN_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 50000})
_STRUCTURAL = b"GDAL_STRUCTURAL_METADATA_SIZE"
_known: dict[Hashable, RasterMetadata] = {}
MAX_VALUE_BYTES = 4096
MAX_TAGS_PER_DOMAIN = 1000
_MADE_UP_BY_GDAL = frozenset({"DERIVED_SUBDATASETS", "SUBDATASETS"})
"""Domains that hold no facts of the file but names under which GDAL could open parts of it."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_NUM_THREADS": "1",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_SKIP": "VRT",
    "OSR_DEFAULT_AXIS_MAPPING_STRATEGY": "TRADITIONAL_GIS_ORDER",
}
"""Only the bytes of the file itself count: no sidecar, no sibling, no second driver, no threads of GDAL."""
open_in_environment = rasterio.open.__wrapped__
"""rasterio.open without the environment it makes at each call (0.3 ms) for credentials we do not use."""
_THREAD = threading.local()
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Own:
    """What a raster has of its own: CRS coordinates of the corner of its first pixel's tie point, and its date."""

    tie_x: float = 0.0
    tie_y: float = 0.0
    scale_x: float = 0.0
    scale_y: float = 0.0
    datetime: str = ""


def recall_kind(structure: TiffStructure) -> RasterMetadata | None:
    """The metadata of this header, by what GDAL said of another of its kind; None where none was remembered.

    ``bytes_read`` is that other's, and the footprint None.
    """
    split = _split(structure)
    known = _known.get(split[0]) if split else None
    return _with_own(known, split[1], structure) if known and split else None


def remember_kind(structure: TiffStructure, metadata: RasterMetadata) -> None:
    """Keep what GDAL said of this header for others of its kind, if the rules here come to what GDAL came to."""
    split = _split(structure)
    if split is None or _with_own(metadata, split[1], structure) != metadata:
        return
    if len(_known) >= MOST_KINDS:
        forget_kinds()
    _known[split[0]] = metadata


def forget_kinds() -> None:
    """Have GDAL read the next header of every kind again."""
    _known.clear()


def _with_own(metadata: RasterMetadata, own: _Own, structure: TiffStructure) -> RasterMetadata:
    transform, tags = metadata.transform, metadata.tags
    if own.scale_x:
        # GDAL's own order of operations: the last bit counts.
        half = 0.5 if metadata.area_or_point == "Point" else 0.0
        x, y = own.tie_x - own.scale_x * half, own.tie_y - -own.scale_y * half
        transform = (own.scale_x, 0.0, x, 0.0, -own.scale_y, y)
    if own.datetime:
        tags = {**tags, "": {**tags.get("", {}), "TIFFTAG_DATETIME": own.datetime}}
    return replace(with_layout(metadata, structure), transform=transform, tags=tags)


def _split(structure: TiffStructure) -> tuple[Hashable, _Own] | None:
    """The kind of a header and what is its own, or None where it is of no kind that can be told."""
    tags = {tag.number: tag for tag in structure.main_tags}
    if not tags or _POINTERS & tags.keys() or structure.main.compression not in _PLAIN_COMPRESSIONS:
        return None
    own = _Own()
    if place := _place(tags, structure.byte_order):
        own = place
        tags[_TIE_POINT] = tags[_TIE_POINT]._replace(payload=b"")
    if date := _date(tags.get(_DATETIME)):
        own = replace(own, datetime=date)
        tags[_DATETIME] = tags[_DATETIME]._replace(payload=b"")
    text = structure.leading_text if structure.leading_text.startswith(_STRUCTURAL) else b""
    others = tuple((each.subfile_type, each.width, each.height, each.samples) for each in structure.directories[1:])
    return (structure.byte_order, structure.is_big, tuple(tags.values()), text, others), own


def _place(tags: dict[int, Tag], byte_order: str) -> _Own | None:
    """The place of a raster with one tie point at its very corner and north up; of any other it is part of the kind."""
    tie, scale = tags.get(_TIE_POINT), tags.get(_PIXEL_SCALE)
    if tie is None or scale is None or (tie.kind, tie.values, scale.kind, scale.values) != (_DOUBLE, 6, _DOUBLE, 3):
        return None
    column, row, level, x, y, z = struct.unpack(byte_order + "6d", tie.payload)
    scale_x, scale_y, _ = struct.unpack(byte_order + "3d", scale.payload)
    if any((column, row, level, z)) or not (scale_x > 0 and scale_y > 0):
        return None
    return _Own(tie_x=x, tie_y=y, scale_x=scale_x, scale_y=scale_y)


def _date(tag: Tag | None) -> str:
    """A date of the form TIFF 6.0 prescribes, "" for anything else."""
    if tag is None or (tag.kind, tag.values) != (_ASCII, _DATETIME_BYTES) or not tag.payload.endswith(b"\0"):
        return ""
    text = tag.payload[:-1].decode("ascii", "replace")
    return text if text.isprintable() and text.isascii() and text.strip() == text else ""


def clean_text(value: str) -> str:
    """``value`` without NUL and lone surrogates, which PostgreSQL's jsonb refuses, cut to 4 KiB of UTF-8."""
    if value.isascii() and "\0" not in value:  # as nearly every value is
        return value[:MAX_VALUE_BYTES]
    clean = _UNSTORABLE.sub("", value)
    return clean.encode()[:MAX_VALUE_BYTES].decode(errors="ignore")


def read_tags(dataset: Any) -> dict[str, dict[str, str]]:
    """The dataset's metadata by domain, "" being the default one.

    A value that is not UTF-8 is left out, as rasterio leaves it out.
    """
    tags = {}
    for domain in ("", *dataset.tag_namespaces()):
        if domain in _MADE_UP_BY_GDAL:
            continue
        pairs = list(dataset.tags(ns=domain or None).items())[:MAX_TAGS_PER_DOMAIN]
        if pairs:
            tags[clean_text(domain)] = {clean_text(name): clean_text(value) for name, value in pairs}
    return tags


# A raster without a geotransform is recorded as such; GDAL's word about it would only fill the logs.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@contextmanager
def gdal_environment() -> Iterator[None]:
    """Our GDAL options for this thread until the block ends; nested blocks cost nothing.

    Whoever opens many rasters puts the block round them all: entering it takes as long as reading a header.
    """
    if getattr(_THREAD, "has_environment", False):
        yield
        return
    with rasterio.Env(**GDAL_OPTIONS):
        _THREAD.has_environment = True
        try:
            yield
        finally:
            _THREAD.has_environment = False


@contextmanager
def open_raster(file: BinaryIO, *, overview: int | None = None, driver: str = "GTiff") -> Iterator[Any]:
    """Open a seekable binary file as a GeoTIFF, or one of its overviews; yields a rasterio DatasetReader.

    Another ``driver`` opens another format, whose magic the caller has seen; no other driver is tried.

    GDAL sees the bytes of ``file`` and nothing else: no path, no sibling, no other driver. An exception that
    ``file.read`` raises (a store that does not answer) comes out unchanged, since GDAL would have swallowed it.
    Raises NotARaster, UnsupportedFormat or Corrupt. Safe in many threads, one file each.
    """
    guard = GuardedFile(file)
    if driver == "GTiff":
        check_is_tiff(guard)
    with _gdal_errors_translated(guard), gdal_environment(), _open(guard, overview, driver) as dataset:
        yield dataset
    guard.raise_error()


def read_tiff_structure(file: BinaryIO) -> TiffStructure:
    """The directories of a TIFF whose data are all there; after it a caching ``file`` has most of what GDAL reads.

    Raises NotARaster, UnsupportedFormat, Corrupt or TooLarge, and whatever ``file`` itself raises.
    """
    guard = GuardedFile(file)
    try:
        check_is_tiff(guard)
        structure = read_structure(guard)
        check_data_is_there(structure)
    finally:
        guard.raise_error()
    return structure


def read_raster_metadata(
    file: BinaryIO,
    *,
    structure: TiffStructure | None = None,
    bytes_read: Callable[[], int] | None = None,
    statistics_budget_bytes: int | None = None,
) -> RasterMetadata:
    """Read the header of one raster: only facts the file states.

    ``structure`` is what `read_tiff_structure` gave, where that was called already. GDAL reads the first header
    of a kind; those that differ from it in place and date only follow from that (see `recall_kind`).
    With ``statistics_budget_bytes`` the pixels too, from the finest level that fits it (see `statistics`).
    ``bytes_read`` tells at the end how many bytes were fetched for it (a cached range reader knows); without
    it, the bytes handed out are counted. Raises NotARaster, UnsupportedFormat, Corrupt or TooLarge, and
    whatever ``file`` itself raises.
    """
    structure = structure or read_tiff_structure(file)
    guard = GuardedFile(file)
    count = bytes_read or (lambda: guard.bytes_read)
    with gdal_environment():
        metadata = recall_kind(structure)
        if metadata is None:
            with open_raster(guard) as dataset:
                metadata = describe_dataset(dataset, structure, count)
            metadata = with_layout(metadata, structure)
            remember_kind(structure, metadata)
        if statistics_budget_bytes is not None:
            metadata = _with_statistics(metadata, guard, structure, budget_bytes=statistics_budget_bytes)
        return replace(metadata, bytes_read=count())


def _with_statistics(
    metadata: RasterMetadata, guard: GuardedFile, structure: TiffStructure, *, budget_bytes: int
) -> RasterMetadata:
    """The metadata with statistics of its bands, or with the reason why there are none."""
    if any(is_complex(band.data_type) for band in metadata.bands):
        return replace(metadata, statistics_source="none: complex numbers have no order")
    level = choose_level(structure, budget_bytes=budget_bytes)
    if isinstance(level, str):
        return replace(metadata, statistics_source=f"none: {level}")
    try:
        with open_raster(guard, overview=level.overview) as dataset:
            figures = read_statistics(dataset)
    except (Corrupt, TooLarge) as error:  # too large: blocks that no estimate foresaw
        return replace(metadata, statistics_source=f"none: the pixels cannot be read ({error.message})")
    bands = tuple(replace(band, statistics=each) for band, each in zip(metadata.bands, figures, strict=True))
    source = "all pixels" if level.overview is None else f"the overview at 1/{level.factor}"
    return replace(metadata, bands=bands, statistics_source=source)


@contextmanager
def _gdal_errors_translated(guard: GuardedFile) -> Iterator[None]:
    try:
        yield
    except GeoAssetsError:
        raise
    except Exception as error:
        guard.raise_error()
        if isinstance(error, RasterioError | CPLE_BaseError | CRSError | UnicodeDecodeError):
            raise Corrupt(f"GDAL cannot read the raster's header: {_gdal_message(error)}") from error
        raise


def _gdal_message(error: BaseException) -> str:
    """GDAL's own words, without the made-up name under which it saw the file."""
    cause = error.__cause__ or error.__context__ or error
    return clean_text(str(cause)).split("/vsi")[-1].partition(": ")[2] or clean_text(str(cause))


@contextmanager
def _open(guard: GuardedFile, overview: int | None, driver: str) -> Iterator[Any]:
    # The name is unique because rasterio keeps one registry of openers for the whole process.
    path = f"/{uuid.uuid4().hex}/raster.tif"

    def opener(name: str, mode: str = "rb") -> GuardedFile:
        if name.removeprefix("/") != path.removeprefix("/") or "r" not in mode:
            raise FileNotFoundError(name)
        return guard.another()

    level = {} if overview is None else {"overview_level": overview}
    with open_in_environment(path, driver=driver, sharing=False, opener=opener, **level) as dataset:
        _check_self_contained(dataset)
        yield dataset


def _check_self_contained(dataset: Any) -> None:
    """GDAL follows this tag to any file of this machine as soon as a caller asks for an overview."""
    if target := dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
        raise UnsupportedFormat(
            f"Its overviews are said to lie in another file, {clean_text(target)!r}, which is never opened."
        )


def describe_dataset(dataset: Any, structure: TiffStructure | None, bytes_read: Callable[[], int]) -> RasterMetadata:
    """The facts an open raster states; ``structure`` where it is a TIFF, which alone has overviews that count."""
    tags = read_tags(dataset)
    image = tags.get("IMAGE_STRUCTURE", {})
    code, wkt2 = _crs(dataset)
    overviews = structure.overviews if structure else ()
    return RasterMetadata(
        driver=dataset.driver,
        shape=(dataset.height, dataset.width),
        bands=_bands(dataset, structure),
        crs_code=code,
        crs_wkt2=wkt2,
        transform=_transform(dataset),
        block_shape=dataset.block_shapes[0],
        overview_factors=tuple(round(dataset.width / overview.width) for overview in overviews),
        area_or_point="Point" if tags.get("", {}).get("AREA_OR_POINT") == "Point" else "Area",
        compression=image.get("COMPRESSION"),
        interleaving=image.get("INTERLEAVE"),
        gcp_count=len(dataset.gcps[0]),
        has_rpcs="RPC" in tags,
        ground_control=_ground_control(*dataset.gcps),
        tags=tags,
        bytes_read=bytes_read(),
    )


def _ground_control(points: list[Any], crs: Any) -> GroundControl | None:
    wkt2 = crs.to_wkt(version="WKT2_2019") if crs else None
    return GroundControl(wkt2, tuple((each.col, each.row, each.x, each.y) for each in points)) if points else None


def _transform(dataset: Any) -> tuple[float, float, float, float, float, float] | None:
    """The geotransform; GDAL gives the identity where the file has none."""
    a, b, c, d, e, f = dataset.transform[:6]
    return None if (a, b, c, d, e, f) == _IDENTITY else (a, b, c, d, e, f)


def _crs(dataset: Any) -> tuple[str | None, str | None]:
    if not dataset.crs:
        return None, None
    wkt2 = dataset.crs.to_wkt(version="WKT2_2019")
    return crs_code(wkt2), wkt2


@lru_cache(maxsize=512)
def crs_code(wkt2: str) -> str | None:
    """The CRS's code where it is beyond doubt: anything less than full confidence is no code."""
    try:
        authority = pyproj.CRS.from_wkt(wkt2).to_authority(min_confidence=100)
    except pyproj.exceptions.CRSError:
        return None
    return ":".join(authority) if authority else None


def _bands(dataset: Any, structure: TiffStructure | None) -> tuple[BandMetadata, ...]:
    nodata_text = structure.main.nodata_text if structure else ""
    # rasterio has one name for both complex types of 64 bits.
    is_cint32 = structure is not None and structure.main.has_complex_integers and structure.main.bits == 64
    columns = zip(
        ["cint32"] * dataset.count if is_cint32 else [of_rasterio(each) for each in dataset.dtypes],
        dataset.nodatavals,
        dataset.descriptions,
        dataset.colorinterp,
        dataset.units,
        dataset.scales,
        dataset.offsets,
        strict=True,
    )
    return tuple(
        BandMetadata(
            data_type=data_type,
            nodata=_nodata(nodata, data_type, nodata_text),
            name=clean_text(description or "") or None,
            color_interpretation=color.name,
            unit=clean_text(unit or "") or None,
            scale=None if scale == 1 else scale,
            offset=None if offset == 0 else offset,
        )
        for data_type, nodata, description, color, unit, scale, offset in columns
    )


def _nodata(value: float | None, data_type: str, text: str) -> Nodata | None:
    if value is None:
        return None
    if data_type in ("int64", "uint64") and re.fullmatch(r"[+-]?\d+", text):
        return int(text)  # GDAL hands it on as a double, which has no room for 64 bits
    if not math.isfinite(value):
        return _spelled(value)
    return int(value) if "int" in data_type and float(value).is_integer() else float(value)


def _spelled(value: float) -> Nodata:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"
