"""How the vector files of a source become tables: the key `tables` of a source in sources.yaml.

Here: the schema of that key. Not here: the source itself (`geo_assets.sources`), applying the rule
(`geo_assets.core.vector`, `geo_assets.resources`).
"""

import codecs
import re
from typing import Annotated, Any, Literal, Self

import pyproj
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


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


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class TableRule(BaseModel):
    """How the vector files of a source become tables of PostGIS.

    ``name`` may use {source}, {stem} (the file's name), {slug} (its path) and {layer}. ``layers`` are globs.
    ``bbox`` is west, south, east, north in degrees. ``columns``, ``key``, ``indexes``, ``x``, ``y`` and ``wkt`` are
    names as the file spells them. ``mode`` append and upsert put many files into one table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_name: str = Field(default="vectors", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    name: str = "{stem}"
    layers: Names = ("*",)
    target_crs: Annotated[str, AfterValidator(_srid_of)] = "EPSG:4326"
    where: str | None = Field(default=None, min_length=1)
    bbox: tuple[float, float, float, float] | None = None
    columns: Names = ()
    null_geometry: Kept = "keep"
    empty_geometry: Kept = "keep"
    dimensions: Literal["2d", "keep"] = "2d"
    antimeridian: Literal["split", "keep"] = "split"
    keep_originals: bool = False
    duplicates: Literal["keep", "drop"] = "keep"
    mode: Literal["replace", "append", "upsert"] = "replace"
    key: Names = ()
    indexes: Names = ()
    cluster_hilbert: bool = False
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    x: str | None = Field(default=None, min_length=1)
    y: str | None = Field(default=None, min_length=1)
    wkt: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schema_name in _RESERVED_SCHEMAS or self.schema_name.startswith("pg_"):
            raise ValueError(f"schema {self.schema_name} is not for tables of vectors")
        if (self.mode == "upsert") != bool(self.key):
            raise ValueError("mode upsert goes with a key, the columns that tell rows apart; and a key with no other")
        if self.mode != "replace" and (self.cluster_hilbert or self.duplicates == "drop"):
            raise ValueError("cluster_hilbert and duplicates: drop go with mode replace, where the table is made anew")
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
