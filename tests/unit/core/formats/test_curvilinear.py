"""Grids whose cells state their own longitudes and latitudes: an outline near the truth, and no geotransform."""

import io
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pyproj
import pytest
from shapely.geometry import shape

from geo_assets.errors import MissingTransform, NoFootprint, UnsupportedFormat
from geo_assets.models import Footprint, RasterMetadata, Refusal
from geo_assets.raster.footprint import footprint_wgs84, known_footprint, with_footprint
from geo_assets.raster.formats.reading import read_metadata
from tests.unit.core.formats.files import cf_bytes

ROWS, COLUMNS = 40, 60


def centres(code: str, transform: tuple[float, ...]) -> tuple[Any, Any]:
    """Longitudes and latitudes of the centres of ROWS x COLUMNS cells of a geotransform."""
    a, b, c, d, e, f = transform
    row, column = np.mgrid[0:ROWS, 0:COLUMNS] + 0.5
    to_degrees = pyproj.Transformer.from_crs(code, "OGC:CRS84", always_xy=True)
    return to_degrees.transform(a * column + b * row + c, d * column + e * row + f)


def bent_bytes(longitude: Any, latitude: Any, *, names: str = "xc yc", second: bool = False) -> bytes:
    """A NetCDF-4 file of tas over dimensions j and i, whose coordinates are two-dimensional."""

    def edit(file: h5py.File) -> None:
        for name in list(file):
            del file[name]
        for name, size in (("j", longitude.shape[0]), ("i", longitude.shape[1])):
            file.create_dataset(name, data=np.arange(size)).make_scale(name)
        fields = {"xc": (longitude, "degrees_east"), "yc": (latitude, "degrees_north"), "tas": (longitude, "K")}
        if second:
            fields |= {"xu": (longitude, "degrees_east"), "yu": (latitude, "degrees_north"), "u": (longitude, "m s-1")}
        for name, (values, units) in fields.items():
            data = file.create_dataset(name, data=np.asarray(values, "f8"))
            data.attrs["units"] = units
            data.dims[0].attach_scale(file["j"])
            data.dims[1].attach_scale(file["i"])
        file["tas"].attrs["coordinates"] = names
        if second:
            file["u"].attrs["coordinates"] = "xu yu"

    return cf_bytes(edit=edit)


def read(data: bytes) -> RasterMetadata:
    return with_footprint(read_metadata(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("code", "transform"),
    [
        ("EPSG:32633", (866.0, -500.0, 400_000.0, -500.0, -866.0, 5_000_000.0)),
        ("EPSG:32660", (5000.0, 0.0, 600_000.0, 0.0, -5000.0, 5_000_000.0)),
        ("EPSG:3413", (25_000.0, 0.0, 400_000.0, 0.0, -25_000.0, 900_000.0)),
        ("EPSG:4326", (0.25, 0.0, 172.0, 0.0, 0.25, -20.0)),
    ],
)
def test_the_outline_is_that_of_the_grid_the_cells_were_made_of(code: str, transform: Any) -> None:
    found = read(bent_bytes(*centres(code, transform)))
    truth = footprint_wgs84(
        replace(found, transform=transform, crs_wkt2=pyproj.CRS(code).to_wkt("WKT2_2019"), footprint=None)
    )
    one, other = shape(known_footprint(found).geometry), shape(truth.geometry)
    assert one.intersection(other).area / one.union(other).area > 0.995
    assert known_footprint(found).bbox == pytest.approx(truth.bbox, abs=0.1)
    assert known_footprint(found).source.startswith("approximate: ")
    assert (found.shape, found.transform, found.crs_wkt2) == ((ROWS, COLUMNS), None, None)
    assert [band.name for band in found.bands] == ["tas"]
    assert found.cube
    assert {each["type"] for each in found.cube["cube:dimensions"].values()} == {"other"}


def test_cells_that_fold_over_each_other_have_no_outline() -> None:
    longitude, latitude = centres("EPSG:4326", (0.25, 0.0, 10.0, 0.0, -0.25, 50.0))
    longitude[:, 30:] = longitude[:, 29::-1][:, :30]
    found = read(bent_bytes(longitude, latitude))
    assert isinstance(found.footprint, Refusal)
    assert (found.footprint.code, "fold over" in found.footprint.message) == (NoFootprint.code, True)
    assert not isinstance(found.footprint, Footprint)


def test_what_is_not_beyond_doubt_has_a_typed_reason() -> None:
    longitude, latitude = centres("EPSG:32633", (1000.0, 0.0, 400_000.0, 0.0, -1000.0, 5_000_000.0))
    with pytest.raises(UnsupportedFormat, match="2 different grids"):
        read(bent_bytes(longitude, latitude, second=True))
    with pytest.raises(MissingTransform, match="no variable names both"):
        read(bent_bytes(longitude, latitude, names="xc"))
    longitude[3, 3] = np.nan
    with pytest.raises(MissingTransform, match="missing values"):
        read(bent_bytes(longitude, latitude))
