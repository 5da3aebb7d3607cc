"""The values that travel between layers: blobs, raster metadata, and what a stage did.

Here: frozen values without behaviour beyond checking themselves. Not here: the rules a user
writes (`geo_assets.sources.source`), anything that reads or writes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import ConfigDict, Field

from geo_assets.errors import DuplicateItem, GeoAssetsError, PermanentError, TransientError

Nodata = Annotated[int, Field(ge=-(2**63), lt=2**64)] | float | Literal["nan", "inf", "-inf"]
"""A nodata value as STAC 1.1 writes it: JSON has no NaN, so it is spelled.

Integers are for integer pixels: PostgreSQL gives -3.4e38 back with all its digits, which is a float all the same.
"""

SIDECARS_MARK: Final = ";sidecars="
STORE_MARK: Final = ";store="


@dataclass(frozen=True, slots=True)
class BlobRef:
    """One version of one object in a source, as a listing or a HEAD gave it.

    ``name`` is the blob's full name in its container (for a folder: the path below it, with ``/``).
    ``etag`` names the version: the store's own etag, and a digest of its world file and .prj where it has them, or of
    the Zarr store that it represents. ``md5`` is the store's own checksum in hex, None where it has none.
    ``correlation_id`` is that of the event which announced the version; it is no part of what the blob is.
    """

    name: str
    etag: str
    size_bytes: int
    last_modified: datetime
    content_type: str | None = None
    md5: str | None = None
    correlation_id: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.name or not self.etag:
            raise ValueError(f"a blob needs a name and an etag: {self.name!r}, {self.etag!r}")
        if self.size_bytes < 0:
            raise ValueError(f"{self.name}: size_bytes is negative")
        if self.last_modified.tzinfo is None:
            raise ValueError(f"{self.name}: last_modified has no time zone")

    @property
    def own_etag(self) -> str:
        """The store's own name of the version."""
        return self.etag.partition(SIDECARS_MARK)[0].partition(STORE_MARK)[0]

    @property
    def has_sidecars(self) -> bool:
        """Whether the listing saw a world file or .prj beside it."""
        return SIDECARS_MARK in self.etag


@dataclass(frozen=True, slots=True)
class BlobPage:
    """One page of a listing, and the marker its store takes to go on after it: None after the last page.

    ``asked_at`` is when it was asked for by the database's clock, None if that was not noted.
    """

    blobs: Sequence[BlobRef]
    next_marker: str | None = None
    asked_at: datetime | None = None

    def __iter__(self) -> Iterator[BlobRef]:
        return iter(self.blobs)

    def __len__(self) -> int:
        return len(self.blobs)


# JSON has no infinity and no NaN, which a header may well hold.
_SPELLED: Final = ConfigDict(ser_json_inf_nan="strings")


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Figures over the valid pixels of a band that were read; None where none is valid."""

    valid_percent: float
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None


@dataclass(frozen=True, slots=True)
class BandMetadata:
    """One band as its file describes it; None means the file does not say."""

    __pydantic_config__: ClassVar[ConfigDict] = _SPELLED

    data_type: str
    nodata: Nodata | None = None
    name: str | None = None
    color_interpretation: str | None = None
    unit: str | None = None
    scale: float | None = None
    offset: float | None = None
    statistics: BandStatistics | None = None


@dataclass(frozen=True, slots=True)
class Footprint:
    """The outline of a raster, longitude and latitude in degrees.

    ``bbox`` is (west, south, east, north), with west > east where it crosses the antimeridian (RFC 7946, 5.2).
    ``source`` says in words how it was got.
    """

    geometry: dict[str, Any]
    bbox: tuple[float, float, float, float]
    source: str


@dataclass(frozen=True, slots=True)
class GroundControl:
    """Ground control points: each (column, row, x, y), where column and row count from the raster's first corner.

    x and y are in the units of ``crs_wkt2``, longitude or easting first; None where the points have no CRS.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _SPELLED

    crs_wkt2: str | None
    points: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a raster has no footprint: the code and message of the error its item will be refused with."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RasterMetadata:
    """What the header of one raster says, and nothing it does not say.

    ``shape`` is (rows, columns). ``transform`` holds the six coefficients (a, b, c, d, e, f) that take
    (column, row) of a pixel's corner to CRS units, None where the file has no geotransform.
    ``crs_code`` is e.g. "EPSG:32618", None where the CRS has no code; ``crs_wkt2`` is None only where
    there is no CRS at all. ``tags`` are the GDAL metadata: {domain: {name: value}}, "" the default domain.
    ``crs_source`` and ``transform_source`` say where they are from, where that is not the file itself.
    ``cube`` are the fields of STAC's datacube extension, None where the file is no cube; ``time_range`` is what its
    time coordinate spans, first and last instant in UTC. ``members`` are the names of the blobs its pixels lie in,
    where that is not the file itself.
    ``statistics_source`` says which pixels the bands' statistics are of, or why there are none; None if
    none were asked for. ``footprint`` follows from the rest, and is None where it was not worked out yet;
    ``ground_control`` is there until it was. ``header_size_bytes`` at the front of the file hold all of its header
    and no pixel, None where no such number is known. ``bytes_read`` counts the bytes fetched to learn this.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _SPELLED

    driver: str
    shape: tuple[int, int]
    bands: tuple[BandMetadata, ...]
    crs_code: str | None
    crs_wkt2: str | None
    transform: tuple[float, float, float, float, float, float] | None
    block_shape: tuple[int, int]
    overview_factors: tuple[int, ...] = ()
    is_cog: bool = False
    area_or_point: Literal["Area", "Point"] = "Area"
    compression: str | None = None
    interleaving: str | None = None
    gcp_count: int = 0
    has_rpcs: bool = False
    ground_control: GroundControl | None = None
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    crs_source: str | None = None
    transform_source: str | None = None
    cube: dict[str, Any] | None = None
    time_range: tuple[datetime, datetime] | None = None
    members: tuple[str, ...] = ()
    statistics_source: str | None = None
    footprint: Footprint | Refusal | None = None
    byte_order: Literal["little-endian", "big-endian"] | None = None
    header_size_bytes: int | None = None
    bytes_read: int = 0

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not self.bands:
            raise ValueError(f"not a raster: shape {self.shape}, {len(self.bands)} bands")


class Version(Protocol):
    """One version of a blob, by the name and etag that say so."""

    @property
    def name(self) -> str:
        """The blob's name."""
        ...

    @property
    def etag(self) -> str:
        """The version."""
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one version of one blob could not go on: stored in the ledger, shown to people.

    After ``max_attempts`` at the version that fail so it is permanent, whatever ``permanent`` says; None: never.
    ``item_id`` is the one that it wanted, if another blob has that.
    """

    name: str
    etag: str
    code: str
    message: str
    permanent: bool
    max_attempts: int | None = None
    item_id: str | None = None
    remedy: str = ""

    @classmethod
    def of(cls, blob: Version, error: GeoAssetsError) -> "Failure":
        """The failure that ``error`` is for ``blob``."""
        max_attempts = error.max_attempts if isinstance(error, TransientError) else None
        item_id = error.item_id if isinstance(error, DuplicateItem) else None
        permanent = isinstance(error, PermanentError)
        return cls(blob.name, blob.etag, error.code, error.message, permanent, max_attempts, item_id, error.remedy)


@dataclass(frozen=True, slots=True)
class SilverFile:
    """A file that the ledger knows in an output location, of raster ``name``; a ``kept`` one outlives its raster."""

    place: str
    name_in_place: str
    source: str
    name: str
    kept: bool
    announced_at: datetime


Channel = Literal["storage_queue", "service_bus"]
"""How an event came: the names of the two kinds of queue, in the ledger and in what people see."""


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of one message.

    ``body`` is as it lay in the queue: not decoded from base64, not parsed. ``delivery_count`` is 1 the first time.
    ``receipt`` is what its queue settles it by.
    """

    body: bytes
    message_id: str
    delivery_count: int
    enqueued_at: datetime | None
    correlation_id: str | None
    receipt: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """The last run asked for on behalf of a source: what for, which try it was, and when."""

    digest: str
    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class AskedRun:
    """The last run asked for on behalf of a source by any sensor: by which, and under which key."""

    sensor: str
    run_key: str
    request: Request
