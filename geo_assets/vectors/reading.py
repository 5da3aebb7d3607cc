"""The layers of a vector file, read by GDAL (Parquet by pyarrow) and handed over as streams of Arrow batches.

Here: the work of the enclosed process: finding and opening layers, telling a whole file from a cut one, and bounds on
what is handed over. Not here: starting that process (`vectors.enclosed`), geometries and columns
(`geo_assets.vectors`), the database (`vectors.load`).
"""

import errno
import json
import resource
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
import pyogrio.core
import pyogrio.raw
import pyproj
from pyogrio.errors import DataLayerError, DataSourceError

from geo_assets.errors import MissingCrs, ScratchFull, TooLarge
from geo_assets.foreign_errors import as_reason
from geo_assets.raster.crs import known_crs
from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.datasets import Dataset, ReadTask, check_room
from geo_assets.vectors.errors import (
    BadFilter,
    EncryptedFile,
    NoGeometryColumns,
    NoLayers,
    NoSuchColumn,
    NoSuchLayer,
    TruncatedVector,
    UnknownFormat,
    UnreadableVector,
)
from geo_assets.vectors.formats import check_geopackage, check_shapefile
from geo_assets.vectors.handover import LayerDescription

BATCH_ROWS = 4_096
MOST_RATIO = 200
"""What a file may grow by when it is read: Parquet of equal rows shrinks most among honest ones."""
FREE_OF_RATIO = 256 * 1024**2
ROW_BYTES = 32
"""What a row takes in a table without any value."""
MOST_LAYERS = 500
"""Each has locks on a table and its indexes until the end, of which PostgreSQL has some 6,400 for all."""
MOST_GEO_BYTES = 4 * 1024**2
"""Of GeoParquet's metadata: those of files with hundreds of columns have some kilobytes."""
_FAILURES = (DataSourceError, DataLayerError, pa.ArrowException, OSError, ValueError, RuntimeError)
_X_NAMES = "lon,longitude,lng,long,x,easting,rechtswert"
_Y_NAMES = "lat,latitude,y,northing,hochwert"
_WKT_NAMES = "wkt,geometry,geom,the_geom,wkt_geom,geometry_wkt"


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """One layer before it is read: ``features`` is -1 if the number is unknown; ``geometry_type`` is GDAL's name."""

    dataset: Dataset
    name: str
    driver: str
    geometry_type: str | None
    features: int
    crs: str
    schema: pa.Schema
    geometry: str
    fid: str | None
    places: tuple[str, ...] = ()

    def described(self) -> LayerDescription:
        """What whoever loads it needs to know."""
        return LayerDescription(
            file=self.dataset.path.name,
            name=self.name,
            driver=self.driver,
            geometry_type=self.geometry_type,
            crs=self.crs,
            geometry=self.geometry,
            fid=self.fid,
            places=self.places,
        )


def read_datasets(task: ReadTask) -> None:
    """Hand over each layer that the rule chooses: first what they are, then their rows.

    Raises a reason of `geo_assets.vectors.errors` or `geo_assets.errors`, and RuntimeError where GDAL has other
    drivers.
    """
    if others := {str(each) for each in pyogrio.list_drivers()} - task.drivers:
        raise RuntimeError(f"GDAL has drivers that should be off: {', '.join(sorted(others))}.")
    warnings.simplefilter("ignore")
    _have_names_as_they_are()
    with as_reason():
        layers: list[FoundLayer] = []
        for dataset in task.datasets:
            layers += _find_layers(dataset, task)
            _check_number(len(layers))
        task.handover.describe([layer.described() for layer in layers])
        budget = _Budget(task)
        try:
            for number, layer in enumerate(layers):
                with _open_layer(layer, task) as (schema, batches):
                    task.handover.write(number, schema, budget.bounded(batches))
        except _Stopped:
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ScratchFull(f"The scratch folder takes no more: {error.strerror}.") from error
            if error.errno == errno.EFBIG:
                raise budget.exceeded() from error
            raise


def _have_names_as_they_are() -> None:
    """Have pyogrio hand paths on to GDAL unread: it takes `!` for the end of an archive, and drops what follows a `;`.

    Strangers name the files. This is for the enclosed process, which reads one file and ends.
    """
    for module in (pyogrio.core, pyogrio.raw):
        module.get_vsi_path_or_buffer = str


def _check_number(layers: int) -> None:
    if layers > MOST_LAYERS:
        raise TooLarge(
            f"The file has {layers:,} layers or more; {MOST_LAYERS} are loaded at most, in one transaction.",
            remedy="Choose some with tables.layers in sources.yaml, or split the file.",
        )


class _Stopped(Exception):
    """The caller wants no more of the file."""


class _Budget:
    """The bytes that one file may give, all layers together."""

    def __init__(self, task: ReadTask) -> None:
        self._handover = task.handover
        self._size = sum(_size(dataset.path) for dataset in task.datasets)
        self._most = max(FREE_OF_RATIO, MOST_RATIO * self._size)
        self._given = 0
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = self._most + 64 * 1024**2
        resource.setrlimit(resource.RLIMIT_FSIZE, (most if hard < 0 else min(most, hard), hard))

    def bounded(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches, as long as they fit. Raises TooLarge or ScratchFull."""
        for batch in batches:
            if self._handover.is_stopped():
                raise _Stopped
            self._given += batch.nbytes + ROW_BYTES * batch.num_rows
            if self._given > self._most:
                raise self.exceeded()
            check_room(self._handover.folder, batch.nbytes)
            yield batch

    def exceeded(self) -> TooLarge:
        """The reason of a file that gives more."""
        return TooLarge(
            f"The file has {self._size:,} bytes, and its rows take more than {self._most:,}.",
            remedy="Check where the file is from; if it is honest, split it.",
        )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [each for each in path.parent.iterdir() if each.stem == path.stem]
    return sum(each.stat().st_size for each in files if each.is_file())


def _find_layers(dataset: Dataset, task: ReadTask) -> list[FoundLayer]:
    """The layers of ``dataset`` that the rule chooses.

    Raises NoLayers, NoSuchLayer, MissingCrs, NoGeometryColumns, NoSuchColumn, UnreadableVector and its like.
    """
    if dataset.format == "shapefile":
        check_shapefile(dataset.path)
    if dataset.format == "gpkg":
        check_geopackage(dataset.path)
    if dataset.format == "parquet":
        return [_parquet_layer(dataset, task)]
    with _translated(dataset):
        listed = [
            str(name) for name, kind in pyogrio.list_layers(dataset.path) if kind is not None or dataset.format == "csv"
        ]
    if not listed:
        raise NoLayers(f"{dataset.path.name} has no layer with geometries.")
    chosen = [name for name in listed if any(fnmatchcase(name, glob) for glob in task.rule.layers)]
    if not chosen:
        raise NoSuchLayer(f"{dataset.path.name} has the layers {', '.join(listed[:10])}.")
    _check_number(len(chosen))
    return [_layer(dataset, name, task) for name in chosen]


@contextmanager
def _open_layer(layer: FoundLayer, task: ReadTask) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema and batches of a layer, of the rule's columns and rows.

    Raises UnreadableVector or TruncatedVector while it is read, BadFilter where `where` cannot be applied.
    """
    rule = task.rule
    if layer.dataset.format == "parquet":
        if rule.where or rule.bbox:
            raise BadFilter(
                "`tables.where` and `tables.bbox` do not apply to Parquet.",
                remedy="Filter the file itself, or give its files a source of their own without the two keys.",
            )
        with _translated(layer.dataset):
            file = pq.ParquetFile(layer.dataset.path)
        with file:
            names = [each.name for each in layer.schema]
            batches = map(_plain_batch, file.iter_batches(BATCH_ROWS, columns=names))
            yield _plain_schema(layer.schema), _counted(batches, layer, whole=True)
        return
    with ExitStack() as stack:
        crs = known_crs(layer.crs, assume_crs=task.assume_crs) if rule.bbox else None
        with _translated(layer.dataset, where=rule.where):
            _, reader = stack.enter_context(_open_arrow(layer.dataset, layer.name, rule, crs=crs))
        whole = rule.where is None and rule.bbox is None
        yield reader.schema, _counted(iter(reader), layer, whole=whole, where=rule.where)


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Without dictionaries, in which one value may stand for a thousand: what rows take is then what they are."""
    fields = [each.with_type(each.type.value_type) if pa.types.is_dictionary(each.type) else each for each in schema]
    return pa.schema(fields, schema.metadata)


def _plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in batch.columns]
    return pa.record_batch(columns, _plain_schema(batch.schema))


def _counted(
    batches: Iterator[pa.RecordBatch], layer: FoundLayer, *, whole: bool, where: str | None = None
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


def _layer(dataset: Dataset, name: str, task: ReadTask) -> FoundLayer:
    rule = task.rule
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
    crs = info["crs"] or task.assume_crs or ("EPSG:4326" if in_degrees and len(places) == 2 else None)
    return FoundLayer(
        dataset=dataset,
        name=name,
        driver=str(info["driver"]),
        geometry_type=info["geometry_type"],
        features=int(info["features"]),
        crs=_crs(crs, dataset, name, task),
        schema=schema,
        geometry=geometry,
        fid=fid if fid in fields else None,
        places=places,
    )


def _crs(text: str | None, dataset: Dataset, name: str, task: ReadTask) -> str:
    """``text``, once it is known to be a CRS."""
    if text is None:
        beside = f" There is no {dataset.path.stem}.prj beside it." if dataset.format == "shapefile" else ""
        raise MissingCrs(
            f"Layer {name} has no CRS.{beside}",
            remedy="Upload the .prj, write the CRS into the file (ogr2ogr -a_srs), or set assume_crs in sources.yaml.",
        )
    try:
        known_crs(text, assume_crs=task.assume_crs)
    except ValueError as error:
        raise UnreadableVector(f"Layer {name} states a CRS that is not accepted: {error}.") from error
    return text


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


def _parquet_layer(dataset: Dataset, task: ReadTask) -> FoundLayer:
    rule = task.rule
    with _translated(dataset), pq.ParquetFile(dataset.path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    about, geometry = _geo_metadata(schema)
    if geometry is None or geometry not in schema.names:
        raise NoGeometryColumns(
            f"The Parquet file has no GeoParquet metadata; its columns are {', '.join(schema.names)}."
        )
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
    text = json.dumps(crs) if isinstance(crs, dict) else str(crs) if crs else task.assume_crs
    types = about.get("geometry_types") or []
    return FoundLayer(
        dataset=dataset,
        name=dataset.path.stem,
        driver="Parquet",
        geometry_type=types[0] if isinstance(types, list) and len(types) == 1 and isinstance(types[0], str) else None,
        features=rows,
        crs=_crs(text, dataset, dataset.path.stem, task),
        schema=schema,
        geometry=geometry,
        fid=None,
    )


def _count_lines(path: Path) -> int:
    """The lines of a sequence that hold something: GDAL passes over one that is no feature."""
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip(b"\x1e \t\r\n"))


def _geo_metadata(schema: pa.Schema) -> tuple[dict[str, Any], str | None]:
    """What GeoParquet's metadata say of the primary column, and its name; None where they say nothing."""
    told = (schema.metadata or {}).get(b"geo", b"null")
    if len(told) > MOST_GEO_BYTES:
        raise UnreadableVector(f"The file's metadata `geo` have {len(told):,} bytes.")
    try:
        geo = json.loads(told) or {}
        geometry = geo.get("primary_column")
        about = {} if geometry is None else geo["columns"][geometry]
        if not isinstance(about, dict):
            raise TypeError("the column is described by no object")
    except (ValueError, RecursionError) as error:
        raise UnreadableVector(f"The file's metadata `geo` are no JSON: {str(error)[:200]}.") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise UnreadableVector(f"The file's metadata `geo` are not GeoParquet's: {error!r}.") from error
    return about, geometry


@contextmanager
def _translated(dataset: Dataset, *, where: str | None = None) -> Iterator[None]:
    """Turn what GDAL and Arrow raise into ours; ``where`` is at fault where it is what is new."""
    try:
        yield
    except MemoryError:
        raise
    except _FAILURES as error:
        said = str(error).strip().replace(str(dataset.path.parent), "").splitlines()
        message = said[0][:300] if said else type(error).__name__
        if where:
            raise BadFilter(f"`tables.where` {where!r} is refused: {message}.") from error
        lower = message.lower()
        if "not recognized" in lower or "not a supported file format" in lower:
            raise UnknownFormat(
                f"{dataset.path.name} looks like {dataset.format}, but GDAL does not read it as that."
            ) from error
        if "encrypted" in lower or "file is not a database" in lower:
            raise EncryptedFile(f"The file is encrypted or no database: {message}.") from error
        raise UnreadableVector(f"Reading it failed: {message}.") from error
