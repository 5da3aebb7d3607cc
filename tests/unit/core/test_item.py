"""Items: true, valid against the schemas without a network, and the same as the golden one."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely
from rasterio.transform import Affine

from geo_assets.errors import MissingDatetime, PermanentError
from geo_assets.models import BandMetadata, BandStatistics, BlobRef, RasterMetadata
from geo_assets.raster.formats.reading import place, read_metadata
from geo_assets.raster.header import read_raster_metadata
from geo_assets.raster.sniff import COG, GEOTIFF
from geo_assets.sources.item_rules import BandRule, FixedDatetime
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.extensions import (
    DATACUBE_EXTENSION,
    EXTENSIONS,
    PROJECTION_EXTENSION,
    RASTER_EXTENSION,
    TABLE_EXTENSION,
    VERSION_EXTENSION,
    VIEW_EXTENSION,
)
from geo_assets.stac.item import build_collection, build_item
from geo_assets.storage.related_blobs import is_sidecar, placing_names
from tests.samples import identity
from tests.unit.core import schemas
from tests.unit.core.rasters import metadata, tiff_bytes

GOLDEN = Path(__file__).parents[2] / "golden"
NOT_OF_RASTERS = {DATACUBE_EXTENSION, TABLE_EXTENSION, VERSION_EXTENSION, VIEW_EXTENSION}
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
UTM = Affine(30.0, 0.0, 400_000.0, 0.0, -30.0, 4_500_000.0)
SOURCE = Source(
    name="scenes",
    url="az://bronze/scenes",
    collection=CollectionRule(id="scenes", description="Scenes of a test.", license="CC0-1.0"),
    datetime=(FixedDatetime(fixed=NOON),),
)


def item(
    raster: RasterMetadata,
    *,
    name: str = "scenes/2020/a.tif",
    source: Source = SOURCE,
    md5: str | None = None,
    account: str = "https://account.example",
) -> Any:
    blob = BlobRef(name=name, etag='"0x8D"', size_bytes=1234, last_modified=NOON, md5=md5)
    return build_item(source=source, blob=blob, metadata=raster, href=f"{account}/bronze/{name}")


def full_item() -> Any:
    """An item of which everything is known: rotated, with rules, statistics, checksum and a public account."""
    figures = BandStatistics(valid_percent=50.0, minimum=0.0, maximum=4000.0, mean=700.5, stddev=90.25)
    rules = (
        BandRule(name="B04", common_name="red", center_wavelength=0.665, full_width_half_max=0.038, gsd=10),
        BandRule(name="B8A", common_name="nir08", unit="1", description="Narrow near infrared", solar_illumination=955),
    )
    raster = metadata(
        "EPSG:32618",
        Affine(30.0, 10.0, 400_000.0, 10.0, -30.0, 4_500_000.0),
        (10, 20),
        bands=(
            BandMetadata("uint16", nodata=0, name="red band", scale=1e-4, offset=-0.1, statistics=figures),
            BandMetadata("uint16", nodata=0, name="B8A", unit="counts", statistics=figures),
        ),
        is_cog=True,
        byte_order="little-endian",
        header_size_bytes=640,
        area_or_point="Point",
        tags={"": {"AREA_OR_POINT": "Point"}},
        statistics_source="the overview at 1/4",
    )
    source = SOURCE.model_copy(update={"bands": rules, "gsd": 10.0, "region": "westeurope"})
    account = "https://lake.blob.core.windows.net"
    return item(raster, source=source, md5="d41d8cd98f00b204e9800998ecf8427e", account=account)


def test_an_item_is_the_golden_one() -> None:
    bands = (
        BandMetadata("float32", nodata="nan", name="red", unit="1", scale=0.5, color_interpretation="red"),
        BandMetadata("int16", nodata=-1, name="nir", offset=2.0),
    )
    built = item(
        metadata("EPSG:32618", UTM, (10, 20), bands=bands, is_cog=True), md5="d41d8cd98f00b204e9800998ecf8427e"
    )
    schemas.validate(built)
    assert built == json.loads((GOLDEN / "item.json").read_text())


def test_an_item_of_which_everything_is_known_is_the_golden_one() -> None:
    built = full_item()
    schemas.validate(built)
    assert built == json.loads((GOLDEN / "full_item.json").read_text())
    assert set(built["stac_extensions"]) == {*EXTENSIONS} - NOT_OF_RASTERS


def test_pystac_reads_the_full_item_back_as_it_is() -> None:
    built = full_item()
    assert pystac.Item.from_dict(built).to_dict(include_self_link=False, transform_hrefs=False) == built


def test_a_rotated_raster_has_its_own_outline_in_its_crs_counter_clockwise() -> None:
    properties = full_item()["properties"]
    (ring,) = properties["proj:geometry"]["coordinates"]
    assert shapely.is_ccw(shapely.linearrings(ring))
    west, south, east, north = properties["proj:bbox"]
    assert shapely.bounds(shapely.polygons(ring)).tolist() == [west, south, east, north]
    assert shapely.area(shapely.polygons(ring)) == pytest.approx(10 * 20 * 1000)
    assert "proj:geometry" not in item(metadata())["properties"]


def test_a_south_up_rotated_raster_is_counter_clockwise_too() -> None:
    raster = metadata("EPSG:32618", Affine(30.0, 10.0, 400_000.0, -10.0, 30.0, 4_500_000.0), (10, 20))
    (ring,) = item(raster)["properties"]["proj:geometry"]["coordinates"]
    assert shapely.is_ccw(shapely.linearrings(ring))


def test_a_crs_without_a_code_is_given_in_full() -> None:
    properties = item(metadata("+proj=laea +lat_0=10 +lon_0=20 +ellps=WGS84"))["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS")
    assert properties["proj:projjson"]["type"] == "ProjectedCRS"
    schemas.validate(item(metadata("+proj=laea +lat_0=10 +lon_0=20 +ellps=WGS84")))


def test_an_extension_is_listed_only_where_it_is_used() -> None:
    plain, scaled = item(metadata()), item(metadata(bands=(BandMetadata("int16", scale=0.1),)))
    assert PROJECTION_EXTENSION in plain["stac_extensions"]
    assert RASTER_EXTENSION not in plain["stac_extensions"]
    assert RASTER_EXTENSION in scaled["stac_extensions"]


def test_only_a_cog_is_called_one() -> None:
    assert item(metadata())["assets"]["data"]["type"] == GEOTIFF
    assert item(metadata(is_cog=True))["assets"]["data"]["type"] == COG


def test_bands_of_one_name_are_described_and_not_named() -> None:
    bands = item(metadata(bands=(BandMetadata("uint8", name="x"), BandMetadata("uint8", name="x"))))["assets"]["data"][
        "bands"
    ]
    assert [band.get("name") for band in bands] == [None, None]
    assert [band["description"] for band in bands] == ["x", "x"]


def test_nothing_is_made_up() -> None:
    built = item(metadata())
    assert not {"created", "updated", "gsd", "platform", "renders", "storage:schemes"} & built["properties"].keys()
    unknown = {"file:checksum", "file:byte_order", "file:header_size", "raster:sampling", "storage:refs", "created"}
    assert not unknown & built["assets"]["data"].keys()


def test_without_a_date_there_is_no_item() -> None:
    with pytest.raises(MissingDatetime):
        item(metadata(), source=SOURCE.model_copy(update={"datetime": ()}))


def test_an_item_over_the_antimeridian_is_valid_and_pystac_reads_it() -> None:
    built = item(metadata("EPSG:32601", Affine(100, 0, 150_000, 0, -100, 6_700_000), (1000, 1000)))
    schemas.validate(built)
    assert pystac.Item.from_dict(built).to_dict(include_self_link=False)["bbox"] == built["bbox"]


def test_every_sample_is_a_valid_item_a_sidecar_or_has_a_typed_reason(samples: Path) -> None:
    outcome: dict[str, Any] = {}
    for path in sorted(path for path in samples.rglob("*") if path.is_file()):
        name = path.relative_to(samples).as_posix()
        outcome[name] = "sidecar" if is_sidecar(name) else sample_outcome(path, name)
    assert outcome == json.loads((GOLDEN / "samples.json").read_text())


def sample_outcome(path: Path, name: str) -> Any:
    """What the golden file says of one sample: the code of its refusal, or what identifies its item, which is valid."""
    beside = {each: path.parent / Path(each).name for each in placing_names(name)}
    sidecars = {each: file.read_bytes() for each, file in beside.items() if file.exists()}
    try:
        with path.open("rb") as file:
            raster = place(read_metadata(file), sidecars=sidecars, assume_crs=None)
        built = item(raster, name=f"scenes/{name}")
    except PermanentError as error:
        return error.code
    schemas.validate(built)
    json.dumps(built, allow_nan=False)
    return identity(built)


def test_a_collection_is_valid_empty_and_with_an_extent() -> None:
    empty = build_collection(SOURCE, None, None)
    schemas.validate(empty)
    assert empty["extent"] == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    }
    full = build_collection(SOURCE, (1, 2, 3, 4), (NOON, None))
    schemas.validate(full)
    assert full["extent"]["spatial"]["bbox"] == [[1, 2, 3, 4]]
    assert full["extent"]["temporal"]["interval"] == [["2020-01-01T12:00:00Z", None]]


def test_the_real_header_of_a_generated_file_becomes_a_valid_item() -> None:
    schemas.validate(item(read_raster_metadata(io.BytesIO(tiff_bytes(count=3, nodata=0)))))
