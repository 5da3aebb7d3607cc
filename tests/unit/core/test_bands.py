"""Bands: what the file says, what the source's rule says, and which wins."""

import math
from typing import Any

import pytest

from geo_assets.errors import InvalidItem
from geo_assets.models import BandMetadata
from geo_assets.raster.bands import build_bands
from geo_assets.sources.item_rules import BandRule
from tests.unit.core.rasters import metadata


def bands(*of_file: BandMetadata, rules: tuple[BandRule, ...] = ()) -> Any:
    return build_bands(metadata(bands=of_file), rules)


def test_without_a_rule_a_band_is_what_the_file_says() -> None:
    band = BandMetadata("int16", nodata=-1, name="depth", unit="m", scale=0.1, offset=3.0)
    assert bands(band) == [
        {
            "name": "depth",
            "data_type": "int16",
            "nodata": -1,
            "unit": "m",
            "raster:scale": 0.1,
            "raster:offset": 3.0,
        }
    ]


def test_a_colour_is_not_taken_for_a_common_name() -> None:
    assert bands(BandMetadata("uint8", color_interpretation="red")) == [{"data_type": "uint8"}]


def test_the_rule_wins_and_the_files_own_name_becomes_the_description() -> None:
    rule = BandRule(name="B04", common_name="red", center_wavelength=0.665, full_width_half_max=0.04, gsd=10, unit="1")
    assert bands(BandMetadata("uint16", name="Band 4", unit="DN"), rules=(rule,)) == [
        {
            "name": "B04",
            "description": "Band 4",
            "data_type": "uint16",
            "unit": "1",
            "gsd": 10,
            "eo:common_name": "red",
            "eo:center_wavelength": 0.665,
            "eo:full_width_half_max": 0.04,
        }
    ]


def test_a_rule_that_says_nothing_of_a_band_leaves_it_as_the_file_says() -> None:
    found = bands(BandMetadata("uint8", name="a"), BandMetadata("uint8"), rules=(BandRule(), BandRule(name="b")))
    assert [band.get("name") for band in found] == ["a", "b"]


def test_a_name_that_file_and_rule_agree_on_is_not_said_twice() -> None:
    assert bands(BandMetadata("uint8", name="red"), rules=(BandRule(name="red"),)) == [
        {"name": "red", "data_type": "uint8"}
    ]


def test_a_rule_for_another_number_of_bands_is_not_applied_to_some_of_them() -> None:
    with pytest.raises(InvalidItem, match="lists 1 bands, the raster has 2"):
        bands(BandMetadata("uint8"), BandMetadata("uint8"), rules=(BandRule(name="red"),))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["scale", "offset"])
def test_a_scale_or_offset_that_is_no_number_has_no_item(field: str, value: float) -> None:
    with pytest.raises(InvalidItem, match=f"Band 1 states a {field} of {value}"):
        bands(BandMetadata("uint8", **{field: value}))  # type: ignore[arg-type]
