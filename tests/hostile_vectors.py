"""Vector files that strangers could upload to read, fetch, fill or stop something: one table of file -> outcome.

Here: making them, by code. Not here: loading them, and the thirty that are merely broken (`tests.vectors`).
"""

import io
import json
import sqlite3
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from tests.vectors import POINTS, feature, write_shapefile, write_vector

LOADED = "loaded"
"""The outcome of a file that becomes a table, since there is nothing in it that anybody would run."""
POINT = {"type": "Point", "coordinates": [1, 2]}
COLLECTION = {"type": "FeatureCollection", "features": [feature(POINT, a=1)]}
_KML = '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'
_PLACEMARK = "<Placemark><name>x</name><Point><coordinates>1,2</coordinates></Point></Placemark>"
_GRID = 'PROJCS["x",GEOGCS["x",DATUM["d",SPHEROID["e",6378137,298.25]],PRIMEM["Greenwich",0],UNIT["degree",0.01745]]'
_GRID += ',PROJECTION["Transverse_Mercator"],PARAMETER["central_meridian",9],UNIT["metre",1]'
_GRID += ',EXTENSION["PROJ4","+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids={} +wktext"]]'


@dataclass(frozen=True, slots=True)
class Prey:
    """What the files are after: a file with a secret, another tenant's file, and a port that listens."""

    secret: Path
    tenant: Path
    port: int

    @property
    def url(self) -> str:
        """An address that is to be asked nothing."""
        return f"http://127.0.0.1:{self.port}"


def write_hostile(folder: Path, prey: Prey) -> dict[str, str]:
    """The files, below ``folder``; the outcome that each is to have, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str] = {}
    for group in (_other_drivers, _addresses, _databases, _systems, _markup, _columns, _archives):
        for name, outcome, content in group(prey):
            path = folder / name
            if callable(content):
                content(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
            expected[name] = outcome
    return expected


Hostile = Iterator[tuple[str, str, str | bytes | Callable[[Path], object]]]
UNKNOWN = "unknown_vector_format"


def _vrt(target: str, *, layer: str, driver: str = "") -> str:
    places = '<GeometryField encoding="PointFromColumns" x="lon" y="lat"/>' if driver == "CSV:" else ""
    return (
        f'<OGRVRTDataSource><!-- <kml> --><OGRVRTLayer name="{layer}"><SrcDataSource>{driver}{target}</SrcDataSource>'
        f"<GeometryType>wkbPoint</GeometryType><LayerSRS>EPSG:4326</LayerSRS>{places}</OGRVRTLayer></OGRVRTDataSource>"
    )


def _pipeline(target: str, **more: object) -> str:
    command = f"gdal vector pipeline ! read {target} ! write --of=stream streamed_dataset"
    return json.dumps({**more, "type": "gdal_streamed_alg", "command_line": command})


def _other_drivers(prey: Prey) -> Hostile:
    """Files that another driver of GDAL would take, which reads something else."""
    vrt, tenant = _vrt(str(prey.secret), layer=".env", driver="CSV:"), _vrt(str(prey.tenant), layer="tenant")
    yield "vrt.kml", UNKNOWN, vrt
    yield "vrt.csv", UNKNOWN, vrt
    yield "vrt.geojson", UNKNOWN, vrt
    yield "tenant.kml", UNKNOWN, tenant
    yield "marked.kml", UNKNOWN, "\ufeff<?xml version='1.0'?>\n<!-- <kml> -->" + vrt
    yield "utf16.kml", UNKNOWN, vrt.encode("utf-16")
    yield "passwd.csv", UNKNOWN, _vrt("/etc/passwd", layer="passwd", driver="CSV:")
    yield "late.csv", LOADED, f"lat,lon,a\n1,2,<kml>\n2,3,{tenant.replace(',', ' ')}\n"
    yield "inner_vrt.kml", "no_layers", _KML.format(vrt)
    yield "vrt.zip", UNKNOWN, _zip(("inside.kml", vrt))
    yield "vrt.kmz", UNKNOWN, _zip(("doc.kml", tenant))
    yield "vrt_beside.zip", UNKNOWN, _zip(("good.geojson", json.dumps(COLLECTION)), ("bad.csv", vrt))
    yield "pipeline.geojson", UNKNOWN, _pipeline(str(prey.tenant))
    yield "pipeline.geojsonl", UNKNOWN, _pipeline(str(prey.tenant))
    yield "pipeline.zip", UNKNOWN, _zip(("a.gdalg.json", _pipeline(str(prey.tenant))))
    yield "spelled.geojson", UNKNOWN, _pipeline(str(prey.tenant)).replace('"type"', '"\\u0074ype"')
    yield "late_type.geojson", UNKNOWN, _pipeline(str(prey.tenant), filler="x" * 100_000)
    yield "features_first.geojson", UNKNOWN, _pipeline(str(prey.tenant), features=[])
    yield "topo.geojson", UNKNOWN, '{"type":"Topology","objects":{"a":{"type":"Point","coordinates":[1,2]}},"arcs":[]}'
    yield "esri.geojson", UNKNOWN, json.dumps(
        {
            "displayFieldName": "a", "geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326},
            "fields": [{"name": "a", "type": "esriFieldTypeString"}],
            "features": [{"attributes": {"a": "x"}, "geometry": {"x": 1, "y": 2}}],
        }
    )  # fmt: skip
    yield "array.geojson", UNKNOWN, json.dumps([COLLECTION])


def _addresses(prey: Prey) -> Hostile:
    """Files that name an address."""
    url = prey.url
    yield "curl.kml", UNKNOWN, _vrt(f"/vsicurl/{url}/a.csv", layer="a")
    yield "curl.geojson", UNKNOWN, _pipeline(f"/vsicurl/{url}/a.geojson")
    yield "wfs.kml", UNKNOWN, f"<OGRWFSDataSource><URL>{url}/wfs?</URL><!-- <kml --></OGRWFSDataSource>"
    yield "csw.kml", UNKNOWN, f"<OGRCSWDataSource><URL>{url}/csw?</URL></OGRCSWDataSource>"
    yield "wms.kml", UNKNOWN, f'<GDAL_WMS><Service name="WMS"><ServerUrl>{url}/</ServerUrl></Service></GDAL_WMS>'
    yield "capabilities.kml", UNKNOWN, f'<WFS_Capabilities><Get onlineResource="{url}"/></WFS_Capabilities>'
    yield (
        "gml.kml",
        UNKNOWN,
        (
            f'<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml" xsi:schemaLocation="a {url}/a.xsd" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"/>'
        ),
    )
    yield "rss.kml", UNKNOWN, f'<rss version="2.0"><channel><link>{url}</link></channel></rss>'
    landing = {"links": [{"rel": each, "href": f"{url}/{each}"} for each in ("self", "data", "conformance")]}
    yield "landing.geojson", UNKNOWN, json.dumps(landing)
    link = {"type": "link", "properties": {"href": f"{url}/crs.wkt", "type": "ogcwkt"}}
    yield "crs_link.geojson", LOADED, json.dumps({"crs": link, **COLLECTION})
    name = {"type": "name", "properties": {"name": f"{url}/crs"}}
    yield "crs_name.geojson", LOADED, json.dumps({"crs": name, **COLLECTION})
    network = f"<NetworkLink><Link><href>{url}/more.kml</href></Link></NetworkLink>"
    style = f"<Style><IconStyle><Icon><href>{url}/icon.png</href></Icon></IconStyle></Style>"
    styled = _PLACEMARK.replace("<Point>", f"<styleUrl>{url}/style.kml#a</styleUrl><Point>")
    yield "network.kml", LOADED, _KML.format(network + style + styled)


def _databases(prey: Prey) -> Hostile:
    """GeoPackages whose schema does more than hold tables."""

    def edited(*statements: str) -> Callable[[Path], object]:
        def write(path: Path) -> None:
            write_vector(path, list(POINTS), driver="GPKG", layer="good", SPATIAL_INDEX="NO")
            edit_database(path, *statements)

        return write

    def virtual(using: str) -> str:
        statement = f"CREATE VIRTUAL TABLE stolen USING {using}".replace("'", "''")
        return f"INSERT INTO sqlite_master VALUES ('table', 'stolen', 'stolen', 0, '{statement}')"

    yield "virtual_ogr.gpkg", "unsafe_database", edited(virtual(f"VirtualOGR('{prey.tenant}')"))
    yield "virtual_shape.gpkg", "unsafe_database", edited(virtual(f"VirtualShape('{prey.tenant}', 'UTF-8', 4326)"))
    yield "virtual_text.gpkg", "unsafe_database", edited(virtual(f"VirtualText('{prey.secret}', 'UTF-8', 0)"))
    unquoted = f"VirtualOGR(''{prey.tenant}'')"
    named = f"""'CREATE VIRTUAL TABLE " USING rtree " USING {unquoted}'"""
    for name, row in {
        "shouted": f"'TABLE', 'stolen', 'stolen', 0, 'CREATE VIRTUAL TABLE stolen USING {unquoted}'",
        "named": f"'table', ' USING rtree ', ' USING rtree ', 0, {named}",
        "remarked": f"'table', 'x', 'x', 0, 'CREATE/* USING rtree */VIRTUAL TABLE x USING {unquoted}'",
    }.items():
        yield f"virtual_{name}.gpkg", "unsafe_database", edited(f"INSERT INTO sqlite_master VALUES ({row})")
    yield "extension.gpkg", "unreadable_vector", edited(*view(f"load_extension('{prey.secret}')"))
    yield "pixel.gpkg", "unreadable_vector", edited(*view(f"gdal_get_pixel_value('{prey.secret}', 1, 'georef', 1, 2)"))
    yield "geocode.gpkg", "unreadable_vector", edited(*view(f"ogr_geocode('{prey.url}')"))
    yield "honest_view.gpkg", LOADED, edited(*view("upper('a')"))
    trigger = "CREATE TRIGGER t AFTER INSERT ON good BEGIN SELECT load_extension('x'); END"
    yield "trigger.gpkg", LOADED, edited(trigger)
    yield (
        "attach.gpkg",
        LOADED,
        edited(
            f"UPDATE gpkg_contents SET identifier = 'x''; ATTACH ''{prey.secret}'' AS stolen; --', description = 'x'"
        ),
    )
    newline = "good' || char(10) || char(27) || '[2J"
    yield (
        "names.gpkg",
        LOADED,
        edited(
            f'ALTER TABLE good RENAME TO "good\n\x1b[2J![x]({prey.url})"',
            *[
                f"UPDATE {table} SET table_name = '{newline}![x]({prey.url})'"
                for table in ("gpkg_contents", "gpkg_geometry_columns", "gpkg_ogr_contents")
            ],
        ),
    )
    yield (
        "plain.gpkg",
        "unreadable_vector",
        lambda path: edit_database(path, "CREATE TABLE a (b)", "INSERT INTO a VALUES (1)"),
    )


def _systems(prey: Prey) -> Hostile:
    """Coordinate reference systems that name a file, for PROJ or PostGIS to open."""
    grid, refused = _GRID.format(prey.secret), "unreadable_vector"
    yield "grid.gpkg", refused, lambda path: _with_definition(path, grid)
    yield "grid.shp", refused, lambda path: write_shapefile(path).with_suffix(".prj").write_text(grid)
    yield "path.shp", "missing_crs", lambda path: write_shapefile(path).with_suffix(".prj").write_text("/etc/passwd")
    yield "url.shp", "missing_crs", lambda path: write_shapefile(path).with_suffix(".prj").write_text(prey.url)
    yield "cpg.shp", LOADED, lambda path: write_shapefile(path).with_suffix(".cpg").write_text(str(prey.secret))
    for name, crs in {
        "path": str(prey.secret), "init": f"+init={prey.secret}:a", "url": prey.url, "grid": grid,
        "model": grid.replace("+proj=tmerc", "+proj=defmodel").replace("nadgrids", "model"),
        "proj": f"+proj=tmerc +lon_0=9 +ellps=bessel +nadgrids={prey.secret} +type=crs",
    }.items():  # fmt: skip
        yield f"{name}.parquet", refused, _parquet({"crs": crs})


def _markup(prey: Prey) -> Hostile:
    """XML that declares entities."""
    file = f'<!DOCTYPE kml [<!ENTITY x SYSTEM "file://{prey.secret}">]>'
    laughs = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 12))
    placemark = _PLACEMARK.replace("<name>x", "<name>&x;")
    yield "entity.kml", "unreadable_vector", file + _KML.format(placemark)
    yield "laughs.kml", "unreadable_vector", f'<!DOCTYPE kml [<!ENTITY a0 "ha">{laughs}]>' + _KML.format("&a11;")
    yield "entity.kmz", "unreadable_vector", _zip(("doc.kml", file + _KML.format(placemark)))
    yield "doctype.kml", LOADED, f'<!DOCTYPE kml SYSTEM "{prey.url}/kml.dtd">' + _KML.format(_PLACEMARK)
    yield "nested.kml", "unreadable_vector", _KML.format("<Folder>" * 30_000 + "</Folder>" * 30_000)
    yield "nested.geojson", "unreadable_vector", '{"type":"FeatureCollection","features":' + "[" * 100_000


def _columns(prey: Prey) -> Hostile:
    """Columns and values that cost more than they are, and geometries that go deeper than a stack."""
    yield "deep.parquet", "unreadable_vector", _parquet(b'{"a":' * 200_000)
    yield "huge.parquet", "unreadable_vector", _parquet(b'{"a":"' + b"x" * 5_000_000 + b'"}')
    yield "list.parquet", "unreadable_vector", _parquet(b'{"primary_column":"geometry","columns":[1]}')
    yield "no_dict.parquet", "unreadable_vector", _parquet(b"[1]")
    yield "bomb.parquet", "too_large", _parquet_bomb(size=100_000, rows=4_000)
    yield "memory.parquet", "too_large", _parquet_bomb(size=8_000_000, rows=2_000)
    yield "deep_wkb.parquet", "reader_crashed", _parquet({}, wkb=_collections(200_000))
    yield "many_points.parquet", "no_usable_rows", _parquet({}, wkb=struct.pack("<BII", 1, 2, 0xFFFFFFF0))
    yield "header.fgb", "no_layers", b"fgb\x03fgb\x00" + struct.pack("<I", 0xFFFFFFF0) + bytes(64)
    yield "layers.zip", "too_large", _zip(*((f"{number}.csv", "lat,lon\n1,2\n") for number in range(501)))
    yield "twice.parquet", "unloadable_value", _parquet({}, named=["a", "a"])
    yield "twice.fgb", "unloadable_value", _write_twice
    yield "named.parquet", "unloadable_value", _parquet({}, named=["x" * 2_000_000])
    layer = {"type": "FeatureCollection", "name": "x" * 5_000, **COLLECTION}
    yield "layer.geojson", "unloadable_value", json.dumps(layer)
    yield (
        "own.parquet",
        LOADED,
        _parquet({}, named=["fid", "geom", "source_blob", "ctid", "FID", "a;b", 'a"b', "%s", ""]),
    )
    wide = ",".join(f"c{number}" for number in range(2_000))
    yield "wide.csv", "unloadable_value", f"lat,lon,{wide}\n1,2,{',' * 1_999}\n"


def _archives(prey: Prey) -> Hostile:
    """Archives with names that no folder can hold, or that lead out of it."""
    geojson, unsafe = json.dumps(COLLECTION), "unsafe_archive"
    for name, members in {
        "long": ["x" * 300 + ".geojson"],
        "both": ["a.geojson", "a.geojson/b.geojson"],
        "both_turned": ["a.geojson/b.geojson", "a.geojson"],
        "both_by_case": ["A.geojson/b.geojson", "a.geojson"],
        "dot": [".", "a.geojson"],
        "deep": ["d/" * 100 + "a.geojson"],
        "very_deep": ["d/" * 20_000 + "a.geojson"],
        "doubled": ["a.geojson", "a.geojson"],
        "doubled_by_case": ["a.geojson", "A.GeoJSON"],
        "doubled_by_slash": ["b/a.geojson", "b\\a.geojson"],
        "doubled_by_dot": ["b/a.geojson", "b/./a.geojson"],
        "absolute": ["/tmp/a.geojson"],
        "drive": ["C:\\a.geojson"],
        "parent": ["b/../../a.geojson"],
        "parent_backslash": ["..\\a.geojson"],
        "empty": ["", "a.geojson"],
        "newline": ["a\n.geojson"],
        "escape": ["\x1b[2Ja.geojson"],
        "nul": ["a.geojson\0.txt"],
    }.items():
        yield f"{name}.zip", unsafe, _zip(*((member, geojson) for member in members))
    yield "link.zip", unsafe, _zip((_link("a.geojson"), str(prey.tenant)))
    yield "link_folder.zip", unsafe, _zip((_link("b"), str(prey.tenant.parent)), ("b/tenant.geojson", geojson))
    yield "many.zip", "archive_bomb", _zip(*((f"{number}.txt", "") for number in range(10_001)))
    yield "nested.zip", "empty_archive", _zip(("inner.zip", geojson))
    yield "coding.zip", "broken_archive", _zip(("é.geojson", geojson)).replace("é".encode(), b"\xff\xff")
    yield "bzip.zip", "broken_archive", _damaged(zipfile.ZIP_BZIP2)
    yield "lzma.zip", "broken_archive", _damaged(zipfile.ZIP_LZMA)


def edit_database(path: Path, *statements: str) -> None:
    """Change an SQLite file as its owner could, its schema too."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for function in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            connection.create_function(function, 1, lambda _: None)
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)


def view(value: str, *, source: str = "good") -> Iterable[str]:
    """Statements that make a layer of a GeoPackage out of a view with the column ``value``."""
    return (
        f"CREATE VIEW stolen AS SELECT fid, geom, {value} AS value FROM {source}",
        "INSERT INTO gpkg_contents (table_name, data_type, srs_id) VALUES ('stolen', 'features', 4326)",
        "INSERT INTO gpkg_geometry_columns VALUES ('stolen', 'geom', 'POINT', 4326, 0, 0)",
    )


def write_tangle(path: Path, *, teeth: int = 400) -> None:
    """A polygon that crosses itself 160,000 times, a comb across a comb: repairing it takes minutes."""
    numbers = list(range(teeth))
    across = [point for y in numbers for point in ((0, y), (teeth, y + 0.5))]
    down = [point for x in numbers for point in ((x, teeth), (x + 0.5, 0))]
    places = [(x / teeth, y / teeth) for x, y in (*across, *down)]
    write_vector(path, [shapely.Polygon(places)], driver="GPKG", geometry_type="Polygon")


def write_endless(path: Path) -> None:
    """A GeoPackage with a layer that never ends."""
    write_vector(path, list(POINTS), driver="GPKG", layer="good")
    endless = "(WITH RECURSIVE n (fid) AS (SELECT 1 UNION ALL SELECT fid + 1 FROM n) SELECT fid, x'' AS geom FROM n)"
    edit_database(path, *view("1", source=endless))


def _with_definition(path: Path, definition: str) -> None:
    write_vector(path, list(POINTS), driver="GPKG")
    with closing(sqlite3.connect(path)) as connection, connection:
        statement = (
            "UPDATE gpkg_spatial_ref_sys SET definition = ?, organization = 'NONE', organization_coordsys_id = 7"
        )
        connection.execute(f"{statement} WHERE srs_id = 4326", (definition,))


def _write_twice(path: Path) -> None:
    """A FlatGeobuf file with two columns of one name."""
    write_vector(path, list(POINTS), driver="FlatGeobuf", fields={"aaa": [1] * 20, "bbb": [2] * 20})
    path.write_bytes(path.read_bytes().replace(b"bbb\0", b"aaa\0"))


def _parquet(
    about: dict[str, str] | bytes, *, wkb: bytes | None = None, named: list[str] | None = None
) -> Callable[[Path], object]:
    """A GeoParquet file whose column is described with ``about``, or whose metadata are these bytes."""
    names = named or ["a"]
    geo = about
    if isinstance(about, dict):
        columns = {"geometry": {"encoding": "WKB", "geometry_types": [], **about}}
        geo = json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": columns}).encode()
    geometry = pa.array([wkb or shapely.to_wkb(POINTS[0])], pa.binary())
    table = pa.Table.from_arrays([*[pa.array([1])] * len(names), geometry], names=[*names, "geometry"])
    return lambda path: pq.write_table(table.replace_schema_metadata({b"geo": geo}), path)


def _parquet_bomb(*, size: int, rows: int) -> Callable[[Path], object]:
    """A few kilobytes that say one long text many times."""
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    geometry = pa.array([shapely.to_wkb(POINTS[0])] * rows, pa.binary())
    table = pa.table({"a": text, "geometry": geometry})

    def write(path: Path) -> None:
        pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path, compression="zstd")

    return write


def _collections(depth: int) -> bytes:
    inner: bytes = shapely.to_wkb(POINTS[0])
    return struct.pack("<BII", 1, 7, 1) * depth + inner


def _zip(*members: tuple[str | zipfile.ZipInfo, str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive with these names, whatever they are."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, text in members:
            info = name if isinstance(name, zipfile.ZipInfo) else _named(name)
            info.compress_type = compression
            archive.writestr(info, text)
    return content.getvalue()


def _named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    return info


def _link(name: str) -> zipfile.ZipInfo:
    info = _named(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def _damaged(compression: int) -> bytes:
    content = bytearray(_zip(("a.geojson", json.dumps(COLLECTION) * 20), compression=compression))
    at = content.index(b"a.geojson") + len("a.geojson")
    content[at : at + 40] = b"\xff" * 40
    return bytes(content)
