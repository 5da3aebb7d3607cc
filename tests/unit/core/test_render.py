"""Renderings: of pictures, and of values that were read; nothing else."""

from typing import Any

from geo_assets.models import BandMetadata, BandStatistics
from geo_assets.stac.extensions import build_renders
from tests.unit.core.rasters import metadata


def figures(minimum: float | None, maximum: float | None) -> BandStatistics:
    return BandStatistics(valid_percent=100.0, minimum=minimum, maximum=maximum)


def renders(*bands: BandMetadata) -> Any:
    return build_renders(metadata(bands=bands), asset="data")


def coloured(data_type: str, *statistics: BandStatistics) -> tuple[BandMetadata, ...]:
    """Bands in the order blue, green, red."""
    found = statistics or (None, None, None)
    colours = ("blue", "green", "red")
    return tuple(
        BandMetadata(data_type, color_interpretation=colour, statistics=each)
        for colour, each in zip(colours, found, strict=True)
    )


def test_a_picture_of_8_bits_is_shown_as_it_is() -> None:
    assert renders(*coloured("uint8")) == {"default": {"assets": ["data"], "bidx": [3, 2, 1]}}


def test_colours_of_more_bits_are_stretched_alike() -> None:
    stretched = renders(*coloured("uint16", figures(5, 90), figures(1, 80), figures(2, 100)))
    assert stretched["default"]["rescale"] == [[1, 100]] * 3


def test_a_single_band_is_stretched_over_what_was_read() -> None:
    band = BandMetadata("float32", nodata="nan", color_interpretation="gray", statistics=figures(-3.5, 12.0))
    assert renders(band, BandMetadata("float32")) == {
        "default": {"assets": ["data"], "bidx": [1], "rescale": [[-3.5, 12.0]], "nodata": "nan"}
    }


def test_what_nobody_looked_at_is_not_rendered() -> None:
    assert renders(BandMetadata("float32")) == {}
    assert renders(*coloured("uint16", figures(1, 2), figures(1, 2), figures(None, None))) == {}


def test_a_single_value_and_palette_colours_are_not_stretched() -> None:
    assert renders(BandMetadata("uint8", statistics=figures(7, 7))) == {}
    assert renders(BandMetadata("uint8", color_interpretation="palette", statistics=figures(0, 9))) == {}
