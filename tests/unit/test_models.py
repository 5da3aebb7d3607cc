"""The values keep what they hold on their way through JSON, which the ledger stores them as."""

import math

from pydantic import TypeAdapter

from geo_assets.models import BandMetadata, BandStatistics, Footprint, RasterMetadata, Refusal

JSON = TypeAdapter(RasterMetadata)


def metadata(**facts: object) -> RasterMetadata:
    """Some metadata with these facts."""
    return RasterMetadata(
        **{
            "driver": "GTiff",
            "shape": (2, 3),
            "bands": (BandMetadata("float32", nodata="nan", statistics=BandStatistics(50.0, 0.0, 1.0, 0.5, 0.1)),),
            "crs_code": "EPSG:32633",
            "crs_wkt2": "PROJCRS[...]",
            "transform": (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0),
            "block_shape": (2, 3),
            "tags": {"": {"AREA_OR_POINT": "Area"}},
            **facts,
        }  # type: ignore[arg-type]
    )


def test_metadata_survive_json() -> None:
    footprint = Footprint({"type": "Polygon", "coordinates": [[[0.0, 0.0]]]}, (179.0, -1.0, -179.0, 1.0), "edges")
    for each in (metadata(), metadata(footprint=footprint), metadata(footprint=Refusal("missing_crs", "none"))):
        assert JSON.validate_json(JSON.dump_json(each)) == each


def test_numbers_that_json_does_not_have_survive_it_too() -> None:
    odd = metadata(
        transform=(math.inf, 0.0, math.nan, 0.0, -math.inf, 0.0), bands=(BandMetadata("int64", nodata=2**63 - 1),)
    )
    back = JSON.validate_json(JSON.dump_json(odd))
    assert back.transform is not None
    assert math.isnan(back.transform[2])
    assert (back.transform[0], back.transform[4]) == (math.inf, -math.inf)
    assert back.bands[0].nodata == 2**63 - 1
