"""What the Dagster UI shows beside each asset's name: group, kinds and owners."""

from typing import Any

_OWNERS = ["team:geospatial-data-engineering"]

LISTING: dict[str, Any] = {"group_name": "bronze", "kinds": {"azureblobstorage", "postgres"}, "owners": _OWNERS}
RASTERS: dict[str, Any] = {"group_name": "bronze", "kinds": {"gdal", "postgres"}, "owners": _OWNERS}
CATALOGUE: dict[str, Any] = {"group_name": "catalogue", "kinds": {"stac", "postgis"}, "owners": _OWNERS}
SCHEMA: dict[str, Any] = {"group_name": "database", "kinds": {"postgres", "postgis"}, "owners": _OWNERS}
