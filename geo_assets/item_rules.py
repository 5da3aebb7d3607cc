"""What a source's owner states about items beyond what files say: the part of sources.yaml on bands.

Here: the schema of these keys. Not here: the source itself (`geo_assets.sources`), putting them into items
(`geo_assets.core.bands`).
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BandRule(BaseModel):
    """One band, as the source's owner knows it; what stands here wins over what the file says.

    ``common_name`` is one of STAC's eo extension (red, nir, ...), which the extension's own schema checks.
    Wavelengths are in micrometres, ``gsd`` in metres, ``solar_illumination`` in W/m2/um.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(default=None, min_length=1)
    description: str | None = Field(default=None, min_length=1)
    unit: str | None = Field(default=None, min_length=1)
    gsd: Positive | None = None
    common_name: str | None = Field(default=None, min_length=1)
    center_wavelength: Positive | None = None
    full_width_half_max: Positive | None = None
    solar_illumination: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def _distinct(bands: tuple[BandRule, ...]) -> tuple[BandRule, ...]:
    names = [band.name for band in bands if band.name is not None]
    if len(set(names)) < len(names):
        raise ValueError("two bands have the same name: a name tells the bands of an item apart")
    return bands


BandRules = Annotated[tuple[BandRule, ...], AfterValidator(_distinct)]
