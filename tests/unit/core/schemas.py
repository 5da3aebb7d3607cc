"""STAC validation without a network, as the product does it, with the extensions of GEO_ASSETS_SCHEMAS."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pyproj.datadir
import pystac.validation
import pytest

from geo_assets.stac.schemas import COLLECTION_SCHEMA, item_validator, read_schema

# Read at import: a fixture clears the environment before each test.
_FOLDER = os.environ.get("GEO_ASSETS_SCHEMAS")
EXTENSIONS = Path(_FOLDER) if _FOLDER else None
CORE = Path(pystac.validation.__file__).parent / "jsonschemas"


def validate(document: dict[str, Any]) -> None:
    """Raise unless the item or collection is valid against core, and against its extensions where they are there."""
    if document["type"] == "Feature":
        item_validator(EXTENSIONS).check(document)
        return
    _validator(COLLECTION_SCHEMA).validate(document)
    validate_extensions(document)


def validate_extensions(document: dict[str, Any]) -> None:
    """Raise unless the document is valid against its extensions, where they are there, whatever its STAC version."""
    for url in document["stac_extensions"] if EXTENSIONS else []:
        _validator(url).validate(document)


def core_files() -> dict[str, Path]:
    """The schemas that come inside packages, by address: STAC's core, GeoJSON and PROJJSON."""
    stac = "https://schemas.stacspec.org/v1.1.0"
    kinds = {"collection": "collection", "catalog": "catalog"}
    files = {
        f"{stac}/{kinds.get(path.stem, 'item')}-spec/json-schema/{path.name}": path
        for path in (CORE / "stac-spec/v1.1.0").glob("*.json")
    }
    geojson = {f"https://geojson.org/schema/{path.name}": path for path in (CORE / "geojson").glob("*.json")}
    projjson = Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json"
    return {
        **files,
        **geojson,
        **{f"https://proj.org/schemas/v0.{n}/projjson.schema.json": projjson for n in range(1, 10)},
    }


def all_files() -> dict[str, Path]:
    """Where the schemas lie that items refer to, by address. The test is skipped without GEO_ASSETS_SCHEMAS."""
    if not EXTENSIONS:
        pytest.skip("GEO_ASSETS_SCHEMAS is not set")
    return {f"https://{path.relative_to(EXTENSIONS)}": path for path in EXTENSIONS.rglob("schema.json")} | core_files()


@cache
def _validator(url: str) -> Any:
    schema = read_schema(url, EXTENSIONS)
    assert schema is not None, f"no schema for {url}"
    return jsonschema_rs.Draft7Validator(schema, retriever=lambda other: read_schema(other, EXTENSIONS) or {})
