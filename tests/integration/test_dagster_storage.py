"""Dagster's storage, on a real database, as dagster.yaml declares it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value, serialize_value

from geo_assets.errors import DatabaseUnavailable
from geo_assets.postgres.dagster_storage import PostgresStorage, create_dagster_tables
from tests.services import PROJECT, own_environment

# Several processes: each step's worker finds its storage anew, from the reference alone.
JOB = """
from dagster import job, multiprocess_executor, op

@op
def one() -> int:
    return 1

@op
def two(value: int) -> int:
    return value + 1

@job(executor_def=multiprocess_executor)
def counting():
    two(one())
"""


@pytest.fixture
def dagster_home(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with our dagster.yaml, and its database in the environment."""
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database_url)
    return tmp_path


@pytest.fixture
def instance(dagster_home: Path) -> Iterator[DagsterInstance]:
    """The instance that our dagster.yaml declares."""
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        yield instance


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


def test_the_tables_are_made_and_making_them_again_is_harmless(database_url: str) -> None:
    create_dagster_tables(database_url)
    create_dagster_tables(database_url)
    assert {"runs", "event_logs", "jobs", "alembic_version"} <= tables(database_url)


def test_many_may_make_the_tables_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(create_dagster_tables, [database_url] * 6))
    assert {"runs", "event_logs", "jobs"} <= tables(database_url)


def test_a_database_that_does_not_answer_is_an_error_with_a_remedy() -> None:
    with pytest.raises(DatabaseUnavailable, match="GEO_ASSETS_DATABASE_URL"):
        create_dagster_tables("postgresql://me@127.0.0.1:1/none")


def test_the_reference_survives_the_way_to_a_worker_and_holds_no_password(
    instance: DagsterInstance, database_url: str
) -> None:
    text = serialize_value(instance.get_ref())
    assert str(psycopg.conninfo.conninfo_to_dict(database_url)["password"]) not in text
    with DagsterInstance.from_ref(deserialize_value(text, InstanceRef)) as worker:
        assert isinstance(worker._run_storage, type(instance._run_storage))
        assert worker.get_runs_count() == 0


def test_the_class_of_dagster_yaml_is_ours(instance: DagsterInstance, database_url: str) -> None:
    storage = instance.get_ref().storage
    assert isinstance(storage, PostgresStorage)
    assert storage.postgres_url == database_url


def test_dagster_yaml_queues_runs_and_retries_only_crashed_workers(instance: DagsterInstance) -> None:
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 4
    assert [limit["key"] for limit in queue.tag_concurrency_limits] == ["dagster/partition"]
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not instance.telemetry_enabled


def test_job_execute_keeps_its_run_in_postgres(
    instance: DagsterInstance, dagster_home: Path, database_url: str
) -> None:
    (dagster_home / "counting.py").write_text(JOB)
    environment = own_environment(
        DAGSTER_HOME=str(dagster_home), DAGSTER_POSTGRES_URL=database_url, PYTHONPATH=str(PROJECT)
    )
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", "counting.py", "-j", "counting"]
    subprocess.run(command, cwd=dagster_home, env=environment, check=True, timeout=120)
    assert [run.status for run in instance.get_runs()] == [DagsterRunStatus.SUCCESS]
    assert not os.path.exists(dagster_home / "history")
