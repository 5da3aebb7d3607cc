"""The key `cogs` of a source in sources.yaml: that its rasters become Cloud Optimized GeoTIFFs, and of what kind.

Here: the schema of the key. Not here: what follows from it for one raster (`geo_assets.cogs`).
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AliasChoices, Field, model_validator
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geo_assets.sources.rules import Rule

Kind = Literal["rgb", "categorical", "elevation", "multispectral", "continuous"]
"""What the numbers of a raster are: a picture, classes or flags, heights, bands of a spectrum, or anything measured."""
Resampling = Literal["nearest", "mode", "average", "bilinear", "cubic", "cubicspline", "lanczos", "rms"]
Profile = Literal["deflate", "zstd", "lzw", "lerc", "jpeg", "webp"]

LOSSLESS_QUALITY = 100


def _known_crs(text: str) -> str:
    try:
        CRS.from_user_input(text)
    except CRSError as error:
        raise ValueError(f"{text!r} is no coordinate reference system, such as EPSG:25832") from error
    return text


class CogRule(Rule):
    """How the rasters of a source become COGs (docs/guides/cogs.md).

    Without `target_crs` and `tiling_scheme` no pixel moves, and a lossless COG has the very pixels of its raster.
    """

    url: str | None = Field(default=None, pattern=r"^(az://[^/]+|file:///)")
    """Where COGs go: `az://container/prefix` or `file:///folder`, not within a source; default: the output location."""
    profile: Profile = "deflate"
    """The compression. Lossless, but for jpeg, webp with a `quality` below 100, and lerc with a `max_error`."""
    quality: int = Field(default=85, ge=1, le=100)
    """Of jpeg and webp; webp is lossless with 100."""
    max_error: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of lerc: how far a value may be off, in units of the pixels."""
    block_size: Literal[128, 256, 512, 1024, 2048] = 512
    """Pixels a side of a block."""
    overviews: bool = True
    """Whether there are any."""
    kind: Kind | None = None
    """What the numbers are; guessed of each raster where it is not stated."""
    resampling: Resampling | None = None
    """Of overviews and warping. By default classes take mode and nearest, which make up no value; all else average and
    bilinear."""
    target_crs: Annotated[str, AfterValidator(_known_crs)] | None = None
    """The CRS that pixels are resampled to."""
    tiling_scheme: Literal["GoogleMapsCompatible"] | None = None
    """The tiles that pixels are resampled to; cannot be combined with `target_crs`."""
    nodata: float | None = None
    """For rasters that state none."""
    predictor: bool = True
    """As in GDAL."""
    bigtiff: Literal["if_safer", "yes", "no"] = "if_safer"
    """As in GDAL."""
    bands: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Which bands, counted from 1, in this order; all by default."""
    clip: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees."""
    max_pixels: int = Field(default=10_000_000_000, ge=1, validation_alias=AliasChoices("max_pixels", "most_pixels"))
    """A raster with more values (rows x columns x bands) is refused."""
    thumbnail: int = Field(default=512, ge=0, le=2048)
    """Pixels of the preview's longer side, 0 for none."""
    max_per_run: int = Field(default=200, ge=1, validation_alias=AliasChoices("max_per_run", "most_a_run"))
    """How many rasters one run takes, so that the source's other runs need not wait."""
    keep: bool = False
    """Whether a COG stays when its raster is deleted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.target_crs is not None and self.tiling_scheme is not None:
            raise ValueError("a tiling_scheme has a CRS of its own: remove target_crs")
        if self.clip is not None:
            west, south, east, north = self.clip
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise ValueError("clip is west, south, east, north in degrees")
        if self.max_error and self.profile != "lerc":
            raise ValueError("max_error goes with the profile lerc only")
        return self

    @property
    def is_lossless(self) -> bool:
        """Whether the profile keeps every value it is given."""
        if self.profile == "webp":
            return self.quality == LOSSLESS_QUALITY
        return self.profile != "jpeg" and not self.max_error

    @property
    def is_resampled(self) -> bool:
        """Whether pixels move."""
        return self.target_crs is not None or self.tiling_scheme is not None

    @property
    def digest(self) -> str:
        """Digest of all that decides what a COG is like and where it is: when it changes, COGs are made again."""
        rule = self.model_dump_json(exclude={"max_per_run", "keep", "max_pixels"})
        return hashlib.sha256(rule.encode()).hexdigest()[:16]
