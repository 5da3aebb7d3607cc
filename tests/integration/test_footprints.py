"""Footprints through the pipeline: rasters without a geotransform, and outlines of valid pixels where asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin
from shapely.geometry import shape

from tests.pipeline import Pipeline
from tests.unit.core import schemas
from tests.unit.core.test_hard_rasters import rpcs
from tests.unit.core.test_statistics import geotiff


@pytest.fixture
def rasters(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder of its own, declared with the defaults."""
    folder = tmp_path / "footprints"
    folder.mkdir()
    pipeline.declare(folder.as_uri())
    return folder


def half_valid(**profile: Any) -> bytes:
    """512 x 512 pixels of noise in EPSG:4326, 10..20 E and 40..50 N, the western half valid."""
    pixels = np.random.default_rng(1).integers(1, 255, (1, 512, 512)).astype("uint8")
    pixels[:, :, 256:] = 0
    grid = from_origin(10, 50, 10 / 512, 10 / 512)
    return geotiff(pixels, crs="EPSG:4326", transform=grid, nodata=0, **profile)


def source_of(pipeline: Pipeline, name: str) -> str:
    """The words of the item's geometry_source."""
    return str(pipeline.items()[name]["properties"]["geo_assets:geometry_source"])


def test_rasters_without_a_geotransform_have_approximate_items_or_the_reason(pipeline: Pipeline, rasters: Path) -> None:
    pixels = np.ones((1, 400, 300), "uint8")
    corners = [(0, 0, 10, 50), (0, 300, 11, 50), (400, 0, 10, 49), (400, 300, 11, 49)]
    points = [GroundControlPoint(row=row, col=column, x=x, y=y) for row, column, x, y in corners]
    bare: dict[str, Any] = {"crs": None, "transform": None}
    (rasters / "points.tif").write_bytes(geotiff(pixels, gcps=points, crs="EPSG:4326", transform=None))
    (rasters / "two.tif").write_bytes(geotiff(pixels, gcps=points[:2], crs="EPSG:4326", transform=None))
    (rasters / "rpcs.tif").write_bytes(geotiff(pixels, edit=lambda it: setattr(it, "rpcs", rpcs()), **bare))
    (rasters / "nothing.tif").write_bytes(geotiff(pixels, **bare))
    assert pipeline.run().success
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "two.tif": "no_footprint",
        "nothing.tif": "missing_crs",
    }
    items = pipeline.items()
    assert items["points.tif"]["bbox"] == pytest.approx([10, 49, 11, 50])
    assert source_of(pipeline, "points.tif") == (
        "approximate: raster edges, 16 points per edge, "
        "placed by a thin-plate spline through 4 ground control points in EPSG:4326"
    )
    assert "approximate" in source_of(pipeline, "rpcs.tif")
    for item in items.values():
        schemas.validate(item)
    pipeline.check_promise()


def test_the_outline_of_valid_pixels_comes_and_goes_with_its_key(pipeline: Pipeline, rasters: Path) -> None:
    (rasters / "half.tif").write_bytes(half_valid())
    (rasters / "whole.tif").write_bytes(geotiff(np.ones((1, 64, 64), "uint8")))
    assert pipeline.run().success
    whole = pipeline.items()["whole.tif"]["geometry"]
    assert pipeline.items()["half.tif"]["bbox"] == [10, 40, 20, 50]

    pipeline.declare(rasters.as_uri(), footprint={"valid_data": True})
    assert pipeline.run().success
    half = pipeline.items()["half.tif"]
    assert half["bbox"] == [10, 40, 15, 50]
    assert shape(half["geometry"]).equals(shapely.box(10, 40, 15, 50))
    assert source_of(pipeline, "half.tif").endswith("; the valid pixels of the raster, within 1 pixels of 1/1")
    assert pipeline.items()["whole.tif"]["geometry"] == whole
    assert source_of(pipeline, "whole.tif").endswith("; every pixel of the raster is valid")
    schemas.validate(half)

    pipeline.declare(rasters.as_uri())
    assert pipeline.run().success
    assert pipeline.items()["half.tif"]["bbox"] == [10, 40, 20, 50]
    pipeline.check_promise()


def test_valid_pixels_and_statistics_cost_the_bytes_of_one_level(pipeline: Pipeline, rasters: Path) -> None:
    (rasters / "half.tif").write_bytes(half_valid(overviews=True))
    read = {}
    cases: dict[str, dict[str, Any]] = {
        "statistics": {"statistics": True, "read_budget": 300_000},
        "both": {"statistics": True, "footprint": {"valid_data": True}, "read_budget": 300_000},
        "less": {"statistics": True, "footprint": {"valid_data": True}, "read_budget": 70_000},
    }
    for name, keys in cases.items():
        pipeline.declare(rasters.as_uri(), **keys)
        assert pipeline.run().success
        ((read[name],),) = pipeline.query("SELECT (metadata ->> 'bytes_read')::bigint FROM ledger.raster_metadata")
    assert read["both"] == read["statistics"] > read["less"] > 0
    assert pipeline.items()["half.tif"]["bbox"] == [10, 40, 15, 50]
    assert "the overview at 1/2" in source_of(pipeline, "half.tif")


def test_a_budget_that_no_level_fits_leaves_the_edges_and_says_so(pipeline: Pipeline, rasters: Path) -> None:
    (rasters / "half.tif").write_bytes(half_valid())
    pipeline.declare(rasters.as_uri(), footprint={"valid_data": True}, read_budget=65_536)
    assert pipeline.run().success
    assert pipeline.items()["half.tif"]["bbox"] == [10, 40, 20, 50]
    assert "about 262,144 bytes to read, the budget is 65,536" in source_of(pipeline, "half.tif")
