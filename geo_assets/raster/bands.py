"""The bands of a raster as STAC 1.1 writes them.

Here: joining what the file says of each band with what the source's rule says; the rule wins. Not here: reading
bands (`raster`) and statistics (`statistics`), and any guess: a colour interpretation is no common name.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import repeat
from typing import Any

from geo_assets.errors import InvalidItem
from geo_assets.models import BandMetadata, BandStatistics, RasterMetadata
from geo_assets.sources.item_rules import BandRule


def build_bands(metadata: RasterMetadata, rules: Sequence[BandRule]) -> list[dict[str, Any]]:
    """STAC's ``bands``, in the order of the file.

    Raises InvalidItem where the rules are for another number of bands, or a band states a scale or an offset that
    is no number.
    """
    if rules and len(rules) != len(metadata.bands):
        raise InvalidItem(
            f"The source's rule is for {len(rules)} bands, the raster has {len(metadata.bands)}.",
            remedy="Mend `bands` in sources.yaml, or give such rasters a source of their own.",
        )
    names = Counter(band.name for band in metadata.bands)
    return [
        _build_band(number, band, rule, name_is_unique=names[band.name] == 1)
        for number, (band, rule) in enumerate(zip(metadata.bands, rules or repeat(None), strict=False), start=1)
    ]


def _build_band(number: int, band: BandMetadata, rule: BandRule | None, *, name_is_unique: bool) -> dict[str, Any]:
    """A STAC band; what the file says of it is its name only where it tells the bands apart and no rule names it."""
    for field, value in (("scale", band.scale), ("offset", band.offset)):
        if value is not None and not math.isfinite(value):
            raise InvalidItem(f"Band {number} states a {field} of {value}, which is no number.")
    names_itself = name_is_unique and (rule is None or rule.name is None)
    stated = {
        "name" if names_itself else "description": band.name,
        "data_type": band.data_type,
        "nodata": band.nodata,
        "unit": band.unit,
        "raster:scale": band.scale,
        "raster:offset": band.offset,
        "statistics": _build_statistics(band.statistics) if band.statistics else None,
        **(_of_rule(rule) if rule else {}),
    }
    if stated.get("description") == stated.get("name"):
        stated.pop("description", None)
    return {key: value for key, value in stated.items() if value is not None}


def _of_rule(rule: BandRule) -> dict[str, Any]:
    stated = {
        "name": rule.name,
        "description": rule.description,
        "unit": rule.unit,
        "gsd": rule.gsd,
        "eo:common_name": rule.common_name,
        "eo:center_wavelength": rule.center_wavelength,
        "eo:full_width_half_max": rule.full_width_half_max,
        "eo:solar_illumination": rule.solar_illumination,
    }
    return {key: value for key, value in stated.items() if value is not None}


def _build_statistics(statistics: BandStatistics) -> dict[str, float]:
    """STAC's Statistics object, with what is known of it."""
    return {key: value for key, value in asdict(statistics).items() if value is not None}
