"""STAC validation without a network: core schemas from pystac, PROJJSON from pyproj, extensions from a folder."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pyproj.datadir
import pystac.validation

# Read at import: a fixture clears the environment before each test.
_FOLDER = os.environ.get("GEO_ASSETS_SCHEMAS")
EXTENSIONS = Path(_FOLDER) if _FOLDER else None
CORE = Path(pystac.validation.__file__).parent / "jsonschemas"


def validate(document: dict[str, Any]) -> None:
    """Raise unless the item or collection is valid against core, and against its extensions where they are there."""
    _core(document["type"]).validate(document)
    for uri in document["stac_extensions"] if EXTENSIONS else []:
        _extension(uri).validate(document)


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


def _local(uri: str) -> Any:
    places = {
        "https://proj.org/": Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json",
        "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/": CORE / "stac-spec/v1.1.0" / Path(uri).name,
        "https://schemas.stacspec.org/v1.1.0/collection-spec/json-schema/": CORE / "stac-spec/v1.1.0" / Path(uri).name,
        "https://geojson.org/schema/": CORE / "geojson" / Path(uri).name,
    }
    path = next((path for start, path in places.items() if uri.startswith(start)), None)
    if path is None:
        raise ValueError(f"no local copy of {uri}")
    return json.loads(path.read_text())


@cache
def _core(kind: str) -> Any:
    name = "collection" if kind == "Collection" else "item"
    schema = json.loads((CORE / f"stac-spec/v1.1.0/{name}.json").read_text())
    return jsonschema_rs.Draft7Validator(schema, retriever=_local)


@cache
def _extension(uri: str) -> Any:
    assert EXTENSIONS
    schema = json.loads((EXTENSIONS / uri.removeprefix("https://")).read_text())
    return jsonschema_rs.Draft7Validator(schema, retriever=_local)
