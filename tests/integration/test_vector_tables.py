"""Vector files become tables: each format, as ruled, with items; and again nothing where nothing changed."""

from pathlib import Path
from typing import Any

import pyogrio
import shapely

from tests.pipeline import Pipeline, failure_text

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
    valid = shapely.make_valid(shapely.from_wkb(geometries))
    assert shapely.equals(shapely.from_wkb([row[-1] for row in rows]), valid).all()
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
    assert pipeline.census.take(SOURCE).green
