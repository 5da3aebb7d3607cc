"""Vector files for tests: small good ones of every format, and thirty that are broken, each in its own way.

Here: writing files, and what geometries become without a database. Not here: loading files.
"""

import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.geometry import GeometryTally, Normaliser, column_of, read_geometries

POINTS = [shapely.Point(number, number / 2) for number in range(20)]


def write_vector(
    path: Path,
    geometries: list[BaseGeometry | None],
    *,
    driver: str,
    crs: str | None = "EPSG:4326",
    geometry_type: str = "Point",
    fields: dict[str, list[Any]] | None = None,
    **options: Any,
) -> Path:
    """A file of one layer; by default with a column number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = fields or {"number": list(range(len(geometries)))}
    wkb = np.array([None if each is None else shapely.to_wkb(each) for each in geometries], dtype=object)
    values = [np.array(each, dtype=None if isinstance(each[0], int | float) else object) for each in columns.values()]
    names = list(columns)
    pyogrio.raw.write(path, wkb, values, names, geometry_type=geometry_type, crs=crs, driver=driver, **options)
    return path


def write_shapefile(path: Path, **options: Any) -> Path:
    """A shapefile of twenty points with all its parts."""
    return write_vector(path, list(POINTS), driver="ESRI Shapefile", **options)


def write_geoparquet(path: Path, geometries: list[BaseGeometry], **columns: Any) -> Path:
    """A GeoParquet file, longitude and latitude."""
    path.parent.mkdir(parents=True, exist_ok=True)
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table({**columns, "geometry": pa.array(shapely.to_wkb(geometries), pa.binary())})
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path)
    return path


def zip_folder(path: Path, folder: Path) -> Path:
    """An archive of what lies in ``folder``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                archive.write(each, each.relative_to(folder))
    return path


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    """A feature of GeoJSON."""
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def normalise(
    geometries: Sequence[BaseGeometry], *, crs: int, **rule: Any
) -> tuple[list[BaseGeometry | None], GeometryTally]:
    """What the geometries of a layer become, and what was counted."""
    ruled, tally = TableRule(**rule), GeometryTally()
    wkb = list(shapely.to_wkb(geometries, flavor="iso"))
    read, _ = read_geometries(wkb, lambda curves: [None] * len(curves), tally)
    column = column_of(geometries[0].geom_type, np.array(read), ruled)
    made, _, _ = Normaliser(ruled, column, pyproj.CRS.from_epsg(crs), tally=tally).normalise(wkb, read)
    return list(made), tally


def write_broken(folder: Path) -> dict[str, str]:
    """Thirty broken files below ``folder``; the code of the reason that each is to get, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str] = {}

    def broken(name: str, code: str, write: Callable[[Path], object]) -> None:
        write(folder / name)
        expected[name] = code

    broken("empty.gpkg", "empty_file", lambda path: path.write_bytes(b""))
    broken(
        "pointer.gpkg", "placeholder_file", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n")
    )
    broken("page.geojson", "web_page", lambda path: path.write_text("<!DOCTYPE html><html>404</html>"))
    broken("document.kml", "unknown_vector_format", lambda path: path.write_bytes(b"%PDF-1.7 ..."))
    broken("noise.fgb", "unknown_vector_format", lambda path: path.write_bytes(bytes(range(200, 256)) * 10))
    broken("cut.gpkg", "truncated_vector", _cut_geopackage)
    broken(
        "cut.fgb", "unreadable_vector", lambda path: _cut(write_vector(path, list(POINTS), driver="FlatGeobuf"), 0.6)
    )
    broken("cut.parquet", "truncated_vector", lambda path: _cut(write_geoparquet(path, POINTS), 0.6))
    broken(
        "cut.geojson",
        "unreadable_vector",
        lambda path: path.write_text('{"type":"FeatureCollection","features":[{"typ'),
    )
    broken("cut.geojsonl", "truncated_vector", _cut_sequence)
    broken(
        "cut.kml", "unreadable_vector", lambda path: path.write_text("<?xml version='1.0'?><kml><Document><Placemark>")
    )
    broken("cut.zip", "broken_archive", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(60)))
    broken("slip.zip", "unsafe_archive", lambda path: _zip(path, {"../outside.geojson": b"{}"}))
    broken("bomb.zip", "archive_bomb", lambda path: _zip(path, {"big.csv": bytes(200_000_000)}))
    broken("secret.zip", "encrypted_file", _encrypted_archive)
    broken("notes.zip", "empty_archive", lambda path: _zip(path, {"readme.txt": b"nothing"}))
    broken("no_shx.shp", "missing_shx", lambda path: _without(write_shapefile(path), ".shx"))
    broken("no_dbf.shp", "missing_dbf", lambda path: _without(write_shapefile(path), ".dbf"))
    broken("no_prj.shp", "missing_crs", lambda path: write_shapefile(path, crs=None))
    broken("cut_main.shp", "truncated_vector", lambda path: _cut(write_shapefile(path), 0.6))
    broken("cut_table.shp", "truncated_vector", lambda path: _cut(write_shapefile(path).with_suffix(".dbf"), 0.6))
    broken("mixed_parts.shp", "parts_disagree", _mix_parts)
    broken("wrong_text.shp", "bad_encoding", _wrong_encoding)
    broken("attributes.gpkg", "no_layers", _geopackage_without_geometries)
    broken("no_places.csv", "no_geometry_columns", lambda path: path.write_text("a,b\n1,2\n"))
    broken("bad_wkt.csv", "missing_crs", lambda path: path.write_text("a,wkt\n1,POINT (1 2)\n"))
    broken("bad_places.csv", "no_usable_rows", lambda path: path.write_text("a,lat,lon\n1,north,8\n2,south,9\n"))
    broken("metres.geojson", "no_usable_rows", lambda path: _write_geojson(path, [3.5e5, 5.6e6]))
    broken("plain.parquet", "no_geometry_columns", lambda path: pq.write_table(pa.table({"a": [1]}), path))
    broken("zero.geojson", "unloadable_value", lambda path: _write_geojson(path, [1, 2], a={"b": "x\0"}))
    broken("no_crs.gpkg", "missing_crs", lambda path: write_vector(path, list(POINTS), driver="GPKG", crs=None))
    broken("cut_index.shp", "truncated_vector", lambda path: _cut(write_shapefile(path).with_suffix(".shx"), 0.6))
    return expected


def _write_geojson(path: Path, coordinates: list[float], **properties: Any) -> None:
    path.write_text(json.dumps(feature({"type": "Point", "coordinates": coordinates}, **properties)))


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _cut_geopackage(path: Path) -> None:
    _cut(write_vector(path, list(POINTS), driver="GPKG"), 0.6)


def _cut_sequence(path: Path) -> None:
    line = json.dumps(feature({"type": "Point", "coordinates": [1, 2]}, a=1))
    path.write_text(f"{line}\n{line}\n{line[:30]}")


def _zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _encrypted_archive(path: Path) -> None:
    """The flag that says so is all that a reader looks at before it needs the password."""
    _zip(path, {"a.geojson": b"{}"})
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(magic) + offset
        (flags,) = struct.unpack("<H", content[at : at + 2])
        content[at : at + 2] = struct.pack("<H", flags | 1)
    path.write_bytes(content)


def _without(path: Path, part: str) -> None:
    path.with_suffix(part).unlink()


def _mix_parts(path: Path) -> None:
    write_shapefile(path)
    other = write_vector(path.with_name("other.shp"), list(POINTS[:5]), driver="ESRI Shapefile")
    path.with_suffix(".dbf").write_bytes(other.with_suffix(".dbf").read_bytes())
    for part in (".shp", ".shx", ".dbf", ".prj", ".cpg"):
        other.with_suffix(part).unlink(missing_ok=True)


def _wrong_encoding(path: Path) -> None:
    """A .cpg that says UTF-8 over text that is Latin-1."""
    write_vector(path, [POINTS[0]], driver="ESRI Shapefile", fields={"name": ["Müller"]}, ENCODING="UTF-8")
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace("Müller".encode(), b"M\xfcller "))


def _geopackage_without_geometries(path: Path) -> None:
    pyogrio.raw.write(path, None, [np.array([1])], ["a"], geometry_type=None, driver="GPKG")
