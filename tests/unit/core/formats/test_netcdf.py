"""NetCDF: grid, CRS, time and cube by CF's attributes, in both containers, and files that name others."""

import io
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio

from geo_assets.errors import Corrupt, MissingDatetime, MissingTransform, PermanentError, TooLarge, UnsupportedFormat
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.footprint import known_footprint, with_footprint
from geo_assets.raster.formats.reading import read_metadata
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.item import build_item
from tests.unit.core import schemas
from tests.unit.core.formats.files import cf_bytes, classic_bytes, gdal_netcdf_bytes


def read(data: bytes) -> RasterMetadata:
    return with_footprint(read_metadata(io.BytesIO(data)))


def item(data: bytes, **fields: Any) -> dict[str, Any]:
    source = Source(name="s", url="az://c", collection=CollectionRule(id="c", description="d"), **fields)
    blob = BlobRef(name="a.nc", etag="1", size_bytes=len(data), last_modified=datetime(2024, 5, 6, tzinfo=UTC))
    built = build_item(source=source, blob=blob, metadata=read(data), href="https://a.example/c/a.nc")
    schemas.validate(built)
    return built


@pytest.mark.parametrize("file_format", ["NC", "NC2", "NC4"])
def test_what_gdal_writes_is_read_as_gdal_reads_it(file_format: str, tmp_path: Path) -> None:
    data = gdal_netcdf_bytes(file_format=file_format)
    (tmp_path / "a.nc").write_bytes(data)
    found = read(data)
    with rasterio.open(tmp_path / "a.nc") as dataset:
        assert found.shape == dataset.shape
        assert found.transform == pytest.approx(dataset.transform[:6])
        assert found.crs_code == f"EPSG:{dataset.crs.to_epsg()}" == "EPSG:32633"
        assert [(band.data_type, band.nodata) for band in found.bands] == [(dataset.dtypes[0], dataset.nodata)]
        assert found.driver == dataset.driver


def test_longitude_and_latitude_give_a_footprint_and_no_crs_is_made_up() -> None:
    found = read(cf_bytes())
    assert (found.shape, found.crs_wkt2) == ((2, 3), None)
    assert found.transform == (1.0, 0.0, 9.5, 0.0, -1.0, 50.5)
    footprint = known_footprint(found)
    assert footprint.bbox == (9.5, 48.5, 12.5, 50.5)
    assert "whose datum the file does not name; cells half a step beyond the coordinates" in footprint.source


def test_a_grid_that_goes_up_has_its_first_row_in_the_north_as_gdal_has_it() -> None:
    assert read(cf_bytes(lat=(49.0, 50.0))).transform == (1.0, 0.0, 9.5, 0.0, -1.0, 50.5)


def test_bounds_say_where_cells_end() -> None:
    bounds = {"lon": [(9, 11), (11, 13), (13, 15)], "lat": [(50, 52), (48, 50)]}
    found = read(cf_bytes(lon=(10, 12, 14), lat=(51, 49), bounds=bounds))
    assert known_footprint(found).bbox == (9.0, 48.0, 15.0, 52.0)
    assert "half a step" not in known_footprint(found).source


def test_cells_of_uneven_height_have_a_footprint_and_no_geotransform() -> None:
    found = read(cf_bytes(lat=(10.0, 11.0, 14.0)))
    assert found.transform is None
    assert known_footprint(found).bbox == (9.5, 9.5, 12.5, 15.5)
    assert found.cube
    assert found.cube["cube:dimensions"]["lat"] == {"type": "spatial", "axis": "y", "extent": [10.0, 14.0]}


def test_a_world_from_0_to_360_is_the_world() -> None:
    found = read(cf_bytes(lon=np.arange(0.5, 360), lat=np.arange(-89.5, 90)))
    assert known_footprint(found).bbox == (-180.0, -90.0, 180.0, 90.0)


def test_time_is_an_instant_or_a_range_and_needs_no_rule() -> None:
    at_once = item(cf_bytes(time=[6.0]))["properties"]
    assert (at_once["datetime"], "start_datetime" in at_once) == ("2020-01-01T06:00:00Z", False)
    for_a_day = item(cf_bytes(time=np.arange(24.0)))["properties"]
    assert (for_a_day["datetime"], for_a_day["start_datetime"], for_a_day["end_datetime"]) == (
        "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2020-01-01T23:00:00Z",
    )  # fmt: skip
    assert for_a_day["geo_assets:datetime_source"] == "time coordinate of the file"


def test_the_sources_rules_count_before_the_files_time() -> None:
    fixed = {"fixed": "1999-01-01T00:00:00Z"}
    assert item(cf_bytes(time=[6.0]), datetime=[fixed])["properties"]["datetime"] == "1999-01-01T00:00:00Z"
    ordered = item(cf_bytes(time=[6.0]), datetime=["time_dimension", fixed])
    assert ordered["properties"]["datetime"] == "2020-01-01T06:00:00Z"
    tag = {"metadata": "NC_GLOBAL:time_coverage_start"}
    assert item(cf_bytes(), datetime=[tag])["properties"]["datetime"] == "2019-12-31T23:00:00Z"


def test_time_bounds_are_what_a_step_spans() -> None:
    found = read(cf_bytes(time=[12.0], bounds={"time": [(0, 24)]}))
    assert found.time_range == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("attributes", [{"calendar": "noleap"}, {"units": "hours since then"}, {"units": "days"}])
def test_days_of_a_model_are_no_instants(attributes: dict[str, Any]) -> None:
    data = cf_bytes(time=[1.0, 2.0], **attributes)
    assert read(data).time_range is None
    with pytest.raises(MissingDatetime):
        item(data)


def test_the_cube_states_dimensions_and_variables() -> None:
    properties = item(cf_bytes(time=np.arange(24.0)))["properties"]
    assert properties["cube:dimensions"] == {
        "time": {"type": "temporal", "extent": ["2020-01-01T00:00:00Z", "2020-01-01T23:00:00Z"]},
        "lat": {"type": "spatial", "axis": "y", "extent": [49.0, 50.0], "step": 1.0},
        "lon": {"type": "spatial", "axis": "x", "extent": [10.0, 12.0], "step": 1.0},
    }
    tas = {"type": "data", "dimensions": ["time", "lat", "lon"], "description": "temperature", "unit": "K"}
    assert properties["cube:variables"] == {"tas": tas}


def test_a_projected_item_is_valid_and_names_its_reference_system() -> None:
    built = item(gdal_netcdf_bytes(), datetime=[{"fixed": "2020-01-01T00:00:00Z"}])
    assert built["properties"]["cube:dimensions"]["x"]["reference_system"] == 32633
    assert built["assets"]["data"]["type"] == "application/x-netcdf"
    assert any("datacube" in uri for uri in built["stac_extensions"])


@pytest.mark.parametrize("version", [1, 2, 5])
def test_a_classic_file_with_records_is_read(version: int) -> None:
    found = read(classic_bytes(version=version))
    assert (found.shape, found.transform) == ((2, 3), (1.0, 0.0, 9.5, 0.0, -1.0, 50.5))
    assert found.time_range == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 12, tzinfo=UTC))
    assert [(band.name, band.data_type, band.unit) for band in found.bands] == [("tas", "int16", "K")]


def test_of_many_records_the_first_and_the_last_are_read() -> None:
    found = read(classic_bytes(hours=tuple(range(1000))))
    assert found.time_range == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 11, 15, tzinfo=UTC))


def test_a_file_that_is_cut_off_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="cut off"):
        read(classic_bytes()[:-20])
    with pytest.raises(Corrupt):
        read(cf_bytes()[:-20])


def test_a_header_that_claims_too_much_is_refused_at_once() -> None:
    with pytest.raises(TooLarge, match="dimensions"):
        read(b"CDF\x01" + bytes(4) + b"\0\0\0\x0a\x7f\xff\xff\xff" + bytes(100))


def test_hdf5_without_dimensions_is_no_netcdf() -> None:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["data"] = np.ones((3, 3))
    with pytest.raises(UnsupportedFormat, match="no NetCDF"):
        read(memory.getvalue())


def test_two_dimensional_coordinates_are_no_even_grid() -> None:
    def edit(file: h5py.File) -> None:
        for name, units in (("longitude", "degrees_east"), ("latitude", "degrees_north")):
            file.create_dataset(name, data=np.ones((2, 3))).attrs["units"] = units
        for name in ("lon", "lat"):
            del file[name].attrs["units"]
            del file[name].attrs["standard_name"]

    with pytest.raises(MissingTransform, match="two-dimensional"):
        read(cf_bytes(edit=edit))


def link_out(file: h5py.File, secret: Path) -> None:
    file["away"] = h5py.ExternalLink(str(secret), "/secret")


def link_out_below(file: h5py.File, secret: Path) -> None:
    file.create_group("a/b")["away"] = h5py.ExternalLink(str(secret), "/secret")


def data_elsewhere(file: h5py.File, secret: Path) -> None:
    file.create_dataset("away", shape=(3,), dtype="uint8", external=[(str(secret), 0, 3)])


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="uint8")
    layout[:] = h5py.VirtualSource(str(secret), "secret", shape=(3,))
    file.create_virtual_dataset("away", layout)


@pytest.mark.parametrize("hostile", [link_out, link_out_below, data_elsewhere, virtual])
def test_a_file_that_names_another_is_refused_before_anything_is_read(hostile: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.arange(3, dtype="uint8")
    with pytest.raises(UnsupportedFormat, match=r"another file|other files"):
        read(cf_bytes(edit=lambda file: hostile(file, secret)))


def test_any_damage_to_a_classic_file_is_read_or_has_a_typed_reason() -> None:
    data, random = classic_bytes(), np.random.default_rng(3)
    for _ in range(500):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 6):
            damaged[place] = random.integers(0, 256)
        with suppress(PermanentError):
            read(bytes(damaged))
