"""The same item as STAC 1.0.0: valid by the older extensions, saying the same, read by pystac."""

from typing import Any

import pystac
import pytest

from geo_assets.stac.extensions import to_stac_1_0
from tests.unit.core import schemas
from tests.unit.core.rasters import metadata
from tests.unit.core.test_item import full_item, item


def test_the_full_item_says_the_same_in_the_fields_of_1_0() -> None:
    before = full_item()
    old = to_stac_1_0(before)
    assert before == full_item()
    schemas.validate_extensions(old)
    assert old["stac_version"] == "1.0.0"
    assert [url.split("/", 3)[3] for url in old["stac_extensions"]] == [
        "file/v2.1.0/schema.json",
        "storage/v2.0.0/schema.json",
        "render/v2.0.0/schema.json",
        "projection/v1.1.0/schema.json",
        "raster/v1.1.0/schema.json",
        "eo/v1.1.0/schema.json",
    ]
    assert old["properties"]["proj:epsg"] == 32618
    assert "proj:code" not in old["properties"]
    asset = old["assets"]["data"]
    assert not {"bands", "raster:sampling", "raster:spatial_resolution"} & asset.keys()
    first = before["assets"]["data"]["bands"][0]
    assert asset["raster:bands"][0] == {
        "data_type": "uint16",
        "nodata": 0,
        "scale": 1e-4,
        "offset": -0.1,
        "statistics": first["statistics"],
        "sampling": "point",
        "spatial_resolution": before["assets"]["data"]["raster:spatial_resolution"],
    }
    assert asset["eo:bands"] == [
        {
            "name": "B04",
            "description": "red band",
            "common_name": "red",
            "center_wavelength": 0.665,
            "full_width_half_max": 0.038,
        },
        {
            "name": "B8A",
            "description": "Narrow near infrared",
            "common_name": "nir08",
            "solar_illumination": 955.0,
        },
    ]


def test_pystac_reads_it() -> None:
    read = pystac.Item.from_dict(to_stac_1_0(full_item()))
    assert read.ext.proj.code == "EPSG:32618"
    bands = read.assets["data"].ext.raster.bands
    assert [band.scale for band in bands or ()] == [1e-4, None]


@pytest.mark.parametrize("crs", ["ESRI:102039", "+proj=laea +lat_0=10 +lon_0=20 +ellps=WGS84"])
def test_a_crs_without_an_epsg_code_is_given_as_wkt(crs: str) -> None:
    old = to_stac_1_0(item(metadata(crs)))
    schemas.validate_extensions(old)
    assert old["properties"]["proj:epsg"] is None
    assert old["properties"]["proj:wkt2"].startswith("PROJCRS")


def test_a_gsd_that_all_bands_share_goes_to_the_asset() -> None:
    built: Any = full_item()
    built["assets"]["data"]["bands"] = [{"name": "a", "gsd": 10}, {"name": "b", "gsd": 10}]
    assert to_stac_1_0(built)["assets"]["data"]["gsd"] == 10


def test_a_band_that_eo_2_tells_apart_keeps_the_older_name() -> None:
    built: Any = full_item()
    built["assets"]["data"]["bands"][0]["eo:common_name"] = "rededge071"
    old = to_stac_1_0(built)
    schemas.validate_extensions(old)
    assert old["assets"]["data"]["eo:bands"][0]["common_name"] == "rededge"


def test_without_names_there_are_no_eo_bands() -> None:
    old = to_stac_1_0(item(metadata()))
    schemas.validate_extensions(old)
    assert "eo:bands" not in old["assets"]["data"]
    assert old["assets"]["data"]["raster:bands"] == [{"data_type": "uint8"}]
