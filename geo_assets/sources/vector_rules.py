"""How the vector files of a source become tables: the key `tables` of a source in sources.yaml.

Here: the schema of that key. Not here: the source itself (`geo_assets.sources.source`), applying the rule
(`geo_assets.vectors`, `geo_assets.resources`).
"""

import codecs
import re
from typing import Annotated, Any, Literal, Self

import pyproj
from pydantic import AfterValidator, Field, model_validator

from geo_assets.sources.rules import Names, Rule

VECTOR_GLOBS = tuple(
    f"**/*.{extension}"
    for extension in (
        "gpkg", "shp", "geojson", "geojsonl", "geojsons", "ndgeojson", "fgb", "parquet", "geoparquet", "kml", "kmz",
        "csv", "zip",
    )
)  # fmt: skip
NAME_FIELDS = ("source", "stem", "slug", "layer")
_RESERVED_SCHEMAS = ("ledger", "pgstac", "information_schema")

Kept = Literal["keep", "drop", "refuse"]


def _srid_of(text: str) -> str:
    try:
        code = pyproj.CRS.from_user_input(text).to_epsg()
    except pyproj.exceptions.CRSError as error:
        raise ValueError(f"{text!r} is no coordinate reference system that PROJ knows, such as EPSG:25832") from error
    if code is None:
        raise ValueError(f"{text!r} has no EPSG code, by which PostGIS knows it")
    return f"EPSG:{code}"


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError as error:
        raise ValueError(f"{name!r} is no encoding, such as CP1252") from error
    return name


class TableRule(Rule):
    """How the vector files of a source become tables of PostGIS (docs/guides/vectors.md)."""

    schema_name: str = Field(default="vectors", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """The tables' schema, made where it is missing."""
    name: str = "{stem}"
    """The tables' names, of {source}, {stem} (the file's name), {slug} (its path, never the same twice) and {layer}. A
    file with several layers gets `_{layer}` added."""
    layers: Names = ("*",)
    """Globs of the layers to load."""
    target_crs: Annotated[str, AfterValidator(_srid_of)] = "EPSG:4326"
    """The CRS of the tables."""
    where: str | None = Field(default=None, min_length=1)
    """Which rows, in SQL as `ogr2ogr -where` takes it; not of Parquet."""
    bbox: tuple[float, float, float, float] | None = None
    """Which rows: west, south, east, north in degrees; not of Parquet."""
    columns: Names = ()
    """Which columns, as the file spells them; all by default."""
    null_geometry: Kept = "keep"
    """What to do with rows without a geometry: `keep` them, `drop` and count them, or `refuse` the file."""
    empty_geometry: Kept = "keep"
    """Likewise of rows with an empty one."""
    dimensions: Literal["2d", "keep"] = "2d"
    """`keep` keeps heights and measures."""
    antimeridian: Literal["split", "keep"] = "split"
    """`split` cuts what crosses 180 degrees there; `keep` has longitudes run on past 180."""
    keep_originals: bool = False
    """Whether repaired geometries are kept as they were, by `fid` in `<table>_originals`."""
    duplicates: Literal["keep", "drop"] = "keep"
    """`drop` removes rows that are equal in everything."""
    mode: Literal["replace", "append", "upsert"] = "replace"
    """A table a file, or many files in one table, whose column `source_blob` says which."""
    key: Names = ()
    """With `upsert`: the columns that tell rows apart."""
    indexes: Names = ()
    """Columns to index, beside the primary key `fid` and the geometry."""
    cluster_hilbert: bool = False
    """Whether rows are written along a Hilbert curve, so that neighbours in space are neighbours on disk."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    """The encoding of text, such as CP1252, where a file states it wrongly."""
    x: str | None = Field(default=None, min_length=1)
    """The column of a CSV or Parquet file with longitudes or eastings; usual names are found."""
    y: str | None = Field(default=None, min_length=1)
    """Likewise with latitudes or northings."""
    wkt: str | None = Field(default=None, min_length=1)
    """Likewise with WKT."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schema_name in _RESERVED_SCHEMAS or self.schema_name.startswith("pg_"):
            raise ValueError(f"schema {self.schema_name} is not for tables of vectors")
        if (self.mode == "upsert") != bool(self.key):
            raise ValueError("mode upsert goes with a key, the columns that tell rows apart; and a key with no other")
        if self.mode != "replace" and (self.cluster_hilbert or self.duplicates == "drop"):
            raise ValueError("`cluster_hilbert` and `duplicates: drop` require `mode: replace`, which rebuilds tables")
        if (self.x is None) != (self.y is None):
            raise ValueError("x and y go together")
        if self.bbox is not None and not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
            raise ValueError("bbox is west, south, east, north, with west < east and south < north")
        try:
            self.name.format(**dict.fromkeys(NAME_FIELDS, "x"))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"name may use {', '.join(f'{{{name}}}' for name in NAME_FIELDS)}: {error}") from error
        return self

    @property
    def srid(self) -> int:
        """The EPSG code of the target CRS."""
        return int(re.sub(r"\D", "", self.target_crs))


def with_vector_globs(fields: Any) -> Any:
    """The keys of a source, where it makes tables and does not say of which files: of all that are read."""
    if isinstance(fields, dict) and fields.get("tables") is not None and "include" not in fields:
        return {**fields, "include": VECTOR_GLOBS}
    return fields
