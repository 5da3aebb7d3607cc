"""kill -9 at ten moments of `geo-assets repair`: the catalogue is whole, and the second try puts all of it right.

Of commands that are killed, `make test` has one of these.
"""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from geo_assets.cli.main import main
from tests.dagster_cli import DagsterCli
from tests.faults.killing import Moment
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

CENSUS = "geo_assets.catalogue.census:Census"
REPAIR = "geo_assets.assets.census"
STATEMENT = "geo_assets.catalogue.census:read_sql"
MOMENTS = {
    "before the census": Moment("before", f"{CENSUS}.take", 1),
    "after the census": Moment("after", f"{CENSUS}.take", 1),
    "before blobs are opened again": Moment("before", f"{CENSUS}.sample", 1),
    "after they are drawn": Moment("after", f"{CENSUS}.sample", 1),
    "after they are opened": Moment("after", f"{REPAIR}:compare_headers", 1),
    "before anything is mended": Moment("before", f"{CENSUS}.mend", 1),
    "during repair, before the first statement": Moment("after", STATEMENT, 1),
    "during repair, after blobs went back to work": Moment("after", STATEMENT, 5),
    "during repair, before items are removed": Moment("after", STATEMENT, 6),
    "after all is mended": Moment("after", f"{CENSUS}.mend", 1),
}
QUICK = "during repair, before items are removed"
BLOB = "content -> 'properties' ->> 'geo_assets:blob'"
DAMAGE = (
    f"DELETE FROM pgstac.items WHERE {BLOB} = 'missing.tif'",
    "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,geo_assets:etag}', '\"old\"') "
    f"WHERE {BLOB} = 'stale.tif'",
    f"UPDATE pgstac.items SET geometry = ST_Translate(geometry, 1, 0) WHERE {BLOB} = 'moved.tif'",
    "INSERT INTO pgstac.items SELECT id || '-twin', geometry, collection, datetime, end_datetime, content, private "
    f"FROM pgstac.items WHERE {BLOB} = 'twice.tif'",
    f"INSERT INTO ledger.item (collection_id, item_id, source, name) VALUES ('{SOURCE}', 'ghost', '{SOURCE}', 'ghost')",
)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, id=name, marks=[] if name == QUICK else [pytest.mark.soak])
        for name, moment in MOMENTS.items()
    ],
)
def test_a_repair_that_is_killed_is_finished_by_the_next(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    for number, name in enumerate(("sound", "missing", "stale", "moved", "twice")):
        write_raster(tmp_path / "in" / f"{name}.tif", value=number + 1)
    pipeline.declare((tmp_path / "in").as_uri())
    assert pipeline.run().success
    sound = pipeline.items()
    for statement in DAMAGE:
        pipeline.execute(statement)
    damaged = pipeline.database.census.take(SOURCE)
    wrong = {kind: damaged.counts[kind] for kind in ("missing", "stale", "duplicate", "orphan")}
    assert wrong == {"missing": 1, "stale": 1, "duplicate": 1, "orphan": 1}
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})
    command = ("tests.faults.cli_program", "repair", SOURCE, "--approve")
    with cli.popen("-m", "tests.faults.killing", str(moment), *command, program="python") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"never killed: {process.returncode}\n{output[-4000:]}"

    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    if moment != MOMENTS["after all is mended"]:
        assert pipeline.database.census.take(SOURCE).counts == damaged.counts, "all of it is undone"
    for arguments in (("status", SOURCE), ("repair", SOURCE, "--approve")):
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert pipeline.run().success
    result = CliRunner().invoke(main, ("census", SOURCE), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert pipeline.database.census.take(SOURCE).counts["pending"] == 0
    pipeline.check_promise()
    assert {name: item["geometry"] for name, item in pipeline.items().items()} == {
        name: item["geometry"] for name, item in sound.items()
    }
    assert pipeline.query("SELECT count(*) FROM ledger.item") == [(5,)]
