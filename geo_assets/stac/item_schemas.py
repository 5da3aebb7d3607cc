"""Checking an item against the JSON schemas of STAC, GeoJSON and the extensions it lists, without a network.

Here: one compiled validator for all of them, and a message that leads to the place in the item. Not here: where
the schemas lie (`local_schemas`), and rules that a schema cannot state.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from geo_assets.errors import InvalidConfiguration, InvalidItem
from geo_assets.stac.extensions import EXTENSIONS
from geo_assets.stac.local_schemas import ITEM_SCHEMA, missing_schemas, read_schema, unchecked_extensions

_LONGEST_MESSAGE = 300


class ItemValidator:
    """Checks items; compiled once, safe to use from many threads.

    ``unchecked`` names the extensions that it cannot check, or not in full, and why.
    """

    def __init__(self, folder: Path | None, extensions: tuple[str, ...] = EXTENSIONS) -> None:
        """Compile the schemas that ship with libraries and those of ``extensions`` that lie in ``folder``.

        Raises InvalidConfiguration where a schema there is broken.
        """
        if missing := missing_schemas(ITEM_SCHEMA, None):
            raise InvalidConfiguration(
                f"The installed pystac and pyproj do not bring {', '.join(missing)}.",
                remedy="Install the versions that constraints.txt names.",
            )
        self.unchecked = unchecked_extensions(folder, extensions)
        known = [url for url in extensions if read_schema(url, folder) is not None]

        def local(url: str) -> Any:
            """What is not here, and so is reported as unchecked, allows everything."""
            schema = read_schema(url, folder)
            return {} if schema is None else schema

        try:
            self._validator = jsonschema_rs.Draft7Validator(_combined(known), retriever=local)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise InvalidConfiguration(
                f"The schemas in {folder} do not make a whole: {error}.", remedy="Fetch them again."
            ) from error

    def check(self, item: dict[str, Any]) -> None:
        """Raise InvalidItem, with the JSON path and what is wrong there, unless ``item`` is valid."""
        try:
            self._validator.validate(item)
        except jsonschema_rs.ValidationError:
            raise InvalidItem(_explain(self._validator.iter_errors(item))) from None
        except ValueError as error:  # NaN, infinity, or what JSON has no word for
            raise InvalidItem(f"The item is no JSON: {error}.") from error


@cache
def item_validator(folder: Path | None) -> ItemValidator:
    """The validator for the extension schemas in ``folder``, compiled at the first call of this process."""
    return ItemValidator(folder)


def _combined(extensions: list[str]) -> dict[str, Any]:
    """One schema: core for every item, and that of each extension where the item lists it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [
            {"$ref": ITEM_SCHEMA},
            *(
                {
                    "if": {"properties": {"stac_extensions": {"contains": {"const": url}}}},
                    "then": {"$ref": url},
                }
                for url in extensions
            ),
        ],
    }


def _explain(errors: Iterator[Any]) -> str:
    """The error that says most, which is the one that lies deepest in the item."""
    error = max((_leaf(error) for error in errors), key=lambda leaf: len(leaf.instance_path))
    message = error.message if len(error.message) <= _LONGEST_MESSAGE else f"{error.message[:_LONGEST_MESSAGE]} ..."
    schema = (error.absolute_keyword_location or "").partition("#")[0]
    return f"{_json_path(error.instance_path)}: {message}" + (f" ({schema})" if schema else "")


def _leaf(error: Any) -> Any:
    """Where none of several alternatives fits: the deepest error of the alternative that is meant, by its type."""
    branches = [branch for branch in getattr(error.kind, "context", None) or () if branch]
    if not branches:
        return error
    own_type = [*error.instance_path, "type"]

    def likelihood(branch: list[Any]) -> tuple[bool, int]:
        return all(each.instance_path != own_type for each in branch), max(len(each.instance_path) for each in branch)

    leaves = (_leaf(each) for each in max(branches, key=likelihood))
    return max(leaves, key=lambda leaf: len(leaf.instance_path))


def _json_path(path: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
