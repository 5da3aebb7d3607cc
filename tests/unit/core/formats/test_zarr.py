"""Zarr stores: grid, CRS, time and cube from metadata and coordinates alone, and what is refused by a reason."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import zarr

from geo_assets.errors import Corrupt, MissingCrs, MissingTransform, PermanentError, TooLarge, UnsupportedFormat
from geo_assets.models import BlobRef
from geo_assets.raster.footprint import known_footprint, with_footprint
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.item import build_item
from tests.unit.core import schemas
from tests.unit.core.formats.zarr_files import FolderFiles, add_array, read_store, write_cube

UTM33 = pyproj.CRS("EPSG:32633").to_wkt()
VERSIONS = [(2, False), (2, True), (3, False), (3, True)]
X = {"standard_name": "projection_x_coordinate", "units": "m"}
Y = {"standard_name": "projection_y_coordinate", "units": "m"}


@pytest.mark.parametrize(("zarr_format", "consolidated"), VERSIONS)
def test_a_store_of_any_version_says_the_same(zarr_format: int, consolidated: bool, tmp_path: Path) -> None:
    store = write_cube(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=consolidated)
    files = FolderFiles(store)
    found = with_footprint(read_store(store, files))
    assert (found.driver, found.shape) == (f"Zarr {zarr_format}", (2, 3))
    assert found.transform == (1.0, 0.0, 9.5, 0.0, -1.0, 50.5)
    assert [(band.name, band.data_type, band.unit) for band in found.bands] == [("tas", "float32", "K")]
    assert found.time_range == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 23, tzinfo=UTC))
    assert found.tags == {"NC_GLOBAL": {"title": "A cube"}}
    assert known_footprint(found).bbox == (9.5, 48.5, 12.5, 50.5)
    assert not [name for name in files.seen if name.startswith("tas/") and not name.endswith(("json", "y", "s"))]
    chunks = [name for name in files.seen if name[-1].isdigit()]
    assert len(chunks) == len(set(chunks)) == 3
    if consolidated:
        assert set(files.seen) == {*chunks, *([".zmetadata"] if zarr_format == 2 else [])}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_its_item_points_to_the_folder_and_is_valid(zarr_format: int, tmp_path: Path) -> None:
    store = write_cube(tmp_path / "cube.zarr", zarr_format=zarr_format)
    source = Source(name="s", url="az://c/in", collection=CollectionRule(id="c", description="d"))
    root = "zarr.json" if zarr_format == 3 else ".zgroup"
    blob = BlobRef(f"in/x/cube.zarr/{root}", "1", 20, datetime(2024, 5, 6, tzinfo=UTC), md5="0" * 32)
    built = build_item(source=source, blob=blob, metadata=read_store(store), href="https://a.example/c/in/x/cube.zarr")
    schemas.validate(built)
    asset = built["assets"]["data"]
    assert (asset["href"], asset["type"], asset["roles"]) == (
        "https://a.example/c/in/x/cube.zarr", f"application/vnd.zarr; version={zarr_format}", ["data"],
    )  # fmt: skip
    assert not {"file:size", "file:checksum", "updated"} & set(asset)
    assert built["id"].startswith("x--cube.zarr~")
    assert list(built["properties"]["cube:dimensions"]) == ["time", "lat", "lon"]
    assert built["properties"]["cube:variables"]["tas"]["dimensions"] == ["time", "lat", "lon"]
    assert built["properties"]["geo_assets:datetime_source"] == "time coordinate of the file"


def grid_in_metres(group: Any, *, attributes: Any = None, coordinates: bool = True) -> None:
    """Replace the cube by a band of 2 x 3 cells of 10 m."""
    for name in list(group.array_keys()):
        del group[name]
    if coordinates:
        add_array(group, "x", (500_005.0, 500_015.0, 500_025.0), ("x",), X)
        add_array(group, "y", (4_999_995.0, 4_999_985.0), ("y",), Y)
    add_array(group, "b", np.ones((2, 3), "u1"), ("y", "x"), attributes or {})


def mapped(group: Any) -> None:
    grid_in_metres(group, attributes={"grid_mapping": "crs"})
    add_array(group, "crs", np.int64(0), (), {"crs_wkt": UTM33})


def as_rioxarray(group: Any) -> None:
    grid_in_metres(group, coordinates=False)
    transform = "500000.0 10.0 0.0 5000000.0 0.0 -10.0"
    add_array(group, "spatial_ref", np.int64(0), (), {"crs_wkt": UTM33, "GeoTransform": transform})


def as_gdal(group: Any) -> None:
    grid_in_metres(group, attributes={"_CRS": {"wkt": UTM33}})


def as_geozarr(group: Any) -> None:
    grid_in_metres(group, coordinates=False)
    group.attrs.update(
        {"proj:code": "EPSG:32633", "spatial:dimensions": ["y", "x"], "spatial:transform": [10, 0, 5e5, 0, -10, 5e6]}
    )


@pytest.mark.parametrize("edit", [mapped, as_rioxarray, as_gdal, as_geozarr])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_each_way_of_stating_the_place_is_read(edit: Callable[[Any], None], zarr_format: int, tmp_path: Path) -> None:
    found = read_store(write_cube(tmp_path / "a.zarr", zarr_format=zarr_format, edit=edit))
    assert (found.crs_code, found.transform) == ("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))


def test_nodata_is_what_xarray_takes_for_it(tmp_path: Path) -> None:
    def packed(group: Any) -> None:
        group["tas"].attrs["_FillValue"] = "AAAAAAAA+H8="  # NaN, as xarray writes it into version 3

    def unpacked(group: Any) -> None:
        add_array(group, "rain", np.ones((24, 2, 3), "i2"), ("time", "lat", "lon"), {}, fill_value=-9)

    third = read_store(write_cube(tmp_path / "3.zarr", edit=packed))
    second = read_store(write_cube(tmp_path / "2.zarr", zarr_format=2, edit=unpacked))
    assert [band.nodata for band in third.bands] == ["nan"]
    assert {band.name: band.nodata for band in second.bands}["rain"] == -9


def test_one_moment_at_the_epoch_is_a_chunk_that_writers_leave_out(tmp_path: Path) -> None:
    store = write_cube(tmp_path / "a.zarr", time=[0.0])
    assert not (store / "time" / "c").exists()
    assert read_store(store).time_range == (datetime(2020, 1, 1, tzinfo=UTC),) * 2


def test_of_a_long_record_the_first_and_the_last_chunk_are_read(tmp_path: Path) -> None:
    def rechunk(group: Any) -> None:
        del group["time"]
        times = {"standard_name": "time", "units": "hours since 2020-01-01"}
        add_array(group, "time", np.arange(24.0 * 100), ("time",), times, chunks=(24,))

    store = write_cube(tmp_path / "a.zarr", time=np.arange(24.0 * 100), edit=rechunk)
    files = FolderFiles(store)
    found = read_store(store, files)
    assert found.time_range == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 4, 9, 23, tzinfo=UTC))
    assert {name for name in files.seen if name.startswith("time/c")} == {"time/c/0", "time/c/99"}


@pytest.mark.parametrize("order", [("0", "1"), ("1", "0")])
@pytest.mark.parametrize("key", ["layout", "datasets"])
def test_of_a_pyramid_the_finest_level_counts_in_whatever_order(order: list[str], key: str, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "p.zarr", mode="w")
    for level, size in zip(order, (8, 4), strict=True):
        write_cube(tmp_path / "p.zarr" / level, lat=np.arange(size), lon=np.arange(size), time=[5.0])
    levels = [{"asset" if key == "layout" else "path": level} for level in sorted(order)]
    group.attrs["multiscales"] = {"layout": levels} if key == "layout" else [{"datasets": levels}]
    found = read_store(tmp_path / "p.zarr")
    assert found.shape == (8, 8)
    assert found.tags[""] == {"multiscales": f"the finest of 2 levels: {order[0]}"}


def rewritten(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        document = json.loads((store / name).read_text())
        (store / name).write_text(json.dumps({**document, **changes}))

    return change


def longer_than_any_axis(store: Path) -> None:
    rewritten("lat/zarr.json", shape=[10**9])(store)
    rewritten("tas/zarr.json", shape=[24, 10**9, 3])(store)


def without_a_chunk(store: Path) -> None:
    (store / "lat" / "c" / "0").unlink()


def damaged_chunk(store: Path) -> None:
    (store / "lat" / "c" / "0").write_bytes(b"no zstd")


def cut_off(store: Path) -> None:
    (store / "zarr.json").write_bytes((store / "zarr.json").read_bytes()[:20])


def without_coordinates(store: Path) -> None:
    zarr.open_group(store, mode="w").create_array("name", shape=(), dtype="i4")


def only_groups(store: Path) -> None:
    zarr.open_group(store, mode="w").create_group("measurements")


def two_grids(store: Path) -> None:
    group = zarr.open_group(store, mode="r+")
    add_array(group, "x", np.arange(3.0), ("x",), X)
    add_array(group, "y", np.arange(2.0), ("y",), Y)
    add_array(group, "other", np.ones((2, 3)), ("y", "x"), {})


def an_array(store: Path) -> None:
    zarr.create_array(store, shape=(2, 2), dtype="u1", overwrite=True)


def unknown_crs(store: Path) -> None:
    zarr.open_group(store, mode="r+").attrs["proj:code"] = "EPSG:999999"


def a_huge_level(store: Path) -> None:
    levels = [{"asset": str(number)} for number in range(100)]
    zarr.open_group(store, mode="r+").attrs["multiscales"] = {"layout": levels}


def a_level_outside(store: Path) -> None:
    zarr.open_group(store, mode="r+").attrs["multiscales"] = {"layout": [{"asset": "../b.zarr"}]}


@pytest.mark.parametrize(
    ("damage", "error", "word"),
    [
        (without_a_chunk, Corrupt, "lacks its chunk 'c/0'"),
        (damaged_chunk, Corrupt, "cannot be decoded"),
        (cut_off, Corrupt, "no JSON"),
        (rewritten("zarr.json", zarr_format=4), Corrupt, "version 4"),
        (rewritten("lat/zarr.json", shape=[-1]), Corrupt, "no shape"),
        (rewritten("lat/zarr.json", shape=[3]), Corrupt, "the sizes 3 and 2"),
        (longer_than_any_axis, TooLarge, "more than 1,000,000 values"),
        (rewritten("lat/zarr.json", codecs=[{"name": "numcodecs.pickle"}]), UnsupportedFormat, "numcodecs.pickle"),
        (without_coordinates, MissingTransform, "no variable has both"),
        (only_groups, UnsupportedFormat, "measurements"),
        (two_grids, UnsupportedFormat, "2 different grids"),
        (an_array, UnsupportedFormat, "a single array"),
        (unknown_crs, MissingCrs, "EPSG:999999"),
        (a_huge_level, TooLarge, "32 levels"),
        (a_level_outside, UnsupportedFormat, "outside the store"),
    ],
)
def test_what_cannot_be_read_has_a_typed_reason(
    damage: Callable[[Path], None], error: type[PermanentError], word: str, tmp_path: Path
) -> None:
    store = write_cube(tmp_path / "a.zarr")
    damage(store)
    with pytest.raises(error, match=f"(?i){word}"):
        read_store(store)


def test_an_array_of_data_may_be_written_with_any_codec(tmp_path: Path) -> None:
    store = write_cube(tmp_path / "a.zarr")
    rewritten("tas/zarr.json", codecs=[{"name": "one.of.tomorrow"}])(store)
    assert read_store(store).shape == (2, 3)


@pytest.mark.parametrize("compressor", [{"id": "pickle"}, {"id": "zlib", "level": 1}])
def test_no_codec_that_could_run_code_is_asked(compressor: dict[str, Any], tmp_path: Path) -> None:
    store = write_cube(tmp_path / "a.zarr", zarr_format=2)
    rewritten("lat/.zarray", filters=[compressor, {"id": "pickle"}])(store)
    with pytest.raises(UnsupportedFormat, match="pickle"):
        read_store(store)


def test_no_more_than_the_bound_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_cube(tmp_path / "a.zarr")
    monkeypatch.setattr("geo_assets.raster.formats.zarr_documents.MOST_BYTES", 3000)
    with pytest.raises(TooLarge, match="3,000 bytes"):
        read_store(store)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_any_damage_is_read_or_has_a_typed_reason(zarr_format: int, tmp_path: Path) -> None:
    store = write_cube(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=True)
    random = np.random.default_rng(3)
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and "tas" not in path.parts]
    outcomes = set()
    for _ in range(100):
        path = files[random.integers(len(files))]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        with suppress(PermanentError):
            outcomes.add(with_footprint(read_store(store)).shape)
        path.write_bytes(whole)
    assert (2, 3) in outcomes
