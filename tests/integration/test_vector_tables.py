"""Vector files become tables: each format, as ruled, with items; and again nothing where nothing changed."""

import json
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import shapely
from click.testing import CliRunner

from geo_assets.cli.main import main
from geo_assets.postgres.logins import PIPELINE_LOGIN
from tests.pipeline import Pipeline, failure_text
from tests.vectors import POINTS, feature, write_broken, write_geoparquet, write_shapefile, write_vector, zip_folder

SOURCE = "vectors"


def declare(pipeline: Pipeline, folder: Path, **tables: Any) -> None:
    """A source of all vector files below ``folder``."""
    pipeline.declare(folder.as_uri(), name=SOURCE, tables=tables)


def load(pipeline: Pipeline) -> None:
    """Run load_vectors, which is to succeed."""
    result = pipeline.run("load_vectors", source=SOURCE)
    assert result.success, failure_text(result)


def reasons(pipeline: Pipeline) -> dict[str, str]:
    """The code of the reason of each file that is no table."""
    return {name: failure.code for name, failure in pipeline.failures(SOURCE).items()}


def test_natural_earth_is_in_its_table_as_in_its_file(pipeline: Pipeline, samples: Path) -> None:
    folder = samples / "vectors"
    declare(pipeline, folder)
    load(pipeline)
    assert reasons(pipeline) == {}
    columns = "pop_est, continent, name, iso_a3, gdp_md_est"
    rows = pipeline.query(f"SELECT {columns}, ST_AsBinary(geom) FROM vectors.naturalearth_lowres ORDER BY fid")
    _, _, geometries, attributes = pyogrio.raw.read(folder / "naturalearth_lowres.shp")
    assert [row[:-1] for row in rows] == list(zip(*(each.tolist() for each in attributes), strict=True))
    # Russia ends at 180.00000000000006 in the file.
    valid = shapely.transform(shapely.make_valid(shapely.from_wkb(geometries)), lambda xy: xy.clip(-180, 180))
    assert shapely.equals(shapely.from_wkb([row[-1] for row in rows]), valid).all()
    assert pipeline.query("SELECT sum(split) FROM ledger.vector_table") == [(0,)]
    items = pipeline.query("SELECT id, content->'properties'->>'table:row_count' FROM pgstac.items ORDER BY id")
    assert [count for _, count in items] == ["1", "1", "177", "4"]


def test_curves_become_lines_and_heights_and_measures_go_unless_ruled_otherwise(
    pipeline: Pipeline, samples: Path
) -> None:
    declare(pipeline, samples / "vectors")
    load(pipeline)
    ((curve,),) = pipeline.query("SELECT ST_GeometryType(geom) FROM vectors.curve")
    ((zm,),) = pipeline.query("SELECT ST_Zmflag(geom) FROM vectors.line_zm")
    assert (curve, zm) == ("ST_MultiLineString", 0)
    declare(pipeline, samples / "vectors", dimensions="keep")
    load(pipeline)
    ((zm, kind),) = pipeline.query("SELECT ST_Zmflag(geom), ST_GeometryType(geom) FROM vectors.line_zm")
    assert (zm, kind) == (3, "ST_MultiLineString")


def test_a_run_over_the_same_files_changes_nothing(pipeline: Pipeline, samples: Path) -> None:
    declare(pipeline, samples / "vectors")
    load(pipeline)
    before = pipeline.query("SELECT oid, relname FROM pg_class WHERE relnamespace = 'vectors'::regnamespace ORDER BY 1")
    load(pipeline)
    after = pipeline.query("SELECT oid, relname FROM pg_class WHERE relnamespace = 'vectors'::regnamespace ORDER BY 1")
    assert before == after
    assert pipeline.database.census.take(SOURCE).green


def test_each_of_thirty_broken_files_has_its_own_reason_and_a_remedy(pipeline: Pipeline, tmp_path: Path) -> None:
    expected = write_broken(tmp_path / "broken")
    assert len(expected) >= 30
    declare(pipeline, tmp_path / "broken")
    load(pipeline)
    assert reasons(pipeline) == expected
    failures = pipeline.failures(SOURCE).values()
    assert all(failure.permanent and len(f"{failure.message} {failure.remedy}") > 40 for failure in failures)
    assert pipeline.query("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('vectors')") == []


def test_every_format_is_read_and_gives_the_same_points(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "formats"
    write_vector(folder / "a_gpkg.gpkg", list(POINTS), driver="GPKG")
    write_vector(folder / "a_fgb.fgb", list(POINTS), driver="FlatGeobuf")
    write_vector(folder / "a_json.geojson", list(POINTS), driver="GeoJSON")
    write_vector(folder / "a_seq.geojsonl", list(POINTS), driver="GeoJSONSeq")
    write_vector(folder / "a_kml.kml", list(POINTS), driver="LIBKML")
    write_shapefile(folder / "a_shp.shp")
    write_geoparquet(folder / "a_parquet.parquet", POINTS, number=list(range(len(POINTS))))
    lines = [f"{number},{point.y},{point.x}" for number, point in enumerate(POINTS)]
    (folder / "a_csv.csv").write_text("\n".join(["number,lat,lon", *lines]))
    write_shapefile(tmp_path / "zipped" / "inside.shp")
    zip_folder(folder / "a_zip.zip", tmp_path / "zipped")
    write_vector(tmp_path / "gdb" / "a.gdb", list(POINTS), driver="OpenFileGDB")
    zip_folder(folder / "a_gdb.gdb.zip", tmp_path / "gdb")
    write_vector(tmp_path / "kmz" / "doc.kml", list(POINTS), driver="LIBKML")
    zip_folder(folder / "a_kmz.kmz", tmp_path / "kmz")
    declare(pipeline, folder)
    load(pipeline)
    assert reasons(pipeline) == {}
    tables = [name for (name,) in pipeline.query("SELECT table_name FROM ledger.vector_table ORDER BY 1")]
    assert len(tables) == 11
    for table in tables:
        rows = pipeline.query(f"SELECT ST_X(geom), ST_Y(geom) FROM vectors.{table} ORDER BY 1")
        assert rows == [(point.x, point.y) for point in POINTS], table


def test_types_and_names_are_kept(pipeline: Pipeline, tmp_path: Path) -> None:
    properties = {"Größe (m²)": 1.5, "order": 2**40, "when": "2020-01-01T12:00:00+02:00", "day": "2020-01-02",
                  "tags": ["a", "b"], "more": {"k": [1]}, "code": "007", "geom": "taken", "yes": True}  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "types.geojson").write_text(
        json.dumps(
            {"type": "FeatureCollection", "features": [feature({"type": "Point", "coordinates": [1, 2]}, **properties)]}
        )
    )
    declare(pipeline, tmp_path / "in", indexes=["code"])
    load(pipeline)
    assert reasons(pipeline) == {}
    columns = dict(
        pipeline.query(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'vectors.types'::regclass AND attnum > 0"
        )
    )
    assert columns == {
        "fid": "bigint", "geom": "geometry(Point,4326)", "größe_m2": "double precision", "order_": "bigint",
        "when_": "timestamp with time zone", "day": "date", "tags": "text[]", "more": "jsonb", "code": "text",
        "geom_2": "text", "yes": "boolean",
    }  # fmt: skip
    ((order, tags, more, code, yes, when),) = pipeline.query(
        "SELECT order_, tags, more, code, yes, when_ AT TIME ZONE 'UTC' FROM vectors.types"
    )
    assert (order, tags, more, code, yes) == (2**40, ["a", "b"], {"k": [1]}, "007", True)
    assert f"{when:%H:%M}" == "10:00"


def test_geometries_are_reprojected_repaired_cut_and_counted(pipeline: Pipeline, tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)])
    across = shapely.box(179, 0, 181, 1)
    write_vector(tmp_path / "in" / "shapes.gpkg", [bow, across, None], driver="GPKG", geometry_type="Polygon")
    utm = shapely.box(400_000, 5_000_000, 401_000, 5_001_000)
    write_vector(tmp_path / "in" / "utm.gpkg", [utm], driver="GPKG", geometry_type="Polygon", crs="EPSG:32632")
    declare(pipeline, tmp_path / "in", null_geometry="drop", keep_originals=True)
    load(pipeline)
    rows = pipeline.query("SELECT repaired, split, rows, dropped FROM ledger.vector_table ORDER BY name")
    assert rows == [(1, 1, 2, {"without geometry": 1}), (0, 0, 1, {})]
    assert pipeline.query("SELECT bool_and(ST_IsValid(geom)), max(ST_XMax(geom)) FROM vectors.shapes") == [
        (True, 180.0)
    ]
    assert pipeline.query("SELECT count(*) FROM vectors.shapes_originals") == [(1,)]
    ((x, y),) = pipeline.query("SELECT ST_XMin(geom), ST_YMin(geom) FROM vectors.utm")
    assert 7.7 < x < 7.8
    assert 45.1 < y < 45.2


def test_what_lies_beyond_180_is_loaded_beside_its_neighbours_and_what_cannot_be_placed_is_named(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    holed = shapely.box(350, 0, 370, 10).difference(shapely.box(352, 2, 358, 8))
    beyond = shapely.box(170, 50, 190, 60).difference(shapely.box(185, 52, 188, 58))
    write_vector(tmp_path / "in" / "holed.gpkg", [holed, beyond], driver="GPKG", geometry_type="Polygon")
    line = shapely.from_wkt("LINESTRING ZM (170 0 1 1, 190 0 3 3)")
    write_geoparquet(tmp_path / "in" / "line.parquet", [line], number=[1])
    write_vector(tmp_path / "in" / "good.gpkg", list(POINTS[:2]), driver="GPKG")
    declare(pipeline, tmp_path / "in", dimensions="keep")
    load(pipeline)
    assert reasons(pipeline) == {}
    areas = pipeline.query("SELECT ST_Area(geom), ST_IsValid(geom), ST_YMax(geom) FROM vectors.holed ORDER BY fid")
    assert areas == [(200 - 36, True, 10), (200 - 18, True, 60)]
    cut = "MULTILINESTRING ZM ((170 0 1 1,180 0 2 2),(-180 0 2 2,-170 0 3 3))"
    assert pipeline.query("SELECT ST_AsText(geom) FROM vectors.line") == [(cut,)]
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(3,)]
    write_vector(tmp_path / "torn" / "torn.gpkg", [holed, shapely.box(-35, 0, -25, 10)], driver="GPKG",
                 geometry_type="Polygon")  # fmt: skip
    declare(pipeline, tmp_path / "torn", target_crs="EPSG:3832")
    load(pipeline)
    assert reasons(pipeline) == {"torn.gpkg": "unplaceable_geometry"}
    failure = pipeline.failures(SOURCE)["torn.gpkg"]
    assert failure.permanent
    assert "Feature 2 of layer torn has no exact place in EPSG:3832: an edge jumps from" in failure.message
    assert "tables.target_crs" in (failure.remedy or "")


def test_append_and_upsert_put_many_files_into_one_table(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_vector(folder / "a.gpkg", list(POINTS[:3]), driver="GPKG", fields={"id": [1, 2, 3], "v": ["a"] * 3})
    write_vector(folder / "b.gpkg", list(POINTS[:2]), driver="GPKG", fields={"id": [3, 4], "v": ["b"] * 2})
    declare(pipeline, folder, mode="append", name="together")
    load(pipeline)
    assert reasons(pipeline) == {}
    assert pipeline.query("SELECT count(*) FROM vectors.together") == [(5,)]
    write_vector(folder / "b.gpkg", list(POINTS[:1]), driver="GPKG", fields={"id": [9], "v": ["c"]})
    load(pipeline)
    assert pipeline.query("SELECT id FROM vectors.together ORDER BY id") == [(1,), (2,), (3,), (9,)]
    (folder / "a.gpkg").unlink()
    load(pipeline)
    assert pipeline.query("SELECT id FROM vectors.together") == [(9,)]
    write_vector(folder / "a.gpkg", list(POINTS[:3]), driver="GPKG", fields={"id": [1, 2, 9], "v": ["a"] * 3})
    declare(pipeline, folder, mode="upsert", key=["id"], name="merged")
    load(pipeline)
    assert reasons(pipeline) == {}
    assert pipeline.query("SELECT id, v FROM vectors.merged ORDER BY id") == [(1, "a"), (2, "a"), (9, "c")]
    assert pipeline.query("SELECT to_regclass('vectors.together')") == [(None,)]


def test_a_login_that_may_make_no_schema_is_told_what_to_grant(pipeline: Pipeline, tmp_path: Path) -> None:
    write_vector(tmp_path / "in" / "a.gpkg", list(POINTS[:3]), driver="GPKG")
    declare(pipeline, tmp_path / "in", schema="elsewhere")
    ((database,),) = pipeline.query("SELECT current_database()")
    pipeline.execute(f"REVOKE CREATE ON DATABASE {database} FROM geo_assets_pipeline")
    pipeline.run("load_vectors", source=SOURCE)
    assert reasons(pipeline) == {"a.gpkg": "invalid_configuration"}
    failure = pipeline.failures(SOURCE)["a.gpkg"]
    assert "PostgreSQL refuses to make the table: permission denied for database" in failure.message
    assert "Grant CREATE on the database" in (failure.remedy or "")


def test_a_view_keeps_a_table_as_it_is_until_it_goes(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_vector(folder / "a.gpkg", list(POINTS[:3]), driver="GPKG")
    declare(pipeline, folder)
    load(pipeline)
    pipeline.execute("CREATE VIEW public.on_it AS SELECT * FROM vectors.a")
    write_vector(folder / "a.gpkg", list(POINTS[:5]), driver="GPKG")
    result = pipeline.run("load_vectors", source=SOURCE)
    assert not result.success
    assert "table_in_use" in failure_text(result)
    assert pipeline.query("SELECT count(*) FROM vectors.a") == [(3,)]
    pipeline.execute("DROP VIEW public.on_it")
    pipeline.execute("GRANT SELECT ON vectors.a TO PUBLIC")
    load(pipeline)
    assert pipeline.query("SELECT count(*) FROM vectors.a") == [(5,)]
    assert pipeline.query("SELECT has_table_privilege('public', 'vectors.a', 'SELECT')") == [(True,)]


def test_a_table_goes_with_its_file_and_with_the_key_of_its_source(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a", "b"):
        write_vector(folder / f"{name}.gpkg", list(POINTS), driver="GPKG")
    declare(pipeline, folder)
    load(pipeline)
    (folder / "a.gpkg").unlink()
    load(pipeline)
    assert pipeline.query("SELECT to_regclass('vectors.a'), to_regclass('vectors.b')") == [(None, "vectors.b")]
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(1,)]
    pipeline.declare(folder.as_uri(), name=SOURCE)
    assert pipeline.run(source=SOURCE).success
    assert pipeline.query("SELECT to_regclass('vectors.b')") == [(None,)]
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(0,)]


def test_only_what_the_rule_chooses_is_loaded_in_the_order_it_asks_for(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fields: dict[str, list[Any]] = {"id": [1, 1, 3, 4], "t": ["a", "a", "c", "d"], "more": [1.5, 1.5, 2.0, 3.0]}
    points = [shapely.Point(1, 1), shapely.Point(1, 1), shapely.Point(40, 40), shapely.Point(2, 2)]
    write_vector(folder / "a.gpkg", list(points), driver="GPKG", fields=fields)
    declare(
        pipeline, folder, columns=["id", "t"], bbox=[0, 0, 10, 10], duplicates="drop", cluster_hilbert=True,
        schema="chosen", name="{source}_{stem}", indexes=["t"],
    )  # fmt: skip
    load(pipeline)
    assert reasons(pipeline) == {}
    assert pipeline.query("SELECT id, t FROM chosen.vectors_a ORDER BY fid") == [(1, "a"), (4, "d")]
    indexes = pipeline.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'chosen' ORDER BY 1")
    assert indexes == [("vectors_a_geom_idx",), ("vectors_a_pkey",), ("vectors_a_t_idx",)]
    assert pipeline.query("SELECT duplicates FROM ledger.vector_table") == [(1,)]
    declare(pipeline, folder, where="id = 3")
    load(pipeline)
    assert pipeline.query("SELECT id FROM vectors.a") == [(3,)]
    assert pipeline.query("SELECT to_regclass('chosen.vectors_a')") == [(None,)]


@pytest.mark.parametrize(
    ("tables", "code"),
    [
        ({"where": "no such thing ="}, "bad_filter"),
        ({"columns": ["absent"]}, "no_such_column"),
        ({"layers": ["other*"]}, "no_such_layer"),
        ({"null_geometry": "refuse"}, "null_geometry"),
        ({"mode": "upsert", "key": ["number"]}, "duplicate_key"),
        ({"name": "taken"}, "table_taken"),
    ],
)
def test_a_rule_that_does_not_fit_the_file_says_so(
    pipeline: Pipeline, tmp_path: Path, tables: dict[str, Any], code: str
) -> None:
    pipeline.execute("CREATE SCHEMA vectors; CREATE TABLE vectors.taken (a int)")
    pipeline.execute(f"GRANT USAGE, CREATE ON SCHEMA vectors TO {PIPELINE_LOGIN}")
    write_vector(tmp_path / "in" / "a.gpkg", [*POINTS[:2], None], driver="GPKG", fields={"number": [1, 1, 2]})
    declare(pipeline, tmp_path / "in", **tables)
    load(pipeline)
    assert reasons(pipeline) == {"a.gpkg": code}


def test_each_layer_of_a_file_has_a_table_and_an_item_and_both_go_by_command(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "in" / "many.gpkg"
    write_vector(file, list(POINTS[:3]), driver="GPKG", layer="wells")
    write_vector(file, list(POINTS[:4]), driver="GPKG", layer="springs", append=True)
    declare(pipeline, tmp_path / "in")
    load(pipeline)
    tables = pipeline.query("SELECT table_name, rows FROM ledger.vector_table ORDER BY 1")
    assert tables == [("many_springs", 4), ("many_wells", 3)]
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(2,)]
    assert pipeline.database.census.take(SOURCE).green
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    listed = CliRunner().invoke(main, ["tables", "list", "--json"])
    assert [each["rows"] for each in json.loads(listed.output)] == [4, 3]
    assert "many_springs" in CliRunner().invoke(main, ["tables", "list"], catch_exceptions=False).output
    dropped = CliRunner().invoke(main, ["tables", "drop", SOURCE, "many.gpkg"])
    assert dropped.exit_code == 0, dropped.output
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(0,)]
    assert pipeline.query("SELECT to_regclass('vectors.many_wells')") == [(None,)]
    load(pipeline)
    assert pipeline.query("SELECT count(*) FROM pgstac.items") == [(2,)]


def test_an_edit_of_the_attributes_alone_is_a_new_version_of_a_shapefile(pipeline: Pipeline, tmp_path: Path) -> None:
    write_shapefile(tmp_path / "in" / "a.shp")
    declare(pipeline, tmp_path / "in")
    load(pipeline)
    write_shapefile(tmp_path / "other" / "a.shp", fields={"number": list(range(100, 120))})
    (tmp_path / "in" / "a.dbf").write_bytes((tmp_path / "other" / "a.dbf").read_bytes())
    load(pipeline)
    assert pipeline.query("SELECT min(number) FROM vectors.a") == [(100,)]


def test_honest_text_of_unusual_form_is_loaded(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    point = {"type": "Point", "coordinates": [1, 2]}
    comment = f"<!-- {'x ' * 3_000} -->"
    kml = (
        f"{comment}<kml><Document><Placemark><Point><coordinates>1,2</coordinates></Point></Placemark></Document></kml>"
    )
    (folder / "comment.kml").write_text(f"\ufeff<?xml version='1.0'?>\n{kml}")
    (folder / "utf16.kml").write_bytes(f"<?xml version='1.0' encoding='UTF-16'?>{kml}".encode("utf-16"))
    (folder / "late.geojson").write_text(json.dumps({"features": [feature(point)], "type": "FeatureCollection"}))
    crs = {"type": "name", "properties": {"name": "EPSG:4326", "more": "x" * 4_000}}
    collection = {"name": "n" * 1_000, "crs": crs, "type": "FeatureCollection", "features": [feature(point)]}
    (folder / "crs.geojson").write_text(f"\ufeff{json.dumps(collection)}")
    (folder / "feature.json").write_text(json.dumps(feature(point)))
    (folder / "geometries.geojson").write_text(json.dumps({"type": "GeometryCollection", "geometries": [point]}))
    (folder / "lines.geojson").write_text(f"{json.dumps(feature(point))}\n" * 2)
    # None of these says where an archive ends, or a query begins: they are letters of a name.
    named = {"a!b": "a_b", "c;d": "c_d", "e?f#g": "e_f_g", "h%2Fi": "h_2fi", "zip:j!k": "zip_j_k"}
    for name in named:
        (folder / f"{name}.geojson").write_text(json.dumps(feature(point)))
    pipeline.declare(folder.as_uri(), name=SOURCE, tables={}, include=["**/*.*"])
    load(pipeline)
    assert reasons(pipeline) == {}
    rows = pipeline.query("SELECT table_name, rows FROM ledger.vector_table ORDER BY 1")
    names = sorted(["comment", "crs", "feature", "geometries", "late", "lines", "utf16", *named.values()])
    assert rows == [(name, 2 if name == "lines" else 1) for name in names]
