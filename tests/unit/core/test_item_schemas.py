"""Checking items: what is refused and where, what is not checked, and that nothing is fetched."""

import copy
import json
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geo_assets.errors import InvalidConfiguration, InvalidItem
from geo_assets.stac.extensions import EXTENSIONS, FILE_EXTENSION, RASTER_EXTENSION
from geo_assets.stac.schemas import (
    ITEM_SCHEMA,
    ItemValidator,
    item_validator,
    references,
    schema_path,
    unchecked_extensions,
)
from tests.unit.core import schemas
from tests.unit.core.test_item import full_item

needs_schemas = pytest.mark.skipif(schemas.EXTENSIONS is None, reason="GEO_ASSETS_SCHEMAS is not set")
SMALL = "https://schemas.example/small/v1.0.0/schema.json"


def refusal(change: Callable[[Any], object], validator: ItemValidator | None = None) -> str:
    """What is said of the full item after ``change``."""
    item = copy.deepcopy(full_item())
    change(item)
    with pytest.raises(InvalidItem) as caught:
        (validator or item_validator(schemas.EXTENSIONS)).check(item)
    return caught.value.message


def write_schema(folder: Path, url: str, schema: object) -> None:
    path = schema_path(folder, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema))


@needs_schemas
@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        ("$.properties", "proj:code", 4326),
        ("$.properties", "proj:shape", [1]),
        ("$.properties", "proj:transform", [1, 2, 3]),
        ("$.properties", "proj:geometry", {"type": "Polygon", "coordinates": [[[0, 0]]]}),
        ("$.properties", "storage:schemes", {"azure": {"type": "ms-azure"}}),
        ("$.properties", "renders", {"default": {"bidx": [1]}}),
        ("$.properties", "gsd", 0),
        ("$.assets.data", "updated", "yesterday"),
        ("$.assets.data", "roles", "data"),
        ("$.assets.data", "file:size", -1),
        ("$.assets.data", "file:checksum", "not hex"),
        ("$.assets.data", "file:byte_order", "middle-endian"),
        ("$.assets.data", "file:header_size", 1.5),
        ("$.assets.data", "raster:sampling", "line"),
        ("$.assets.data", "raster:spatial_resolution", "30 m"),
        ("$.assets.data", "storage:refs", ["azure", ""]),
        ("$.assets.data.bands[1]", "eo:common_name", "violet"),
        ("$.assets.data.bands[1]", "eo:solar_illumination", -1),
        ("$.assets.data.bands[1]", "raster:scale", math.nan),
        ("$.assets.data.bands[1]", "data_type", "float128"),
        ("$.assets.data.bands[1]", "nodata", "none"),
        ("$.assets.data.bands[1]", "unit", 1),
    ],
)
def test_a_wrong_value_is_named_by_its_place(place: str, field: str, value: object) -> None:
    def change(item: Any) -> None:
        part = {
            "$.properties": item["properties"],
            "$.assets.data": item["assets"]["data"],
            "$.assets.data.bands[1]": item["assets"]["data"]["bands"][1],
        }[place]
        part[field] = value

    assert refusal(change).startswith(f"{place}.{field}")


@needs_schemas
def test_a_field_that_the_extension_does_not_know_is_refused() -> None:
    assert "proj:epsg" in refusal(lambda item: item["properties"].update({"proj:epsg": 4326}))


def test_core_stac_is_checked_without_any_folder() -> None:
    validator = item_validator(None)
    validator.check(full_item())
    assert set(validator.unchecked) == set(EXTENSIONS)
    assert refusal(lambda item: item["properties"].pop("datetime"), validator).startswith("$.properties")
    assert refusal(lambda item: item.pop("geometry"), validator).startswith("$")
    ring = [[[0, 0], [1, 1], [0, 0]]]
    said = refusal(lambda item: item["geometry"].update(coordinates=ring), validator)
    assert said.startswith("$.geometry.coordinates[0]")
    assert "(https://geojson.org/schema/" in said


def test_a_long_value_makes_no_long_message() -> None:
    assert len(refusal(lambda item: item["properties"].update(datetime="x" * 5000), item_validator(None))) < 600


def test_only_an_extension_that_the_item_lists_is_checked(tmp_path: Path) -> None:
    write_schema(tmp_path, SMALL, {"$id": SMALL, "required": ["small"]})
    validator = ItemValidator(tmp_path, (SMALL,))
    validator.check(full_item())
    assert "small" in refusal(lambda item: item["stac_extensions"].append(SMALL), validator)


def test_what_a_schema_refers_to_is_found_by_its_address(tmp_path: Path) -> None:
    part = SMALL.replace("schema.json", "parts/part.json")
    write_schema(tmp_path, SMALL, {"$id": SMALL, "properties": {"id": {"$ref": "./parts/part.json"}}})
    assert unchecked_extensions(tmp_path, [SMALL]) == {SMALL: f"in part only: it refers to {part}"}
    ItemValidator(tmp_path, (SMALL,)).check({**full_item(), "stac_extensions": [SMALL]})

    deeper = SMALL.replace("schema.json", "parts/deeper.json")
    write_schema(tmp_path, part, {"$id": part, "maxLength": 3, "allOf": [{"$ref": "deeper.json"}]})
    assert unchecked_extensions(tmp_path, [SMALL]) == {SMALL: f"in part only: it refers to {deeper}"}

    write_schema(tmp_path, deeper, {"$id": deeper})
    assert unchecked_extensions(tmp_path, [SMALL]) == {}
    said = refusal(lambda item: item.update(stac_extensions=[SMALL]), ItemValidator(tmp_path, (SMALL,)))
    assert said.startswith("$.id: ")
    assert said.endswith(f"({part})")


def test_no_schema_is_fetched_whatever_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("validation asked for a network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    unknown = "https://schemas.example/unknown.json"
    write_schema(tmp_path, SMALL, {"$id": SMALL, "allOf": [{"$ref": unknown}]})
    validator = ItemValidator(tmp_path, (SMALL, FILE_EXTENSION))
    validator.check({**full_item(), "stac_extensions": [SMALL, FILE_EXTENSION, RASTER_EXTENSION]})
    assert set(validator.unchecked) == {SMALL, FILE_EXTENSION}


def test_every_reference_of_core_stac_is_on_this_machine() -> None:
    assert unchecked_extensions(None, [ITEM_SCHEMA]) == {}


@pytest.mark.parametrize("content", ["[]", "{", '{"$ref": "#/nowhere"}', '{"type": 5}'])
def test_a_broken_schema_is_an_error_of_configuration(tmp_path: Path, content: str) -> None:
    path = schema_path(tmp_path, SMALL)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InvalidConfiguration):
        ItemValidator(tmp_path, (SMALL,))


def test_a_folder_that_is_named_but_missing_is_an_error_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="which is not a folder"):
        ItemValidator(tmp_path / "missing")


def test_no_address_leads_out_of_the_folder(tmp_path: Path) -> None:
    for url in ("https://host/../../etc/passwd", "https://host/", "file:///etc/passwd", "schema.json"):
        with pytest.raises(InvalidConfiguration):
            schema_path(tmp_path, url)


def test_references_are_absolute_and_those_within_are_none() -> None:
    schema = {"a": [{"$ref": "#/definitions/x"}, {"$ref": "../y.json#/z"}], "b": {"$ref": "https://other.example/w"}}
    found = set(references(schema, base="https://host.example/one/two.json#"))
    assert found == {"https://host.example/y.json", "https://other.example/w"}
