"""Pictures come out for every place on the globe, and small enough for an event log."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import MultiPolygon, box, mapping

from geo_assets.assets.pictures import draw_footprints, draw_size_histogram

MOST_BYTES = 200_000
FAR_AND_NEAR = {
    "none": [],
    "one of a few metres": [box(9.99999, 53.5, 10.0, 53.50001)],
    "one country": [box(6, 47, 15, 55)],
    "the world": [box(-180, -90, 180, 90)],
    "both sides of the antimeridian": [MultiPolygon([box(178, -18, 180, -16), box(-180, -18, -179, -16)])],
    "around the north pole": [box(-180, 75, 180, 90)],
    "at the south pole": [box(-60, -90, -59, -89.9)],
    "two far apart": [box(-120, 40, -119, 41), box(150, -35, 151, -34)],
    "five hundred": [
        box(west, south, west + 1, south + 1) for west in range(-120, -70, 2) for south in range(20, 60, 2)
    ],
    "the same place twice": [box(10, 50, 11, 51)] * 2,
}


def opened(png: bytes) -> Image.Image:
    assert png.startswith(b"\x89PNG")
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def reddish(png: bytes) -> int:
    """How many pixels have about the colour of a footprint's outline."""
    red, green, blue = np.asarray(opened(png).convert("RGB")).transpose(2, 0, 1)
    return int(((red > 180) & (green < 110) & (blue < 130)).sum())


def geojson(shapes: list[Any]) -> list[dict[str, Any]]:
    return [mapping(shape) for shape in shapes]


@pytest.mark.parametrize("where", FAR_AND_NEAR)
def test_footprints_anywhere_make_a_small_png(where: str) -> None:
    png = draw_footprints(geojson(FAR_AND_NEAR[where]), title=f"Footprints: {where}")
    assert opened(png).size == (900, 500)
    assert len(png) < MOST_BYTES
    assert (reddish(png) > 30) == bool(FAR_AND_NEAR[where])


def test_footprints_elsewhere_are_another_picture() -> None:
    one, other = (draw_footprints(geojson([box(west, 0, west + 9, 9)]), title="x") for west in (10, 90))
    assert one != other


def test_the_same_footprints_are_the_same_picture() -> None:
    one, other = (draw_footprints(geojson([box(10, 0, 19, 9)]), title="x") for _ in range(2))
    assert one == other


def test_a_title_is_no_formula() -> None:
    assert opened(draw_footprints([], title="items of a_b^c, $5 and 50 % {x} ü"))


def test_sizes_make_a_small_png() -> None:
    png = draw_size_histogram([(0, 3), (3, 1200), (6, 5), (13, 1)], title="Blobs of landsat by size")
    assert opened(png).size == (700, 300)
    assert len(png) < MOST_BYTES
