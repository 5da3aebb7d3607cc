"""The Landsat sample becomes one item, which agrees with the one USGS published on every field both state.

Here: every field of the published item, in one of three lists: compared, different for a stated reason, or not stated
by ours. docs/guides/scenes.md shows the same lists. Not here: scenes that wait, grow and shrink (`test_scenes`).
"""

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import rasterio
import shapely
from rasterio.features import shapes
from rasterio.warp import transform_geom
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from tests.landsat import LANDSAT_RULE, SCENE
from tests.pipeline import Pipeline
from tests.unit.core.schemas import EXTENSIONS, validate

Item = dict[str, Any]

# published -> ours: the same fact under the name STAC has for it today.
SAME = {
    "id": "id",
    "type": "type",
    "collection": "collection",
    "properties.eo:cloud_cover": "properties.eo:cloud_cover",
    "properties.eo:sun_azimuth": "properties.view:sun_azimuth",
    "properties.eo:sun_elevation": "properties.view:sun_elevation",
    "properties.landsat:cloud_cover_land": "properties.landsat:cloud_cover_land",
    "properties.landsat:wrs_type": "properties.landsat:wrs_type",
    "properties.landsat:wrs_path": "properties.landsat:wrs_path",
    "properties.landsat:wrs_row": "properties.landsat:wrs_row",
    "properties.landsat:scene_id": "properties.landsat:scene_id",
    "properties.landsat:collection_category": "properties.landsat:collection_category",
    "properties.landsat:collection_number": "properties.landsat:collection_number",
}
COMPARED_BELOW = {"geometry", "bbox", "properties.datetime", "properties.eo:platform", "properties.eo:bands", "assets"}
# Ours is another statement on purpose: versions of STAC, and links of another catalogue.
DIFFERENT = {"stac_version", "stac_extensions", "links"}
# No rule of the source takes them over: prose, and fields STAC has no place or no sign for any more.
NOT_STATED = {"description", "properties.eo:instrument", "properties.eo:off_nadir"}
# Assets whose files are not in the sample.
FILES_NOT_THERE = {"reduced_resolution_browse", "index", "SR_QA_AEROSOL.TIF", "ANG.txt", "MTL.txt", "MTL.xml"} | {
    "QA_RADSAT.TIF"
}


@pytest.fixture(scope="session")
def published(samples: Path) -> Item:
    """The item USGS published for the sample (STAC 0.7)."""
    item: Item = json.loads((samples / "landsat" / f"{SCENE}_SR_stac.json").read_text())
    return item


@pytest.fixture
def make_item(pipeline: Pipeline, samples: Path) -> Callable[[], Item]:
    """Run the pipeline over the sample; its one item."""

    def make() -> Item:
        pipeline.declare((samples / "landsat").as_uri(), **LANDSAT_RULE)
        assert pipeline.run().success
        status = pipeline.status()
        assert (status.blobs, status.catalogued, status.waiting, status.quarantined) == (10, 10, 0, 0)
        (item,) = pipeline.items().values()
        return item

    return make


def test_every_field_of_the_published_item_is_accounted_for(published: Item) -> None:
    fields = {name for name in published if name != "properties"}
    fields |= {f"properties.{name}" for name in published["properties"]}
    assert fields == SAME.keys() | COMPARED_BELOW | DIFFERENT | NOT_STATED


def test_the_sample_is_one_item_that_agrees_with_the_published_one(
    make_item: Callable[[], Item], published: Item, samples: Path
) -> None:
    ours = make_item()
    assert {theirs: _at(ours, mine) for theirs, mine in SAME.items()} == {name: _at(published, name) for name in SAME}
    check_datetime(ours, published)
    check_platform(ours, published)
    check_outline(ours, published, samples)
    check_assets(ours, published)
    check_bands(ours, published)
    check_schemas(ours)


def check_datetime(ours: Item, published: Item) -> None:
    """The published item has the day; ours the instant of the scene's centre, on that day."""
    moment = datetime.fromisoformat(ours["properties"]["datetime"])
    assert moment.date() == date.fromisoformat(published["properties"]["datetime"])
    assert ours["properties"]["datetime"] == "2013-04-19T16:01:51.829419Z"


def check_platform(ours: Item, published: Item) -> None:
    """The same platform, spelled as STAC's common metadata spells it."""
    assert ours["properties"]["platform"] == published["properties"]["eo:platform"].lower().replace("_", "-")


def check_outline(ours: Item, published: Item, samples: Path) -> None:
    """The published outline is that of the valid pixels, ours that of the raster: it must hold theirs.

    That nothing else makes the difference is shown by the outline of the sample's own valid pixels. The sample is
    decimated to pixels of 450 m, of which one in each direction is the tolerance.
    """
    mine, theirs = shape(ours["geometry"]), shape(published["geometry"])
    assert mine.covers(theirs)
    valid = valid_outline(samples / "landsat" / f"{SCENE}_SR_B4.TIF")
    assert mine.buffer(1e-5).covers(valid)
    assert valid.intersection(theirs).area / valid.union(theirs).area > 0.98
    assert valid.bounds == pytest.approx(published["bbox"], abs=0.005)
    assert ours["bbox"] == pytest.approx(mine.bounds, abs=1e-6)


def valid_outline(path: Path) -> BaseGeometry:
    """The convex hull of a raster's valid pixels, in WGS 84."""
    with rasterio.open(path) as dataset:
        mask = dataset.read(1) != dataset.nodata
        found = [shape(geometry) for geometry, _ in shapes(mask.astype("uint8"), mask, transform=dataset.transform)]
        largest = max(found, key=lambda geometry: geometry.area)
        hull = shapely.segmentize(largest.convex_hull, 1000)
        return shape(transform_geom(dataset.crs, "OGC:CRS84", hull.__geo_interface__))


def check_assets(ours: Item, published: Item) -> None:
    """The same keys, titles, descriptions and file names; types in today's spelling; addresses are each one's own."""
    assert ours["assets"].keys() == published["assets"].keys() - FILES_NOT_THERE
    for key, mine in ours["assets"].items():
        theirs = published["assets"][key]
        assert Path(mine["href"]).name == Path(theirs["href"]).name
        for field in ("title", "description"):
            assert mine.get(field) == theirs.get(field), (key, field)
        if theirs["type"] == "image/vnd.stac.geotiff; cloud-optimized=true":
            assert mine["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
        else:
            assert mine["type"] == theirs["type"]


def check_bands(ours: Item, published: Item) -> None:
    """Names, common names and centre wavelengths of the bands of each asset; their gsd is of the undecimated files."""
    described = published["properties"]["eo:bands"]
    for key, theirs in published["assets"].items():
        for index, number in enumerate(theirs.get("eo:bands", ())) if key in ours["assets"] else ():
            mine, other = ours["assets"][key]["bands"][index], described[number]
            assert mine["name"] == other["name"]
            assert mine["eo:common_name"] == other["common_name"]
            assert mine["eo:center_wavelength"] == other["center_wavelength"]


def check_schemas(ours: Item) -> None:
    """Valid by core, and by the extensions where their schemas are there."""
    assert EXTENSIONS is None or {"eo", "view", "projection"} <= {uri.split("/")[3] for uri in ours["stac_extensions"]}
    validate(ours)


def _at(item: Item, path: str) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value[name]
    return value
