"""The readers of /raster: which blobs GDAL may open, each by one driver, each read paid for before it is made.

Here: the layer between the library's readers and GDAL; the one step between what an item says and GDAL, from an asset's
address to a path: only of blobs below a declared source, by our own credential. Whoever may write items could else have
GDAL fetch any address (SSRF) or read any file of this machine. Not here: the limits (`drawing`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import attr
import numpy
import rasterio
from azure.identity import DefaultAzureCredential
from cachetools import TTLCache
from fastapi import Request
from rio_tiler.constants import WGS84_CRS
from rio_tiler.expression import get_expression_blocks, parse_expression
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from rio_tiler.types import AssetInfo, AssetType
from titiler.core.dependencies import DefaultDependency, PartFeatureParams
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image
from titiler.pgstac.backend import PGSTACBackend
from titiler.pgstac.reader import PgSTACReader, SimpleSTACReader

from geo_assets.api.drawing import DrawingBudget
from geo_assets.api.problems import Forbidden, InvalidRequest, RequestTooLarge
from geo_assets.api.raster_cost import Cost, Wanted, block_bytes, cost_of_point, cost_of_read, require_on_earth
from geo_assets.raster.bands import is_complex, of_rasterio
from geo_assets.settings import Settings
from geo_assets.sources.source import Place, Source
from geo_assets.storage.blob_stores import azure_resource

_TOKEN_MARGIN_SECONDS = 300
_STORAGE_SCOPE = "https://storage.azure.com/.default"
# Of one blob GDAL sees nothing but the blob: no folder, no sidecar, nothing kept of a version that is gone.
BLOB_ENVIRONMENT: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_NON_CACHED": "/vsiaz/",
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_FOLLOWLOCATION": "NO",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_MAX_DATASET_POOL_SIZE": "64",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 64 * 1024 * 1024,  # of the whole process: GDAL's own would be a twentieth of the machine's memory
}
Interval = tuple[float, float]
LOW, HIGH = 2, 98
"""Percentiles of the values that become black and white: a few outliers do not make all else grey."""
SAMPLE_SIZE = 256
"""Pixels a side of the look at the whole raster, which takes its overviews."""
_PICTURES = (None, ImageType.png, ImageType.jpeg, ImageType.jpg, ImageType.webp)
_KNOWN: TTLCache[tuple[Any, ...], list[Interval]] = TTLCache(maxsize=2048, ttl=60)
_LOCK = Lock()
# What GDAL takes a blob for, whatever the blob says: a VRT that is called .tif would have it open what the VRT names.
DRIVERS = {
    "image/tiff": "GTiff",
    "image/tiff; application=geotiff": "GTiff",
    "image/tiff; application=geotiff; profile=cloud-optimized": "GTiff",
    "image/jp2": "JP2OpenJPEG",
    "image/png": "PNG",
    "image/jpeg": "JPEG",
}
# A block is decoded whole: one of 72 KB in a file can be a gigabyte in memory.
MOST_BLOCK_BYTES = 128 * 1024 * 1024
DEFAULT_SIDE = 1024
"""Pixels of the longer side of a picture of a box or a shape, where the request names no size."""
# rio-tiler tries an expression on each combination of the bands' lowest and highest values.
_MOST_BANDS_WITH_USUAL_VALUES = 6
# So much of a file is asked for at first, whatever an item says of its header.
_MOST_INGESTED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobPath:
    """A path for GDAL, and the options to open it with; these hold the credential."""

    path: str
    options: Mapping[str, str]


class BlobPaths:
    """Which blobs may be opened, and how."""

    def __init__(self, settings: Callable[[], Settings], sources: Callable[[], Mapping[str, Source]]) -> None:
        """``settings`` and ``sources`` are asked for each time: both files may change."""
        self._settings = settings
        self._sources = sources
        self._credential: DefaultAzureCredential | None = None
        self._token = ("", 0.0)

    def of(self, href: str) -> BlobPath:
        """How to open the blob at ``href``. Raises Forbidden unless it lies below a source, or where COGs are put."""
        parts = urlsplit(href)
        found: BlobPath | None = None
        if not parts.query and not parts.fragment and not _has_steps(unquote(parts.path)):
            if parts.scheme == "file" and parts.netloc in ("", "localhost"):
                found = self._local(Path(unquote(parts.path)))
            elif parts.scheme == "az":
                found = self._azure(parts.netloc, unquote(parts.path).removeprefix("/"))
            elif parts.scheme in ("https", "http"):
                found = self._by_url(href)
        if found is None:
            raise Forbidden(
                "The asset's address is not below a declared source, so it is not opened.",
                remedy="Declare a source for it in sources.yaml.",
            )
        return found

    def _places(self) -> list[Place]:
        """Where blobs lie that may be opened, by sources.yaml as it is now."""
        sources, settings = self._sources().values(), self._settings()
        made = [source.cogs.url for source in sources if source.cogs is not None and source.cogs.url]
        silver = settings.silver or (settings.state_folder / "silver").as_uri()
        return [Place.of(url) for url in (*(source.url for source in sources), *made, silver)]

    def _local(self, path: Path) -> BlobPath | None:
        try:
            real = path.resolve(strict=True)
        except OSError:
            return None
        allowed = any(
            place.folder is not None and real.is_relative_to(place.folder.resolve()) for place in self._places()
        )
        return BlobPath(str(real), {}) if allowed else None

    def _by_url(self, href: str) -> BlobPath | None:
        if not any(place.container for place in self._places()):
            return None
        account = azure_resource(self._settings()).account_url.rstrip("/")
        wanted, given = urlsplit(account), urlsplit(href)
        base = wanted.path.rstrip("/") + "/"
        if (given.scheme, given.netloc) != (wanted.scheme, wanted.netloc) or not given.path.startswith(base):
            return None
        container, _, name = unquote(given.path[len(base) :]).partition("/")
        return self._azure(container, name)

    def _azure(self, container: str, name: str) -> BlobPath | None:
        allowed = any(place.container == container and name.startswith(place.prefix) for place in self._places())
        return BlobPath(f"/vsiaz/{container}/{name}", self._azure_options()) if allowed and container and name else None

    def _azure_options(self) -> dict[str, str]:
        """The credential of the pipeline, as GDAL takes it."""
        resource = azure_resource(self._settings())
        credential: Any = resource.credential
        account_url = resource.account_url.rstrip("/")
        account = _account_name(account_url)
        endpoint = f"BlobEndpoint={account_url};AccountName={account}"
        # Without a key GDAL takes no connection string, and would look for the account in the public cloud.
        place = {"AZURE_STORAGE_ACCOUNT": account, "CPL_AZURE_ENDPOINT": account_url}
        match credential.credential_type:
            case "key":
                return {"AZURE_STORAGE_CONNECTION_STRING": f"{endpoint};AccountKey={credential.key}"}
            case "sas":
                token = credential.token.lstrip("?")
                return {"AZURE_STORAGE_CONNECTION_STRING": f"{endpoint};SharedAccessSignature={token}"}
            case "anonymous":
                return {**place, "AZURE_NO_SIGN_REQUEST": "YES"}
            case _:
                return {**place, "AZURE_STORAGE_ACCESS_TOKEN": self._access_token()}

    def _access_token(self) -> str:
        """A token of what DefaultAzureCredential finds, such as a managed identity, until shortly before its end."""
        token, ends = self._token
        if time.time() > ends - _TOKEN_MARGIN_SECONDS:
            self._credential = self._credential or DefaultAzureCredential()
            got = self._credential.get_token(_STORAGE_SCOPE)
            self._token = (token, _) = (got.token, float(got.expires_on))
        return token


def _account_name(account_url: str) -> str:
    parts = urlsplit(account_url)
    return parts.path.strip("/") or (parts.hostname or "").partition(".")[0]


def _has_steps(path: str) -> bool:
    return bool({".", ".."} & set(path.split("/"))) or "\\" in path or "\0" in path


@attr.s
class StretchingReader(Reader):  # type: ignore[misc]
    """A reader whose images know the usual values of their whole raster, so that its tiles are alike."""

    def part(self, *arguments: Any, **options: Any) -> ImageData:
        """The part of the raster in a box; tiles and features are parts too."""
        return self._with_usual_values(super().part(*arguments, **options), options)

    def preview(self, *arguments: Any, **options: Any) -> ImageData:
        """The whole raster in few pixels."""
        return self._with_usual_values(super().preview(*arguments, **options), options)

    def sample(self, indexes: Any) -> ImageData | None:
        """The whole raster in very few pixels; None where that would take too long."""
        return super().preview(indexes=indexes, max_size=SAMPLE_SIZE)

    def _with_usual_values(self, image: ImageData, options: dict[str, Any]) -> ImageData:
        if image.array.dtype == numpy.uint8 or image.dataset_statistics or options.get("expression"):
            return image
        bands = options.get("indexes")
        key = (self.input, str(bands), image.count)
        with _LOCK:
            known = _KNOWN.get(key)
        if known is None:
            sample = self.sample(bands)
            if sample is None:
                return image
            known = [usual_values(band) for band in sample.array]
            with _LOCK:
                _KNOWN[key] = known
        image.dataset_statistics = known
        return image


def usual_values(band: "numpy.ma.MaskedArray[Any, Any]") -> Interval:
    """The percentiles `LOW` and `HIGH` of a band's valid and finite values; 0 and 1 where it has none."""
    values = band.compressed().astype("float64")
    values = values[numpy.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in numpy.percentile(values, [LOW, HIGH]))
    return (low, high) if high > low else (low, low + 1.0)


def render_stretched(image: ImageData, **options: Any) -> tuple[bytes, str]:
    """titiler's rendering, after a stretch of values that the caller did not stretch, colour, or ask for as data."""
    is_asked_for = options.get("rescale") or options.get("colormap") or options.get("color_formula")
    is_picture = options.get("output_format") in _PICTURES
    if is_picture and not is_asked_for and image.array.dtype != numpy.uint8:
        image.rescale(image.dataset_statistics or [usual_values(band) for band in image.array])
    content, media_type = render_image(image, **options)
    return content, media_type


@attr.s
class GuardedReader(StretchingReader):
    """A reader of one blob by one driver, which refuses what would bloat in memory or take too long."""

    driver: str = attr.ib(default="GTiff", kw_only=True)
    budget: DrawingBudget = attr.ib(factory=DrawingBudget, kw_only=True)
    parts: int = attr.ib(default=1, kw_only=True)
    outputs: int = attr.ib(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.dataset is None:
            self.budget.count_opened()
            self.dataset: Any = self._ctx_stack.enter_context(rasterio.open(self.input, driver=self.driver))
            _require_small_blocks(self.dataset)
        super().__attrs_post_init__()

    def part(self, bbox: Any, dst_crs: Any = None, bounds_crs: Any = WGS84_CRS, **options: Any) -> ImageData:
        """The part of the raster in a box. Raises RequestTooLarge, Busy and InvalidRequest."""
        self._charge_read(options, bounds=tuple(bbox), bounds_crs=bounds_crs, dst_crs=dst_crs or bounds_crs)
        return super().part(bbox, dst_crs=dst_crs, bounds_crs=bounds_crs, **options)

    def read(self, **options: Any) -> ImageData:
        """The whole raster. Raises RequestTooLarge, Busy and InvalidRequest."""
        self._charge_read(options, dst_crs=options.get("dst_crs"))
        return super().read(**options)

    def point(self, *arguments: Any, **options: Any) -> Any:
        """One pixel. Raises RequestTooLarge and Busy."""
        self._charge(cost_of_point(self.dataset))
        return super().point(*arguments, **options)

    def info(self, **_: Any) -> Any:
        """What the header says, also where bands of the asset are named."""
        return super().info()

    def sample(self, indexes: Any) -> ImageData | None:
        """The whole raster in very few pixels; None where that costs more than the request may."""
        try:
            return super().sample(indexes)
        except RequestTooLarge:
            return None

    def _charge_read(self, options: dict[str, Any], **place: Any) -> None:
        expression = options.get("expression")
        wanted = Wanted(
            indexes=parse_expression(expression) if expression else _as_tuple(options.get("indexes")),
            width=options.get("width"),
            height=options.get("height"),
            max_size=options.get("max_size"),
            buffer=options.get("buffer") or 0.0,
            padding=options.get("padding") or 0,
            nearest=options.get("resampling_method", "nearest") == "nearest",
            align=bool(options.get("align_bounds_with_dataset")),
            **place,
        )
        self._charge(cost_of_read(self.dataset, wanted), outputs=_outputs(expression))

    def _charge(self, cost: Cost, *, outputs: int = 0) -> None:
        if any(is_complex(of_rasterio(dtype)) for dtype in self.dataset.dtypes):
            raise InvalidRequest(
                "The raster's values are complex numbers, of which no picture and no figures are made here.",
                remedy="Draw another asset of the item, such as its thumbnail, or read the file itself.",
            )
        outputs = max(outputs, self.outputs)
        self.budget.charge(cost, parts=self.parts, outputs=outputs, has_colours=bool(self.colormap))


class _Guarding:
    """What the readers of an item's assets have in common."""

    blob_paths: ClassVar[BlobPaths]
    budget: DrawingBudget
    _parts = 1
    _outputs = 0

    def point(self, *arguments: Any, **options: Any) -> Any:
        """One pixel of each asset."""
        self._start(options)
        return super().point(*arguments, **options)  # type: ignore[misc]

    def statistics(self, *arguments: Any, **options: Any) -> Any:
        """Figures of each asset, separately."""
        self._start({})
        return super().statistics(*arguments, **options)  # type: ignore[misc]

    def tile(self, *arguments: Any, expression: str | None = None, **options: Any) -> ImageData:
        """A tile of the assets as one picture."""
        return self._drawn(super().tile, arguments, options, expression)  # type: ignore[misc]

    def part(self, *arguments: Any, expression: str | None = None, **options: Any) -> ImageData:
        """A box of the assets as one picture."""
        return self._drawn(super().part, arguments, options, expression)  # type: ignore[misc]

    def preview(self, *arguments: Any, expression: str | None = None, **options: Any) -> ImageData:
        """The whole of the assets as one picture."""
        return self._drawn(super().preview, arguments, options, expression)  # type: ignore[misc]

    def feature(self, *arguments: Any, expression: str | None = None, **options: Any) -> ImageData:
        """A shape of the assets as one picture."""
        return self._drawn(super().feature, arguments, options, expression)  # type: ignore[misc]

    def _drawn(
        self, draw: Callable[..., ImageData], arguments: Any, options: dict[str, Any], expression: str | None
    ) -> ImageData:
        """The picture; with an expression as the library applies it, but to few enough usual values of bands."""
        self._start({**options, "expression": expression})
        image = draw(*arguments, **options)
        if not expression:
            return image
        if image.count > _MOST_BANDS_WITH_USUAL_VALUES:
            image.dataset_statistics = None
        return image.apply_expression(expression)

    def _start(self, options: dict[str, Any]) -> None:
        assets = options.get("assets")
        self._parts = len(assets) if isinstance(assets, list | tuple) and assets else 1
        self._outputs = _outputs(options.get("expression"))

    def _get_asset_info(self, asset: AssetType) -> AssetInfo:
        info: AssetInfo = super()._get_asset_info(asset)  # type: ignore[misc]
        blob = self.blob_paths.of(info["url"])
        driver = DRIVERS.get(str(info.get("media_type") or "image/tiff"))
        if driver is None:
            raise InvalidRequest(
                f"The asset {info['name']} is of a type that is not drawn.",
                remedy="Choose another of the item's assets.",
            )
        own = {"driver": driver, "budget": self.budget, "parts": self._parts, "outputs": self._outputs}
        guarded: AssetInfo = {
            **info,
            "url": blob.path,
            "env": {**_bounded(info.get("env", {})), **BLOB_ENVIRONMENT, **blob.options},
            "reader_options": {**info.get("reader_options", {}), **own},
        }
        return guarded


@attr.s
class ItemReader(_Guarding, PgSTACReader):
    """An item's assets, opened only where `BlobPaths` lets them be."""

    include_asset_types: set[str] = attr.ib(factory=lambda: set(DRIVERS))
    reader: type[Reader] = attr.ib(default=GuardedReader)
    budget: DrawingBudget = attr.ib(factory=DrawingBudget, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """A thumbnail is a picture for people and lies nowhere on the globe, so it is none of the assets drawn."""
        super().__attrs_post_init__()  # type: ignore[no-untyped-call]
        assets = self.input.assets
        self.assets = [name for name in self.assets if "thumbnail" not in (assets[name].roles or ())]

    def _start(self, options: dict[str, Any]) -> None:
        super()._start(options)
        self.budget.start_picture()


@attr.s
class MosaicItemReader(_Guarding, SimpleSTACReader):
    """The same for the items of a mosaic, whose pictures lie in memory together."""

    reader: type[Reader] = attr.ib(default=GuardedReader)
    budget: DrawingBudget = attr.ib(factory=DrawingBudget, kw_only=True)


@attr.s
class GuardedBackend(PGSTACBackend):
    """A mosaic's items, which are looked for on the Earth only."""

    def assets_for_bbox(self, *box: float, **options: Any) -> Any:
        """The items below a box. Raises InvalidRequest for one that is nowhere."""
        require_on_earth(box)
        return super().assets_for_bbox(*box, **options)


@dataclass
class ReaderParams(DefaultDependency):
    """What a reader is given of its request: the account that its reads are charged to."""

    request: Request

    def as_dict(self, exclude_none: bool = True) -> dict[str, Any]:  # noqa: ARG002 (the library's signature)
        """The reader's options; a request that draws nothing has a budget of its own."""
        return {"budget": getattr(self.request.state, "drawing", None) or DrawingBudget()}


@dataclass
class PartParams(PartFeatureParams):
    """The size of a picture of a box or a shape; figures are of every pixel where they name no size."""

    request: Request = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        if not (self.width or self.height or self.max_size) and not self.request.url.path.endswith("/statistics"):
            self.max_size = DEFAULT_SIDE
        del self.request


def _bounded(environment: dict[str, Any]) -> dict[str, Any]:
    """GDAL's options that an item's asset brings: only how much of the file is asked for at first."""
    size = environment.get("GDAL_INGESTED_BYTES_AT_OPEN")
    return {"GDAL_INGESTED_BYTES_AT_OPEN": min(size, _MOST_INGESTED_BYTES)} if isinstance(size, int) else {}


def _outputs(expression: str | None) -> int:
    return len(get_expression_blocks(expression)) if expression else 0


def _as_tuple(indexes: Any) -> tuple[int, ...] | None:
    if indexes is None:
        return None
    return (indexes,) if isinstance(indexes, int) else tuple(indexes)


def _require_small_blocks(dataset: Any) -> None:
    if (size := block_bytes(dataset)) > MOST_BLOCK_BYTES:
        raise RequestTooLarge(
            f"A block of the raster takes {size:,} bytes of memory; at most {MOST_BLOCK_BYTES:,} are decoded.",
            remedy="Rewrite it with smaller blocks.",
        )
