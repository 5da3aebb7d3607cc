"""Rasters of every odd kind: each is one item and one COG with its very pixels, or one true reason."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError

from geo_assets.cogs.writer import CogTask, MadeCog, make_cogs
from geo_assets.errors import GeoAssetsError, UnfitForProfile
from geo_assets.raster.formats.reading import read_metadata
from geo_assets.sources.cog_rules import CogRule, Profile
from geo_assets.storage.blob_stores import StoreAccess
from geo_assets.storage.local_blob_store import LocalBlobStore
from tests.api_server import served, settings_of
from tests.odd_rasters import COMPLEX_INT32, DAMAGED, write_odd_rasters
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster

DATA_TYPES = {
    "bits_1.tif": "uint8",
    "jpeg2000_15.jp2": "uint16",
    "half_float.tif": "float32",
    "complex_int16.tif": "cint16",
    COMPLEX_INT32: "cint32",
    "complex_float32.tif": "cfloat32",
    "complex_float64.tif": "cfloat64",
    "int8.tif": "int8",
    "int64.tif": "int64",
    "uint64.tif": "uint64",
}
COMPLEX = {name for name, kind in DATA_TYPES.items() if kind.startswith("c")}
IN_NO_LERC = COMPLEX | {"int64.tif", "uint64.tif"}


def outcomes_of(rule: CogRule, tmp_path: Path, names: Sequence[str]) -> dict[str, MadeCog | GeoAssetsError]:
    """What comes of rasters in the folder `in` of ``tmp_path``, as in a worker that makes their COGs."""
    tasks = []
    store = LocalBlobStore(tmp_path / "in")
    for name in names:
        (scratch := tmp_path / "scratch" / name).mkdir(parents=True)
        blob = store.head(name)
        assert blob is not None
        with (tmp_path / "in" / name).open("rb") as file:
            tasks.append(CogTask(blob, read_metadata(file), scratch, 1))
    outcomes = make_cogs(rule, StoreAccess(folder=tmp_path / "in"), tasks, lambda _: None)
    return {outcome.task.blob.name: outcome.result for outcome in outcomes}


def assert_same(one: Path, other: Path) -> None:
    """The same types, values, nodata, masks and place, also by control points and RPCs."""
    with rasterio.open(one) as ours, rasterio.open(other) as theirs:
        assert (ours.shape, ours.dtypes, ours.crs) == (theirs.shape, theirs.dtypes, theirs.crs), other.name
        assert ours.colorinterp == theirs.colorinterp, other.name
        assert ours.transform.almost_equals(theirs.transform), other.name
        for mine, yours in zip(ours.nodatavals, theirs.nodatavals, strict=True):
            assert mine == yours or (math.isnan(mine) and math.isnan(yours)), other.name
        (points, crs), (their_points, their_crs) = ours.gcps, theirs.gcps
        assert [(each.row, each.col, each.x, each.y) for each in points] == [
            (each.row, each.col, each.x, each.y) for each in their_points
        ], other.name
        assert not points or crs == their_crs, other.name
        assert ours.rpcs == theirs.rpcs, other.name
        np.testing.assert_array_equal(ours.read(), theirs.read(), err_msg=other.name)
        np.testing.assert_array_equal(ours.read_masks(), theirs.read_masks(), err_msg=other.name)


def is_readable(path: Path) -> bool:
    try:
        with rasterio.open(path) as raster:
            raster.read()
    except RasterioError:
        return False
    return True


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param([*DATA_TYPES, DAMAGED], id="some"),
        pytest.param([], id="all", marks=pytest.mark.soak),
    ],
)
def test_each_odd_raster_has_an_item_and_a_cog_with_its_very_pixels_and_only_the_damaged_one_is_corrupt(
    pipeline: Pipeline, silver: Path, tmp_path: Path, kinds: list[str]
) -> None:
    folder = tmp_path / "in"
    names = write_odd_rasters(folder, kinds)
    assert [name for name in names if not is_readable(folder / name)] == [DAMAGED]
    rules: dict[str, Any] = {"statistics": True, "footprint": {"valid_data": True}, "cogs": {}}
    pipeline.declare(folder.as_uri(), include=["*.tif", "*.jp2"], **rules)
    for job in ("ingest_rasters", "make_cogs"):
        result = pipeline.run(job)
        assert result.success, failure_text(result)
    items = pipeline.items()
    cogs = {cog.name: cog for cog in pipeline.database.cogs.standing(SOURCE)}
    assert (pipeline.failures(), set(items), set(cogs)) == ({}, set(names), set(names))
    assert {name: items[name]["assets"]["data"]["bands"][0]["data_type"] for name in DATA_TYPES} == DATA_TYPES
    assert {name: cog.error_code for name, cog in cogs.items() if cog.error_code} == {DAMAGED: "corrupt"}
    assert cogs[DAMAGED].permanent
    for name in set(names) - {DAMAGED}:
        assert_same(silver / str(cogs[name].name_in_place), folder / name)
        assert cogs[name].thumbnail_href is not None, name
    for name in COMPLEX:
        assert "statistics" not in items[name]["assets"]["data"]["bands"][0]
    assert items["int64.tif"]["assets"]["data"]["bands"][0]["statistics"]["valid_percent"] < 100
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        for name in set(names) - {DAMAGED, "rpcs.tif", "gcps.tif", "bands_31.tif"}:
            place = f"/raster/collections/{SOURCE}/items/{items[name]['id']}"
            assert client.get(f"{place}/info?assets=cog").status_code == 200, name
            for wanted in ("preview.png?", "preview.npy?", "statistics?"):
                answer = client.get(f"{place}/{wanted}&assets=cog")
                assert answer.status_code == (400 if name in COMPLEX else 200), (name, answer.text)
                assert name not in COMPLEX or answer.json()["code"] == "invalid_request"


@pytest.mark.parametrize("profile", get_args(Profile))
def test_a_profile_takes_a_sound_raster_as_it_is_or_is_said_not_to_fit(tmp_path: Path, profile: Profile) -> None:
    rule = CogRule(profile=profile, quality=100, block_size=128, thumbnail=0)
    outcomes = outcomes_of(rule, tmp_path, write_odd_rasters(tmp_path / "in"))
    codes = {name: error.code for name, error in outcomes.items() if isinstance(error, GeoAssetsError)}
    takes_bytes_only = profile in ("jpeg", "webp")
    assert codes.pop(DAMAGED) == ("unfit_for_profile" if takes_bytes_only else "corrupt")
    assert set(codes.values()) <= {"unfit_for_profile"}
    assert takes_bytes_only or set(codes) == (IN_NO_LERC if profile == "lerc" else set())
    for name, made in outcomes.items():
        if isinstance(made, MadeCog) and rule.is_lossless:
            assert_same(made.path, tmp_path / "in" / name)


def test_what_gdal_refuses_of_a_sound_raster_is_not_said_of_its_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "in" / "table.tif", dtype="uint8", value=3)
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {3: (255, 0, 0, 255)})
    error = outcomes_of(CogRule(profile="jpeg"), tmp_path, [path.name])[path.name]
    assert isinstance(error, UnfitForProfile)
    assert "not supported with paletted image" in error.message
    assert "cogs.profile" in error.remedy
