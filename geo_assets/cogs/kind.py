"""What kind of raster it is, by what its file says and, where that says little, by the values of a sample.

Here: a guess with its reason, which a person may overrule in sources.yaml. Not here: what follows from it (`plan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from geo_assets.models import BandMetadata, RasterMetadata
from geo_assets.raster.bands import is_integer
from geo_assets.sources.cog_rules import Kind

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
