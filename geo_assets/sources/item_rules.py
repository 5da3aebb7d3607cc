"""What a source's owner states about items beyond what files say: the part of sources.yaml on bands.

Here: the schema of these keys. Not here: the source itself (`geo_assets.sources.source`), putting them into items
(`geo_assets.raster.bands`).
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from geo_assets.sources.rule import Rule

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BandRule(Rule):
    """One band, as the source's owner knows it; what you set here wins over what the file says."""

    name: str | None = Field(default=None, min_length=1)
    """Its name, which no other band has."""
    description: str | None = Field(default=None, min_length=1)
    """What it shows."""
    unit: str | None = Field(default=None, min_length=1)
    """The unit of its values."""
    gsd: Positive | None = None
    """Its ground sample distance in metres."""
    common_name: str | None = Field(default=None, min_length=1)
    """One of STAC's eo extension: red, nir, ..."""
    center_wavelength: Positive | None = None
    """In micrometres."""
    full_width_half_max: Positive | None = None
    """In micrometres."""
    solar_illumination: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """In W/m2/um."""


def _distinct(bands: tuple[BandRule, ...]) -> tuple[BandRule, ...]:
    names = [band.name for band in bands if band.name is not None]
    if len(set(names)) < len(names):
        raise ValueError("two bands have the same name: a name tells the bands of an item apart")
    return bands


BandRules = Annotated[tuple[BandRule, ...], AfterValidator(_distinct)]
