"""Vectors on their way to tables: names, types, geometries and formats, without files or a database."""

import json

import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geo_assets.errors import PermanentError
from geo_assets.names import MOST_BYTES, OWN_COLUMNS, column_names, table_names
from geo_assets.sources.source import Source
from geo_assets.sources.vector_rules import VECTOR_GLOBS, TableRule
from geo_assets.vectors.copy_encoding import Column, column_type, encode_column
from geo_assets.vectors.errors import UnknownFormat, UnloadableValue
from geo_assets.vectors.formats import HEAD_BYTES, sniff
from tests.vectors import normalise


@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=30))
def test_columns_have_names_of_their_own_that_postgresql_takes(originals: list[str]) -> None:
    names = column_names(originals, reserved={"order", "select"})
    assert list(names) == originals
    assert len({*names.values(), *OWN_COLUMNS}) == len(originals) + len(OWN_COLUMNS)
    assert all(0 < len(name.encode()) <= MOST_BYTES and name == name.lower() for name in names.values())


def test_a_thousand_columns_whose_names_are_cut_alike_are_told_apart() -> None:
    names = column_names(["a" * 61 + "!" * number for number in range(1_500)])
    assert len(set(names.values())) == 1_500
    assert max(map(len, names.values())) <= MOST_BYTES


def test_tables_are_named_by_the_rule_and_layers_apart() -> None:
    source = Source.model_validate(
        {"name": "s", "url": "file:///x", "collection": {"id": "s", "description": "d"}, "tables": {}}
    )
    assert source.include == VECTOR_GLOBS
    assert table_names(source, "a/Parcels 2024.gpkg", ["one"]) == {"one": "parcels_2024"}
    assert table_names(source, "a/p.gpkg", ["one", "Two"]) == {"one": "p_one", "Two": "p_two"}
    assert len(set(table_names(source, "a/p.gpkg", ["a b", "a-b"]).values())) == 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int64(), "bigint"),
        (pa.uint64(), "numeric"),
        (pa.decimal128(12, 3), "numeric(12,3)"),
        (pa.timestamp("ms", "Europe/Berlin"), "timestamptz"),
        (pa.timestamp("us"), "timestamp"),
        (pa.list_(pa.string()), "text[]"),
        (pa.list_(pa.list_(pa.int32())), "jsonb"),
        (pa.struct([("a", pa.int8())]), "jsonb"),
        (pa.dictionary(pa.int8(), pa.string()), "text"),
        (pa.large_binary(), "bytea"),
        (pa.uuid(), "bytea"),
    ],
)
def test_each_type_of_arrow_has_one_of_postgresql(kind: pa.DataType, expected: str) -> None:
    assert column_type(pa.field("a", kind)) == expected


@pytest.mark.parametrize(
    "moments",
    [
        pa.array([-(2**63) + 946_684_800_000_000 - 705_654_775_817], pa.timestamp("us")),
        pa.array([None, -(2**63) + 10], pa.timestamp("us", "UTC")),
        pa.array([-(2**31)], pa.int32()).cast(pa.date32()),
    ],
)
def test_a_time_before_all_times_is_not_taken_for_a_late_one(moments: pa.Array) -> None:
    column = Column("t", "t", column_type(pa.field("t", moments.type)))
    with pytest.raises(UnloadableValue, match="out of PostgreSQL's range"):
        encode_column(moments, column, lambda values, _: [None] * len(values))


def test_what_cannot_be_placed_is_rejected_and_counted() -> None:
    points = [shapely.Point(1, 2), shapely.Point(1, 95), shapely.Point(float("nan"), 1), shapely.Point(float("inf"), 1)]
    _, tally = normalise(points, crs=4326)
    assert tally.rejected == {
        "coordinates are not finite": 2,
        "latitude beyond a pole, or longitude beyond two turns": 1,
    }
    assert tally.bounds == (1.0, 2.0, 1.0, 2.0)


def test_a_repair_keeps_the_type_of_the_geometry() -> None:
    spike = shapely.Polygon([(0, 0), (2, 0), (2, 2), (0, 2), (0, 0), (-1, -1), (0, 0)])
    flat = shapely.Polygon([(0, 0), (1, 1), (2, 2), (0, 0)])
    (made, gone), tally = normalise([spike, flat], crs=4326)
    assert made is not None
    assert made.geom_type == "Polygon"
    assert made.area == 4
    assert gone is None
    assert tally.rejected == {"nothing is left of the shape when repaired": 1}


def test_a_file_is_known_by_its_bytes() -> None:
    assert sniff(b"SQLite format 3\0", "a.shp") == "gpkg"
    assert sniff(b'\xef\xbb\xbf {"type"', "a.txt") == "geojson"
    assert sniff(b"a,b\n", "a.CSV") == "csv"
    for head in (b"", b"<html>", b"%PDF", b"version https://git-lfs", b"\0\1\2"):
        with pytest.raises(PermanentError) as refusal:
            sniff(head, "a.gpkg")
        assert refusal.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        {"displayFieldName": "", "geometryType": "esriGeometryPoint", "features": []},
        {"hasZ": True, "features": []},
        {"features": [{"attributes": {"type": "Feature"}, "geometry": {"x": 1, "y": 2}}]},
        {"exceededTransferLimit": True, "features": [{"geometry": {"rings": [[[0, 0]] * 40_000]}}]},
        {"features": [{"geometry": {"x": 1, "y": 2}}], "fields": []},
        {"attributes": {"a": 1}, "geometry": {"paths": [[[0, 0], [1, 1]]]}},
        {"rings": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        {"x": 1, "y": 2},
        {"layers": [{"layerDefinition": {"type": "Feature Layer"}, "featureSet": {"features": []}}]},
    ],
)
def test_esri_json_is_refused_by_its_name_with_how_to_convert_it(content: object) -> None:
    with pytest.raises(UnknownFormat, match="ESRI JSON") as refusal:
        sniff(json.dumps(content).encode()[:HEAD_BYTES], "a.geojson")
    assert "f=geojson" in refusal.value.remedy
    assert "ogr2ogr -f GPKG" in refusal.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        {"features": [{"properties": {"x": 1, "y": 2, "rings": []}, "type": "Feature"}], "type": "FeatureCollection"},
        {"features": [{"geometry": {"coordinates": [[0, 0]] * 40_000, "type": "LineString"}}]},
        {"exceededTransferLimit": True, "features": [], "type": "FeatureCollection"},
        {"attributes": {"a": 1}, "type": "Feature", "geometry": None},
        {"features": []},
    ],
)
def test_geojson_is_not_taken_for_esri_json(content: object) -> None:
    assert sniff(json.dumps(content).encode()[:HEAD_BYTES], "a.geojson") == "geojson"


def test_an_error_that_a_server_answered_with_is_no_vector_file() -> None:
    with pytest.raises(UnknownFormat, match="an error that a server answered with"):
        sniff(b'{"error": {"code": 400, "message": "Invalid query"}}', "a.geojson")


def test_objects_in_objects_without_end_are_no_trouble() -> None:
    assert sniff((b'{"features":[' * 10_000)[:HEAD_BYTES], "a.geojson") == "geojson"


def test_a_polygon_with_a_part_that_collapsed_is_repaired() -> None:
    parts = "MULTIPOLYGON (((3 2, 3 2, 3 2, 3 2)), ((0 0, 5 5, 5 0, 0 5, 0 0)))"
    (made,), tally = normalise([shapely.from_wkt(parts)], crs=4326)
    assert made is not None
    assert (made.is_valid, made.area, tally.repaired) == (True, 12.5, 1)


@pytest.mark.parametrize(
    "rule",
    [
        {"mode": "upsert"},
        {"schema": "pgstac"},
        {"x": "lon"},
        {"bbox": [1, 1, 0, 2]},
        {"name": "{other}"},
        {"target_crs": "no"},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TableRule.model_validate(rule)
