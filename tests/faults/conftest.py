"""Fixtures of fault tests: worlds with events, and the record of what was found.

Records go where the caller asks for them; other variables of the caller decide nothing.
"""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from azure.storage.blob import ContainerClient
from psycopg import sql

from geo_assets.models import Channel
from geo_assets.postgres.dagster_storage import create_dagster_tables
from geo_assets.postgres.embedded import EmbeddedPostgres
from tests.faults.event_world import EventWorld, event_world
from tests.faults.fault_record import VARIABLE, keep_records
from tests.pipeline import Pipeline, copied_database, open_pipeline
from tests.services import Azurite, Shared

if path := os.environ.get(VARIABLE):
    keep_records(path)

OpenWorld = Callable[[Sequence[Channel]], EventWorld]


@pytest.fixture(scope="session")
def dagster_template(postgres_cluster: EmbeddedPostgres, migrated_template: str, shared: Shared) -> str:
    """The name of a database with both schemas and Dagster's tables, to copy."""

    def make(_: Path) -> str:
        name = "dagster_template"
        with psycopg.connect(postgres_cluster.url("postgres"), autocommit=True) as connection:
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(copy.format(sql.Identifier(name), sql.Identifier(migrated_template)))
        create_dagster_tables(postgres_cluster.pipeline_url(name))
        return name

    return shared.once("dagster_template", make)


@pytest.fixture
def dagster_pipeline(postgres_cluster: EmbeddedPostgres, dagster_template: str, tmp_path: Path) -> Iterator[Pipeline]:
    """geo_assets on a database of this test's own, which also has Dagster's tables."""
    with copied_database(postgres_cluster, dagster_template) as url, open_pipeline(url, tmp_path) as opened:
        yield opened


@pytest.fixture
def open_world(
    dagster_pipeline: Pipeline,
    queue_service: Azurite,
    container: ContainerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[OpenWorld]:
    """Opens the world of the test: a container, and the kinds of queue that tell of its blobs."""
    for name, value in queue_service.environment.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def opened(paths: Sequence[Channel]) -> EventWorld:
            return stack.enter_context(event_world(dagster_pipeline, queue_service, container, tmp_path, paths=paths))

        yield opened


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
