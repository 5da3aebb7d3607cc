"""From a rule and a raster's header to what its COG will be: its kind, name, GDAL's options, or why there is none.

Here: deciding. The kind of raster, by what its file says and, where that says little, by the values of a sample: a
guess with its reason, which a person may overrule in sources.yaml. What must hold before a pixel is read. Which rasters
share a step: small ones, for a step costs more than they do; a large one has one of its own. Not here: making the COG
(`geo_assets.cogs.writer`), what a step does (`geo_assets.assets.cogs`).

Source of the options: GDAL's COG driver, https://gdal.org/drivers/raster/cog.html.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from geo_assets.errors import MissingCrs, MissingTransform, TooLarge, UnfitForProfile, UnsupportedFormat
from geo_assets.models import BandMetadata, RasterMetadata
from geo_assets.raster.bands import REAL, bytes_of, is_complex, is_integer
from geo_assets.sources.cog_rules import CogRule, Kind

MOST_CLASSES = 64
"""An integer band whose sample has no more different values than this holds classes or flags."""
FEWEST_SPECTRAL = 4
_COLOURS = {"red", "green", "blue"}
_LENGTHS = {"m", "metre", "meter", "metres", "meters", "ft", "foot", "feet", "us survey foot"}


@dataclass(frozen=True, slots=True)
class KindGuess:
    """The kind and why."""

    kind: Kind
    reason: str


def guess_kind(metadata: RasterMetadata, *, different_values: int | None) -> KindGuess:
    """The kind of a raster; ``different_values`` is how many the sample of its first band has, None: too many."""
    bands = metadata.bands
    colours = [band.color_interpretation for band in bands]
    if "palette" in colours:
        return KindGuess("categorical", "a band has a palette")
    if set(colours) >= _COLOURS:
        return KindGuess("rgb", "its bands are called red, green and blue")
    data = [band for band in bands if band.color_interpretation != "alpha"]
    if len(data) >= FEWEST_SPECTRAL:
        return KindGuess("multispectral", f"it has {len(data)} bands")
    if len(data) == 1 and (data[0].unit or "").strip().lower() in _LENGTHS:
        return KindGuess("elevation", f"its one band is in {data[0].unit}")
    if _are_integers(data) and different_values is not None and different_values <= MOST_CLASSES:
        return KindGuess("categorical", f"a sample of its first band has {different_values} different values")
    return KindGuess("continuous", f"{len(data)} band{'s' if len(data) > 1 else ''} of {data[0].data_type}")


def _are_integers(bands: Sequence[BandMetadata]) -> bool:
    return all(is_integer(band.data_type) for band in bands)


def suspicious_nodata(metadata: RasterMetadata, *, values: Sequence[float]) -> str | None:
    """A remark where a sample of the first band is mostly one value that looks like nodata and is not said to be it.

    ``values`` are the sample's most frequent value, its share (0 to 1), and the least and the greatest value.
    """
    if len(values) < 4 or metadata.bands[0].nodata is not None:
        return None
    frequent, share, least, greatest = values
    extreme = frequent in (least, greatest) and least < greatest
    looks_so = frequent in (0.0, -9999.0, -32768.0, 65535.0, 255.0) or abs(frequent) > 1e30
    if share > 0.05 and extreme and looks_so:
        return (
            f"{share:.0%} of a sample are {frequent:g}, and no nodata value is stated: state cogs.nodata if that is it"
        )
    return None


DRIVERS = frozenset({"GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG"})
"""Formats that are one file with one grid."""
_COMPRESSIONS = {"deflate": "DEFLATE", "zstd": "ZSTD", "lzw": "LZW", "lerc": "LERC", "jpeg": "JPEG", "webp": "WEBP"}
_PREDICTED = frozenset({"deflate", "zstd", "lzw"})
# Of a LERC file without loss the header says LERC_DEFLATE or the like in some versions: only these are compared.
_LINKED_PROFILES = {"deflate": {"DEFLATE"}, "zstd": {"ZSTD"}, "lzw": {"LZW"}}
# libtiff's LERC has no larger integers, and no complex numbers.
_IN_LERC = REAL - {"int64", "uint64"}
_OVERVIEW_SHARE = 1 / 3
_TIFFS = frozenset({".tif", ".tiff"})
_THUMBNAIL = ".thumbnail.png"


def check_fit(metadata: RasterMetadata, rule: CogRule) -> None:
    """Raise the reason why there can be no COG of this raster by this rule, if there is one.

    Raises UnsupportedFormat, MissingCrs, MissingTransform, TooLarge or UnfitForProfile.
    """
    if metadata.driver not in DRIVERS or metadata.cube is not None or metadata.members:
        raise UnsupportedFormat(
            f"A {metadata.driver} is not one file with one grid, of which a COG could be made.",
            remedy="Exclude it from a source with `cogs`, or convert it to GeoTIFF.",
        )
    if metadata.crs_wkt2 is None and not metadata.gcp_count and not metadata.has_rpcs:
        raise MissingCrs(
            "The raster has no CRS, and none is made up for its COG.",
            remedy="Write the CRS into the file, or state assume_crs in the source.",
        )
    if metadata.transform is None and not metadata.gcp_count and not metadata.has_rpcs:
        raise MissingTransform("The raster has no geotransform, so its COG would lie nowhere.")
    pixels = metadata.shape[0] * metadata.shape[1] * len(metadata.bands)
    if pixels > rule.max_pixels:
        raise TooLarge(
            f"The raster has {pixels:,} values, more than the {rule.max_pixels:,} of cogs.max_pixels.",
            remedy="Raise cogs.max_pixels in the source, or split the raster.",
        )
    if rule.bands and max(rule.bands) > len(metadata.bands):
        raise UnfitForProfile(f"`cogs.bands` names band {max(rule.bands)}, but the raster has {len(metadata.bands)}.")
    types = {band.data_type for band in metadata.bands}
    if rule.profile in ("jpeg", "webp") and types != {"uint8"}:
        raise UnfitForProfile(f"{rule.profile} supports 8-bit bands only; the raster has {', '.join(sorted(types))}.")
    number = len(rule.bands or metadata.bands)
    if rule.profile == "webp" and number not in (3, 4):
        raise UnfitForProfile(f"WebP supports 3 or 4 bands; the raster has {number}.")
    if rule.profile == "jpeg" and number not in (1, 3, 4):
        raise UnfitForProfile(f"JPEG supports 1, 3 or 4 bands; the raster has {number}.")
    if rule.profile == "lerc" and (unfit := types - _IN_LERC):
        raise UnfitForProfile(f"LERC does not support bands of {', '.join(sorted(unfit))}.")


def is_as_ruled(metadata: RasterMetadata, rule: CogRule) -> bool:
    """Whether the raster is a COG already, and one that the rule would make: then it is linked, and nothing is made."""
    has_overviews = bool(metadata.overview_factors) or max(metadata.shape) <= rule.block_size
    nodata_is_kept = rule.nodata is None or all(band.nodata is not None for band in metadata.bands)
    return (
        metadata.is_cog
        and has_overviews
        and (metadata.compression or "").upper() in _LINKED_PROFILES.get(rule.profile, ())
        and metadata.block_shape == (rule.block_size, rule.block_size)
        and nodata_is_kept
        and not (rule.is_resampled or rule.bands or rule.clip)
        and metadata.crs_source is None
        and metadata.transform_source is None
    )


def cog_name(*, source: str, prefix: str, blob_name: str) -> str:
    """The name of the COG in its place: below the source's name as the blob is below the prefix."""
    path = PurePosixPath(blob_name.removeprefix(prefix))
    suffix = "" if path.suffix.lower() in _TIFFS else ".cog.tif"
    return f"{files_start(source)}{path}{suffix}"


def thumbnail_name(cog: str) -> str:
    """The name of the thumbnail beside a COG."""
    return f"{cog.removesuffix('.tif')}{_THUMBNAIL}"


def files_start(source: str) -> str:
    """How the names of all files that `cog_name` and `thumbnail_name` give for ``source`` start."""
    return f"cogs/{source}/"


def may_be_of_cog(name_in_place: str) -> bool:
    """Whether `cog_name` or `thumbnail_name` may have given this name: others are of other people's files."""
    return PurePosixPath(name_in_place).suffix.lower() in _TIFFS or name_in_place.endswith(_THUMBNAIL)


def creation_options(
    metadata: RasterMetadata, rule: CogRule, *, kind: Kind, threads: int, has_part_bytes: bool = False
) -> dict[str, str]:
    """The options of GDAL's COG driver for this raster; ``has_part_bytes``: its samples have fewer bits than its type.

    Whole numbers of 1 to 7, 9 to 15 or the like bits become as many bits as their type has, with the same values: no
    predictor, and few readers, take others. Floats of 16 bits stay so, except in LERC, which has none.
    """
    is_classes = kind == "categorical"
    types = {band.data_type for band in metadata.bands}
    options = {
        "COMPRESS": _COMPRESSIONS[rule.profile],
        "BLOCKSIZE": str(rule.block_size),
        "BIGTIFF": rule.bigtiff.upper(),
        "NUM_THREADS": str(threads),
        "OVERVIEWS": "IGNORE_EXISTING" if rule.overviews else "NONE",
        "OVERVIEW_RESAMPLING": (rule.resampling or ("mode" if is_classes else "average")).upper(),
        "STATISTICS": "NO",
    }
    if rule.profile in _PREDICTED and rule.predictor and not any(map(is_complex, types)):
        options["PREDICTOR"] = "YES"
    if has_part_bytes and (rule.profile == "lerc" or all(map(is_integer, types))):
        options["NBITS"] = str(8 * bytes_of(types))
    if rule.profile == "lerc":
        options["MAX_Z_ERROR"] = repr(rule.max_error)
    if rule.profile in ("jpeg", "webp"):
        options["QUALITY"] = str(rule.quality)
    if rule.is_resampled:
        options["WARP_RESAMPLING"] = (rule.resampling or ("nearest" if is_classes else "bilinear")).upper()
        if rule.tiling_scheme:
            options["TILING_SCHEME"] = rule.tiling_scheme
        elif rule.target_crs:
            options["TARGET_SRS"] = rule.target_crs
    return options


def scratch_bytes(metadata: RasterMetadata, *, size_bytes: int) -> int:
    """The most that making the COG may take on disk: the raster, its COG and its overviews, as if nothing shrank."""
    rows, columns = metadata.shape
    each = sum(bytes_of([band.data_type]) for band in metadata.bands)
    return int(size_bytes + rows * columns * each * (1 + 2 * _OVERVIEW_SHARE)) + 2**20


LARGE_BYTES = 64 * 1024**2
BATCH_BYTES = 256 * 1024**2
MOST_IN_A_BATCH = 32


class Sized(Protocol):
    """Anything of which the bytes are known."""

    @property
    def size_bytes(self) -> int:
        """Its bytes."""
        ...


S = TypeVar("S", bound=Sized)


def cut_batches(rasters: Sequence[S]) -> Iterator[list[S]]:
    """The rasters in their order, the large ones alone."""
    batch: list[S] = []
    for raster in rasters:
        if raster.size_bytes >= LARGE_BYTES:
            yield [raster]
            continue
        if batch and (len(batch) == MOST_IN_A_BATCH or sum(each.size_bytes for each in batch) >= BATCH_BYTES):
            yield batch
            batch = []
        batch.append(raster)
    if batch:
        yield batch
