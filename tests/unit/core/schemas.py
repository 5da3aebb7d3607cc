"""STAC validation without a network, as the product does it, with the extensions of GEO_ASSETS_SCHEMAS."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from geo_assets.core.item_schemas import item_validator
from geo_assets.core.local_schemas import COLLECTION_SCHEMA, read_schema

# Read at import: a fixture clears the environment before each test.
_FOLDER = os.environ.get("GEO_ASSETS_SCHEMAS")
EXTENSIONS = Path(_FOLDER) if _FOLDER else None


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


@cache
def _validator(url: str) -> Any:
    schema = read_schema(url, EXTENSIONS)
    assert schema is not None, f"no schema for {url}"
    return jsonschema_rs.Draft7Validator(schema, retriever=lambda other: read_schema(other, EXTENSIONS) or {})
