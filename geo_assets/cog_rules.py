"""The key `cogs` of a source in sources.yaml: that its rasters become Cloud Optimized GeoTIFFs, and of what kind.

Here: the schema of the key. Not here: what follows from it for one raster (`geo_assets.core.cog`).
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from rasterio.crs import CRS
from rasterio.errors import CRSError

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


class CogRule(BaseModel):
    """How the rasters of a source become COGs.

    ``url`` is where they go, az://container/prefix or file:///folder; by default the silver place. ``profile`` is the
    compression: lossless, but for jpeg, webp with a ``quality`` below 100 and lerc with a ``max_error`` (in units of
    the pixels). ``kind`` is guessed of each raster where it is not stated, and decides ``resampling`` where that is
    not: classes are never averaged. With ``target_crs`` or ``tiling_scheme`` pixels are resampled; without, a lossless
    COG has the very pixels of its raster. ``nodata`` is for rasters that state none. ``bands`` count from 1; ``clip``
    is (west, south, east, north) in degrees, EPSG:4326. A raster with more than ``most_pixels`` (rows x columns x
    bands) is refused. ``thumbnail`` is the longer side of the preview in pixels, 0 for none. One run makes the COGs of
    at most ``most_a_run`` rasters, so that no run keeps a source's other runs waiting for long. A COG goes with its
    raster, unless ``keep`` says otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(default=None, pattern=r"^(az://[^/]+|file:///)")
    profile: Profile = "deflate"
    quality: int = Field(default=85, ge=1, le=100)
    max_error: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    block_size: Literal[128, 256, 512, 1024, 2048] = 512
    overviews: bool = True
    kind: Kind | None = None
    resampling: Resampling | None = None
    target_crs: Annotated[str, AfterValidator(_known_crs)] | None = None
    tiling_scheme: Literal["GoogleMapsCompatible"] | None = None
    nodata: float | None = None
    predictor: bool = True
    bigtiff: Literal["if_safer", "yes", "no"] = "if_safer"
    bands: tuple[Annotated[int, Field(ge=1)], ...] = ()
    clip: tuple[float, float, float, float] | None = None
    most_pixels: int = Field(default=10_000_000_000, ge=1)
    thumbnail: int = Field(default=512, ge=0, le=2048)
    most_a_run: int = Field(default=200, ge=1)
    keep: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.target_crs is not None and self.tiling_scheme is not None:
            raise ValueError("a tiling_scheme has a CRS of its own: take target_crs away")
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
        """Digest of all that decides what a COG is like and where it lies: when it changes, COGs are made anew."""
        rule = self.model_dump_json(exclude={"most_a_run", "keep", "most_pixels"})
        return hashlib.sha256(rule.encode()).hexdigest()[:16]
