"""kill -9 of what changes a whole database or makes a file, at ten moments of its work: as real processes.

The moments are spread from when a command reaches the database to its end, which an undisturbed one shows first. Every
second kill takes the command alone, the others PostgreSQL's programs that it started, too.
"""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance
from psycopg.types.json import Jsonb

from geo_assets.ledger.schema import SCHEMA_OBJECTS, check_schema, create_views, read_objects
from geo_assets.postgres.embedded import EmbeddedPostgres, find_postgres
from geo_assets.settings import Settings
from geo_assets.storage.local_blob_store import LocalBlobStore
from tests.faults.fault_record import fault
from tests.faults.killed_commands import (
    MOMENTS,
    PROGRAM,
    Victim,
    command,
    command_environment,
    copy_of,
    finish,
    has_run,
    in_session,
    kill_server,
    run,
    sessions,
    start_job,
)
from tests.faults.verdict import judge
from tests.integration.test_backup import rows
from tests.integration.test_schema import alembic, install_pgstac
from tests.next_release import VERSION, NextRelease
from tests.pipeline import SOURCE, TEMPLATE, Pipeline, as_user, copied_database, open_pipeline
from tests.rasters import write_raster
from tests.services import PROJECT
from tests.waiting import wait_until

# Of killed commands, `make test` has that of `test_kills_of_repair`.
pytestmark = [pytest.mark.alters_roles, pytest.mark.soak]

GROUP = "kill -9 of a command"
BLOBS = 60
OLDER_PGSTAC = "0.9.10"
TAGS = json.dumps({"dagster/partition": SOURCE})
SEARCH = json.dumps({"collections": [SOURCE], "limit": 100})

at_moments = pytest.mark.parametrize("number", range(MOMENTS))


@dataclass(frozen=True)
class Filled:
    """A catalogue with runs that are old, what it holds, and its backup."""

    pipeline: Pipeline
    database: str
    blobs: dict[str, str]
    items: dict[str, dict[str, Any]]
    rows: dict[str, list[tuple[Any, ...]]]
    backup: Path

    def on(self, url: str) -> Pipeline:
        """The same pipeline on another database."""
        return replace(self.pipeline, database_url=as_user(url, self.user))

    @property
    def user(self) -> str:
        """The login of runs and commands."""
        return str(psycopg.conninfo.conninfo_to_dict(self.pipeline.database_url)["user"])


@pytest.fixture(scope="module")
def filled(own_cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Made by two real runs of a month ago, whose events are in the same database."""
    here = tmp_path_factory.mktemp("filled")
    (here / "home").mkdir()
    (here / "home" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    for number in range(BLOBS):
        write_raster(here / "container" / f"scene_{number:02d}.tif", value=number)
    (here / "container" / "bad.tif").write_text("no raster")
    with (
        pytest.MonkeyPatch.context() as patch,
        copied_database(own_cluster, TEMPLATE) as url,
        open_pipeline(url, here) as opened,
    ):
        patch.setitem(Settings.model_config, "env_file", None)
        patch.setenv("GEO_ASSETS_DATABASE_URL", opened.database_url)
        with DagsterInstance.from_config(str(here / "home")) as instance:
            pipeline = replace(opened, instance=instance)
            pipeline.declare((here / "container").as_uri())
            for job in ("list_container", "ingest_rasters"):
                assert pipeline.run(job).success
            pipeline.execute("UPDATE runs SET update_timestamp = now() AT TIME ZONE 'UTC' - interval '40 days'")
        pages = LocalBlobStore(here / "container").list_pages("")
        world = Filled(
            replace(pipeline, instance=opened.instance),
            str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]),
            {blob.name: blob.etag for page in pages for blob in page},
            pipeline.items(),
            rows(pipeline),
            here / "catalogue.dump",
        )
        assert run(world.pipeline, "db", "backup", str(world.backup)).exit_code == 0
        yield world


@pytest.fixture(scope="module")
def older(own_cluster: EmbeddedPostgres, filled: Filled) -> str:
    """The name of a database with the same catalogue, by an older release of PgSTAC and this one of the ledger."""
    name = "older_release"
    own_cluster.ensure_databases(name)
    url = own_cluster.url(name)
    install_pgstac(url, OLDER_PGSTAC)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ledger")
        alembic(url, "head")
        create_views(connection)
        copy_rows(filled.pipeline.owner_url, url)
        connection.execute("SET search_path = pgstac, public")
        for (collection,) in filled.pipeline.query("SELECT pgstac.get_collection(id) FROM pgstac.collections"):
            connection.execute("SELECT create_collection(%s)", (Jsonb(collection),))
        connection.execute("SELECT create_items(%s)", (Jsonb(list(filled.items.values())),))
    return name


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> NextRelease:
    """Its migration and its view are what the older database lacks."""
    release = NextRelease(tmp_path_factory.mktemp("next"))
    release.make()
    return release


def copy_rows(source: str, target: str) -> None:
    """Copy all rows of the ledger, but that of its version."""
    programs = find_postgres()
    dump = [programs.program("pg_dump"), source, "--data-only", "--schema=ledger", "--disable-triggers"]
    copied = subprocess.run([*dump, "--exclude-table=ledger.alembic_version"], capture_output=True, check=True)
    psql = [programs.program("psql"), target, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    subprocess.run(psql, input=copied.stdout, stdout=subprocess.DEVNULL, check=True)


def works_or_says_what_to_do(pipeline: Pipeline, filled: Filled) -> bool:
    """Whether commands work, on all that was there; otherwise each of them says what is wrong and what to do."""
    answers = {
        name: run(pipeline, *name.split()) for name in ("status", "census --sample 0", f"collections show {SOURCE}")
    }
    if answers["status"].exit_code == 0:
        assert {name: each.output for name, each in answers.items() if each.exit_code} == {}
        assert pipeline.items() == filled.items
        return True
    for name in ("status", "census --sample 0"):
        assert answers[name].exit_code == 1, name
        assert answers[name].stderr.startswith("database_"), answers[name].stderr
        assert "geo-assets db " in answers[name].stderr, answers[name].stderr
    return False


@contextmanager
def judged(filled: Filled, pipeline: Pipeline, name: str) -> Iterator[None]:
    """In the block the fault is over; after it all is as it was before."""
    with fault(GROUP, name) as record:
        record.over()
        yield
        check_schema(pipeline.database.connections)
        assert pipeline.database.census.take(SOURCE).green
        assert pipeline.items() == filled.items
        record.judged(judge(pipeline, filled.blobs), blobs=len(filled.blobs))


@pytest.fixture(scope="module")
def restores(filled: Filled) -> Victim:
    """`db restore` of the backup."""
    return Victim(lambda pipeline: command(pipeline, "db", "restore", str(filled.backup)), in_session)


@pytest.fixture(scope="module")
def migrations(next_release: NextRelease) -> Victim:
    """`db migrate` of the next release."""

    def start(pipeline: Pipeline) -> "subprocess.Popen[str]":
        return command(pipeline, "db", "migrate", variables=next_release.variables)

    return Victim(start, in_session)


@pytest.fixture(scope="module")
def backups() -> Victim:
    """`db backup` into the folder of sources.yaml."""

    def start(pipeline: Pipeline) -> "subprocess.Popen[str]":
        return command(pipeline, "db", "backup", str(pipeline.sources_path.parent / "catalogue.dump"))

    return Victim(start, in_session)


@pytest.fixture(scope="module")
def retentions() -> Victim:
    """The job retention."""
    return Victim(start_job("retention"), has_run("retention"))


@pytest.fixture(scope="module")
def snapshots() -> Victim:
    """The job snapshot of the source."""
    return Victim(start_job("snapshot", "--tags", TAGS), has_run("snapshot"))


def is_backup(file: Path) -> bool:
    """Whether the file is one that can be restored."""
    listing = [find_postgres().program("pg_restore"), "--file=/dev/null", str(file)]
    return subprocess.run(listing, capture_output=True, check=False).returncode == 0


@contextmanager
def empty_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database for its owner, dropped after the block."""
    name = f"empty_{uuid.uuid4().hex}"
    cluster.ensure_databases(name)
    yield cluster.url(name)
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def check_all_or_nothing(pipeline: Pipeline) -> None:
    """Fail where the database has a part of what a backup holds; whether it was migrated since is asked elsewhere."""
    if pipeline.query("SELECT FROM pg_namespace WHERE nspname IN ('pgstac', 'ledger')"):
        with pipeline.database.owner_connections.connect() as connection:
            there = read_objects(connection)
        lines = SCHEMA_OBJECTS.read_text("utf-8").splitlines()
        assert [line for line in lines if line and not line.startswith("#") and line not in there] == []


@at_moments
def test_a_restore_is_whole_or_nothing_and_the_next_try_succeeds(
    filled: Filled, own_cluster: EmbeddedPostgres, restores: Victim, number: int
) -> None:
    if not restores.is_measured:
        with empty_database(own_cluster) as url:
            restores.measure(filled.on(url))
    with empty_database(own_cluster) as url:
        pipeline = filled.on(url)
        restores.kill(pipeline, number)
        with judged(filled, pipeline, "db restore"):
            is_whole = works_or_says_what_to_do(pipeline, filled)
            check_all_or_nothing(pipeline)
            again = run(pipeline, "db", "restore", str(filled.backup))
            assert again.exit_code == 0 or (is_whole and "has a catalogue" in again.stderr), again.output
        assert rows(pipeline) == filled.rows
        assert not pipeline.query("SELECT FROM pg_namespace WHERE nspname = 'geo_assets_restore'")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_restore_whose_server_is_killed_is_whole_or_nothing_and_the_next_try_succeeds(
    filled: Filled, restores: Victim, tmp_path: Path, share: float
) -> None:
    cluster = EmbeddedPostgres(tmp_path / "cluster", durable=False)
    try:
        cluster.start()
        cluster.ensure_databases("restored")
        with command(filled.on(cluster.url("restored")), "db", "restore", str(filled.backup)) as process:
            wait_until(lambda: sessions(filled.on(cluster.url("restored"))) > 0, "when the work begins")
            time.sleep(restores.seconds * share)
            kill_server(cluster)
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 1, output
        assert "database_unavailable" in output
        assert "Traceback" not in output
        cluster.start()
        pipeline = filled.on(cluster.url("restored"))
        with judged(filled, pipeline, "PostgreSQL during db restore"):
            check_all_or_nothing(pipeline)
            works_or_says_what_to_do(pipeline, filled)
            again = run(pipeline, "db", "restore", str(filled.backup))
            assert again.exit_code == 0, again.output
        assert rows(pipeline) == filled.rows
    finally:
        cluster.destroy()


@at_moments
def test_a_migration_of_an_older_catalogue_is_finished_by_the_next(
    filled: Filled,
    older: str,
    own_cluster: EmbeddedPostgres,
    migrations: Victim,
    next_release: NextRelease,
    number: int,
) -> None:
    if not migrations.is_measured:
        with copy_of(own_cluster, older) as url:
            migrations.measure(filled.on(url))
    with copy_of(own_cluster, older) as url:
        pipeline = filled.on(url)
        migrations.kill(pipeline, number)
        env = command_environment(pipeline)
        with judged(filled, pipeline, "db migrate of an older catalogue"):
            works_or_says_what_to_do(pipeline, filled)
            status = next_release.run(PROGRAM, "status", env=env)
            assert status.returncode == 0 or "Run `geo-assets db migrate`" in status.stderr, status.stderr
            again = next_release.run(PROGRAM, "db", "migrate", env=env)
            assert again.returncode == 0, again.stderr
            assert works_or_says_what_to_do(pipeline, filled), "with the release before, too"
            assert next_release.run(PROGRAM, "census", "--sample", "0", env=env).returncode == 0
        lengths = "SELECT name_length = length(name), count(*) FROM ledger.blob_state GROUP BY 1"
        assert pipeline.query(lengths) == [(True, len(filled.blobs))]
        assert pipeline.query("SELECT version_num FROM ledger.alembic_version") == [(VERSION,)]
        assert pipeline.query("SELECT count(*) FROM pgstac.query_queue") == [(0,)]
        with pipeline.database.connections.connect() as connection:
            row = connection.execute("SELECT search(%s) -> 'features' AS found", (SEARCH,)).fetchone()
        assert row is not None
        assert len(row["found"]) == BLOBS


@at_moments
def test_a_backup_is_there_whole_or_not_at_all_and_the_next_clears_what_was_left(
    filled: Filled, tmp_path: Path, backups: Victim, number: int
) -> None:
    pipeline = replace(filled.pipeline, sources_path=tmp_path / "sources.yaml")
    (tmp_path / "sources.yaml").write_text(filled.pipeline.sources_path.read_text())
    if not backups.is_measured:
        backups.measure(pipeline)
    file = tmp_path / "killed" / "catalogue.dump"
    file.parent.mkdir()
    file.write_text("yesterday's")
    backups.kill(replace(pipeline, sources_path=file.parent / "sources.yaml"), number)
    assert file.read_text(errors="replace") == "yesterday's" or is_backup(file)
    with judged(filled, filled.pipeline, "db backup"):
        assert works_or_says_what_to_do(filled.pipeline, filled)
        assert run(pipeline, "db", "backup", str(file)).exit_code == 0
    assert is_backup(file)
    assert list(file.parent.iterdir()) == [file]


@at_moments
def test_a_retention_is_finished_by_the_next(
    filled: Filled, own_cluster: EmbeddedPostgres, retentions: Victim, number: int
) -> None:
    if not retentions.is_measured:
        with copy_of(own_cluster, filled.database) as url:
            retentions.measure(filled.on(url))
    with copy_of(own_cluster, filled.database) as url:
        pipeline = filled.on(url)
        old = {run_id for (run_id,) in pipeline.query("SELECT run_id FROM runs")}
        retentions.kill(pipeline, number)
        with judged(filled, pipeline, "the job retention"):
            assert works_or_says_what_to_do(pipeline, filled)
            finish(start_job("retention"), pipeline)
        left = {run_id for (run_id,) in pipeline.query("SELECT run_id FROM runs")}
        assert len(old & left) == 1, "the run of the latest materializations"
        assert not pipeline.query("SELECT FROM event_logs AS e WHERE e.run_id NOT IN (SELECT run_id FROM runs)")


@at_moments
def test_a_snapshot_is_there_whole_or_not_at_all_and_the_next_clears_what_was_left(
    filled: Filled, own_cluster: EmbeddedPostgres, snapshots: Victim, number: int
) -> None:
    here = filled.pipeline.sources_path.parent
    with copy_of(own_cluster, filled.database) as url:
        pipeline = filled.on(url)
        if not snapshots.is_measured:
            snapshots.measure(pipeline)
            pipeline.execute("DELETE FROM runs WHERE pipeline_name = 'snapshot'")
        shutil.rmtree(here / "silver", ignore_errors=True)
        file = here / "silver" / "snapshots" / f"{SOURCE}.parquet"
        snapshots.kill(pipeline, number)
        if file.exists():
            assert pq.read_metadata(file).num_rows == BLOBS
        with judged(filled, pipeline, "the job snapshot"):
            assert works_or_says_what_to_do(pipeline, filled)
            finish(start_job("snapshot", "--tags", TAGS), pipeline)
        assert pq.read_metadata(file).num_rows == BLOBS
        assert list(file.parent.iterdir()) == [file]
        assert list((here / "state" / "scratch").iterdir()) == []
