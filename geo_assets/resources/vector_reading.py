"""The layers of a vector file, each a stream of Arrow batches: GDAL's formats through pyogrio, Parquet by pyarrow.

Here: finding and opening layers, and telling a whole file from a cut one. Not here: geometries and columns
(`geo_assets.core.vector`), the database (`vector_load`).
"""

import json
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
from pyogrio.errors import DataLayerError, DataSourceError

from geo_assets.core.vector.shapefile import check_shapefile
from geo_assets.core.vector.sniffing import HEAD_BYTES, VectorFormat, sniff
from geo_assets.errors import MissingCrs
from geo_assets.resources.vector_archive import unpack
from geo_assets.sources import Source
from geo_assets.vector_errors import (
    BadFilter,
    EmptyArchive,
    EncryptedFile,
    NoGeometryColumns,
    NoLayers,
    NoSuchColumn,
    NoSuchLayer,
    TruncatedVector,
    UnknownFormat,
    UnreadableVector,
)
from geo_assets.vector_rules import TableRule

BATCH_ROWS = 4_096
_FAILURES = (DataSourceError, DataLayerError, pa.ArrowException, OSError, ValueError, RuntimeError)
_X_NAMES = "lon,longitude,lng,long,x,easting,rechtswert"
_Y_NAMES = "lat,latitude,y,northing,hochwert"
_WKT_NAMES = "wkt,geometry,geom,the_geom,wkt_geom,geometry_wkt"

warnings.filterwarnings("ignore", module="pyogrio")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file (or the folder of a File Geodatabase) with layers, and what it is."""

    path: Path
    format: VectorFormat | str


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer before it is read: ``features`` is -1 where nobody knows; ``geometry_type`` is GDAL's name."""

    dataset: Dataset
    name: str
    driver: str
    geometry_type: str | None
    features: int
    crs: pyproj.CRS
    schema: pa.Schema
    geometry: str
    fid: str | None
    places: tuple[str, ...] = ()
    """The columns of a CSV file that its geometries are made of: they are no attributes."""

    @property
    def attributes(self) -> list[pa.Field]:
        """The fields that become columns."""
        return [each for each in self.schema if each.name not in (self.geometry, self.fid, *self.places)]


def find_datasets(path: Path) -> list[Dataset]:
    """What is to be read of the file at ``path``: itself, or what its archive holds, unpacked beside it.

    Raises what `sniff` and `unpack` raise, and EmptyArchive.
    """
    kind = _sniff_file(path)
    if kind != "zip":
        return [Dataset(path, kind)]
    folder = path.parent / f"{path.name}.unpacked"
    folder.mkdir()
    unpack(path, folder)
    found = sorted(_datasets_in(folder), key=lambda dataset: str(dataset.path))
    if not found:
        raise EmptyArchive("The archive holds no vector file.")
    return found


def find_layers(dataset: Dataset, source: Source) -> list[Layer]:
    """The layers of ``dataset`` that the rule chooses.

    Raises NoLayers, NoSuchLayer, MissingCrs, NoGeometryColumns, NoSuchColumn, UnreadableVector and its like.
    """
    assert source.tables is not None
    if dataset.format == "shapefile":
        check_shapefile(dataset.path)
    if dataset.format == "gpkg":
        _check_pages(dataset.path)
    if dataset.format == "parquet":
        return [_parquet_layer(dataset, source)]
    with _translated(dataset):
        listed = [
            str(name) for name, kind in pyogrio.list_layers(dataset.path) if kind is not None or dataset.format == "csv"
        ]
    if not listed:
        raise NoLayers(f"{dataset.path.name} has no layer with geometries.")
    chosen = [name for name in listed if any(fnmatchcase(name, glob) for glob in source.tables.layers)]
    if not chosen:
        raise NoSuchLayer(f"{dataset.path.name} has the layers {', '.join(listed[:10])}.")
    return [_layer(dataset, name, source) for name in chosen]


@contextmanager
def open_layer(layer: Layer, rule: TableRule) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches of a layer, of the rule's columns and rows.

    Raises UnreadableVector or TruncatedVector while it is read, BadFilter where `where` cannot be applied.
    """
    if layer.dataset.format == "parquet":
        if rule.where or rule.bbox:
            raise BadFilter(
                "tables.where and tables.bbox do not apply to Parquet.",
                remedy="Filter the file itself, or give its files a source of their own without the two keys.",
            )
        with _translated(layer.dataset):
            file = pq.ParquetFile(layer.dataset.path)
        with file:
            names = [each.name for each in layer.schema]
            yield _counted(file.iter_batches(BATCH_ROWS, columns=names), layer, whole=True)
        return
    with ExitStack() as stack:
        with _translated(layer.dataset, where=rule.where):
            _, reader = stack.enter_context(_open_arrow(layer.dataset, layer.name, rule, crs=layer.crs))
        yield _counted(iter(reader), layer, whole=rule.where is None and rule.bbox is None, where=rule.where)


def _counted(
    batches: Iterator[pa.RecordBatch], layer: Layer, *, whole: bool, where: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The batches, and in the end whether they are as many features as the layer said.

    GDAL refuses a filter with the first batch only.
    """
    rows = 0
    while True:
        with _translated(layer.dataset, where=None if rows else where):
            batch = next(batches, None)
        if batch is None:
            break
        rows += batch.num_rows
        yield batch
    said = _count_lines(layer.dataset.path) if layer.dataset.format == "geojsonseq" else layer.features
    if whole and said >= 0 and rows < said:
        raise TruncatedVector(f"Layer {layer.name} says it has {said:,} features; {rows:,} can be read.")


def _layer(dataset: Dataset, name: str, source: Source) -> Layer:
    rule = source.tables
    assert rule is not None
    with _translated(dataset):
        # GeoJSONSeq and CSV are counted by reading them whole, which is done once, with the rows.
        counts = dataset.format not in ("geojsonseq", "csv", "geojson", "kml")
        info = pyogrio.read_info(dataset.path, layer=name, force_feature_count=counts, **_options(dataset, rule))
    with _translated(dataset, where=rule.where), _open_arrow(dataset, name, rule) as (meta, reader):
        schema, fid = reader.schema, meta["fid_column"]
    fields = [each.name for each in schema]
    geometry = meta["geometry_name"] or "wkb_geometry"
    places = _places(rule, fields) if dataset.format == "csv" else ()
    if geometry not in fields or (dataset.format == "csv" and not places):
        raise NoGeometryColumns(
            f"Layer {name} has the columns {', '.join(map(str, info['fields']))}, none with places."
        )
    wanted = [each for each in (*rule.key, *rule.indexes) if each not in fields]
    if wanted or (wanted := [each for each in rule.columns if each not in info["fields"]]):
        raise NoSuchColumn(
            f"Layer {name} has no column {', '.join(wanted)}; it has {', '.join(map(str, info['fields']))}."
        )
    in_degrees = dataset.format == "csv" and rule.wkt is None and places and not info["crs"]
    crs = info["crs"] or source.assume_crs or ("EPSG:4326" if in_degrees and len(places) == 2 else None)
    return Layer(
        dataset=dataset,
        name=name,
        driver=str(info["driver"]),
        geometry_type=info["geometry_type"],
        features=int(info["features"]),
        crs=_crs(crs, dataset, name),
        schema=schema,
        geometry=geometry,
        fid=fid if fid in fields else None,
        places=places,
    )


def _crs(text: str | None, dataset: Dataset, name: str) -> pyproj.CRS:
    if text is None:
        beside = f" There is no {dataset.path.stem}.prj beside it." if dataset.format == "shapefile" else ""
        raise MissingCrs(
            f"Layer {name} states no CRS.{beside}",
            remedy="Upload the .prj, write the CRS into the file (ogr2ogr -a_srs), or set assume_crs in sources.yaml.",
        )
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise UnreadableVector(f"Layer {name} states a CRS that PROJ does not know: {str(error)[:200]}.") from error


def _options(dataset: Dataset, rule: TableRule) -> dict[str, Any]:
    options: dict[str, Any] = {"encoding": rule.encoding} if rule.encoding else {}
    if dataset.format != "csv":
        return options
    return options | {
        "X_POSSIBLE_NAMES": rule.x or _X_NAMES,
        "Y_POSSIBLE_NAMES": rule.y or _Y_NAMES,
        "GEOM_POSSIBLE_NAMES": rule.wkt or _WKT_NAMES,
        "KEEP_GEOM_COLUMNS": "YES",
        "AUTODETECT_TYPE": "YES",
        "AUTODETECT_SIZE_LIMIT": "0",
    }


def _open_arrow(dataset: Dataset, name: str, rule: TableRule, *, crs: pyproj.CRS | None = None) -> Any:
    columns = [*dict.fromkeys((*rule.columns, *rule.key, *rule.indexes))] if rule.columns else None
    if columns and dataset.format == "csv":
        columns += [each for each in (rule.x, rule.y, rule.wkt) if each]
    bbox = None
    if rule.bbox is not None and crs is not None:
        bbox = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform_bounds(*rule.bbox)
    return pyogrio.open_arrow(
        dataset.path,
        layer=name,
        columns=columns,
        where=rule.where,
        bbox=bbox,
        return_fids=True,
        batch_size=BATCH_ROWS,
        use_pyarrow=True,
        **_options(dataset, rule),
    )


def _places(rule: TableRule, fields: list[str]) -> tuple[str, ...]:
    """The columns of a CSV file that GDAL makes its geometries of: WKT where it is there, else x and y."""
    lower = {each.lower(): each for each in reversed(fields)}

    def first(names: str) -> str | None:
        return next((lower[each] for each in names.lower().split(",") if each in lower), None)

    wkt, x, y = first(rule.wkt or _WKT_NAMES), first(rule.x or _X_NAMES), first(rule.y or _Y_NAMES)
    if wkt is not None and rule.x is None:
        return (wkt,)
    return (x, y) if x is not None and y is not None else ()


def _parquet_layer(dataset: Dataset, source: Source) -> Layer:
    rule = source.tables
    assert rule is not None
    with _translated(dataset), pq.ParquetFile(dataset.path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    try:
        geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
    except ValueError as error:
        raise UnreadableVector(f"The file's metadata `geo` are no JSON: {error}.") from error
    geometry = (geo or {}).get("primary_column")
    if geometry is None or geometry not in schema.names:
        raise NoGeometryColumns(
            f"The Parquet file has no GeoParquet metadata; its columns are {', '.join(schema.names)}."
        )
    about = geo["columns"][geometry]
    if about.get("encoding") != "WKB":
        raise UnreadableVector(f"The geometries are encoded as {about.get('encoding')}; WKB is read.")
    if rule.columns:
        missing = [each for each in (*rule.columns, *rule.key, *rule.indexes) if each not in schema.names]
        if missing:
            raise NoSuchColumn(f"The file has no column {', '.join(missing)}; it has {', '.join(schema.names)}.")
        schema = pa.schema(
            [each for each in schema if each.name in (*rule.columns, *rule.key, *rule.indexes, geometry)]
        )
    # GeoParquet: longitude and latitude on WGS 84 where the CRS is absent, unknown where it is null.
    crs = about.get("crs", "OGC:CRS84")
    types = about.get("geometry_types") or []
    return Layer(
        dataset=dataset,
        name=dataset.path.stem,
        driver="Parquet",
        geometry_type=types[0] if len(types) == 1 else None,
        features=rows,
        crs=_crs(json.dumps(crs) if isinstance(crs, dict) else crs or source.assume_crs, dataset, dataset.path.stem),
        schema=schema,
        geometry=geometry,
        fid=None,
    )


def _sniff_file(path: Path) -> VectorFormat:
    with path.open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES), path.name)
        if kind == "parquet":
            file.seek(-4, 2)
            tail = file.read(4)
            if tail == b"PARE":
                raise EncryptedFile("The Parquet file's footer is encrypted.")
            if tail != b"PAR1":
                raise TruncatedVector("The Parquet file has no footer: its end is missing.")
    return kind


def _datasets_in(folder: Path) -> Iterator[Dataset]:
    """The vector files below ``folder``: those whose name and bytes both say so, and File Geodatabases."""
    geodatabases = [each for each in folder.rglob("*.gdb") if each.is_dir()]
    if any(folder.glob("*.gdbtable")):
        geodatabases.append(folder)
    yield from (Dataset(each, "filegdb") for each in geodatabases)
    for path in folder.rglob("*"):
        inside = any(path.is_relative_to(each) for each in geodatabases)
        if path.is_file() and not inside and path.suffix.lower() in _ENDINGS and "__MACOSX" not in path.parts:
            kind = _sniff_file(path)
            if kind != "zip":
                yield Dataset(path, kind)


_ENDINGS = frozenset(
    (".shp", ".gpkg", ".geojson", ".json", ".geojsonl", ".geojsons", ".ndgeojson", ".fgb", ".parquet", ".geoparquet",
     ".kml", ".csv")
)  # fmt: skip


def _check_pages(path: Path) -> None:
    """SQLite reads a cut database until it misses a page; the header knows how many there should be."""
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        raise TruncatedVector(f"The GeoPackage has {len(header)} bytes, less than its header.")
    (page,) = struct.unpack(">H", header[16:18])
    page = 65_536 if page == 1 else page
    changed, pages, valid_for = (
        struct.unpack(">I", header[24:28]) + struct.unpack(">I", header[28:32]) + struct.unpack(">I", header[92:96])
    )
    there = path.stat().st_size
    if changed == valid_for and there < page * pages:
        raise TruncatedVector(f"The GeoPackage has {there:,} bytes; its header says {page * pages:,}.")


def _count_lines(path: Path) -> int:
    """The lines of a sequence that hold something: GDAL passes over one that is no feature."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip(b"\x1e \t\r\n"))


@contextmanager
def _translated(dataset: Dataset, *, where: str | None = None) -> Iterator[None]:
    """Turn what GDAL and Arrow raise into ours; ``where`` is at fault where it is what is new."""
    try:
        yield
    except _FAILURES as error:
        said = str(error).strip().replace(str(dataset.path.parent), "").splitlines()
        message = said[0][:300] if said else type(error).__name__
        if where:
            raise BadFilter(f"tables.where {where!r} is refused: {message}.") from error
        lower = message.lower()
        if "not recognized" in lower or "not a supported file format" in lower:
            raise UnknownFormat(f"GDAL does not know the file: {message}.") from error
        if "encrypted" in lower or "file is not a database" in lower:
            raise EncryptedFile(f"The file is encrypted or no database: {message}.") from error
        raise UnreadableVector(f"Reading it failed: {message}.") from error
