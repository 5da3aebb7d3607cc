"""What text is: by the root element of XML and the root's type of JSON, however much stands before it."""

import json

import pyproj
import pytest

from geo_assets.raster.crs import stated_crs
from geo_assets.vectors.errors import UnknownFormat, UnreadableVector, WebPage
from geo_assets.vectors.formats import HEAD_BYTES, sniff

pytestmark = pytest.mark.attack

POINT = {"type": "Point", "coordinates": [1, 2]}
FEATURE = {"type": "Feature", "geometry": POINT, "properties": {"type": "Topology"}}
CRS = {"type": "name", "properties": {"name": "EPSG:25832", "more": "x" * 20_000}}
NOTE = f"<!-- {'a note ' * 1_000} <OGRVRTDataSource> -->"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<kml>", "a.kml"),
        (f"\ufeff<?xml version='1.0' encoding='UTF-8'?>\n{NOTE}<?style a?>\n<kml xmlns='http://x'>", "a.kml"),
        ("\n\n  <?xml version='1.0'?><kml:kml xmlns:kml='http://x'><kml:Document>", "a.txt"),
        ("<?xml version='1.0' encoding='windows-1252'?><kml xsi:schemaLocation='a b'>", "a.kml"),
        ("<!DOCTYPE kml><kml>", "a.kml"),
    ],
)
def test_kml_is_known_by_its_root_element(text: str, name: str) -> None:
    assert sniff(text.encode(), name) == "kml"


def test_kml_in_utf_16_is_known() -> None:
    assert sniff('<?xml version="1.0" encoding="UTF-16"?><kml>'.encode("utf-16"), "a.kml") == "kml"


@pytest.mark.parametrize(
    "value",
    [
        {"type": "FeatureCollection", "features": [FEATURE]},
        {"features": [FEATURE, {"geometryType": 1}], "type": "FeatureCollection"},
        {"name": '{"type": "Topology"}', "crs": CRS, "type": "FeatureCollection", "features": []},
        {"name": "\\", "bbox": [1, 2, 3, 4], "features": [], "type": "FeatureCollection"},
        FEATURE,
        {"type": "GeometryCollection", "geometries": [POINT]},
        {"features": ["x" * HEAD_BYTES], "type": "FeatureCollection"},
    ],
)
def test_geojson_is_known_by_the_type_of_its_root(value: dict[str, object]) -> None:
    text = json.dumps(value).encode()
    assert sniff(text[:HEAD_BYTES], "a.json") == "geojson"
    expected = "geojsonseq" if value.get("type") in ("Feature", "GeometryCollection") else "geojson"
    assert sniff(text[: HEAD_BYTES // 2], "a.geojsonl") in (expected, "geojsonseq")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<OGRVRTDataSource><!-- <kml> --><kml/>", "OGRVRTDataSource"),
        (f"{NOTE}<osm><kml>", "osm"),
        ('{"type": "gdal_streamed_alg", "command_line": "x"}', "gdal_streamed_alg"),
        ('{"a": {"type": "Feature"}, "type": "\\u0054opology"}', "TopoJSON"),
        ('{"geometryType": "esriGeometryPoint", "features": [{"attributes": {}}]}', "ESRI JSON"),
        ("[1]", "array"),
    ],
)
@pytest.mark.parametrize("name", ["a.kml", "a.csv", "a.geojson"])
def test_what_another_driver_would_take_says_what_it_is(text: str, said: str, name: str) -> None:
    with pytest.raises(UnknownFormat, match=said):
        sniff(text.encode(), name)


def test_entities_are_refused_and_a_page_behind_a_comment_is_a_page() -> None:
    with pytest.raises(UnreadableVector, match="entities"):
        sniff(b'<!DOCTYPE kml [<!ENTITY a "b">]><kml>', "a.kml")
    with pytest.raises(WebPage):
        sniff(b"<!-- saved from --><html>", "a.kml")


def test_a_head_of_quotes_takes_no_time() -> None:
    assert sniff(b'{"' + b'\\"' * 30_000, "a.json") == "geojson"
    assert sniff(b"{" + b'"a":{' * 12_000, "a.json") == "geojson"


@pytest.mark.parametrize(
    "text",
    [
        "EPSG:4326",
        "OGC:CRS84",
        "urn:ogc:def:crs:EPSG::3857",
        pyproj.CRS(3857).to_wkt("WKT1_GDAL"),
        pyproj.CRS(3857).to_wkt("WKT1_ESRI"),
        pyproj.CRS(25832).to_json(),
        pyproj.CRS("+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids=BETA2007.gsb +type=crs").to_wkt(),
        pyproj.CRS("+proj=tmerc +lon_0=9 +ellps=bessel +towgs84=598,73,418,0.2,0.04,-2.4,6.7 +type=crs").to_wkt(),
    ],
)
def test_what_files_state_of_their_crs_is_read(text: str) -> None:
    assert stated_crs(text) == pyproj.CRS(text)


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "https://example.org/a.wkt",
        "+init=/etc/passwd:a",
        pyproj.CRS(3857).to_wkt("WKT1_GDAL").replace("+proj=merc", "+proj=defmodel +model=/etc/passwd"),
        "+proj=longlat +nadgrids=/etc/passwd +type=crs",
        pyproj.CRS("+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids=/etc/passwd +type=crs").to_wkt(),
        pyproj.CRS("+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids=../a.gsb +type=crs").to_json(),
        pyproj.CRS(4326).to_wkt() + " " * 2_000_000 + "x",
        '{"a":' * 10_000,
    ],
)
def test_a_crs_that_names_a_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        stated_crs(text)
