"""What counts as a disagreement between a table and its file: rounding does not, a missing extent does."""

import pytest

from geo_assets.stac.agreement import Bounds, ComparedTable, TableFacts, table_disagreements
from geo_assets.stac.table_item import DescribedTable

COLUMNS = {"fid": "bigint", "geom": "geometry(Point,25832)"}
EXTENT = (400_000.0, 5_600_000.0, 400_001.0, 5_600_001.0)
DESCRIBED = DescribedTable("a", "vectors.a", 2, [], ["Point"], 25832, [7.5, 50.5, 7.6, 50.6], "GPKG")
EXPECTED = {
    "bbox": [7.5, 50.5, 7.6, 50.6],
    "properties": {"table:row_count": 2, "proj:code": "EPSG:25832", "table:columns": []},
}


def said(extent: Bounds | None, *, rows: int = 2, **item: object) -> list[str]:
    """What is said of a table with this extent and so many rows, and of an item that states ``item`` beside."""
    ring = [[7.5, 50.5], [7.6, 50.5], [7.6, 50.6], [7.5, 50.6], [7.5, 50.5]]
    properties = {**EXPECTED["properties"], "geo_assets:layer": "a"}  # type: ignore[dict-item]
    stated = {"geometry": {"type": "Polygon", "coordinates": [ring]}, **EXPECTED, "properties": properties, **item}
    compared = ComparedTable(DESCRIBED, TableFacts(2, EXTENT, COLUMNS), TableFacts(rows, extent, COLUMNS))
    return table_disagreements([stated], [(compared, EXPECTED)])


def test_what_another_release_of_proj_rounds_otherwise_is_no_disagreement() -> None:
    west, south, east, north = EXTENT
    assert said((west + 1e-6, south, east, north - 1e-6), bbox=[7.5000000001, 50.5, 7.6, 50.6]) == []


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        (None, "the extent of table vectors.a is empty, that of the file [400000, 5600000, 400001, 5600001]"),
        (
            (400_000.5, 5_600_000.0, 400_001.0, 5_600_001.0),
            "the extent of table vectors.a is [400000.5, 5600000, 400001, 5600001], "
            "that of the file [400000, 5600000, 400001, 5600001]",
        ),
    ],
)
def test_a_table_elsewhere_is_one(extent: Bounds | None, expected: str) -> None:
    assert said(extent) == [expected]


def test_an_item_with_another_box_is_one() -> None:
    assert said(EXTENT, bbox=[7.4, 50.5, 7.6, 50.6]) == [
        "bbox of the item is [7.4, 50.5, 7.6, 50.6], the file's [7.5, 50.5, 7.6, 50.6]"
    ]
    assert said(EXTENT, bbox=None) == ["bbox of the item is empty, the file's [7.5, 50.5, 7.6, 50.6]"]


def test_other_rows_are_told_where_nobody_knows_which() -> None:
    assert said(EXTENT, rows=1) == ["table vectors.a has 1 row, and the file 2 rows"]
